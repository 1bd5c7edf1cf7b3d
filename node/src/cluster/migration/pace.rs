//! Copies of blocks let clients go first: while clients are served, they take no more than a set rate.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::cluster::coordinator::Coordinator;

/// The pace that all syncs of a node share.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the next copy may begin, in monotonic time.
    next: Mutex<Duration>,
    clients: Mutex<Clients>,
}

/// Whether clients are served.
#[derive(Debug, Default)]
struct Clients {
    /// Their operations when it was last looked at.
    seen: u64,
    /// Until when they count as being served.
    until: Duration,
}

/// How long after an operation of a client copies are still held back.
const BUSY: Duration = Duration::from_secs(1);

impl Pace {
    /// Waits for the turn of so many bytes. With nobody to wait for, it is there at once, so that a sync ends.
    pub(super) async fn take(&self, coordinator: &Coordinator, bytes: usize) {
        let now = coordinator.env.clock.monotonic();
        if !self.is_busy(coordinator.operations(), now) {
            return;
        }
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

    fn is_busy(&self, operations: u64, now: Duration) -> bool {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.seen != operations {
            *clients = Clients {
                seen: operations,
                until: now + BUSY,
            };
        }
        now < clients.until
    }
}
