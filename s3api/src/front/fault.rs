//! Errors as S3 names them: code, status, message, and the extra fields some of them carry.

use std::borrow::Cow;

use hyper::StatusCode;

use crate::body::BodyError;
use crate::error::StoreError;

/// An error on its way to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: Code,
    pub(super) message: Cow<'static, str>,
    /// Further elements of the error document.
    pub(super) fields: Vec<(&'static str, String)>,
    /// Headers of the answer.
    pub(super) headers: Vec<(&'static str, String)>,
    /// What the operator should know and the client should not.
    pub(super) detail: Option<String>,
}

/// Declares the codes with their name, status and usual message in one table; three matches over seventy codes would drift
/// apart.
macro_rules! codes {
    ($($name:ident, $status:ident, $message:literal;)*) => {
        /// The error codes of S3 that we use.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Code { $($name,)* }

        impl Code {
            /// The code as it stands in the error document.
            pub(super) fn name(self) -> &'static str {
                match self { $(Code::$name => stringify!($name),)* }
            }

            /// The status that goes with it.
            pub(super) fn status(self) -> StatusCode {
                match self { $(Code::$name => StatusCode::$status,)* }
            }

            /// What it usually says.
            fn message(self) -> &'static str {
                match self { $(Code::$name => $message,)* }
            }
        }
    };
}

