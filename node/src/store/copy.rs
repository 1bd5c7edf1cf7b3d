//! Copying an object: by reference where its blocks are at hand, else by writing its bytes again.

use futures_util::future::try_join_all;
use trellis_s3api::bucket::BucketInfo;
use trellis_s3api::error::StoreError;
use trellis_s3api::object::{ObjectInfo, ObjectKey};
use trellis_s3api::store::{CopyObject, Origin, PutObject, read_whole};
use trellis_spec::row::{Block, BlockReference, Body, Object};

use super::commit::object_target;
use super::ingest::{Owner, block_failed};
use super::object::OpenObject;
use super::{ClusterStore, attributes};
use crate::cluster::BlockError;

impl ClusterStore {
    /// Writes an object with the bytes of `source`.
    pub(super) async fn copy(
        &self,
        origin: &Origin,
        source: OpenObject,
        bucket: &BucketInfo,
        key: &ObjectKey,
        copy: CopyObject,
    ) -> Result<ObjectInfo, StoreError> {
        let kept = attributes::checksum(&source.row.headers);
        let keeps_checksum = copy.checksum.is_none() || copy.checksum == kept.map(|sum| sum.value.algorithm());
        let owner = Owner {
            row: object_target(bucket, key).address,
            version: self.fresh_version(),
            until_us: self.until_us(Some(0)),
        };
        let reused = if keeps_checksum {
            self.reuse(&owner, &source.row.body).await?
        } else {
            None
        };
        match reused {
            Some(body) => {
                let mut headers = attributes::to_headers(&copy.metadata);
                attributes::put_checksum(&mut headers, kept);
                let (size, etag) = (source.row.size, source.row.etag);
                let object = Object {
                    version: owner.version,
                    modified_ms: self.now_ms(),
                    size,
                    etag,
                    headers,
                    body,
                };
                self.write_object(origin, bucket, key, object, &copy.condition, owner.until_us)
                    .await
            }
            None => {
                let put = PutObject {
                    metadata: copy.metadata,
                    condition: copy.condition,
                };
                self.put(origin, bucket, key, put, read_whole(source, copy.checksum))
                    .await
            }
        }
    }

    /// The same body for another owner, if that costs no more than references. Pages and parts belong to their version
    /// alone, so that bodies with a manifest are written again.
    async fn reuse(&self, owner: &Owner, body: &Body) -> Result<Option<Body>, StoreError> {
        match body {
            Body::Inline(_) => Ok(Some(body.clone())),
            Body::Blocks(blocks) => self.refer(owner, blocks).await,
            Body::Paged(_) => Ok(None),
        }
    }

    async fn refer(&self, owner: &Owner, blocks: &[Block]) -> Result<Option<Body>, StoreError> {
        let references = blocks.iter().map(|block| {
            let Owner { row, version, until_us } = owner.clone();
            let reference = BlockReference {
                block: block.name,
                owner: row,
                version,
                until: until_us,
            };
            self.coordinator.refer_block(reference, block.length)
        });
        match try_join_all(references).await {
            Ok(stored) => Ok(Some(Body::Blocks(
                stored.into_iter().map(|stored| stored.block()).collect(),
            ))),
            Err(BlockError::NeedData | BlockError::Missing) => Ok(None),
            Err(error @ (BlockError::Unreached | BlockError::Full | BlockError::Busy)) => Err(block_failed(error)),
        }
    }
}
