//! The arithmetic of uploads in parts: pure functions that every store uses.
//!
//! A store keeps an [`UploadInfo`] and a [`PartInfo`] for each part. [`admit_part`] prepares the
//! body of a part, [`PartInfo::new`] describes what arrived, [`assemble`] decides what a completion makes of them.

use md5::Digest as _;
use serde::{Deserialize, Serialize};

use crate::body::Body;
use crate::checksum::{Algorithm, Checksum, ChecksumKind, Digests, ObjectChecksum};
use crate::error::StoreError;
use crate::object::{Etag, OBJECT_MAX_BYTES, ObjectPart, Timestamp};
use crate::scan::UploadInfo;

/// The largest part number; the smallest is 1.
pub const PART_NUMBER_MAX: u16 = 10_000;
/// The smallest part that is not the last: 5 MiB.
pub const PART_MIN_BYTES: u64 = 5 << 20;

/// A part that has been stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartInfo {
    /// The number its uploader gave it.
    pub number: u16,
    /// Its length in bytes.
    pub size: u64,
    /// Its entity tag: the MD5 of its bytes.
    pub etag: Etag,
    /// When it was stored.
    pub modified: Timestamp,
    /// The checksums that were computed, the client's first.
    pub checksums: Vec<Checksum>,
}

/// What a client says about a part when it completes the upload.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NamedPart {
    /// Its number.
    pub number: u16,
    /// Its entity tag.
    pub etag: Etag,
    /// Its checksum, if the client names one.
    pub checksum: Option<Checksum>,
}

/// What a client says about the whole object when it completes the upload.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Completion {
    /// The parts it is made of, in order.
    pub parts: Vec<NamedPart>,
    /// Its checksum, if the client names one.
    pub checksum: Option<Checksum>,
    /// `x-amz-checksum-type`, if the client names one.
    pub kind: Option<ChecksumKind>,
    /// `x-amz-mp-object-size`, if the client names one.
    pub size: Option<u64>,
}

/// The object that a completion makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembly {
    /// Its length in bytes.
    pub size: u64,
    /// Its entity tag.
    pub etag: Etag,
    /// Its checksum.
    pub checksum: Option<ObjectChecksum>,
    /// Its parts, in order.
    pub parts: Vec<ObjectPart>,
}

/// Prepares the body of a part: what the upload agreed on is computed, another algorithm than that is refused.
///
/// Call it before the first piece is pulled.
pub fn admit_part(upload: &UploadInfo, body: &mut Body) -> Result<(), StoreError> {
    let Some((agreed, _)) = upload.checksum else {
        // Without an agreement the object gets the checksum that S3 computes by itself.
        body.also_compute(Algorithm::Crc64Nvme);
        return Ok(());
    };
    match body.announced_algorithm() {
        Some(named) if named != agreed => Err(StoreError::InvalidRequest(format!(
            "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
            agreed.name().to_lowercase(),
            named.name().to_lowercase()
        ))),
        Some(_) | None => {
            body.also_compute(agreed);
            Ok(())
        }
    }
}

/// Decides what a completion makes of the stored parts; `stored` looks a part up by its number.
///
/// The checks come in the order in which S3 reports them. Nothing is changed.
pub fn assemble<'a>(
    upload: &UploadInfo,
    completion: &Completion,
    stored: impl Fn(u16) -> Option<&'a PartInfo>,
) -> Result<Assembly, StoreError> {
    let ascending = completion.parts.is_sorted_by(|a, b| a.number < b.number);
    if !ascending {
        return Err(StoreError::InvalidPartOrder);
    }
    let (algorithm, kind) = upload
        .checksum
        .unwrap_or((Algorithm::Crc64Nvme, ChecksumKind::FullObject));
    if completion.kind.is_some_and(|named| named != kind) {
        let text = format!("The upload was created with the checksum type {}", kind.name());
        return Err(StoreError::InvalidRequest(text));
    }
    let mut parts = Vec::with_capacity(completion.parts.len());
    for named in &completion.parts {
        parts.push(find(named, &stored)?);
    }
    check_sizes(&parts)?;
    let size = total_size(&parts)?;
    if completion.size.is_some_and(|named| named != size) {
        return Err(StoreError::InvalidRequest(format!(
            "The parts have {size} bytes in all, not as many as announced"
        )));
    }
    let checksum = object_checksum(algorithm, kind, &parts);
    if completion
        .checksum
        .is_some_and(|named| Some(named) != checksum.map(|checksum| checksum.value))
    {
        return Err(StoreError::BadDigest);
    }
    Ok(Assembly {
        size,
        etag: etag(&parts),
        checksum,
        parts: describe(algorithm, &parts),
    })
}

