//! What a node knows of layouts, and the only door to its rows.
//!
//! A view is the pair of the oldest active and the newest known layout. Every request carries its coordinator's view.
//! A replica that is ahead of it does nothing and says so; one that is behind first makes the newer view durable, then
//! serves (elastic replication's *wedge*: no phase under an older view is ever served again). Both halves are compared:
//! with a stale oldest layout a coordinator would still count nodes that dropped their rows.
//!
//! A node that enters a partition must not serve what it held there in an earlier time. Rows are stored under the layout
//! at which their node entered ([`Knowledge::entered`]), which follows from the layouts known; so the knowledge of a new
//! layout and the disappearance of old rows are one and the same durable change.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::footing::{Footing, Part};
use super::force::{Decree, Epoch};
use super::retire::Certificate;
use super::table::{Layout, LayoutVersion, Partition};
use crate::flaw::{Flaw, Rules};
use crate::quorum::{Left, NodeId, ReplicaSet, ReplicaSets};

/// The active layouts as somebody knows them for one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct View {
    /// The oldest layout that is still needed for quorums.
    pub lo: LayoutVersion,
    /// The newest layout known.
    pub hi: LayoutVersion,
}

/// Why a request was not even looked at. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// This replica has seen newer layouts: here is its view.
    Stale(View),
    /// This replica does not know the content of the layout that the request names. It has to be told, and asked again.
    NeedLayout(LayoutVersion),
    /// This replica has no part in the partition.
    NotOwner(View),
    /// This replica has just entered the partition, and does not know yet what others have forgotten there
    /// ([`is_open`](super::is_open)). It has to be asked again.
    Entering,
}

/// Proof that a request's view was compared with the node's. There is no other way to get one than [`Knowledge::admit`], or
/// the [`Footing`] that the knowledge tells. Whoever reads a footing from a trace gets one as well, which proves what the trace
/// says: nothing that serves may take one from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Admitted {
    partition: Partition,
    view: View,
    entered: LayoutVersion,
    raised: bool,
}

/// A node's durable knowledge of layouts. It only grows.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Knowledge {
    /// Shared: a change of something else copies none of them.
    layouts: BTreeMap<LayoutVersion, Arc<Layout>>,
    /// The oldest active layout of a partition, where it is not the first.
    lo: BTreeMap<Partition, LayoutVersion>,
    /// Everybody whom a forced layout says to be lost.
    lost: BTreeSet<NodeId>,
}

/// What hearing of a layout came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Learned {
    /// It is new. The knowledge must be durable before it is used.
    New,
    /// It was known.
    Known,
}

/// Why a layout was not taken. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LearnError {
    /// This one is missing in between.
    Gap(LayoutVersion),
    /// Another content is known under this number, or under the one before: somebody's layouts were not elected.
    Conflict(LayoutVersion),
}

impl View {
    /// The newer half of each.
    pub fn join(self, other: View) -> View {
        View {
            lo: self.lo.max(other.lo),
            hi: self.hi.max(other.hi),
        }
    }

    /// Is this view older in one half or the other?
    pub fn is_behind(self, other: View) -> bool {
        self.join(other) != self
    }
}

impl Admitted {
    /// Nobody but the door makes one.
    pub(super) fn new(partition: Partition, view: View, entered: LayoutVersion, raised: bool) -> Self {
        Admitted {
            partition,
            view,
            entered,
            raised,
        }
    }

    /// The partition that may be touched.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// The view under which it is touched.
    pub fn view(&self) -> View {
        self.view
    }

    /// The layout at which this node entered the partition: the rows that may be touched are those stored under it.
    pub fn entered(&self) -> LayoutVersion {
        self.entered
    }

    /// Must the view be made durable ([`Knowledge::adopt`]) before anything is answered?
    pub fn raises_view(&self) -> bool {
        self.raised
    }
}

