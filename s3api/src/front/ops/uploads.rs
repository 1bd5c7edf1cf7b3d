//! ListMultipartUploads and ListParts.

use std::ops::Bound;

use s3s::dto;

use super::super::Door;
use super::super::answer::Answer;
use super::super::call::Call;
use super::super::fault::Fault;
use super::super::xml;
use super::dto as ours;
use super::dto::{ChecksumElements, Coding};
use super::list::{coding, common_prefixes, count, limit};
use super::multipart::upload_id;
use crate::bucket::Action;
use crate::listing::{Entry, Query, list_uploads};
use crate::multipart::{PART_NUMBER_MAX, PartInfo};
use crate::scan::{UploadBound, UploadId, UploadInfo};
use crate::store::{ObjectStore, Rest};

pub(super) async fn list<S: ObjectStore>(door: &Door<S>, call: Call) -> Result<Answer, Fault> {
    let bucket = call.bucket(door, Action::Read).await?;
    let coding = coding(&call.query)?;
    let query = Query {
        prefix: call.query.get("prefix").unwrap_or_default().to_owned(),
        delimiter: call.query.text("delimiter").map(str::to_owned),
        from: beginning(&call),
        limit: limit(&call.query, "max-uploads")?,
    };
    let max_uploads = query.limit;
    let listing = list_uploads(&door.store, &bucket, query).await?;
    let next = listing.entries.last().filter(|_| listing.truncated);
    let uploads = listing.entries.iter().filter_map(Entry::item);
    let document = dto::ListMultipartUploadsOutput {
        bucket: Some(bucket.name.as_str().to_owned()),
        common_prefixes: Some(common_prefixes(&listing.entries, coding)),
        delimiter: call.query.text("delimiter").map(|text| coding.apply(text)),
        encoding_type: coding.name(),
        is_truncated: Some(listing.truncated),
        key_marker: Some(coding.apply(call.query.get("key-marker").unwrap_or_default())),
        max_uploads: Some(count(max_uploads)),
        next_key_marker: next.map(|entry| coding.apply(entry.name())),
        next_upload_id_marker: next.and_then(Entry::item).map(|upload| upload.id.0.clone()),
        prefix: Some(coding.apply(call.query.get("prefix").unwrap_or_default())),
        upload_id_marker: Some(call.query.get("upload-id-marker").unwrap_or_default().to_owned()),
        uploads: Some(
            uploads
                .map(|upload| line(upload, coding, bucket.owner.as_str()))
                .collect(),
        ),
        ..dto::ListMultipartUploadsOutput::default()
    };
    Ok(Answer::xml(xml::write(&document)?))
}

/// After an upload of the marked key, or after the key altogether.
fn beginning(call: &Call) -> UploadBound {
    match (call.query.text("key-marker"), call.query.text("upload-id-marker")) {
        (None, _) => UploadBound::Key(Bound::Unbounded),
        (Some(key), None) => UploadBound::Key(Bound::Excluded(key.to_owned())),
        (Some(key), Some(upload)) => UploadBound::After(key.to_owned(), UploadId(upload.to_owned())),
    }
}

fn line(upload: &UploadInfo, coding: Coding, owner: &str) -> dto::MultipartUpload {
    dto::MultipartUpload {
        checksum_algorithm: upload.checksum.map(|(algorithm, _)| ours::algorithm(algorithm)),
        checksum_type: upload.checksum.map(|(_, kind)| ours::kind(kind)),
        initiated: ours::time(upload.initiated),
        initiator: ours::initiator(owner),
        key: Some(coding.apply(upload.key.as_str())),
        owner: ours::owner(owner),
        storage_class: Some(standard()),
        upload_id: Some(upload.id.0.clone()),
    }
}

pub(super) async fn parts<S: ObjectStore>(door: &Door<S>, call: Call) -> Result<Answer, Fault> {
    let bucket = call.bucket(door, Action::Read).await?;
    let (key, upload, coding) = (call.object()?, upload_id(&call), coding(&call.query)?);
    let max_parts = limit(&call.query, "max-parts")?;
    let marker = call
        .query
        .number("part-number-marker", i32::MAX.unsigned_abs())?
        .unwrap_or(0);
    let after = u16::try_from(marker).unwrap_or(PART_NUMBER_MAX);
    let page = door.store.list_parts(&bucket, &key, &upload, after, max_parts).await?;
    let truncated = page.rest == Rest::More;
    let owner = bucket.owner.as_str();
    let agreed = page.upload.checksum;
    let document = dto::ListPartsOutput {
        bucket: Some(bucket.name.as_str().to_owned()),
        checksum_algorithm: agreed.map(|(algorithm, _)| ours::algorithm(algorithm)),
        checksum_type: agreed.map(|(_, kind)| ours::kind(kind)),
        initiator: ours::initiator(owner),
        is_truncated: Some(truncated),
        key: Some(coding.apply(key.as_str())),
        max_parts: Some(count(max_parts)),
        next_part_number_marker: page
            .parts
            .last()
            .filter(|_| truncated)
            .map(|part| i32::from(part.number)),
        owner: ours::owner(owner),
        part_number_marker: Some(i32::from(after)),
        parts: Some(page.parts.iter().map(|part| part_line(part, &page.upload)).collect()),
        storage_class: Some(standard()),
        upload_id: Some(upload.0),
        ..dto::ListPartsOutput::default()
    };
    Ok(Answer::xml(xml::write(&document)?))
}

fn part_line(part: &PartInfo, upload: &UploadInfo) -> dto::Part {
    let sums = ChecksumElements::of(upload.checksum.and_then(|(algorithm, _)| part.checksum(algorithm)));
    dto::Part {
        checksum_crc32: sums.crc32,
        checksum_crc32c: sums.crc32c,
        checksum_crc64nvme: sums.crc64nvme,
        checksum_sha1: sums.sha1,
        checksum_sha256: sums.sha256,
        e_tag: ours::etag(&part.etag),
        last_modified: ours::time(part.modified),
        part_number: Some(i32::from(part.number)),
        size: i64::try_from(part.size).ok(),
    }
}

fn standard() -> dto::StorageClass {
    dto::StorageClass::from_static(dto::StorageClass::STANDARD)
}
