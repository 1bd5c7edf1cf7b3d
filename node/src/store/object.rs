//! Objects: put, get, head, delete.

use std::ops::Range;
use std::sync::Arc;

use futures_util::future::try_join_all;
use trellis_s3api::body::Body as Incoming;
use trellis_s3api::bucket::BucketInfo;
use trellis_s3api::condition::WriteCondition;
use trellis_s3api::error::StoreError;
use trellis_s3api::object::{ObjectInfo, ObjectKey, ObjectPart};
use trellis_s3api::store::{ByteStream, Origin, PutObject};
use trellis_spec::gate::Gate;
use trellis_spec::register::{Accepted, Content, Fetch};
use trellis_spec::row::{Address, Body, Manifest, Object, PartRef, Row};

use super::attributes::{self, checksums};
use super::blocks_out::{load_page, read_body};
use super::commit::{BehindGate, Commit, Committed, object_target};
use super::ingest::{Ingested, Owner};
use super::{ClusterStore, read_failed};
use crate::cluster::Coordinator;

/// One version of an object, opened for reading.
pub struct OpenObject {
    coordinator: Arc<Coordinator>,
    info: ObjectInfo,
    pub(super) row: Object,
}

impl OpenObject {
    pub(super) fn object_info(&self) -> &ObjectInfo {
        &self.info
    }

    pub(super) fn bytes(self, range: Range<u64>) -> ByteStream {
        read_body(self.coordinator, self.row.body, range)
    }
}

impl ClusterStore {
    /// Stores the body, then writes the row: the old object is there until the new one is.
    pub(super) async fn put(
        &self,
        origin: &Origin,
        bucket: &BucketInfo,
        key: &ObjectKey,
        put: PutObject,
        body: Incoming,
    ) -> Result<ObjectInfo, StoreError> {
        let owner = Owner {
            row: object_target(bucket, key).address,
            version: self.fresh_version(),
            until_us: self.until_us(body.announced_size()),
        };
        let Ingested { body, digests } = self.ingest(&owner, body).await?;
        let mut headers = attributes::to_headers(&put.metadata);
        attributes::put_checksum(&mut headers, digests.object_checksum());
        let etag = digests.etag().as_str().to_owned();
        let object = Object {
            version: owner.version,
            modified_ms: self.now_ms(),
            size: digests.size,
            etag,
            headers,
            body,
        };
        self.write_object(origin, bucket, key, object, &put.condition, owner.until_us)
            .await
    }

    /// Writes the row of an object whose body is stored.
    pub(super) async fn write_object(
        &self,
        origin: &Origin,
        bucket: &BucketInfo,
        key: &ObjectKey,
        object: Object,
        condition: &WriteCondition,
        until_us: u64,
    ) -> Result<ObjectInfo, StoreError> {
        let op = if condition.is_none() {
            self.fresh_op()
        } else {
            self.conditional_op(origin, bucket, key, condition, &object.etag)
        };
        let info = attributes::info(&object, Vec::new());
        // What refers to no block needs no limit: it may be tried again above a row that a wrong clock wrote.
        let until_us = match &object.body {
            Body::Inline(_) => u64::MAX,
            Body::Blocks(_) | Body::Paged(_) => until_us,
        };
        let content = Content::Value(Row::Object(object));
        let commit = Commit {
            bucket,
            key,
            op,
            content,
            condition,
            until_us,
        };
        match self.commit(commit).await? {
            Committed::Done(None) => Ok(info),
            // What stands there may be from an earlier attempt of the same operation, with the same content.
            Committed::Done(Some(accepted)) => {
                Ok(live_object(accepted).map_or(info, |object| attributes::info(&object, Vec::new())))
            }
            Committed::Refused(current) => {
                condition.holds(current.as_ref())?;
                // The condition holds of what is there now: it failed on something in between.
                Err(StoreError::PreconditionFailed)
            }
        }
    }

