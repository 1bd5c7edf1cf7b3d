//! One conditional operation per key at a time: those of one coordinator wait for each other instead of competing.

use std::hash::{DefaultHasher, Hash, Hasher};

use tokio::sync::{Mutex, MutexGuard};

/// Turns over a fixed number of stripes; keys that share one merely wait longer.
pub(crate) struct Turns {
    stripes: Vec<Mutex<()>>,
}

impl Turns {
    pub(crate) fn new() -> Self {
        const STRIPES: usize = 1024;
        Turns {
            stripes: (0..STRIPES).map(|_| Mutex::new(())).collect(),
        }
    }

    /// Waits for the key's turn, which ends when the guard is dropped.
    pub(crate) async fn take(&self, key: &[u8]) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let stripes = self.stripes.len() as u64;
        // The remainder is below the number of stripes, so it is an index.
        self.stripes[(hasher.finish() % stripes) as usize].lock().await
    }
}
