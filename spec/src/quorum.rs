//! Quorums: a majority of every active replica set.
//!
//! Questions about quorums have three answers, for a coordinator must tell "not yet" from "never".

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// A storage node within a cluster: the first bytes of the hash of its key and disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u64);

/// One replica's say in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Vote {
    /// It agreed.
    Yes,
    /// It refused, and will not agree in this phase.
    No,
    /// It has not answered.
    Open,
}

/// Is there a quorum?
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Yes.
    Reached,
    /// Not yet; answers that are still out may bring it.
    Pending,
    /// No, whatever the others answer.
    Impossible,
}

/// How many of `replicas` are a majority.
pub const fn majority(replicas: usize) -> usize {
    replicas / 2 + 1
}

/// The replicas of one partition in every active layout, oldest first. A phase is complete when each set has a majority.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicaSets(Vec<Vec<NodeId>>);

impl ReplicaSets {
    /// The sets of the active layouts, oldest first.
    pub fn new(sets: Vec<Vec<NodeId>>) -> Self {
        ReplicaSets(sets)
    }

    /// Every replica once, in order of id.
    pub fn members(&self) -> Vec<NodeId> {
        let mut members: Vec<NodeId> = self.0.iter().flatten().copied().collect();
        members.sort();
        members.dedup();
        members
    }

    /// The sets, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[NodeId]> {
        self.0.iter().map(Vec::as_slice)
    }

    /// The last set alone: only flawed rules ask for it.
    pub(crate) fn newest_only(mut self) -> Self {
        self.0.drain(..self.0.len().saturating_sub(1));
        self
    }

    /// Does every set have a majority of `Yes`?
    pub fn verdict(&self, vote: impl Fn(NodeId) -> Vote) -> Verdict {
        self.verdict_short_of(0, vote)
    }

    /// As [`verdict`](Self::verdict), with `missing` votes fewer: only flawed rules ask with more than zero.
    pub(crate) fn verdict_short_of(&self, missing: usize, vote: impl Fn(NodeId) -> Vote) -> Verdict {
        self.0
            .iter()
            .map(|set| verdict_of_set(set, missing, &vote))
            .max()
            .unwrap_or(Verdict::Impossible)
    }
}

fn verdict_of_set(set: &[NodeId], missing: usize, vote: &impl Fn(NodeId) -> Vote) -> Verdict {
    let needed = majority(set.len()).saturating_sub(missing).max(1);
    let count = |wanted| set.iter().filter(|node| vote(**node) == wanted).count();
    let yes = count(Vote::Yes);
    if yes >= needed {
        Verdict::Reached
    } else if yes + count(Vote::Open) >= needed {
        Verdict::Pending
    } else {
        Verdict::Impossible
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn sets(sets: &[&[u64]]) -> ReplicaSets {
        ReplicaSets::new(
            sets.iter()
                .map(|set| set.iter().map(|id| NodeId(*id)).collect())
                .collect(),
        )
    }

    fn votes(yes: &'static [u64], no: &'static [u64]) -> impl Fn(NodeId) -> Vote {
        move |node| match (yes.contains(&node.0), no.contains(&node.0)) {
            (true, _) => Vote::Yes,
            (_, true) => Vote::No,
            _ => Vote::Open,
        }
    }

    #[test]
    fn a_majority_of_one_set() {
        let three = sets(&[&[1, 2, 3]]);
        assert_eq!(three.verdict(votes(&[1], &[2])), Verdict::Pending);
        assert_eq!(three.verdict(votes(&[1, 3], &[2])), Verdict::Reached);
        assert_eq!(three.verdict(votes(&[1], &[2, 3])), Verdict::Impossible);
        assert_eq!(sets(&[&[1]]).verdict(votes(&[1], &[])), Verdict::Reached);
        assert_eq!(sets(&[&[1, 2]]).verdict(votes(&[1], &[])), Verdict::Pending);
    }

    #[test]
    fn every_set_needs_its_own_majority() {
        let moving = sets(&[&[1, 2, 3], &[3, 4, 5]]);
        assert_eq!(moving.verdict(votes(&[1, 2, 3], &[])), Verdict::Pending);
        assert_eq!(moving.verdict(votes(&[2, 3, 4], &[])), Verdict::Reached);
        assert_eq!(moving.verdict(votes(&[1, 2, 3], &[4, 5])), Verdict::Impossible);
        assert_eq!(
            moving.members(),
            vec![NodeId(1), NodeId(2), NodeId(3), NodeId(4), NodeId(5)]
        );
    }

    #[test]
    fn no_set_no_quorum() {
        assert_eq!(sets(&[]).verdict(votes(&[1], &[])), Verdict::Impossible);
    }
}
