//! What `/health` says: whether a node can serve, and whether everything is at full redundancy.
//!
//! Strangers may read it, so it names nobody and nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use trellis_spec::layout::{Knowledge, LayoutVersion, View};
use trellis_spec::quorum::{NodeId, ReplicaSets, Verdict, Vote};

use super::survey::Survey;
use crate::cluster::{Lack as Lacking, Missing, Why};
use crate::seeded::NodeRules;

/// An older look proves nothing about now.
const OLD: Duration = Duration::from_secs(15);

/// What `/health` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReport {
    /// Whether the node serves: 200 if so, or else 503, whatever else is said here.
    pub serving: bool,
    /// Why, in a sentence.
    pub reason: String,
    /// Whether every copy is there.
    pub redundancy: RedundancyReport,
}

/// Whether everything that was acknowledged is at every replica that is to hold it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedundancyReport {
    /// In a word.
    pub state: RedundancyState,
    /// When the replicas were asked: milliseconds since the Unix epoch. Nothing else here is newer.
    pub asked_ms: Option<u64>,
    /// Everything acknowledged before this moment was seen at every replica; nothing while something is missing.
    pub full_until_ms: Option<u64>,
    /// All partitions.
    pub partitions: u64,
    /// Those with fewer replicas that are known to be whole than there should be.
    pub partitions_below: u64,
    /// By how many replicas the worst of them is short.
    pub worst_missing: u64,
    /// How much is missing.
    pub missing: Missing,
    /// How much longer, at the rate so far; nothing where that cannot be said, or nothing is missing.
    pub seconds_left: Option<u64>,
    /// Why.
    pub causes: Vec<Cause>,
}

/// In a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RedundancyState {
    /// Every replica has seen that it holds everything, since anything happened.
    Full,
    /// Something is missing, or not known to be there.
    Lacking,
    /// The replicas were not asked yet, or something happened since they were.
    Unknown,
}

/// Why something is missing, or not known to be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Why.
    pub why: Why,
    /// At how many nodes.
    pub nodes: u64,
    /// Copies of partitions that do not count for this reason.
    pub copies: u64,
    /// How much is missing.
    pub missing: Missing,
    /// How much longer; nothing where that cannot be said.
    pub seconds_left: Option<u64>,
}

/// What a look of some time ago means now. `is_away`: a node of the layout cannot be reached.
pub(super) fn redundancy(
    survey: Option<&Survey>,
    now: Duration,
    newest: LayoutVersion,
    is_away: bool,
) -> RedundancyReport {
    let Some(Survey {
        begun,
        begun_ms,
        redundancy,
    }) = survey
    else {
        return RedundancyReport {
            state: RedundancyState::Unknown,
            asked_ms: None,
            full_until_ms: None,
            partitions: 0,
            partitions_below: 0,
            worst_missing: 0,
            missing: Missing::default(),
            seconds_left: None,
            causes: Vec::new(),
        };
    };
    let is_past = now.saturating_sub(*begun) > OLD || redundancy.layout != newest;
    let state = if is_past {
        RedundancyState::Unknown
    } else if !redundancy.lacks.is_empty() {
        RedundancyState::Lacking
    } else if is_away || redundancy.partitions == 0 {
        RedundancyState::Unknown
    } else {
        RedundancyState::Full
    };
    let full_until_us = redundancy.full_until_us.filter(|_| state == RedundancyState::Full);
    RedundancyReport {
        state,
        asked_ms: Some(*begun_ms),
        full_until_ms: full_until_us.map(|us| us / 1000),
        partitions: redundancy.partitions,
        partitions_below: redundancy.below.len() as u64,
        worst_missing: redundancy.worst_missing,
        missing: redundancy.missing(),
        seconds_left: redundancy.left_s().filter(|_| !redundancy.lacks.is_empty()),
        causes: causes(&redundancy.lacks),
    }
}

fn causes(lacks: &[Lacking]) -> Vec<Cause> {
    let mut causes: BTreeMap<Why, Cause> = BTreeMap::new();
    for lack in lacks {
        let none = || Cause {
            why: lack.why,
            nodes: 0,
            copies: 0,
            missing: Missing::default(),
            seconds_left: Some(0),
        };
        let cause = causes.entry(lack.why).or_insert_with(none);
        cause.nodes += 1;
        cause.copies += lack.partitions;
        cause.missing = cause.missing.plus(lack.missing);
        cause.seconds_left = cause.seconds_left.zip(lack.left_s).map(|(one, other)| one.max(other));
    }
    causes.into_values().collect()
}

/// The different quorums of the active layouts, and how many partitions each is of.
#[derive(Debug, Clone)]
pub(super) struct Quorums(Vec<(ReplicaSets, usize)>);

/// What is out of reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lack {
    /// Partitions without a majority.
    pub(super) partitions: usize,
    /// Their replicas that are not connected.
    pub(super) missing: BTreeSet<NodeId>,
}

