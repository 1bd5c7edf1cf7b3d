//! Whom a new owner pulls from, and whom it settles rows at.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::table::Partition;
use super::view::{Knowledge, View};
use crate::flaw::{Flaw, Rules};
use crate::quorum::{NodeId, ReplicaSet, ReplicaSets};

/// In what state a node is that syncs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Standing {
    /// It has what it ever answered for, and counts as a source where it was an owner before.
    Whole,
    /// It may have lost some of it, and answers nobody.
    Damaged,
}

/// Whom a sync pulls from, and whom it settles rows at. Traces have it too; what is read from one proves nothing to a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sources {
    pub(super) me: NodeId,
    pub(super) partition: Partition,
    pub(super) standing: Standing,
    pub(super) view: View,
    pub(super) pulled: ReplicaSets,
    pub(super) settled: ReplicaSets,
}

impl Sources {
    /// For `me`, a replica of the partition in the newest layout.
    pub fn of<R: Rules>(knowledge: &Knowledge, me: NodeId, partition: Partition, standing: Standing) -> Self {
        let view = knowledge.view(partition);
        let mut sets = knowledge.sets::<R>(partition, view);
        let older = sets.len().saturating_sub(1);
        match standing {
            Standing::Damaged => {}
            Standing::Whole if older == 0 => {}
            Standing::Whole => sets.truncate(older),
        }
        if R::lacks(Flaw::SyncSkipsOlder) {
            sets.drain(..sets.len().saturating_sub(1));
        }
        if older == 0 && R::lacks(Flaw::SyncOfNothing) {
            sets.clear();
        }
        let mut settled = knowledge.sets::<R>(partition, view);
        if standing == Standing::Whole {
            // Its own acceptance is part of every quorum.
            settled.push(ReplicaSet::all(alloc::vec![me]));
        }
        Sources {
            me,
            partition,
            standing,
            view,
            pulled: sets.into_iter().collect(),
            settled: settled.into_iter().collect(),
        }
    }

    /// What is synced.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// The view that pulls and settles carry.
    pub fn view(&self) -> View {
        self.view
    }

    /// Majorities of these are pulled from.
    pub fn pulled_sets(&self) -> &ReplicaSets {
        &self.pulled
    }

    /// Who is pulled from.
    pub fn pulled(&self) -> Vec<NodeId> {
        self.without_damaged(self.pulled.members())
    }

    /// Who is asked to settle a row.
    pub fn settled(&self) -> Vec<NodeId> {
        self.without_damaged(self.settled.members())
    }

    fn without_damaged(&self, mut nodes: Vec<NodeId>) -> Vec<NodeId> {
        nodes.retain(|node| self.counts(*node));
        nodes
    }

    pub(super) fn counts(&self, node: NodeId) -> bool {
        node != self.me || self.standing == Standing::Whole
    }
}