impl Knowledge {
    /// Knows one layout.
    pub fn of(layout: Layout) -> Self {
        Knowledge {
            lost: lost_in(&layout).collect(),
            layouts: BTreeMap::from([(layout.version, Arc::new(layout))]),
            lo: BTreeMap::new(),
        }
    }

    /// The epoch of the newest forced layout.
    pub fn epoch(&self) -> Epoch {
        let mut forced = self.newest_first().filter_map(|layout| layout.forced.as_ref());
        forced.next().map(|forced| forced.epoch).unwrap_or_default()
    }

    /// The newest forced layout, if any is known.
    pub fn decree(&self) -> Decree {
        let mut decrees = self.newest_first().filter_map(|layout| {
            let epoch = layout.forced.as_ref()?.epoch;
            Some(Decree {
                epoch,
                layout: layout.hash(),
            })
        });
        decrees.next().unwrap_or_default()
    }

    /// Everybody whom a forced layout says to be lost. They count for nothing any more.
    pub fn lost(&self) -> &BTreeSet<NodeId> {
        &self.lost
    }

    /// The newest layout.
    pub fn newest(&self) -> Option<&Layout> {
        self.layouts.values().next_back().map(Arc::as_ref)
    }

    /// All layouts, the newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Layout> {
        self.layouts.values().rev().map(Arc::as_ref)
    }

    /// The layout of this number.
    pub fn layout(&self, version: LayoutVersion) -> Option<&Layout> {
        self.layouts.get(&version).map(Arc::as_ref)
    }

    /// The view of a partition.
    pub fn view(&self, partition: Partition) -> View {
        let oldest = self.layouts.keys().next().copied().unwrap_or_default();
        let lo = self.lo.get(&partition).copied().unwrap_or(oldest);
        View {
            lo,
            hi: self.layouts.keys().next_back().copied().unwrap_or_default(),
        }
    }

    /// The replicas of a partition in every layout of a view: what a phase needs quorums of.
    pub fn replica_sets<R: Rules>(&self, partition: Partition, view: View) -> ReplicaSets {
        let mut sets = self.sets::<R>(partition, view);
        if R::lacks(Flaw::QuorumOfNewest) {
            sets.drain(..sets.len().saturating_sub(1));
        }
        let sets: ReplicaSets = sets.into_iter().collect();
        if R::lacks(Flaw::QuorumOfUnion) {
            ReplicaSets::new(alloc::vec![sets.members()])
        } else {
            sets
        }
    }

    /// The same in a list. Layouts of which nobody is left are passed over.
    pub(super) fn sets<R: Rules>(&self, partition: Partition, view: View) -> Vec<ReplicaSet> {
        let active = self.active(view);
        active.filter_map(|layout| self.set::<R>(layout, partition)).collect()
    }

    /// Those of one layout; nothing if nobody is left of them.
    pub(super) fn set<R: Rules>(&self, layout: &Layout, partition: Partition) -> Option<ReplicaSet> {
        let replicas = layout.replicas(partition);
        if self.lost.is_empty() {
            return Some(ReplicaSet::all(replicas));
        }
        ReplicaSet::left_of::<R>(replicas, |node| self.lost.contains(&node))
    }

    /// The replicas of a partition in every layout of a view, lost or not.
    pub(super) fn replicas(&self, partition: Partition, view: View) -> Vec<Vec<NodeId>> {
        self.active(view).map(|layout| layout.replicas(partition)).collect()
    }

    /// How many replicas of a partition are left in each active layout when these are lost as well.
    pub(super) fn left(&self, partition: Partition, lost: &BTreeSet<NodeId>) -> Vec<Left> {
        let is_left = |node: &&NodeId| !lost.contains(node) && !self.lost.contains(node);
        let sets = self.replicas(partition, self.view(partition)).into_iter();
        sets.map(|set| Left::of(set.iter().filter(is_left).count(), set.len()))
            .collect()
    }

    fn active(&self, view: View) -> impl Iterator<Item = &Layout> {
        let active = self.layouts.range(view.lo..=view.hi.max(view.lo));
        active.map(|(_, layout)| layout.as_ref())
    }

    /// Takes a layout that follows the newest one known.
    pub fn learn(&mut self, layout: Layout) -> Result<Learned, LearnError> {
        if let Some(known) = self.layouts.get(&layout.version) {
            return if **known == layout {
                Ok(Learned::Known)
            } else {
                Err(LearnError::Conflict(layout.version))
            };
        }
        if let Some(newest) = self.newest() {
            let next = newest.version.next();
            if layout.version != next {
                return Err(LearnError::Gap(next));
            }
            if layout.previous != newest.hash() {
                return Err(LearnError::Conflict(newest.version));
            }
        }
        self.lost.extend(lost_in(&layout));
        self.layouts.insert(layout.version, Arc::new(layout));
        Ok(Learned::New)
    }

    /// Raises the oldest active layout of a partition to the one that the view of an admitted request names.
    pub fn adopt(&mut self, admitted: &Admitted) {
        self.raise(admitted.partition, admitted.view.lo);
    }

    /// Raises the oldest active layout of a partition on a certificate. Needs no quorum and no order.
    pub fn retire(&mut self, certificate: &Certificate) {
        self.raise(certificate.partition(), certificate.lo());
    }

    /// Raises the oldest active layout of a partition to that of a view which another node refused a request with, or
    /// sent one under. Its content must be known.
    pub fn hear(&mut self, partition: Partition, view: View) {
        if self.layouts.contains_key(&view.lo) {
            self.raise(partition, view.lo);
        }
    }

    /// The layouts from this number on.
    pub fn since(&self, version: LayoutVersion) -> impl Iterator<Item = &Layout> {
        self.layouts.range(version..).map(|(_, layout)| layout.as_ref())
    }

    fn raise(&mut self, partition: Partition, lo: LayoutVersion) {
        if lo > self.view(partition).lo {
            self.lo.insert(partition, lo);
        }
    }

    /// The layout at which `me` entered the partition: the first of the newest run of layouts that name it.
    pub fn entered(&self, me: NodeId, partition: Partition) -> Option<LayoutVersion> {
        Some(self.newest_run(me, partition)?.entered)
    }

    fn newest_run(&self, me: NodeId, partition: Partition) -> Option<Part> {
        let newest_first = self.layouts.iter().rev();
        let mut run = newest_first
            .skip_while(|(_, layout)| !layout.holds(me, partition))
            .take_while(|(_, layout)| layout.holds(me, partition));
        let (&last, _) = run.next()?;
        let entered = run.last().map_or(last, |(&version, _)| version);
        Some(Part { entered, last })
    }

    /// Where the node `me` stands in a partition.
    pub fn footing(&self, me: NodeId, partition: Partition) -> Footing {
        let part = self.newest_run(me, partition).filter(|_| !self.lost.contains(&me));
        Footing {
            view: self.view(partition),
            part,
        }
    }

    /// The door: may the node `me` serve a request on `partition` that was sent under `asked`?
    pub fn admit<R: Rules>(&self, me: NodeId, partition: Partition, asked: View) -> Result<Admitted, Refusal> {
        self.footing(me, partition).admit::<R>(partition, asked)
    }
}

