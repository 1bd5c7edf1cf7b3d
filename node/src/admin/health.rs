//! Whether a node can serve: what `/health` says.

use std::collections::BTreeSet;

use trellis_spec::layout::{Knowledge, View};
use trellis_spec::quorum::{NodeId, ReplicaSets, Verdict, Vote};

use crate::seeded::NodeRules;

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

    #[test]
    fn partitions_elsewhere_do_not_help_those_without_a_majority() {
        let five = quorums(5, 3);
        assert_eq!(five.lack(|node| node != NodeId(4)), None);
        let lack = five.lack(|node| node.0 < 4).unwrap();
        assert!((1..64).contains(&lack.partitions), "{lack:?}");
        assert_eq!(lack.missing, BTreeSet::from([NodeId(4), NodeId(5)]));
    }
}
