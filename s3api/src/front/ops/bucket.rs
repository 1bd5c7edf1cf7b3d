//! Buckets: list, create, head, delete, and where they are.

use hyper::StatusCode;
use hyper::header::{HeaderName, LOCATION};
use s3s::dto;

use super::super::Door;
use super::super::answer::Answer;
use super::super::call::Call;
use super::super::fault::{Code, Fault};
use super::super::xml;
use super::dto as ours;
use crate::bucket::{Action, BucketCreation, BucketInfo};
use crate::error::StoreError;
use crate::store::ObjectStore;

/// The most buckets on a page.
const BUCKETS_MAX: u32 = 10_000;
/// The region where creating a bucket twice succeeds, for historical reasons.
const FIRST_REGION: &str = "us-east-1";

pub(super) async fn list<S: ObjectStore>(door: &Door<S>, call: Call) -> Result<Answer, Fault> {
    let caller = call.key_pair()?;
    let limit = call.query.number("max-buckets", BUCKETS_MAX)?.unwrap_or(BUCKETS_MAX);
    let prefix = call.query.text("prefix");
    let token = call.query.text("continuation-token");
    let here = call
        .query
        .text("bucket-region")
        .is_none_or(|region| region == door.config.region);
    let mut buckets = door.store.list_buckets(caller).await?;
    buckets.retain(|bucket| {
        let name = bucket.name.as_str();
        here && prefix.is_none_or(|prefix| name.starts_with(prefix)) && token.is_none_or(|token| name > token)
    });
    let page: Vec<&BucketInfo> = buckets.iter().take(limit as usize).collect();
    let more = page.len() < buckets.len();
    let next = page.last().filter(|_| more).map(|last| last.name.as_str().to_owned());
    let line = |bucket: &&BucketInfo| dto::Bucket {
        bucket_region: Some(door.config.region.clone()),
        creation_date: ours::time(bucket.created),
        name: Some(bucket.name.as_str().to_owned()),
    };
    let document = dto::ListBucketsOutput {
        buckets: Some(page.iter().map(line).collect()),
        continuation_token: next,
        owner: ours::owner(caller.as_str()),
        prefix: prefix.map(str::to_owned),
    };
    Ok(Answer::xml(xml::write(&document)?))
}

pub(super) async fn create<S: ObjectStore>(door: &Door<S>, call: Call) -> Result<Answer, Fault> {
    let origin = call.origin()?;
    let allowed = call
        .credential
        .as_ref()
        .is_some_and(|key| key.bucket_creation == BucketCreation::Allowed);
    if !allowed {
        return Err(Code::AccessDenied.into());
    }
    let name = call.target.bucket().ok_or(Code::InvalidURI)?.clone();
    let document = call.body.document(&call.headers, door.config.xml_max_bytes).await?;
    if !document.is_empty() {
        check_configuration(&xml::read(&document)?, &door.config.region)?;
    }
    match door.store.create_bucket(&origin, &name).await {
        Ok(_) => {}
        Err(StoreError::BucketAlreadyOwnedByYou) if door.config.region == FIRST_REGION => {}
        Err(error) => return Err(Fault::from(error).field("BucketName", name.as_str())),
    }
    Ok(Answer::empty(StatusCode::OK).header(LOCATION, format!("/{name}")))
}

fn check_configuration(configuration: &dto::CreateBucketConfiguration, region: &str) -> Result<(), Fault> {
    if configuration.bucket.is_some() || configuration.location.is_some() {
        return Err(Fault::not_implemented("A directory bucket"));
    }
    match configuration
        .location_constraint
        .as_ref()
        .map(dto::BucketLocationConstraint::as_str)
    {
        Some(wanted) if !wanted.is_empty() && wanted != region => {
            let text = format!(
                "The {wanted} location constraint is incompatible for the region specific endpoint this \
                                request was sent to."
            );
            Err(Fault::with(Code::IllegalLocationConstraintException, text))
        }
        Some(_) | None => Ok(()),
    }
}

pub(super) async fn head<S: ObjectStore>(door: &Door<S>, call: Call) -> Result<Answer, Fault> {
    call.bucket(door, Action::Read).await?;
    let region = HeaderName::from_static("x-amz-bucket-region");
    Ok(Answer::empty(StatusCode::OK).header(region, &door.config.region))
}

pub(super) async fn delete<S: ObjectStore>(door: &Door<S>, call: Call) -> Result<Answer, Fault> {
    let bucket = call.bucket(door, Action::Administer).await?;
    door.store.delete_bucket(&call.origin()?, &bucket).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

pub(super) async fn location<S: ObjectStore>(door: &Door<S>, call: Call) -> Result<Answer, Fault> {
    call.bucket(door, Action::Read).await?;
    // The first region has no name here.
    let region = if door.config.region == FIRST_REGION {
        ""
    } else {
        &door.config.region
    };
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <LocationConstraint xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{}</LocationConstraint>",
        xml::escape(region)
    );
    Ok(Answer::xml(text))
}
