//! Request headers: conditions, metadata, checksums, as the store wants them.

use hyper::header::{HeaderMap, HeaderName};

use super::clock;
use super::fault::{Code, Fault};
use crate::checksum::{Algorithm, Checksum, ChecksumKind};
use crate::condition::{EtagSet, ReadCondition, WriteCondition};
use crate::object::{Etag, Metadata, USER_METADATA_MAX_BYTES};

const USER_PREFIX: &str = "x-amz-meta-";

/// The value of a header as text; `None` if it is absent or empty.
pub(super) fn text<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Fault> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let text = std::str::from_utf8(value.as_bytes())
        .map_err(|_| Fault::with(Code::InvalidArgument, format!("The header {name} is not UTF-8")))?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// When a write may happen.
pub(super) fn write_condition(headers: &HeaderMap) -> Result<WriteCondition, Fault> {
    Ok(WriteCondition {
        if_match: etags(headers, "if-match")?,
        if_none_match: etags(headers, "if-none-match")?,
    })
}

/// When a read is answered; `prefix` is `x-amz-copy-source-` for the source of a copy.
pub(super) fn read_condition(headers: &HeaderMap, prefix: &str) -> Result<ReadCondition, Fault> {
    let date = |name: &str| {
        // A date that cannot be read does not count, says RFC 9110.
        text(headers, &format!("{prefix}{name}")).map(|text| text.and_then(clock::parse_http))
    };
    Ok(ReadCondition {
        if_match: etags(headers, &format!("{prefix}if-match"))?,
        if_none_match: etags(headers, &format!("{prefix}if-none-match"))?,
        if_modified_since: date("if-modified-since")?,
        if_unmodified_since: date("if-unmodified-since")?,
    })
}

/// `*`, or entity tags with or without quotes. A weak tag is compared by its text: objects are always whole.
fn etags(headers: &HeaderMap, name: &str) -> Result<Option<EtagSet>, Fault> {
    let Some(text) = text(headers, name)? else {
        return Ok(None);
    };
    if text.trim() == "*" {
        return Ok(Some(EtagSet::Any));
    }
    let tags = text
        .split(',')
        .map(str::trim)
        .map(|tag| tag.strip_prefix("W/").unwrap_or(tag));
    Ok(Some(EtagSet::Of(tags.map(Etag::parse).collect())))
}

/// What the client says about the object.
pub(super) fn metadata(headers: &HeaderMap) -> Result<Metadata, Fault> {
    let field = |name: &str| text(headers, name).map(|text| text.map(str::to_owned));
    let user = user_metadata(headers)?;
    let redirect = field("x-amz-website-redirect-location")?;
    if redirect
        .as_ref()
        .is_some_and(|to| !["/", "http://", "https://"].iter().any(|start| to.starts_with(start)))
    {
        let text = "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.";
        return Err(Fault::with(Code::InvalidRequest, text));
    }
    Ok(Metadata {
        content_type: field("content-type")?,
        cache_control: field("cache-control")?,
        content_disposition: field("content-disposition")?,
        content_encoding: content_encoding(headers)?,
        content_language: field("content-language")?,
        expires: field("expires")?,
        website_redirect_location: redirect,
        user,
    })
}

/// The coding of the object; `aws-chunked` is a coding of the transfer and stays out.
fn content_encoding(headers: &HeaderMap) -> Result<Option<String>, Fault> {
    let Some(text) = text(headers, "content-encoding")? else {
        return Ok(None);
    };
    let kept: Vec<&str> = text
        .split(',')
        .map(str::trim)
        .filter(|coding| *coding != "aws-chunked")
        .collect();
    Ok((!kept.is_empty()).then(|| kept.join(",")))
}

fn user_metadata(headers: &HeaderMap) -> Result<std::collections::BTreeMap<String, String>, Fault> {
    let mut user = std::collections::BTreeMap::new();
    for name in headers.keys() {
        let Some(short) = name
            .as_str()
            .strip_prefix(USER_PREFIX)
            .filter(|short| !short.is_empty())
        else {
            continue;
        };
        let values = headers
            .get_all(name)
            .iter()
            .map(|value| std::str::from_utf8(value.as_bytes()));
        let values: Vec<&str> = values.collect::<Result<_, _>>().map_err(|_| {
            Fault::with(
                Code::InvalidArgument,
                format!("The metadata header {name} is not UTF-8"),
            )
        })?;
        user.insert(short.to_owned(), values.join(","));
    }
    let size: usize = user.iter().map(|(name, value)| name.len() + value.len()).sum();
    if size > USER_METADATA_MAX_BYTES {
        let limit = USER_METADATA_MAX_BYTES.to_string();
        return Err(Fault::new(Code::MetadataTooLarge)
            .field("Size", size.to_string())
            .field("MaxSizeAllowed", limit));
    }
    Ok(user)
}

