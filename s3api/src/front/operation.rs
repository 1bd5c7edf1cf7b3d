//! The operations of S3: how each is recognised, and which of its headers and parameters have a meaning here.
//!
//! [`TABLE`] is the surface. A request is matched with the first row whose method, target and selectors fit. A header or
//! parameter that the row does not name, and that could change what the request means, is refused with `501`; it is never
//! ignored. What S3 itself ignores (parameters beginning with `x-`) is ignored here too, save `x-amz-` ones: those are
//! headers that a presigned URL carries in its query, and count as headers.

use hyper::Method;
use hyper::header::HeaderMap;

use super::fault::{Code, Fault};
use super::uri::{Query, Target};

/// What kind of thing an operation works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All buckets.
    Service,
    /// A bucket.
    Bucket,
    /// An object.
    Object,
}

/// How far an operation is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It works.
    Full(Handler),
    /// A read that truthfully answers "there is none", because it cannot be set here.
    Fixed,
    /// It answers `501 NotImplemented`.
    Refused,
}

/// The operations that work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the S3 API")]
pub enum Handler {
    ListBuckets,
    GetBucketLocation,
    ListMultipartUploads,
    ListObjectsV2,
    ListObjects,
    HeadBucket,
    CreateBucket,
    DeleteBucket,
    DeleteObjects,
    ListParts,
    GetObject,
    HeadObject,
    UploadPartCopy,
    UploadPart,
    CopyObject,
    PutObject,
    AbortMultipartUpload,
    DeleteObject,
    CreateMultipartUpload,
    CompleteMultipartUpload,
}

/// One row of the surface.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// Its name in the S3 API.
    pub name: &'static str,
    /// The HTTP method.
    pub method: &'static str,
    /// What it works on.
    pub scope: Scope,
    /// Parameters (`name` or `name=value`) and headers (`@name`) that tell it from its neighbours.
    pub selectors: &'static [&'static str],
    /// How far it is there.
    pub support: Support,
    /// Further parameters that it understands.
    pub parameters: &'static [&'static str],
    /// Groups of `x-amz-` headers that it understands.
    pub headers: &'static [&'static [&'static str]],
}

const NONE: &[&str] = &[];
const RESPONSE: &[&str] = &[
    "response-content-type",
    "response-content-language",
    "response-expires",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "partNumber",
    "versionId",
];
const ACL: &[&str] = &["x-amz-acl"];
const CHECKSUM: &[&str] = &[
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-trailer",
    "x-amz-decoded-content-length",
];
const CHECKSUM_CHOICE: &[&str] = &["x-amz-checksum-algorithm"];
const CHECKSUM_TYPE: &[&str] = &["x-amz-checksum-type"];
const CHECKSUM_MODE: &[&str] = &["x-amz-checksum-mode"];
const STORED: &[&str] = &[
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
    "x-amz-tagging",
];
const SOURCE: &[&str] = &[
    "x-amz-copy-source",
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-modified-since",
    "x-amz-copy-source-if-unmodified-since",
    "x-amz-source-expected-bucket-owner",
];
const SOURCE_RANGE: &[&str] = &["x-amz-copy-source-range"];
const DIRECTIVES: &[&str] = &["x-amz-metadata-directive", "x-amz-tagging-directive"];
const BYPASS: &[&str] = &["x-amz-bypass-governance-retention"];
const NEW_BUCKET: &[&str] = &["x-amz-object-ownership", "x-amz-bucket-object-lock-enabled"];
const MP_SIZE: &[&str] = &["x-amz-mp-object-size"];
const ATTRIBUTES: &[&str] = &["x-amz-optional-object-attributes"];

/// Headers that no operation minds.
const COMMON: &[&str] = &[
    "x-amz-date",
    "x-amz-content-sha256",
    "x-amz-expected-bucket-owner",
    "x-amz-request-payer",
    "x-amz-user-agent",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-te",
];

const fn row(
    name: &'static str,
    method: &'static str,
    scope: Scope,
    selectors: &'static [&'static str],
    support: Support,
) -> Operation {
    Operation {
        name,
        method,
        scope,
        selectors,
        support,
        parameters: NONE,
        headers: &[],
    }
}

const fn full(
    name: &'static str,
    handler: Handler,
    method: &'static str,
    scope: Scope,
    selectors: &'static [&'static str],
    parameters: &'static [&'static str],
    headers: &'static [&'static [&'static str]],
) -> Operation {
    Operation {
        name,
        method,
        scope,
        selectors,
        support: Support::Full(handler),
        parameters,
        headers,
    }
}

