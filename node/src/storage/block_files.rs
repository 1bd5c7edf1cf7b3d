//! Blocks on disk, the real thing: a [`BlockFolder`] behind two small pools of threads.

use std::sync::Arc;

use bytes::Bytes;

use super::block_folder::BlockFolder;
use super::blocks::{Block, BlockName, Blocks, BlocksError};
use super::files::{Files, RealFiles};
use super::folder::{DataFolder, OpenError};
use super::pool::Pool;
use crate::env::Boxed;

const BLOCKS_FOLDER: &str = "blocks";
/// Threads that read; reads never queue behind writes, which wait for the disk.
const READ_THREADS: usize = 4;
/// Threads that write, hash and sync. More than the cores, because most of them wait for the disk most of the time.
const WRITE_THREADS: usize = 8;

/// The block store in a data folder.
pub struct BlockFiles {
    folder: Arc<BlockFolder>,
    reads: Pool,
    writes: Pool,
}

impl BlockFiles {
    /// Opens the blocks, and removes what a crash left half written.
    pub fn open(folder: &DataFolder, min_free_bytes: u64) -> Result<Self, OpenError> {
        let path = folder.path().join(BLOCKS_FOLDER);
        let open = || -> std::io::Result<(Pool, Pool)> {
            RealFiles.create_folder(&path)?;
            RealFiles.sync_folder(folder.path())?;
            Ok((
                Pool::new("blocks-read", READ_THREADS)?,
                Pool::new("blocks-write", WRITE_THREADS)?,
            ))
        };
        let (reads, writes) = open().map_err(OpenError::io(&path))?;
        let folder = Arc::new(BlockFolder::open(Arc::new(RealFiles), &path, min_free_bytes)?);
        Ok(Self { folder, reads, writes })
    }

    fn run<T: Send + 'static>(
        &self,
        pool: &'_ Pool,
        job: impl FnOnce(&BlockFolder) -> Result<T, BlocksError> + Send + 'static,
    ) -> impl Future<Output = Result<T, BlocksError>> + Send {
        let folder = self.folder.clone();
        let done = pool.run(move || job(&folder));
        async move {
            done.await
                .map_err(|unfinished| BlocksError::Closed(unfinished.to_string()))?
        }
    }
}

impl Blocks for BlockFiles {
    fn name(&self, data: Bytes) -> Boxed<'_, Result<Block, BlocksError>> {
        Box::pin(self.run(&self.writes, move |_| Ok(Block::named(data))))
    }

    fn put(&self, block: Block) -> Boxed<'_, Result<(), BlocksError>> {
        Box::pin(self.run(&self.writes, move |folder| folder.put(&block)))
    }

    fn get(&self, name: BlockName) -> Boxed<'_, Result<Option<Bytes>, BlocksError>> {
        Box::pin(self.run(&self.reads, move |folder| folder.get(name)))
    }

    fn has(&self, name: BlockName) -> Boxed<'_, Result<bool, BlocksError>> {
        Box::pin(self.run(&self.reads, move |folder| folder.has(name)))
    }

    fn size(&self, name: BlockName) -> Boxed<'_, Result<Option<u64>, BlocksError>> {
        Box::pin(self.run(&self.reads, move |folder| folder.size(name)))
    }

    fn remove(&self, name: BlockName) -> Boxed<'_, Result<(), BlocksError>> {
        Box::pin(self.run(&self.writes, move |folder| folder.remove(name)))
    }

    fn list(&self, after: Option<BlockName>, limit: usize) -> Boxed<'_, Result<Vec<BlockName>, BlocksError>> {
        Box::pin(self.run(&self.reads, move |folder| folder.list(after, limit)))
    }

    fn free_bytes(&self) -> Boxed<'_, Result<u64, BlocksError>> {
        Box::pin(self.run(&self.reads, |folder| folder.free_bytes()))
    }
}
