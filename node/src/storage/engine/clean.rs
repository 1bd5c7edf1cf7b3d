//! Making room at the old end of the log.
//!
//! Once more than half of the log is garbage, the oldest segment is read from front to back. A row that the index still
//! points to is appended to the log again, unchanged, like any other batch. When the whole segment was looked at, the
//! newest position given out is noted as a *fence*: everything that made a row of the segment superfluous is at or
//! before it. When all that is durable and settled, nothing points to the segment any more and it goes. Removals need
//! not be copied: there is no older segment that could still hold what they removed.
//!
//! Nothing is written twice more often than once on average, for each round frees at least as much as it copies; on a
//! disk that is nearly full less garbage is enough.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;

use super::{Engine, Position, Room, RowsError, State, Step, Table, Taking, locked};
use crate::storage::index::IndexError;
use crate::storage::log::format::{self, GROUP_HEADER_BYTES, GroupHeader, GroupKind};
use crate::storage::log::{Place, Segment};
use crate::storage::rows::{Batch, Change};

/// Bytes that are copied into one batch, and read in one step, at most, give or take one group.
const COPY_BYTES: usize = 256 << 10;
const LOOK_BYTES: u64 = 4 << 20;

/// How far the cleaner is.
#[derive(Clone)]
pub(super) enum Cleaning {
    /// Nothing to do as far as it knows.
    Resting,
    /// Reading a segment.
    Copying(Copying),
    /// All that is needed of the segment was appended again, at or before the fence.
    Fenced {
        /// The segment.
        segment: Arc<Segment>,
        /// See the module.
        fence: Position,
    },
}

#[derive(Clone)]
pub(super) struct Copying {
    segment: Arc<Segment>,
    /// Where the next group begins.
    offset: u64,
    /// Position of its first batch.
    next: u64,
    /// Position of the first batch in the next segment.
    end: u64,
    /// Copies are on their way up to here.
    copied: Position,
}

/// A row of the segment and where it lies.
type Candidate = (Bytes, Bytes, Place);

impl Engine {
    /// One bounded piece of cleaning, if there is something to clean and nothing to wait for.
    pub(crate) fn clean_step(&self) -> Step {
        if locked(&self.table).state != State::Open {
            return Step::Idle;
        }
        let mut cleaning = locked(&self.cleaning);
        let next = match cleaning.clone() {
            Cleaning::Resting => Ok(self.choose()),
            Cleaning::Copying(copying) => self.copy(copying),
            Cleaning::Fenced { segment, fence } => self.finish(segment, fence),
        };
        match next {
            Ok(Some(next)) => {
                *cleaning = next;
                Step::Worked
            }
            // A full disk is looked at again later; every other error closed the store.
            Ok(None) | Err(_) => Step::Idle,
        }
    }

    /// The oldest segment, when cleaning pays and the index is past it.
    fn choose(&self) -> Option<Cleaning> {
        let segments = self.log.segments();
        let [oldest, second, ..] = segments.as_slice() else {
            return None;
        };
        let total: u64 = segments.iter().map(|segment| segment.used()).sum();
        let live: u64 = segments.iter().map(|segment| segment.live()).sum();
        let (settled, taking) = {
            let table = locked(&self.table);
            (table.dirty.settled(), table.taking)
        };
        let wasted = total.saturating_sub(live);
        let pays = match taking {
            Taking::Everything => wasted > live.max(self.config.waste_bytes),
            // Room is worth more than work: up to four bytes are copied for one that becomes free.
            Taking::Upkeep | Taking::Nothing => {
                wasted > (live / 4).max(self.config.segment_bytes) || oldest.live() < oldest.used() / 4 * 3
            }
        };
        let next = oldest.header.first;
        let end = second.header.first;
        (pays && end <= settled.0 + 1).then(|| {
            let offset = format::SEGMENT_HEADER_BYTES as u64;
            Cleaning::Copying(Copying {
                segment: oldest.clone(),
                offset,
                next,
                end,
                copied: Position::default(),
            })
        })
    }

    /// Looks at the next groups and appends what is still needed of them. Waits for its earlier copies first, so that
    /// clients' batches never queue behind more than one of them.
    fn copy(&self, mut copying: Copying) -> Result<Option<Cleaning>, RowsError> {
        if locked(&self.table).dirty.settled() < copying.copied {
            return Ok(None);
        }
        let mut candidates = Vec::new();
        let (mut bytes, start) = (0, copying.offset);
        while bytes < COPY_BYTES && copying.offset < start + LOOK_BYTES {
            let group = copying
                .segment
                .group(copying.offset)
                .map_err(|error| self.fail(error))?;
            let Some((header, payload)) = group.filter(|(header, _)| header.kind != GroupKind::Seal) else {
                return self.fence(copying, candidates).map(Some);
            };
            let found = self.needed(&copying, header, payload)?;
            bytes += found
                .iter()
                .map(|(key, value, _)| key.len() + value.len())
                .sum::<usize>();
            candidates.extend(found);
            copying.offset += GROUP_HEADER_BYTES as u64 + u64::from(header.payload_bytes);
            copying.next = header.last() + 1;
        }
        copying.copied = self.append_again(candidates)?;
        Ok(Some(Cleaning::Copying(copying)))
    }

