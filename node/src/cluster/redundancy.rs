//! The truthful signal: is everything that was acknowledged at full redundancy, and if not, what is missing, and why?
//!
//! Every replica answers for its own copies, with what it saw when it compared them (`repair.rs`). Who does not answer is
//! not counted on. An empty queue is no evidence, and there is none.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use trellis_spec::layout::{LayoutVersion, Partition};
use trellis_spec::quorum::NodeId;

use super::coordinator::Coordinator;
use super::layouts::Known;
use super::repair::Evidence;
use super::tidings::{Question, Told};
use crate::seeded::{Slip, slips};

/// How long nodes have to say how whole their copies are.
const PATIENCE: Duration = Duration::from_secs(2);

/// How it is about everything that was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redundancy {
    /// Everything acknowledged before this moment (microseconds since the Unix epoch, by the clocks of the replicas) was
    /// seen at every replica that should hold it; nothing while something is missing.
    pub full_until_us: Option<u64>,
    /// What is missing or not known to be there; empty if nothing is.
    pub lacks: Vec<Lack>,
    /// Partitions with fewer replicas that are known to be whole than there should be.
    pub partitions_below: u64,
    /// All partitions.
    pub partitions: u64,
    /// By how many whole replicas the worst partition is short.
    pub worst_missing: u64,
    /// What each node said.
    pub nodes: BTreeMap<NodeId, Evidence>,
}

/// Something that is missing, at one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lack {
    /// Where.
    pub node: NodeId,
    /// In how many partitions.
    pub partitions: u64,
    /// Why.
    pub why: Why,
}

/// Why a node's copies do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It does not answer.
    Away,
    /// It does not know the newest layout yet.
    Behind,
    /// It is still copying what a newer layout gave it.
    Syncing,
    /// It has not compared its copies since it started, or found a difference and is copying what is missing.
    Comparing,
}

impl Coordinator {
    /// Asks every replica how whole its copies are.
    pub async fn redundancy(&self) -> Redundancy {
        let known = self.layouts().now();
        let members = known.peer.knowledge.newest().map(|newest| newest.members.clone());
        let asked = members.into_iter().flatten().map(|member| async move {
            let told = self.calls.ask_about_layouts(member.id, &Question::Evidence);
            match self.env.timeout(PATIENCE, told).await {
                Ok(Some(Told::Evidence(evidence))) => Some((member.id, evidence)),
                Ok(Some(Told::Tidings(_) | Told::Elector(_) | Told::Nothing) | None) | Err(_) => None,
            }
        });
        let nodes: BTreeMap<NodeId, Evidence> = join_all(asked).await.into_iter().flatten().collect();
        // Who is ahead may have dropped what this node thinks that it holds.
        if let Some((ahead, _)) = nodes.iter().find(|(_, evidence)| evidence.layout > known.newest()) {
            self.calls.exchange(*ahead).await;
        }
        judge(&self.layouts().now(), nodes)
    }
}

/// What all that was said comes to.
fn judge(known: &Known, nodes: BTreeMap<NodeId, Evidence>) -> Redundancy {
    let Some(newest) = known.peer.knowledge.newest() else {
        return Redundancy {
            full_until_us: None,
            lacks: Vec::new(),
            partitions_below: 0,
            partitions: 0,
            worst_missing: 0,
            nodes,
        };
    };
    let mut lacks: BTreeMap<(NodeId, Why), u64> = BTreeMap::new();
    let (mut partitions, mut partitions_below, mut worst_missing) = (0, 0, 0);
    for partition in newest.partitions() {
        let mut missing = 0;
        for node in newest.replicas(partition) {
            if let Some(why) = why_not(nodes.get(&node), newest.version, partition) {
                *lacks.entry((node, why)).or_default() += 1;
                missing += 1;
            }
        }
        partitions += 1;
        partitions_below += u64::from(missing > 0);
        worst_missing = worst_missing.max(missing);
    }
    let holders = nodes.values().filter(|evidence| evidence.partitions > 0);
    let until = holders.map(|evidence| evidence.whole_until_us).min();
    Redundancy {
        full_until_us: until.filter(|_| lacks.is_empty()),
        lacks: lacks
            .into_iter()
            .map(|((node, why), partitions)| Lack { node, partitions, why })
            .collect(),
        partitions_below,
        partitions,
        worst_missing,
        nodes,
    }
}

/// Why a node's copy of a partition does not count; nothing if it does.
fn why_not(evidence: Option<&Evidence>, newest: LayoutVersion, partition: Partition) -> Option<Why> {
    if slips(Slip::FullUnseen) {
        return None;
    }
    let Some(evidence) = evidence else {
        return Some(Why::Away);
    };
    if evidence.layout != newest {
        Some(Why::Behind)
    } else if evidence.unsynced.contains(&partition) {
        Some(Why::Syncing)
    } else if evidence.doubtful.contains(&partition) {
        Some(Why::Comparing)
    } else {
        None
    }
}
