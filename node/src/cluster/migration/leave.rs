//! Forgets partitions that this node left, and what it held before it came back to one.

use trellis_spec::layout::{Droppable, LayoutVersion, Partition};

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
            let may_leave = move || {
                let known = layouts.now();
                !is_kept(&known, partition) && droppable(&known, partition).is_some()
            };
            if may_leave() {
                self.coordinator.replica.keeper().leave(partition, may_leave).await?;
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
                while cells.clear(shelf, BATCH_ROWS)? > 0 {
                    cells.ready().await?;
                }
            }
            from = after(shelf);
        }
        Ok(())
    }
}

/// May the rows of a shelf be deleted? Either the node left the partition, and everybody who holds it now has it all; or
/// it came back, which no layout allows while one from before it left is needed.
fn is_over(known: &Known, shelf: Shelf) -> bool {
    let entered = known.peer.knowledge.entered(known.peer.me, shelf.partition);
    if is_kept(known, shelf.partition) {
        return false;
    }
    let came_back = entered.is_some_and(|entered| shelf.entered < entered);
    let left = droppable(known, shelf.partition).is_some_and(|droppable| droppable.entered() >= shelf.entered);
    came_back || left
}

/// Was a layout forced when too little was left of the partition? Then old rows and references, which nobody asks for any more,
/// may be all that there is of something: they stay on disk, for people to look at.
fn is_kept(known: &Known, partition: Partition) -> bool {
    let mut forced = known
        .peer
        .knowledge
        .newest_first()
        .filter_map(|layout| layout.forced.as_ref());
    forced.any(|forced| forced.doubtful.contains(&partition) || forced.gone.contains(&partition))
}

fn droppable(known: &Known, partition: Partition) -> Option<Droppable> {
    let synced = |node| known.synced(partition, node);
    Droppable::of::<NodeRules>(&known.peer.knowledge, known.peer.me, partition, synced)
}

/// The first shelf that can follow this one.
fn after(shelf: Shelf) -> Option<Shelf> {
    Some(Shelf {
        partition: shelf.partition,
        entered: shelf.entered.next(),
    })
}
