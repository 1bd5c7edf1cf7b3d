//! The commit log: the durable truth of the row store.
//!
//! It is a chain of segments, `00000001.log` and so on. Writers append groups to the last one; rows are read from any.
//! Segments leave the chain only at its old end, one by one, after every row in them that still counts was appended
//! again (see the cleaner). What remains is therefore always enough to rebuild everything.

pub(crate) mod format;
pub(crate) mod recovery;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use crate::env::Random;
use crate::storage::files::{FileHandle, Files, OpenFor, is_full};
use crate::storage::rows::{Batch, Position};
use format::{GROUP_HEADER_BYTES, GroupHeader, GroupKind, RowRecord, SEGMENT_HEADER_BYTES, SegmentHeader};

/// How far the last segment is extended at a time, so that most commits change no file length: on ext4 that is the
/// difference between one and two waits for the disk.
const RESERVE_STEP_BYTES: u64 = 4 << 20;

/// Where a row lies in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u32,
    /// Bytes of its record.
    pub(crate) bytes: u32,
}

/// A row that was appended, and where it lies; nothing when it was removed.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) key: Bytes,
    pub(crate) row: Option<(Place, Bytes)>,
}

/// One file of the chain.
pub(crate) struct Segment {
    pub(crate) header: SegmentHeader,
    pub(crate) file: Arc<dyn FileHandle>,
    /// Bytes in use: the end of its last group.
    pub(crate) end: AtomicU64,
    /// Bytes of row records that the index points to.
    pub(crate) live: AtomicU64,
}

impl Place {
    /// Where the record at `offset` of a payload that begins at `start` lies.
    pub(crate) fn new(segment: u64, start: u64, offset: usize, bytes: u32) -> io::Result<Self> {
        let offset = u32::try_from(start + offset as u64).map_err(io::Error::other)?;
        Ok(Self { segment, offset, bytes })
    }
}

impl Segment {
    /// Bytes in use.
    pub(crate) fn used(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    /// Bytes of row records that the index points to.
    pub(crate) fn live(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }

    /// The group at `offset`, if it is whole.
    pub(crate) fn group(&self, offset: u64) -> io::Result<Option<(GroupHeader, Bytes)>> {
        let head = self.file.read_at(offset, GROUP_HEADER_BYTES)?;
        let Some(header) = GroupHeader::decode(&head, &self.header.salt) else {
            return Ok(None);
        };
        let payload_bytes = header.payload_bytes as usize;
        let payload = self.file.read_at(offset + GROUP_HEADER_BYTES as u64, payload_bytes)?;
        let whole = payload.len() == payload_bytes && crc32fast::hash(&payload) == header.payload_sum;
        Ok(whole.then(|| (header, Bytes::from(payload))))
    }
}

/// The chain of segments, for readers.
pub(crate) struct Log {
    pub(crate) files: Arc<dyn Files>,
    pub(crate) folder: PathBuf,
    segments: RwLock<BTreeMap<u64, Arc<Segment>>>,
}

/// The end of the log, for its only writer.
pub(crate) struct Tail {
    segment: Arc<Segment>,
    reserved: u64,
    /// The next position.
    pub(crate) next: u64,
    pub(crate) starts: u64,
    segment_bytes: u64,
    random: Arc<dyn Random>,
    group: Vec<u8>,
}

/// Why a group was not appended. Nobody was told of it.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// The disk is full. Nothing was synced; the group can be appended again.
    NoRoom(io::Error),
    /// What is on disk now is unknown.
    Failed(io::Error),
}

impl From<io::Error> for AppendError {
    fn from(error: io::Error) -> Self {
        if is_full(&error) {
            Self::NoRoom(error)
        } else {
            Self::Failed(error)
        }
    }
}

impl From<AppendError> for io::Error {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::NoRoom(error) | AppendError::Failed(error) => error,
        }
    }
}

/// What a read from the log found.
pub(crate) enum Found {
    Row(RowRecord),
    /// The segment was cleaned away in the meantime; the index knows the row's new place.
    Moved,
    /// The bytes are not what was written.
    Damaged(String),
}

