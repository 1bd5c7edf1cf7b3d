//! A signal that something changed, for several who wait.
//!
//! Whoever waits is woken in the order in which they began to, which tokio's own channel for this leaves to chance: a run
//! of the simulation could not be repeated.

use crate::sync::{Arc, AtomicU64, Notify, Ordering};

/// The sending end.
#[derive(Debug, Default)]
pub(super) struct Signal(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    count: AtomicU64,
    notify: Notify,
}

/// What one who waits has seen of it.
#[derive(Debug)]
pub struct Changes {
    shared: Arc<Shared>,
    seen: u64,
}

impl Signal {
    /// Something changed.
    pub(super) fn changed(&self) {
        self.0.count.fetch_add(1, Ordering::SeqCst);
        self.0.notify.notify_waiters();
    }

    /// For one more who waits. What changed until now has been seen.
    pub(super) fn subscribe(&self) -> Changes {
        Changes {
            seen: self.0.count.load(Ordering::SeqCst),
            shared: self.0.clone(),
        }
    }
}

impl Changes {
    /// What changed until now has been seen.
    pub fn mark_unchanged(&mut self) {
        self.seen = self.shared.count.load(Ordering::SeqCst);
    }

    /// Returns when something changed that was not seen.
    pub async fn changed(&mut self) {
        let notified = self.shared.notify.notified();
        let mut notified = std::pin::pin!(notified);
        // From here on no change is missed: either it is counted already, or it wakes this future.
        notified.as_mut().enable();
        if self.shared.count.load(Ordering::SeqCst) == self.seen {
            notified.await;
        }
        self.seen = self.shared.count.load(Ordering::SeqCst);
    }
}
