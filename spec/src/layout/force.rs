//! A layout by decree: the way out when too many nodes are lost for an election, or for some partition's quorum.
//!
//! A forced layout is the next layout in every respect but two. Nobody elected it: an operator decreed it at one node that
//! is left, and named its *epoch*, a number above that of every force before. And its content says which nodes are
//! *lost*: they count for nothing any more, in any layout, for whoever knows it, and can never be members again.
//!
//! So the older active layouts are read with what is left of them ([`ReplicaSet`](crate::quorum::ReplicaSet)). Where a
//! majority is left, exactly as many replicas have to agree as before, and what was acknowledged survives as in any
//! transition. Where fewer are left, all of them have to: what was acknowledged may be at a single one, or was at lost
//! ones alone. A set of which nobody is left is passed over, for there is nothing to be had. Everything else (the door,
//! settled-row sync, retirement, dropping) goes on as it always does.
//!
//! This is right only if the lost are gone: two parts of a cluster that both go on, one of them by decree, are two
//! clusters. Numbers do not tell their layouts apart any more, so hashes have to; the higher epoch is the one that an
//! operator meant ([`Decree`]), and who followed the lower one can only come back as a new node.

use alloc::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::table::{Layout, LayoutHash, Partition};
use super::view::Knowledge;
use crate::quorum::{Left, NodeId};

/// Counts the decrees of operators, by the numbers that they name. Zero: there was none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

/// A forced layout among all that a cluster may have seen: the greatest is followed. Of two with one epoch, decreed by
/// operators who did not hear of each other, neither is the better one; that all agree on the same is what matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Decree {
    /// What the operator named; zero: no layout was forced.
    pub epoch: Epoch,
    /// The layout.
    pub layout: LayoutHash,
}

/// How a layout was forced, and what that may have cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Forced {
    /// The number that the operator named: above every one before.
    pub epoch: Epoch,
    /// Those who count no more, and never will.
    pub lost: BTreeSet<NodeId>,
    /// The partitions in which less than a majority of an active layout was left: what was acknowledged last may be
    /// lost, and older versions may be back.
    pub doubtful: BTreeSet<Partition>,
    /// The partitions of which nobody was left in the oldest active layout: all is lost that newer ones had not copied.
    pub gone: BTreeSet<Partition>,
}

