//! The object store on top of the cluster: what `trellis-s3api` asks for, in terms of rows and blocks.
//!
//! One file per group of operations. A small object travels inside its row: one round trip in all. A larger one is cut
//! into blocks, each stored with its reference on a majority, and then the row that names them is written.

mod attributes;
mod blocks_out;
mod bucket_deletion;
mod buckets;
mod cache;
mod commit;
mod complete;
mod copy;
mod ids;
mod ingest;
mod keys;
mod object;
mod scan;
#[cfg(test)]
mod tests;
mod upload;

use std::ops::Range;
use std::sync::Arc;

use trellis_s3api::body::Body;
use trellis_s3api::bucket::{AccessKey, BucketInfo, BucketName, Credential};
use trellis_s3api::condition::WriteCondition;
use trellis_s3api::error::StoreError;
use trellis_s3api::multipart::{Completion, PartInfo};
use trellis_s3api::object::{ObjectInfo, ObjectKey};
use trellis_s3api::scan::{ObjectPage, Scan, UploadId, UploadPage, UploadScan};
use trellis_s3api::store::{
    ByteStream, CopyObject, NewUpload, ObjectReader, ObjectStore, Origin, PartPage, PartTarget, PutObject,
};

use crate::cluster::{ClusterError, Coordinator};
use cache::Cache;

pub use keys::{Imported, KeyError, KeySummary, NewKey, SecretWrapping};
pub use object::OpenObject;

/// The object store of one node.
#[derive(Clone)]
pub struct ClusterStore {
    coordinator: Arc<Coordinator>,
    wrapping: Arc<SecretWrapping>,
    buckets: Arc<Cache<BucketName, BucketInfo>>,
    credentials: Arc<Cache<AccessKey, Credential>>,
}

impl ClusterStore {
    /// A store that runs its operations through `coordinator`.
    pub fn new(coordinator: Arc<Coordinator>, wrapping: SecretWrapping) -> Self {
        let limit = std::time::Duration::from_millis(coordinator.limits.control_cache_ms);
        let clock = coordinator.env.clock.clone();
        ClusterStore {
            wrapping: Arc::new(wrapping),
            buckets: Arc::new(Cache::new(clock.clone(), limit)),
            credentials: Arc::new(Cache::new(clock, limit)),
            coordinator,
        }
    }

    /// Looks something up beside the requests. If that fails, a request will, and tell.
    fn beside(&self, name: &'static str, lookup: impl Future<Output = Result<(), StoreError>> + Send + 'static) {
        let lookup = async move { drop(lookup.await) };
        self.coordinator.env.spawner.spawn(name, Box::pin(lookup));
    }

    /// Milliseconds since the Unix epoch, for `Last-Modified` and the like. Never used for ordering.
    fn now_ms(&self) -> u64 {
        self.coordinator.env.clock.wall_us() / 1000
    }

    /// The last moment at which a row may be proposed that names blocks referred to from now on. The sooner it is, the
    /// sooner the space comes back when the row is overwritten: what is known to be small needs little time.
    fn until_us(&self, size: Option<u64>) -> u64 {
        let limits = &self.coordinator.limits;
        let slowest = limits.upload_slowest_kib_s.max(1);
        let needed_s = size.map(|bytes| limits.upload_least_s.saturating_add((bytes >> 10) / slowest));
        let valid_s = needed_s.map_or(limits.upload_valid_s, |needed| needed.min(limits.upload_valid_s));
        // By then, for the clocks of others may be ahead, and its stamp with them.
        let latest_us = self.coordinator.latest_us();
        latest_us.saturating_add(valid_s.saturating_mul(1_000_000))
    }
}

/// What a failed read of rows is to a client.
fn read_failed(error: ClusterError) -> StoreError {
    match error {
        ClusterError::Unreached | ClusterError::Unknown => {
            StoreError::Unavailable("too few replicas answered in time".to_owned())
        }
        ClusterError::Gated => StoreError::SlowDown,
        ClusterError::Full => StoreError::StorageFull,
        ClusterError::Clock => StoreError::Unavailable("the clock of this node is wrong".to_owned()),
    }
}

