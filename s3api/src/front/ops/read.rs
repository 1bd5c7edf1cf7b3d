//! GetObject and HeadObject.

use hyper::StatusCode;
use hyper::header::{ACCEPT_RANGES, CONTENT_RANGE, ETAG, HeaderName, LAST_MODIFIED};

use super::super::Door;
use super::super::answer::{Answer, Content};
use super::super::call::Call;
use super::super::clock;
use super::super::fault::{Code, Fault};
use super::super::headers;
use super::dto::with_checksum;
use super::range::{self, Extent};
use crate::bucket::{Action, Caller};
use crate::condition::{EtagSet, ReadVerdict};
use crate::multipart::PART_NUMBER_MAX;
use crate::object::{Etag, ObjectInfo};
use crate::store::{ObjectReader, ObjectStore};

/// The parameters that replace headers of the answer.
const OVERRIDES: [(&str, &str); 6] = [
    ("response-content-type", "content-type"),
    ("response-content-language", "content-language"),
    ("response-expires", "expires"),
    ("response-cache-control", "cache-control"),
    ("response-content-disposition", "content-disposition"),
    ("response-content-encoding", "content-encoding"),
];

pub(super) async fn get<S: ObjectStore>(door: &Door<S>, call: Call) -> Result<Answer, Fault> {
    let bucket = call.bucket(door, Action::Read).await?;
    check_version(&call)?;
    let reader = door
        .store
        .get_object(&bucket, &call.object()?)
        .await
        .map_err(|error| about_key(error, &call))?;
    let (answer, extent) = head_of(&call, reader.info())?;
    let size = reader.info().size;
    let content = match extent {
        None => Content::Empty,
        Some(Extent::Whole) => Content::Stream(reader.read(0..size), size),
        Some(Extent::Part(range)) => Content::Stream(reader.read(range.clone()), range.end - range.start),
    };
    Ok(Answer { content, ..answer })
}

pub(super) async fn head<S: ObjectStore>(door: &Door<S>, call: Call) -> Result<Answer, Fault> {
    let bucket = call.bucket(door, Action::Read).await?;
    check_version(&call)?;
    let info = door.store.head_object(&bucket, &call.object()?).await?;
    let (answer, extent) = head_of(&call, &info)?;
    let content = match extent {
        None => Content::Empty,
        Some(Extent::Whole) => Content::Absent(info.size),
        Some(Extent::Part(range)) => Content::Absent(range.end - range.start),
    };
    Ok(Answer { content, ..answer })
}

/// Without versioning every object is the version `null`.
pub(super) fn check_version(call: &Call) -> Result<(), Fault> {
    match call.query.text("versionId") {
        None | Some("null") => Ok(()),
        Some(other) => Err(Fault::argument("versionId", other, "Invalid version id specified")),
    }
}

fn about_key(error: crate::error::StoreError, call: &Call) -> Fault {
    let fault = Fault::from(error);
    match call.target.key() {
        Some(key) if fault.code == Code::NoSuchKey => fault.field("Key", key.as_str()),
        Some(_) | None => fault,
    }
}

/// Everything but the body; no extent if the client has the object already.
fn head_of(call: &Call, info: &ObjectInfo) -> Result<(Answer, Option<Extent>), Fault> {
    let condition = headers::read_condition(&call.headers, "")?;
    let base = Answer::empty(StatusCode::OK)
        .header(ETAG, info.etag.to_string())
        .header(LAST_MODIFIED, clock::http(info.modified));
    match condition.judge(info) {
        ReadVerdict::Failed => return Err(Code::PreconditionFailed.into()),
        ReadVerdict::NotModified => {
            let cache = info.metadata.cache_control.as_deref();
            let answer = base.opt_header(hyper::header::CACHE_CONTROL, cache);
            return Ok((
                Answer {
                    status: StatusCode::NOT_MODIFIED,
                    ..answer
                },
                None,
            ));
        }
        ReadVerdict::Send => {}
    }
    let extent = extent(call, info)?;
    let mut answer = base.header(ACCEPT_RANGES, "bytes");
    for (name, value) in headers::of_metadata(&info.metadata) {
        answer = answer.header(name, value);
    }
    answer = with_overrides(answer, call)?;
    let wants_checksum = headers::text(&call.headers, "x-amz-checksum-mode")?.is_some_and(|mode| mode == "ENABLED");
    match &extent {
        Extent::Whole if wants_checksum => answer = with_checksum(answer, info),
        Extent::Whole => {}
        Extent::Part(range) => {
            // An object without bytes has no range that could be named.
            if let Some(last) = range.end.checked_sub(1).filter(|_| !range.is_empty()) {
                answer = answer.header(CONTENT_RANGE, format!("bytes {}-{last}/{}", range.start, info.size));
                answer.status = StatusCode::PARTIAL_CONTENT;
            }
        }
    }
    if call.query.has("partNumber") && !info.parts.is_empty() {
        answer = answer.header(
            HeaderName::from_static("x-amz-mp-parts-count"),
            info.parts.len().to_string(),
        );
    }
    Ok((answer, Some(extent)))
}

fn extent(call: &Call, info: &ObjectInfo) -> Result<Extent, Fault> {
    let number = call.query.number("partNumber", u32::from(PART_NUMBER_MAX))?;
    let range = headers::text(&call.headers, "range")?;
    match (number, range) {
        (Some(_), Some(_)) => Err(Fault::with(
            Code::InvalidRequest,
            "Cannot specify both Range header and partNumber query parameter",
        )),
        (Some(number), None) => range::of_part(number, info),
        (None, Some(range)) if still_the_same(call, info)? => range::of_header(range, info.size),
        (None, Some(_) | None) => Ok(Extent::Whole),
    }
}

/// `If-Range`: a range is only sent of the version that the client has the rest of.
fn still_the_same(call: &Call, info: &ObjectInfo) -> Result<bool, Fault> {
    let Some(known) = headers::text(&call.headers, "if-range")? else {
        return Ok(true);
    };
    Ok(match clock::parse_http(known) {
        Some(date) => info.modified.seconds() == date.seconds(),
        None => EtagSet::Of(vec![Etag::parse(known)]).contains(&info.etag),
    })
}

fn with_overrides(mut answer: Answer, call: &Call) -> Result<Answer, Fault> {
    for (parameter, header) in OVERRIDES {
        let Some(value) = call.query.get(parameter) else {
            continue;
        };
        if call.caller == Caller::Anonymous {
            let text = "Request specific response headers cannot be used for anonymous GET requests.";
            return Err(Fault::with(Code::InvalidRequest, text));
        }
        answer = answer.header(HeaderName::from_static(header), value);
    }
    Ok(answer)
}
