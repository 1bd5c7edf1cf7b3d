//! Request targets: percent coding, queries, and which bucket and key is meant.

use std::fmt::Write as _;

use super::fault::{Code, Fault};
use crate::bucket::BucketName;
use crate::object::{InvalidKey, ObjectKey};

/// The query of a request, decoded, in the order it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// All buckets.
    Service,
    /// One bucket.
    Bucket(BucketName),
    /// One object.
    Object(BucketName, ObjectKey),
}

impl Query {
    /// Reads the text behind the question mark. `+` is a space, as in forms.
    pub(super) fn parse(text: &str) -> Result<Query, Fault> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode_form(name)?, decode_form(value)?))
        });
        pairs.collect::<Result<_, Fault>>().map(Query)
    }

    /// The value of a parameter; empty if it stands alone.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    /// The value of a parameter, unless it is empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Whether the parameter is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All parameters.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A number in a range; `None` if it is not given.
    pub(super) fn number(&self, name: &str, max: u32) -> Result<Option<u32>, Fault> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let wrong = || {
            Fault::argument(
                name,
                text,
                format!("Argument {name} must be an integer between 0 and {max}"),
            )
        };
        text.parse::<u32>()
            .ok()
            .filter(|&number| number <= max)
            .map(Some)
            .ok_or_else(wrong)
    }
}

impl Target {
    /// Reads the path, and the host if buckets are named there.
    pub(super) fn parse(path: &str, host: &str, domain: Option<&str>) -> Result<Target, Fault> {
        let path = path.strip_prefix('/').ok_or(Code::InvalidURI)?;
        let (bucket, key) = match domain.and_then(|domain| bucket_in_host(host, domain)) {
            Some(bucket) => (bucket, path),
            None => path.split_once('/').unwrap_or((path, "")),
        };
        let bucket = decode(bucket)?;
        if bucket.is_empty() && key.is_empty() {
            return Ok(Target::Service);
        }
        let bucket =
            BucketName::parse(&bucket).map_err(|_| Fault::new(Code::InvalidBucketName).field("BucketName", bucket))?;
        match ObjectKey::parse(decode(key)?) {
            Ok(key) => Ok(Target::Object(bucket, key)),
            Err(InvalidKey::Empty) => Ok(Target::Bucket(bucket)),
            Err(InvalidKey::TooLong) => {
                Err(Fault::new(Code::KeyTooLongError).field("MaxSizeAllowed", crate::object::KEY_MAX_BYTES.to_string()))
            }
        }
    }

    /// The bucket, if the request is about one.
    pub(super) fn bucket(&self) -> Option<&BucketName> {
        match self {
            Target::Service => None,
            Target::Bucket(bucket) | Target::Object(bucket, _) => Some(bucket),
        }
    }

    /// The key, if the request is about an object.
    pub(super) fn key(&self) -> Option<&ObjectKey> {
        match self {
            Target::Service | Target::Bucket(_) => None,
            Target::Object(_, key) => Some(key),
        }
    }
}

/// The bucket that stands in front of the domain.
fn bucket_in_host<'h>(host: &'h str, domain: &str) -> Option<&'h str> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name.strip_suffix(domain)?
        .strip_suffix('.')
        .filter(|bucket| !bucket.is_empty())
}

/// Undoes percent coding; the result must be UTF-8.
pub(super) fn decode(text: &str) -> Result<String, Fault> {
    String::from_utf8(decode_bytes(text)).map_err(|_| Code::InvalidURI.into())
}

fn decode_form(text: &str) -> Result<String, Fault> {
    decode(&text.replace('+', " "))
}

/// Undoes percent coding; a percent sign without two digits stands for itself.
pub(super) fn decode_bytes(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        let coded = (*first == b'%').then(|| tail.get(..2).and_then(hex_byte)).flatten();
        decoded.push(coded.unwrap_or(*first));
        rest = if coded.is_some() {
            tail.get(2..).unwrap_or_default()
        } else {
            tail
        };
    }
    decoded
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    crate::object::unhex::<1>(std::str::from_utf8(digits).ok()?).map(|[byte]| byte)
}

/// Percent coding as signatures want it: everything but letters, digits and `-._~`, and `/` unless it is `kept`.
pub(super) fn encode(bytes: &[u8], kept: &[u8]) -> String {
    let mut encoded = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str) -> Result<Target, Code> {
        Target::parse(path, "localhost:3900", Some("s3.example.com")).map_err(|fault| fault.code)
    }

    #[test]
    fn paths_keep_their_keys() {
        let bucket = BucketName::parse("bucket").unwrap();
        let object = |key: &str| Ok(Target::Object(bucket.clone(), ObjectKey::parse(key).unwrap()));
        assert_eq!(target("/"), Ok(Target::Service));
        assert_eq!(target("/bucket"), Ok(Target::Bucket(bucket.clone())));
        assert_eq!(target("/bucket/"), Ok(Target::Bucket(bucket.clone())));
        assert_eq!(target("/bucket/a%2Fb+c%20d"), object("a/b+c d"));
        assert_eq!(target("/bucket//"), object("/"));
        assert_eq!(target("/bucket/../x"), object("../x"));
        assert_eq!(target("/bucket/%00%0a%"), object("\u{0}\n%"));
        assert_eq!(target("/bucket/%ff"), Err(Code::InvalidURI));
        assert_eq!(target("/Bucket/x"), Err(Code::InvalidBucketName));
        assert_eq!(
            target(&format!("/bucket/{}", "x".repeat(1025))),
            Err(Code::KeyTooLongError)
        );
        let host = Target::parse("/a/b", "bucket.s3.example.com:80", Some("s3.example.com"));
        assert_eq!(host, Ok(Target::Object(bucket, ObjectKey::parse("a/b").unwrap())));
    }

    #[test]
    fn queries_are_decoded() {
        let query = Query::parse("acl&prefix=a%2Fb+c&empty=&=x&n=7").unwrap();
        assert_eq!(query.get("acl"), Some(""));
        assert_eq!(query.get("prefix"), Some("a/b c"));
        assert_eq!(query.text("empty"), None);
        assert_eq!(query.number("n", 10), Ok(Some(7)));
        assert!(query.number("n", 6).is_err());
        assert!(query.number("prefix", 6).is_err());
        assert!(Query::parse("%ff").is_err());
    }

    #[test]
    fn coding_goes_both_ways() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode_bytes(&encode(&all, b"/")), all);
        assert_eq!(encode("a b/\u{e9}~".as_bytes(), b""), "a%20b%2F%C3%A9~");
    }
}