fn lost_in(layout: &Layout) -> impl Iterator<Item = NodeId> + '_ {
    layout.forced.iter().flat_map(|forced| forced.lost.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flaw::Sound;
    use alloc::vec;

    /// Layout 1 holds everything at nodes 1, 2, 3; layout 2 at 1, 2, 4; layout 3 at 1, 2, 3 again.
    fn moving() -> (Knowledge, [Layout; 3]) {
        let one = Layout::test(4, 4, &[0, 1, 2]);
        let two = one.then(&[0, 1, 3]);
        let three = two.then(&[0, 1, 2]);
        (Knowledge::of(one.clone()), [one, two, three])
    }

    fn view(lo: u64, hi: u64) -> View {
        View {
            lo: LayoutVersion(lo),
            hi: LayoutVersion(hi),
        }
    }

    const P: Partition = Partition(3);

    #[test]
    fn a_member_is_admitted_under_the_view_it_shares() {
        let (knowledge, _) = moving();
        let admitted = knowledge.admit::<Sound>(NodeId(2), P, view(1, 1)).unwrap();
        assert_eq!(
            (admitted.partition(), admitted.view(), admitted.raises_view()),
            (P, view(1, 1), false)
        );
        assert_eq!(admitted.entered(), LayoutVersion(1));
    }

    #[test]
    fn who_is_behind_ahead_or_foreign_is_refused() {
        let (mut knowledge, [_, two, _]) = moving();
        let admit = |knowledge: &Knowledge, node, view| knowledge.admit::<Sound>(NodeId(node), P, view);
        assert_eq!(
            admit(&knowledge, 2, view(1, 2)),
            Err(Refusal::NeedLayout(LayoutVersion(2)))
        );
        assert_eq!(admit(&knowledge, 9, view(1, 1)), Err(Refusal::NotOwner(view(1, 1))));
        assert_eq!(knowledge.learn(two), Ok(Learned::New));
        assert_eq!(admit(&knowledge, 2, view(1, 1)), Err(Refusal::Stale(view(1, 2))));
        let raising = admit(&knowledge, 2, view(2, 2)).unwrap();
        assert!(raising.raises_view());
        knowledge.adopt(&raising);
        assert_eq!(admit(&knowledge, 2, view(1, 2)), Err(Refusal::Stale(view(2, 2))));
        assert_eq!(admit(&knowledge, 3, view(2, 2)), Err(Refusal::NotOwner(view(2, 2))));
    }

    #[test]
    fn layouts_are_learned_in_order_and_never_exchanged() {
        let (mut knowledge, [one, two, three]) = moving();
        assert_eq!(knowledge.learn(three.clone()), Err(LearnError::Gap(LayoutVersion(2))));
        assert_eq!(knowledge.learn(two.clone()), Ok(Learned::New));
        assert_eq!(knowledge.learn(two.clone()), Ok(Learned::Known));
        let forged = one.then(&[1, 2, 3]);
        assert_eq!(
            knowledge.learn(forged.clone()),
            Err(LearnError::Conflict(LayoutVersion(2)))
        );
        let after_forged = forged.then(&[0, 1, 2]);
        assert_eq!(
            knowledge.learn(after_forged),
            Err(LearnError::Conflict(LayoutVersion(2)))
        );
        assert_eq!(knowledge.learn(three), Ok(Learned::New));
    }

    #[test]
    fn who_left_and_came_back_enters_anew() {
        let (mut knowledge, [_, two, three]) = moving();
        let entered = |knowledge: &Knowledge, node| knowledge.entered(NodeId(node), P).map(|version| version.0);
        assert_eq!(
            [1, 3, 4].map(|node| entered(&knowledge, node)),
            [Some(1), Some(1), None]
        );
        knowledge.learn(two).unwrap();
        assert_eq!(
            [1, 3, 4].map(|node| entered(&knowledge, node)),
            [Some(1), Some(1), Some(2)]
        );
        knowledge.learn(three).unwrap();
        assert_eq!(
            [1, 3, 4].map(|node| entered(&knowledge, node)),
            [Some(1), Some(3), Some(2)]
        );
    }

    #[test]
    fn quorums_are_over_the_replicas_of_the_view() {
        let (mut knowledge, [_, two, _]) = moving();
        knowledge.learn(two).unwrap();
        let sets = knowledge.replica_sets::<Sound>(P, view(1, 2));
        assert_eq!(sets.members(), [1, 2, 3, 4].map(NodeId).to_vec());
        let newest = ReplicaSet::all([1, 2, 4].map(NodeId).to_vec());
        assert_eq!(knowledge.sets::<Sound>(P, view(2, 2)), vec![newest]);
    }
}
