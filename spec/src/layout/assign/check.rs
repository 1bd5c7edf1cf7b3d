//! Is a placement legal, and is there none better? Anybody can tell, without solving anything.
//!
//! *Why the bottleneck proves that partitions cannot be larger.* [`Problem::cheapest`] with a price of one on the nodes
//! of the bottleneck tells how many replicas of a partition must be there at least. If these, added up, are more than
//! the same nodes can hold of partitions a byte larger, there is no placement of these.
//!
//! *Why prices prove that no placement has fewer moves.* Call what a partition pays for a set the moves that it makes
//! there plus the prices of its nodes. Summed over partitions, that is the number of moves plus, for every node, its
//! price times its load. In this placement each partition pays the least it can, and nodes with a price are full. In any
//! other each pays at least that much, and no load is larger than a full one; so its moves cannot be fewer. (Prices are
//! the dual solution of the linear program, and what is checked is complementary slackness; that prices exist for every
//! best placement is Frank's weight-splitting theorem, *Journal of Algorithms* 2, 1981.)

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::Placement;
use super::demand::{AssignError, Demand, Past};
use super::problem::{Fate, Problem, Share};
use crate::layout::table::Partition;
use crate::quorum::NodeId;

/// Proof that a placement was checked. There is no other way to get one than [`check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified<'a> {
    placement: &'a Placement,
    moves: u64,
}

/// What is wrong with a placement, or not proven.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Violation {
    /// The demand itself cannot be met.
    Demand(AssignError),
    /// It has not as many partitions as asked for.
    Partitions(usize),
    /// The partitions that are left as they were are not the ones named, or one is not as it was.
    Left,
    /// The partition is not on as many storage nodes as asked for, named in order.
    Replicas(Partition),
    /// The partition is on a node that it may not have.
    Barred(Partition),
    /// The partition is in too few zones.
    Zones(Partition),
    /// The node is to hold more than it can.
    TooMuch(NodeId),
    /// Partitions could be larger, for all that the bottleneck tells.
    Size,
    /// Moves could be fewer: at these prices there is a cheaper set for the partition.
    Moves(Partition),
    /// Moves could be fewer: the node has a price, but it is not full.
    Price(NodeId),
}

impl<'a> Verified<'a> {
    /// The placement.
    pub fn placement(&self) -> &'a Placement {
        self.placement
    }

    /// Replicas that must be copied to a node that had none; no placement with partitions as large has fewer.
    pub fn moves(&self) -> u64 {
        self.moves
    }
}

/// Checks that a placement is what [`assign`](super::assign) promises for this demand and past.
pub fn check<'a>(demand: &Demand, past: &Past, placement: &'a Placement) -> Result<Verified<'a>, Violation> {
    let problem = Problem::new(demand, past).map_err(Violation::Demand)?;
    let sets = legal_sets(&problem, placement)?;
    let load = loads(&problem, &sets);
    let room = |node, size| problem.room(node, size);
    let size = placement.proof.partition_bytes;
    let fits = |node: &usize| size > 0 && load[*node] <= room(*node, size);
    if let Some(node) = (0..load.len()).find(|node| !fits(node)) {
        return Err(Violation::TooMuch(problem.nodes[node].id));
    }
    no_size_is_larger(&problem, placement)?;
    let moves = no_moves_are_fewer(&problem, placement, &sets, |node| load[node] == room(node, size))?;
    Ok(Verified { placement, moves })
}

/// The sets of nodes by place, if all are legal.
fn legal_sets(problem: &Problem, placement: &Placement) -> Result<Vec<Vec<usize>>, Violation> {
    if placement.replicas.len() != problem.shares.len() {
        return Err(Violation::Partitions(placement.replicas.len()));
    }
    if placement.proof.left != problem.left() {
        return Err(Violation::Left);
    }
    let sets = (0..).map(Partition).zip(&problem.shares).zip(&placement.replicas);
    sets.map(|((partition, share), nodes)| legal_set(problem, share, partition, nodes))
        .collect()
}

