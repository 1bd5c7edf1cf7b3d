//! Rows in memory: the twin that the simulation runs on.
//!
//! It keeps the promise of the real store exactly and no better: a batch is visible at once and durable only when a
//! flush ends, and a crash loses the rest. A [`MemoryDisk`] is what outlives the crash; opening it again is the restart.
//! Flushes take virtual time drawn from the environment's randomness, or happen when the test says so.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::dirty::{Dirty, merge};
use super::engine::{IndexStart, Opened};
use super::folder::OpenError;
use super::progress::Progress;
use super::rows::{Batch, Change, Position, Room, Rows, RowsError, Versioned};
use crate::env::{Boxed, Env};

/// When batches become durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// In a flush that begins when there is something and takes a time between these.
    After {
        /// The shortest time.
        least: Duration,
        /// The longest time.
        most: Duration,
    },
    /// When [`MemoryRows::flush`] is called.
    ByHand,
}

/// What a simulated crash leaves behind. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    durable: BTreeMap<Bytes, Bytes>,
    /// The newest durable position.
    commits: u64,
    starts: u64,
    /// Tells the store that is open from those that a crash ended.
    incarnation: u64,
    dirty: Dirty,
    /// Batches that a flush is writing.
    in_flight: VecDeque<(Position, Arc<Batch>)>,
    closed: Option<Arc<str>>,
    faults: Faults,
}

#[derive(Debug, Clone, Default)]
struct Faults {
    full: bool,
    next_flush_fails: bool,
    damaged: Option<String>,
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the store that uses the disk as a power cut would: what is not durable is lost, except for the oldest
    /// `survivors` batches that the disk happened to write in time.
    pub fn crash(&self, survivors: usize) {
        let mut contents = self.contents();
        contents.start_flush();
        contents.in_flight.truncate(survivors);
        contents.end_flush();
        contents.dirty = Dirty::new(Position(contents.commits));
        contents.incarnation += 1;
    }

    /// From now on the disk is (not) full, but for its reserve.
    pub fn set_full(&self, full: bool) {
        self.contents().faults.full = full;
    }

    /// The next flush fails, which closes the store. What it was writing is lost.
    pub fn fail_next_flush(&self) {
        self.contents().faults.next_flush_fails = true;
    }

    /// The next start finds the store damaged.
    pub fn damage(&self, what: &str) {
        self.contents().faults.damaged = Some(what.to_owned());
    }

    /// The disk as somebody may have copied it now, to come back with it later.
    pub fn copy(&self) -> Self {
        let contents = self.contents();
        Self(Arc::new(Mutex::new(Contents {
            durable: contents.durable.clone(),
            commits: contents.commits,
            starts: contents.starts,
            ..Contents::default()
        })))
    }

    /// What a crash would leave under a key.
    pub fn durable(&self, key: &[u8]) -> Option<Bytes> {
        self.contents().durable.get(key).cloned()
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    fn start_flush(&mut self) {
        self.in_flight.extend(self.dirty.take_group(usize::MAX));
    }

    fn end_flush(&mut self) -> Position {
        let mut last = Position(self.commits);
        let mut keys = Vec::new();
        for (position, batch) in self.in_flight.drain(..) {
            last = position;
            for (key, change) in batch.iter() {
                match change {
                    Change::Put(value) => self.durable.insert(key.clone(), value.clone()),
                    Change::Remove => self.durable.remove(key),
                };
                keys.push(key.clone());
            }
        }
        self.commits = last.0;
        self.dirty.flushed(last);
        self.dirty.settle(last, &keys);
        last
    }
}

/// The row store of one simulated process.
#[derive(Clone)]
pub struct MemoryRows(Arc<Store>);

struct Store {
    disk: MemoryDisk,
    env: Env,
    flush: Flush,
    incarnation: u64,
    progress: Progress,
    flushing: Mutex<Flushing>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flushing {
    Now,
    WhenNeeded,
}

impl MemoryRows {
    /// Starts a store on what `disk` holds; ends the one that used it before, as a crash would.
    pub fn open(disk: &MemoryDisk, env: Env, flush: Flush) -> Result<(Self, Opened), OpenError> {
        if let Some(what) = disk.contents().faults.damaged.clone() {
            return Err(OpenError::Damaged {
                folder: PathBuf::from("memory"),
                what,
            });
        }
        disk.crash(0);
        let mut contents = disk.contents();
        // As in the log on disk, a start takes a position of its own.
        contents.commits += 1;
        contents.starts += 1;
        contents.closed = None;
        contents.faults.next_flush_fails = false;
        let durable = Position(contents.commits);
        contents.dirty = Dirty::new(durable);
        let (start, incarnation) = (contents.starts, contents.incarnation);
        let rows = contents.durable.len() as u64;
        drop(contents);
        let progress = Progress::new(durable);
        let flushing = Mutex::new(Flushing::WhenNeeded);
        let store = Store {
            disk: disk.clone(),
            env,
            flush,
            incarnation,
            progress,
            flushing,
        };
        let opened = Opened {
            start_counter: start,
            commit_counter: durable.0,
            index: IndexStart::Rebuilt { rows },
        };
        Ok((Self(Arc::new(store)), opened))
    }

