//! What a client says about an object, as the headers that a row keeps.

use std::collections::BTreeMap;

use trellis_s3api::checksum::{Algorithm, Checksum, ChecksumKind, ObjectChecksum};
use trellis_s3api::object::{Etag, Metadata, ObjectInfo, ObjectPart, Timestamp};
use trellis_spec::row::Object;

pub(super) type Headers = BTreeMap<String, String>;

const USER_PREFIX: &str = "x-amz-meta-";
const CHECKSUM_TYPE: &str = "x-amz-checksum-type";
const CHECKSUM_ALGORITHM: &str = "x-amz-checksum-algorithm";

/// Metadata as headers.
pub(super) fn to_headers(metadata: &Metadata) -> Headers {
    let named = NAMED
        .iter()
        .filter_map(|(name, get, _)| Some(((*name).to_owned(), get(metadata).clone()?)));
    let user = metadata
        .user
        .iter()
        .map(|(name, value)| (format!("{USER_PREFIX}{name}"), value.clone()));
    named.chain(user).collect()
}

/// Headers as metadata.
pub(super) fn to_metadata(headers: &Headers) -> Metadata {
    let mut metadata = Metadata::default();
    for (name, value) in headers {
        if let Some(user) = name.strip_prefix(USER_PREFIX) {
            metadata.user.insert(user.to_owned(), value.clone());
        } else if let Some((_, _, get_mut)) = NAMED.iter().find(|(named, _, _)| named == name) {
            *get_mut(&mut metadata) = Some(value.clone());
        }
    }
    metadata
}

type Get = fn(&Metadata) -> &Option<String>;
type GetMut = fn(&mut Metadata) -> &mut Option<String>;

const NAMED: [(&str, Get, GetMut); 7] = [
    ("content-type", |m| &m.content_type, |m| &mut m.content_type),
    ("cache-control", |m| &m.cache_control, |m| &mut m.cache_control),
    (
        "content-disposition",
        |m| &m.content_disposition,
        |m| &mut m.content_disposition,
    ),
    ("content-encoding", |m| &m.content_encoding, |m| &mut m.content_encoding),
    ("content-language", |m| &m.content_language, |m| &mut m.content_language),
    ("expires", |m| &m.expires, |m| &mut m.expires),
    (
        "x-amz-website-redirect-location",
        |m| &m.website_redirect_location,
        |m| &mut m.website_redirect_location,
    ),
];

/// Adds a checksum to headers.
pub(super) fn put_checksum(headers: &mut Headers, checksum: Option<ObjectChecksum>) {
    if let Some(checksum) = checksum {
        headers.insert(
            checksum.value.algorithm().header().to_owned(),
            checksum.value.to_base64(),
        );
        headers.insert(CHECKSUM_TYPE.to_owned(), checksum.kind.name().to_owned());
    }
}

/// The checksum in headers.
pub(super) fn checksum(headers: &Headers) -> Option<ObjectChecksum> {
    let value = checksums(headers).into_iter().next()?;
    let kind = headers.get(CHECKSUM_TYPE).and_then(|name| ChecksumKind::parse(name));
    Some(ObjectChecksum {
        value,
        kind: kind.unwrap_or(ChecksumKind::FullObject),
    })
}

/// All checksums in headers.
pub(super) fn checksums(headers: &Headers) -> Vec<Checksum> {
    let text = |algorithm: &Algorithm| headers.get(algorithm.header());
    Algorithm::ALL
        .iter()
        .filter_map(|algorithm| Checksum::from_base64(*algorithm, text(algorithm)?))
        .collect()
}

/// Checksums as headers.
pub(super) fn from_checksums(checksums: &[Checksum]) -> Headers {
    checksums
        .iter()
        .map(|sum| (sum.algorithm().header().to_owned(), sum.to_base64()))
        .collect()
}

/// Adds what an upload agreed on.
pub(super) fn put_agreement(headers: &mut Headers, agreed: Option<(Algorithm, ChecksumKind)>) {
    if let Some((algorithm, kind)) = agreed {
        headers.insert(CHECKSUM_ALGORITHM.to_owned(), algorithm.name().to_owned());
        headers.insert(CHECKSUM_TYPE.to_owned(), kind.name().to_owned());
    }
}

/// What an upload agreed on.
pub(super) fn agreement(headers: &Headers) -> Option<(Algorithm, ChecksumKind)> {
    let algorithm = Algorithm::parse(headers.get(CHECKSUM_ALGORITHM)?)?;
    Some((algorithm, ChecksumKind::parse(headers.get(CHECKSUM_TYPE)?)?))
}

/// An object's row as clients see it.
pub(super) fn info(object: &Object, parts: Vec<ObjectPart>) -> ObjectInfo {
    ObjectInfo {
        size: object.size,
        etag: Etag::parse(&object.etag),
        modified: Timestamp::from_ms(object.modified_ms),
        metadata: to_metadata(&object.headers),
        checksum: checksum(&object.headers),
        parts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_and_checksums_come_back() {
        let metadata = Metadata {
            content_type: Some("text/plain".to_owned()),
            expires: Some("never".to_owned()),
            user: BTreeMap::from([("colour".to_owned(), "grün".to_owned())]),
            ..Metadata::default()
        };
        let sum = ObjectChecksum {
            value: Checksum::of(Algorithm::Sha256, b"x"),
            kind: ChecksumKind::Composite,
        };
        let mut headers = to_headers(&metadata);
        put_checksum(&mut headers, Some(sum));
        assert_eq!(to_metadata(&headers), metadata);
        assert_eq!(checksum(&headers), Some(sum));
    }

    #[test]
    fn an_agreement_comes_back() {
        let agreed = Some((Algorithm::Crc32c, ChecksumKind::FullObject));
        let mut headers = Headers::new();
        put_agreement(&mut headers, agreed);
        assert_eq!(agreement(&headers), agreed);
        assert_eq!(agreement(&Headers::new()), None);
    }
}
