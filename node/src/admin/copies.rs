//! The truthful signal for operators: `trellis_node::cluster::Redundancy` with names and times.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trellis_spec::quorum::NodeId;

use super::observer::Observer;
use crate::cluster::{Evidence, Lack, Redundancy, Why};
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
    /// What is missing.
    pub lacks: Vec<LackStatus>,
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
    shown(redundancy, &names, now_ms)
}

fn shown(redundancy: Redundancy, names: &BTreeMap<NodeId, String>, now_ms: u64) -> CopiesStatus {
    let name = |node: NodeId| names.get(&node).cloned().unwrap_or_else(|| format!("{:016x}", node.0));
    let full_until_ms = redundancy.full_until_us.map(|us| us / 1000);
    let lack = |Lack { node, partitions, why }| LackStatus {
        id: name(node),
        partitions,
        why,
    };
    CopiesStatus {
        state: match redundancy.lacks.is_empty() {
            true => CopiesState::Full,
            false => CopiesState::Lacking,
        },
        full_until_ms,
        full_until_seconds_ago: full_until_ms.map(|until_ms| now_ms.saturating_sub(until_ms) / 1000),
        partitions: redundancy.partitions,
        partitions_below: redundancy.partitions_below,
        worst_missing: redundancy.worst_missing,
        lacks: redundancy.lacks.into_iter().map(lack).collect(),
        nodes: redundancy
            .nodes
            .into_iter()
            .map(|(node, evidence)| NodeCopies {
                id: name(node),
                evidence,
            })
            .collect(),
    }
}