pub(crate) fn segment_path(folder: &Path, segment: u64) -> PathBuf {
    folder.join(format!("{segment:08}.log"))
}

impl Log {
    pub(crate) fn new(files: Arc<dyn Files>, folder: PathBuf, segments: BTreeMap<u64, Arc<Segment>>) -> Self {
        Self {
            files,
            folder,
            segments: RwLock::new(segments),
        }
    }

    /// The record at `place`.
    pub(crate) fn read(&self, place: Place) -> io::Result<Found> {
        let Some(segment) = self.segment(place.segment) else {
            return Ok(Found::Moved);
        };
        let data = Bytes::from(segment.file.read_at(u64::from(place.offset), place.bytes as usize)?);
        Ok(match format::decode_row(&data, 0) {
            Some(row) if row.bytes == place.bytes => Found::Row(row),
            Some(_) | None => Found::Damaged(format!(
                "the row at byte {} of {} is not what was written",
                place.offset,
                segment_path(&self.folder, place.segment).display()
            )),
        })
    }

    pub(crate) fn segment(&self, segment: u64) -> Option<Arc<Segment>> {
        self.segments
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&segment)
            .cloned()
    }

    /// The whole chain, oldest first.
    pub(crate) fn segments(&self) -> Vec<Arc<Segment>> {
        self.segments
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// Counts a record that the index points to from now on.
    pub(crate) fn gained(&self, place: Place) {
        if let Some(segment) = self.segment(place.segment) {
            segment.live.fetch_add(u64::from(place.bytes), Ordering::Relaxed);
        }
    }

    /// Counts a record that the index does not point to any more.
    pub(crate) fn lost(&self, place: Place) {
        if let Some(segment) = self.segment(place.segment) {
            segment.live.fetch_sub(u64::from(place.bytes), Ordering::Relaxed);
        }
    }

    /// Removes the oldest segment. It is gone from the disk before the next one may go: a chain with a hole would be
    /// taken for a damaged one, and an old row could outlive its removal.
    pub(crate) fn remove_oldest(&self, segment: u64) -> io::Result<()> {
        self.files.remove(&segment_path(&self.folder, segment))?;
        self.files.sync_folder(&self.folder)?;
        self.segments
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&segment);
        Ok(())
    }

    /// Makes a segment with room for `reserve` bytes and adds it to the chain. It is on disk, empty, when this returns.
    fn add_segment(&self, header: SegmentHeader, reserve: u64) -> Result<Arc<Segment>, AppendError> {
        let path = segment_path(&self.folder, header.segment);
        let file = self.files.open(&path, OpenFor::Create)?;
        let made = file
            .write_at(0, &header.encode())
            .and_then(|()| file.reserve(reserve))
            .and_then(|()| file.sync_data());
        if let Err(error) = made {
            // The next attempt is a new file. If this one cannot be removed, that is the greater trouble.
            self.files.remove(&path)?;
            return Err(error.into());
        }
        self.files.sync_folder(&self.folder).map_err(AppendError::Failed)?;
        let end = AtomicU64::new(SEGMENT_HEADER_BYTES as u64);
        let segment = Arc::new(Segment {
            header,
            file,
            end,
            live: AtomicU64::new(0),
        });
        self.segments
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(header.segment, segment.clone());
        Ok(segment)
    }
}

impl Tail {
    /// The end of the chain that `recovered` describes; makes the first segment if there is none.
    pub(crate) fn open(
        log: &Log,
        recovered: &recovery::Recovered,
        segment_bytes: u64,
        random: Arc<dyn Random>,
    ) -> io::Result<Self> {
        let last = log.segments().pop();
        let segment = match last {
            Some(segment) => segment,
            None => {
                let header = fresh_header(1, recovered.starts, recovered.last + 1, random.as_ref());
                log.add_segment(header, reserve_step(segment_bytes))?
            }
        };
        Ok(Self {
            reserved: segment.file.size()?,
            segment,
            next: recovered.last + 1,
            starts: recovered.starts,
            segment_bytes,
            random,
            group: Vec::new(),
        })
    }

