//! Reads every block of this node again and again, and compares it with its name: a disk rots where nobody looks.
//!
//! What is damaged is put aside by the block store; it is missing from then on, and the repairer copies it again. What lies
//! on another disk than it belongs on, because that one was full, away or not there yet, is moved to where it belongs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use trellis_spec::row::{BlockName, Placement};

use super::amount::Amount;
use super::coordinator::Coordinator;
use super::keeper::Keeper;
use super::repair::Repairs;
use super::workers::Worker;
use crate::storage::{BlockNames, BlocksError};

/// Names looked up at a time.
const STEP_BLOCKS: usize = 256;

/// How fast blocks are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// So that clients do not notice.
    Gentle,
    /// Because somebody waits for it.
    Full,
}

/// See the module.
pub struct Scrubber {
    coordinator: Arc<Coordinator>,
}

impl Scrubber {
    /// The scrubber of the coordinator's node.
    pub fn new(coordinator: Arc<Coordinator>) -> Self {
        Scrubber { coordinator }
    }

    fn repairs(&self) -> &Repairs {
        self.coordinator.repairs()
    }

    /// Goes over all blocks for ever, and at full pace when asked to.
    pub async fn run(self) {
        let pause = Duration::from_secs(self.coordinator.limits.scrub_pause_s);
        let mut pace = Pace::Gentle;
        loop {
            let asked = self.repairs().scrub.notified();
            let pass = self.pass(pace);
            tokio::select! {
                biased;
                () = pass => pace = Pace::Gentle,
                () = asked => {
                    pace = Pace::Full;
                    continue;
                }
            }
            let asked = self.repairs().scrub.notified();
            if self.coordinator.env.timeout(pause, asked).await.is_ok() {
                pace = Pace::Full;
            }
        }
    }

    async fn pass(&self, pace: Pace) {
        let keeper = self.coordinator.replica.keeper().clone();
        let (mut after, mut unread, mut hidden) = (None, 0_u64, None);
        let (workers, env) = (&self.repairs().workers, &self.coordinator.env);
        workers.begin(env, Worker::Scrub, self.repairs().blocks_held());
        loop {
            let BlockNames {
                found: names,
                unread: folder,
            } = match keeper.names(after, STEP_BLOCKS).await {
                Ok(names) => names,
                Err(error) => {
                    tracing::warn!(%error, "blocks cannot be listed; the scrub ends here");
                    workers.failed(env, Worker::Scrub, &error);
                    workers.pause(env, Worker::Scrub, "blocks cannot be listed".to_owned());
                    return;
                }
            };
            hidden = folder.or(hidden);
            for name in &names {
                let read = self.read(&keeper, *name).await;
                unread += u64::from(read.is_none());
                let bytes = read.unwrap_or(0);
                workers.did(Worker::Scrub, Amount::block(bytes as u64));
                workers.step(Worker::Scrub);
                self.rest(pace, bytes).await;
            }
            match names.last() {
                Some(last) if names.len() == STEP_BLOCKS => after = Some(*last),
                Some(_) | None => break,
            }
        }
        if let Some(error) = hidden {
            tracing::error!(%error, "some blocks could not be listed; the others were read");
            workers.failed(env, Worker::Scrub, &error);
            unread += 1;
        }
        if unread == 0 {
            let now_us = self.coordinator.env.clock.wall_us();
            self.repairs().scrubbed_us.store(now_us, Ordering::Relaxed);
        }
        workers.end(env, Worker::Scrub);
        tracing::info!(unread, "every block was looked at");
    }

    /// Reads one block, and has it copied again if it is damaged; the bytes read, or nothing if the disk does not tell.
    async fn read(&self, keeper: &Keeper, name: BlockName) -> Option<usize> {
        let (workers, env) = (&self.repairs().workers, &self.coordinator.env);
        let read = match keeper.fetch(name).await {
            Ok(data) => Some(data.map_or(0, |data| data.len())),
            Err(BlocksError::Damaged { kept, .. }) => {
                tracing::error!(%name, kept = %kept.display(), "a block is damaged; it is copied from others");
                self.repairs().damaged.fetch_add(1, Ordering::Relaxed);
                let what = format!("block {name} is damaged; it is copied from others");
                workers.failed(env, Worker::Scrub, &what);
                let place = self.coordinator.place(&Placement::Block(name));
                self.repairs().repair_now([place.partition]);
                Some(0)
            }
            Err(error) => {
                tracing::error!(%name, %error, "a block cannot be read");
                workers.failed(env, Worker::Scrub, &error);
                None
            }
        };
        if let Err(error) = keeper.settle(name).await {
            tracing::warn!(%name, %error, "a block cannot be moved to the disk where it belongs");
            workers.failed(env, Worker::Scrub, &error);
        }
        read
    }

    async fn rest(&self, pace: Pace, bytes: usize) {
        let per_s = self.coordinator.limits.scrub_bytes_per_s.max(1);
        match pace {
            Pace::Full => {}
            Pace::Gentle => {
                let micros = 1_000_000_u64.saturating_mul(bytes as u64) / per_s;
                self.coordinator.env.clock.sleep(Duration::from_micros(micros)).await;
            }
        }
    }
}