impl Forced {
    /// What it costs to go on without `lost`, for all that `knowledge` tells.
    pub fn judge(knowledge: &Knowledge, epoch: Epoch, lost: BTreeSet<NodeId>) -> Self {
        let mut forced = Forced {
            epoch,
            lost,
            doubtful: BTreeSet::new(),
            gone: BTreeSet::new(),
        };
        for partition in knowledge.newest().into_iter().flat_map(Layout::partitions) {
            let left = knowledge.left(partition, &forced.lost);
            // What newer layouts did not copy yet was at the oldest alone.
            if left.first().is_none_or(|oldest| *oldest == Left::None) {
                forced.gone.insert(partition);
            } else if left.iter().any(|left| *left != Left::Enough) {
                forced.doubtful.insert(partition);
            }
        }
        forced
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flaw::Sound;
    use crate::layout::{Certificate, LayoutVersion, Member, Refusal, Sources, Standing, View};
    use crate::quorum::{Verdict, Vote};
    use alloc::vec;
    use alloc::vec::Vec;

    const P: Partition = Partition(0);

    /// Layout 1 over the first three of five nodes.
    fn one() -> Layout {
        Layout::test(5, 1, &[0, 1, 2])
    }

    /// From the first three of five nodes to the last three.
    fn moving() -> Knowledge {
        let mut knowledge = Knowledge::of(one());
        knowledge.learn(one().then(&[2, 3, 4])).unwrap();
        knowledge
    }

    /// What one knows after these are declared lost; of the others, these hold the partition then.
    fn after(mut knowledge: Knowledge, lost: &[u64], replicas: &[u64]) -> Knowledge {
        let newest = knowledge.newest().unwrap().clone();
        let lost: BTreeSet<NodeId> = lost.iter().copied().map(NodeId).collect();
        let left = newest.members.iter().filter(|member| !lost.contains(&member.id));
        let members: Vec<Member> = left.cloned().collect();
        let place = |id: &u64| members.iter().position(|member| member.id.0 == *id).unwrap() as u16;
        let next = Layout {
            version: newest.version.next(),
            previous: newest.hash(),
            replication_factor: replicas.len() as u8,
            assignment: vec![replicas.iter().map(place).collect()],
            forced: Some(Forced::judge(&knowledge, Epoch(1), lost)),
            members,
            ..newest
        };
        knowledge.learn(next).unwrap();
        knowledge
    }

    fn reaches(knowledge: &Knowledge, yes: &[u64]) -> bool {
        let vote = |node: NodeId| if yes.contains(&node.0) { Vote::Yes } else { Vote::No };
        let sets = knowledge.replica_sets::<Sound>(P, knowledge.view(P));
        sets.verdict(vote) == Verdict::Reached
    }

    #[test]
    fn what_it_may_cost_is_judged_by_partition() {
        let knowledge = Knowledge::of(one());
        let judged = |lost: &[u64]| {
            let forced = Forced::judge(&knowledge, Epoch(1), lost.iter().copied().map(NodeId).collect());
            (forced.doubtful.len(), forced.gone.len())
        };
        assert_eq!(judged(&[]), (0, 0));
        assert_eq!(judged(&[1, 4, 5]), (0, 0));
        assert_eq!(judged(&[1, 2]), (2, 0), "of rows, and of blocks");
        assert_eq!(judged(&[1, 2, 3]), (0, 2));
    }

    #[test]
    fn a_transition_with_a_majority_left_in_one_layout_alone_is_doubtful() {
        let knowledge = moving();
        let forced = Forced::judge(&knowledge, Epoch(1), BTreeSet::from([4, 5].map(NodeId)));
        assert_eq!((forced.doubtful.len(), forced.gone.len()), (2, 0));
    }

    #[test]
    fn a_majority_that_is_left_stays_what_is_needed() {
        let knowledge = after(Knowledge::of(one()), &[1], &[2, 3, 4]);
        assert!(reaches(&knowledge, &[2, 3]));
        assert!(
            !reaches(&knowledge, &[2, 4]),
            "a majority of the new ones, and one of the old"
        );
        assert!(!reaches(&knowledge, &[1, 2, 4]), "the lost do not count");
    }

    #[test]
    fn all_that_are_left_of_a_lost_majority_are_needed() {
        let knowledge = after(Knowledge::of(one()), &[1, 2], &[3, 4, 5]);
        assert!(reaches(&knowledge, &[3, 4]));
        assert!(!reaches(&knowledge, &[4, 5]));
        let sources = Sources::of::<Sound>(&knowledge, NodeId(4), P, Standing::Whole);
        assert_eq!(sources.pulled(), vec![NodeId(3)]);
        assert_eq!(sources.settled(), vec![NodeId(3), NodeId(4), NodeId(5)]);
    }

    #[test]
    fn where_nobody_is_left_the_new_owners_begin_with_each_other() {
        let knowledge = after(Knowledge::of(one()), &[1, 2, 3], &[4, 5]);
        assert!(reaches(&knowledge, &[4, 5]));
        let sources = Sources::of::<Sound>(&knowledge, NodeId(4), P, Standing::Whole);
        assert_eq!(sources.pulled(), vec![NodeId(4), NodeId(5)]);
        let certificate = |lo| Certificate::of::<Sound>(&knowledge, NodeId(4), P, lo, |_| LayoutVersion(2));
        assert_eq!(certificate(LayoutVersion(1)), None, "nobody is left to have anything");
        assert!(certificate(LayoutVersion(2)).is_some());
    }

    #[test]
    fn who_is_left_of_a_lost_majority_retires_nothing_and_no_more_do_the_lost() {
        let knowledge = moving();
        let certificate = |knowledge: &Knowledge, synced: &'static [u64]| {
            let synced = |node: NodeId| LayoutVersion(if synced.contains(&node.0) { 2 } else { 1 });
            Certificate::of::<Sound>(knowledge, NodeId(1), P, LayoutVersion(2), synced)
        };
        assert!(certificate(&knowledge, &[4, 5]).is_some());
        let one_lost = after(knowledge.clone(), &[5], &[1, 2, 3]);
        assert_eq!(certificate(&one_lost, &[4, 5]), None, "the lost do not count");
        assert!(certificate(&one_lost, &[3, 4, 5]).is_some());
        // 3 may have missed what 4 and 5 acknowledged with two of layout 1, who are there.
        let two_lost = after(knowledge, &[4, 5], &[1, 2, 3]);
        assert_eq!(certificate(&two_lost, &[3, 4, 5]), None);
    }

    #[test]
    fn who_is_lost_serves_nobody_once_it_knows() {
        let knowledge = after(Knowledge::of(one()), &[1], &[2, 3, 4]);
        let view = View {
            lo: LayoutVersion(1),
            hi: LayoutVersion(2),
        };
        let admit = |node| knowledge.admit::<Sound>(NodeId(node), P, view).map(|_| ());
        assert_eq!(admit(1), Err(Refusal::NotOwner(view)));
        assert_eq!(admit(2), Ok(()));
        assert_eq!(knowledge.epoch(), Epoch(1));
    }
}
