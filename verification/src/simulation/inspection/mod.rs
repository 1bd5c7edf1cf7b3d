//! The disks of all nodes, held against what clients were told: the invariants that the model checks in every state
//! (`model/src/invariant.rs`), looked at again and again while layouts follow each other.
//!
//! Short histories do not show a copy that is missing: nobody may happen to read where it should be. And the node mends
//! it as soon as it compares its copies. So whoever runs the whole cluster looks behind its back, at what is durable:
//!
//! - what was acknowledged, or something newer, is on a majority of the oldest layout that no node knows to be retired;
//! - who said that it is synced for a layout holds whatever was acknowledged before anybody knew that layout;
//! - when a node dropped a row, every replica of the newest layout that it knows holds it;
//! - blocks of what is acknowledged and current are, with their references, where rows would have to be;
//! - when a node says that everything is at full redundancy, it is, and it has heard so from every node.
//!
//! What a sound node does is not to look wrong here: where a look cannot know enough, it is content. A node that is down may
//! have dropped rows for reasons that nobody else has heard of yet. That something was deleted is not held against disks. A
//! look takes no time, draws nothing, and changes nothing.

mod disks;

use std::cell::Cell as Flag;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use trellis_node::cluster::{Known, Redundancy};
use trellis_spec::layout::{Layout, LayoutVersion, Partition};
use trellis_spec::quorum::{NodeId, majority};
use trellis_spec::register::Cell;
use trellis_spec::row::{Address, Block, BucketId, Placement, Row, RowKey, VersionId};
use trellis_spec::stamp::Stamp;

use super::World;
use super::ledger::Acknowledged;
use super::setup::Weather;
use crate::history::{Action, Outcome};
use crate::stored::blocks_of;
use disks::{cell, cells, floor, has_data, keeps, known, nodes_of, shown, stamp, tag_of, version_of};

/// How often is looked whether anything has changed,
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// and after how many such looks everything is looked at all the same: rows are dropped in silence.
const LOOKS_WITHOUT_CHANGE: u32 = 8;
/// How often a node is asked how whole all copies are, about.
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(600);
/// Where one thing is missing, so is another.
const COMPLAINTS_MAX: usize = 3;

/// What is remembered from look to look: facts that stay true, whoever forgets them.
#[derive(Default)]
pub(crate) struct Inspection {
    /// What the node knows or knew that knew the newest layout.
    newest: Option<Arc<Known>>,
    /// The oldest layouts that some node has seen retired all before.
    oldest: BTreeMap<Partition, LayoutVersion>,
    /// For which layouts nodes said that they are synced.
    synced: BTreeMap<(Partition, NodeId), LayoutVersion>,
    /// Who held which row, since entering at which layout, and the newest that it knew when that was seen last.
    held: BTreeMap<(RowKey, usize, LayoutVersion), LayoutVersion>,
    changes: u64,
    idle_looks: u32,
    complaints: usize,
}

/// The current content of a row, if it was acknowledged and is cut into blocks.
struct Current<'a> {
    told: &'a Acknowledged,
    version: VersionId,
    blocks: Vec<Block>,
}

/// The row of an object in the bucket that nobody deletes, and its partition.
fn row_of(world: &World, name: &str) -> Option<RowKey> {
    let bucket = world.journal.lasting()?;
    let key = name.strip_prefix(&super::session::scope(&bucket))?;
    Some(Address::object(BucketId(bucket.id.0), 1, key.as_bytes()).key)
}

/// The partition of all rows of that bucket.
pub(crate) fn partition_of(world: &World, layout: &Layout) -> Option<Partition> {
    let bucket = world.journal.lasting()?;
    Some(Placement::Index(BucketId(bucket.id.0), 0).partition(layout))
}

/// Writes down what a client was told of: it must be there from then on. Only of storms is kept account.
pub(crate) fn acknowledge(world: &World, action: &Action, outcome: &Outcome) {
    let told = match (action, outcome) {
        (Action::Put { key, value, .. }, Outcome::Done) | (Action::Get { key, .. }, Outcome::Found { value }) => {
            Some((key, value))
        }
        (Action::Put { .. } | Action::Get { .. } | Action::Delete { .. } | Action::List { .. }, _) => None,
    };
    if let Some((key, value)) = told.filter(|_| world.shape.weather == Weather::Storm) {
        note(world, key, value);
    }
}