codes! {
    AccessDenied, FORBIDDEN, "Access Denied";
    AccessForbidden, FORBIDDEN, "CORSResponse: CORS is not enabled for this bucket.";
    AuthorizationHeaderMalformed, BAD_REQUEST, "The authorization header that you provided is not valid.";
    AuthorizationQueryParametersError, BAD_REQUEST, "The authorization query parameters that you provided are not valid.";
    BadDigest, BAD_REQUEST, "The Content-MD5 or checksum value that you specified did not match what the server received.";
    BucketAlreadyExists, CONFLICT, "The requested bucket name is not available. Select a different name and try again.";
    BucketAlreadyOwnedByYou, CONFLICT, "The bucket that you tried to create already exists, and you own it.";
    BucketNotEmpty, CONFLICT, "The bucket that you tried to delete is not empty.";
    ConditionalRequestConflict, CONFLICT, "A conflicting conditional operation is in progress against this resource. Try again.";
    EntityTooLarge, BAD_REQUEST, "Your proposed upload exceeds the maximum allowed object size.";
    EntityTooSmall, BAD_REQUEST, "Your proposed upload is smaller than the minimum allowed object size.";
    IllegalLocationConstraintException, BAD_REQUEST, "The specified location constraint is not the region of this endpoint.";
    IncompleteBody, BAD_REQUEST, "You did not provide the number of bytes specified by the Content-Length HTTP header.";
    InternalError, INTERNAL_SERVER_ERROR, "We encountered an internal error. Please try again.";
    InvalidAccessKeyId, FORBIDDEN, "The access key ID that you provided does not exist in our records.";
    InvalidArgument, BAD_REQUEST, "The specified argument was not valid.";
    InvalidBucketName, BAD_REQUEST, "The specified bucket is not valid.";
    InvalidDigest, BAD_REQUEST, "The Content-MD5 or checksum value that you specified is not valid.";
    InvalidPart, BAD_REQUEST, "One or more of the specified parts could not be found. The part might not have been uploaded, or the specified entity tag might not have matched the part's entity tag.";
    InvalidPartNumber, RANGE_NOT_SATISFIABLE, "The requested partnumber is not satisfiable.";
    InvalidPartOrder, BAD_REQUEST, "The list of parts was not in ascending order. The parts list must be specified in order by part number.";
    InvalidRange, RANGE_NOT_SATISFIABLE, "The requested range is not satisfiable.";
    InvalidRequest, BAD_REQUEST, "The request is not valid.";
    InvalidToken, BAD_REQUEST, "The provided token is malformed or otherwise not valid.";
    InvalidURI, BAD_REQUEST, "The specified URI couldn't be parsed.";
    KeyTooLongError, BAD_REQUEST, "Your key is too long.";
    MalformedXML, BAD_REQUEST, "The XML that you provided was not well formed or did not validate against our published schema.";
    MaxMessageLengthExceeded, BAD_REQUEST, "Your request was too large.";
    MetadataTooLarge, BAD_REQUEST, "Your metadata headers exceed the maximum allowed metadata size.";
    MethodNotAllowed, METHOD_NOT_ALLOWED, "The specified method is not allowed against this resource.";
    MissingContentLength, LENGTH_REQUIRED, "You must provide the Content-Length HTTP header.";
    NoSuchBucket, NOT_FOUND, "The specified bucket does not exist.";
    NoSuchBucketPolicy, NOT_FOUND, "The bucket policy does not exist.";
    NoSuchCORSConfiguration, NOT_FOUND, "The CORS configuration does not exist.";
    NoSuchKey, NOT_FOUND, "The specified key does not exist.";
    NoSuchLifecycleConfiguration, NOT_FOUND, "The lifecycle configuration does not exist.";
    NoSuchPublicAccessBlockConfiguration, NOT_FOUND, "The public access block configuration was not found.";
    NoSuchTagSet, NOT_FOUND, "The TagSet does not exist.";
    NoSuchUpload, NOT_FOUND, "The specified multipart upload does not exist. The upload ID might be invalid, or the multipart upload might have been aborted or completed.";
    NoSuchWebsiteConfiguration, NOT_FOUND, "The specified bucket does not have a website configuration.";
    NotImplemented, NOT_IMPLEMENTED, "A header or query parameter that you provided implies functionality that is not implemented.";
    NotModified, NOT_MODIFIED, "Not Modified";
    ObjectLockConfigurationNotFoundError, NOT_FOUND, "Object Lock configuration does not exist for this bucket.";
    OwnershipControlsNotFoundError, NOT_FOUND, "The bucket ownership controls were not found.";
    PreconditionFailed, PRECONDITION_FAILED, "At least one of the preconditions that you specified did not hold.";
    ReplicationConfigurationNotFoundError, NOT_FOUND, "The replication configuration was not found.";
    RequestTimeTooSkewed, FORBIDDEN, "The difference between the request time and the server's time is too large.";
    RequestTimeout, BAD_REQUEST, "Your socket connection to the server was not read from or written to within the timeout period.";
    ServerSideEncryptionConfigurationNotFoundError, NOT_FOUND, "The server side encryption configuration was not found.";
    ServiceUnavailable, SERVICE_UNAVAILABLE, "Service is unable to handle request.";
    SignatureDoesNotMatch, FORBIDDEN, "The request signature that the server calculated does not match the signature that you provided. Check your secret access key and signing method.";
    SlowDown, SERVICE_UNAVAILABLE, "Please reduce your request rate.";
    XAmzContentSHA256Mismatch, BAD_REQUEST, "The provided 'x-amz-content-sha256' header does not match what was computed.";
}

impl Fault {
    /// The usual error of that code.
    pub(super) fn new(code: Code) -> Fault {
        Fault::with(code, code.message())
    }

    /// An error with a message of its own.
    pub(super) fn with(code: Code, message: impl Into<Cow<'static, str>>) -> Fault {
        Fault {
            code,
            message: message.into(),
            fields: Vec::new(),
            headers: Vec::new(),
            detail: None,
        }
    }

    /// A refusal of something that changes what the request means.
    pub(super) fn not_implemented(what: &str) -> Fault {
        Fault::with(Code::NotImplemented, format!("{what} is not implemented."))
    }

    /// An argument that cannot be.
    pub(super) fn argument(name: &str, value: &str, message: impl Into<Cow<'static, str>>) -> Fault {
        let fault = Fault::with(Code::InvalidArgument, message);
        fault.field("ArgumentName", name).field("ArgumentValue", value)
    }

    /// Adds an element to the error document.
    #[must_use]
    pub(super) fn field(mut self, name: &'static str, value: impl Into<String>) -> Fault {
        self.fields.push((name, value.into()));
        self
    }

    /// Adds a header to the answer.
    #[must_use]
    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Fault {
        self.headers.push((name, value.into()));
        self
    }
}

