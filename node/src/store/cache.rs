//! A small memory of control rows with bounded staleness.
//!
//! Buckets and keys are looked up for every request. What is remembered here may be out of date by the limit; it is
//! used to find things and to authenticate, never to decide whether a write counts: the gate at the replicas does that.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::env::Clock;

/// Values that are remembered for a while.
pub(super) struct Cache<K, V> {
    clock: Arc<dyn Clock>,
    limit: Duration,
    entries: Mutex<BTreeMap<K, (Duration, V)>>,
}

impl<K: Ord + Clone, V: Clone> Cache<K, V> {
    pub(super) fn new(clock: Arc<dyn Clock>, limit: Duration) -> Self {
        Cache {
            clock,
            limit,
            entries: Mutex::new(BTreeMap::new()),
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<V> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, value) = entries.get(key)?;
        (self.clock.monotonic().saturating_sub(*since) < self.limit).then(|| value.clone())
    }

    pub(super) fn insert(&self, key: K, value: V) {
        const ENTRIES_MAX: usize = 10_000;
        let now = self.clock.monotonic();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= ENTRIES_MAX {
            entries.retain(|_, (since, _)| now.saturating_sub(*since) < self.limit);
        }
        if entries.len() < ENTRIES_MAX {
            entries.insert(key, (now, value));
        }
    }

    pub(super) fn remove(&self, key: &K) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}
