//! What a placement would change, for people to look at before they decide.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::demand::{Offer, Past};
use super::{Demand, Placement};
use crate::layout::table::Partition;
use crate::quorum::NodeId;

/// The difference between what is and what would be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Plan {
    /// How large partitions may grow now; 0 if there are none yet.
    pub partition_bytes_before: u64,
    /// How large they may grow then. A node fills up to this times the replicas that it holds.
    pub partition_bytes_after: u64,
    /// Bytes that fit in the cluster now, each counted once; 0 if there is none yet.
    pub usable_bytes_before: u64,
    /// Bytes that will fit.
    pub usable_bytes_after: u64,
    /// Replicas that must be copied to a node that has none.
    pub moves: u64,
    /// What that makes if every partition is as large as it may be now.
    pub bytes_to_move_at_most: u64,
    /// Partitions that are left as they were.
    pub left: BTreeSet<Partition>,
    /// What changes for every node of before or after.
    pub nodes: BTreeMap<NodeId, NodeChange>,
    /// What changes for every zone of before or after: the sum over its nodes.
    pub zones: BTreeMap<String, Change>,
}

/// What changes for a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeChange {
    /// Its zone: the new one, if it changes.
    pub zone: String,
    /// How much.
    pub change: Change,
}

/// Counts of replicas, and room for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Change {
    /// Bytes offered after the change; 0 for a gateway, and for what is gone.
    pub capacity_bytes: u64,
    /// Replicas held now.
    pub before: u64,
    /// Replicas held after.
    pub after: u64,
    /// Replicas that come.
    pub gains: u64,
    /// Replicas that go.
    pub loses: u64,
}

impl Plan {
    /// What changes when `placement` answers `demand`, after a past with these nodes.
    pub fn new(offers_before: &[Offer], past: &Past, demand: &Demand, placement: &Placement) -> Self {
        let mut nodes: BTreeMap<NodeId, NodeChange> = BTreeMap::new();
        for (offer, capacity_bytes) in gone(offers_before).chain(offered(&demand.nodes)) {
            let node = nodes.entry(offer.node).or_default();
            node.zone.clone_from(&offer.zone);
            node.change.capacity_bytes = capacity_bytes;
        }
        let (previous, replicas) = (&past.previous, &placement.replicas);
        count(&mut nodes, pairs(previous), |change| change.before += 1);
        count(&mut nodes, pairs(replicas), |change| change.after += 1);
        count(&mut nodes, &pairs(replicas) - &pairs(previous), |change| {
            change.gains += 1
        });
        count(&mut nodes, &pairs(previous) - &pairs(replicas), |change| {
            change.loses += 1
        });
        let moves = nodes.values().map(|node| node.change.gains).sum();
        let size_before = largest_size(offers_before, previous);
        Plan {
            partition_bytes_before: size_before,
            partition_bytes_after: placement.proof.partition_bytes,
            usable_bytes_before: size_before.saturating_mul(previous.len() as u64),
            usable_bytes_after: placement.usable_bytes(),
            moves,
            bytes_to_move_at_most: size_before.saturating_mul(moves),
            left: placement.proof.left.clone(),
            zones: by_zone(&nodes),
            nodes,
        }
    }
}

/// How large partitions may grow on these nodes, placed like this; 0 if nothing is placed.
fn largest_size(offers: &[Offer], replicas: &[Vec<NodeId>]) -> u64 {
    let capacity: BTreeMap<NodeId, u64> = offered(offers).map(|(offer, bytes)| (offer.node, bytes)).collect();
    let mut load: BTreeMap<NodeId, u64> = BTreeMap::new();
    replicas
        .iter()
        .flatten()
        .for_each(|node| *load.entry(*node).or_default() += 1);
    let size = |(node, load): (&NodeId, &u64)| capacity.get(node).map_or(0, |bytes| bytes / load);
    load.iter().map(size).min().unwrap_or(0)
}

fn offered(offers: &[Offer]) -> impl Iterator<Item = (&Offer, u64)> {
    offers.iter().map(|offer| (offer, offer.role.capacity_bytes()))
}

fn gone(offers: &[Offer]) -> impl Iterator<Item = (&Offer, u64)> {
    offers.iter().map(|offer| (offer, 0))
}

fn pairs(replicas: &[Vec<NodeId>]) -> BTreeSet<(usize, NodeId)> {
    let partitions = replicas.iter().enumerate();
    partitions
        .flat_map(|(partition, nodes)| nodes.iter().map(move |node| (partition, *node)))
        .collect()
}

fn count(nodes: &mut BTreeMap<NodeId, NodeChange>, pairs: BTreeSet<(usize, NodeId)>, change: impl Fn(&mut Change)) {
    for (_, node) in pairs {
        change(&mut nodes.entry(node).or_default().change);
    }
}

fn by_zone(nodes: &BTreeMap<NodeId, NodeChange>) -> BTreeMap<String, Change> {
    let mut zones: BTreeMap<String, Change> = BTreeMap::new();
    for NodeChange { zone, change } in nodes.values() {
        let sum = zones.entry(zone.clone()).or_default();
        sum.capacity_bytes = sum.capacity_bytes.saturating_add(change.capacity_bytes);
        sum.before += change.before;
        sum.after += change.after;
        sum.gains += change.gains;
        sum.loses += change.loses;
    }
    zones
}
