//! PutObject.

use hyper::StatusCode;
use hyper::header::ETAG;

use super::super::Door;
use super::super::answer::Answer;
use super::super::call::Call;
use super::super::fault::Fault;
use super::super::headers;
use super::dto::with_checksum;
use crate::bucket::Action;
use crate::store::{ObjectStore, PutObject};

pub(super) async fn put<S: ObjectStore>(door: &Door<S>, call: Call) -> Result<Answer, Fault> {
    let bucket = call.bucket(door, Action::Write).await?;
    let (key, origin) = (call.object()?, call.origin()?);
    let put = PutObject {
        metadata: headers::metadata(&call.headers)?,
        condition: headers::write_condition(&call.headers)?,
    };
    let body = call.body.measured(&call.headers)?;
    let info = door.store.put_object(&origin, &bucket, &key, put, body).await?;
    let answer = Answer::empty(StatusCode::OK).header(ETAG, info.etag.to_string());
    Ok(with_checksum(answer, &info))
}