/// The headers that give metadata back.
pub(super) fn of_metadata(metadata: &Metadata) -> Vec<(HeaderName, &str)> {
    let fields = [
        (
            "content-type",
            Some(metadata.content_type.as_deref().unwrap_or("binary/octet-stream")),
        ),
        ("cache-control", metadata.cache_control.as_deref()),
        ("content-disposition", metadata.content_disposition.as_deref()),
        ("content-encoding", metadata.content_encoding.as_deref()),
        ("content-language", metadata.content_language.as_deref()),
        ("expires", metadata.expires.as_deref()),
        (
            "x-amz-website-redirect-location",
            metadata.website_redirect_location.as_deref(),
        ),
    ];
    let fields = fields
        .into_iter()
        .filter_map(|(name, value)| Some((HeaderName::from_static(name), value?)));
    let user = metadata.user.iter().filter_map(|(name, value)| {
        Some((
            HeaderName::try_from(format!("{USER_PREFIX}{name}")).ok()?,
            value.as_str(),
        ))
    });
    fields.chain(user).collect()
}

/// `Content-MD5`.
pub(super) fn content_md5(headers: &HeaderMap) -> Result<Option<[u8; 16]>, Fault> {
    let Some(value) = headers.get("content-md5") else {
        return Ok(None);
    };
    let bytes = base64_simd::STANDARD.decode_to_vec(value.as_bytes()).ok();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .map(Some)
        .ok_or_else(|| Fault::with(Code::InvalidDigest, "The Content-MD5 you specified was invalid."))
}

/// The checksum of the body that stands in a header.
pub(super) fn checksum(headers: &HeaderMap) -> Result<Option<Checksum>, Fault> {
    let mut found = None;
    for algorithm in Algorithm::ALL {
        let Some(value) = text(headers, algorithm.header())? else {
            continue;
        };
        if found.is_some() {
            let text = "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.";
            return Err(Fault::with(Code::InvalidRequest, text));
        }
        let wrong = || {
            Fault::with(
                Code::InvalidRequest,
                format!("Value for {} header is invalid.", algorithm.header()),
            )
        };
        found = Some(Checksum::from_base64(algorithm, value).ok_or_else(wrong)?);
    }
    Ok(found)
}

/// An algorithm that is named in a header.
pub(super) fn algorithm(headers: &HeaderMap, name: &str) -> Result<Option<Algorithm>, Fault> {
    let Some(value) = text(headers, name)? else {
        return Ok(None);
    };
    let text = "Checksum algorithm provided is unsupported. Please try again with any of the valid types: \
                [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]";
    Algorithm::parse(value)
        .map(Some)
        .ok_or_else(|| Fault::with(Code::InvalidRequest, text))
}

/// `x-amz-checksum-type`.
pub(super) fn checksum_kind(headers: &HeaderMap) -> Result<Option<ChecksumKind>, Fault> {
    let Some(value) = text(headers, "x-amz-checksum-type")? else {
        return Ok(None);
    };
    let wrong = || Fault::with(Code::InvalidRequest, "Value for x-amz-checksum-type header is invalid.");
    ChecksumKind::parse(value).map(Some).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in list {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        map
    }

    #[test]
    fn tags_come_in_many_forms() {
        let set = |text| etags(&headers(&[("if-match", text)]), "if-match").unwrap();
        let of = |tags: &[&str]| Some(EtagSet::Of(tags.iter().map(|tag| Etag::parse(tag)).collect()));
        assert_eq!(set("*"), Some(EtagSet::Any));
        assert_eq!(set("\"a\""), of(&["a"]));
        assert_eq!(set("a"), of(&["a"]));
        assert_eq!(set("\"a\", W/\"b\""), of(&["a", "b"]));
        assert_eq!(etags(&HeaderMap::new(), "if-match"), Ok(None));
    }

    #[test]
    fn metadata_is_kept_and_limited() {
        let given = headers(&[
            ("content-encoding", "aws-chunked,gzip"),
            ("x-amz-meta-a", "gr\u{fc}n"),
            ("x-amz-meta-b", "1"),
            ("x-amz-meta-b", "2"),
        ]);
        let metadata = metadata(&given).unwrap();
        assert_eq!(metadata.content_encoding.as_deref(), Some("gzip"));
        assert_eq!(metadata.user["a"], "gr\u{fc}n");
        assert_eq!(metadata.user["b"], "1,2");
        let big = "x".repeat(2048);
        let fault = user_metadata(&headers(&[("x-amz-meta-c", &big)])).unwrap_err();
        assert_eq!(fault.code, Code::MetadataTooLarge);
    }

    #[test]
    fn digests_must_be_well_formed() {
        assert_eq!(
            content_md5(&headers(&[("content-md5", "AAAA")])).unwrap_err().code,
            Code::InvalidDigest
        );
        assert_eq!(
            content_md5(&headers(&[("content-md5", "")])).unwrap_err().code,
            Code::InvalidDigest
        );
        let two = headers(&[
            ("x-amz-checksum-crc32", "AAAAAA=="),
            ("x-amz-checksum-sha1", "qZk+NkcGgWq6PiVxeFDCbJzQ2J0="),
        ]);
        assert!(checksum(&two).is_err());
        assert!(checksum(&headers(&[("x-amz-checksum-crc32", "AAA=")])).is_err());
    }
}
