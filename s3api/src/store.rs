//! The trait between the front door and whatever keeps the objects.
//!
//! # What a store must guarantee
//!
//! * **One key, one history.** The writes, deletes and reads of one key look as if they happened one after the other, in
//!   an order that respects real time: a read that begins after a write was acknowledged sees that write or a later one,
//!   and listings see what reads see.
//! * **Conditions are atomic.** A [`WriteCondition`] is judged in the same step that writes: of any number of racing
//!   creations of a key exactly one succeeds.
//! * **All or nothing.** A write takes effect only after [`Piece::End`](crate::body::Piece::End), then completely.
//! * **Success is durable.** `Ok` means: on as many disks as the store promises. What is not known to have happened is
//!   [`StoreError::OutcomeUnknown`]; it is neither `Ok` nor [`StoreError::PreconditionFailed`].
//! * **An answer within a deadline.** A store that cannot reach enough of itself says so; it does not hang.
//! * **A repeated attempt is one operation.** SDKs repeat a request whose answer was lost with the same
//!   [`Origin::invocation`]. A store that remembers conditional writes answers the repeat like the first attempt.
//!
//! [`conformance`](crate::conformance) checks what can be checked from outside.
//!
//! Futures are `Send`; implementations write plain `async fn`.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;

use bytes::Bytes;
use futures_core::Stream;

use crate::body::Body;
use crate::bucket::{AccessKey, BucketInfo, BucketName, Credential};
use crate::checksum::{Algorithm, ChecksumKind};
use crate::condition::WriteCondition;
use crate::error::StoreError;
use crate::multipart::{Completion, PartInfo};
use crate::object::{Metadata, ObjectInfo, ObjectKey};
use crate::scan::{ObjectPage, Scan, UploadId, UploadInfo, UploadPage, UploadScan};

/// The bytes of an object on their way out. An error means that the rest cannot be had; the answer is then cut off.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, StoreError>> + Send>>;

/// Who asks for a change, and which attempt of theirs it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The key that signed the request.
    pub caller: AccessKey,
    /// `amz-sdk-invocation-id`: the same for all attempts of one call of an SDK. Chosen by the client: a store derives
    /// an operation id from it together with caller, bucket, key, condition and digests, never from it alone.
    pub invocation: Option<String>,
}

/// An object in one piece, as a client wants it written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PutObject {
    /// What the client says about it.
    pub metadata: Metadata,
    /// When it may be written.
    pub condition: WriteCondition,
}

/// A copy, as a client wants it made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyObject {
    /// The metadata of the copy; the front door has resolved `COPY` and `REPLACE`.
    pub metadata: Metadata,
    /// When the destination may be written.
    pub condition: WriteCondition,
    /// The checksum the copy is to have; `None` keeps that of the source if the bytes are not read again.
    pub checksum: Option<Algorithm>,
}

/// An upload in parts, as a client wants it begun.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewUpload {
    /// The metadata of the object it will become.
    pub metadata: Metadata,
    /// The checksum that its parts will carry.
    pub checksum: Option<(Algorithm, ChecksumKind)>,
}

/// A part of an upload, as a client names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartTarget {
    /// The key of the upload.
    pub key: ObjectKey,
    /// The upload.
    pub upload: UploadId,
    /// The number of the part: 1 to [`PART_NUMBER_MAX`](crate::multipart::PART_NUMBER_MAX).
    pub number: u16,
}

/// The stored parts of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartPage {
    /// The upload.
    pub upload: UploadInfo,
    /// Its parts in ascending order.
    pub parts: Vec<PartInfo>,
    /// Whether parts with higher numbers exist.
    pub rest: Rest,
}

/// Whether a listing goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// This was all.
    End,
    /// There is more.
    More,
}

/// One version of an object, opened for reading. What it reads does not change when the key is written again.
pub trait ObjectReader: Send + Sync + 'static {
    /// The object without its bytes.
    fn info(&self) -> &ObjectInfo;

    /// The bytes in `range`, which lies within the object.
    fn read(self, range: Range<u64>) -> ByteStream;
}

