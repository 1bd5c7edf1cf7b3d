//! Uploads in parts: create, store a part, complete, abort.

use hyper::StatusCode;
use hyper::header::{ETAG, HeaderName};
use s3s::dto;

use super::super::Door;
use super::super::answer::Answer;
use super::super::call::Call;
use super::super::fault::{Code, Fault};
use super::super::{headers, xml};
use super::dto as ours;
use super::dto::ChecksumElements;
use crate::bucket::Action;
use crate::checksum::{Algorithm, ChecksumKind};
use crate::multipart::{Completion, NamedPart, PART_NUMBER_MAX};
use crate::object::Etag;
use crate::scan::UploadId;
use crate::store::{NewUpload, ObjectStore, PartTarget};

pub(super) async fn create<S: ObjectStore>(door: &Door<S>, call: Call) -> Result<Answer, Fault> {
    let bucket = call.bucket(door, Action::Write).await?;
    let (key, origin) = (call.object()?, call.origin()?);
    let checksum = agreement(&call)?;
    let new = NewUpload {
        metadata: headers::metadata(&call.headers)?,
        checksum,
    };
    let upload = door.store.create_upload(&origin, &bucket, &key, new).await?;
    let document = dto::CreateMultipartUploadOutput {
        bucket: Some(bucket.name.as_str().to_owned()),
        key: Some(key.as_str().to_owned()),
        upload_id: Some(upload.0),
        ..dto::CreateMultipartUploadOutput::default()
    };
    let answer = Answer::xml(xml::write(&document)?);
    let name = HeaderName::from_static;
    Ok(answer
        .opt_header(
            name("x-amz-checksum-algorithm"),
            checksum.map(|(algorithm, _)| algorithm.name()),
        )
        .opt_header(name("x-amz-checksum-type"), checksum.map(|(_, kind)| kind.name())))
}

/// The checksum that the parts will carry.
fn agreement(call: &Call) -> Result<Option<(Algorithm, ChecksumKind)>, Fault> {
    let algorithm = headers::algorithm(&call.headers, "x-amz-checksum-algorithm")?;
    let wrong = |text: String| Fault::with(Code::InvalidRequest, text);
    match (algorithm, headers::checksum_kind(&call.headers)?) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(wrong(
            "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.".to_owned(),
        )),
        (Some(algorithm), kind) => {
            let kind = kind.unwrap_or(algorithm.default_kind());
            let refusal = format!(
                "The {} checksum type cannot be used with the {} checksum algorithm.",
                kind.name(),
                algorithm.name().to_lowercase()
            );
            if algorithm.offers(kind) {
                Ok(Some((algorithm, kind)))
            } else {
                Err(wrong(refusal))
            }
        }
    }
}

/// The part that a request names.
pub(super) fn target(call: &Call) -> Result<PartTarget, Fault> {
    let text = call.query.get("partNumber").unwrap_or_default();
    let message = format!("Part number must be an integer between 1 and {PART_NUMBER_MAX}, inclusive");
    let number = text
        .parse::<u16>()
        .ok()
        .filter(|number| (1..=PART_NUMBER_MAX).contains(number));
    let number = number.ok_or_else(|| Fault::argument("partNumber", text, message))?;
    Ok(PartTarget {
        key: call.object()?,
        upload: upload_id(call),
        number,
    })
}

pub(super) fn upload_id(call: &Call) -> UploadId {
    UploadId(call.query.get("uploadId").unwrap_or_default().to_owned())
}

pub(super) async fn part<S: ObjectStore>(door: &Door<S>, call: Call) -> Result<Answer, Fault> {
    let bucket = call.bucket(door, Action::Write).await?;
    let (origin, target) = (call.origin()?, target(&call)?);
    let body = call.body.measured(&call.headers)?;
    let part = door.store.put_part(&origin, &bucket, &target, body).await?;
    let answer = Answer::empty(StatusCode::OK).header(ETAG, part.etag.to_string());
    Ok(match part.checksums.first() {
        Some(sum) => answer.header(HeaderName::from_static(sum.algorithm().header()), sum.to_base64()),
        None => answer,
    })
}