impl From<Code> for Fault {
    fn from(code: Code) -> Fault {
        Fault::new(code)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Fault {
        match error {
            StoreError::NoSuchBucket => Code::NoSuchBucket.into(),
            StoreError::NoSuchKey => Code::NoSuchKey.into(),
            StoreError::NoSuchUpload => Code::NoSuchUpload.into(),
            StoreError::BucketAlreadyOwnedByYou => Code::BucketAlreadyOwnedByYou.into(),
            StoreError::BucketAlreadyExists => Code::BucketAlreadyExists.into(),
            StoreError::BucketNotEmpty => Code::BucketNotEmpty.into(),
            StoreError::InvalidPart { number } => Fault::new(Code::InvalidPart).field("PartNumber", number.to_string()),
            StoreError::InvalidPartOrder => Code::InvalidPartOrder.into(),
            StoreError::EntityTooSmall { number, size } => Fault::new(Code::EntityTooSmall)
                .field("PartNumber", number.to_string())
                .field("ProposedSize", size.to_string())
                .field("MinSizeAllowed", crate::multipart::PART_MIN_BYTES.to_string()),
            StoreError::EntityTooLarge => Code::EntityTooLarge.into(),
            StoreError::InvalidRequest(text) => Fault::with(Code::InvalidRequest, text),
            StoreError::BadDigest => Code::BadDigest.into(),
            StoreError::PreconditionFailed => Code::PreconditionFailed.into(),
            StoreError::ConditionalConflict => Code::ConditionalRequestConflict.into(),
            StoreError::OutcomeUnknown => Fault::with(
                Code::ServiceUnavailable,
                "The outcome of the operation is not known. Please try again.",
            ),
            StoreError::SlowDown => Code::SlowDown.into(),
            StoreError::Unavailable(text) => Fault::with(Code::ServiceUnavailable, text),
            StoreError::StorageFull => Fault::with(
                Code::ServiceUnavailable,
                "No space is left for new data; reads and deletes go on.",
            ),
            StoreError::Body(error) => error.into(),
            StoreError::Internal(text) => Fault {
                detail: Some(text),
                ..Fault::new(Code::InternalError)
            },
        }
    }
}

impl From<BodyError> for Fault {
    fn from(error: BodyError) -> Fault {
        let text = error.to_string();
        match error {
            BodyError::Incomplete | BodyError::TooLong => Code::IncompleteBody.into(),
            BodyError::Disconnected(_) => Fault::with(Code::IncompleteBody, text),
            BodyError::TooLarge => Code::EntityTooLarge.into(),
            BodyError::Md5Mismatch | BodyError::ChecksumMismatch(_) => Fault::with(Code::BadDigest, capital(&text)),
            BodyError::PayloadHashMismatch => Code::XAmzContentSHA256Mismatch.into(),
            BodyError::ChunkSignatureMismatch => Code::SignatureDoesNotMatch.into(),
            BodyError::Malformed(_) => Fault::with(Code::InvalidRequest, capital(&text)),
            BodyError::TimedOut => Code::RequestTimeout.into(),
            BodyError::Source(_) => Fault::with(Code::ServiceUnavailable, capital(&text)),
        }
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).chain(['.']).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_outcome_is_neither_success_nor_a_failed_condition() {
        let status = |error: StoreError| Fault::from(error).code.status().as_u16();
        assert_eq!(status(StoreError::PreconditionFailed), 412);
        assert_eq!(status(StoreError::ConditionalConflict), 409);
        assert_eq!(status(StoreError::OutcomeUnknown), 503);
        assert_eq!(status(StoreError::SlowDown), 503);
        assert_eq!(status(StoreError::StorageFull), 503);
        assert_eq!(status(StoreError::Unavailable("no quorum".to_owned())), 503);
    }

    #[test]
    fn internal_errors_are_not_told_to_clients() {
        let fault = Fault::from(StoreError::Internal("row 7 is torn".to_owned()));
        assert_eq!(
            (fault.code, fault.detail.as_deref()),
            (Code::InternalError, Some("row 7 is torn"))
        );
        assert!(!fault.message.contains("row 7"));
    }
}
