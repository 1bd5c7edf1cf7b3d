//! From what every partition would like best to what the nodes can hold.
//!
//! At first every partition has its cheapest legal set, and some nodes have too much. Then replicas are handed on, one
//! at a time, from a node with too much to one with room, always along a route of least cost. This is the method of
//! successive shortest paths for flows of minimal cost (Ahuja, Magnanti and Orlin, *Network Flows*, section 9.7), on the
//! graph of nodes and exchanges: no placement with the same number of replicas on each node has fewer moves, before and
//! after every step. When a node with too much has no route, the nodes without one are the bottleneck.

use alloc::vec::Vec;

use super::exchange::Board;
use super::problem::{Fate, Node, Problem, Share};
use super::rendezvous::score;

/// A placement in which no node has too much.
pub(super) struct Repaired {
    pub(super) sets: Vec<Vec<usize>>,
    /// For every node, how many moves could be saved if it had room for another replica.
    pub(super) prices: Vec<i64>,
}

/// Nodes that together hold at least so many replicas in every placement.
pub(super) struct Bottleneck {
    pub(super) nodes: Vec<usize>,
    pub(super) replicas: u64,
}

impl Bottleneck {
    pub(super) fn of_all(problem: &Problem, sets: &[Vec<usize>]) -> Self {
        Bottleneck {
            nodes: (0..problem.nodes.len()).collect(),
            replicas: sets.iter().map(|set| set.len() as u64).sum(),
        }
    }

    /// The nodes that are short of room for partitions of this size, for which the whole is too narrow. A node that can
    /// hold every partition is not: without it there are as many replicas fewer, or less, as there is less room.
    pub(super) fn short_at(&self, problem: &Problem, size: u64) -> Vec<usize> {
        let is_short = |node: &usize| problem.room(*node, size) < problem.shares.len() as u64;
        self.nodes.iter().copied().filter(is_short).collect()
    }
}

/// For every partition what it would have if no node were ever full: the nodes where it is, then those that weighted
/// rendezvous hashing ranks highest, so that partitions spread over nodes in proportion to capacity.
pub(super) fn preferred(problem: &Problem) -> Vec<Vec<usize>> {
    let shares = (0..).zip(&problem.shares);
    shares
        .map(|(partition, share)| preferred_set(problem, partition, share))
        .collect()
}

fn preferred_set(problem: &Problem, partition: u32, share: &Share) -> Vec<usize> {
    let rank = |node: usize| {
        let Node { id, capacity_bytes, .. } = problem.nodes[node];
        (share.is_new_to(node), score(partition, id, capacity_bytes))
    };
    match share.fate {
        Fate::Left => share.before.clone(),
        Fate::Free => problem
            .cheapest(share, rank)
            .expect("a share without a legal set is left"),
    }
}

/// The placement with the fewest moves for partitions of this size, or what is too narrow for them.
pub(super) fn repair(problem: &Problem, start: &[Vec<usize>], size: u64) -> Result<Repaired, Bottleneck> {
    let mut board = Board::new(problem, start.to_vec(), size);
    loop {
        let routes = board.routes();
        let mut too_full = (0..problem.nodes.len()).filter(|node| board.has_too_much(*node));
        let Some(node) = too_full.next() else {
            return Ok(Repaired {
                prices: board.prices(),
                sets: board.sets,
            });
        };
        if board.is_far(&routes[node]) {
            let nodes: Vec<usize> = (0..problem.nodes.len())
                .filter(|node| board.is_far(&routes[*node]))
                .collect();
            let replicas = nodes.iter().map(|node| board.load[*node]).sum();
            return Err(Bottleneck { nodes, replicas });
        }
        board.follow(&routes, node);
    }
}