impl PartInfo {
    /// Describes a part that was just stored.
    pub fn new(number: u16, modified: Timestamp, digests: &Digests) -> PartInfo {
        let Digests { size, checksums, .. } = digests;
        PartInfo {
            number,
            size: *size,
            etag: digests.etag(),
            modified,
            checksums: checksums.clone(),
        }
    }

    /// Its checksum in `algorithm`.
    pub fn checksum(&self, algorithm: Algorithm) -> Option<Checksum> {
        self.checksums
            .iter()
            .copied()
            .find(|checksum| checksum.algorithm() == algorithm)
    }
}

fn find<'a>(named: &NamedPart, stored: impl Fn(u16) -> Option<&'a PartInfo>) -> Result<&'a PartInfo, StoreError> {
    let wrong = StoreError::InvalidPart { number: named.number };
    let part = stored(named.number).ok_or(wrong.clone())?;
    let same_checksum = named.checksum.is_none_or(|checksum| part.checksums.contains(&checksum));
    if part.etag == named.etag && same_checksum {
        Ok(part)
    } else {
        Err(wrong)
    }
}

fn check_sizes(parts: &[&PartInfo]) -> Result<(), StoreError> {
    let Some((_, all_but_last)) = parts.split_last() else {
        return Err(StoreError::InvalidRequest(
            "You must specify at least one part".to_owned(),
        ));
    };
    match all_but_last.iter().find(|part| part.size < PART_MIN_BYTES) {
        Some(part) => Err(StoreError::EntityTooSmall {
            number: part.number,
            size: part.size,
        }),
        None => Ok(()),
    }
}

fn total_size(parts: &[&PartInfo]) -> Result<u64, StoreError> {
    let sum = parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(part.size));
    sum.filter(|&sum| sum <= OBJECT_MAX_BYTES)
        .ok_or(StoreError::EntityTooLarge)
}

fn etag(parts: &[&PartInfo]) -> Etag {
    let mut md5 = md5::Md5::new();
    // A part is tagged with its MD5; should a store tag it otherwise, the text itself still identifies the bytes.
    for part in parts {
        match part.etag.md5() {
            Some(digest) => md5.update(digest),
            None => md5.update(part.etag.as_str()),
        }
    }
    Etag::of_parts(md5.finalize().into(), parts.len())
}

fn object_checksum(algorithm: Algorithm, kind: ChecksumKind, parts: &[&PartInfo]) -> Option<ObjectChecksum> {
    let checksums: Vec<(Checksum, u64)> = parts
        .iter()
        .map(|part| Some((part.checksum(algorithm)?, part.size)))
        .collect::<Option<_>>()?;
    let value = match kind {
        ChecksumKind::FullObject => {
            let ((first, _), rest) = checksums.split_first()?;
            rest.iter()
                .try_fold(*first, |sum, (next, len)| sum.combine(*next, *len))?
        }
        ChecksumKind::Composite => {
            let mut hasher = algorithm.hasher();
            checksums
                .iter()
                .for_each(|(checksum, _)| hasher.update(&checksum.to_bytes()));
            hasher.finish()
        }
    };
    Some(ObjectChecksum { value, kind })
}

