//! A small memory of control rows with bounded staleness.
//!
//! Buckets and keys are looked up for every request. What is remembered here may be out of date by the limit; it is
//! used to find things and to authenticate, never to decide whether a write counts: the gate at the replicas does that.
//!
//! What is in use is looked up anew, beside the requests, when half of its time is over: only the first request for a
//! thing waits for the lookup, which is a round trip or two over long links.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::env::Clock;

/// Values that are remembered for a while.
pub(super) struct Cache<K, V> {
    clock: Arc<dyn Clock>,
    limit: Duration,
    entries: Mutex<BTreeMap<K, Entry<V>>>,
}

struct Entry<V> {
    since: Duration,
    renewal: Renewal,
    value: V,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Renewal {
    NotYet,
    /// Somebody was told to.
    Begun,
}

/// What is remembered.
pub(super) enum Remembered<V> {
    /// Good for a while yet.
    Fresh(V),
    /// Good now; whoever is told this looks it up anew. Nobody else is told.
    Aging(V),
    /// Nothing, or it is too old.
    Nothing,
}

impl<K: Ord + Clone, V: Clone> Cache<K, V> {
    pub(super) fn new(clock: Arc<dyn Clock>, limit: Duration) -> Self {
        Cache {
            clock,
            limit,
            entries: Mutex::new(BTreeMap::new()),
        }
    }

    pub(super) fn get(&self, key: &K) -> Remembered<V> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = entries.get_mut(key) else {
            return Remembered::Nothing;
        };
        let age = self.clock.monotonic().saturating_sub(entry.since);
        if age >= self.limit {
            Remembered::Nothing
        } else if age >= self.limit / 2 && entry.renewal == Renewal::NotYet {
            entry.renewal = Renewal::Begun;
            Remembered::Aging(entry.value.clone())
        } else {
            Remembered::Fresh(entry.value.clone())
        }
    }

    /// The time to begin a lookup at.
    pub(super) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Remembers what a lookup found that began at `since`.
    pub(super) fn insert(&self, key: K, value: V, since: Duration) {
        const ENTRIES_MAX: usize = 10_000;
        let now = self.clock.monotonic();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= ENTRIES_MAX {
            entries.retain(|_, entry| now.saturating_sub(entry.since) < self.limit);
        }
        if entries.len() < ENTRIES_MAX {
            let renewal = Renewal::NotYet;
            let entry = Entry { since, renewal, value };
            entries.insert(key, entry);
        }
    }

    pub(super) fn remove(&self, key: &K) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}