/// What a failed unconditional write is to a client.
fn write_failed(error: ClusterError) -> StoreError {
    match error {
        ClusterError::Unreached => StoreError::Unavailable("too few replicas answered in time".to_owned()),
        ClusterError::Unknown => StoreError::OutcomeUnknown,
        ClusterError::Gated => StoreError::SlowDown,
        ClusterError::Full => StoreError::StorageFull,
        ClusterError::Clock => StoreError::Unavailable("the clock of this node is wrong".to_owned()),
    }
}

impl ObjectStore for ClusterStore {
    type Reader = OpenObject;

    async fn credential(&self, key: &AccessKey) -> Result<Option<Credential>, StoreError> {
        self.find_credential(key).await
    }

    async fn list_buckets(&self, caller: &AccessKey) -> Result<Vec<BucketInfo>, StoreError> {
        self.buckets_of(caller).await
    }

    async fn create_bucket(&self, origin: &Origin, name: &BucketName) -> Result<BucketInfo, StoreError> {
        self.new_bucket(origin, name).await
    }

    async fn bucket(&self, name: &BucketName) -> Result<BucketInfo, StoreError> {
        self.find_bucket(name).await
    }

    async fn delete_bucket(&self, _: &Origin, bucket: &BucketInfo) -> Result<(), StoreError> {
        self.remove_bucket(bucket).await
    }

    async fn put_object(
        &self,
        origin: &Origin,
        bucket: &BucketInfo,
        key: &ObjectKey,
        put: PutObject,
        body: Body,
    ) -> Result<ObjectInfo, StoreError> {
        self.put(origin, bucket, key, put, body).await
    }

    async fn get_object(&self, bucket: &BucketInfo, key: &ObjectKey) -> Result<OpenObject, StoreError> {
        self.open(bucket, key).await
    }

    async fn head_object(&self, bucket: &BucketInfo, key: &ObjectKey) -> Result<ObjectInfo, StoreError> {
        self.head(bucket, key).await
    }

    async fn delete_object(
        &self,
        origin: &Origin,
        bucket: &BucketInfo,
        key: &ObjectKey,
        condition: WriteCondition,
    ) -> Result<(), StoreError> {
        self.delete(origin, bucket, key, &condition).await
    }

    async fn copy_object(
        &self,
        origin: &Origin,
        source: OpenObject,
        bucket: &BucketInfo,
        key: &ObjectKey,
        copy: CopyObject,
    ) -> Result<ObjectInfo, StoreError> {
        self.copy(origin, source, bucket, key, copy).await
    }

    async fn create_upload(
        &self,
        origin: &Origin,
        bucket: &BucketInfo,
        key: &ObjectKey,
        upload: NewUpload,
    ) -> Result<UploadId, StoreError> {
        self.begin_upload(origin, bucket, key, upload).await
    }

    async fn put_part(
        &self,
        _: &Origin,
        bucket: &BucketInfo,
        target: &PartTarget,
        body: Body,
    ) -> Result<PartInfo, StoreError> {
        self.store_part(bucket, target, body).await
    }

    async fn complete_upload(
        &self,
        _: &Origin,
        bucket: &BucketInfo,
        key: &ObjectKey,
        upload: &UploadId,
        completion: Completion,
        condition: WriteCondition,
    ) -> Result<ObjectInfo, StoreError> {
        self.complete(bucket, key, upload, &completion, &condition).await
    }

    async fn abort_upload(
        &self,
        _: &Origin,
        bucket: &BucketInfo,
        key: &ObjectKey,
        upload: &UploadId,
    ) -> Result<(), StoreError> {
        self.abort(bucket, key, upload).await
    }

    async fn list_parts(
        &self,
        bucket: &BucketInfo,
        key: &ObjectKey,
        upload: &UploadId,
        after: u16,
        limit: usize,
    ) -> Result<PartPage, StoreError> {
        self.parts_page(bucket, key, upload, after, limit).await
    }

    async fn scan(&self, bucket: &BucketInfo, scan: Scan) -> Result<ObjectPage, StoreError> {
        self.scan_objects(bucket, &scan).await
    }

    async fn scan_uploads(&self, bucket: &BucketInfo, scan: UploadScan) -> Result<UploadPage, StoreError> {
        self.scan_open_uploads(bucket, &scan).await
    }
}

impl ObjectReader for OpenObject {
    fn info(&self) -> &ObjectInfo {
        self.object_info()
    }

    fn read(self, range: Range<u64>) -> ByteStream {
        self.bytes(range)
    }
}
