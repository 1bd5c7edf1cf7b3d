//! The operations of S3: how each is recognised, and which of its headers and parameters have a meaning here.
//!
//! [`TABLE`] is the surface, row by row. A request is matched with the first row whose method, target and selectors fit. A header or
//! parameter that the row does not name, and that could change what the request means, is refused with `501`; it is never
//! ignored. What S3 itself ignores (parameters beginning with `x-`) is ignored here too, save `x-amz-` ones: those are
//! headers that a presigned URL carries in its query, and count as headers.

use hyper::Method;
use hyper::header::HeaderMap;

use super::fault::{Code, Fault};
use super::table::TABLE;
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

impl Operation {
    /// The row that a request belongs to.
    pub(super) fn of(
        method: &Method,
        target: &Target,
        query: &Query,
        headers: &HeaderMap,
    ) -> Result<&'static Operation, Fault> {
        let scope = match target {
            Target::Service => Scope::Service,
            Target::Bucket(_) => Scope::Bucket,
            Target::Object(..) => Scope::Object,
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

    /// Whether this is a browser's form: its signature stands in the body, so nothing can be said yet of who sends it.
    pub(super) fn is_form(&self) -> bool {
        self.name == "PostObject"
    }

    /// Refuses what would have a meaning that the operation does not know.
    pub(super) fn check(&self, query: &Query, headers: &HeaderMap) -> Result<(), Fault> {
        if self.support == Support::Refused {
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