    /// Appends the batches, which continue the log's positions, as one group, and returns when they are on disk.
    pub(crate) fn append(&mut self, log: &Log, batches: &[(Position, Arc<Batch>)]) -> Result<Vec<Placed>, AppendError> {
        self.make_room(log)?;
        let start = self.segment.used();
        let mut placed = Vec::new();
        self.group.clear();
        self.group.resize(GROUP_HEADER_BYTES, 0);
        for (_, batch) in batches {
            let offsets = format::encode_batch(batch, &mut self.group);
            for ((key, change), (offset, bytes)) in batch.iter().zip(offsets) {
                let place = Place::new(self.segment.header.segment, start, offset, bytes)?;
                placed.push(Placed {
                    key: key.clone(),
                    row: change.clone().into_value().map(|value| (place, value)),
                });
            }
        }
        let batches = u32::try_from(batches.len()).map_err(io::Error::other)?;
        self.write_group(GroupKind::Rows { batches })?;
        Ok(placed)
    }

    /// Appends that the store was opened once more.
    pub(crate) fn append_start(&mut self, log: &Log) -> Result<(), AppendError> {
        self.starts += 1;
        self.make_room(log)?;
        self.group.clear();
        self.group.resize(GROUP_HEADER_BYTES, 0);
        self.write_group(GroupKind::Start {
            starts: u32::try_from(self.starts).map_err(io::Error::other)?,
        })
    }

    /// Completes the group in the buffer with its header and makes it durable.
    fn write_group(&mut self, kind: GroupKind) -> Result<(), AppendError> {
        let payload = &self.group[GROUP_HEADER_BYTES..];
        let payload_bytes = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let header = GroupHeader {
            first: self.next,
            kind,
            payload_bytes,
            payload_sum: crc32fast::hash(payload),
        };
        self.group[..GROUP_HEADER_BYTES].copy_from_slice(&header.encode(&self.segment.header.salt));
        let start = self.segment.used();
        let end = start + self.group.len() as u64;
        if end > self.reserved {
            let reserved = end.next_multiple_of(reserve_step(self.segment_bytes));
            self.segment.file.reserve(reserved)?;
            self.reserved = reserved;
        }
        self.segment.file.write_at(start, &self.group)?;
        // A sync that failed says nothing about what is on disk, whatever the reason.
        self.segment.file.sync_data().map_err(AppendError::Failed)?;
        self.segment.end.store(end, Ordering::Relaxed);
        self.next = header.last() + 1;
        Ok(())
    }

    /// Notes behind the last group that it is on disk. Whether the note gets there before a power cut does not matter.
    pub(crate) fn seal(&self) -> io::Result<()> {
        let end = self.segment.used();
        if end + GROUP_HEADER_BYTES as u64 > self.reserved {
            return Ok(());
        }
        let header = GroupHeader {
            first: self.next,
            kind: GroupKind::Seal,
            payload_bytes: 0,
            payload_sum: 0,
        };
        self.segment
            .file
            .write_at(end, &header.encode(&self.segment.header.salt))
    }

    /// Goes on to a new segment when the current one is full.
    fn make_room(&mut self, log: &Log) -> Result<(), AppendError> {
        let end = self.segment.used();
        if end < self.segment_bytes {
            return Ok(());
        }
        // The room that was reserved and not used goes back; should a power cut undo this, zeros remain at the end.
        self.segment.file.truncate(end)?;
        self.reserved = end;
        let next = self.segment.header.segment + 1;
        let header = fresh_header(next, self.starts, self.next, self.random.as_ref());
        self.segment = log.add_segment(header, reserve_step(self.segment_bytes))?;
        self.reserved = self.segment.file.size()?;
        Ok(())
    }
}

fn reserve_step(segment_bytes: u64) -> u64 {
    RESERVE_STEP_BYTES.min(segment_bytes)
}

fn fresh_header(segment: u64, starts: u64, first: u64, random: &dyn Random) -> SegmentHeader {
    let mut salt = [0; 16];
    random.fill(&mut salt);
    SegmentHeader {
        segment,
        salt,
        starts,
        first,
    }
}
