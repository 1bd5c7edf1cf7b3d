//! What a node does when layouts follow each other: it syncs the partitions that are new to it, and in the end forgets
//! those that it left.
//!
//! There is nothing to remember but what [`Layouts`](super::layouts::Layouts) has on disk: a partition is due as long as
//! this node is not synced for the newest layout that names it. A sync that does not come to its end, for the view rose or
//! because too few nodes answer, begins anew, and finds what it copied before.
//!
//! The same sync repairs leaves of a partition in which this node may lack something. What is synced is a type ([`Scope`]):
//! only a sync of [`Everything`] has an announcement for its outcome.

mod blocks;
mod entering;
mod leave;
mod pace;
mod rows;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use trellis_spec::layout::{Announcement, GatedRow, LayoutVersion, Partition, Sources, Standing};
use trellis_spec::leaves::{Extent, LeafSet};
use trellis_spec::row::BucketId;

use super::amount::Amount;
use super::cells::CellsError;
use super::coordinator::Coordinator;
use super::door::{Door, Refused};
use super::keeper::KeeperError;
use super::layouts::{Known, LayoutsError};
use super::place::{Place, Spread};
use super::workers::{Worker, Workers};
use crate::env::Boxed;
use crate::seeded::NodeRules;
use pace::Pace;

/// What was copied to this node since it started, for transitions or for repairs.
#[derive(Debug, Default)]
pub struct Moves(Mutex<Amount>);

impl Moves {
    /// What it is now.
    pub fn now(&self) -> Amount {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, amount: Amount) {
        let mut moved = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *moved = moved.plus(amount);
    }
}

/// Why a sync did not come to its end. It begins anew.
#[derive(Debug, thiserror::Error)]
pub(super) enum Interrupted {
    #[error("the view rose")]
    ViewRose,
    #[error("too few nodes answer")]
    Unreached,
    #[error("a block is missing at all who said that they have it")]
    BlockMissing,
    #[error("the disk is full")]
    Full,
    #[error("a row belongs to a bucket that is being deleted")]
    Gated,
    #[error(transparent)]
    Cells(#[from] CellsError),
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Layouts(#[from] LayoutsError),
}

/// Knows what becomes of buckets.
pub trait Gatekeeper: Send + Sync {
    /// A gate keeps a row of this bucket from being settled: is the bucket gone? A deletion that was abandoned is undone,
    /// so that the row does not wait for ever.
    fn behind_gate(&self, bucket: BucketId) -> Boxed<'_, GatedRow>;
}

/// See the module.
pub struct Movers {
    coordinator: Arc<Coordinator>,
    gatekeeper: Arc<dyn Gatekeeper>,
    pace: Arc<Pace>,
    moves: Arc<Moves>,
    worker: Worker,
}

/// One partition that this node syncs, under one view.
struct Syncing<'a, S> {
    coordinator: &'a Coordinator,
    gatekeeper: &'a dyn Gatekeeper,
    pace: &'a Pace,
    moves: &'a Moves,
    worker: Worker,
    sources: Sources,
    place: Place,
    scope: S,
}

/// How much of a partition is synced, and what follows from that.
trait Scope: Send + Sync {
    /// What comes of it.
    type Outcome;
    /// Why it is synced.
    const PURPOSE: Purpose;

    /// How much is pulled, settled and copied.
    fn extent(&self) -> Extent;

    /// What follows when that is done; `said` is what would follow if it was everything.
    fn outcome(&self, said: Announcement) -> Self::Outcome;
}

/// Why a partition is synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// It is new here: whatever older owners refer to is taken over.
    Transition,
    /// It may lack something: references whose version is dead are not brought back.
    Repair,
}

/// All of it, for it is new here.
struct Everything;

/// Leaves in which something may be missing here. That they are whole says nothing of the others.
struct Doubtful(LeafSet);

impl Scope for Everything {
    type Outcome = Announcement;
    const PURPOSE: Purpose = Purpose::Transition;

    fn extent(&self) -> Extent {
        Extent::Everything
    }

    fn outcome(&self, said: Announcement) -> Announcement {
        said
    }
}

impl Scope for Doubtful {
    type Outcome = ();
    const PURPOSE: Purpose = Purpose::Repair;

    fn extent(&self) -> Extent {
        Extent::Leaves(self.0)
    }

    fn outcome(&self, _: Announcement) {}
}

impl Movers {
    /// Those of the coordinator's node.
    pub fn new(coordinator: Arc<Coordinator>, gatekeeper: Arc<dyn Gatekeeper>) -> Self {
        Movers {
            coordinator,
            gatekeeper,
            pace: Arc::default(),
            moves: Arc::default(),
            worker: Worker::Migration,
        }
    }

    /// What they did.
    pub fn moves(&self) -> Arc<Moves> {
        self.moves.clone()
    }

    /// The same hands, for the work of another, which is counted apart.
    pub(super) fn of(&self, worker: Worker, moves: Arc<Moves>) -> Self {
        Movers {
            coordinator: self.coordinator.clone(),
            gatekeeper: self.gatekeeper.clone(),
            pace: self.pace.clone(),
            moves,
            worker,
        }
    }

    /// Syncs these leaves of a partition from its own replicas.
    pub(super) async fn repair(&self, partition: Partition, leaves: LeafSet) -> Result<(), Interrupted> {
        self.try_sync(partition, Doubtful(leaves)).await
    }

    /// Works for ever. Floors come before rows, of all partitions at once: until this node has them, clients wait.
    pub async fn run(self) {
        futures_util::future::join(self.keep_open(), self.keep_synced()).await;
    }