    /// Makes everything applied durable now.
    pub fn flush(&self) -> Result<(), RowsError> {
        self.0.contents()?.start_flush();
        self.0.end_flush()
    }

    /// Makes everything durable and refuses the rest, as an orderly stop does.
    pub fn close(&self) -> Result<(), RowsError> {
        self.flush()?;
        self.0.close("the node stops");
        Ok(())
    }

    fn begin_flushes(&self, least: Duration, most: Duration) {
        let mut flushing = self.0.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        if *flushing == Flushing::WhenNeeded {
            *flushing = Flushing::Now;
            let store = self.0.clone();
            self.0
                .env
                .spawner
                .spawn("flush", Box::pin(async move { store.flush_all(least, most).await }));
        }
    }
}

impl Store {
    /// The disk, as long as this store is the one that uses it.
    fn contents(&self) -> Result<MutexGuard<'_, Contents>, RowsError> {
        let contents = self.disk.contents();
        if contents.incarnation != self.incarnation {
            return Err(RowsError::Closed("the process crashed".into()));
        }
        match &contents.closed {
            Some(why) => Err(RowsError::Closed(why.to_string())),
            None => Ok(contents),
        }
    }

    /// One flush after the other until nothing is left.
    async fn flush_all(&self, least: Duration, most: Duration) {
        loop {
            {
                let mut flushing = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
                let idle = self.contents().map(|contents| contents.dirty.is_idle());
                if idle.unwrap_or(true) {
                    *flushing = Flushing::WhenNeeded;
                    return;
                }
            }
            if let Ok(mut contents) = self.contents() {
                contents.start_flush();
            }
            self.env.clock.sleep(self.between(least, most)).await;
            // An error closed the store, which the next round finds.
            let _ = self.end_flush();
        }
    }

    fn between(&self, least: Duration, most: Duration) -> Duration {
        let width = u64::try_from(most.saturating_sub(least).as_nanos()).unwrap_or(u64::MAX - 1);
        least + Duration::from_nanos(self.env.random_u64() % (width + 1))
    }

    fn end_flush(&self) -> Result<(), RowsError> {
        let mut contents = self.contents()?;
        if std::mem::take(&mut contents.faults.next_flush_fails) {
            drop(contents);
            let why = "a commit could not be written: an injected fault";
            self.close(why);
            return Err(RowsError::Closed(why.into()));
        }
        let durable = contents.end_flush();
        drop(contents);
        self.progress.durable(durable);
        Ok(())
    }

    fn close(&self, why: &str) {
        if let Ok(mut contents) = self.contents() {
            contents.closed = Some(why.into());
        }
        self.progress.closed(why.into());
    }
}

impl Rows for MemoryRows {
    fn get(&self, key: &[u8]) -> Result<Versioned<Option<Bytes>>, RowsError> {
        let contents = self.0.contents()?;
        Ok(match contents.dirty.get(key) {
            Some(found) => Versioned {
                value: found.value.into_value(),
                written_at: found.written_at,
            },
            None => Versioned {
                value: contents.durable.get(key).cloned(),
                written_at: Position::default(),
            },
        })
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Versioned<Vec<(Bytes, Bytes)>>, RowsError> {
        let contents = self.0.contents()?;
        let dirty = contents.dirty.range(from, to, limit);
        let mut settled = Vec::new();
        if from < to {
            let range = contents
                .durable
                .range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)));
            let enough = limit.saturating_add(dirty.len());
            settled.extend(range.take(enough).map(|(key, value)| (key.clone(), value.clone())));
        }
        Ok(merge(settled, dirty, limit, |value| value))
    }

    fn apply(&self, batch: Batch) -> Result<Position, RowsError> {
        self.apply_within(batch, Room::New)
    }

    fn apply_within(&self, batch: Batch, room: Room) -> Result<Position, RowsError> {
        super::engine::check_size(&batch)?;
        let mut contents = self.0.contents()?;
        if contents.faults.full && room == Room::New {
            return Err(RowsError::Full {
                folder: "memory".into(),
                min_free_bytes: 0,
            });
        }
        let position = contents.dirty.apply(batch);
        drop(contents);
        match self.0.flush {
            Flush::After { least, most } => self.begin_flushes(least, most),
            Flush::ByHand => {}
        }
        Ok(position)
    }

    fn durable_so_far(&self) -> Position {
        self.0.progress.durable_so_far()
    }

    fn durable(&self, position: Position) -> Boxed<'_, Result<(), RowsError>> {
        Box::pin(self.0.progress.wait(position))
    }
}
