//! The truthful signal: is everything that was acknowledged at full redundancy, and if not, what is missing, why, and
//! until when?
//!
//! Every replica answers for its own copies, with what it saw when it compared them (`repair.rs`). Who does not answer is
//! not counted on, and neither is what was seen before the newest layout came or before a node was out of reach. An empty
//! queue is no evidence, and there is none.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use trellis_spec::layout::{Layout, LayoutVersion, Partition};
use trellis_spec::quorum::NodeId;

use super::amount::Amount;
use super::coordinator::Coordinator;
use super::layouts::Known;
use super::repair::Evidence;
use super::tidings::{Question, Told};
use crate::seeded::{Slip, slips};

/// How long nodes have to say how whole their copies are.
const PATIENCE: Duration = Duration::from_secs(2);
/// Counts that were begun within this time belong to one comparison.
const COUNTED_TOGETHER_US: u64 = 10_000_000;

/// How it is about everything that was acknowledged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redundancy {
    /// The newest layout of who judged.
    pub layout: LayoutVersion,
    /// Everything acknowledged before this moment (microseconds since the Unix epoch, by the clocks of the replicas) was
    /// seen at every replica that should hold it; nothing while something is missing.
    pub full_until_us: Option<u64>,
    /// What is missing or not known to be there, by node and reason; empty if nothing is.
    pub lacks: Vec<Lack>,
    /// The same by partition.
    pub below: Vec<Below>,
    /// All partitions.
    pub partitions: u64,
    /// By how many replicas the worst partition is short, those aside that only have not compared lately.
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
    /// How much.
    pub missing: Missing,
    /// How much longer, as far as that can be said.
    pub left_s: Option<u64>,
}

/// A partition with fewer replicas that are known to be whole than there should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Below {
    /// Which.
    pub partition: Partition,
    /// The replicas that do not count.
    pub replicas: Vec<(NodeId, Why, Missing)>,
}

/// How much is missing: copies, each counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// That others hold more by so much is known.
    pub at_least: Amount,
    /// More than others hold it cannot be, as they counted last.
    pub at_most: Amount,
    /// Copies of partitions of which nobody has counted yet how much is in them.
    pub uncounted: u64,
}

impl Missing {
    /// Both.
    pub fn plus(self, other: Self) -> Self {
        Missing {
            at_least: self.at_least.plus(other.at_least),
            at_most: self.at_most.plus(other.at_most),
            uncounted: self.uncounted + other.uncounted,
        }
    }
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
    /// It has not compared them since the newest layout came, or since it could not reach some node.
    Outdated,
}

impl Redundancy {
    /// How much is missing of all.
    pub fn missing(&self) -> Missing {
        self.lacks
            .iter()
            .fold(Missing::default(), |sum, lack| sum.plus(lack.missing))
    }

    /// When it will be full again; nothing if that cannot be said of something that is missing.
    pub fn left_s(&self) -> Option<u64> {
        let all: Option<Vec<u64>> = self.lacks.iter().map(|lack| lack.left_s).collect();
        all?.into_iter().max()
    }
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
            nodes,
            ..Redundancy::default()
        };
    };
    let below: Vec<Below> = newest
        .partitions()
        .filter_map(|partition| below(known, newest, partition, &nodes))
        .collect();
    let lacks = lacks(&below, &nodes);
    let holders = nodes.values().filter(|evidence| evidence.partitions > 0);
    let until = holders.map(|evidence| evidence.whole_until_us).min();
    Redundancy {
        layout: newest.version,
        full_until_us: until.filter(|_| lacks.is_empty()),
        lacks,
        partitions: newest.partitions().count() as u64,
        worst_missing: below.iter().map(known_missing).max().unwrap_or(0),
        below,
        nodes,
    }
}

/// The replicas of a partition that do not count; nothing if all do.
fn below(known: &Known, newest: &Layout, partition: Partition, nodes: &BTreeMap<NodeId, Evidence>) -> Option<Below> {
    let replicas: Vec<(NodeId, Why, Missing)> = newest
        .replicas(partition)
        .into_iter()
        .filter_map(|node| {
            let why = why_not(nodes.get(&node), newest.version, partition)?;
            Some((node, why, missing(known, node, why, partition, nodes)))
        })
        .collect();
    (!replicas.is_empty()).then_some(Below { partition, replicas })
}

/// Replicas that do not count, but for those that only have not compared lately: of them nothing is known to be missing.
fn known_missing(below: &Below) -> u64 {
    let is_known = |(_, why, _): &&(NodeId, Why, Missing)| *why != Why::Outdated;
    below.replicas.iter().filter(is_known).count() as u64
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
    } else if evidence.outdated.contains(&partition) {
        Some(Why::Outdated)
    } else {
        None
    }
}

/// How much a node lacks of a partition, by what others hold of it.
fn missing(known: &Known, node: NodeId, why: Why, partition: Partition, nodes: &BTreeMap<NodeId, Evidence>) -> Missing {
    let others = || nodes.iter().filter(|(other, _)| **other != node);
    let counted = || others().filter_map(|(_, evidence)| evidence.held.get(&partition));
    let Some(at_most) = counted().map(|held| held.amount).reduce(Amount::max) else {
        return Missing {
            uncounted: 1,
            ..Missing::default()
        };
    };
    // What was written after this node counted is at this node too, as a rule, and not in its count.
    let most_until = |at_us| {
        let before = counted().filter(|held| held.at_us <= at_us);
        before.map(|held| held.amount).reduce(Amount::max).unwrap_or_default()
    };
    let own = nodes.get(&node).and_then(|evidence| evidence.held.get(&partition));
    let newest = known.newest();
    let at_least = match (why, own.filter(|own| own.layout == newest)) {
        (Why::Syncing, Some(own)) => most_until(own.at_us).beyond(own.amount),
        // What it is only now to begin with.
        (Why::Syncing, None) if known.peer.knowledge.entered(node, partition) == Some(newest) => at_most,
        // Those that are compared count at the same time, by clocks that may differ.
        (Why::Comparing, Some(own)) => most_until(own.at_us.saturating_add(COUNTED_TOGETHER_US)).beyond(own.amount),
        // It may hold everything.
        (Why::Syncing | Why::Comparing, None) | (Why::Away | Why::Behind | Why::Outdated, _) => Amount::default(),
    };
    Missing {
        at_least,
        at_most,
        uncounted: 0,
    }
}

