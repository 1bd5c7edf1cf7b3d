//! A store in memory: the simplest thing that keeps every promise of [`ObjectStore`], for tests and for trying clients.
//!
//! One lock makes all operations atomic. Bodies are read to their end before the lock is taken.

mod state;

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use crate::body::{Body, stream_of};
use crate::bucket::{Access, AccessKey, BucketCreation, BucketInfo, BucketName, Credential, Grant, Secret};
use crate::condition::WriteCondition;
use crate::error::StoreError;
use crate::multipart::{Completion, PartInfo, admit_part};
use crate::object::{ObjectInfo, ObjectKey, PUT_MAX_BYTES, Timestamp};
use crate::scan::{ObjectPage, Scan, UploadId, UploadPage, UploadScan};
use crate::store::{
    ByteStream, CopyObject, NewUpload, ObjectReader, ObjectStore, Origin, PartPage, PartTarget, PutObject, read_whole,
};
use state::{Object, State};

/// A store in memory.
#[derive(Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

/// An opened object.
#[derive(Debug, Clone)]
pub struct MemoryReader(Arc<Object>);

impl MemoryStore {
    /// An empty store without keys.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// Adds a key pair that may create buckets.
    #[must_use]
    pub fn with_key(self, key: &str, secret: &str) -> MemoryStore {
        self.add_key(key, secret, BucketCreation::Allowed);
        self
    }

    /// Adds a key pair.
    pub fn add_key(&self, key: &str, secret: &str, bucket_creation: BucketCreation) {
        let credential = Credential {
            secret: Secret(secret.to_owned()),
            bucket_creation,
        };
        self.state().keys.insert(AccessKey(key.to_owned()), credential);
    }

    /// Lets `key` do more in a bucket of somebody else.
    pub fn grant(&self, bucket: &BucketName, key: &AccessKey, access: Access) -> Result<(), StoreError> {
        let mut state = self.state();
        let bucket = state.buckets.get_mut(bucket).ok_or(StoreError::NoSuchBucket)?;
        bucket.info.grants.push(Grant {
            key: key.clone(),
            access,
        });
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl ObjectReader for MemoryReader {
    fn info(&self) -> &ObjectInfo {
        &self.0.info
    }

    fn read(self, range: Range<u64>) -> ByteStream {
        stream_of(self.0.slice(range))
    }
}

impl ObjectStore for MemoryStore {
    type Reader = MemoryReader;

    async fn credential(&self, key: &AccessKey) -> Result<Option<Credential>, StoreError> {
        Ok(self.state().keys.get(key).cloned())
    }

    async fn list_buckets(&self, caller: &AccessKey) -> Result<Vec<BucketInfo>, StoreError> {
        Ok(self.state().buckets_of(caller))
    }

    async fn create_bucket(&self, origin: &Origin, name: &BucketName) -> Result<BucketInfo, StoreError> {
        self.state().create_bucket(origin, name, now())
    }

    async fn bucket(&self, name: &BucketName) -> Result<BucketInfo, StoreError> {
        let state = self.state();
        state
            .buckets
            .get(name)
            .map(|bucket| bucket.info.clone())
            .ok_or(StoreError::NoSuchBucket)
    }

    async fn delete_bucket(&self, _: &Origin, bucket: &BucketInfo) -> Result<(), StoreError> {
        self.state().delete_bucket(bucket)
    }

    async fn put_object(
        &self,
        _: &Origin,
        bucket: &BucketInfo,
        key: &ObjectKey,
        put: PutObject,
        body: Body,
    ) -> Result<ObjectInfo, StoreError> {
        let (bytes, digests) = body.collect(PUT_MAX_BYTES).await?;
        let info = ObjectInfo {
            size: digests.size,
            etag: digests.etag(),
            modified: now(),
            metadata: put.metadata,
            checksum: digests.object_checksum(),
            parts: Vec::new(),
        };
        self.state().write(
            bucket,
            key,
            &put.condition,
            Object {
                info,
                segments: vec![bytes],
            },
        )
    }

    async fn get_object(&self, bucket: &BucketInfo, key: &ObjectKey) -> Result<MemoryReader, StoreError> {
        let state = self.state();
        state
            .bucket(bucket)?
            .objects
            .get(key)
            .cloned()
            .map(MemoryReader)
            .ok_or(StoreError::NoSuchKey)
    }

    async fn head_object(&self, bucket: &BucketInfo, key: &ObjectKey) -> Result<ObjectInfo, StoreError> {
        self.get_object(bucket, key).await.map(|reader| reader.0.info.clone())
    }

    async fn delete_object(
        &self,
        _: &Origin,
        bucket: &BucketInfo,
        key: &ObjectKey,
        condition: WriteCondition,
    ) -> Result<(), StoreError> {
        let mut state = self.state();
        let objects = &mut state.bucket_mut(bucket)?.objects;
        condition.holds(objects.get(key).map(|object| &object.info.etag))?;
        objects.remove(key);
        Ok(())
    }

    async fn copy_object(
        &self,
        origin: &Origin,
        source: MemoryReader,
        bucket: &BucketInfo,
        key: &ObjectKey,
        copy: CopyObject,
    ) -> Result<ObjectInfo, StoreError> {
        let body = read_whole(source, copy.checksum);
        let put = PutObject {
            metadata: copy.metadata,
            condition: copy.condition,
        };
        self.put_object(origin, bucket, key, put, body).await
    }

    async fn create_upload(
        &self,
        _: &Origin,
        bucket: &BucketInfo,
        key: &ObjectKey,
        upload: NewUpload,
    ) -> Result<UploadId, StoreError> {
        self.state().create_upload(bucket, key, upload, now())
    }

    async fn put_part(
        &self,
        _: &Origin,
        bucket: &BucketInfo,
        target: &PartTarget,
        mut body: Body,
    ) -> Result<PartInfo, StoreError> {
        let upload = self.state().upload(bucket, &target.key, &target.upload)?.info.clone();
        admit_part(&upload, &mut body)?;
        let (bytes, digests) = body.collect(PUT_MAX_BYTES).await?;
        let part = PartInfo::new(target.number, now(), &digests);
        let mut state = self.state();
        let upload = state.upload_mut(bucket, &target.key, &target.upload)?;
        upload.parts.insert(target.number, (part.clone(), bytes));
        Ok(part)
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
        self.state()
            .complete_upload(bucket, key, upload, completion, &condition, now())
    }

    async fn abort_upload(
        &self,
        _: &Origin,
        bucket: &BucketInfo,
        key: &ObjectKey,
        upload: &UploadId,
    ) -> Result<(), StoreError> {
        let mut state = self.state();
        state.upload(bucket, key, upload)?;
        state.bucket_mut(bucket)?.uploads.remove(&(key.clone(), upload.clone()));
        Ok(())
    }

    async fn list_parts(
        &self,
        bucket: &BucketInfo,
        key: &ObjectKey,
        upload: &UploadId,
        after: u16,
        limit: usize,
    ) -> Result<PartPage, StoreError> {
        Ok(self.state().upload(bucket, key, upload)?.list(after, limit))
    }

    async fn scan(&self, bucket: &BucketInfo, scan: Scan) -> Result<ObjectPage, StoreError> {
        Ok(self.state().bucket(bucket)?.scan(&scan))
    }

    async fn scan_uploads(&self, bucket: &BucketInfo, scan: UploadScan) -> Result<UploadPage, StoreError> {
        Ok(self.state().bucket(bucket)?.scan_uploads(&scan))
    }
}

#[expect(clippy::disallowed_methods, reason = "this store takes no part in simulations")]
fn now() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_ms(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