    /// Opens the current version.
    pub(super) async fn open(&self, bucket: &BucketInfo, key: &ObjectKey) -> Result<OpenObject, StoreError> {
        self.coordinator.note_operation();
        let row = self.current(bucket, key, Fetch::Full).await?;
        let info = attributes::info(&row, self.parts_of(&row).await?);
        Ok(OpenObject {
            coordinator: self.coordinator.clone(),
            info,
            row,
        })
    }

    /// The current version without its bytes.
    pub(super) async fn head(&self, bucket: &BucketInfo, key: &ObjectKey) -> Result<ObjectInfo, StoreError> {
        let row = self.current(bucket, key, Fetch::Head).await?;
        Ok(attributes::info(&row, self.parts_of(&row).await?))
    }

    /// The row as a quorum knows it, in a bucket that was there when it was read.
    pub(super) async fn current(
        &self,
        bucket: &BucketInfo,
        key: &ObjectKey,
        fetch: Fetch,
    ) -> Result<Object, StoreError> {
        let found = self
            .coordinator
            .read(&object_target(bucket, key), fetch)
            .await
            .map_err(read_failed)?;
        self.believe(bucket, found.gate).await?;
        found.accepted.and_then(live_object).ok_or(StoreError::NoSuchKey)
    }

    /// What was read of a bucket counts unless its gate was closed and it turns out to be gone. A majority of the gates
    /// of a deleted bucket is closed, so no quorum misses it.
    pub(super) async fn believe(&self, bucket: &BucketInfo, gate: Gate) -> Result<(), StoreError> {
        match gate {
            Gate::Open => Ok(()),
            Gate::Closed => match self.reopen(bucket).await? {
                Some(BehindGate::Open) | None => Ok(()),
                Some(BehindGate::Gone) => Err(self.gone(bucket).await),
            },
        }
    }

    /// Deletes: writes a tombstone, over nothing too.
    pub(super) async fn delete(
        &self,
        origin: &Origin,
        bucket: &BucketInfo,
        key: &ObjectKey,
        condition: &WriteCondition,
    ) -> Result<(), StoreError> {
        let op = self.conditional_op(origin, bucket, key, condition, "");
        let commit = Commit {
            bucket,
            key,
            op,
            content: Content::Tombstone,
            condition,
            until_us: u64::MAX,
        };
        match self.commit(commit).await? {
            Committed::Done(_) => Ok(()),
            Committed::Refused(current) => Ok(condition.holds(current.as_ref())?),
        }
    }

    /// The parts of an object that was uploaded in parts: its entity tag tells.
    pub(super) async fn parts_of(&self, object: &Object) -> Result<Vec<ObjectPart>, StoreError> {
        let pages = match &object.body {
            Body::Paged(pages) if object.etag.contains('-') => pages,
            Body::Paged(_) | Body::Inline(_) | Body::Blocks(_) => return Ok(Vec::new()),
        };
        let numbers = (0_u32..).take(pages.page_bytes.len());
        let load = |number| load_page(&self.coordinator, Address::manifest(pages.manifest, number));
        let pages = try_join_all(numbers.map(load)).await?;
        Ok(pages.iter().flat_map(parts_in).collect())
    }
}

/// The parts that a page of a manifest names.
pub(super) fn parts_in(page: &Manifest) -> Vec<ObjectPart> {
    let part = |part: &PartRef| ObjectPart {
        number: part.number,
        size: part.size,
        checksum: checksums(&part.checksums).into_iter().next(),
    };
    match page {
        Manifest::Blocks(_) => Vec::new(),
        Manifest::Parts(parts) => parts.iter().map(part).collect(),
    }
}

fn live_object(accepted: Accepted<Row>) -> Option<Object> {
    match accepted.content {
        Content::Value(Row::Object(object)) => Some(object),
        Content::Value(_) | Content::Tombstone => None,
    }
}