use Scope::{Bucket, Object, Service};
use Support::{Fixed, Refused};

/// Every operation of S3 that is told apart, those with more selectors first.
pub const TABLE: &[Operation] = &[
    full(
        "ListBuckets",
        Handler::ListBuckets,
        "GET",
        Service,
        NONE,
        &["prefix", "max-buckets", "continuation-token", "bucket-region"],
        &[],
    ),
    row(
        "GetBucketAccelerateConfiguration",
        "GET",
        Bucket,
        &["accelerate"],
        Fixed,
    ),
    row("GetBucketAcl", "GET", Bucket, &["acl"], Fixed),
    row(
        "GetBucketAnalyticsConfiguration",
        "GET",
        Bucket,
        &["analytics"],
        Refused,
    ),
    row("GetBucketCors", "GET", Bucket, &["cors"], Fixed),
    row("GetBucketEncryption", "GET", Bucket, &["encryption"], Fixed),
    row(
        "GetBucketIntelligentTieringConfiguration",
        "GET",
        Bucket,
        &["intelligent-tiering"],
        Refused,
    ),
    row(
        "GetBucketInventoryConfiguration",
        "GET",
        Bucket,
        &["inventory"],
        Refused,
    ),
    row("GetBucketLifecycleConfiguration", "GET", Bucket, &["lifecycle"], Fixed),
    full(
        "GetBucketLocation",
        Handler::GetBucketLocation,
        "GET",
        Bucket,
        &["location"],
        NONE,
        &[],
    ),
    row("GetBucketLogging", "GET", Bucket, &["logging"], Fixed),
    row(
        "GetBucketMetadataTableConfiguration",
        "GET",
        Bucket,
        &["metadataTable"],
        Refused,
    ),
    row("GetBucketMetricsConfiguration", "GET", Bucket, &["metrics"], Refused),
    row(
        "GetBucketNotificationConfiguration",
        "GET",
        Bucket,
        &["notification"],
        Fixed,
    ),
    row(
        "GetBucketOwnershipControls",
        "GET",
        Bucket,
        &["ownershipControls"],
        Fixed,
    ),
    row("GetBucketPolicy", "GET", Bucket, &["policy"], Fixed),
    row("GetBucketPolicyStatus", "GET", Bucket, &["policyStatus"], Fixed),
    row("GetBucketReplication", "GET", Bucket, &["replication"], Fixed),
    row("GetBucketRequestPayment", "GET", Bucket, &["requestPayment"], Fixed),
    row("GetBucketTagging", "GET", Bucket, &["tagging"], Fixed),
    row("GetBucketVersioning", "GET", Bucket, &["versioning"], Fixed),
    row("GetBucketWebsite", "GET", Bucket, &["website"], Fixed),
    row("GetObjectLockConfiguration", "GET", Bucket, &["object-lock"], Fixed),
    row("GetPublicAccessBlock", "GET", Bucket, &["publicAccessBlock"], Fixed),
    row("CreateSession", "GET", Bucket, &["session"], Refused),
    row("ListObjectVersions", "GET", Bucket, &["versions"], Refused),
    full(
        "ListMultipartUploads",
        Handler::ListMultipartUploads,
        "GET",
        Bucket,
        &["uploads"],
        &[
            "prefix",
            "delimiter",
            "encoding-type",
            "key-marker",
            "upload-id-marker",
            "max-uploads",
        ],
        &[],
    ),
    full(
        "ListObjectsV2",
        Handler::ListObjectsV2,
        "GET",
        Bucket,
        &["list-type=2"],
        &[
            "prefix",
            "delimiter",
            "max-keys",
            "encoding-type",
            "continuation-token",
            "start-after",
            "fetch-owner",
        ],
        &[ATTRIBUTES],
    ),
    full(
        "ListObjects",
        Handler::ListObjects,
        "GET",
        Bucket,
        NONE,
        &["prefix", "delimiter", "max-keys", "encoding-type", "marker"],
        &[ATTRIBUTES],
    ),
    full("HeadBucket", Handler::HeadBucket, "HEAD", Bucket, NONE, NONE, &[]),
    row(
        "PutBucketAccelerateConfiguration",
        "PUT",
        Bucket,
        &["accelerate"],
        Refused,
    ),
    row("PutBucketAcl", "PUT", Bucket, &["acl"], Refused),
    row(
        "PutBucketAnalyticsConfiguration",
        "PUT",
        Bucket,
        &["analytics"],
        Refused,
    ),
    row("PutBucketCors", "PUT", Bucket, &["cors"], Refused),
    row("PutBucketEncryption", "PUT", Bucket, &["encryption"], Refused),
    row(
        "PutBucketIntelligentTieringConfiguration",
        "PUT",
        Bucket,
        &["intelligent-tiering"],
        Refused,
    ),
    row(
        "PutBucketInventoryConfiguration",
        "PUT",
        Bucket,
        &["inventory"],
        Refused,
    ),
    row(
        "PutBucketLifecycleConfiguration",
        "PUT",
        Bucket,
        &["lifecycle"],
        Refused,
    ),
    row("PutBucketLogging", "PUT", Bucket, &["logging"], Refused),
    row("PutBucketMetricsConfiguration", "PUT", Bucket, &["metrics"], Refused),
    row(
        "PutBucketNotificationConfiguration",
        "PUT",
        Bucket,
        &["notification"],
        Refused,
    ),
    row(
        "PutBucketOwnershipControls",
        "PUT",
        Bucket,
        &["ownershipControls"],
        Refused,
    ),
    row("PutBucketPolicy", "PUT", Bucket, &["policy"], Refused),
    row("PutBucketReplication", "PUT", Bucket, &["replication"], Refused),
    row("PutBucketRequestPayment", "PUT", Bucket, &["requestPayment"], Refused),
    row("PutBucketTagging", "PUT", Bucket, &["tagging"], Refused),
    row("PutBucketVersioning", "PUT", Bucket, &["versioning"], Refused),
    row("PutBucketWebsite", "PUT", Bucket, &["website"], Refused),
    row("PutObjectLockConfiguration", "PUT", Bucket, &["object-lock"], Refused),
    row("PutPublicAccessBlock", "PUT", Bucket, &["publicAccessBlock"], Refused),
    full(
        "CreateBucket",
        Handler::CreateBucket,
        "PUT",
        Bucket,
        NONE,
        NONE,
        &[ACL, NEW_BUCKET, CHECKSUM],
    ),
    row(
        "DeleteBucketAnalyticsConfiguration",
        "DELETE",
        Bucket,
        &["analytics"],
        Refused,
    ),
    row("DeleteBucketCors", "DELETE", Bucket, &["cors"], Refused),
    row("DeleteBucketEncryption", "DELETE", Bucket, &["encryption"], Refused),
    row("DeleteBucketLifecycle", "DELETE", Bucket, &["lifecycle"], Refused),
    row(
        "DeleteBucketOwnershipControls",
        "DELETE",
        Bucket,
        &["ownershipControls"],
        Refused,
    ),
    row("DeleteBucketPolicy", "DELETE", Bucket, &["policy"], Refused),
    row("DeleteBucketReplication", "DELETE", Bucket, &["replication"], Refused),
    row("DeleteBucketTagging", "DELETE", Bucket, &["tagging"], Refused),
    row("DeleteBucketWebsite", "DELETE", Bucket, &["website"], Refused),
    row(
        "DeletePublicAccessBlock",
        "DELETE",
        Bucket,
        &["publicAccessBlock"],
        Refused,
    ),
    full("DeleteBucket", Handler::DeleteBucket, "DELETE", Bucket, NONE, NONE, &[]),
    full(
        "DeleteObjects",
        Handler::DeleteObjects,
        "POST",
        Bucket,
        &["delete"],
        NONE,
        &[CHECKSUM, BYPASS],
    ),
    row("PostObject", "POST", Bucket, NONE, Refused),
    row("GetObjectAcl", "GET", Object, &["acl"], Fixed),
    row("GetObjectAttributes", "GET", Object, &["attributes"], Refused),
    row("GetObjectLegalHold", "GET", Object, &["legal-hold"], Fixed),
    row("GetObjectRetention", "GET", Object, &["retention"], Fixed),
    row("GetObjectTagging", "GET", Object, &["tagging"], Fixed),
    row("GetObjectTorrent", "GET", Object, &["torrent"], Refused),
    full(
        "ListParts",
        Handler::ListParts,
        "GET",
        Object,
        &["uploadId"],
        &["max-parts", "part-number-marker", "encoding-type"],
        &[],
    ),
    full(
        "GetObject",
        Handler::GetObject,
        "GET",
        Object,
        NONE,
        RESPONSE,
        &[CHECKSUM_MODE],
    ),
    full(
        "HeadObject",
        Handler::HeadObject,
        "HEAD",
        Object,
        NONE,
        RESPONSE,
        &[CHECKSUM_MODE],
    ),
    row("PutObjectAcl", "PUT", Object, &["acl"], Refused),
    row("PutObjectLegalHold", "PUT", Object, &["legal-hold"], Refused),
    row("PutObjectRetention", "PUT", Object, &["retention"], Refused),
    row("PutObjectTagging", "PUT", Object, &["tagging"], Refused),
    row("RenameObject", "PUT", Object, &["renameObject"], Refused),
    full(
        "UploadPartCopy",
        Handler::UploadPartCopy,
        "PUT",
        Object,
        &["uploadId", "partNumber", "@x-amz-copy-source"],
        NONE,
        &[SOURCE, SOURCE_RANGE],
    ),
    full(
        "UploadPart",
        Handler::UploadPart,
        "PUT",
        Object,
        &["uploadId", "partNumber"],
        NONE,
        &[CHECKSUM],
    ),
    full(
        "CopyObject",
        Handler::CopyObject,
        "PUT",
        Object,
        &["@x-amz-copy-source"],
        NONE,
        &[ACL, STORED, SOURCE, DIRECTIVES, CHECKSUM_CHOICE],
    ),
    full(
        "PutObject",
        Handler::PutObject,
        "PUT",
        Object,
        NONE,
        NONE,
        &[ACL, STORED, CHECKSUM, CHECKSUM_CHOICE],
    ),
    full(
        "AbortMultipartUpload",
        Handler::AbortMultipartUpload,
        "DELETE",
        Object,
        &["uploadId"],
        NONE,
        &[],
    ),
    row("DeleteObjectTagging", "DELETE", Object, &["tagging"], Refused),
    full(
        "DeleteObject",
        Handler::DeleteObject,
        "DELETE",
        Object,
        NONE,
        &["versionId"],
        &[BYPASS],
    ),
    full(
        "CreateMultipartUpload",
        Handler::CreateMultipartUpload,
        "POST",
        Object,
        &["uploads"],
        NONE,
        &[ACL, STORED, CHECKSUM_CHOICE, CHECKSUM_TYPE],
    ),
    full(
        "CompleteMultipartUpload",
        Handler::CompleteMultipartUpload,
        "POST",
        Object,
        &["uploadId"],
        NONE,
        &[CHECKSUM, CHECKSUM_TYPE, MP_SIZE],
    ),
    row("RestoreObject", "POST", Object, &["restore"], Refused),
    row("SelectObjectContent", "POST", Object, &["select"], Refused),
];

