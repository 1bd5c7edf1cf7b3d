//! When the old owners of a partition are no longer needed, and when they may forget it.
//!
//! A node that synced a partition for a layout ([`super::Sync`]) says so to everybody; that stays true for ever. Whoever
//! has heard it from a majority of a layout's replicas holds a [`Certificate`]: every value acknowledged before is on a
//! majority of that layout, so that the older ones are not needed for quorums any more. Raising the oldest active layout
//! needs no quorum and no order, for coordinators that have not heard of it use more majorities than needed and are told.
//!
//! An old owner drops its rows ([`Droppable`]) only when *every* replica of the newest layout is synced: a majority would
//! do for reading, but then fewer copies would exist than the layout says (claim C7r). That may wait for a node that is
//! down, until a later layout replaces it.

use serde::{Deserialize, Serialize};

use super::table::{Layout, LayoutVersion, Partition};
use super::view::Knowledge;
use crate::flaw::{Flaw, Rules};
use crate::quorum::{Left, NodeId, ReplicaSets, Verdict, Vote};

/// Proof that a majority of a layout's replicas of a partition is synced for it: a quorum of those that are left of it,
/// where some were declared lost since, for what they said of themselves helps nobody now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Certificate {
    partition: Partition,
    lo: LayoutVersion,
}

/// Proof that a node may delete its rows of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Droppable {
    partition: Partition,
    entered: LayoutVersion,
}

/// A node says that it is synced. True for ever once said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Announcement {
    /// Who.
    pub node: NodeId,
    /// For which partition.
    pub partition: Partition,
    /// For which layout.
    pub version: LayoutVersion,
}

impl Certificate {
    /// May `me` take `lo` for the oldest active layout of the partition? `synced` is the newest layout for which a node
    /// was heard to be synced.
    pub fn of<R: Rules>(
        knowledge: &Knowledge,
        me: NodeId,
        partition: Partition,
        lo: LayoutVersion,
        synced: impl Fn(NodeId) -> LayoutVersion,
    ) -> Option<Self> {
        let layout = knowledge.layout(lo)?;
        let replicas = knowledge.set::<R>(layout, partition)?;
        // Who synced has what was acknowledged before. What came after is on a majority of this layout, and where that is
        // lost it may be only at those of the older ones (found by review).
        let left = Left::of(replicas.nodes().len(), layout.replicas(partition).len());
        if left != Left::Enough && !R::lacks(Flaw::ForcedRetiresOnFew) {
            return None;
        }
        let is_synced = |node| synced(node) >= lo;
        let all = replicas.nodes().iter().all(|node| is_synced(*node));
        let alone = R::lacks(Flaw::RetiresAlone) && replicas.nodes().contains(&me) && is_synced(me);
        let missing = usize::from(R::lacks(Flaw::RetiresEarly));
        let sets = ReplicaSets::from_iter([replicas]);
        let vote = |node| if is_synced(node) { Vote::Yes } else { Vote::No };
        let enough = sets.verdict_short_of(missing, vote) == Verdict::Reached;
        let enough = (enough || alone) && (all || !R::lacks(Flaw::RetiresWithAll));
        enough.then_some(Certificate { partition, lo })
    }

    /// The partition that it is about.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// What may be the oldest active layout.
    pub fn lo(&self) -> LayoutVersion {
        self.lo
    }
}

impl Droppable {
    /// May `me`, which left the partition, delete what it holds there?
    pub fn of<R: Rules>(
        knowledge: &Knowledge,
        me: NodeId,
        partition: Partition,
        synced: impl Fn(NodeId) -> LayoutVersion,
    ) -> Option<Self> {
        let view = knowledge.view(partition);
        let newest = knowledge.newest()?;
        let retired = view.lo == view.hi || R::lacks(Flaw::DropsUnretired);
        let mut replicas = newest.replicas(partition).into_iter();
        let everybody = replicas.all(|node| synced(node) >= newest.version) || R::lacks(Flaw::DropsEarly);
        let entered = knowledge.entered(me, partition)?;
        (retired && everybody && !newest.holds(me, partition)).then_some(Droppable { partition, entered })
    }

    /// The partition.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// The layout at which the node had entered: the rows stored under it go.
    pub fn entered(&self) -> LayoutVersion {
        self.entered
    }
}

/// May `node` hold `partition` in the layout that follows the newest one? Not if it left while a layout that it was in
/// is still active: it would have to forget the rows which that layout relies on. `lo` is the oldest layout that is not
/// certified to be retired.
pub fn may_enter<R: Rules>(knowledge: &Knowledge, node: NodeId, partition: Partition, lo: LayoutVersion) -> bool {
    let Some(newest) = knowledge.newest() else { return true };
    let holds = |layout: &Layout| layout.holds(node, partition);
    let mut active = (lo.0..newest.version.0).filter_map(|version| knowledge.layout(LayoutVersion(version)));
    holds(newest) || !active.any(holds) || R::lacks(Flaw::ReadmitsAfterGap)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flaw::Sound;

    const P: Partition = Partition(0);

    /// Nodes 1, 2, 3, then 2, 3, 4.
    fn moved() -> Knowledge {
        let one = Layout::test(4, 1, &[0, 1, 2]);
        let two = one.then(&[1, 2, 3]);
        let mut knowledge = Knowledge::of(one);
        knowledge.learn(two).unwrap();
        knowledge
    }

    fn synced(nodes: &'static [u64]) -> impl Fn(NodeId) -> LayoutVersion {
        |node| LayoutVersion(if nodes.contains(&node.0) { 2 } else { 1 })
    }

    #[test]
    fn a_majority_of_the_new_owners_retires_the_old_layout() {
        let mut knowledge = moved();
        let certificate = |nodes| Certificate::of::<Sound>(&moved(), NodeId(9), P, LayoutVersion(2), synced(nodes));
        assert_eq!(certificate(&[4]), None);
        assert_eq!(certificate(&[1, 4]), None);
        let certificate = certificate(&[2, 4]).unwrap();
        knowledge.retire(&certificate);
        assert_eq!(knowledge.view(P).lo, LayoutVersion(2));
    }

    #[test]
    fn an_old_owner_keeps_its_rows_until_every_new_one_is_synced() {
        let mut knowledge = moved();
        let droppable =
            |knowledge: &Knowledge, me, nodes| Droppable::of::<Sound>(knowledge, NodeId(me), P, synced(nodes));
        assert_eq!(droppable(&knowledge, 1, &[2, 3, 4]), None, "layout 1 is active");
        knowledge
            .retire(&Certificate::of::<Sound>(&knowledge, NodeId(1), P, LayoutVersion(2), synced(&[2, 3])).unwrap());
        assert_eq!(droppable(&knowledge, 1, &[2, 3]), None);
        assert_eq!(droppable(&knowledge, 2, &[2, 3, 4]), None, "it is an owner");
        assert_eq!(
            droppable(&knowledge, 1, &[2, 3, 4]).unwrap().entered(),
            LayoutVersion(1)
        );
    }

    #[test]
    fn nobody_comes_back_while_a_layout_from_before_it_left_is_active() {
        let knowledge = moved();
        let may_enter = |node, lo| may_enter::<Sound>(&knowledge, NodeId(node), P, LayoutVersion(lo));
        assert!(!may_enter(1, 1));
        assert!(may_enter(1, 2) && may_enter(2, 1) && may_enter(4, 1));
    }
}
