//! How those who wait for the disk are told.

use std::sync::Arc;

use super::rows::{Position, RowsError};
use crate::sync::{Mutex, Notify, PoisonError};

/// How far the log is durable, and whether it ends there.
///
/// Those who wait are woken in the order in which they came. A watch channel would wake them in an order of its own chance,
/// which no seed reaches.
#[derive(Debug)]
pub(crate) struct Progress {
    now: Mutex<Now>,
    moved: Notify,
}

#[derive(Debug)]
struct Now {
    durable: Position,
    closed: Option<Arc<str>>,
}

impl Progress {
    pub(crate) fn new(durable: Position) -> Self {
        Self {
            now: Mutex::new(Now { durable, closed: None }),
            moved: Notify::new(),
        }
    }

    /// Everything up to `position` is on disk.
    pub(crate) fn durable(&self, position: Position) {
        self.change(|now| now.durable = now.durable.max(position));
    }

    /// How far that is.
    pub(crate) fn durable_so_far(&self) -> Position {
        self.look(|now| now.durable)
    }

    /// Nothing more will be, because of this.
    pub(crate) fn closed(&self, why: Arc<str>) {
        self.change(|now| now.closed = Some(why));
    }

    /// Waits until everything up to `position` is on disk, or never will be.
    pub(crate) async fn wait(&self, position: Position) -> Result<(), RowsError> {
        loop {
            // Before the look at what is, so that no change between the two is missed.
            let moved = self.moved.notified();
            if let Some(told) = self.look(|now| now.tell(position)) {
                return told;
            }
            moved.await;
        }
    }

    fn change(&self, change: impl FnOnce(&mut Now)) {
        self.look(change);
        self.moved.notify_waiters();
    }

    fn look<T>(&self, look: impl FnOnce(&mut Now) -> T) -> T {
        look(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Now {
    /// What to tell somebody who waits for `position`, if there is anything to tell yet.
    fn tell(&self, position: Position) -> Option<Result<(), RowsError>> {
        if self.durable >= position {
            return Some(Ok(()));
        }
        let why = self.closed.as_ref()?;
        Some(Err(RowsError::Closed(why.to_string())))
    }
}
