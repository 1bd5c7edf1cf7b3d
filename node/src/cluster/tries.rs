//! How an operation that is tried again knows how long to pause.

use std::time::Duration;

/// How often an operation was tried, and since when the last try runs.
pub(super) struct Tries {
    pub(super) count: u32,
    pub(super) begun: Duration,
}

impl Tries {
    pub(super) fn new(now: Duration) -> Self {
        Tries { count: 0, begun: now }
    }

    /// Counts one more and tells how long the last one took.
    pub(super) fn again(&mut self, now: Duration) -> Duration {
        self.count += 1;
        let took = now.saturating_sub(self.begun);
        self.begun = now;
        took
    }
}
