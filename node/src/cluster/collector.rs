//! The collector of one node: gives the space of what is dead back.
//!
//! It walks, round after round and at a limited pace, over what this node has on disk, so that there is nothing to
//! remember. Three walks make a round:
//!
//! - *Parts.* A part's row whose upload is over, and is not what the object's row holds, becomes a tombstone.
//! - *References.* A reference whose version is dead is dropped here. Every node asks for its own references: nothing
//!   need be told to others, and a node that was away catches up by itself.
//! - *Marks.* The data of a block that had no reference for `collect_grace_ms` are deleted.
//!
//! What is dead is decided by [`Inquiry`] alone. All else here only chooses whom to ask about: nobody whose time to be
//! proposed is not over, and seldom one that this node's own row still names. A row that missed a deletion names it for
//! long, so some of those are asked about too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use trellis_spec::block::{Dead, Dropped, Finding, Inquiry, Names, UploadFate, proposed_until};
use trellis_spec::layout::Partition;
use trellis_spec::register::{Content, Fetch, OpId};
use trellis_spec::row::{Address, BlockReference, Part, Placement, Row, UploadId, VersionId, successor};
use trellis_spec::stamp::Stamp;
use trellis_spec::trace::{FateStep, Record};

use super::amount::Amount;
use super::coordinator::{Contention, Coordinator};
use super::keeper::{Deleted, Keeper, KeeperError};
use super::place::Target;
use super::standing::Standing;
use super::workers::Worker;
use crate::seeded::NodeRules;

/// Rows of one step of a walk.
const STEP_ROWS: usize = 256;
/// Findings that are remembered: the blocks of one object share theirs.
const FINDINGS_MAX: usize = 4096;
/// One in so many versions that this node's own row names is asked about all the same.
const DOUBT: u64 = 16;

/// Why a round ended early. The next one begins anew.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Keeper(#[from] KeeperError),
}

impl From<super::cells::CellsError> for RoundError {
    fn from(error: super::cells::CellsError) -> Self {
        RoundError::Keeper(error.into())
    }
}

/// What a round did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Collected {
    /// Rows of parts that became tombstones.
    pub parts: u64,
    /// References dropped.
    pub references: u64,
    /// Blocks deleted.
    pub blocks: u64,
}

impl From<Collected> for Amount {
    fn from(collected: Collected) -> Self {
        Amount {
            rows: collected.parts.saturating_add(collected.references),
            blocks: collected.blocks,
            bytes: 0,
        }
    }
}

/// What is known of a version, for the length of a round.
#[derive(Debug, Clone)]
enum Known {
    Dead(Dead),
    NotNow,
}

/// See the module.
pub struct Collector {
    coordinator: Arc<Coordinator>,
    known: BTreeMap<(Address, VersionId), Known>,
    collected: Collected,
}

impl Collector {
    /// The collector of the coordinator's node.
    pub fn new(coordinator: Arc<Coordinator>) -> Self {
        Collector {
            coordinator,
            known: BTreeMap::new(),
            collected: Collected::default(),
        }
    }

    /// Goes round after round for ever.
    pub async fn run(mut self) {
        loop {
            let pause = Duration::from_millis(self.coordinator.limits.collect_pause_ms);
            self.coordinator.env.clock.sleep(pause).await;
            let collected = self.round().await;
            if collected != Collected::default() {
                tracing::info!(?collected, "collected what is dead");
            }
        }
    }

    /// One round; what it did, also when it ended early.
    pub async fn round(&mut self) -> Collected {
        self.collected = Collected::default();
        self.known.clear();
        // Its idea of whose time is over would be wrong, and what it settles far from other stamps.
        let coordinator = self.coordinator.clone();
        let (workers, env) = (&coordinator.repairs().workers, &coordinator.env);
        let standing = coordinator.replica.standing();
        if standing.and_then(Standing::clock_differs_us).is_some() {
            workers.pause(env, Worker::Collector, "the clock of this node is wrong".to_owned());
            return self.collected;
        }
        workers.begin(env, Worker::Collector, 0);
        if let Err(error) = self.walk_all().await {
            tracing::warn!(%error, "a round of collection ended early");
            workers.failed(env, Worker::Collector, &error);
        }
        workers.did(Worker::Collector, self.collected.into());
        workers.end(env, Worker::Collector);
        self.collected
    }

