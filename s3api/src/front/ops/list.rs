//! ListObjects, in both versions.

use std::ops::Bound;

use s3s::dto;

use super::super::Door;
use super::super::answer::Answer;
use super::super::call::Call;
use super::super::fault::Fault;
use super::super::uri::Query as Parameters;
use super::super::xml;
use super::dto as ours;
use super::dto::Coding;
use crate::bucket::Action;
use crate::listing::{Entry, Listing, PAGE_MAX_ENTRIES, Query, list_objects};
use crate::scan::{ListedObject, UploadBound};
use crate::store::ObjectStore;

pub(super) async fn version_1<S: ObjectStore>(door: &Door<S>, call: Call) -> Result<Answer, Fault> {
    let bucket = call.bucket(door, Action::Read).await?;
    let (query, coding) = (query(&call.query, call.query.text("marker"))?, coding(&call.query)?);
    let limit = query.limit;
    let listing = list_objects(&door.store, &bucket, query).await?;
    let next = listing
        .entries
        .last()
        .filter(|_| listing.truncated && call.query.text("delimiter").is_some());
    let document = dto::ListObjectsOutput {
        name: Some(bucket.name.as_str().to_owned()),
        prefix: Some(coding.apply(call.query.get("prefix").unwrap_or_default())),
        marker: Some(coding.apply(call.query.get("marker").unwrap_or_default())),
        max_keys: Some(count(limit)),
        is_truncated: Some(listing.truncated),
        next_marker: next.map(|entry| coding.apply(entry.name())),
        contents: Some(contents(&listing, coding, Some(bucket.owner.as_str()))),
        common_prefixes: Some(common_prefixes(&listing.entries, coding)),
        delimiter: call.query.text("delimiter").map(|text| coding.apply(text)),
        encoding_type: coding.name(),
        ..dto::ListObjectsOutput::default()
    };
    Ok(Answer::xml(xml::write(&document)?))
}

pub(super) async fn version_2<S: ObjectStore>(door: &Door<S>, call: Call) -> Result<Answer, Fault> {
    let bucket = call.bucket(door, Action::Read).await?;
    let token = call.query.text("continuation-token");
    let resume = token.map(decode_token).transpose()?;
    let start = resume.as_deref().or(call.query.text("start-after"));
    let (query, coding) = (query(&call.query, start)?, coding(&call.query)?);
    let limit = query.limit;
    let listing = list_objects(&door.store, &bucket, query).await?;
    let next = listing.entries.last().filter(|_| listing.truncated);
    let owner = (call.query.get("fetch-owner") == Some("true")).then_some(bucket.owner.as_str());
    let document = dto::ListObjectsV2Output {
        name: Some(bucket.name.as_str().to_owned()),
        prefix: Some(coding.apply(call.query.get("prefix").unwrap_or_default())),
        max_keys: Some(count(limit)),
        key_count: Some(count(listing.entries.len())),
        continuation_token: token.map(str::to_owned),
        is_truncated: Some(listing.truncated),
        next_continuation_token: next.map(|entry| encode_token(entry.name())),
        contents: Some(contents(&listing, coding, owner)),
        common_prefixes: Some(common_prefixes(&listing.entries, coding)),
        delimiter: call.query.text("delimiter").map(|text| coding.apply(text)),
        encoding_type: coding.name(),
        start_after: call.query.text("start-after").map(|text| coding.apply(text)),
        ..dto::ListObjectsV2Output::default()
    };
    Ok(Answer::xml(xml::write(&document)?))
}

fn query(parameters: &Parameters, start: Option<&str>) -> Result<Query, Fault> {
    let from = start.map_or(Bound::Unbounded, |start| Bound::Excluded(start.to_owned()));
    Ok(Query {
        prefix: parameters.get("prefix").unwrap_or_default().to_owned(),
        delimiter: parameters.text("delimiter").map(str::to_owned),
        from: UploadBound::Key(from),
        limit: limit(parameters, "max-keys")?,
    })
}

/// The size of a page: what the client wants, and no more than a page holds.
pub(super) fn limit(parameters: &Parameters, name: &str) -> Result<usize, Fault> {
    let wanted = parameters.number(name, i32::MAX.unsigned_abs())?;
    Ok(wanted.map_or(PAGE_MAX_ENTRIES, |wanted| PAGE_MAX_ENTRIES.min(wanted as usize)))
}

pub(super) fn coding(parameters: &Parameters) -> Result<Coding, Fault> {
    match parameters.text("encoding-type") {
        None => Ok(Coding::Plain),
        Some("url") => Ok(Coding::Url),
        Some(other) => Err(Fault::argument(
            "encoding-type",
            other,
            "Invalid Encoding Method specified in Request",
        )),
    }
}

pub(super) fn common_prefixes<T>(entries: &[Entry<T>], coding: Coding) -> Vec<dto::CommonPrefix> {
    let prefixes = entries.iter().filter_map(Entry::prefix);
    prefixes
        .map(|prefix| dto::CommonPrefix {
            prefix: Some(coding.apply(prefix)),
        })
        .collect()
}

pub(super) fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn contents(listing: &Listing<ListedObject>, coding: Coding, owner: Option<&str>) -> Vec<dto::Object> {
    let line = |object: &ListedObject| dto::Object {
        checksum_algorithm: object.checksum.map(|(algorithm, _)| vec![ours::algorithm(algorithm)]),
        checksum_type: object.checksum.map(|(_, kind)| ours::kind(kind)),
        e_tag: ours::etag(&object.etag),
        key: Some(coding.apply(object.key.as_str())),
        last_modified: ours::time(object.modified),
        owner: owner.and_then(ours::owner),
        size: i64::try_from(object.size).ok(),
        storage_class: Some(dto::ObjectStorageClass::from_static(dto::ObjectStorageClass::STANDARD)),
        ..dto::Object::default()
    };
    listing.entries.iter().filter_map(Entry::item).map(line).collect()
}

fn encode_token(name: &str) -> String {
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(name)
}

fn decode_token(token: &str) -> Result<String, Fault> {
    let bytes = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(token).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| {
        Fault::argument(
            "continuation-token",
            token,
            "The continuation token provided is incorrect",
        )
    })
}