/// A store of buckets and objects. See the [module](self) for what it must guarantee.
///
/// The front door has authenticated and authorised every call. Operations on objects take the [`BucketInfo`] that
/// [`ObjectStore::bucket`] gave out a moment ago, so that nothing is looked up twice; a store may still answer
/// [`StoreError::NoSuchBucket`] if the bucket has gone since.
pub trait ObjectStore: Send + Sync + 'static {
    /// An opened object.
    type Reader: ObjectReader;

    /// The key pair of that name, if there is one.
    fn credential(&self, key: &AccessKey) -> impl Future<Output = Result<Option<Credential>, StoreError>> + Send;

    /// The buckets that `caller` owns or was granted something in, ordered by name.
    fn list_buckets(&self, caller: &AccessKey) -> impl Future<Output = Result<Vec<BucketInfo>, StoreError>> + Send;

    /// Creates a bucket that belongs to the caller; [`StoreError::BucketAlreadyOwnedByYou`] or
    /// [`StoreError::BucketAlreadyExists`] if the name is taken.
    fn create_bucket(
        &self,
        origin: &Origin,
        name: &BucketName,
    ) -> impl Future<Output = Result<BucketInfo, StoreError>> + Send;

    /// The bucket of that name.
    fn bucket(&self, name: &BucketName) -> impl Future<Output = Result<BucketInfo, StoreError>> + Send;

    /// Deletes an empty bucket.
    fn delete_bucket(
        &self,
        origin: &Origin,
        bucket: &BucketInfo,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes an object and answers what was written.
    fn put_object(
        &self,
        origin: &Origin,
        bucket: &BucketInfo,
        key: &ObjectKey,
        put: PutObject,
        body: Body,
    ) -> impl Future<Output = Result<ObjectInfo, StoreError>> + Send;

    /// Opens the current version of an object.
    fn get_object(
        &self,
        bucket: &BucketInfo,
        key: &ObjectKey,
    ) -> impl Future<Output = Result<Self::Reader, StoreError>> + Send;

    /// The current version of an object without its bytes.
    fn head_object(
        &self,
        bucket: &BucketInfo,
        key: &ObjectKey,
    ) -> impl Future<Output = Result<ObjectInfo, StoreError>> + Send;

    /// Deletes an object; without a condition, deleting what is not there succeeds. With one, it is judged as for a write
    /// ([`WriteCondition::holds`]).
    fn delete_object(
        &self,
        origin: &Origin,
        bucket: &BucketInfo,
        key: &ObjectKey,
        condition: WriteCondition,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes an object with the bytes of `source`. The conditions on the source have been judged on that very version.
    ///
    /// A store may reuse what is stored, then the copy has the entity tag and parts of the source; or it may write the
    /// bytes again (see [`read_whole`]), then it has the tag of an object in one piece.
    fn copy_object(
        &self,
        origin: &Origin,
        source: Self::Reader,
        bucket: &BucketInfo,
        key: &ObjectKey,
        copy: CopyObject,
    ) -> impl Future<Output = Result<ObjectInfo, StoreError>> + Send;

    /// Begins an upload in parts.
    fn create_upload(
        &self,
        origin: &Origin,
        bucket: &BucketInfo,
        key: &ObjectKey,
        upload: NewUpload,
    ) -> impl Future<Output = Result<UploadId, StoreError>> + Send;

    /// Stores a part, replacing one of the same number. Prepare the body with
    /// [`admit_part`](crate::multipart::admit_part).
    fn put_part(
        &self,
        origin: &Origin,
        bucket: &BucketInfo,
        target: &PartTarget,
        body: Body,
    ) -> impl Future<Output = Result<PartInfo, StoreError>> + Send;

    /// Stores a part with the bytes of `source` in `range`.
    fn copy_part(
        &self,
        origin: &Origin,
        source: Self::Reader,
        range: Range<u64>,
        bucket: &BucketInfo,
        target: &PartTarget,
    ) -> impl Future<Output = Result<PartInfo, StoreError>> + Send {
        async move {
            let body = Body::from_stream(source.read(range.clone()), range.end - range.start);
            self.put_part(origin, bucket, target, body).await
        }
    }

    /// Makes an object of the parts; [`assemble`](crate::multipart::assemble) decides of what. The upload ends.
    ///
    /// A repeat, with the same parts and while the object is still the current one, is answered like the first time.
    fn complete_upload(
        &self,
        origin: &Origin,
        bucket: &BucketInfo,
        key: &ObjectKey,
        upload: &UploadId,
        completion: Completion,
        condition: WriteCondition,
    ) -> impl Future<Output = Result<ObjectInfo, StoreError>> + Send;

    /// Ends an upload and drops its parts.
    fn abort_upload(
        &self,
        origin: &Origin,
        bucket: &BucketInfo,
        key: &ObjectKey,
        upload: &UploadId,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// At most `limit` parts of an upload with numbers above `after`.
    fn list_parts(
        &self,
        bucket: &BucketInfo,
        key: &ObjectKey,
        upload: &UploadId,
        after: u16,
        limit: usize,
    ) -> impl Future<Output = Result<PartPage, StoreError>> + Send;

    /// Objects in key order.
    fn scan(&self, bucket: &BucketInfo, scan: Scan) -> impl Future<Output = Result<ObjectPage, StoreError>> + Send;

    /// Unfinished uploads in the order of key and upload id.
    fn scan_uploads(
        &self,
        bucket: &BucketInfo,
        scan: UploadScan,
    ) -> impl Future<Output = Result<UploadPage, StoreError>> + Send;
}

/// The bytes of an object as a body that a store can write again, for copies that reuse nothing.
pub fn read_whole(source: impl ObjectReader, checksum: Option<Algorithm>) -> Body {
    let algorithm = checksum.or_else(|| source.info().checksum.map(|checksum| checksum.value.algorithm()));
    let size = source.info().size;
    Body::from_stream(source.read(0..size), size).asking_for(algorithm)
}
