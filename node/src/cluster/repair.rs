//! Anti-entropy: sees to it that this node holds what it should, and says how far that is known.
//!
//! Round after round, each partition is compared with what the other replicas hold ([`super::comparison`]). Leaves that
//! differ are synced from a majority of the partition's own replicas, by the very protocol by which a new owner syncs all
//! of it ([`super::migration`]): rows in flight are settled, never joined.
//!
//! What is known is kept as [`Evidence`]: since when a partition was not seen to be whole. It is lost with the process,
//! for a disk may have changed while nobody looked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use trellis_spec::layout::{LayoutVersion, Partition};
use trellis_spec::leaves::LeafSet;
use trellis_spec::quorum::NodeId;

use super::amount::{Amount, Count};
use super::contact::{Contact, LOOK_AFTER};
use super::coordinator::Coordinator;
use super::digest::Told;
use super::layouts::Known;
use super::migration::{Movers, Moves};
use super::place::Spread;
use super::workers::{Worker, WorkerReport, WorkerState, Workers};
use crate::env::Env;

/// How long after a look that did not find a partition whole the next one follows.
const RETRY: Duration = Duration::from_secs(5);
/// The shortest pause between two series of looks.
const BREATH: Duration = Duration::from_secs(1);

/// What a node knows about its own copies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The newest layout that the node knows.
    pub layout: LayoutVersion,
    /// Partitions that it is to hold.
    pub partitions: u64,
    /// Those of them that it has not synced for that layout yet.
    pub unsynced: Vec<Partition>,
    /// Those that were not seen to be whole since the process started, or were not the last time.
    pub doubtful: Vec<Partition>,
    /// Those that were seen to be whole, but not since the newest layout came, or since a node could not be reached: it
    /// may have missed something, or this one may have.
    pub outdated: Vec<Partition>,
    /// Everything acknowledged before this moment (microseconds, its own clock) was seen to be here, but for the above.
    pub whole_until_us: u64,
    /// Nodes of the layout that did not answer it when they were asked last.
    pub away: Vec<NodeId>,
    /// What was found here of each partition when it was last counted, and what was copied to it since.
    pub held: BTreeMap<Partition, Count>,
    /// What syncs partitions for newer layouts, if it ever had to.
    pub sync: Option<WorkerReport>,
    /// How much longer the comparison will take, or until the next one is done.
    pub comparison_left_s: Option<u64>,
    /// What was found missing and copied again since the process started.
    pub repaired: Amount,
    /// Blocks that were found damaged and put aside since then.
    pub damaged_blocks: u64,
    /// When every block was last read and compared with its name (microseconds); nothing: not since the process started.
    pub scrubbed_us: Option<u64>,
}

/// What the repairer and the scrubber of a node found out.
#[derive(Debug, Default)]
pub struct Repairs {
    /// When a partition was last seen to be whole.
    whole: Mutex<BTreeMap<Partition, Seen>>,
    held: Mutex<BTreeMap<Partition, Count>>,
    pub(super) contact: Contact,
    /// What they and others are doing.
    pub workers: Workers,
    /// Leaves of partitions of blocks in which references without data were met: those of uploads that were cut short, as
    /// a rule.
    lacking: Mutex<BTreeMap<Partition, LeafSet>>,
    /// What others were told of this node's copies.
    pub(super) told: Told,
    repaired: Arc<Moves>,
    pub(super) damaged: AtomicU64,
    /// Zero: not yet.
    pub(super) scrubbed_us: AtomicU64,
    /// Partitions of which something is known to be missing.
    troubled: Mutex<BTreeSet<Partition>>,
    /// There are some.
    trouble: Notify,
    /// Somebody wants every block read now.
    pub(super) scrub: Notify,
}

/// A partition was whole at this moment, which is before the look began.
#[derive(Debug, Clone, Copy)]
struct Seen {
    at_us: u64,
    /// The same in monotonic time.
    at: Duration,
    layout: LayoutVersion,
}

/// See the module.
pub struct Repairer {
    coordinator: Arc<Coordinator>,
    movers: Movers,
}

/// What a look at a partition came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// This node holds what a majority does, now at the latest.
    Whole,
    /// It may lack something.
    Doubtful,
}

impl Repairs {
    /// Looks at these partitions soon.
    pub fn repair_now(&self, partitions: impl IntoIterator<Item = Partition>) {
        self.troubled().extend(partitions);
        self.trouble.notify_one();
    }

    /// A look at a partition of blocks met references without data in these leaves.
    pub(super) fn note_lacking(&self, partition: Partition, leaves: LeafSet) {
        self.lacking_table().insert(partition, leaves);
    }

    /// Where the last look at a partition of blocks met references without data.
    fn lacking(&self, partition: Partition) -> LeafSet {
        self.lacking_table().get(&partition).copied().unwrap_or_default()
    }

