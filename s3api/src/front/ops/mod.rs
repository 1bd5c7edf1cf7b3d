//! The operations: each parses what is left, calls the store and shapes the answer.

mod bucket;
mod copy;
mod delete;
mod dto;
mod fixed;
mod list;
mod multipart;
mod put;
mod range;
mod read;
mod uploads;

use super::Door;
use super::answer::Answer;
use super::call::Call;
use super::fault::Fault;
use super::operation::{Handler, Operation, Support};
use crate::store::ObjectStore;

/// Runs an operation.
pub(super) async fn run<S: ObjectStore>(
    door: &Door<S>,
    operation: &'static Operation,
    call: Call,
) -> Result<Answer, Fault> {
    let handler = match operation.support {
        Support::Refused => return Err(Fault::not_implemented(operation.name)),
        Support::Fixed => return fixed::answer(door, operation, call).await,
        Support::Full(handler) => handler,
    };
    match handler {
        Handler::ListBuckets => bucket::list(door, call).await,
        Handler::CreateBucket => bucket::create(door, call).await,
        Handler::HeadBucket => bucket::head(door, call).await,
        Handler::DeleteBucket => bucket::delete(door, call).await,
        Handler::GetBucketLocation => bucket::location(door, call).await,
        Handler::ListObjects => list::version_1(door, call).await,
        Handler::ListObjectsV2 => list::version_2(door, call).await,
        Handler::GetObject => read::get(door, call).await,
        Handler::HeadObject => read::head(door, call).await,
        Handler::PutObject => put::put(door, call).await,
        Handler::CopyObject => copy::object(door, call).await,
        Handler::DeleteObject => delete::one(door, call).await,
        Handler::DeleteObjects => delete::many(door, call).await,
        Handler::CreateMultipartUpload => multipart::create(door, call).await,
        Handler::UploadPart => multipart::part(door, call).await,
        Handler::UploadPartCopy => copy::part(door, call).await,
        Handler::CompleteMultipartUpload => multipart::complete(door, call).await,
        Handler::AbortMultipartUpload => multipart::abort(door, call).await,
        Handler::ListParts => uploads::parts(door, call).await,
        Handler::ListMultipartUploads => uploads::list(door, call).await,
    }
}
