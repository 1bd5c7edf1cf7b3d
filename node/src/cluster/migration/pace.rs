//! Copies of blocks let clients go first: while clients are served, they take no more than a set rate.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::cluster::coordinator::Coordinator;

/// The pace that all syncs of a node share.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the next copy may begin, in monotonic time.
    next: Mutex<Duration>,
    /// Operations of clients when it was last looked at.
    seen: AtomicU64,
}

impl Pace {
    /// Waits for the turn of so many bytes. With nobody to wait for, it is there at once, so that a sync ends.
    pub(super) async fn take(&self, coordinator: &Coordinator, bytes: usize) {
        let operations = coordinator.operations();
        if self.seen.swap(operations, Ordering::Relaxed) == operations {
            return;
        }
        let now = coordinator.env.clock.monotonic();
        let per_s = coordinator.limits.sync_busy_bytes_per_s.max(1);
        let cost = Duration::from_micros(1_000_000_u64.saturating_mul(bytes as u64) / per_s);
        let begin = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let begin = (*next).max(now);
            *next = begin + cost;
            begin
        };
        coordinator.env.clock.sleep(begin.saturating_sub(now)).await;
    }
}
