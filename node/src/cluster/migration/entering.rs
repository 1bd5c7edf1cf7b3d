//! Opens partitions that this node has just entered: until it knows what others have forgotten there, it serves nobody.
//!
//! The first page of a sync tells the floors. It is asked for with a limit of one row, of all partitions at once, while
//! syncs take their time over the rows.

use std::time::Duration;

use futures_util::StreamExt;
use trellis_spec::layout::Partition;

use super::{Everything, Movers};

/// Partitions that are opened at a time: each takes a small message to a few nodes.
const OPENED_AT_A_TIME: usize = 256;

impl Movers {
    /// Works for ever: at every change of what is known of layouts, and again after a pause where something is left.
    pub(super) async fn keep_open(&self) {
        let mut changes = self.coordinator.layouts().changes();
        let pause = Duration::from_millis(self.coordinator.limits.sync_pause_ms);
        loop {
            changes.mark_unchanged();
            let left = self.open_all().await;
            let changed = changes.changed();
            if left == 0 {
                changed.await;
            } else {
                let _ = self.coordinator.env.timeout(pause, changed).await;
            }
        }
    }

    /// Opens what is to be opened now; says how much could not be.
    async fn open_all(&self) -> usize {
        let entering = self.entering();
        let count = entering.len();
        let opened = futures_util::stream::iter(entering).map(|partition| self.open(partition));
        let opened = opened.buffer_unordered(OPENED_AT_A_TIME);
        let opened: usize = opened.filter(|opened| std::future::ready(*opened)).count().await;
        count - opened
    }

    async fn open(&self, partition: Partition) -> bool {
        // Others must not wait long for one whose sources are silent.
        let limit = Duration::from_millis(self.coordinator.limits.request_deadline_ms);
        let opened = match self.syncing(partition, Everything) {
            Ok(sync) => self.coordinator.env.timeout(limit, sync.open()).await,
            Err(interrupted) => Ok(Err(interrupted)),
        };
        let Ok(opened) = opened else { return false };
        if let Err(interrupted) = &opened {
            tracing::debug!(?partition, %interrupted, "the floors of a partition are asked for again");
        }
        opened.is_ok()
    }

    /// Partitions of rows in which this node has a part, and no floor yet.
    fn entering(&self) -> Vec<Partition> {
        let known = self.coordinator.layouts().now();
        let (me, knowledge) = (known.peer.me, &known.peer.knowledge);
        let all = knowledge
            .newest()
            .into_iter()
            .flat_map(|newest| newest.row_partitions());
        let is_entering = |partition: &Partition| {
            let view = knowledge.view(*partition);
            let mut active = knowledge.since(view.lo);
            active.any(|layout| layout.holds(me, *partition)) && self.coordinator.replica.is_entering(*partition)
        };
        all.filter(is_entering).collect()
    }
}