impl Operation {
    /// The row that a request belongs to.
    pub(super) fn of(
        method: &Method,
        target: &Target,
        query: &Query,
        headers: &HeaderMap,
    ) -> Result<&'static Operation, Fault> {
        let scope = match target {
            Target::Service => Service,
            Target::Bucket(_) => Bucket,
            Target::Object(..) => Object,
        };
        let selected = |selector: &str| match (selector.strip_prefix('@'), selector.split_once('=')) {
            (Some(header), _) => headers.contains_key(header),
            (None, Some((name, value))) => query.get(name) == Some(value),
            (None, None) => query.has(selector),
        };
        TABLE
            .iter()
            .filter(|row| row.scope == scope && row.method == method.as_str())
            .find(|row| row.selectors.iter().all(|selector| selected(selector)))
            .ok_or_else(|| Fault::new(Code::MethodNotAllowed).field("Method", method.as_str()))
    }

    /// Refuses what would have a meaning that the operation does not know.
    pub(super) fn check(&self, query: &Query, headers: &HeaderMap) -> Result<(), Fault> {
        if self.support == Refused {
            return Err(Fault::not_implemented(self.name));
        }
        for (name, _) in query.iter() {
            if !self.knows_parameter(name) {
                return Err(
                    Fault::not_implemented(&format!("The parameter {name} of {}", self.name)).field("Header", name),
                );
            }
        }
        for (name, value) in headers {
            if !self.knows_header(name.as_str()) {
                return Err(Fault::not_implemented(&format!("The header {name} of {}", self.name))
                    .field("Header", name.as_str()));
            }
            check_value(name.as_str(), value.to_str().unwrap_or_default())?;
        }
        Ok(())
    }

    fn knows_parameter(&self, name: &str) -> bool {
        let selects = |selector: &str| selector.split('=').next() == Some(name);
        name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("x-"))
            || self.selectors.iter().any(|selector| selects(selector))
            || self.parameters.contains(&name)
    }

    fn knows_header(&self, name: &str) -> bool {
        let meta = name.starts_with("x-amz-meta-");
        !name.starts_with("x-amz-")
            || meta
            || COMMON.contains(&name)
            || self.headers.iter().any(|group| group.contains(&name))
    }
}

