//! Our types as the documents of the wire library want them.

use hyper::header::HeaderName;
use s3s::dto;

use super::super::answer::Answer;
use super::super::uri::encode;
use crate::checksum::{Algorithm, Checksum, ChecksumKind, ObjectChecksum};
use crate::object::{Etag, ObjectInfo, Timestamp};

/// The checksum elements of a document; all but one are empty.
#[derive(Default)]
pub(super) struct ChecksumElements {
    pub(super) crc32: Option<String>,
    pub(super) crc32c: Option<String>,
    pub(super) crc64nvme: Option<String>,
    pub(super) sha1: Option<String>,
    pub(super) sha256: Option<String>,
}

impl ChecksumElements {
    pub(super) fn new(algorithm: Algorithm, text: String) -> ChecksumElements {
        let mut elements = ChecksumElements::default();
        *match algorithm {
            Algorithm::Crc32 => &mut elements.crc32,
            Algorithm::Crc32c => &mut elements.crc32c,
            Algorithm::Crc64Nvme => &mut elements.crc64nvme,
            Algorithm::Sha1 => &mut elements.sha1,
            Algorithm::Sha256 => &mut elements.sha256,
        } = Some(text);
        elements
    }

    /// The checksum of an object, if it has one.
    pub(super) fn of_object(info: &ObjectInfo) -> ChecksumElements {
        let text = |sum: ObjectChecksum| ChecksumElements::new(sum.value.algorithm(), sum.to_text(info.parts.len()));
        info.checksum.map(text).unwrap_or_default()
    }

    /// A plain checksum, if there is one.
    pub(super) fn of(checksum: Option<Checksum>) -> ChecksumElements {
        let text = |sum: Checksum| ChecksumElements::new(sum.algorithm(), sum.to_base64());
        checksum.map(text).unwrap_or_default()
    }

    /// Reads the one checksum out of a document.
    pub(super) fn parse(&self) -> Result<Option<Checksum>, ()> {
        let texts = [&self.crc32, &self.crc32c, &self.crc64nvme, &self.sha1, &self.sha256];
        let mut given = Algorithm::ALL
            .into_iter()
            .zip(texts)
            .filter_map(|(algorithm, text)| Some((algorithm, text.as_ref()?)));
        match (given.next(), given.next()) {
            (None, _) => Ok(None),
            (Some((algorithm, text)), None) => Checksum::from_base64(algorithm, text).map(Some).ok_or(()),
            (Some(_), Some(_)) => Err(()),
        }
    }
}

/// The checksum headers of an object.
pub(super) fn with_checksum(answer: Answer, info: &ObjectInfo) -> Answer {
    let Some(checksum) = info.checksum else { return answer };
    let header = HeaderName::from_static(checksum.value.algorithm().header());
    let kind = HeaderName::from_static("x-amz-checksum-type");
    answer
        .header(header, checksum.to_text(info.parts.len()))
        .header(kind, checksum.kind.name())
}

pub(super) fn etag(etag: &Etag) -> Option<dto::ETag> {
    Some(dto::ETag::Strong(etag.as_str().to_owned()))
}

pub(super) fn time(time: Timestamp) -> Option<dto::Timestamp> {
    Some(dto::Timestamp::from(
        std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(time.ms()),
    ))
}

pub(super) fn algorithm(algorithm: Algorithm) -> dto::ChecksumAlgorithm {
    dto::ChecksumAlgorithm::from_static(algorithm.name())
}

pub(super) fn kind(kind: ChecksumKind) -> dto::ChecksumType {
    dto::ChecksumType::from_static(kind.name())
}

pub(super) fn owner(key: &str) -> Option<dto::Owner> {
    Some(dto::Owner {
        display_name: Some(key.to_owned()),
        id: Some(key.to_owned()),
    })
}

pub(super) fn initiator(key: &str) -> Option<dto::Initiator> {
    Some(dto::Initiator {
        display_name: Some(key.to_owned()),
        id: Some(key.to_owned()),
    })
}

/// How names stand in a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// As they are.
    Plain,
    /// With percent signs.
    Url,
}

impl Coding {
    pub(super) fn apply(self, name: &str) -> String {
        match self {
            Coding::Plain => name.to_owned(),
            Coding::Url => encode(name.as_bytes(), b"/"),
        }
    }

    pub(super) fn name(self) -> Option<dto::EncodingType> {
        match self {
            Coding::Plain => None,
            Coding::Url => Some(dto::EncodingType::from_static(dto::EncodingType::URL)),
        }
    }
}
