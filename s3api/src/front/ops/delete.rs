//! DeleteObject and DeleteObjects.

use futures_util::{StreamExt as _, stream};
use hyper::StatusCode;
use s3s::dto;

use super::super::Door;
use super::super::answer::Answer;
use super::super::call::Call;
use super::super::fault::{Code, Fault};
use super::super::{headers, xml};
use super::read::check_version;
use crate::bucket::{Action, BucketInfo};
use crate::condition::{EtagSet, WriteCondition};
use crate::object::{Etag, ObjectKey};
use crate::store::{ObjectStore, Origin};

/// The most keys in one request.
const KEYS_MAX: usize = 1000;

pub(super) async fn one<S: ObjectStore>(door: &Door<S>, call: Call) -> Result<Answer, Fault> {
    let bucket = call.bucket(door, Action::Write).await?;
    check_version(&call)?;
    let condition = headers::write_condition(&call.headers)?;
    door.store
        .delete_object(&call.origin()?, &bucket, &call.object()?, condition)
        .await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

pub(super) async fn many<S: ObjectStore>(door: &Door<S>, call: Call) -> Result<Answer, Fault> {
    let bucket = call.bucket(door, Action::Write).await?;
    let origin = call.origin()?;
    let document = call.body.document(&call.headers, door.config.xml_max_bytes).await?;
    let delete: dto::Delete = xml::read(&document)?;
    if delete.objects.is_empty() || delete.objects.len() > KEYS_MAX {
        return Err(Code::MalformedXML.into());
    }
    let results: Vec<(String, Result<(), Fault>)> = stream::iter(delete.objects)
        .map(|object| remove(door, &origin, &bucket, object))
        .buffered(door.config.delete_parallelism.max(1))
        .collect()
        .await;
    Ok(Answer::xml(xml::write(&report(
        results,
        delete.quiet.unwrap_or(false),
    ))?))
}

/// Deletes one of many; the key is reported with what became of it.
async fn remove<S: ObjectStore>(
    door: &Door<S>,
    origin: &Origin,
    bucket: &BucketInfo,
    object: dto::ObjectIdentifier,
) -> (String, Result<(), Fault>) {
    let name = object.key.clone();
    let result = async {
        let (key, condition) = parse(object)?;
        door.store
            .delete_object(origin, bucket, &key, condition)
            .await
            .map_err(Fault::from)
    };
    (name, result.await)
}

fn parse(object: dto::ObjectIdentifier) -> Result<(ObjectKey, WriteCondition), Fault> {
    if object.version_id.as_ref().is_some_and(|version| version != "null") {
        return Err(Fault::with(Code::InvalidArgument, "Invalid version id specified"));
    }
    if object.size.is_some() || object.last_modified_time.is_some() {
        return Err(Fault::not_implemented("A deletion that depends on size or time"));
    }
    let key = ObjectKey::parse(object.key).map_err(|_| Code::KeyTooLongError)?;
    let wanted = object.e_tag.map(|etag| match etag.value() {
        "*" => EtagSet::Any,
        value => EtagSet::Of(vec![Etag::parse(value)]),
    });
    Ok((
        key,
        WriteCondition {
            if_match: wanted,
            if_none_match: None,
        },
    ))
}

fn report(results: Vec<(String, Result<(), Fault>)>, quiet: bool) -> dto::DeleteObjectsOutput {
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for (key, result) in results {
        match result {
            Ok(()) if quiet => {}
            Ok(()) => deleted.push(dto::DeletedObject {
                key: Some(key),
                ..dto::DeletedObject::default()
            }),
            Err(fault) => errors.push(dto::Error {
                code: Some(fault.code.name().to_owned()),
                key: Some(key),
                message: Some(fault.message.into_owned()),
                ..dto::Error::default()
            }),
        }
    }
    dto::DeleteObjectsOutput {
        deleted: Some(deleted),
        errors: Some(errors),
        ..dto::DeleteObjectsOutput::default()
    }
}
