//! The row stores under test, behind what a test can do to any of them.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;

use super::power_loss::{LOSSES, Loss};
use super::sim_disk::SimDisk;
use super::{Seeded, block_on, env};
use crate::env::Boxed;
use crate::storage::engine::{Engine, Step};
use crate::storage::index::{Entry, Index, IndexError, IndexHome};
use crate::storage::{
    Batch, DataFolder, DiskRows, Flush, MemoryDisk, MemoryRows, OpenError, Opened, Position, Room, Rows, RowsConfig,
    RowsError, Versioned,
};

/// A row store that can be crashed.
pub(super) trait Subject {
    fn rows(&self) -> &dyn Rows;
    /// Makes everything applied durable.
    fn flush(&self);
    /// Crashes and starts it again; what is not durable may be lost.
    fn crash(&mut self) -> Opened;
    /// Stops it in order and starts it again.
    fn restart(&mut self) -> Opened;
    /// Whether nothing becomes durable unless `flush` is called.
    fn flushes_by_hand(&self) -> bool;
}

/// The twin in memory.
pub(super) struct Twin {
    disk: MemoryDisk,
    rows: MemoryRows,
    random: Seeded,
}

impl Twin {
    pub(super) fn new() -> Self {
        let disk = MemoryDisk::new();
        let (rows, _) = MemoryRows::open(&disk, env(), Flush::ByHand).unwrap();
        Self {
            disk,
            rows,
            random: Seeded::new(7),
        }
    }
}

impl Subject for Twin {
    fn rows(&self) -> &dyn Rows {
        &self.rows
    }

    fn flush(&self) {
        self.rows.flush().unwrap();
    }

    fn crash(&mut self) -> Opened {
        self.disk.crash(self.random.below(3));
        let (rows, opened) = MemoryRows::open(&self.disk, env(), Flush::ByHand).unwrap();
        self.rows = rows;
        opened
    }

    fn restart(&mut self) -> Opened {
        self.rows.close().unwrap();
        let (rows, opened) = MemoryRows::open(&self.disk, env(), Flush::ByHand).unwrap();
        self.rows = rows;
        opened
    }

    fn flushes_by_hand(&self) -> bool {
        true
    }
}

/// The real store with its threads, sled and files.
pub(super) struct OnDisk {
    pub(super) home: TempDir,
    pub(super) open: Option<(DataFolder, DiskRows)>,
    pub(super) config: RowsConfig,
}

/// Small enough that segments change and are cleaned all the time.
pub(super) fn small() -> RowsConfig {
    RowsConfig {
        min_free_bytes: 0,
        reserve_bytes: 0,
        segment_bytes: 4096,
        waste_bytes: 8192,
        cache_bytes: 1 << 20,
    }
}

impl OnDisk {
    pub(super) fn new(config: RowsConfig) -> Self {
        let mut subject = Self {
            home: tempfile::tempdir().unwrap(),
            open: None,
            config,
        };
        subject.start().unwrap();
        subject
    }

    pub(super) fn path(&self) -> &Path {
        self.home.path()
    }

    pub(super) fn store(&self) -> &DiskRows {
        &self.open.as_ref().unwrap().1
    }

    /// Stops it as a crash would.
    pub(super) fn kill(&mut self) {
        self.open = None;
    }

    pub(super) fn start(&mut self) -> Result<Opened, OpenError> {
        let folder = DataFolder::open(self.home.path())?;
        let (rows, opened) = DiskRows::open(&folder, self.config.clone(), Arc::new(Seeded::new(3)))?;
        self.open = Some((folder, rows));
        Ok(opened)
    }
}

impl Subject for OnDisk {
    fn rows(&self) -> &dyn Rows {
        self.store()
    }

    fn flush(&self) {
        let position = self.store().apply(Batch::new()).unwrap();
        block_on(self.store().durable(position)).unwrap();
    }

    fn crash(&mut self) -> Opened {
        self.kill();
        self.start().unwrap()
    }

    fn restart(&mut self) -> Opened {
        self.store().close().unwrap();
        self.kill();
        self.start().unwrap()
    }

    fn flushes_by_hand(&self) -> bool {
        false
    }
}

/// The real engine, one step at a time, on a simulated disk.
pub(super) struct Stepped {
    pub(super) disk: SimDisk,
    pub(super) engine: Engine,
    random: Seeded,
}