    async fn walk_all(&mut self) -> Result<(), RoundError> {
        self.walk_parts().await?;
        self.walk_references().await?;
        self.walk_marks().await
    }

    async fn walk_references(&mut self) -> Result<(), RoundError> {
        let mut from = None;
        loop {
            let stretch = self.keeper().references().walk(from, STEP_ROWS)?;
            for (partition, reference) in stretch.found {
                self.consider(partition, reference).await?;
            }
            match stretch.next {
                Some(next) => from = Some(next),
                None => return Ok(()),
            }
            self.rest(1).await;
        }
    }

    async fn consider(&mut self, partition: Partition, reference: BlockReference) -> Result<(), RoundError> {
        let BlockReference {
            owner, version, until, ..
        } = &reference;
        if let Known::Dead(dead) = self.find(owner, *version, *until).await? {
            let dropped = self.keeper().drop_reference(partition, reference, dead).await?;
            self.collected.references += u64::from(dropped != Dropped::Kept);
        }
        Ok(())
    }

    /// What is to be known of a version now. Asks for it at most once in a round.
    async fn find(&mut self, owner: &Address, version: VersionId, until: u64) -> Result<Known, RoundError> {
        if !self.is_over(until) {
            return Ok(Known::NotNow);
        }
        if let Some(known) = self.known.get(&(owner.clone(), version)) {
            return Ok(known.clone());
        }
        let doubt = self.coordinator.env.random_u64().is_multiple_of(DOUBT);
        let known = if self.names_here(owner, version)? && !doubt {
            Known::NotNow
        } else {
            self.rest(1).await;
            match self.coordinator.inquire(owner, version, until).await {
                Finding::Dead(dead) => Known::Dead(dead),
                Finding::Alive(_) | Finding::Unreached => Known::NotNow,
            }
        };
        if self.known.len() >= FINDINGS_MAX {
            self.known.clear();
        }
        self.known.insert((owner.clone(), version), known.clone());
        Ok(known)
    }

    /// Does this node's own row name the version? That it does proves nothing, but is a reason to look elsewhere.
    fn names_here(&self, owner: &Address, version: VersionId) -> Result<bool, RoundError> {
        let partition = self.coordinator.place(&owner.placement).partition;
        let Some(shelf) = self.coordinator.replica.shelf(partition) else {
            return Ok(false);
        };
        let cell = self.coordinator.replica.cells().load(shelf, &owner.key, Fetch::Head)?;
        let live = cell
            .value
            .accepted
            .as_ref()
            .and_then(|accepted| accepted.content.live());
        Ok(live.is_some_and(|row| row.names(version)))
    }

    async fn walk_parts(&mut self) -> Result<(), RoundError> {
        let peer = &self.coordinator.layouts().now().peer;
        let (me, Some(layout)) = (peer.me, peer.knowledge.newest()) else {
            return Ok(());
        };
        for partition in layout.row_partitions().filter(|partition| layout.holds(me, *partition)) {
            self.walk_parts_of(partition).await?;
        }
        Ok(())
    }

    async fn walk_parts_of(&mut self, partition: Partition) -> Result<(), RoundError> {
        const PARTS: &[u8] = b"p";
        let replica = self.coordinator.replica.clone();
        let Some(shelf) = replica.shelf(partition) else {
            return Ok(());
        };
        let max_bytes = self.coordinator.limits.scan_max_bytes;
        let end = successor(PARTS).expect("a table's letter is below 0xff");
        let mut from = PARTS.to_vec();
        loop {
            let range = replica
                .cells()
                .scan(shelf, &from, Some(&end), STEP_ROWS, max_bytes)?
                .value;
            for (key, cell) in range.cells {
                if let Some(Row::Part(part)) = cell.accepted.and_then(|accepted| accepted.content.live().cloned()) {
                    self.consider_part(key, &part).await?;
                }
            }
            match range.bound {
                Some(bound) => from = bound,
                None => return Ok(()),
            }
            self.rest(1).await;
        }
    }