fn note(world: &World, name: &str, tag: &str) {
    let Some(row) = row_of(world, name) else { return };
    let known: Vec<Arc<Known>> = (0..world.cluster.len()).filter_map(|at| known(world, at)).collect();
    let Some(newest) = known.iter().max_by_key(|known| known.newest()) else {
        return;
    };
    let Some(partition) = newest
        .peer
        .knowledge
        .newest()
        .and_then(|layout| partition_of(world, layout))
    else {
        return;
    };
    let cells = cells(world, newest, partition, &row);
    for cell in &cells {
        if let Some(tag) = tag_of(cell) {
            world.ledger.lowest(&row, tag, stamp(cell));
        }
    }
    let alike: Vec<&Cell<Row>> = cells.iter().filter(|cell| tag_of(cell) == Some(tag)).collect();
    let versions: BTreeSet<VersionId> = alike.iter().filter_map(|cell| version_of(cell)).collect();
    // Where it is on no disk any more, something newer has taken its place.
    if let Some(stamp) = alike.iter().map(|cell| stamp(cell)).min() {
        let stamp = world.ledger.lowest(&row, tag, stamp);
        let told = Acknowledged {
            tag: tag.to_owned(),
            version: versions.first().copied().filter(|_| versions.len() == 1),
            stamp,
            under: newest.newest(),
            at_us: world.cluster.right_us(),
        };
        world.ledger.note(row, told);
    }
}

/// Looks again and again, until the flag is set.
pub(crate) async fn go_on(world: &World, is_over: &Flag<bool>) {
    let mut inspection = Inspection::default();
    while !is_over.get() && inspection.complaints < COMPLAINTS_MAX {
        world.dice.wait(BETWEEN_LOOKS).await;
        inspection.glance(world);
    }
}

/// Asks nodes again and again how whole all copies are, until the flag is set.
pub(crate) async fn question(world: &World, is_over: &Flag<bool>) {
    let mut at = 0;
    while !is_over.get() {
        world.dice.wait(BETWEEN_QUESTIONS).await;
        at = (at + 1) % world.cluster.len();
        if let Some(said) = world.cluster.redundancy(at).await {
            let is_full = said.full_until_us.is_some();
            world.tally.count(if is_full {
                "a node said in a storm that everything is whole"
            } else {
                "a node said that something is missing"
            });
            believe(world, at, &said);
        }
    }
}

/// Holds what a node said of redundancy against the disks.
pub(crate) fn believe(world: &World, at: usize, said: &Redundancy) {
    let mut inspection = Inspection::default();
    inspection.learn(world);
    let (Some(until_us), Some(newest)) = (said.full_until_us, inspection.newest.clone()) else {
        return;
    };
    // Whoever knows a newer layout may have dropped what this one wants.
    let Some(layout) = newest
        .peer
        .knowledge
        .newest()
        .filter(|layout| layout.version == said.layout)
    else {
        return;
    };
    let has_role = |node: &NodeId| layout.partitions().any(|partition| layout.holds(*node, partition));
    let mut roles = layout.members.iter().map(|member| member.id).filter(has_role);
    let silent = roles.find(|node| !said.nodes.contains_key(node));
    if let Some(silent) = silent.and_then(|node| world.cluster.at(node)) {
        inspection.complain(
            world,
            &format!("node {at} says that everything is whole, and has not heard from node {silent}"),
        );
    }
    inspection.find_missing(
        world,
        layout,
        until_us,
        &format!("node {at} says that everything is whole"),
    );
}

impl Inspection {
    /// Looks at everything as it is now.
    pub(crate) fn see(&mut self, world: &World) {
        self.learn(world);
        self.look(world);
    }

    /// Looks, if there may be anything new to see.
    fn glance(&mut self, world: &World) {
        let before = (self.oldest.clone(), self.synced.clone(), self.changes);
        self.learn(world);
        self.changes = world.ledger.changes();
        let is_new = (&before.0, &before.1, before.2) != (&self.oldest, &self.synced, self.changes);
        self.idle_looks = if is_new { 0 } else { self.idle_looks + 1 };
        if self.idle_looks.is_multiple_of(LOOKS_WITHOUT_CHANGE) {
            self.look(world);
        }
    }

    /// Takes in what nodes know now.
    fn learn(&mut self, world: &World) {
        for at in 0..world.cluster.len() {
            let Some(known) = known(world, at) else { continue };
            if self
                .newest
                .as_ref()
                .is_none_or(|newest| newest.newest() < known.newest())
            {
                self.newest = Some(known.clone());
            }
            let Some(layout) = known.peer.knowledge.newest() else {
                continue;
            };
            for partition in layout.partitions() {
                let oldest = self.oldest.entry(partition).or_default();
                *oldest = (*oldest).max(known.peer.knowledge.view(partition).lo);
                let synced = self.synced.entry((partition, known.peer.me)).or_default();
                *synced = (*synced).max(known.synced(partition, known.peer.me));
            }
        }
    }

