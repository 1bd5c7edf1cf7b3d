//! Rows and references on their way to a new owner: what a replica hands out, and what one takes in.

use std::sync::atomic::Ordering;

use trellis_spec::layout::Pulled;
use trellis_spec::peer::Answer;
use trellis_spec::register::{Accepted, Copied, Fetch};
use trellis_spec::row::{BlockName, Row, VersionId};
use trellis_spec::stamp::Stamp;
use trellis_spec::trace::Record;

use super::cells::Shelf;
use super::door::{Door, Refused};
use super::replica::Replica;
use crate::seeded::{NodeRules, Slip, slips};
use crate::storage::{Position, Room};

/// What became of a row that was to be taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowCopied {
    /// This node holds it, or something newer.
    Held,
    /// It does now.
    Taken,
    /// It would, if it came with its body.
    NeedsBody,
    /// A promise above this stamp keeps it out.
    Promised(Stamp),
}

impl Replica {
    /// Hands rows to a new owner. Its view was adopted first, and what was served before is visible.
    pub(super) async fn pull(&self, at: Door, from: Option<&[u8]>, limit: u32) -> Result<Answer, Refused> {
        let shelf = {
            let _partition = self.lock(at.partition);
            Shelf::of(&self.enter(at)?)
        };
        let (limit, max_bytes) = (self.pull_limit(limit), self.limits.scan_max_bytes);
        let range = self
            .cells
            .scan(shelf, from.unwrap_or_default(), None, limit, max_bytes)?;
        // After the rows: it stands for the tombstones that were not among them any more.
        let floor = self.cells.floor(shelf)?;
        self.enter(at)?;
        self.durable(range.written_at.max(floor.written_at)).await?;
        let floor = floor.value.unwrap_or_default();
        if slips(Slip::EmptyPulls) {
            return Ok(Answer::Pulled(Pulled {
                rows: Vec::new(),
                bound: None,
                floor,
            }));
        }
        Ok(Answer::Pulled(Pulled {
            rows: range.value.cells,
            bound: range.value.bound,
            floor,
        }))
    }

    /// Takes a settled row in, for a sync of this node under this view.
    pub(super) async fn copy(&self, at: Door, key: &[u8], held: &Accepted<Row>) -> Result<RowCopied, Refused> {
        self.cells.ready().await?;
        let partition = at.partition;
        let _partition = self.lock(partition);
        let shelf = Shelf::of(&self.enter(at)?);
        let cell = self.cells.load(shelf, key, Fetch::Head)?.value;
        match cell.copy::<NodeRules>(held) {
            Copied::Held => Ok(RowCopied::Held),
            Copied::Promised(above) => Ok(RowCopied::Promised(above)),
            Copied::Taken(_) if !held.content.is_whole() => Ok(RowCopied::NeedsBody),
            Copied::Taken(changed) => {
                let position = self.cells.replace(shelf, key, &cell, changed, Room::Upkeep)?;
                self.copied.fetch_max(position.0, Ordering::Relaxed);
                if let Some(recorder) = self.recorder().filter(|recorder| recorder.wants(key)) {
                    recorder.record(&Record::Copied {
                        partition,
                        entered: shelf.entered,
                        key: key.to_vec(),
                    });
                }
                self.note_stamp(held.ballot);
                Ok(RowCopied::Taken)
            }
        }
    }

    /// Returns when everything that was taken in until now is on disk.
    pub(super) async fn settle_down(&self) -> Result<(), Refused> {
        let copied = Position(self.copied.load(Ordering::Relaxed));
        self.durable(copied).await
    }

    /// Hands references to a new owner. What is kept after this, under an older view, is not acknowledged.
    pub(super) async fn pull_references(
        &self,
        at: Door,
        after: Option<(BlockName, VersionId)>,
        limit: u32,
    ) -> Result<Answer, Refused> {
        self.enter(at)?;
        self.durable(Position::default()).await?;
        let limit = self.pull_limit(limit);
        let pulled = self.keeper.pull(at.partition, after, limit).await;
        self.enter(at)?;
        let (found, next) = pulled?;
        Ok(Answer::References { found, next })
    }

    pub(super) fn pull_limit(&self, asked: u32) -> usize {
        self.limits.scan_max_rows.min(asked as usize).max(1)
    }
}
