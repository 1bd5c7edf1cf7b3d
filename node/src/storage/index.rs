//! The ordered index behind the commit log: which rows there are, and where in the log each lies.
//!
//! It can be rebuilt from the log at any time, so it owes nothing to a crash. Small values are kept in it as well: a
//! listing then reads one ordered structure instead of a place in the log for every row.

use std::path::{Path, PathBuf};
use std::{fmt, fs, io, panic};

use bytes::Bytes;

use super::files::{Files, RealFiles};
use super::log::Place;
use super::rows::Position;

/// Values up to this size are kept in the index too. Heads of rows are smaller, bodies larger.
pub(crate) const INDEX_VALUE_MAX_BYTES: usize = 512;

/// The tree beside the rows' and the key in it that says how far the index was when it was closed.
const NOTES_TREE: &str = "notes";
const CLOSED_AT: &str = "closed at";

/// What the index knows of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) place: Place,
    /// The value, when it is small.
    pub(crate) value: Option<Bytes>,
}

/// The index cannot go on; what it said.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the index: {0}")]
pub(crate) struct IndexError(String);

impl IndexError {
    pub(crate) fn new(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// An ordered map from keys to entries. One thread changes it, many read.
pub(crate) trait Index: Send + Sync {
    fn get(&self, key: &[u8]) -> Result<Option<Entry>, IndexError>;
    /// Sets or removes; returns what was there.
    fn set(&self, key: &[u8], entry: Option<&Entry>) -> Result<Option<Entry>, IndexError>;
    /// The first `limit` entries with `from <= key < to`.
    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Entry)>, IndexError>;
    /// Notes that it has everything up to `position`, and hands all to the operating system.
    fn flush(&self, position: Position) -> Result<(), IndexError>;
}

/// Where an index is kept.
pub(crate) trait IndexHome: Send + Sync {
    /// The index as it was closed at `position`, or an error when there is none that can be read.
    fn reopen(&self, position: Position) -> Result<Box<dyn Index>, IndexError>;
    /// An empty index, instead of whatever was there.
    fn create(&self) -> Result<Box<dyn Index>, IndexError>;
    /// Puts away the index, which has everything up to `position`; when this returns, all of it is on disk.
    fn close(&self, index: Box<dyn Index>, position: Position) -> Result<(), IndexError>;
}

impl Entry {
    /// The entry for a row with that value at that place.
    pub(crate) fn new(place: Place, value: &Bytes) -> Self {
        Self {
            place,
            value: (value.len() <= INDEX_VALUE_MAX_BYTES).then(|| Bytes::copy_from_slice(value)),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(17 + self.value.as_ref().map_or(0, Bytes::len));
        bytes.extend_from_slice(&self.place.segment.to_le_bytes());
        bytes.extend_from_slice(&self.place.offset.to_le_bytes());
        bytes.extend_from_slice(&self.place.bytes.to_le_bytes());
        if let Some(value) = &self.value {
            bytes.push(1);
            bytes.extend_from_slice(value);
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, IndexError> {
        Self::read(bytes).ok_or_else(|| IndexError::new("an entry is not what was written"))
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (segment, rest) = bytes.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let place = Place {
            segment: u64::from_le_bytes(*segment),
            offset: u32::from_le_bytes(*offset),
            bytes: u32::from_le_bytes(*length),
        };
        Some(Self {
            place,
            value: rest.split_first().map(|(_, value)| Bytes::copy_from_slice(value)),
        })
    }
}

/// The index in sled 0.34.7: one tree, no transactions, no background flush.
///
/// sled writes new pages into segments that it freed a moment ago, and syncs with `sync_file_range`. After a power cut
/// its file may hold later pages without the earlier ones they need, so what it then finds is neither the state at the
/// last sync nor a later one; after `kill -9` users report unreadable files too. Hence it is only ever read again when
/// it was closed in order: [`IndexHome::close`] flushes it and syncs every file and folder it made. Otherwise it is thrown
/// away and rebuilt, which costs a few microseconds for each row.
struct SledIndex(sled::Db);

/// A folder for a [`SledIndex`].
#[derive(Debug, Clone)]
pub(crate) struct SledHome {
    pub(crate) folder: PathBuf,
    pub(crate) cache_bytes: u64,
}

impl IndexHome for SledHome {
    fn reopen(&self, position: Position) -> Result<Box<dyn Index>, IndexError> {
        if !self.folder.exists() {
            return Err(IndexError::new("there is none"));
        }
        let db = self.open()?;
        let closed_at = db
            .open_tree(NOTES_TREE)
            .and_then(|notes| notes.get(CLOSED_AT))
            .map_err(IndexError::new)?;
        if closed_at.is_none_or(|found| *found != position.0.to_le_bytes()) {
            return Err(IndexError::new("it is another one than was closed"));
        }
        Ok(Box::new(SledIndex(db)))
    }

    fn create(&self) -> Result<Box<dyn Index>, IndexError> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder).map_err(IndexError::new)?;
        }
        Ok(Box::new(SledIndex(self.open()?)))
    }

    fn close(&self, index: Box<dyn Index>, position: Position) -> Result<(), IndexError> {
        index.flush(position)?;
        // sled writes once more when it is dropped, so its files are synced after that.
        drop(index);
        sync_tree(&self.folder).map_err(IndexError::new)?;
        self.folder
            .parent()
            .map_or(Ok(()), |parent| RealFiles.sync_folder(parent))
            .map_err(IndexError::new)
    }
}

impl SledHome {
    fn open(&self) -> Result<sled::Db, IndexError> {
        let config = sled::Config::new()
            .path(&self.folder)
            .cache_capacity(self.cache_bytes)
            // Nothing needs to be durable before `close`, so no thread has to see to it. (The `mode` of a sled
            // configuration is not looked at in this version.)
            .flush_every_ms(None);
        // Opening a file that it does not understand, sled may panic instead of returning an error.
        let opened = panic::catch_unwind(panic::AssertUnwindSafe(|| config.open()));
        opened
            .map_err(|_| IndexError::new("sled panicked"))?
            .map_err(IndexError::new)
    }
}

impl Index for SledIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Entry>, IndexError> {
        let found = self.0.get(key).map_err(IndexError::new)?;
        found.map(|entry| Entry::decode(&entry)).transpose()
    }

    fn set(&self, key: &[u8], entry: Option<&Entry>) -> Result<Option<Entry>, IndexError> {
        let old = match entry {
            Some(entry) => self.0.insert(key, entry.encode()),
            None => self.0.remove(key),
        };
        old.map_err(IndexError::new)?
            .map(|entry| Entry::decode(&entry))
            .transpose()
    }

    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Entry)>, IndexError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let rows = self.0.range(from..to).take(limit).map(|row| {
            let (key, entry) = row.map_err(IndexError::new)?;
            Ok((Bytes::copy_from_slice(&key), Entry::decode(&entry)?))
        });
        rows.collect()
    }

    fn flush(&self, position: Position) -> Result<(), IndexError> {
        let notes = self.0.open_tree(NOTES_TREE).map_err(IndexError::new)?;
        notes
            .insert(CLOSED_AT, &position.0.to_le_bytes())
            .map_err(IndexError::new)?;
        self.0.flush().map(|_| ()).map_err(IndexError::new)
    }
}

/// Syncs every file and folder below `folder`, and itself.
fn sync_tree(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            fs::File::open(entry.path())?.sync_all()?;
        }
    }
    RealFiles.sync_folder(folder)
}
