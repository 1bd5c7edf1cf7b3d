//! CopyObject and UploadPartCopy.

use s3s::dto;

use super::super::Door;
use super::super::answer::Answer;
use super::super::call::Call;
use super::super::fault::{Code, Fault};
use super::super::uri::Target;
use super::super::{headers, uri, xml};
use super::dto as ours;
use super::dto::ChecksumElements;
use super::multipart::target;
use super::range;
use crate::bucket::{Action, BucketInfo};
use crate::condition::ReadVerdict;
use crate::object::{Metadata, ObjectInfo, ObjectKey, PUT_MAX_BYTES};
use crate::store::{CopyObject, ObjectReader, ObjectStore};

pub(super) async fn object<S: ObjectStore>(door: &Door<S>, call: Call) -> Result<Answer, Fault> {
    let bucket = call.bucket(door, Action::Write).await?;
    let (key, origin) = (call.object()?, call.origin()?);
    let (from, source) = open_source(door, &call).await?;
    if source.info().size > PUT_MAX_BYTES {
        let text = format!(
            "The specified copy source is larger than the maximum allowable size for a copy source: {PUT_MAX_BYTES}"
        );
        return Err(Fault::with(Code::InvalidRequest, text));
    }
    let copy = CopyObject {
        metadata: metadata(&call, source.info(), (&from.0, &from.1) == (&bucket, &key))?,
        condition: headers::write_condition(&call.headers)?,
        checksum: headers::algorithm(&call.headers, "x-amz-checksum-algorithm")?,
    };
    let info = door.store.copy_object(&origin, source, &bucket, &key, copy).await?;
    let sums = ChecksumElements::of_object(&info);
    let document = dto::CopyObjectResult {
        checksum_crc32: sums.crc32,
        checksum_crc32c: sums.crc32c,
        checksum_crc64nvme: sums.crc64nvme,
        checksum_sha1: sums.sha1,
        checksum_sha256: sums.sha256,
        checksum_type: info.checksum.map(|checksum| ours::kind(checksum.kind)),
        e_tag: ours::etag(&info.etag),
        last_modified: ours::time(info.modified),
    };
    Ok(Answer::xml(xml::write(&document)?))
}

pub(super) async fn part<S: ObjectStore>(door: &Door<S>, call: Call) -> Result<Answer, Fault> {
    let bucket = call.bucket(door, Action::Write).await?;
    let (origin, target) = (call.origin()?, target(&call)?);
    let (_, source) = open_source(door, &call).await?;
    let size = source.info().size;
    let range = match headers::text(&call.headers, "x-amz-copy-source-range")? {
        Some(text) => range::of_source(text, size)?,
        None => 0..size,
    };
    if range.end - range.start > PUT_MAX_BYTES {
        return Err(Code::EntityTooLarge.into());
    }
    let part = door.store.copy_part(&origin, source, range, &bucket, &target).await?;
    let sums = ChecksumElements::of(part.checksums.first().copied());
    let document = dto::CopyPartResult {
        checksum_crc32: sums.crc32,
        checksum_crc32c: sums.crc32c,
        checksum_crc64nvme: sums.crc64nvme,
        checksum_sha1: sums.sha1,
        checksum_sha256: sums.sha256,
        e_tag: ours::etag(&part.etag),
        last_modified: ours::time(part.modified),
    };
    Ok(Answer::xml(xml::write(&document)?))
}

/// Opens the source, if the caller may read it and the conditions on it hold.
async fn open_source<S: ObjectStore>(
    door: &Door<S>,
    call: &Call,
) -> Result<((BucketInfo, ObjectKey), S::Reader), Fault> {
    let header = headers::text(&call.headers, "x-amz-copy-source")?.unwrap_or_default();
    let (bucket, key) = parse_source(header)?;
    let bucket = call
        .open(door, &bucket, Action::Read, "x-amz-source-expected-bucket-owner")
        .await?;
    let reader = door.store.get_object(&bucket, &key).await?;
    let condition = headers::read_condition(&call.headers, "x-amz-copy-source-")?;
    match condition.judge(reader.info()) {
        ReadVerdict::Send => Ok(((bucket, key), reader)),
        ReadVerdict::NotModified | ReadVerdict::Failed => Err(Code::PreconditionFailed.into()),
    }
}

/// `[/]bucket/key[?versionId=…]`, percent-coded.
fn parse_source(text: &str) -> Result<(crate::bucket::BucketName, ObjectKey), Fault> {
    let wrong = || {
        Fault::argument(
            "x-amz-copy-source",
            text,
            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
        )
    };
    let (path, version) = text
        .split_once("?versionId=")
        .map_or((text, None), |(path, version)| (path, Some(version)));
    if version.is_some_and(|version| version != "null") {
        return Err(Fault::argument(
            "x-amz-copy-source",
            text,
            "Invalid version id specified",
        ));
    }
    let path = path.strip_prefix('/').unwrap_or(path);
    // Some clients code the slash behind the bucket as well.
    let path = if path.contains('/') {
        path.to_owned()
    } else {
        uri::encode(uri::decode(path)?.as_bytes(), b"/")
    };
    match Target::parse(&format!("/{path}"), "", None) {
        Ok(Target::Object(bucket, key)) => Ok((bucket, key)),
        Ok(Target::Service | Target::Bucket(_)) => Err(wrong()),
        Err(fault) => Err(fault),
    }
}

fn metadata(call: &Call, source: &ObjectInfo, onto_itself: bool) -> Result<Metadata, Fault> {
    let given = headers::metadata(&call.headers)?;
    match headers::text(&call.headers, "x-amz-metadata-directive")? {
        Some("REPLACE") => Ok(given),
        None | Some("COPY") if onto_itself && given.website_redirect_location.is_none() => Err(Fault::with(
            Code::InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's \
             metadata, storage class, website redirect location or encryption attributes.",
        )),
        None | Some("COPY") => {
            let website_redirect_location = given.website_redirect_location;
            Ok(Metadata {
                website_redirect_location,
                ..source.metadata.clone()
            })
        }
        Some(other) => Err(Fault::argument(
            "x-amz-metadata-directive",
            other,
            "Unknown metadata directive.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_come_in_many_forms() {
        let parse = |text| {
            parse_source(text)
                .map(|(bucket, key)| format!("{bucket} {key}"))
                .map_err(|fault| fault.code)
        };
        assert_eq!(parse("/bucket/a/b"), Ok("bucket a/b".to_owned()));
        assert_eq!(parse("bucket/a%20b%2Fc+d"), Ok("bucket a b/c+d".to_owned()));
        assert_eq!(parse("bucket%2Fa%2525"), Ok("bucket a%25".to_owned()));
        assert_eq!(parse("bucket/a?versionId=null"), Ok("bucket a".to_owned()));
        assert_eq!(parse("bucket/a?versionId=1"), Err(Code::InvalidArgument));
        assert_eq!(parse("bucket"), Err(Code::InvalidArgument));
        assert_eq!(parse("/"), Err(Code::InvalidArgument));
        assert_eq!(
            parse("arn:aws:s3:us-east-1:1:accesspoint/x/object/y"),
            Err(Code::InvalidBucketName)
        );
    }
}
