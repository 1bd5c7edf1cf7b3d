//! From visible to durable to settled.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;

use super::{Engine, Placed, Position, State, Step, Table, Taking, locked};
use crate::storage::dirty::Group;
use crate::storage::index::{Entry, Index, IndexError};
use crate::storage::log::{AppendError, Log, Place};
use crate::sync::PoisonError;

/// Keys and values in one group: large enough that the disk's latency does not matter, small enough that nobody waits
/// long for the one before.
const GROUP_MAX_BYTES: usize = 4 << 20;
/// Rows that are brought into the index between two looks at what else there is.
const SETTLE_MAX_ROWS: usize = 4096;
/// Rows that are brought into the index while scans wait.
const SETTLE_CHUNK_ROWS: usize = 64;

impl Engine {
    /// Appends what waits as one group and syncs it.
    pub(crate) fn write_step(&self) -> Step {
        let group = {
            let mut table = locked(&self.table);
            if matches!(table.state, State::Closed(_)) {
                return Step::Idle;
            }
            table.dirty.take_group(GROUP_MAX_BYTES)
        };
        let Some(&(last, _)) = group.last() else {
            return Step::Idle;
        };
        let appended = locked(&self.tail).append(&self.log, &group);
        match appended {
            Ok(placed) => self.flushed(last, placed),
            Err(AppendError::NoRoom(error)) => return self.stall(group, &error),
            // What is on disk now is unknown, and nobody was told about it.
            Err(AppendError::Failed(error)) => {
                self.fail(format!("a commit could not be written: {error}"));
            }
        }
        self.seal_when_idle();
        Step::Worked
    }

    /// Puts the group back until there is room for it.
    fn stall(&self, group: Group, error: &io::Error) -> Step {
        let mut table = locked(&self.table);
        if table.state != State::Open {
            drop(table);
            self.fail(format!("the disk is full: {error}"));
            return Step::Idle;
        }
        table.dirty.put_back(group);
        table.is_stalled = true;
        self.judge(&mut table, 0);
        Step::Stalled
    }

    fn seal_when_idle(&self) {
        let idle = {
            let table = locked(&self.table);
            table.dirty.is_idle() && !matches!(table.state, State::Closed(_))
        };
        if idle && let Err(error) = locked(&self.tail).seal() {
            self.fail(error);
        }
    }

    fn flushed(&self, last: Position, placed: Vec<Placed>) {
        let free = self.free_bytes();
        let mut table = locked(&self.table);
        table.dirty.flushed(last);
        table.to_settle.push_back((last, placed));
        table.is_stalled = false;
        if let Ok(free) = free {
            self.judge(&mut table, free);
        }
        drop(table);
        self.progress.durable(last);
        self.to_settle.notify_one();
    }

    /// Brings durable rows into the index and out of the table.
    pub(crate) fn settle_step(&self) -> Step {
        if self.index_lacks_room() {
            return Step::Stalled;
        }
        let Some((upto, rows)) = locked(&self.table).take_to_settle() else {
            return Step::Idle;
        };
        if let Err(error) = self.bring_in(&rows) {
            self.fail(error);
            return Step::Idle;
        }
        locked(&self.table).dirty.settle(upto, rows.keys());
        self.room.notify_all();
        self.settled_some.notify_waiters();
        self.to_clean.notify_one();
        Step::Worked
    }

    /// The index fails for good where the log can wait, so it is left alone while the disk is about to be full.
    fn index_lacks_room(&self) -> bool {
        let is_short = {
            let table = locked(&self.table);
            table.state == State::Open && table.taking == Taking::Nothing && !table.to_settle.is_empty()
        };
        is_short
            && self
                .free_bytes()
                .is_ok_and(|free| free < self.config.index_free_bytes())
    }

    fn bring_in(&self, rows: &Rows) -> Result<(), IndexError> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let Some(index) = index.as_deref() else { return Ok(()) };
        let mut rows = rows.iter();
        while rows.len() > 0 {
            let _scans_wait = self.gate.write().unwrap_or_else(PoisonError::into_inner);
            for (key, row) in rows.by_ref().take(SETTLE_CHUNK_ROWS) {
                set(index, &self.log, key, row.as_ref())?;
            }
        }
        Ok(())
    }

    /// Waits for something to write. Says whether there may be.
    pub(crate) fn await_write(&self) -> bool {
        let mut table = locked(&self.table);
        while table.state == State::Open && table.dirty.is_idle() {
            table = self.to_write.wait(table).unwrap_or_else(PoisonError::into_inner);
        }
        match table.state {
            State::Open => true,
            State::Closing => !table.dirty.is_idle(),
            State::Closed(_) => false,
        }
    }

    /// Waits for something to settle. Says whether there may be.
    pub(crate) fn await_settle(&self) -> bool {
        let mut table = locked(&self.table);
        while table.to_settle.is_empty() {
            let done = match table.state {
                State::Open => false,
                State::Closing => table.dirty.settled() == table.dirty.visible(),
                State::Closed(_) => true,
            };
            if done {
                return false;
            }
            table = self.to_settle.wait(table).unwrap_or_else(PoisonError::into_inner);
        }
        !matches!(table.state, State::Closed(_))
    }
}

/// Rows to settle, each in its last version: in key order, which an index likes.
type Rows = BTreeMap<Bytes, Option<(Place, Bytes)>>;

impl Table {
    fn take_to_settle(&mut self) -> Option<(Position, Rows)> {
        let mut upto = None;
        let mut rows = Rows::new();
        while rows.len() < SETTLE_MAX_ROWS {
            let Some((position, placed)) = self.to_settle.pop_front() else {
                break;
            };
            upto = Some(position);
            rows.extend(placed.into_iter().map(|placed| (placed.key, placed.row)));
        }
        Some((upto?, rows))
    }
}

/// Points the index to the row, and keeps count of what each segment is still needed for.
pub(super) fn set(index: &dyn Index, log: &Log, key: &Bytes, row: Option<&(Place, Bytes)>) -> Result<(), IndexError> {
    let entry = row.map(|(place, value)| Entry::new(*place, value));
    let old = index.set(key, entry.as_ref())?;
    if let Some(entry) = entry {
        log.gained(entry.place);
    }
    if let Some(old) = old {
        log.lost(old.place);
    }
    Ok(())
}
