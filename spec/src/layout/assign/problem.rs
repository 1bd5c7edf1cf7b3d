//! A demand and a past, looked through and numbered: what `repair` solves and `check` checks.
//!
//! *Legal sets.* A partition may live on any r allowed nodes that are in at least k zones. These sets are the bases of a
//! matroid. For if S and T are legal and a is in S but not in T, some b in T can take its place: when S without a is
//! still in k zones, any b of T that is not in S; otherwise it is in k - 1 zones, and T, which is in k, has a node in
//! another one. Two facts follow that the rest leans on: the greedy algorithm finds a legal set of least weight
//! ([`Problem::cheapest`]), and a set that no single exchange makes cheaper is the cheapest of all (Edmonds 1971).

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::demand::{
    AssignError, CAPACITY_MAX_BYTES, Demand, NODES_MAX, Offer, PARTITIONS_MAX, Past, Role, ZoneRedundancy,
};
use crate::layout::table::Partition;
use crate::quorum::NodeId;

/// Nodes and partitions by their places in these lists; gateways are not among the nodes.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) nodes: Vec<Node>,
    pub(super) shares: Vec<Share>,
    pub(super) replicas: usize,
    pub(super) zones: usize,
}

/// A storage node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) zone: usize,
    pub(super) capacity_bytes: u64,
}

/// A partition.
#[derive(Debug)]
pub(super) struct Share {
    /// The nodes that have it now, those that are gone left out.
    pub(super) before: Vec<usize>,
    barred: Vec<usize>,
    pub(super) fate: Fate,
}

/// What may become of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It can have any legal set.
    Free,
    /// It is left as it was.
    Left,
}

impl Problem {
    pub(super) fn new(demand: &Demand, past: &Past) -> Result<Self, AssignError> {
        if !demand.partitions.is_power_of_two() || demand.partitions > PARTITIONS_MAX {
            return Err(AssignError::Partitions(demand.partitions));
        }
        let (before, now) = (past.previous.len(), demand.partitions);
        if before != 0 && before != now as usize {
            return Err(AssignError::PartitionsChanged { before, now });
        }
        let nodes = storage_nodes(&demand.nodes)?;
        let (replicas, zones) = numbers(demand, &nodes)?;
        let mut problem = Problem {
            shares: Vec::new(),
            nodes,
            replicas,
            zones,
        };
        // A u16 holds every number below PARTITIONS_MAX.
        for partition in (0..now).map(|number| Partition(number as u16)) {
            let share = problem.share(past, partition)?;
            problem.shares.push(share);
        }
        Ok(problem)
    }

    fn share(&self, past: &Past, partition: Partition) -> Result<Share, AssignError> {
        let previous = past
            .previous
            .get(usize::from(partition.0))
            .map_or(&[][..], Vec::as_slice);
        let mut share = Share {
            before: self.places(previous),
            barred: past
                .barred
                .get(&partition)
                .map_or_else(Vec::new, |nodes| self.places(nodes)),
            fate: Fate::Free,
        };
        let is_stuck = !share.barred.is_empty() && self.cheapest(&share, |_| 0).is_none();
        if is_stuck || past.pinned.contains(&partition) {
            if previous.is_empty() || share.before.len() != previous.len() {
                return Err(AssignError::Stuck(partition));
            }
            share.fate = Fate::Left;
        }
        Ok(share)
    }

    /// The legal set of least weight, in order; `None` if there is no legal set. Of equals, the first is taken.
    pub(super) fn cheapest<W: Ord>(&self, share: &Share, weight: impl Fn(usize) -> W) -> Option<Vec<usize>> {
        let mut nodes: Vec<usize> = (0..self.nodes.len()).filter(|node| share.allows(*node)).collect();
        nodes.sort_by_cached_key(|node| weight(*node));
        let (mut chosen, mut zones) = (Vec::new(), Vec::new());
        for node in nodes {
            let zone = self.nodes[node].zone;
            let is_new = !zones.contains(&zone);
            let zones_missing = self.zones.saturating_sub(zones.len() + usize::from(is_new));
            if chosen.len() + 1 + zones_missing <= self.replicas {
                chosen.push(node);
                zones.extend(is_new.then_some(zone));
            }
        }
        chosen.sort();
        (chosen.len() == self.replicas).then_some(chosen)
    }

    /// Is the share, with `from` in `set` replaced by `to`, still on a legal set?
    pub(super) fn may_exchange(&self, share: &Share, set: &[usize], from: usize, to: usize) -> bool {
        if share.fate == Fate::Left || !set.contains(&from) || set.contains(&to) || !share.allows(to) {
            return false;
        }
        self.zones_of(set.iter().filter(|node| **node != from).chain([&to])) >= self.zones
    }

