//! Compares what this node holds of a partition with what the other replicas hold.
//!
//! All of them are asked at once, so that all read at the same time, and what is written meanwhile shows as a difference as
//! seldom as may be. They tell the roots of what they read; only where a majority does not have the root of this node,
//! leaves are asked for. A leaf in which a majority, this node included, agree is whole: whatever was acknowledged is on a
//! majority, and that one has a node in common with those who agree. Different majorities may agree on different leaves.

use std::time::Duration;

use trellis_spec::leaves::{Digest, Leaf, LeafSet, Tree};
use trellis_spec::peer::{Answer, Call};
use trellis_spec::quorum::{NodeId, Verdict, Vote};

use super::coordinator::Coordinator;
use super::place::Place;
use super::poll::Told;
use crate::link::Lane;

/// How long a root may take: a partition is read for it.
const ROOT_WITHIN: Duration = Duration::from_secs(120);
/// How long leaves may take that were read before.
const LEAVES_WITHIN: Duration = Duration::from_secs(10);

/// See the module.
struct Comparison<'a> {
    coordinator: &'a Coordinator,
    place: &'a Place,
    /// Nobody waits for those who gave no answer when they were last asked anything.
    away: Vec<NodeId>,
}

impl Coordinator {
    /// The leaves in which this node may lack something; nothing if too few answered.
    pub(super) async fn compare(&self, place: &Place) -> Option<LeafSet> {
        let me = self.me();
        let comparison = Comparison {
            coordinator: self,
            place,
            away: self.repairs().contact.away(|node| node != me),
        };
        let roots = comparison.roots().await;
        match comparison.verdict(&roots)? {
            Verdict::Reached => Some(LeafSet::default()),
            Verdict::Pending | Verdict::Impossible if comparison.is_most(roots.len()) => {
                comparison.doubtful(&roots).await
            }
            Verdict::Pending | Verdict::Impossible => None,
        }
    }
}

impl Comparison<'_> {
    /// The roots of as many as it takes.
    async fn roots(&self) -> Told<Digest> {
        let members = self.place.sets.members().into_iter();
        let tombstones_since_us = self.coordinator.tombstones_since_us();
        let ask = members.map(|node| (node, Call::Digest { tombstones_since_us }));
        let is_enough = |roots: &Told<Digest>| match self.verdict(roots) {
            Some(Verdict::Reached) => true,
            Some(Verdict::Impossible) => self.is_most(roots.len()),
            Some(Verdict::Pending) | None => false,
        };
        let coordinator = self.coordinator;
        coordinator
            .poll(self.place, Lane::Bulk, ask, ROOT_WITHIN, root, is_enough)
            .await
    }

    /// The leaves on which too few agree.
    async fn doubtful(&self, roots: &Told<Digest>) -> Option<LeafSet> {
        let me = self.coordinator.me();
        let own_root = roots.get(&me)?;
        let alike = |node: NodeId| roots.get(&node) == Some(own_root);
        let ask = roots.iter().filter(|(node, _)| **node == me || !alike(**node));
        let ask = ask.map(|(node, root)| (*node, Call::Leaves(*root)));
        let coordinator = self.coordinator;
        let everybody = |_: &Told<Tree>| false;
        let mut trees = coordinator
            .poll(self.place, Lane::Bulk, ask, LEAVES_WITHIN, leaves, everybody)
            .await;
        trees.retain(|node, tree| roots.get(node) == Some(&tree.root()));
        let own = trees.get(&me)?;
        let known = |node: &NodeId| alike(*node) || trees.contains_key(node);
        if !self.is_most(roots.keys().filter(|node| known(node)).count()) {
            return None;
        }
        let agrees = |node: NodeId, leaf: Leaf| {
            let has_same = |tree: &Tree| tree.leaf(leaf) == own.leaf(leaf);
            match alike(node) || trees.get(&node).is_some_and(has_same) {
                true => Vote::Yes,
                false => Vote::No,
            }
        };
        let is_doubtful = |leaf: &Leaf| self.place.sets.verdict(|node| agrees(node, *leaf)) != Verdict::Reached;
        Some(Leaf::all().filter(is_doubtful).collect())
    }

    /// Does a majority have the root of this node? Nothing without its own.
    fn verdict(&self, roots: &Told<Digest>) -> Option<Verdict> {
        let own = roots.get(&self.coordinator.me())?;
        let agrees = |node| match roots.get(&node) {
            Some(root) if root == own => Vote::Yes,
            Some(_) => Vote::No,
            None if self.away.contains(&node) => Vote::No,
            None => Vote::Open,
        };
        Some(self.place.sets.verdict(agrees))
    }

    /// Are so many more than half?
    fn is_most(&self, nodes: usize) -> bool {
        nodes > self.place.sets.members().len() / 2
    }
}

fn root(answer: Answer) -> Option<Digest> {
    if let Answer::Digest(root) = answer {
        Some(root)
    } else {
        None
    }
}

fn leaves(answer: Answer) -> Option<Tree> {
    if let Answer::Leaves(leaves) = answer {
        leaves
    } else {
        None
    }
}