impl Quorums {
    pub(super) fn of(knowledge: &Knowledge) -> Self {
        let mut sets: Vec<(ReplicaSets, usize)> = Vec::new();
        let lines = knowledge.newest().into_iter();
        for (rows, blocks) in lines.flat_map(|newest| newest.row_partitions().zip(newest.block_partitions())) {
            // The view of blocks may be behind that of rows, and contains it.
            let view = View {
                lo: knowledge.view(rows).lo.min(knowledge.view(blocks).lo),
                ..knowledge.view(rows)
            };
            let set = knowledge.replica_sets::<NodeRules>(rows, view);
            match sets.binary_search_by(|(known, _)| known.cmp(&set)) {
                Ok(place) => sets[place].1 += 1,
                Err(place) => sets.insert(place, (set, 1)),
            }
        }
        Quorums(sets)
    }

    /// Which partitions have no majority among the nodes that `is_connected`.
    pub(super) fn lack(&self, is_connected: impl Fn(NodeId) -> bool) -> Option<Lack> {
        let vote = |node| if is_connected(node) { Vote::Yes } else { Vote::No };
        let mut lack = Lack {
            partitions: 0,
            missing: BTreeSet::new(),
        };
        for (set, partitions) in &self.0 {
            if set.verdict(vote) != Verdict::Reached {
                lack.partitions += partitions;
                let missing = set.members().into_iter().filter(|node| !is_connected(*node));
                lack.missing.extend(missing);
            }
        }
        (lack.partitions > 0).then_some(lack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Amount, Redundancy};
    use trellis_spec::layout::{Member, initial};

    fn quorums(nodes: u64, replication_factor: u8) -> Quorums {
        let member = |id| Member {
            id: NodeId(id),
            ..Member::storage([0; 32], [0; 16], format!("zone-{id}"), 1 << 40)
        };
        let layout = initial((1..=nodes).map(member).collect(), replication_factor, 64);
        Quorums::of(&Knowledge::of(layout.unwrap()))
    }

    #[test]
    fn a_majority_of_every_partition_is_enough() {
        let three = quorums(3, 3);
        assert_eq!(three.0.len(), 1, "one set of replicas is looked at once");
        assert_eq!(three.lack(|node| node != NodeId(2)), None);
        let lack = three.lack(|node| node == NodeId(1)).unwrap();
        assert_eq!(lack.partitions, 64);
        assert_eq!(lack.missing, BTreeSet::from([NodeId(2), NodeId(3)]));
    }

    fn survey(lacks: Vec<Lacking>) -> Survey {
        Survey {
            begun: Duration::from_secs(100),
            begun_ms: 5,
            redundancy: Redundancy {
                layout: LayoutVersion(2),
                full_until_us: lacks.is_empty().then_some(3_000),
                lacks,
                partitions: 8,
                ..Redundancy::default()
            },
        }
    }

    #[test]
    fn full_is_a_word_about_now() {
        let of = |survey: &Survey, now_s, newest, is_away| {
            redundancy(Some(survey), Duration::from_secs(now_s), LayoutVersion(newest), is_away)
        };
        let full = survey(Vec::new());
        let told = of(&full, 110, 2, false);
        assert_eq!((told.state, told.full_until_ms), (RedundancyState::Full, Some(3)));
        for (now_s, newest, is_away) in [(116, 2, false), (110, 3, false), (110, 2, true)] {
            let told = of(&full, now_s, newest, is_away);
            assert_eq!((told.state, told.full_until_ms), (RedundancyState::Unknown, None));
        }
        let never = redundancy(None, Duration::from_secs(1), LayoutVersion(2), false);
        assert_eq!((never.state, never.asked_ms), (RedundancyState::Unknown, None));
        assert_eq!(
            of(&survey(vec![lacking(1, None)]), 110, 2, true).state,
            RedundancyState::Lacking
        );
    }

    fn lacking(node: u64, left_s: Option<u64>) -> Lacking {
        Lacking {
            node: NodeId(node),
            partitions: 4,
            why: Why::Syncing,
            missing: Missing {
                at_least: Amount::block(10),
                ..Missing::default()
            },
            left_s,
        }
    }

    #[test]
    fn causes_are_gathered_and_end_with_the_last_node() {
        let all = causes(&[lacking(1, Some(3)), lacking(2, Some(7))]);
        let [cause] = &all[..] else { panic!("{all:?}") };
        assert_eq!((cause.nodes, cause.copies, cause.seconds_left), (2, 8, Some(7)));
        assert_eq!(cause.missing.at_least.bytes, 20);
        assert_eq!(causes(&[lacking(1, Some(3)), lacking(2, None)])[0].seconds_left, None);
    }

    #[test]
    fn partitions_elsewhere_do_not_help_those_without_a_majority() {
        let five = quorums(5, 3);
        assert_eq!(five.lack(|node| node != NodeId(4)), None);
        let lack = five.lack(|node| node.0 < 4).unwrap();
        assert!((1..64).contains(&lack.partitions), "{lack:?}");
        assert_eq!(lack.missing, BTreeSet::from([NodeId(4), NodeId(5)]));
    }
}