    /// At every change of what is known of layouts, and again after a pause where something is left.
    async fn keep_synced(&self) {
        let mut changes = self.coordinator.layouts().changes();
        let limits = &self.coordinator.limits;
        let (pause, idle) = (
            Duration::from_millis(limits.sync_pause_ms),
            Duration::from_millis(limits.repair_pause_ms),
        );
        loop {
            changes.mark_unchanged();
            let left = self.work().await;
            let changed = changes.changed();
            // What came too late to be left with the rest is found with the next look.
            let pause = if left == 0 { idle } else { pause };
            let _ = self.coordinator.env.timeout(pause, changed).await;
        }
    }

    /// Syncs what is due, and leaves what may be left; says how much is left to do.
    pub async fn work(&self) -> usize {
        let due = due(&self.coordinator.layouts().now());
        self.begin(&due);
        let syncs = futures_util::stream::iter(due.clone()).map(|partition| self.sync(partition));
        let synced = syncs.buffer_unordered(self.coordinator.limits.sync_parallelism);
        let synced: usize = synced.filter(|synced| std::future::ready(*synced)).count().await;
        if synced > 0 && synced == due.len() {
            // What was synced has not been compared yet.
            self.coordinator.repairs().repair_now(due.iter().copied());
        }
        let mut left = due.len() - synced;
        self.end(&due, left);
        if let Err(error) = self.leave().await {
            tracing::warn!(%error, "what this node left is not cleared yet");
            left += 1;
        }
        left
    }

    /// A run without anything to do is none.
    fn begin(&self, due: &[Partition]) {
        if !due.is_empty() {
            self.workers()
                .begin(&self.coordinator.env, self.worker, due.len() as u64);
        }
    }

    fn end(&self, due: &[Partition], left: usize) {
        let (workers, env) = (self.workers(), &self.coordinator.env);
        match (due.len(), left) {
            (0, _) => workers.unpause(self.worker),
            (_, 0) => workers.end(env, self.worker),
            (_, left) => {
                let why = format!("{left} partitions could not be synced now: see the last error; they are begun anew");
                workers.pause(env, self.worker, why);
            }
        }
    }

    fn workers(&self) -> &Workers {
        &self.coordinator.repairs().workers
    }

    /// Syncs one partition; says whether it is done.
    pub async fn sync(&self, partition: Partition) -> bool {
        self.workers().enter(&self.coordinator.env, self.worker, partition);
        let done = match self.try_sync(partition, Everything).await {
            Ok(said) => self.coordinator.layouts().announce(&[said]).map_err(Interrupted::from),
            Err(interrupted) => Err(interrupted),
        };
        self.workers().leave(self.worker, partition);
        match done {
            Ok(()) => {
                self.workers().step(self.worker);
                true
            }
            Err(interrupted) => {
                self.workers().failed(&self.coordinator.env, self.worker, &interrupted);
                tracing::debug!(?partition, %interrupted, "a sync begins anew");
                false
            }
        }
    }

    async fn try_sync<S: Scope>(&self, partition: Partition, scope: S) -> Result<S::Outcome, Interrupted> {
        let sync = self.syncing(partition, scope)?;
        sync.measure().await;
        if self.coordinator.replica.is_of_blocks(partition) {
            sync.blocks().await
        } else {
            // Nothing is forgotten where what was pulled before may still be copied.
            let _inflow = self.coordinator.replica.inflows.begin(partition);
            sync.rows().await
        }
    }

    /// A sync under the view of now.
    fn syncing<S: Scope>(&self, partition: Partition, scope: S) -> Result<Syncing<'_, S>, Interrupted> {
        let known = self.coordinator.layouts().now();
        let sources = Sources::of::<NodeRules>(&known.peer.knowledge, known.peer.me, partition, Standing::Whole);
        let place = self.coordinator.place_of(partition, Spread::Majorities);
        if place.view != sources.view() {
            return Err(Interrupted::ViewRose);
        }
        Ok(Syncing {
            coordinator: &self.coordinator,
            gatekeeper: &*self.gatekeeper,
            pace: &self.pace,
            moves: &self.moves,
            worker: self.worker,
            sources,
            place,
            scope,
        })
    }
}

impl<S: Scope> Syncing<'_, S> {
    /// Has this node's view risen since the sync began?
    fn check_view(&self) -> Result<(), Interrupted> {
        match self.coordinator.moved(&self.place) {
            Some(_) => Err(Interrupted::ViewRose),
            None => Ok(()),
        }
    }

    /// How much is here already? Only so can be said how much is missing.
    async fn measure(&self) {
        let (replica, place) = (&self.coordinator.replica, &self.place);
        let held = replica.repairs().held(place.partition);
        if held.is_none_or(|held| held.layout != place.view.hi) {
            // What keeps it from being counted keeps it from being synced.
            _ = replica
                .tree(Door::of_sync(place), self.coordinator.tombstones_since_us())
                .await;
        }
    }

    /// So much was copied.
    fn copied(&self, amount: Amount) {
        let (repairs, partition) = (self.coordinator.repairs(), self.place.partition);
        self.moves.add(amount);
        repairs.workers.copied(self.worker, partition, amount);
        repairs.note_copied(partition, amount);
    }

    fn step_limit(&self) -> Duration {
        Duration::from_millis(self.coordinator.limits.block_deadline_ms)
    }
}

/// The partitions that this node has to sync for the newest layout.
fn due(known: &Known) -> Vec<Partition> {
    let (me, Some(newest)) = (known.peer.me, known.peer.knowledge.newest()) else {
        return Vec::new();
    };
    if newest.version == LayoutVersion(1) {
        return Vec::new();
    }
    let mine = newest.partitions().filter(|partition| newest.holds(me, *partition));
    mine.filter(|partition| known.synced(*partition, me) < newest.version)
        .collect()
}