pub(super) async fn complete<S: ObjectStore>(door: &Door<S>, call: Call) -> Result<Answer, Fault> {
    let bucket = call.bucket(door, Action::Write).await?;
    let (key, origin, upload) = (call.object()?, call.origin()?, upload_id(&call));
    let condition = headers::write_condition(&call.headers)?;
    let whole = whole_checksum(&call)?;
    let kind = headers::checksum_kind(&call.headers)?;
    let size = announced_size(&call)?;
    // The checksum headers are about the object, not about the document.
    let mut of_document = call.headers.clone();
    for algorithm in Algorithm::ALL {
        of_document.remove(algorithm.header());
    }
    let document = call.body.document(&of_document, door.config.xml_max_bytes).await?;
    let parts = named_parts(xml::read(&document)?)?;
    let completion = Completion {
        parts,
        checksum: whole,
        kind,
        size,
    };
    let info = door
        .store
        .complete_upload(&origin, &bucket, &key, &upload, completion, condition)
        .await?;
    let sums = ChecksumElements::of_object(&info);
    let document = dto::CompleteMultipartUploadOutput {
        bucket: Some(bucket.name.as_str().to_owned()),
        key: Some(key.as_str().to_owned()),
        location: Some(format!(
            "/{}/{}",
            bucket.name,
            super::super::uri::encode(key.as_str().as_bytes(), b"/")
        )),
        e_tag: ours::etag(&info.etag),
        checksum_crc32: sums.crc32,
        checksum_crc32c: sums.crc32c,
        checksum_crc64nvme: sums.crc64nvme,
        checksum_sha1: sums.sha1,
        checksum_sha256: sums.sha256,
        checksum_type: info.checksum.map(|checksum| ours::kind(checksum.kind)),
        ..dto::CompleteMultipartUploadOutput::default()
    };
    Ok(Answer::xml(xml::write(&document)?))
}

/// The checksum of the whole object; one over parts may end in `-` and their number.
fn whole_checksum(call: &Call) -> Result<Option<crate::checksum::Checksum>, Fault> {
    let mut plain = call.headers.clone();
    for algorithm in Algorithm::ALL {
        let Some(text) = headers::text(&call.headers, algorithm.header())? else {
            continue;
        };
        let value = text.split_once('-').map_or(text, |(value, _)| value);
        let wrong = || Fault::argument(algorithm.header(), text, "The checksum is not valid");
        plain.insert(algorithm.header(), value.parse().map_err(|_| wrong())?);
    }
    headers::checksum(&plain)
}

fn announced_size(call: &Call) -> Result<Option<u64>, Fault> {
    let Some(text) = headers::text(&call.headers, "x-amz-mp-object-size")? else {
        return Ok(None);
    };
    let wrong = || Fault::argument("x-amz-mp-object-size", text, "The size of the object is not a number");
    text.parse().map(Some).map_err(|_| wrong())
}

fn named_parts(document: dto::CompletedMultipartUpload) -> Result<Vec<NamedPart>, Fault> {
    let parts = document.parts.unwrap_or_default();
    if parts.is_empty() || parts.len() > usize::from(PART_NUMBER_MAX) {
        return Err(Code::MalformedXML.into());
    }
    parts.into_iter().map(named_part).collect()
}

fn named_part(part: dto::CompletedPart) -> Result<NamedPart, Fault> {
    let number = part.part_number.and_then(|number| u16::try_from(number).ok());
    let number = number
        .filter(|number| (1..=PART_NUMBER_MAX).contains(number))
        .ok_or(Code::MalformedXML)?;
    let etag = part.e_tag.ok_or(Code::MalformedXML)?;
    let sums = ChecksumElements {
        crc32: part.checksum_crc32,
        crc32c: part.checksum_crc32c,
        crc64nvme: part.checksum_crc64nvme,
        sha1: part.checksum_sha1,
        sha256: part.checksum_sha256,
    };
    let invalid = Fault::new(Code::InvalidPart).field("PartNumber", number.to_string());
    let checksum = sums.parse().map_err(|()| invalid)?;
    Ok(NamedPart {
        number,
        etag: Etag::parse(etag.value()),
        checksum,
    })
}

pub(super) async fn abort<S: ObjectStore>(door: &Door<S>, call: Call) -> Result<Answer, Fault> {
    let bucket = call.bucket(door, Action::Write).await?;
    door.store
        .abort_upload(&call.origin()?, &bucket, &call.object()?, &upload_id(&call))
        .await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}