    /// Looks at everything.
    fn look(&mut self, world: &World) {
        let Some(newest) = self.newest.clone() else { return };
        let Some(layout) = newest.peer.knowledge.newest() else {
            return;
        };
        let Some(partition) = partition_of(world, layout) else {
            return;
        };
        for (row, told) in world.ledger.rows() {
            self.look_at_majority(world, partition, &row, &told);
            self.look_at_synced(world, partition, &row, &told);
            self.look_at_dropped(world, partition, &row, &told);
            if let Some(current) = self.current(world, partition, &row, &told) {
                self.look_at_blocks(world, layout, &current);
            }
        }
    }

    /// The oldest active layout, as the best informed know it.
    fn oldest(&self, partition: Partition) -> Option<&Layout> {
        let oldest = self.oldest.get(&partition)?;
        self.newest.as_ref()?.peer.knowledge.layout(*oldest)
    }

    fn look_at_majority(&mut self, world: &World, partition: Partition, row: &RowKey, told: &[Acknowledged]) {
        let (Some(last), Some(oldest)) = (told.last(), self.oldest(partition)) else {
            return;
        };
        let version = oldest.version;
        let replicas = nodes_of(world, oldest, partition);
        let holders = replicas
            .iter()
            .filter(|at| self.holds(world, **at, partition, version, row, last.stamp));
        let count = holders.count();
        if count < majority(replicas.len()) {
            self.complain(
                world,
                &format!(
                    "{last:?} of {} is at {count} of {replicas:?}, the replicas of layout {}, the oldest active one",
                    shown(row),
                    version.0
                ),
            );
        }
    }

    fn look_at_synced(&mut self, world: &World, partition: Partition, row: &RowKey, told: &[Acknowledged]) {
        for (at, version) in self.synced_nodes(world, partition) {
            let before = told.iter().rev().find(|told| told.under < version);
            if let Some(told) = before
                && !self.holds(world, at, partition, version, row, told.stamp)
            {
                self.complain(
                    world,
                    &format!(
                        "node {at} says that it is synced for layout {}, and lacks {told:?} of {}",
                        version.0,
                        shown(row)
                    ),
                );
            }
        }
    }

    /// Who said so, and has had the partition ever since.
    fn synced_nodes(&self, world: &World, partition: Partition) -> Vec<(usize, LayoutVersion)> {
        let newest = self.newest.as_ref().and_then(|known| known.peer.knowledge.newest());
        let Some(newest) = newest else { return Vec::new() };
        let synced = self
            .synced
            .range((partition, NodeId(0))..=(partition, NodeId(u64::MAX)));
        let stayed = synced.filter(|((_, node), version)| {
            newest.holds(*node, partition)
                && self.entered(*node, partition, newest.version) == self.entered(*node, partition, **version)
        });
        stayed
            .filter_map(|((_, node), version)| Some((world.cluster.at(*node)?, *version)))
            .collect()
    }

    fn look_at_dropped(&mut self, world: &World, partition: Partition, row: &RowKey, told: &[Acknowledged]) {
        for at in 0..world.cluster.len() {
            let Some(known) = known(world, at) else { continue };
            let Some(entered) = known.peer.knowledge.entered(known.peer.me, partition) else {
                continue;
            };
            let holder = (row.clone(), at, entered);
            if cell(world, at, partition, entered, row).is_some() {
                self.held.insert(holder, known.newest());
                continue;
            }
            // Whoever heard of a layout meanwhile may have dropped it before, because of an older one.
            if let Some(seen) = self.held.remove(&holder) {
                world.tally.count("a row was dropped by who had left");
                if seen == known.newest() {
                    self.look_for_what_was_dropped(world, at, &known, partition, row, told);
                }
            }
        }
    }

    fn look_for_what_was_dropped(
        &mut self,
        world: &World,
        at: usize,
        known: &Known,
        partition: Partition,
        row: &RowKey,
        told: &[Acknowledged],
    ) {
        let Some(layout) = known.peer.knowledge.newest() else {
            return;
        };
        let Some(told) = told.iter().rev().find(|told| told.under < layout.version) else {
            return;
        };
        let newest = self.newest.as_ref().map_or(layout.version, |known| known.newest());
        for owner in nodes_of(world, layout, partition) {
            let node = world.cluster.id(owner);
            let stayed = self.entered(node, partition, newest) == self.entered(node, partition, layout.version);
            if stayed && !self.holds(world, owner, partition, layout.version, row, told.stamp) {
                self.complain(
                    world,
                    &format!(
                        "node {at} dropped {}, and node {owner}, a replica of layout {}, lacks {told:?}",
                        shown(row),
                        layout.version.0
                    ),
                );
            }
        }
    }