fn describe(algorithm: Algorithm, parts: &[&PartInfo]) -> Vec<ObjectPart> {
    let describe = |part: &&PartInfo| ObjectPart {
        number: part.number,
        size: part.size,
        checksum: part.checksum(algorithm),
    };
    parts.iter().map(describe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ObjectKey;
    use crate::scan::UploadId;

    fn upload(checksum: Option<(Algorithm, ChecksumKind)>) -> UploadInfo {
        let key = ObjectKey::parse("key").unwrap();
        UploadInfo {
            key,
            id: UploadId("id".to_owned()),
            initiated: Timestamp::from_ms(0),
            checksum,
        }
    }

    async fn part(upload: &UploadInfo, number: u16, bytes: &[u8]) -> PartInfo {
        let mut body = Body::from_bytes(bytes.to_vec());
        admit_part(upload, &mut body).unwrap();
        let (_, digests) = body.collect(u64::MAX).await.unwrap();
        PartInfo::new(number, Timestamp::from_ms(0), &digests)
    }

    fn name(parts: &[PartInfo]) -> Completion {
        let named = |part: &PartInfo| NamedPart {
            number: part.number,
            etag: part.etag.clone(),
            checksum: None,
        };
        Completion {
            parts: parts.iter().map(named).collect(),
            ..Completion::default()
        }
    }

    fn try_assemble(upload: &UploadInfo, stored: &[PartInfo], completion: &Completion) -> Result<Assembly, StoreError> {
        assemble(upload, completion, |number| {
            stored.iter().find(|part| part.number == number)
        })
    }

    #[tokio::test]
    async fn whole_checksums_are_those_of_the_bytes() {
        let first = vec![7_u8; 5 << 20];
        let last = b"tail".to_vec();
        let whole = [first.clone(), last.clone()].concat();
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
            let upload = upload(Some((algorithm, ChecksumKind::FullObject)));
            let parts = [part(&upload, 2, &first).await, part(&upload, 9, &last).await];
            let made = try_assemble(&upload, &parts, &name(&parts)).unwrap();
            assert_eq!(made.checksum.unwrap().value, Checksum::of(algorithm, &whole));
            assert_eq!(made.size, whole.len() as u64);
            assert_eq!(made.parts.len(), 2);
            assert!(made.etag.as_str().ends_with("-2"), "{}", made.etag);
        }
    }

    #[tokio::test]
    async fn composite_checksums_are_those_of_the_checksums() {
        let upload = upload(Some((Algorithm::Sha256, ChecksumKind::Composite)));
        let parts = [part(&upload, 1, b"only").await];
        let made = try_assemble(&upload, &parts, &name(&parts)).unwrap().checksum.unwrap();
        let inner = Checksum::of(Algorithm::Sha256, b"only").to_bytes();
        assert_eq!(made.value, Checksum::of(Algorithm::Sha256, &inner));
        assert!(made.to_text(1).ends_with("=-1"));
    }

    // The tag of a two-part object as published with the description of the scheme: MD5 over the binary MD5s.
    #[tokio::test]
    async fn the_tag_is_the_md5_of_the_md5s() {
        let upload = upload(None);
        let parts = [part(&upload, 1, b"hello").await];
        let made = try_assemble(&upload, &parts, &name(&parts)).unwrap();
        let inner = parts[0].etag.md5().unwrap();
        let expected: [u8; 16] = md5::Md5::digest(inner).into();
        assert_eq!(made.etag, Etag::of_parts(expected, 1));
    }

    #[tokio::test]
    async fn wrong_completions_are_told_apart() {
        let upload = upload(None);
        let stored = [part(&upload, 1, b"small").await, part(&upload, 2, b"last").await];
        let good = name(&stored[1..]);
        assert!(try_assemble(&upload, &stored, &good).is_ok());
        let both = name(&stored);
        let small = StoreError::EntityTooSmall { number: 1, size: 5 };
        assert_eq!(try_assemble(&upload, &stored, &both), Err(small));
        let mut reversed = both.clone();
        reversed.parts.reverse();
        assert_eq!(
            try_assemble(&upload, &stored, &reversed),
            Err(StoreError::InvalidPartOrder)
        );
        let mut renamed = good.clone();
        renamed.parts[0].etag = Etag::parse("other");
        assert_eq!(
            try_assemble(&upload, &stored, &renamed),
            Err(StoreError::InvalidPart { number: 2 })
        );
        let mut missing = good.clone();
        missing.parts[0].number = 3;
        assert_eq!(
            try_assemble(&upload, &stored, &missing),
            Err(StoreError::InvalidPart { number: 3 })
        );
        let wrong = Some(Checksum::of(Algorithm::Crc64Nvme, b"other"));
        let other_sum = Completion {
            checksum: wrong,
            ..good.clone()
        };
        assert_eq!(try_assemble(&upload, &stored, &other_sum), Err(StoreError::BadDigest));
        let other_size = Completion { size: Some(5), ..good };
        assert!(matches!(
            try_assemble(&upload, &stored, &other_size),
            Err(StoreError::InvalidRequest(_))
        ));
        let nothing = try_assemble(&upload, &stored, &Completion::default());
        assert!(matches!(nothing, Err(StoreError::InvalidRequest(_))));
    }

    #[test]
    fn parts_carry_the_checksum_of_the_upload() {
        let upload = upload(Some((Algorithm::Sha1, ChecksumKind::Composite)));
        let mut other = Body::from_bytes("").asking_for(Some(Algorithm::Crc32));
        assert!(matches!(
            admit_part(&upload, &mut other),
            Err(StoreError::InvalidRequest(_))
        ));
        let mut same = Body::from_bytes("").asking_for(Some(Algorithm::Sha1));
        assert_eq!(admit_part(&upload, &mut same), Ok(()));
    }
}
