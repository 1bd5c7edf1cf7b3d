//! Start and orderly close.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::clean::Cleaning;
use super::{Engine, RowsConfig, State, Table, locked};
use crate::env::Random;
use crate::storage::dirty::Dirty;
use crate::storage::files::{Files, parent, read_file, replace_file};
use crate::storage::folder::OpenError;
use crate::storage::index::{Entry, Index, IndexError, IndexHome};
use crate::storage::log::format::RowRecord;
use crate::storage::log::recovery::{Recovered, Scan, cut_torn_tail, recover};
use crate::storage::log::{Log, Place, Tail};
use crate::storage::progress::Progress;
use crate::storage::rows::{Position, RowsError, Taking};

const LOG_FOLDER: &str = "log";
const CLOSED_FILE: &str = "closed";
const CLOSED_FORMAT: u8 = 1;
/// Rows that a rebuild sorts before it puts them into the index.
const REBUILD_ROWS: usize = 1 << 15;

/// What an opened store knows about its past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// How often the store was opened, this time included. No number is used twice.
    pub start_counter: u64,
    /// The newest position in the log. It never falls, so a peer that remembers a greater one knows that this disk is
    /// an old copy.
    pub commit_counter: u64,
    /// How the index came about.
    pub index: IndexStart,
}

/// How the index came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexStart {
    /// It was closed in order and is used as it was.
    Kept,
    /// The store was not closed in order; the index was rebuilt from the log.
    Rebuilt {
        /// Rows read from the log.
        rows: u64,
    },
}

/// Written when the store was closed in order, removed before anything changes again.
#[derive(Debug, Serialize, Deserialize)]
struct Closed {
    /// The newest position in the log.
    last: u64,
    /// The segments and how many bytes of each the index points to.
    live: Vec<(u64, u64)>,
}

impl Engine {
    /// Opens the store in `folder`, which exists and belongs to this process.
    pub(crate) fn open(
        files: Arc<dyn Files>,
        folder: &Path,
        home: Box<dyn IndexHome>,
        config: RowsConfig,
        random: Arc<dyn Random>,
    ) -> Result<(Self, Opened), OpenError> {
        let io = |error| OpenError::Io {
            folder: folder.to_owned(),
            error,
        };
        let log_folder = folder.join(LOG_FOLDER);
        files.create_folder(&log_folder).map_err(io)?;
        files.sync_folder(folder).map_err(io)?;
        let closed = Closed::read(files.as_ref(), folder)?;
        let start = Start {
            files: files.as_ref(),
            folder,
            log_folder: &log_folder,
            home: home.as_ref(),
        };
        let (recovered, index, how) = start.find(closed)?;
        let log = Log::new(files.clone(), log_folder.clone(), recovered.segments.clone());
        let mut tail = Tail::open(&log, &recovered, config.segment_bytes, random).map_err(io)?;
        tail.append_start(&log).map_err(|error| io(error.into()))?;
        let opened = Opened {
            start_counter: tail.starts,
            commit_counter: tail.next - 1,
            index: how,
        };
        let last = Position(opened.commit_counter);
        let table = Table {
            dirty: Dirty::new(last),
            to_settle: VecDeque::new(),
            state: State::Open,
            taking: Taking::Everything,
            is_stalled: false,
        };
        let engine = Self {
            folder: folder.to_owned(),
            config,
            log,
            tail: Mutex::new(tail),
            home,
            index: RwLock::new(Some(index)),
            gate: RwLock::new(()),
            table: Mutex::new(table),
            cleaning: Mutex::new(Cleaning::Resting),
            to_write: Condvar::new(),
            to_settle: Condvar::new(),
            to_clean: Condvar::new(),
            room: Condvar::new(),
            settled_some: Notify::new(),
            progress: Progress::new(last),
        };
        let free = engine.log.files.free_bytes(folder).map_err(io)?;
        engine.judge(&mut locked(&engine.table), free);
        Ok((engine, opened))
    }

    /// Puts index and log away, after the last step. The next start finds them as they are.
    pub(crate) fn finish_close(&self) -> Result<(), RowsError> {
        let last = {
            let table = locked(&self.table);
            if let State::Closed(why) = &table.state {
                return Err(RowsError::Closed(why.to_string()));
            }
            table.dirty.settled()
        };
        let index = self.index.write().unwrap_or_else(PoisonError::into_inner).take();
        let Some(index) = index else { return Ok(()) };
        self.home.close(index, last).map_err(|error| self.fail(error))?;
        let live = self
            .log
            .segments()
            .iter()
            .map(|segment| (segment.header.segment, segment.live()))
            .collect();
        Closed { last: last.0, live }
            .write(self.log.files.as_ref(), &self.folder)
            .map_err(|error| self.fail(error))
    }
}

/// Where to look for what is there.
struct Start<'a> {
    files: &'a dyn Files,
    folder: &'a Path,
    log_folder: &'a Path,
    home: &'a dyn IndexHome,
}

type Found = (Recovered, Box<dyn Index>, IndexStart);