    /// The newest content of a row on any disk, if a client was told of it.
    fn current<'a>(
        &self,
        world: &World,
        partition: Partition,
        row: &RowKey,
        told: &'a [Acknowledged],
    ) -> Option<Current<'a>> {
        let cells = cells(world, self.newest.as_ref()?, partition, row);
        let newest = cells.into_iter().max_by_key(stamp)?;
        let version = version_of(&newest)?;
        let told = told.iter().find(|told| told.version == Some(version))?;
        let blocks = blocks_of(&newest);
        Some(Current { told, version, blocks })
    }

    fn look_at_blocks(&mut self, world: &World, newest: &Layout, current: &Current<'_>) {
        for block in &current.blocks {
            let partition = newest.block_partition_of(&block.name.0);
            let Some(oldest) = self.oldest(partition) else { continue };
            let (version, replicas) = (oldest.version, nodes_of(world, oldest, partition));
            let holders = replicas.iter().filter(|at| {
                let is_down = !world.cluster.is_up(**at);
                is_down || keeps(world, **at, partition, block, current.version)
            });
            let count = holders.count();
            if count < majority(replicas.len()) {
                self.complain(
                    world,
                    &format!(
                        "block {} of {:?} is, with its reference, at {count} of {replicas:?}, the replicas of layout {}, the \
                         oldest active one",
                        block.name, current.told, version.0
                    ),
                );
            }
            for (at, version) in self.synced_nodes(world, partition) {
                let is_due = current.told.under < version && world.cluster.is_up(at);
                if is_due && !has_data(world, at, block) {
                    self.complain(
                        world,
                        &format!(
                            "node {at} says that it is synced for layout {}, and lacks block {} of {:?}",
                            version.0, block.name, current.told
                        ),
                    );
                }
            }
        }
    }

    /// Everything that was acknowledged until then is at every replica of a layout.
    fn find_missing(&mut self, world: &World, layout: &Layout, until_us: u64, who: &str) {
        let Some(partition) = partition_of(world, layout) else {
            return;
        };
        for (row, told) in world.ledger.rows() {
            let Some(told) = told.iter().rev().find(|told| told.at_us < until_us) else {
                continue;
            };
            for at in nodes_of(world, layout, partition) {
                if !self.holds(world, at, partition, layout.version, &row, told.stamp) {
                    self.complain(
                        world,
                        &format!("{who}, and node {at} lacks {told:?} of {}", shown(&row)),
                    );
                }
            }
            let current = self.current(world, partition, &row, std::slice::from_ref(told));
            for block in current.iter().flat_map(|current| &current.blocks) {
                for at in nodes_of(world, layout, layout.block_partition_of(&block.name.0)) {
                    if !has_data(world, at, block) {
                        self.complain(
                            world,
                            &format!("{who}, and node {at} lacks block {} of {told:?}", block.name),
                        );
                    }
                }
            }
        }
    }

    /// Since which layout a node that this one names has had the partition without a break.
    fn entered(&self, node: NodeId, partition: Partition, version: LayoutVersion) -> Option<LayoutVersion> {
        let knowledge = &self.newest.as_ref()?.peer.knowledge;
        let run = knowledge
            .newest_first()
            .skip_while(|layout| layout.version > version)
            .take_while(|layout| layout.holds(node, partition));
        run.last().map(|layout| layout.version)
    }

    /// Has a replica of a layout this value on its disk, or a newer one, or forgotten that something newer was deleted?
    fn holds(
        &self,
        world: &World,
        at: usize,
        partition: Partition,
        version: LayoutVersion,
        row: &RowKey,
        least: Stamp,
    ) -> bool {
        let Some(entered) = self.entered(world.cluster.id(at), partition, version) else {
            return false;
        };
        match cell(world, at, partition, entered, row).filter(|cell| cell.accepted.is_some()) {
            Some(cell) => stamp(&cell) >= least,
            None => !world.cluster.is_up(at) || floor(world, at, partition, entered) >= least,
        }
    }

    fn complain(&mut self, world: &World, what: &str) {
        self.complaints += 1;
        if self.complaints <= COMPLAINTS_MAX {
            world.journal.complain(what.to_owned());
        }
    }
}
