//! Forgets partitions that this node left, and what it held before it came back to one.

use trellis_spec::layout::{LayoutVersion, Partition};
use trellis_spec::peer::Peer;
use trellis_spec::trace::{ClearedStep, Record};

use super::{Interrupted, Movers};
use crate::cluster::cells::Shelf;
use crate::cluster::layouts::Known;
use crate::seeded::NodeRules;

/// Rows removed in one batch.
const BATCH_ROWS: usize = 500;

impl Movers {
    /// Everything that may be forgotten now.
    pub(super) async fn leave(&self) -> Result<(), Interrupted> {
        let known = self.coordinator.layouts().now();
        self.clear_shelves(&known).await?;
        let newest = known.peer.knowledge.newest();
        for partition in newest.into_iter().flat_map(|newest| newest.block_partitions()) {
            let layouts = self.coordinator.layouts().clone();
            // A newer layout may give the partition back at any moment.
            let now = layouts.now();
            let keeper = self.coordinator.replica.keeper();
            if may_leave(&now, partition) && keeper.has_any(partition)? {
                self.record_cleared(&now, partition, None);
                let may_leave = move || may_leave(&layouts.now(), partition);
                keeper.leave(partition, may_leave).await?;
            }
        }
        Ok(())
    }

    async fn clear_shelves(&self, known: &Known) -> Result<(), Interrupted> {
        let cells = self.coordinator.replica.cells();
        let mut from = Some(Shelf {
            partition: Partition(0),
            entered: LayoutVersion(0),
        });
        while let Some(at) = from {
            let Some(shelf) = cells.next_shelf(at)? else { break };
            if is_over(known, shelf) {
                tracing::info!(?shelf, "this node forgets rows that it no longer has to hold");
                self.record_cleared(known, shelf.partition, Some(shelf.entered));
                while cells.clear(shelf, BATCH_ROWS)? > 0 {
                    cells.ready().await?;
                }
            }
            from = after(shelf);
        }
        Ok(())
    }

    fn record_cleared(&self, known: &Known, partition: Partition, entered: Option<LayoutVersion>) {
        if let Some(recorder) = self.coordinator.replica.recorder() {
            recorder.record(&Record::Cleared(ClearedStep {
                partition,
                entered,
                known_at: known.written_at.0,
            }));
        }
    }
}

/// May the rows of a shelf be deleted?
fn is_over(known: &Known, shelf: Shelf) -> bool {
    let Peer { me, knowledge } = &known.peer;
    known
        .heard()
        .is_over::<NodeRules>(knowledge, *me, shelf.partition, shelf.entered)
}

/// May the references to the blocks of a partition be dropped?
fn may_leave(known: &Known, partition: Partition) -> bool {
    let Peer { me, knowledge } = &known.peer;
    known
        .heard()
        .droppable::<NodeRules>(knowledge, *me, partition)
        .is_some()
}

/// The first shelf that can follow this one.
fn after(shelf: Shelf) -> Option<Shelf> {
    Some(Shelf {
        partition: shelf.partition,
        entered: shelf.entered.next(),
    })
}
