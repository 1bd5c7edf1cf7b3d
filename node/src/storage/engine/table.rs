//! The table of rows that are on their way to the disk, and how its threads and those who wait tell each other.
//!
//! Whoever brings a batch waits for memory, then for the disk; the writer waits for batches, the settler for groups that
//! are durable. All of them look and go to sleep under the table's lock, or ask for the next wake-up before they look, so
//! that none sleeps through what it waits for. `verification/tests/loom` tries the orders of this file, of `commit` and
//! of [`super::super::progress`].

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::Arc;

use super::{Engine, Placed, Position, Room, RowsError, Taking};
use crate::storage::dirty::{Dirty, content_bytes};
use crate::storage::rows::Batch;
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// The largest batch, keys and values together.
pub const BATCH_MAX_BYTES: usize = 8 << 20;
/// Batches not in the index yet, keys and values together, from which on `ready` waits for the disk.
const HELD_MAX_BYTES: usize = 32 << 20;
/// And from which on `apply` does, for those who did not ask.
const HELD_HARD_MAX_BYTES: usize = 2 * HELD_MAX_BYTES;

/// Whether a step found something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Worked,
    Idle,
    /// There is something to do, once the disk has room.
    Stalled,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// No new batches; what is there is finished.
    Closing,
    /// Nothing more, because of this.
    Closed(Arc<str>),
}

pub(super) struct Table {
    pub(super) dirty: Dirty,
    /// Durable rows on their way into the index.
    pub(super) to_settle: VecDeque<(Position, Vec<Placed>)>,
    pub(super) state: State,
    pub(super) taking: Taking,
    /// A group waits for room on the disk.
    pub(super) is_stalled: bool,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic closes the store (see `DiskRows`), which whoever comes next finds written in the table.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    pub(crate) fn apply(&self, batch: Batch) -> Result<Position, RowsError> {
        self.apply_within(batch, Room::New)
    }

    pub(crate) fn apply_within(&self, batch: Batch, room: Room) -> Result<Position, RowsError> {
        check_size(&batch)?;
        let mut table = self.open_table()?;
        self.check_room(&mut table, room)?;
        while table.dirty.held_bytes() > HELD_HARD_MAX_BYTES {
            table = self.room.wait(table).unwrap_or_else(PoisonError::into_inner);
            table.check()?;
        }
        let position = table.dirty.apply(batch);
        drop(table);
        self.to_write.notify_one();
        Ok(position)
    }

    /// Waits until there is memory for more batches, without keeping a thread.
    pub(crate) async fn ready(&self) -> Result<(), RowsError> {
        loop {
            // Made before the look, so that it hears of what changes after it.
            let settled = self.settled_some.notified();
            if self.open_table()?.dirty.held_bytes() <= HELD_MAX_BYTES {
                return Ok(());
            }
            settled.await;
        }
    }

    pub(crate) fn durable_so_far(&self) -> Position {
        self.progress.durable_so_far()
    }

    /// Waits until everything up to `position` is on disk.
    pub(crate) async fn durable(&self, position: Position) -> Result<(), RowsError> {
        self.progress.wait(position).await
    }

    /// Closes the store for good and returns the error that everybody gets from now on.
    pub(crate) fn fail(&self, why: impl Display) -> RowsError {
        let why: Arc<str> = format!(
            "{}: {why}; restart the node once the cause is gone",
            self.folder.display()
        )
        .into();
        let mut table = locked(&self.table);
        if let State::Closed(first) = &table.state {
            return RowsError::Closed(first.to_string());
        }
        tracing::error!(%why, "the row store is closed");
        self.set_closed(&mut table, why.clone());
        RowsError::Closed(why.to_string())
    }

    /// As a crash would: whatever is not durable now is lost.
    pub(crate) fn abandon(&self) {
        self.set_closed(&mut locked(&self.table), "the node stops".into());
    }

    /// Refuses new batches from now on. Those applied are still written and settled.
    pub(crate) fn begin_close(&self) {
        let mut table = locked(&self.table);
        if table.state == State::Open {
            table.state = State::Closing;
        }
        drop(table);
        self.wake_all();
    }

    fn set_closed(&self, table: &mut Table, why: Arc<str>) {
        if !matches!(table.state, State::Closed(_)) {
            table.state = State::Closed(why.clone());
            self.progress.closed(why);
        }
        self.wake_all();
    }

    fn wake_all(&self) {
        for waiting in [&self.to_write, &self.to_settle, &self.to_clean, &self.room] {
            waiting.notify_all();
        }
        self.settled_some.notify_waiters();
    }

    pub(super) fn open_table(&self) -> Result<MutexGuard<'_, Table>, RowsError> {
        let table = locked(&self.table);
        table.check()?;
        Ok(table)
    }
}

/// Refuses batches over [`BATCH_MAX_BYTES`].
pub(in crate::storage) fn check_size(batch: &Batch) -> Result<(), RowsError> {
    match content_bytes(batch) {
        bytes if bytes > BATCH_MAX_BYTES => Err(RowsError::TooLarge {
            bytes,
            limit: BATCH_MAX_BYTES,
        }),
        _ => Ok(()),
    }
}

impl Table {
    fn check(&self) -> Result<(), RowsError> {
        match &self.state {
            State::Open => Ok(()),
            State::Closing => Err(RowsError::Closed("the node stops".into())),
            State::Closed(why) => Err(RowsError::Closed(why.to_string())),
        }
    }
}
