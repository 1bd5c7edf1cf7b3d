//! Quorums: a majority of every active replica set.
//!
//! Where replicas were declared lost ([`crate::layout::Forced`]), only those that are left are asked, for as many as before
//! or, where fewer are left, for all of them: what was acknowledged may be at one of them alone.
//!
//! Questions about quorums have three answers, for a coordinator must tell "not yet" from "never".

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::flaw::{Flaw, Rules};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

/// The replicas of one partition in one layout that may be asked, and how many of them have to agree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicaSet {
    nodes: Vec<NodeId>,
    needed: usize,
}

/// How many replicas of a set are left when some are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Left {
    /// A majority: nothing that was acknowledged is lost.
    Enough,
    /// Fewer: what was acknowledged may have been at the others alone.
    TooFew,
    /// None: everything is lost.
    None,
}

/// The replicas of one partition in every active layout, oldest first. A phase is complete when each set has a quorum.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicaSets(Vec<ReplicaSet>);

impl Left {
    /// Of `replicas`, when `left` are not lost.
    pub const fn of(left: usize, replicas: usize) -> Self {
        match left {
            0 => Left::None,
            left if left < majority(replicas) => Left::TooFew,
            _ => Left::Enough,
        }
    }
}

impl ReplicaSet {
    /// All of these, and a majority of them.
    pub fn all(nodes: Vec<NodeId>) -> Self {
        let needed = majority(nodes.len());
        ReplicaSet { nodes, needed }
    }

    /// Those that are not lost: as many of them as are a majority of all, or where fewer are left, every one. Nothing if
    /// none is left.
    pub(crate) fn left_of<R: Rules>(mut nodes: Vec<NodeId>, is_lost: impl Fn(NodeId) -> bool) -> Option<Self> {
        let of_all = majority(nodes.len());
        if R::lacks(Flaw::ForcedWaitsForLost) {
            return Some(ReplicaSet { nodes, needed: of_all });
        }
        let replicas = nodes.len();
        nodes.retain(|node| !is_lost(*node));
        let needed = match Left::of(nodes.len(), replicas) {
            Left::None => return None,
            Left::TooFew if R::lacks(Flaw::ForcedSkipsLeft) => return None,
            Left::TooFew if R::lacks(Flaw::ForcedAsksOne) => 1,
            Left::TooFew => nodes.len(),
            Left::Enough if R::lacks(Flaw::ForcedMajorityOfLeft) => majority(nodes.len()),
            Left::Enough => of_all,
        };
        Some(ReplicaSet { nodes, needed })
    }

    /// The replicas, in the order in which they were named.
    pub fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    fn verdict(&self, missing: usize, vote: &impl Fn(NodeId) -> Vote) -> Verdict {
        let needed = self.needed.saturating_sub(missing).max(1);
        let count = |wanted| self.nodes.iter().filter(|node| vote(**node) == wanted).count();
        let yes = count(Vote::Yes);
        if yes >= needed {
            Verdict::Reached
        } else if yes + count(Vote::Open) >= needed {
            Verdict::Pending
        } else {
            Verdict::Impossible
        }
    }
}

impl ReplicaSets {
    /// The sets of the active layouts, oldest first, none of whose nodes is lost.
    pub fn new(sets: Vec<Vec<NodeId>>) -> Self {
        sets.into_iter().map(ReplicaSet::all).collect()
    }

    /// Every replica once, in order of id.
    pub fn members(&self) -> Vec<NodeId> {
        let mut members: Vec<NodeId> = self.0.iter().flat_map(|set| set.nodes.iter().copied()).collect();
        members.sort();
        members.dedup();
        members
    }

    /// The sets, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &ReplicaSet> {
        self.0.iter()
    }

    /// The last set alone: only flawed rules ask for it.
    pub(crate) fn newest_only(mut self) -> Self {
        self.0.drain(..self.0.len().saturating_sub(1));
        self
    }

    /// Does every set have a quorum of `Yes`?
    pub fn verdict(&self, vote: impl Fn(NodeId) -> Vote) -> Verdict {
        self.verdict_short_of(0, vote)
    }

    /// As [`verdict`](Self::verdict), with `missing` votes fewer: only flawed rules ask with more than zero.
    pub(crate) fn verdict_short_of(&self, missing: usize, vote: impl Fn(NodeId) -> Vote) -> Verdict {
        self.0
            .iter()
            .map(|set| set.verdict(missing, &vote))
            .max()
            .unwrap_or(Verdict::Impossible)
    }
}

impl FromIterator<ReplicaSet> for ReplicaSets {
    fn from_iter<T: IntoIterator<Item = ReplicaSet>>(sets: T) -> Self {
        ReplicaSets(sets.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flaw::Sound;
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

    fn left_of(replicas: u64, lost: &'static [u64]) -> Option<ReplicaSet> {
        let nodes = (1..=replicas).map(NodeId).collect();
        ReplicaSet::left_of::<Sound>(nodes, |node| lost.contains(&node.0))
    }

    #[test]
    fn with_a_majority_left_as_many_are_needed_as_before() {
        let five: ReplicaSets = left_of(5, &[4, 5]).into_iter().collect();
        assert_eq!(five.verdict(votes(&[1, 2], &[])), Verdict::Pending);
        assert_eq!(five.verdict(votes(&[1, 2, 3], &[])), Verdict::Reached);
        assert_eq!(
            five.verdict(votes(&[1, 2, 4, 5], &[])),
            Verdict::Pending,
            "the lost do not count"
        );
        assert_eq!(five.verdict(votes(&[1, 2], &[3])), Verdict::Impossible);
        let three: ReplicaSets = left_of(3, &[2]).into_iter().collect();
        assert_eq!(three.members(), vec![NodeId(1), NodeId(3)]);
        assert_eq!(three.verdict(votes(&[1], &[])), Verdict::Pending);
    }

    #[test]
    fn with_less_than_a_majority_left_all_of_them_are_needed() {
        let six: ReplicaSets = left_of(6, &[4, 5, 6]).into_iter().collect();
        assert_eq!(
            six.verdict(votes(&[1, 2], &[])),
            Verdict::Pending,
            "a majority of those left is not enough"
        );
        assert_eq!(six.verdict(votes(&[1, 2, 3], &[])), Verdict::Reached);
        assert_eq!(six.verdict(votes(&[1, 2, 4, 5, 6], &[])), Verdict::Pending);
        let one: ReplicaSets = left_of(3, &[2, 3]).into_iter().collect();
        assert_eq!(one.verdict(votes(&[1], &[])), Verdict::Reached);
        assert_eq!(left_of(3, &[1, 2, 3]), None);
    }

    #[test]
    fn no_set_no_quorum() {
        assert_eq!(sets(&[]).verdict(votes(&[1], &[])), Verdict::Impossible);
    }
}