    /// Partitions of blocks of which every reference had its data when it was last looked at.
    pub(super) fn complete(&self, known: &Known) -> Vec<Partition> {
        let whole = self.whole();
        let newest = known.peer.knowledge.newest();
        let of_blocks = newest.into_iter().flat_map(|newest| newest.block_partitions());
        of_blocks
            .filter(|partition| whole.contains_key(partition) && self.lacking(*partition).is_empty())
            .collect()
    }

    /// So much was found here.
    pub(super) fn note_held(&self, partition: Partition, held: Count) {
        self.held_table().insert(partition, held);
    }

    /// So much came to what was found here.
    pub(super) fn note_copied(&self, partition: Partition, copied: Amount) {
        if let Some(held) = self.held_table().get_mut(&partition) {
            held.amount = held.amount.plus(copied);
        }
    }

    /// What is known to be here.
    pub(super) fn held(&self, partition: Partition) -> Option<Count> {
        self.held_table().get(&partition).copied()
    }

    /// Blocks that were counted here.
    pub(super) fn blocks_held(&self) -> u64 {
        self.held_table().values().map(|held| held.amount.blocks).sum()
    }

    /// Compares everything that this node holds.
    pub(super) fn compare_all(&self, known: &Known) {
        self.repair_now(mine(known));
    }

    /// Something is gone that was there: nothing is known of these any more.
    pub(super) fn doubt(&self, partitions: &[Partition]) {
        self.whole().retain(|partition, _| !partitions.contains(partition));
        self.repair_now(partitions.iter().copied());
    }

    fn troubled(&self) -> MutexGuard<'_, BTreeSet<Partition>> {
        self.troubled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to read every block now.
    pub fn scrub_now(&self) {
        self.scrub.notify_one();
    }

    /// What is known.
    pub fn evidence(&self, env: &Env, known: &Known) -> Evidence {
        let mine = mine(known);
        let newest = known.newest();
        let whole = self.whole();
        let failed_at = self.contact.failed_at();
        let (mut unsynced, mut doubtful, mut outdated) = (Vec::new(), Vec::new(), Vec::new());
        let mut whole_until_us = u64::MAX;
        for partition in &mine {
            if known.synced(*partition, known.peer.me) < newest && newest > LayoutVersion(1) {
                unsynced.push(*partition);
            }
            match whole.get(partition) {
                Some(seen) => {
                    whole_until_us = whole_until_us.min(seen.at_us);
                    if seen.layout != newest || failed_at.is_some_and(|failed_at| seen.at <= failed_at) {
                        outdated.push(*partition);
                    }
                }
                None => doubtful.push(*partition),
            }
        }
        let scrubbed_us = self.scrubbed_us.load(Ordering::Relaxed);
        Evidence {
            layout: newest,
            partitions: mine.len() as u64,
            unsynced,
            doubtful,
            outdated,
            away: self.contact.away(|node| is_member(known, node)),
            held: self.held_table().clone(),
            sync: self.workers.of(env, Worker::Migration),
            comparison_left_s: self.left(env, Worker::Comparison).or_else(|| self.next_look(env)),
            whole_until_us: if whole_until_us == u64::MAX { 0 } else { whole_until_us },
            repaired: self.repaired.now(),
            damaged_blocks: self.damaged.load(Ordering::Relaxed),
            scrubbed_us: (scrubbed_us > 0).then_some(scrubbed_us),
        }
    }

    fn left(&self, env: &Env, worker: Worker) -> Option<u64> {
        self.workers.of(env, worker)?.seconds_left
    }

    /// Between two looks: the pause until the next one, and as long as the last one took.
    fn next_look(&self, env: &Env) -> Option<u64> {
        let idle = self.workers.of(env, Worker::Comparison)?;
        (idle.state == WorkerState::Idle).then(|| LOOK_AFTER.as_secs() + idle.seconds)
    }

    fn whole(&self) -> MutexGuard<'_, BTreeMap<Partition, Seen>> {
        // What a panicking holder left is whole: entries are replaced one by one.
        self.whole.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lacking_table(&self) -> MutexGuard<'_, BTreeMap<Partition, LeafSet>> {
        self.lacking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held_table(&self) -> MutexGuard<'_, BTreeMap<Partition, Count>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Repairer {
    /// The repairer of the coordinator's node, which syncs by the same hands as new owners do.
    pub fn new(coordinator: Arc<Coordinator>, movers: &Movers) -> Self {
        Repairer {
            movers: movers.of(Worker::Comparison, coordinator.repairs().repaired.clone()),
            coordinator,
        }
    }

    fn repairs(&self) -> &Repairs {
        self.coordinator.repairs()
    }

    /// Goes round after round for ever; where something is not known to be whole, it looks again sooner.
    pub async fn run(self) {
        let pause = Duration::from_millis(self.coordinator.limits.repair_pause_ms);
        let clock = self.coordinator.env.clock.clone();
        loop {
            let begun = clock.monotonic();
            self.repairs().troubled().extend(self.all());
            while let Some(rest) = pause.checked_sub(clock.monotonic().saturating_sub(begun)) {
                self.look_at_troubled().await;
                // However much trouble there is, clients have their turn.
                clock.sleep(BREATH).await;
                let trouble = self.repairs().trouble.notified();
                if self.coordinator.env.timeout(rest, trouble).await.is_err() {
                    break;
                }
            }
        }
    }