    /// A part is dead with its upload. Its row becomes a tombstone, and its blocks follow in the walk over references.
    async fn consider_part(&mut self, key: Vec<u8>, part: &Part) -> Result<(), RoundError> {
        let Some((object, upload)) = part.upload.uploaded_object() else {
            return Ok(());
        };
        let version = VersionId(upload.0);
        if !self.known.contains_key(&(object.clone(), version)) {
            let known = match self.upload_is_over(&part.upload).await {
                Some(until) => self.find(&object, version, until).await?,
                None => Known::NotNow,
            };
            self.known.insert((object.clone(), version), known);
        }
        if let Some(Known::Dead(_)) = self.known.get(&(object, version)) {
            self.rest(1).await;
            self.bury_part(upload, key).await;
        }
        Ok(())
    }

    /// Until when the upload's object may have been proposed, if nobody proposes it any more.
    async fn upload_is_over(&self, upload: &Address) -> Option<u64> {
        self.rest(1).await;
        let found = self.coordinator.read(&target(upload.clone()), Fetch::Head).await.ok()?;
        let Some(Row::Upload(row)) = found.into_live() else {
            return None;
        };
        let fate = proposed_until::<NodeRules>(&row);
        let recorder = self.coordinator.replica.recorder();
        if let Some(recorder) = recorder.filter(|recorder| recorder.wants(&upload.key)) {
            recorder.record(&Record::Fate(FateStep {
                key: upload.key.clone(),
                upload: row.clone(),
                fate,
            }));
        }
        match fate {
            UploadFate::UpToObject(until) => Some(until),
            UploadFate::Kept => None,
        }
    }

    async fn bury_part(&mut self, upload: UploadId, key: Vec<u8>) {
        let placement = Placement::Upload(upload);
        let part = target(Address { placement, key });
        let op = OpId(self.coordinator.env.random_id());
        let written = self.coordinator.write(&part, op, Content::Tombstone, u64::MAX).await;
        self.collected.parts += u64::from(written.is_ok());
    }

    async fn walk_marks(&mut self) -> Result<(), RoundError> {
        let grace_us = self.coordinator.limits.collect_grace_ms.saturating_mul(1000);
        let mut from = None;
        loop {
            let stretch = self.keeper().references().walk_marks(from, STEP_ROWS)?;
            for marked in stretch.found {
                if self.is_over(marked.mark.since_us.saturating_add(grace_us)) {
                    self.rest(1).await;
                    let deleted = self.keeper().delete(marked, grace_us).await?;
                    self.collected.blocks += u64::from(deleted == Deleted::Done);
                }
            }
            match stretch.next {
                Some(next) => from = Some(next),
                None => return Ok(()),
            }
            self.rest(1).await;
        }
    }

    fn is_over(&self, until_us: u64) -> bool {
        self.coordinator.is_over(until_us)
    }

    async fn rest(&self, steps: u64) {
        self.coordinator.rest(steps).await;
    }

    fn keeper(&self) -> Keeper {
        self.coordinator.replica.keeper().clone()
    }
}

impl Coordinator {
    /// Is this time past by every clock that may take part?
    fn is_over(&self, until_us: u64) -> bool {
        let skew_us = self.limits.clock_skew_max_ms.saturating_mul(1000);
        self.env.clock.wall_us() > until_us.saturating_add(skew_us)
    }

    /// Is it known that nothing needs this reference?
    pub(super) async fn is_dead(&self, reference: &BlockReference) -> bool {
        let BlockReference {
            owner, version, until, ..
        } = reference;
        self.is_over(*until) && matches!(self.inquire(owner, *version, *until).await, Finding::Dead(_))
    }

    /// Is a version dead, that is named by the row `owner` and was to be proposed until `until_us`?
    pub(crate) async fn inquire(&self, owner: &Address, version: VersionId, until_us: u64) -> Finding<Row> {
        let place = self.place(&owner.placement);
        let mut inquiry: Inquiry<Row, NodeRules> = Inquiry::new(place.sets.clone(), owner.clone(), version, until_us);
        let target = target(owner.clone());
        self.run(&target, place, &mut inquiry, Stamp::ZERO, Contention::Expected)
            .await
            .outcome
    }
}

/// A row with the gate that it must pass where it is in a bucket's index.
pub(super) fn target(address: Address) -> Target {
    let gate = match address.placement {
        Placement::Index(bucket, shard) => Some(Address::gate(bucket, shard).key),
        Placement::System | Placement::Upload(_) | Placement::Manifest(_) | Placement::Block(_) => None,
    };
    Target { address, gate }
}
