//! Blocks on disk, the real thing: the disks of a node behind two small pools of threads.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use bytes::Bytes;

use super::blocks::{Block, BlockName, BlockNames, Blocks, BlocksError};
use super::disks::{BlockFolderConfig, Disks, FolderSeen};
use super::folder::{DataFolder, OpenError};
use super::packing::BlocksConfig;
use super::pool::Pool;
use crate::env::{Boxed, Random};

/// Threads that read, for each disk; reads never queue behind writes, which wait for the disk.
const READ_THREADS: usize = 4;
/// Threads that write, hash and sync, for each disk. More than the cores, because most of them wait for the disk most of
/// the time.
const WRITE_THREADS: usize = 8;
/// How often it is looked whether disks went away or came back.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where the blocks of a node are, and how they are kept.
#[derive(Debug, Clone, Default)]
pub struct BlockSetup {
    /// The node's disk id: block folders are marked with it.
    pub node: [u8; 16],
    /// The block folders; none means the one in the data folder.
    pub folders: Vec<BlockFolderConfig>,
    /// Free space on each file system under which no new block is taken.
    pub min_free_bytes: u64,
    /// How blocks lie in their files.
    pub config: BlocksConfig,
}

/// The block store of a node.
pub struct BlockFiles {
    disks: Arc<Disks>,
    reads: Pool,
    writes: Pool,
}

impl BlockFiles {
    /// Opens the blocks, and removes what a crash left half written. Block folders that are new are taken into use.
    pub fn open(folder: &DataFolder, setup: &BlockSetup, random: &dyn Random) -> Result<Self, OpenError> {
        let disks = Arc::new(Disks::open(folder.path(), setup, random)?);
        let pool = |name, threads| Pool::new(name, threads * disks.count()).map_err(OpenError::io(folder.path()));
        Ok(Self {
            reads: pool("blocks-read", READ_THREADS)?,
            writes: pool("blocks-write", WRITE_THREADS)?,
            disks,
        })
    }

    /// How the block folders are. Asks their file systems, so it blocks.
    pub fn folders(&self) -> Vec<FolderSeen> {
        self.disks.seen()
    }

    /// Begins to look whether disks go away or come back; `changed` is called when one did.
    pub fn watch(&self, changed: impl Fn() + Send + 'static) -> io::Result<DiskWatch> {
        let (disks, stop) = (self.disks.clone(), Arc::new(Stop::default()));
        let stopped = stop.clone();
        let watch = move || {
            while !stopped.within(LOOK_EVERY) {
                if disks.look() {
                    changed();
                }
            }
        };
        let thread = Builder::new().name("block-disks".to_owned()).spawn(watch)?;
        Ok(DiskWatch {
            stop,
            thread: Some(thread),
        })
    }

    fn run<T: Send + 'static>(
        &self,
        pool: &'_ Pool,
        job: impl FnOnce(&Disks) -> Result<T, BlocksError> + Send + 'static,
    ) -> impl Future<Output = Result<T, BlocksError>> + Send {
        let disks = self.disks.clone();
        let done = pool.run(move || job(&disks));
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
        Box::pin(self.run(&self.writes, move |disks| disks.put(&block)))
    }

    fn get(&self, name: BlockName) -> Boxed<'_, Result<Option<Bytes>, BlocksError>> {
        Box::pin(self.run(&self.reads, move |disks| disks.get(name)))
    }

    fn has(&self, name: BlockName) -> Boxed<'_, Result<bool, BlocksError>> {
        Box::pin(self.run(&self.reads, move |disks| disks.has(name)))
    }

    fn size(&self, name: BlockName) -> Boxed<'_, Result<Option<u64>, BlocksError>> {
        Box::pin(self.run(&self.reads, move |folder| folder.size(name)))
    }

    fn remove(&self, name: BlockName) -> Boxed<'_, Result<(), BlocksError>> {
        Box::pin(self.run(&self.writes, move |disks| disks.remove(name)))
    }

    fn list(&self, after: Option<BlockName>, limit: usize) -> Boxed<'_, Result<BlockNames, BlocksError>> {
        Box::pin(self.run(&self.reads, move |disks| Ok(disks.list(after, limit))))
    }

    fn check_open(&self) -> Result<(), BlocksError> {
        self.disks.check_open()
    }

    fn is_spread(&self) -> bool {
        self.disks.count() > 1
    }

    fn settle(&self, name: BlockName) -> Boxed<'_, Result<(), BlocksError>> {
        Box::pin(self.run(&self.writes, move |disks| disks.settle(name)))
    }
}

/// The watch over a node's disks, which ends when this is dropped.
pub struct DiskWatch {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for DiskWatch {
    fn drop(&mut self) {
        *self.stop.asked() = true;
        self.stop.told.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic of the watch is in the log already.
            let _ = thread.join();
        }
    }
}

#[derive(Default)]
struct Stop {
    asked: Mutex<bool>,
    told: Condvar,
}

impl Stop {
    fn asked(&self) -> MutexGuard<'_, bool> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is asked for now or within this time.
    fn within(&self, time: Duration) -> bool {
        let waited = self.told.wait_timeout_while(self.asked(), time, |asked| !*asked);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