fn legal_set(
    problem: &Problem,
    share: &Share,
    partition: Partition,
    nodes: &[NodeId],
) -> Result<Vec<usize>, Violation> {
    let set = problem.places(nodes);
    let is_as_named = problem.names(&set) == nodes;
    match share.fate {
        Fate::Left if is_as_named && set == share.before => Ok(set),
        Fate::Left => Err(Violation::Left),
        Fate::Free if !is_as_named || set.len() != problem.replicas => Err(Violation::Replicas(partition)),
        Fate::Free if !set.iter().all(|node| share.allows(*node)) => Err(Violation::Barred(partition)),
        Fate::Free if problem.zones_of(set.iter()) < problem.zones => Err(Violation::Zones(partition)),
        Fate::Free => Ok(set),
    }
}

fn loads(problem: &Problem, sets: &[Vec<usize>]) -> Vec<u64> {
    let mut loads = vec![0; problem.nodes.len()];
    sets.iter().flatten().for_each(|node| loads[*node] += 1);
    loads
}

fn no_size_is_larger(problem: &Problem, placement: &Placement) -> Result<(), Violation> {
    let narrow = problem.places(&placement.proof.bottleneck);
    let room = |node: &usize| problem.room(*node, placement.proof.partition_bytes.saturating_add(1));
    if least_replicas(problem, &narrow) <= narrow.iter().map(room).sum() {
        return Err(Violation::Size);
    }
    Ok(())
}

fn no_moves_are_fewer(
    problem: &Problem,
    placement: &Placement,
    sets: &[Vec<usize>],
    is_full: impl Fn(usize) -> bool,
) -> Result<u64, Violation> {
    let price_of = |node: &NodeId| placement.proof.prices.get(node).map_or(0, |price| u64::from(*price));
    let prices: Vec<u64> = problem.nodes.iter().map(|node| price_of(&node.id)).collect();
    if let Some(node) = (0..prices.len()).find(|node| prices[*node] > 0 && !is_full(*node)) {
        return Err(Violation::Price(problem.nodes[node].id));
    }
    let mut moves = 0;
    for ((partition, share), set) in (0..).map(Partition).zip(&problem.shares).zip(sets) {
        let pays = |node: usize| prices[node] + u64::from(share.is_new_to(node));
        if set.iter().map(|node| pays(*node)).sum::<u64>() > least(problem, share, pays) {
            return Err(Violation::Moves(partition));
        }
        moves += set.iter().map(|node| u64::from(share.is_new_to(*node))).sum::<u64>();
    }
    Ok(moves)
}

/// How many replicas these nodes hold between them at least, in any placement.
pub(super) fn least_replicas(problem: &Problem, nodes: &[usize]) -> u64 {
    let mut prices = vec![0; problem.nodes.len()];
    nodes.iter().for_each(|node| prices[*node] = 1);
    let least = |share| least(problem, share, |node| prices[node]);
    problem.shares.iter().map(least).sum()
}

/// The least that a partition can pay.
fn least(problem: &Problem, share: &Share, pays: impl Fn(usize) -> u64) -> u64 {
    let cheapest = match share.fate {
        Fate::Left => None,
        Fate::Free => problem.cheapest(share, &pays),
    };
    let set = cheapest.as_ref().unwrap_or(&share.before);
    set.iter().map(|node| pays(*node)).sum()
}

impl core::error::Error for Violation {}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Demand(error) => write!(f, "the demand cannot be met: {error}"),
            Violation::Partitions(partitions) => write!(f, "it places {partitions} partitions"),
            Violation::Left => f.write_str("the partitions left as they were are not as they were"),
            Violation::Replicas(partition) => write!(f, "partition {} has too few replicas or too many", partition.0),
            Violation::Barred(partition) => write!(f, "partition {} is on a node that it may not have", partition.0),
            Violation::Zones(partition) => write!(f, "partition {} is in too few zones", partition.0),
            Violation::TooMuch(node) => write!(f, "node {:016x} is to hold more than it can", node.0),
            Violation::Size => f.write_str("it does not prove that partitions cannot be larger"),
            Violation::Moves(partition) => write!(f, "partition {} could do with fewer moves", partition.0),
            Violation::Price(node) => write!(f, "node {:016x} has a price, but is not full", node.0),
        }
    }
}
