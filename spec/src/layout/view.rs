//! What a node knows of layouts, and the only door to its rows.
//!
//! A view is the pair of the oldest active and the newest known layout. Every request carries its coordinator's view.
//! A replica that is ahead of it does nothing and says so; one that is behind first makes the newer view durable, then
//! serves (elastic replication's *wedge*: no phase under an older view is ever served again).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::table::{Layout, LayoutVersion, Partition};
use crate::quorum::{NodeId, ReplicaSets};

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
    /// This replica does not know the content of the layout that the request names.
    NeedLayout(LayoutVersion),
    /// This replica has no part in the partition.
    NotOwner(View),
}

/// Proof that a request's view was compared with the node's. There is no other way to get one than [`Knowledge::admit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Admitted {
    partition: Partition,
    view: View,
    raised: bool,
}

/// A node's durable knowledge of layouts. It only grows.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Knowledge {
    layouts: BTreeMap<LayoutVersion, Layout>,
    /// The oldest active layout of a partition, where it is not the first.
    lo: BTreeMap<Partition, LayoutVersion>,
}

impl View {
    /// The newer half of each.
    pub fn join(self, other: View) -> View {
        View {
            lo: self.lo.max(other.lo),
            hi: self.hi.max(other.hi),
        }
    }
}

impl Admitted {
    /// The partition that may be touched.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// The view under which it is touched.
    pub fn view(&self) -> View {
        self.view
    }

    /// Must the view be made durable before anything is answered?
    pub fn raises_view(&self) -> bool {
        self.raised
    }
}

impl Knowledge {
    /// Knows one layout.
    pub fn of(layout: Layout) -> Self {
        Knowledge {
            layouts: BTreeMap::from([(layout.version, layout)]),
            lo: BTreeMap::new(),
        }
    }

    /// The newest layout.
    pub fn newest(&self) -> Option<&Layout> {
        self.layouts.values().next_back()
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

    /// The replicas of a partition in every layout of a view.
    pub fn replica_sets(&self, partition: Partition, view: View) -> ReplicaSets {
        let active = self.layouts.range(view.lo..=view.hi.max(view.lo));
        ReplicaSets::new(active.map(|(_, layout)| layout.replicas(partition)).collect::<Vec<_>>())
    }

    /// The door: may the node `me` serve a request on `partition` that was sent under `asked`?
    pub fn admit(&self, me: NodeId, partition: Partition, asked: View) -> Result<Admitted, Refusal> {
        let mine = self.view(partition);
        if mine.hi > asked.hi || mine.lo > asked.lo {
            return Err(Refusal::Stale(mine));
        }
        if !self.layouts.contains_key(&asked.hi) {
            return Err(Refusal::NeedLayout(asked.hi));
        }
        let view = mine.join(asked);
        let mut active = self.layouts.range(view.lo..=view.hi);
        if !active.any(|(_, layout)| layout.holds(me, partition)) {
            return Err(Refusal::NotOwner(view));
        }
        Ok(Admitted {
            partition,
            view,
            raised: view != mine,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Member, initial};
    use alloc::string::ToString;
    use alloc::vec;

    fn knowledge() -> Knowledge {
        let member = |id| Member {
            id: NodeId(id),
            key: [0; 32],
            disk: [0; 16],
            zone: "z".to_string(),
            capacity_bytes: 1,
        };
        Knowledge::of(initial(vec![member(1), member(2), member(3)], 3, 4).unwrap())
    }

    fn view(lo: u64, hi: u64) -> View {
        View {
            lo: LayoutVersion(lo),
            hi: LayoutVersion(hi),
        }
    }

    #[test]
    fn a_member_is_admitted_under_the_view_it_shares() {
        let admitted = knowledge().admit(NodeId(2), Partition(3), view(1, 1)).unwrap();
        assert_eq!(
            (admitted.partition(), admitted.view(), admitted.raises_view()),
            (Partition(3), view(1, 1), false)
        );
    }

    #[test]
    fn who_is_behind_ahead_or_foreign_is_refused() {
        let knowledge = knowledge();
        assert_eq!(
            knowledge.admit(NodeId(2), Partition(0), view(0, 0)),
            Err(Refusal::Stale(view(1, 1)))
        );
        assert_eq!(
            knowledge.admit(NodeId(2), Partition(0), view(1, 2)),
            Err(Refusal::NeedLayout(LayoutVersion(2)))
        );
        assert_eq!(
            knowledge.admit(NodeId(9), Partition(0), view(1, 1)),
            Err(Refusal::NotOwner(view(1, 1)))
        );
    }

    #[test]
    fn quorums_are_over_the_replicas_of_the_view() {
        let sets = knowledge().replica_sets(Partition(0), view(1, 1));
        assert_eq!(sets.members(), vec![NodeId(1), NodeId(2), NodeId(3)]);
    }
}
