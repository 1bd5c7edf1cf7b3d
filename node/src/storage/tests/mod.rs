//! One suite for every row store and one for every block store, and what only the real ones have to fear: power cuts,
//! damaged files, full disks.

mod block_folder;
mod blocks;
mod conformance;
mod disk_rows;
mod disks;
mod faulty;
mod power_cut;
mod power_loss;
mod pressure;
mod sim_disk;
mod subjects;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::{Batch, Change};
use crate::env::{Boxed, Clock, Env, Random, Spawn};

/// SplitMix64: small, and the same numbers for the same seed everywhere.
#[derive(Debug)]
struct Seeded(AtomicU64);

impl Seeded {
    fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    fn next(&self) -> u64 {
        let mut z = self
            .0
            .fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed)
            .wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }
}

impl Random for Seeded {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// Tokio's clock and tasks.
struct Real;

impl Clock for Real {
    fn wall_us(&self) -> u64 {
        0
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, duration: Duration) -> Boxed<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

impl Spawn for Real {
    fn spawn(&self, _: &'static str, task: Boxed<'static, ()>) {
        tokio::runtime::Handle::current().spawn(task);
    }
}

fn env() -> Env {
    Env {
        clock: Arc::new(Real),
        random: Arc::new(Seeded::new(1)),
        spawner: Arc::new(Real),
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> (Bytes, Change) {
    (
        Bytes::copy_from_slice(key.as_ref()),
        Change::Put(Bytes::copy_from_slice(value.as_ref())),
    )
}

fn remove(key: impl AsRef<[u8]>) -> (Bytes, Change) {
    (Bytes::copy_from_slice(key.as_ref()), Change::Remove)
}

/// The rows after a batch.
fn apply_to(rows: &mut std::collections::BTreeMap<Bytes, Bytes>, batch: &Batch) {
    for (key, change) in batch {
        match change {
            Change::Put(value) => rows.insert(key.clone(), value.clone()),
            Change::Remove => rows.remove(key),
        };
    }
}
