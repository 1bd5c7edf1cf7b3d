//! Taking in a body: inline when it is small, else cut into blocks that are stored while more arrives.
//!
//! Nothing is read from the client that there is no room for: a block waits for its share of the node's block memory,
//! and an upload for its window. No more than the block being filled is copied.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::future::try_join_all;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use trellis_s3api::body::{Body as Incoming, Piece};
use trellis_s3api::checksum::Digests;
use trellis_s3api::error::StoreError;
use trellis_spec::block::Stored;
use trellis_spec::register::Content;
use trellis_spec::row::{
    Address, Blob, Block, BlockName, BlockReference, Body, Inline, Manifest, PageRef, Row, VersionId,
};

use super::buckets::control;
use super::{ClusterStore, write_failed};
use crate::cluster::{BlockError, Coordinator};

/// Blocks that a row names by itself; more go to pages.
pub(super) const BLOCKS_IN_ROW_MAX: usize = 64;
/// Blocks that one page of a manifest names.
const BLOCKS_IN_PAGE: usize = 1000;

/// For whom blocks are stored.
#[derive(Clone)]
pub(super) struct Owner {
    /// The row that will name them.
    pub(super) row: Address,
    /// For which version.
    pub(super) version: VersionId,
    /// No later stamp will carry that row.
    pub(super) until_us: u64,
}

/// A body that is stored.
pub(super) struct Ingested {
    pub(super) body: Body,
    pub(super) digests: Digests,
}

impl ClusterStore {
    /// Stores a body for a row that is yet to be written.
    pub(super) async fn ingest(&self, owner: &Owner, mut incoming: Incoming) -> Result<Ingested, StoreError> {
        let limits = &self.coordinator.limits;
        let mut filling = BytesMut::new();
        let mut upload = BlockUpload::new(self.coordinator.clone(), owner.clone());
        loop {
            match incoming.next().await? {
                Piece::Data(mut data) => {
                    while !data.is_empty() {
                        let room = limits.block_bytes - filling.len();
                        filling.extend_from_slice(&data.split_to(room.min(data.len())));
                        if filling.len() == limits.block_bytes {
                            upload.push(filling.split().freeze()).await?;
                        }
                    }
                }
                Piece::End(digests) => {
                    let rest = filling.freeze();
                    let body = self.finish(owner, upload, rest).await?;
                    return Ok(Ingested { body, digests });
                }
            }
        }
    }

    async fn finish(&self, owner: &Owner, mut upload: BlockUpload, rest: Bytes) -> Result<Body, StoreError> {
        if upload.is_empty() && rest.len() <= self.coordinator.limits.inline_max_bytes {
            return Ok(Body::Inline(Inline {
                digest: BlockName::of(&rest),
                bytes: Some(Blob::from(&rest[..])),
            }));
        }
        if !rest.is_empty() {
            upload.push(rest).await?;
        }
        self.list_blocks(owner, upload.finish().await?).await
    }

    /// Names blocks in the row itself, or in the pages of a manifest if there are many.
    pub(super) async fn list_blocks(&self, owner: &Owner, blocks: Vec<Block>) -> Result<Body, StoreError> {
        if blocks.len() <= BLOCKS_IN_ROW_MAX {
            return Ok(Body::Blocks(blocks));
        }
        let bytes = |page: &[Block]| page.iter().map(|block| u64::from(block.length)).sum();
        let page_bytes = blocks.chunks(BLOCKS_IN_PAGE).map(bytes).collect();
        let pages: Vec<Manifest> = blocks
            .chunks(BLOCKS_IN_PAGE)
            .map(|page| Manifest::Blocks(page.to_vec()))
            .collect();
        self.write_pages(owner.version, owner.until_us, &pages).await?;
        let manifest = owner.version;
        Ok(Body::Paged(PageRef { manifest, page_bytes }))
    }

    /// Writes the pages of a manifest: immutable rows that nobody reads before the row that names them is there.
    pub(super) async fn write_pages(
        &self,
        manifest: VersionId,
        until_us: u64,
        pages: &[Manifest],
    ) -> Result<(), StoreError> {
        let writes = (0_u32..).zip(pages).map(|(number, page)| async move {
            let target = control(Address::manifest(manifest, number));
            let content = Content::Value(Row::Manifest(page.clone()));
            self.coordinator
                .write(&target, self.fresh_op(), content, until_us)
                .await
        });
        try_join_all(writes).await.map(drop).map_err(write_failed)
    }
}

type Pending = oneshot::Receiver<Result<Stored, BlockError>>;

/// Blocks of one upload on their way to their replicas.
struct BlockUpload {
    coordinator: Arc<Coordinator>,
    owner: Owner,
    stored: Vec<Block>,
    pending: VecDeque<Pending>,
}

impl BlockUpload {
    fn new(coordinator: Arc<Coordinator>, owner: Owner) -> Self {
        BlockUpload {
            coordinator,
            owner,
            stored: Vec::new(),
            pending: VecDeque::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.stored.is_empty() && self.pending.is_empty()
    }

    /// Sends one more block; waits while the window is full.
    async fn push(&mut self, data: Bytes) -> Result<(), StoreError> {
        while self.pending.len() >= self.coordinator.limits.upload_window_blocks.max(1) {
            self.wait_for_one().await?;
        }
        let room = self.coordinator.block_room(data.len()).await.map_err(block_failed)?;
        let (coordinator, owner) = (self.coordinator.clone(), self.owner.clone());
        let (done, pending) = oneshot::channel();
        // A task of its own, so that naming and sending one block goes on while the next one is read and hashed.
        let store = async move {
            let _ = done.send(store(&coordinator, owner, data, room).await);
        };
        self.coordinator.env.spawner.spawn("store a block", Box::pin(store));
        self.pending.push_back(pending);
        Ok(())
    }

    async fn wait_for_one(&mut self) -> Result<(), StoreError> {
        if let Some(pending) = self.pending.pop_front() {
            let stored = pending
                .await
                .map_err(|_| StoreError::Unavailable("the node is stopping".to_owned()))?;
            self.stored.push(stored.map_err(block_failed)?.block());
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<Vec<Block>, StoreError> {
        while !self.pending.is_empty() {
            self.wait_for_one().await?;
        }
        Ok(self.stored)
    }
}

async fn store(
    coordinator: &Coordinator,
    owner: Owner,
    data: Bytes,
    room: OwnedSemaphorePermit,
) -> Result<Stored, BlockError> {
    let block = coordinator.name_block(data).await?;
    let Owner { row, version, until_us } = owner;
    let reference = BlockReference {
        block: block.name(),
        owner: row,
        version,
        until: until_us,
    };
    coordinator.store_block(reference, block, room).await
}

/// What a block that could not be stored or fetched is to a client.
pub(super) fn block_failed(error: BlockError) -> StoreError {
    match error {
        BlockError::Full => StoreError::StorageFull,
        BlockError::Busy => StoreError::SlowDown,
        BlockError::Unreached | BlockError::NeedData => StoreError::Unavailable(error.to_string()),
        BlockError::Missing => StoreError::Internal(error.to_string()),
    }
}