/// Some headers are understood only if they say what is the case anyway.
fn check_value(name: &str, value: &str) -> Result<(), Fault> {
    let fine = match name {
        "x-amz-acl" => ["private", "bucket-owner-full-control"].contains(&value),
        "x-amz-storage-class" => value == "STANDARD",
        "x-amz-tagging" => value.is_empty(),
        "x-amz-object-ownership" => value == "BucketOwnerEnforced",
        "x-amz-bucket-object-lock-enabled" => value.eq_ignore_ascii_case("false"),
        _ => true,
    };
    if fine {
        Ok(())
    } else {
        Err(Fault::not_implemented(&format!("The value {value} of {name}")).field("Header", name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: Method, path: &str, headers: &[(&'static str, &'static str)]) -> (&'static str, Result<(), Code>) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let query = Query::parse(query).unwrap();
        let target = Target::parse(path, "", None).unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let row = Operation::of(&method, &target, &query, &map).unwrap();
        (row.name, row.check(&query, &map).map_err(|fault| fault.code))
    }

    #[test]
    fn requests_find_their_row() {
        let cases = [
            (Method::GET, "/", "ListBuckets"),
            (Method::GET, "/bucket", "ListObjects"),
            (Method::GET, "/bucket?list-type=2&prefix=x", "ListObjectsV2"),
            (Method::GET, "/bucket?uploads", "ListMultipartUploads"),
            (Method::PUT, "/bucket", "CreateBucket"),
            (Method::POST, "/bucket?delete", "DeleteObjects"),
            (Method::GET, "/bucket/key?x-id=GetObject", "GetObject"),
            (Method::GET, "/bucket/key?uploadId=1", "ListParts"),
            (Method::PUT, "/bucket/key", "PutObject"),
            (Method::PUT, "/bucket/key?partNumber=1&uploadId=2", "UploadPart"),
            (Method::POST, "/bucket/key?uploads", "CreateMultipartUpload"),
            (Method::POST, "/bucket/key?uploadId=2", "CompleteMultipartUpload"),
            (Method::DELETE, "/bucket/key?uploadId=2", "AbortMultipartUpload"),
            (Method::GET, "/bucket?versioning", "GetBucketVersioning"),
        ];
        for (method, path, name) in cases {
            assert_eq!(of(method, path, &[]), (name, Ok(())), "{path}");
        }
        let source = [("x-amz-copy-source", "/a/b")];
        assert_eq!(of(Method::PUT, "/bucket/key", &source), ("CopyObject", Ok(())));
        assert_eq!(
            of(Method::PUT, "/bucket/key?partNumber=1&uploadId=2", &source),
            ("UploadPartCopy", Ok(()))
        );
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let refused = Err(Code::NotImplemented);
        assert_eq!(of(Method::PUT, "/bucket?versioning", &[]).1, refused);
        assert_eq!(of(Method::PUT, "/bucket?somethingNew", &[]).1, refused);
        assert_eq!(of(Method::PUT, "/bucket/key?somethingNew", &[]).1, refused);
        assert_eq!(of(Method::PUT, "/bucket/key?partNumber=1", &[]).1, refused);
        let put = |name, value| of(Method::PUT, "/bucket/key", &[(name, value)]).1;
        assert_eq!(
            put("x-amz-server-side-encryption-customer-algorithm", "AES256"),
            refused
        );
        assert_eq!(put("x-amz-object-lock-mode", "COMPLIANCE"), refused);
        assert_eq!(put("x-amz-tagging", "a=b"), refused);
        assert_eq!(put("x-amz-storage-class", "GLACIER"), refused);
        assert_eq!(put("x-amz-acl", "public-read"), refused);
        assert_eq!(put("x-amz-grant-read", "id=1"), refused);
        assert_eq!(put("x-amz-acl", "private"), Ok(()));
        assert_eq!(put("x-amz-meta-anything", "1"), Ok(()));
    }

    #[test]
    fn no_row_hides_another() {
        for (place, row) in TABLE.iter().enumerate() {
            let before = TABLE
                .iter()
                .take(place)
                .filter(|other| other.method == row.method && other.scope == row.scope);
            for other in before {
                let hides = other.selectors.iter().all(|selector| row.selectors.contains(selector));
                assert!(!hides, "{} hides {}", other.name, row.name);
            }
        }
        let mut names: Vec<&str> = TABLE.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.len());
    }
}
