//! How those who wait for the disk are told.

use std::sync::Arc;

use tokio::sync::watch;

use super::rows::{Position, RowsError};

/// How far the log is durable, and whether it ends there.
#[derive(Debug)]
pub(super) struct Progress(watch::Sender<Now>);

#[derive(Debug, Clone)]
struct Now {
    durable: Position,
    closed: Option<Arc<str>>,
}

impl Progress {
    pub(super) fn new(durable: Position) -> Self {
        Self(watch::Sender::new(Now { durable, closed: None }))
    }

    /// Everything up to `position` is on disk.
    pub(super) fn durable(&self, position: Position) {
        self.0.send_modify(|now| now.durable = now.durable.max(position));
    }

    /// How far that is.
    pub(super) fn durable_so_far(&self) -> Position {
        self.0.borrow().durable
    }

    /// Nothing more will be, because of this.
    pub(super) fn closed(&self, why: Arc<str>) {
        self.0.send_modify(|now| now.closed = Some(why));
    }

    /// Waits until everything up to `position` is on disk, or never will be.
    pub(super) async fn wait(&self, position: Position) -> Result<(), RowsError> {
        let mut now = self.0.subscribe();
        let done = now
            .wait_for(|now| now.durable >= position || now.closed.is_some())
            .await;
        let now = done.map_err(|_| RowsError::Closed("the store is gone".into()))?;
        match &now.closed {
            Some(why) if now.durable < position => Err(RowsError::Closed(why.to_string())),
            Some(_) | None => Ok(()),
        }
    }
}
