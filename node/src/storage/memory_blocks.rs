//! Blocks in memory: the twin that the simulation runs on.
//!
//! A put takes virtual time and is durable when it returns; one that a crash interrupts may have been stored or not, as
//! the test decides. A [`MemoryBlockDisk`] outlives the crash, and can rot.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::blocks::{Block, BlockName, BlockNames, Blocks, BlocksError};
use crate::env::{Boxed, Env};

/// What a simulated crash leaves behind. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryBlockDisk(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    blocks: BTreeMap<BlockName, Bytes>,
    damaged: Vec<(BlockName, Bytes)>,
    full: bool,
    next_write_fails: bool,
    closed: bool,
    away: bool,
}

impl MemoryBlockDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on the disk is (not) full.
    pub fn set_full(&self, full: bool) {
        self.contents().full = full;
    }

    /// From now on the disk is (not) away: nobody can say what is on it.
    pub fn set_away(&self, away: bool) {
        self.contents().away = away;
    }

    /// The next put or removal fails, which closes the store for writing until it is opened again.
    pub fn fail_next_write(&self) {
        self.contents().next_write_fails = true;
    }

    /// Flips a bit of the block; says whether it is there.
    pub fn rot(&self, name: BlockName) -> bool {
        let mut contents = self.contents();
        let Some(data) = contents.blocks.get_mut(&name) else {
            return false;
        };
        let mut rotten = data.to_vec();
        match rotten.first_mut() {
            Some(byte) => *byte ^= 1,
            None => rotten.push(1),
        }
        *data = rotten.into();
        true
    }

    /// Loses the block as a dying disk does; says whether it was there.
    pub fn lose(&self, name: BlockName) -> bool {
        self.contents().blocks.remove(&name).is_some()
    }

    /// The blocks whose content is not what their name says.
    pub fn rotten(&self) -> Vec<BlockName> {
        let contents = self.contents();
        let rotten = contents
            .blocks
            .iter()
            .filter(|(name, data)| BlockName::of(data) != **name);
        rotten.map(|(name, _)| *name).collect()
    }

    /// Is this block there, damaged or not?
    pub fn has(&self, name: BlockName) -> bool {
        self.contents().blocks.contains_key(&name)
    }

    /// The blocks that are there.
    pub fn names(&self) -> Vec<BlockName> {
        self.contents().blocks.keys().copied().collect()
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    fn check_there(&self) -> Result<(), BlocksError> {
        match self.away {
            true => Err(BlocksError::Away {
                folder: PathBuf::from("memory"),
            }),
            false => Ok(()),
        }
    }

    fn before_write(&mut self) -> Result<(), BlocksError> {
        self.check_there()?;
        if std::mem::take(&mut self.next_write_fails) {
            self.closed = true;
        }
        if self.closed {
            Err(BlocksError::Closed("an injected fault".into()))
        } else {
            Ok(())
        }
    }
}

/// The block store of one simulated process.
pub struct MemoryBlocks {
    disk: MemoryBlockDisk,
    env: Env,
    write_time: Duration,
}

impl MemoryBlocks {
    /// Opens what is on the disk. A write takes up to twice `write_time`.
    pub fn open(disk: &MemoryBlockDisk, env: Env, write_time: Duration) -> Self {
        let mut contents = disk.contents();
        (contents.closed, contents.next_write_fails) = (false, false);
        drop(contents);
        Self {
            disk: disk.clone(),
            env,
            write_time,
        }
    }

    async fn take_time(&self) {
        if !self.write_time.is_zero() {
            let width = u64::try_from(self.write_time.as_nanos()).unwrap_or(u64::MAX);
            self.env
                .clock
                .sleep(self.write_time + Duration::from_nanos(self.env.random_u64() % width))
                .await;
        }
    }

    async fn store(&self, block: Block) -> Result<(), BlocksError> {
        block.check()?;
        self.take_time().await;
        let mut contents = self.disk.contents();
        let is_here = contents.blocks.get(&block.name()) == Some(block.data());
        if contents.full && !is_here {
            return Err(BlocksError::Full {
                folder: PathBuf::from("memory"),
                min_free_bytes: 0,
            });
        }
        contents.before_write()?;
        contents.blocks.insert(block.name(), block.into_data());
        Ok(())
    }

    fn load(&self, name: BlockName) -> Result<Option<Bytes>, BlocksError> {
        let mut contents = self.disk.contents();
        contents.check_there()?;
        let Some(data) = contents.blocks.get(&name).cloned() else {
            return Ok(None);
        };
        if BlockName::of(&data) == name {
            return Ok(Some(data));
        }
        contents.blocks.remove(&name);
        contents.damaged.push((name, data));
        Err(BlocksError::Damaged {
            name,
            kept: PathBuf::from("memory"),
        })
    }
}

impl Blocks for MemoryBlocks {
    fn name(&self, data: Bytes) -> Boxed<'_, Result<Block, BlocksError>> {
        Box::pin(std::future::ready(Ok(Block::named(data))))
    }

    fn put(&self, block: Block) -> Boxed<'_, Result<(), BlocksError>> {
        Box::pin(self.store(block))
    }

    fn get(&self, name: BlockName) -> Boxed<'_, Result<Option<Bytes>, BlocksError>> {
        Box::pin(std::future::ready(self.load(name)))
    }

    fn has(&self, name: BlockName) -> Boxed<'_, Result<bool, BlocksError>> {
        let contents = self.disk.contents();
        let has = contents.check_there().map(|()| contents.blocks.contains_key(&name));
        Box::pin(std::future::ready(has))
    }

    fn size(&self, name: BlockName) -> Boxed<'_, Result<Option<u64>, BlocksError>> {
        let contents = self.disk.contents();
        let bytes = |()| contents.blocks.get(&name).map(|data| data.len() as u64);
        Box::pin(std::future::ready(contents.check_there().map(bytes)))
    }

    fn remove(&self, name: BlockName) -> Boxed<'_, Result<(), BlocksError>> {
        Box::pin(async move {
            self.take_time().await;
            let mut contents = self.disk.contents();
            contents.before_write()?;
            contents.blocks.remove(&name);
            Ok(())
        })
    }

    fn list(&self, after: Option<BlockName>, limit: usize) -> Boxed<'_, Result<BlockNames, BlocksError>> {
        let contents = self.disk.contents();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let found = contents
            .blocks
            .range((from, Bound::Unbounded))
            .take(limit)
            .map(|(name, _)| *name)
            .collect();
        let names = BlockNames { found, unread: None };
        Box::pin(std::future::ready(Ok(names)))
    }

    fn check_open(&self) -> Result<(), BlocksError> {
        self.disk.contents().check_there()
    }
}
