//! Rows and references on their way to a new owner, or to one that lacks some: what a replica hands out, and what one
//! takes in.
//!
//! What falls into a leaf is found by reading: keys lie in their own order. A question for some leaves looks at many more
//! rows than it hands out, so that it does not take a message for each.

use std::sync::atomic::Ordering;
use std::time::Duration;

use trellis_spec::layout::{Partition, Pulled};
use trellis_spec::leaves::{Extent, Leaf, LeafSet};
use trellis_spec::peer::Answer;
use trellis_spec::register::{Accepted, Copied, Fetch};
use trellis_spec::row::{BlockName, Row, RowKey, VersionId};
use trellis_spec::stamp::Stamp;
use trellis_spec::trace::{PageOf, Record};

use super::cells::{Range, Shelf};
use super::door::{Door, Refused};
use super::keeper::{KeeperError, Own};
use super::replica::Replica;
use super::showing::Page;
use super::wire::encode;
use crate::seeded::{NodeRules, Slip, slips};
use crate::storage::{Position, Room, Versioned};

/// Rows or references looked at, at a time, for those of some leaves; others have their turn in between.
const STEP: usize = 500;
const BETWEEN_STEPS: Duration = Duration::from_millis(1);
/// Steps for one answer: it is to come before whoever asks loses patience (`limits.patience_ms`).
const STEPS_MAX: usize = 8;

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
    /// Hands rows to another owner. Its view was adopted first, and what was served before is visible.
    pub(super) async fn pull(&self, at: Door, extent: &Extent, from: RowKey, limit: u32) -> Result<Answer, Refused> {
        let shelf = {
            let _partition = self.lock(at.partition);
            Shelf::of(&self.enter(at)?)
        };
        let limit = self.pull_limit(limit);
        let (sight, first) = (self.sight(&at.partition.0.to_be_bytes()), from.clone());
        let range = match extent {
            Extent::Everything => self.cells.scan(shelf, &from, None, limit, self.limits.scan_max_bytes)?,
            Extent::Leaves(leaves) => self.pick(shelf, leaves, from, limit).await?,
        };
        // After the rows: it stands for the tombstones that were not among them any more.
        let floor = self.cells.floor(shelf)?;
        let (shown, admitted) = self.enter_for(at, &first)?;
        self.durable(range.written_at.max(floor.written_at)).await?;
        let Range { cells, bound } = range.value;
        let is_told = !slips(Slip::EmptyPulls);
        let pulled = Pulled {
            rows: cells.into_iter().filter(|_| is_told).collect(),
            bound: bound.filter(|_| is_told),
            floor: floor.value.unwrap_or_default(),
        };
        if let Some(sight) = &sight {
            let page = Page {
                from: &first,
                limit,
                cells: &pulled.rows,
                bound: pulled.bound.as_ref(),
            };
            let (extent, floor) = (*extent, pulled.floor);
            let step = sight.read(admitted, shown, &page, PageOf::Pull { extent, floor });
            step.into_iter().for_each(|step| sight.told(step));
        }
        Ok(Answer::Pulled(pulled))
    }

    /// The rows of some leaves, from one key on.
    async fn pick(
        &self,
        shelf: Shelf,
        leaves: &LeafSet,
        from: RowKey,
        limit: usize,
    ) -> Result<Versioned<Range>, Refused> {
        let (mut cells, mut bytes) = (Vec::new(), 0_usize);
        let (mut bound, mut written_at) = (Some(from), Position::default());
        'steps: for _ in 0..STEPS_MAX {
            let Some(from) = bound.take() else { break };
            let step = self.cells.scan(shelf, &from, None, STEP, usize::MAX)?;
            (bound, written_at) = (step.value.bound, written_at.max(step.written_at));
            for (key, cell) in step.value.cells {
                if !leaves.has(Leaf::of(&key)) {
                    continue;
                }
                bytes += key.len() + encode(&cell).len();
                if cells.len() == limit || (bytes > self.limits.scan_max_bytes && !cells.is_empty()) {
                    bound = Some(key);
                    break 'steps;
                }
                cells.push((key, cell));
            }
            self.rest(BETWEEN_STEPS).await;
        }
        let value = Range { cells, bound };
        Ok(Versioned { value, written_at })
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

    /// Hands references to another owner. What is kept after this, under an older view, is not acknowledged.
    pub(super) async fn pull_references(
        &self,
        at: Door,
        extent: &Extent,
        after: Option<(BlockName, VersionId)>,
        limit: u32,
    ) -> Result<Answer, Refused> {
        self.enter(at)?;
        self.durable(Position::default()).await?;
        let limit = self.pull_limit(limit);
        let picked = self.pick_references(at.partition, extent, after, limit).await;
        self.enter(at)?;
        let (found, next) = picked?;
        let found = found.into_iter().map(Own::told).collect();
        Ok(Answer::References { found, next })
    }

    /// At most `limit` references of an extent after this one, and where to go on.
    async fn pick_references(
        &self,
        partition: Partition,
        extent: &Extent,
        mut after: Option<(BlockName, VersionId)>,
        limit: usize,
    ) -> Result<(Vec<Own>, Option<(BlockName, VersionId)>), KeeperError> {
        let mut found: Vec<Own> = Vec::new();
        for _ in 0..STEPS_MAX {
            let step = STEP.min(limit - found.len());
            let (step, next) = self.keeper.own(partition, after, step, extent).await?;
            found.extend(step);
            after = next;
            if after.is_none() || found.len() == limit {
                break;
            }
            self.rest(BETWEEN_STEPS).await;
        }
        Ok((found, after))
    }

    pub(super) fn pull_limit(&self, asked: u32) -> usize {
        self.limits.scan_max_rows.min(asked as usize).max(1)
    }
}