impl Start<'_> {
    fn find(&self, closed: Option<Closed>) -> Result<Found, OpenError> {
        if let Some(closed) = closed {
            let recovered = recover(self.files, self.log_folder, Scan::LastSegment, &mut |_, _, _| Ok(()))?;
            if let Some(what) = closed.contradicts(&recovered) {
                return Err(OpenError::Damaged {
                    folder: self.folder.to_owned(),
                    what,
                });
            }
            cut_torn_tail(self.files, self.log_folder, &recovered)?;
            // From here on the index may change, so nobody may find it called closed.
            self.forget_closed().map_err(OpenError::io(self.folder))?;
            match self.home.reopen(Position(closed.last)) {
                Ok(index) => {
                    closed.tell(&recovered);
                    return Ok((recovered, index, IndexStart::Kept));
                }
                Err(error) => tracing::warn!(%error, "the index cannot be used and is rebuilt"),
            }
        }
        self.rebuild()
    }

    fn forget_closed(&self) -> io::Result<()> {
        let path = self.folder.join(CLOSED_FILE);
        self.files.remove(&path)?;
        self.files.sync_folder(parent(&path))
    }

    fn rebuild(&self) -> Result<Found, OpenError> {
        let mut rebuild = Rebuild::new(self.home.create().map_err(|error| self.index_error(error))?);
        let recovered = recover(
            self.files,
            self.log_folder,
            Scan::Everything,
            &mut |segment, start, rows| {
                rebuild
                    .take(segment, start, rows)
                    .map_err(|error| self.index_error(error))
            },
        )?;
        cut_torn_tail(self.files, self.log_folder, &recovered)?;
        rebuild.put().map_err(|error| self.index_error(error))?;
        for (segment, live) in &rebuild.live {
            if let Some(segment) = recovered.segments.get(segment) {
                segment.live.store(*live, Ordering::Relaxed);
            }
        }
        Ok((recovered, rebuild.index, IndexStart::Rebuilt { rows: rebuild.rows }))
    }

    fn index_error(&self, error: IndexError) -> OpenError {
        OpenError::Io {
            folder: self.folder.to_owned(),
            error: io::Error::other(error),
        }
    }
}

/// An index in the making.
struct Rebuild {
    index: Box<dyn Index>,
    rows: u64,
    /// The next rows for the index: sorted, each in its last version.
    sorted: BTreeMap<Bytes, Option<Entry>>,
    live: BTreeMap<u64, u64>,
}

impl Rebuild {
    fn new(index: Box<dyn Index>) -> Self {
        Self {
            index,
            rows: 0,
            sorted: BTreeMap::new(),
            live: BTreeMap::new(),
        }
    }

    fn take(&mut self, segment: u64, start: u64, rows: Vec<RowRecord>) -> Result<(), IndexError> {
        for row in rows {
            let place = Place::new(segment, start, row.offset, row.bytes).map_err(IndexError::new)?;
            let entry = row.change.into_value().map(|value| Entry::new(place, &value));
            // Copied, so that the rest of the group need not stay in memory for its sake.
            self.sorted.insert(Bytes::copy_from_slice(&row.key), entry);
            self.rows += 1;
        }
        if self.sorted.len() >= REBUILD_ROWS {
            self.put()
        } else {
            Ok(())
        }
    }

    fn put(&mut self) -> Result<(), IndexError> {
        for (key, entry) in std::mem::take(&mut self.sorted) {
            if let Some(old) = self.index.set(&key, entry.as_ref())? {
                *self.live.entry(old.place.segment).or_default() -= u64::from(old.place.bytes);
            }
            if let Some(entry) = entry {
                *self.live.entry(entry.place.segment).or_default() += u64::from(entry.place.bytes);
            }
        }
        Ok(())
    }
}

impl Closed {
    /// What the last close wrote; nothing after a crash.
    fn read(files: &dyn Files, folder: &Path) -> Result<Option<Self>, OpenError> {
        let data = read_file(files, &folder.join(CLOSED_FILE)).map_err(OpenError::io(folder))?;
        let Some(data) = data else { return Ok(None) };
        let what = format!("the file {CLOSED_FILE} is not what was written");
        Self::decode(&data).map(Some).ok_or(OpenError::Damaged {
            folder: folder.to_owned(),
            what,
        })
    }

    fn decode(data: &[u8]) -> Option<Self> {
        let (sum, data) = data.split_first_chunk()?;
        let (&format, rest) = data.split_first()?;
        if u32::from_le_bytes(*sum) != crc32fast::hash(data) || format != CLOSED_FORMAT {
            return None;
        }
        postcard::from_bytes(rest).ok()
    }

    fn write(&self, files: &dyn Files, folder: &Path) -> io::Result<()> {
        let data = postcard::to_extend(self, vec![CLOSED_FORMAT]).map_err(io::Error::other)?;
        let sum = crc32fast::hash(&data).to_le_bytes();
        replace_file(files, &folder.join(CLOSED_FILE), &[sum.as_slice(), &data].concat())
    }

    /// Why this cannot be the log that was closed. After an orderly close nothing is written before the note of it is
    /// removed, so the log must be exactly as it was.
    fn contradicts(&self, recovered: &Recovered) -> Option<String> {
        if recovered.last != self.last {
            return Some(format!(
                "the log ends at commit {}, but was closed at {}",
                recovered.last, self.last
            ));
        }
        let same = self
            .live
            .iter()
            .map(|(segment, _)| segment)
            .eq(recovered.segments.keys());
        (!same).then(|| {
            format!(
                "its segments are {:?}, not those that were closed",
                recovered.segments.keys()
            )
        })
    }

    /// Tells the segments what they are needed for.
    fn tell(&self, recovered: &Recovered) {
        for (segment, (_, live)) in recovered.segments.values().zip(&self.live) {
            segment.live.store(*live, Ordering::Relaxed);
        }
    }
}