fn lacks(below: &[Below], nodes: &BTreeMap<NodeId, Evidence>) -> Vec<Lack> {
    let mut lacks: BTreeMap<(NodeId, Why), (u64, Missing)> = BTreeMap::new();
    for (node, why, missing) in below.iter().flat_map(|below| &below.replicas) {
        let (partitions, sum) = lacks.entry((*node, *why)).or_default();
        *partitions += 1;
        *sum = sum.plus(*missing);
    }
    let lack = |((node, why), (partitions, missing))| Lack {
        node,
        partitions,
        why,
        missing,
        left_s: nodes.get(&node).and_then(|evidence| left_s(evidence, why)),
    };
    lacks.into_iter().map(lack).collect()
}

fn left_s(evidence: &Evidence, why: Why) -> Option<u64> {
    match why {
        // Until it comes back, which nobody knows, or hears of it, which is soon.
        Why::Away | Why::Behind => None,
        // What was synced is compared afterwards.
        Why::Syncing => {
            let left_s = evidence.sync.as_ref()?.seconds_left?;
            Some(left_s.saturating_add(evidence.comparison_left_s.unwrap_or(0)))
        }
        Why::Comparing | Why::Outdated => evidence.comparison_left_s,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trellis_spec::layout::{Knowledge, Member, initial};
    use trellis_spec::peer::Peer;

    use crate::cluster::{Count, Worker, WorkerReport};

    /// Three nodes that hold all of one partition of rows and one of blocks.
    fn newest() -> Layout {
        let member = |id: u8| Member {
            id: NodeId(u64::from(id)),
            ..Member::storage([id; 32], [id; 16], format!("zone-{id}"), 1 << 40)
        };
        initial((1..=3).map(member).collect(), 3, 1).unwrap()
    }

    fn count(rows: u64, bytes: u64, at_us: u64) -> Count {
        let blocks = 0;
        Count {
            amount: Amount { rows, blocks, bytes },
            at_us,
            layout: LayoutVersion(1),
        }
    }

    fn whole() -> Evidence {
        let held = count(5, 500, 70);
        Evidence {
            layout: LayoutVersion(1),
            partitions: 2,
            whole_until_us: 77,
            held: BTreeMap::from([(Partition(0), held)]),
            ..Evidence::default()
        }
    }

    fn judged(third: Option<Evidence>) -> Redundancy {
        let known = Known::begin(Peer {
            me: NodeId(1),
            knowledge: Knowledge::of(newest()),
        });
        let two = [(NodeId(1), whole()), (NodeId(2), whole())];
        judge(
            &known,
            two.into_iter().chain(third.map(|third| (NodeId(3), third))).collect(),
        )
    }

    #[test]
    fn full_is_said_only_of_what_every_replica_has_seen_since_anything_happened() {
        assert_eq!(judged(Some(whole())).full_until_us, Some(77));
        let outdated = Evidence {
            outdated: vec![Partition(0)],
            comparison_left_s: Some(9),
            ..whole()
        };
        let told = judged(Some(outdated));
        assert_eq!((told.full_until_us, told.left_s()), (None, Some(9)));
        assert_eq!(told.lacks[0].why, Why::Outdated);
        let behind = Evidence {
            layout: LayoutVersion(0),
            ..whole()
        };
        let told = judged(Some(behind));
        assert_eq!((told.full_until_us, told.left_s()), (None, None));
        let mut away = judged(None);
        assert_eq!((away.full_until_us, away.worst_missing, away.below.len()), (None, 1, 2));
        let missing = away.lacks.pop().unwrap().missing;
        assert_eq!(
            (missing.at_least.rows, missing.at_most.bytes, missing.uncounted),
            (0, 500, 1)
        );
    }

    #[test]
    fn who_syncs_lacks_at_least_what_others_hold_more() {
        let held = count(2, 120, 71);
        let syncing = Evidence {
            unsynced: vec![Partition(0)],
            held: BTreeMap::from([(Partition(0), held)]),
            sync: Some(WorkerReport {
                seconds_left: Some(30),
                ..WorkerReport::idle(Worker::Migration)
            }),
            comparison_left_s: Some(2),
            ..whole()
        };
        let told = judged(Some(syncing.clone()));
        let [lack] = &told.lacks[..] else { panic!("{told:?}") };
        assert_eq!((lack.why, lack.partitions, lack.left_s), (Why::Syncing, 1, Some(32)));
        assert_eq!((lack.missing.at_least.rows, lack.missing.at_least.bytes), (3, 380));
        assert_eq!(told.missing().at_most.rows, 5);
        // Others counted later: it may have been told of what they found more.
        let earlier = Evidence {
            held: BTreeMap::from([(Partition(0), count(2, 120, 69))]),
            ..syncing
        };
        assert_eq!(judged(Some(earlier)).missing().at_least, Amount::default());
    }
}
