//! The row store on disk: commit log, table of dirty rows, index.
//!
//! A batch becomes visible in the table ([`Dirty`]) and waits in its queue. The *writer* appends what waits as one
//! group and syncs it; from then on the rows are durable and whoever waits is told. The *settler* brings durable rows
//! into the index and out of the table, several versions of a row at once if they come fast. The *cleaner* copies what
//! still counts from the oldest segment to the end of the log and removes the segment.
//!
//! Each of the three is a step that does a bounded amount of work and says whether there was any. [`super::DiskRows`]
//! runs each in a thread; tests run them one after the other in an order drawn from a seed, on a simulated disk.
//!
//! The index never holds anything that is not durable in the log. It is trusted at start only after an orderly close
//! and rebuilt from the log otherwise, so no crash can leave it wrong.

mod clean;
mod commit;
mod open;
mod room;
mod table;

use std::path::PathBuf;

use bytes::Bytes;

use super::dirty::merge;
use super::index::{Entry, Index, IndexHome};
use super::log::{Found, Log, Placed, Tail};
use super::progress::Progress;
use super::rows::{Change, Position, Room, RowsError, Taking, Versioned};
use crate::sync::{Condvar, Mutex, Notify, PoisonError, RwLock, RwLockReadGuard};
use clean::Cleaning;
pub use open::{IndexStart, Opened};
pub use table::BATCH_MAX_BYTES;
pub(crate) use table::Step;
pub(super) use table::check_size;
use table::{State, Table, locked};

/// A row that is cleaned away between index and log is looked up again; more often than this is damage.
const LOOKUPS_MAX: usize = 16;

/// Sizes of a row store.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RowsConfig {
    /// Free space on the disk under which new data is refused.
    pub min_free_bytes: u64,
    /// So much of `min_free_bytes` is for deletes and other upkeep, but at most three quarters; the rest is for cleaning
    /// the log and for a start.
    pub reserve_bytes: u64,
    /// Length of a log segment from which on a new one is begun. At most 1 GiB.
    pub segment_bytes: u64,
    /// Garbage in the log that is not worth cleaning, however little else there is.
    pub waste_bytes: u64,
    /// Memory for the index.
    pub cache_bytes: u64,
}

impl Default for RowsConfig {
    fn default() -> Self {
        Self {
            min_free_bytes: 256 << 20,
            reserve_bytes: 192 << 20,
            segment_bytes: 32 << 20,
            waste_bytes: 32 << 20,
            cache_bytes: 8 << 20,
        }
    }
}

impl RowsConfig {
    /// What must be free for a batch.
    pub fn least_free_bytes(&self, room: Room) -> u64 {
        match room {
            Room::New => self.min_free_bytes,
            Room::Upkeep => self.min_free_bytes - self.reserve_bytes.min(self.min_free_bytes / 4 * 3),
        }
    }

    /// What must be free for copies that make room in the end.
    fn cleaning_free_bytes(&self) -> u64 {
        self.least_free_bytes(Room::Upkeep) / 2
    }

    /// What must be free for the index to grow; it cannot be told to try again.
    fn index_free_bytes(&self) -> u64 {
        self.least_free_bytes(Room::Upkeep) / 4
    }
}

/// See the module.
pub(crate) struct Engine {
    folder: PathBuf,
    config: RowsConfig,
    log: Log,
    tail: Mutex<Tail>,
    home: Box<dyn IndexHome>,
    /// Nothing once it is closed.
    index: RwLock<Option<Box<dyn Index>>>,
    /// Held by scans, so that the index stands still under them.
    gate: RwLock<()>,
    table: Mutex<Table>,
    cleaning: Mutex<Cleaning>,
    to_write: Condvar,
    to_settle: Condvar,
    to_clean: Condvar,
    room: Condvar,
    /// The same for tasks.
    settled_some: Notify,
    progress: Progress,
}

impl Engine {
    pub(crate) fn get(&self, key: &[u8]) -> Result<Versioned<Option<Bytes>>, RowsError> {
        for _ in 0..LOOKUPS_MAX {
            if let Some(found) = self.open_table()?.dirty.get(key) {
                return Ok(Versioned {
                    value: found.value.into_value(),
                    written_at: found.written_at,
                });
            }
            let entry = self.with_index(|index| index.get(key))?;
            let Some(entry) = entry else { return Ok(settled(None)) };
            if let Some(value) = self.load(key, &entry)? {
                return Ok(settled(Some(value)));
            }
        }
        Err(self.fail("the index points to a segment that is gone"))
    }

    pub(crate) fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Versioned<Vec<(Bytes, Bytes)>>, RowsError> {
        for _ in 0..LOOKUPS_MAX {
            let found = self.snapshot(from, to, limit)?;
            if let Some(value) = self.load_all(found.value)? {
                return Ok(Versioned {
                    value,
                    written_at: found.written_at,
                });
            }
        }
        Err(self.fail("the index points to segments that are gone"))
    }

    /// The rows of a range at one moment: the table's and the index's, which must not move between the two looks.
    fn snapshot(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Versioned<Vec<(Bytes, Row)>>, RowsError> {
        let still = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let dirty = self.open_table()?.dirty.range(from, to, limit);
        let settled = self.with_index(|index| index.range(from, to, limit.saturating_add(dirty.len())))?;
        drop(still);
        let settled = settled
            .into_iter()
            .map(|(key, entry)| (key, Row::Settled(entry)))
            .collect();
        Ok(merge(settled, dirty, limit, Row::Dirty))
    }

    /// The values of the rows, or nothing when one was moved in the log meanwhile.
    fn load_all(&self, rows: Vec<(Bytes, Row)>) -> Result<Option<Vec<(Bytes, Bytes)>>, RowsError> {
        let mut loaded = Vec::with_capacity(rows.len());
        for (key, row) in rows {
            let value = match row {
                Row::Dirty(value) => Some(value),
                Row::Settled(entry) => self.load(&key, &entry)?,
            };
            let Some(value) = value else { return Ok(None) };
            loaded.push((key, value));
        }
        Ok(Some(loaded))
    }

    /// The value of an index entry, or nothing when the row was moved in the log meanwhile.
    fn load(&self, key: &[u8], entry: &Entry) -> Result<Option<Bytes>, RowsError> {
        if let Some(value) = &entry.value {
            return Ok(Some(value.clone()));
        }
        match self.log.read(entry.place) {
            Ok(Found::Moved) => Ok(None),
            Ok(Found::Row(row)) => match row.change {
                Change::Put(value) if row.key == key => Ok(Some(value)),
                Change::Put(_) | Change::Remove => Err(self.fail("the index points to another row")),
            },
            Ok(Found::Damaged(what)) => Err(self.fail(what)),
            Err(error) => Err(self.fail(error)),
        }
    }

    fn with_index<T>(
        &self,
        read: impl FnOnce(&dyn Index) -> Result<T, super::index::IndexError>,
    ) -> Result<T, RowsError> {
        let index: RwLockReadGuard<'_, _> = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let Some(index) = index.as_deref() else {
            return Err(RowsError::Closed("the node stops".into()));
        };
        read(index).map_err(|error| self.fail(error))
    }
}

/// A row of a snapshot: its value, or where that is.
enum Row {
    Dirty(Bytes),
    Settled(Entry),
}

fn settled<T>(value: T) -> Versioned<T> {
    Versioned {
        value,
        written_at: Position::default(),
    }
}