    fn all(&self) -> Vec<Partition> {
        mine(&self.coordinator.layouts().now())
    }

    /// One look at every partition that is to be looked at; those that are not whole are again.
    async fn look_at_troubled(&self) {
        let before = self.repairs().repaired.now();
        let mine = self.all();
        self.repairs().whole().retain(|partition, _| mine.contains(partition));
        self.repairs()
            .held_table()
            .retain(|partition, _| mine.contains(partition));
        let mut troubled = std::mem::take(&mut *self.repairs().troubled());
        troubled.retain(|partition| mine.contains(partition));
        let (workers, env) = (&self.repairs().workers, &self.coordinator.env);
        if troubled.is_empty() {
            return;
        }
        workers.begin(env, Worker::Comparison, troubled.len() as u64);
        let mut again = Vec::new();
        for partition in troubled {
            let began = Seen {
                at_us: env.clock.wall_us(),
                at: env.clock.monotonic(),
                layout: self.coordinator.layouts().now().newest(),
            };
            workers.enter(env, Worker::Comparison, partition);
            let looked = self.look(partition).await;
            workers.leave(Worker::Comparison, partition);
            workers.step(Worker::Comparison);
            match looked {
                Some(Look::Whole) => _ = self.repairs().whole().insert(partition, began),
                Some(Look::Doubtful) => {
                    self.repairs().whole().remove(&partition);
                    again.push(partition);
                }
                // Too few nodes answer: what was known stays true, and does not become newer.
                None => again.push(partition),
            }
        }
        let repaired = self.repairs().repaired.now();
        if repaired != before {
            tracing::info!(?repaired, "copied again what was missing here");
        }
        match again.len() {
            0 => workers.end(env, Worker::Comparison),
            count => {
                let why =
                    format!("{count} partitions are looked at again: too few replicas answer, or they move, or differ");
                workers.pause(env, Worker::Comparison, why);
                self.look_again(again);
            }
        }
    }

    /// Has these looked at again in a while.
    fn look_again(&self, partitions: Vec<Partition>) {
        let coordinator = Arc::downgrade(&self.coordinator);
        let pause = self.coordinator.env.clock.sleep(RETRY);
        let task = async move {
            pause.await;
            if let Some(coordinator) = coordinator.upgrade() {
                coordinator.repairs().repair_now(partitions);
            }
        };
        self.coordinator.env.spawner.spawn("look again", Box::pin(task));
    }

    /// Compares, and syncs the leaves in which that shows a difference; nothing if too few answered.
    async fn look(&self, partition: Partition) -> Option<Look> {
        let place = self.coordinator.place_of(partition, Spread::Majorities);
        // In a transition, those who are due sync anyway, and the others are compared when it is over.
        if place.view.lo < place.view.hi {
            return None;
        }
        let mut doubtful = self.coordinator.compare(&place).await?;
        // Where there is one replica, nobody disagrees about data that it lacks.
        doubtful.extend(self.repairs().lacking(partition).iter());
        if doubtful.is_empty() {
            return Some(Look::Whole);
        }
        self.repairs().whole().remove(&partition);
        tracing::debug!(?partition, leaves = doubtful.count(), "something may be missing here");
        match self.movers.repair(partition, doubtful).await {
            Ok(()) => Some(Look::Whole),
            Err(interrupted) => {
                let (workers, env) = (&self.repairs().workers, &self.coordinator.env);
                workers.failed(env, Worker::Comparison, &interrupted);
                tracing::debug!(?partition, %interrupted, "a repair begins anew");
                Some(Look::Doubtful)
            }
        }
    }
}

impl Coordinator {
    /// What works in the background here.
    pub fn workers(&self) -> Vec<WorkerReport> {
        self.repairs().workers.report(&self.env)
    }

    /// Compares everything that this node holds, now.
    pub fn compare_now(&self) {
        self.repairs().compare_all(&self.layouts().now());
    }

    /// Disks went away or came back: what was known of this node's blocks is known no more, and they are compared.
    pub fn doubt_blocks(&self) {
        let known = self.layouts().now();
        let mine = mine(&known).into_iter();
        let of_blocks: Vec<Partition> = mine.filter(|partition| self.replica.is_of_blocks(*partition)).collect();
        self.repairs().doubt(&of_blocks);
    }

    /// What is known of how whole this node's copies are.
    pub fn repairs(&self) -> &Repairs {
        self.replica.repairs()
    }
}

fn mine(known: &Known) -> Vec<Partition> {
    let (me, newest) = (known.peer.me, known.peer.knowledge.newest());
    let all = newest.into_iter().flat_map(|newest| newest.partitions());
    all.filter(|partition| newest.is_some_and(|newest| newest.holds(me, *partition)))
        .collect()
}

fn is_member(known: &Known, node: NodeId) -> bool {
    let newest = known.peer.knowledge.newest();
    newest.is_some_and(|newest| newest.member(node).is_some())
}