    /// After the last group. That it is the last is certain only when the positions join those of the next segment;
    /// otherwise the segment is damaged, and must not be removed as if nothing in it were needed.
    fn fence(&self, copying: Copying, candidates: Vec<Candidate>) -> Result<Cleaning, RowsError> {
        if copying.next != copying.end {
            let segment = copying.segment.header.segment;
            return Err(self.fail(format!(
                "commit {} in log segment {segment} is not what was written",
                copying.next
            )));
        }
        self.append_again(candidates)?;
        let fence = locked(&self.table).dirty.visible();
        Ok(Cleaning::Fenced {
            segment: copying.segment,
            fence,
        })
    }

    /// The rows of a group that the index still points to.
    fn needed(&self, copying: &Copying, header: GroupHeader, payload: Bytes) -> Result<Vec<Candidate>, RowsError> {
        let GroupKind::Rows { batches } = header.kind else {
            return Ok(Vec::new());
        };
        let segment = copying.segment.header.segment;
        let start = copying.offset + GROUP_HEADER_BYTES as u64;
        let rows = format::decode_payload(&payload, batches)
            .ok_or_else(|| self.fail(format!("rows at byte {start} of log segment {segment} cannot be read")))?;
        let mut needed = Vec::new();
        for row in rows {
            let Change::Put(value) = row.change else { continue };
            let place = Place::new(segment, start, row.offset, row.bytes).map_err(|error| self.fail(error))?;
            if self
                .with_index(|index| index.get(&row.key))?
                .is_some_and(|entry| entry.place == place)
            {
                needed.push((Bytes::copy_from_slice(&row.key), Bytes::copy_from_slice(&value), place));
            }
        }
        Ok(needed)
    }

    /// Appends the rows again unless they changed since. Under the table's lock nothing becomes visible, and what is
    /// not in the table is in the index; so a row that passes is the newest of its key.
    fn append_again(&self, candidates: Vec<Candidate>) -> Result<Position, RowsError> {
        if candidates.is_empty() {
            return Ok(Position::default());
        }
        // Copies make room in the end, so they may use some of what everybody else must leave free.
        if self.free_bytes()? < self.config.cleaning_free_bytes() {
            return Err(self.full_error(Room::Upkeep));
        }
        let mut table = self.open_table()?;
        let batch = match self.unchanged(&table, candidates) {
            Ok(batch) => batch,
            Err(error) => {
                drop(table);
                return Err(self.fail(error));
            }
        };
        let position = if batch.is_empty() {
            Position::default()
        } else {
            table.dirty.copy(batch)
        };
        drop(table);
        self.to_write.notify_one();
        Ok(position)
    }

    fn unchanged(&self, table: &Table, candidates: Vec<Candidate>) -> Result<Batch, IndexError> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let Some(index) = index.as_deref() else {
            return Ok(Batch::new());
        };
        let mut batch = Batch::new();
        for (key, value, place) in candidates {
            let newest = table.dirty.get(&key).is_none() && index.get(&key)?.is_some_and(|entry| entry.place == place);
            if newest {
                batch.push((key, Change::Put(value)));
            }
        }
        Ok(batch)
    }

    /// Removes the segment once everything up to the fence is settled (and hence durable).
    fn finish(&self, segment: Arc<Segment>, fence: Position) -> Result<Option<Cleaning>, RowsError> {
        if locked(&self.table).dirty.settled() < fence {
            return Ok(None);
        }
        let number = segment.header.segment;
        if segment.live() != 0 {
            return Err(self.fail(format!(
                "log segment {number} is still needed after cleaning; this is a bug"
            )));
        }
        self.log.remove_oldest(number).map_err(|error| self.fail(error))?;
        Ok(Some(Cleaning::Resting))
    }

    /// Waits until more is settled than `seen`: cleaning waits for nothing else. Says whether there may be more to do.
    pub(crate) fn await_clean(&self, seen: Position) -> bool {
        let mut table = locked(&self.table);
        while table.state == State::Open && table.dirty.settled() == seen {
            table = self.to_clean.wait(table).unwrap_or_else(PoisonError::into_inner);
        }
        table.state == State::Open
    }

    /// Everything up to here is in the index.
    pub(crate) fn settled(&self) -> Position {
        locked(&self.table).dirty.settled()
    }
}
