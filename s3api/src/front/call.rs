//! A request that has been authenticated and understood, on its way to an operation.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::Door;
use super::fault::{Code, Fault};
use super::headers;
use super::source::Arrival;
use super::uri::{Query, Target};
use crate::bucket::{AccessKey, Action, BucketInfo, BucketName, Caller, Credential, access};
use crate::object::ObjectKey;
use crate::store::{ObjectStore, Origin};

/// The parameters of a presigned URL that belong to the signature.
const SIGNATURE_PARAMETERS: [&str; 8] = [
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-signedheaders",
    "x-amz-signature",
    "x-amz-security-token",
    "x-amz-content-sha256",
];

/// A request on its way to an operation.
pub(super) struct Call {
    pub(super) target: Target,
    pub(super) query: Query,
    pub(super) headers: HeaderMap,
    pub(super) caller: Caller,
    pub(super) credential: Option<Credential>,
    pub(super) body: Arrival,
}

impl Call {
    /// The key that signed the request.
    pub(super) fn key_pair(&self) -> Result<&AccessKey, Fault> {
        match &self.caller {
            Caller::Key(key) => Ok(key),
            Caller::Anonymous => Err(Code::AccessDenied.into()),
        }
    }

    /// Who asks for a change.
    pub(super) fn origin(&self) -> Result<Origin, Fault> {
        let invocation = headers::text(&self.headers, "amz-sdk-invocation-id")?.map(str::to_owned);
        Ok(Origin {
            caller: self.key_pair()?.clone(),
            invocation,
        })
    }

    /// The key of the object; operations on objects always have one.
    pub(super) fn object(&self) -> Result<ObjectKey, Fault> {
        self.target.key().cloned().ok_or_else(|| Code::InvalidURI.into())
    }

    /// The bucket of the request, if the caller may do `action` in it.
    pub(super) async fn bucket<S: ObjectStore>(&self, door: &Door<S>, action: Action) -> Result<BucketInfo, Fault> {
        let name = self.target.bucket().ok_or(Code::InvalidURI)?;
        self.open(door, name, action, "x-amz-expected-bucket-owner").await
    }

    /// A bucket, if the caller may do `action` in it and it belongs to the expected owner.
    pub(super) async fn open<S: ObjectStore>(
        &self,
        door: &Door<S>,
        name: &BucketName,
        action: Action,
        owner_header: &str,
    ) -> Result<BucketInfo, Fault> {
        let bucket = door
            .store
            .bucket(name)
            .await
            .map_err(|error| Fault::from(error).field("BucketName", name.as_str()))?;
        let expected = headers::text(&self.headers, owner_header)?;
        let owned = expected.is_none_or(|owner| owner == bucket.owner.as_str());
        if owned && access(&self.caller, &bucket).allows(action) {
            Ok(bucket)
        } else {
            Err(Code::AccessDenied.into())
        }
    }
}

/// Presigned URLs may carry headers in their query; they count as headers, and what is sent as both must agree.
pub(super) fn with_hoisted(mut headers: HeaderMap, query: &Query) -> Result<HeaderMap, Fault> {
    for (name, value) in query.iter() {
        let name = name.to_ascii_lowercase();
        if !name.starts_with("x-amz-") || SIGNATURE_PARAMETERS.contains(&name.as_str()) {
            continue;
        }
        let wrong = || Fault::argument(&name, value, "The header in the query is not valid");
        let header = HeaderName::try_from(&name).map_err(|_| wrong())?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| wrong())?;
        if headers.get(&header).is_some_and(|sent| *sent != value) {
            return Err(wrong());
        }
        headers.insert(header, value);
    }
    Ok(headers)
}