impl Stepped {
    pub(super) fn new(seed: u64) -> Self {
        let disk = SimDisk::new();
        let (engine, _) = open_engine(&disk, small()).unwrap();
        Self {
            disk,
            engine,
            random: Seeded::new(seed),
        }
    }

    /// Does everything there is to do.
    pub(super) fn run(&self) {
        while [
            self.engine.write_step(),
            self.engine.settle_step(),
            self.engine.clean_step(),
        ]
        .contains(&Step::Worked)
        {}
    }
}

pub(super) fn open_engine(disk: &SimDisk, config: RowsConfig) -> Result<(Engine, Opened), OpenError> {
    let random = Arc::new(Seeded::new(5));
    Engine::open(
        Arc::new(disk.clone()),
        Path::new("/"),
        Box::new(MemoryHome),
        config,
        random,
    )
}

impl Rows for Engine {
    fn get(&self, key: &[u8]) -> Result<Versioned<Option<Bytes>>, RowsError> {
        Self::get(self, key)
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Versioned<Vec<(Bytes, Bytes)>>, RowsError> {
        Self::scan(self, from, to, limit)
    }

    fn ready(&self) -> Boxed<'_, Result<(), RowsError>> {
        Box::pin(Self::ready(self))
    }

    fn apply(&self, batch: Batch) -> Result<Position, RowsError> {
        Self::apply(self, batch)
    }

    fn apply_within(&self, batch: Batch, room: Room) -> Result<Position, RowsError> {
        Self::apply_within(self, batch, room)
    }

    fn durable(&self, position: Position) -> Boxed<'_, Result<(), RowsError>> {
        Box::pin(Self::durable(self, position))
    }
}

impl Subject for Stepped {
    fn rows(&self) -> &dyn Rows {
        &self.engine
    }

    fn flush(&self) {
        self.run();
    }

    fn crash(&mut self) -> Opened {
        // Somewhere on the way to the disk.
        match self.random.below(3) {
            0 => {}
            1 => drop(self.engine.write_step()),
            _ => drop([self.engine.write_step(), self.engine.settle_step()]),
        }
        let loss = LOSSES[self.random.below(7)];
        self.disk = self.disk.after_power_cut(self.disk.steps(), loss, self.random.next());
        let (engine, opened) = open_engine(&self.disk, small()).unwrap();
        self.engine = engine;
        opened
    }

    fn restart(&mut self) -> Opened {
        self.run();
        self.engine.begin_close();
        self.engine.finish_close().unwrap();
        self.disk = self.disk.after_power_cut(self.disk.steps(), Loss::Everything, 1);
        let (engine, opened) = open_engine(&self.disk, small()).unwrap();
        self.engine = engine;
        opened
    }

    fn flushes_by_hand(&self) -> bool {
        true
    }
}

/// An index in memory; every start is a rebuild.
#[derive(Debug, Default)]
struct MemoryIndex(std::sync::RwLock<std::collections::BTreeMap<Bytes, Entry>>);

impl Index for MemoryIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Entry>, IndexError> {
        Ok(self.0.read().unwrap().get(key).cloned())
    }

    fn set(&self, key: &[u8], entry: Option<&Entry>) -> Result<Option<Entry>, IndexError> {
        let mut rows = self.0.write().unwrap();
        Ok(match entry {
            Some(entry) => rows.insert(Bytes::copy_from_slice(key), entry.clone()),
            None => rows.remove(key),
        })
    }

    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Entry)>, IndexError> {
        let rows = self.0.read().unwrap();
        let inside = rows.iter().filter(|(key, _)| &key[..] >= from && &key[..] < to);
        Ok(inside
            .take(limit)
            .map(|(key, entry)| (key.clone(), entry.clone()))
            .collect())
    }

    fn flush(&self, _: Position) -> Result<(), IndexError> {
        Ok(())
    }
}

struct MemoryHome;

impl IndexHome for MemoryHome {
    fn reopen(&self, _: Position) -> Result<Box<dyn Index>, IndexError> {
        Err(IndexError::new("it was only in memory"))
    }

    fn create(&self) -> Result<Box<dyn Index>, IndexError> {
        Ok(Box::<MemoryIndex>::default())
    }

    fn close(&self, _: Box<dyn Index>, _: Position) -> Result<(), IndexError> {
        Ok(())
    }
}