    /// In how many zones these nodes are.
    pub(super) fn zones_of<'a>(&self, nodes: impl Iterator<Item = &'a usize> + Clone) -> usize {
        let zone = |node: &usize| self.nodes[*node].zone;
        let is_first =
            |(place, node): &(usize, &usize)| !nodes.clone().take(*place).any(|other| zone(other) == zone(node));
        nodes.clone().enumerate().filter(is_first).count()
    }

    /// How many partitions of a size the node can hold.
    pub(super) fn room(&self, node: usize, size: u64) -> u64 {
        (self.nodes[node].capacity_bytes / size).min(self.shares.len() as u64)
    }

    /// The largest size of which the nodes can hold so many; `None` if they cannot even hold them at a byte each.
    pub(super) fn largest_size(&self, nodes: &[usize], replicas: u64) -> Option<u64> {
        let fits = |size: u64| nodes.iter().map(|node| self.room(*node, size)).sum::<u64>() >= replicas;
        let (mut fitting, mut failing) = (0, u64::MAX);
        while failing - fitting > 1 {
            let middle = fitting + (failing - fitting) / 2;
            if fits(middle) {
                fitting = middle;
            } else {
                failing = middle;
            }
        }
        (fitting > 0).then_some(fitting)
    }

    /// The places of those nodes that are storage nodes, in order, each once.
    pub(super) fn places<'a>(&self, nodes: impl IntoIterator<Item = &'a NodeId>) -> Vec<usize> {
        let place = |node: &NodeId| self.nodes.binary_search_by_key(node, |node| node.id).ok();
        let places: BTreeSet<usize> = nodes.into_iter().filter_map(place).collect();
        places.into_iter().collect()
    }

    pub(super) fn names(&self, places: &[usize]) -> Vec<NodeId> {
        places.iter().map(|place| self.nodes[*place].id).collect()
    }

    /// The partitions that are left as they were.
    pub(super) fn left(&self) -> BTreeSet<Partition> {
        let shares = (0..).map(Partition).zip(&self.shares);
        let left = shares.filter(|(_, share)| share.fate == Fate::Left);
        left.map(|(partition, _)| partition).collect()
    }
}

impl Share {
    pub(super) fn allows(&self, node: usize) -> bool {
        !self.barred.contains(&node)
    }

    /// Must a replica on the node be moved there?
    pub(super) fn is_new_to(&self, node: usize) -> bool {
        !self.before.contains(&node)
    }
}

/// The storage nodes in order of id, their zones numbered by name.
fn storage_nodes(offers: &[Offer]) -> Result<Vec<Node>, AssignError> {
    if offers.len() > NODES_MAX {
        return Err(AssignError::TooManyNodes(offers.len()));
    }
    let mut offers: Vec<&Offer> = offers.iter().collect();
    offers.sort_by_key(|offer| offer.node);
    if let Some(pair) = offers.windows(2).find(|pair| pair[0].node == pair[1].node) {
        return Err(AssignError::NamedTwice(pair[0].node));
    }
    let mut names: Vec<&str> = offers.iter().map(|offer| offer.zone.as_str()).collect();
    names.sort();
    let (mut nodes, mut total) = (Vec::new(), 0_u64);
    for offer in offers {
        let capacity_bytes = match offer.role {
            Role::Gateway => continue,
            Role::Storage { capacity_bytes: 0 } => return Err(AssignError::NoCapacity(offer.node)),
            Role::Storage { capacity_bytes } => capacity_bytes,
        };
        total = total.saturating_add(capacity_bytes);
        nodes.push(Node {
            id: offer.node,
            zone: names.partition_point(|name| *name < offer.zone.as_str()),
            capacity_bytes,
        });
    }
    if total > CAPACITY_MAX_BYTES {
        return Err(AssignError::CapacityTooLarge);
    }
    Ok(nodes)
}

/// Replicas and zones per partition.
fn numbers(demand: &Demand, nodes: &[Node]) -> Result<(usize, usize), AssignError> {
    let replication_factor = demand.replication_factor;
    let replicas = usize::from(replication_factor);
    if replicas == 0 {
        return Err(AssignError::NoReplicas);
    }
    if nodes.len() < replicas {
        return Err(AssignError::TooFewNodes {
            storage_nodes: nodes.len(),
            replication_factor,
        });
    }
    let zones = nodes.iter().map(|node| node.zone).collect::<BTreeSet<_>>().len();
    let wanted = match demand.redundancy {
        ZoneRedundancy::Maximum => zones.min(replicas),
        ZoneRedundancy::AtLeast(zones) if zones == 0 || zones > replication_factor => {
            return Err(AssignError::Redundancy {
                zones,
                replication_factor,
            });
        }
        ZoneRedundancy::AtLeast(zones) => usize::from(zones),
    };
    if zones < wanted {
        return Err(AssignError::TooFewZones { zones, wanted });
    }
    Ok((replicas, wanted))
}
