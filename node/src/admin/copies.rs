//! The truthful signal for operators: `trellis_node::cluster::Redundancy` with names and times.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use trellis_spec::layout::{Layout, Partition};
use trellis_spec::quorum::NodeId;

use super::observer::Observer;
use crate::cluster::{Below, Evidence, Lack, Missing, Redundancy, Why};
use crate::folder::NodeName;

/// Is everything that was acknowledged at full redundancy, and if not, what is missing, and why?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopiesStatus {
    /// In a word.
    pub state: CopiesState,
    /// Everything acknowledged before this moment was seen at every replica that is to hold it: milliseconds since the
    /// Unix epoch, and seconds ago; nothing while something is missing.
    pub full_until_ms: Option<u64>,
    /// See `full_until_ms`.
    pub full_until_seconds_ago: Option<u64>,
    /// All partitions, those of rows and those of blocks.
    pub partitions: u64,
    /// Those with fewer replicas that are known to be whole than there should be.
    pub partitions_below: u64,
    /// By how many replicas the worst of them is short.
    pub worst_missing: u64,
    /// How much is missing of all.
    pub missing: Missing,
    /// How much longer, at the rate so far; nothing where that cannot be said, or nothing is missing.
    pub seconds_left: Option<u64>,
    /// What is missing, by node and reason.
    pub lacks: Vec<LackStatus>,
    /// What is missing, by partition.
    pub below: Vec<PartitionCopies>,
    /// What every node said of its own copies.
    pub nodes: Vec<NodeCopies>,
}

/// In a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CopiesState {
    /// Everything was seen everywhere.
    Full,
    /// Something is missing, or not known to be there.
    Lacking,
}

/// Something that is missing at one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LackStatus {
    /// The node.
    pub id: String,
    /// In how many partitions.
    pub partitions: u64,
    /// Why.
    pub why: Why,
    /// How much.
    pub missing: Missing,
    /// How much longer; nothing where that cannot be said.
    pub seconds_left: Option<u64>,
    /// Nodes that it cannot reach, if that is why.
    pub cannot_reach: Vec<String>,
}

/// A partition with fewer replicas that are known to be whole than there should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionCopies {
    /// Its number.
    pub partition: u16,
    /// What is in it.
    pub holds: Holds,
    /// The replicas that do not count.
    pub replicas: Vec<ReplicaCopies>,
}

/// What is in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holds {
    /// Rows.
    Rows,
    /// Blocks.
    Blocks,
}

/// A replica of a partition that does not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaCopies {
    /// The node.
    pub id: String,
    /// Why.
    pub why: Why,
    /// How much is missing.
    pub missing: Missing,
}

/// What a node says of its own copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCopies {
    /// The node.
    pub id: String,
    /// What it has seen.
    pub evidence: Evidence,
}

/// Asks all nodes.
pub async fn status(observer: &Observer, now_ms: u64) -> CopiesStatus {
    let coordinator = observer.coordinator();
    let redundancy = coordinator.redundancy().await;
    let known = coordinator.layouts().now();
    let members = known.peer.knowledge.newest_first().flat_map(|layout| &layout.members);
    let names: BTreeMap<NodeId, String> = members
        .map(|member| (member.id, NodeName::of(member).to_string()))
        .collect();
    let rows = known
        .peer
        .knowledge
        .newest()
        .into_iter()
        .flat_map(Layout::row_partitions);
    shown(redundancy, &names, &rows.collect(), now_ms)
}

fn shown(
    redundancy: Redundancy,
    names: &BTreeMap<NodeId, String>,
    rows: &BTreeSet<Partition>,
    now_ms: u64,
) -> CopiesStatus {
    let name = |node: &NodeId| names.get(node).cloned().unwrap_or_else(|| format!("{:016x}", node.0));
    let full_until_ms = redundancy.full_until_us.map(|us| us / 1000);
    let lack = |lack: &Lack| LackStatus {
        id: name(&lack.node),
        partitions: lack.partitions,
        why: lack.why,
        missing: lack.missing,
        seconds_left: lack.left_s,
        cannot_reach: match (lack.why, redundancy.nodes.get(&lack.node)) {
            (Why::Outdated, Some(evidence)) => evidence.away.iter().map(name).collect(),
            (Why::Away | Why::Behind | Why::Syncing | Why::Comparing | Why::Outdated, _) => Vec::new(),
        },
    };
    let replica = |(node, why, missing): &(NodeId, Why, Missing)| ReplicaCopies {
        id: name(node),
        why: *why,
        missing: *missing,
    };
    let below = |below: &Below| PartitionCopies {
        partition: below.partition.0,
        holds: match rows.contains(&below.partition) {
            true => Holds::Rows,
            false => Holds::Blocks,
        },
        replicas: below.replicas.iter().map(replica).collect(),
    };
    CopiesStatus {
        state: match redundancy.lacks.is_empty() {
            true => CopiesState::Full,
            false => CopiesState::Lacking,
        },
        full_until_ms,
        full_until_seconds_ago: full_until_ms.map(|until_ms| now_ms.saturating_sub(until_ms) / 1000),
        partitions: redundancy.partitions,
        partitions_below: redundancy.below.len() as u64,
        worst_missing: redundancy.worst_missing,
        missing: redundancy.missing(),
        seconds_left: redundancy.left_s().filter(|_| !redundancy.lacks.is_empty()),
        lacks: redundancy.lacks.iter().map(lack).collect(),
        below: redundancy.below.iter().map(below).collect(),
        nodes: redundancy
            .nodes
            .into_iter()
            .map(|(node, evidence)| NodeCopies {
                id: name(&node),
                evidence,
            })
            .collect(),
    }
}
