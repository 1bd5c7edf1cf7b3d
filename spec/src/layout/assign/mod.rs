//! The best placement of partitions on nodes, and the proof that it is the best.
//!
//! [`assign`] answers a [`Demand`] (nodes, replicas, zones) in the light of a [`Past`] (what is placed where now, and
//! what a running transition forbids). Among all placements that keep every partition on enough nodes in enough zones
//! it picks one with, first, the largest usable capacity and, second, the fewest moves. The two aims and their order
//! are those of M. Oulamara and A. Auvolat, "An algorithm for geo-distributed and redundant storage in Garage"
//! (arXiv:2302.13798, sections 1.2 and 2); the way there is our own.
//!
//! The paper searches a maximum flow in a graph with a vertex for every partition and zone, and then cancels negative
//! cycles in it. Here the sets of nodes on which one partition may live are treated as what they are, the bases of a
//! matroid (`problem`), so that the graph of exchanges has one vertex for each node and none for partitions
//! (`exchange`, `repair`). The dual of this problem has one number for each node, a *price*. That makes a proof which
//! can be told in two sentences and checked without solving anything (`check`):
//!
//! - *No partition could be larger*: here is a set of nodes that must hold at least so many replicas, however one
//!   places them, and that cannot hold as many of the next larger size.
//! - *No placement has fewer moves*: at these prices every partition sits on the cheapest set of nodes that it may have
//!   (a node costs its price, and one more if the replica must be moved there), and every node with a price is full.
//!
//! Everything is exact, in integers, and depends on nothing but the demand and the past: nodes are taken in order of
//! id, and ties are broken by a hash that spreads partitions over nodes.

mod check;
mod demand;
mod exchange;
mod plan;
mod problem;
mod rendezvous;
mod repair;
#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

pub use check::{Verified, Violation, check};
pub use demand::{
    AssignError, CAPACITY_MAX_BYTES, Demand, NODES_MAX, Offer, PARTITIONS_MAX, Past, Role, ZoneRedundancy, barred,
};
pub use plan::{Change, NodeChange, Plan};

use super::table::{Member, Partition};
use crate::quorum::NodeId;
use check::least_replicas;
use problem::Problem;
use repair::{Bottleneck, Repaired, preferred, repair};

/// Which partition is where, with the proof that no placement is better.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Placement {
    /// For each partition its replicas, in order of id.
    pub replicas: Vec<Vec<NodeId>>,
    /// Why there is none better.
    pub proof: Proof,
}

/// What shows, together with the placement that it is about, that there is no better one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Proof {
    /// The partitions that were left as they were, because they were pinned or what they may not have left no choice.
    pub left: BTreeSet<Partition>,
    /// How large every partition may grow at most.
    pub partition_bytes: u64,
    /// Nodes that must hold more replicas than they could if partitions were a byte larger.
    pub bottleneck: BTreeSet<NodeId>,
    /// How many moves it would save if a full node had room for another replica. Nodes that are not named have no
    /// price.
    pub prices: BTreeMap<NodeId, u32>,
}

impl Placement {
    /// Bytes that fit in the whole cluster, each counted once.
    pub fn usable_bytes(&self) -> u64 {
        self.proof.partition_bytes.saturating_mul(self.replicas.len() as u64)
    }

    /// The assignment as a layout has it: places in `members`, which are in order of id. `None` if one is not there.
    pub fn as_places(&self, members: &[Member]) -> Option<Vec<Vec<u16>>> {
        let place = |node: &NodeId| {
            let found = members.binary_search_by_key(node, |member| member.id).ok()?;
            u16::try_from(found).ok()
        };
        let partition = |nodes: &Vec<NodeId>| nodes.iter().map(place).collect();
        self.replicas.iter().map(partition).collect()
    }
}

/// The placement with the largest partitions and, among those, the fewest moves.
///
/// A size is tried that the nodes known to be in short supply could just hold; at first these are all nodes together.
/// Either everything finds its place, or there is a narrower supply, which lowers the size (Dinkelbach's method). So
/// the last narrow supply proves that the size which fits is the largest.
pub fn assign(demand: &Demand, past: &Past) -> Result<Placement, AssignError> {
    let problem = Problem::new(demand, past)?;
    let start = preferred(&problem);
    let mut narrow = Bottleneck::of_all(&problem, &start);
    loop {
        let Some(size) = problem.largest_size(&narrow.nodes, narrow.replicas) else {
            let nodes = narrow.short_at(&problem, 1);
            return Err(AssignError::CapacityTooSmall {
                replicas: least_replicas(&problem, &nodes),
                nodes: problem.names(&nodes),
            });
        };
        match repair(&problem, &start, size) {
            Ok(repaired) => return Ok(placement(&problem, repaired, &narrow, size)),
            Err(narrower) => narrow = narrower,
        }
    }
}

fn placement(problem: &Problem, repaired: Repaired, narrow: &Bottleneck, partition_bytes: u64) -> Placement {
    let prices = problem.nodes.iter().zip(repaired.prices);
    let prices = prices.filter_map(|(node, price)| Some((node.id, u32::try_from(price).ok()?)));
    let bottleneck = narrow.short_at(problem, partition_bytes + 1);
    let proof = Proof {
        left: problem.left(),
        partition_bytes,
        bottleneck: problem.names(&bottleneck).into_iter().collect(),
        prices: prices.filter(|(_, price)| *price > 0).collect(),
    };
    Placement {
        replicas: repaired.sets.iter().map(|set| problem.names(set)).collect(),
        proof,
    }
}
