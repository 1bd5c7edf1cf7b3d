//! A twin that tries every placement of tiny clusters, written from the definitions alone.

use super::laws::{Instance, instances};
use super::*;
use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};

/// Subsets of the storage nodes, as the demand names them.
type Set = Vec<NodeId>;

fn capacity(demand: &Demand) -> BTreeMap<NodeId, (u64, &str)> {
    let storage = demand.nodes.iter().filter_map(|offer| match offer.role {
        Role::Storage { capacity_bytes } => Some((offer.node, (capacity_bytes, offer.zone.as_str()))),
        Role::Gateway => None,
    });
    storage.collect()
}

fn zones(demand: &Demand, set: &[NodeId]) -> usize {
    let nodes = capacity(demand);
    set.iter().map(|node| nodes[node].1).collect::<BTreeSet<_>>().len()
}

/// The sets that a partition may have; `None` if none, and it cannot be left either.
pub(super) fn choices(instance: &Instance, partition: u16) -> Option<Vec<Set>> {
    let (demand, past, key) = (&instance.demand, &instance.past, Partition(partition));
    let ids: Set = capacity(demand).keys().copied().collect();
    let wanted = match demand.redundancy {
        ZoneRedundancy::AtLeast(zones) => usize::from(zones),
        ZoneRedundancy::Maximum => zones(demand, &ids).min(usize::from(demand.replication_factor)),
    };
    let subset = |bits: u32| ids.iter().enumerate().filter(move |(place, _)| bits >> place & 1 == 1);
    let subsets = (0..1_u32 << ids.len()).map(|bits| subset(bits).map(|(_, node)| *node).collect::<Set>());
    let is_barred = |node: &NodeId| past.barred.get(&key).is_some_and(|nodes| nodes.contains(node));
    let legal = subsets.filter(|set| {
        set.len() == usize::from(demand.replication_factor)
            && zones(demand, set) >= wanted
            && !set.iter().any(is_barred)
    });
    let legal: Vec<Set> = legal.collect();
    if !legal.is_empty() && !past.pinned.contains(&key) {
        return Some(legal);
    }
    let mut previous = past.previous.get(usize::from(partition))?.clone();
    previous.sort();
    previous.iter().all(|node| ids.contains(node)).then(|| vec![previous])
}

/// The size that a placement allows and the moves that it makes.
pub(super) fn value(instance: &Instance, replicas: &[Set]) -> (u64, u64) {
    let size = |(node, (bytes, _)): (&NodeId, &(u64, &str))| {
        let load = replicas.iter().filter(|set| set.contains(node)).count() as u64;
        bytes.checked_div(load)
    };
    let size = capacity(&instance.demand).iter().filter_map(size).min();
    let previous = &instance.past.previous;
    let held = |partition: usize, node: &NodeId| previous.get(partition).is_some_and(|set| set.contains(node));
    let moved = |(partition, set): (usize, &Set)| set.iter().filter(|node| !held(partition, node)).count() as u64;
    (size.unwrap_or(0), replicas.iter().enumerate().map(moved).sum())
}

/// The largest size and the fewest moves of all placements.
fn best(instance: &Instance, choices: &[Vec<Set>]) -> (u64, u64) {
    let mut best = (0, 0);
    let all: usize = choices.iter().map(Vec::len).product();
    for mut number in 0..all {
        let pick = |sets: &Vec<Set>| {
            let set = sets[number % sets.len()].clone();
            number /= sets.len();
            set
        };
        let replicas: Vec<Set> = choices.iter().map(pick).collect();
        let (size, moves) = value(instance, &replicas);
        if size > best.0 || size == best.0 && moves < best.1 {
            best = (size, moves);
        }
    }
    best
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn nothing_is_better_than_what_is_found(instance in instances(4, 2, 3)) {
        let found = assign(&instance.demand, &instance.past);
        let partitions = 0..instance.demand.partitions as u16;
        let choices: Option<Vec<Vec<Set>>> = partitions.map(|partition| choices(&instance, partition)).collect();
        let Some(choices) = choices else {
            let is_stuck = matches!(found, Err(AssignError::Stuck(_)));
            prop_assert_eq!((is_stuck, &found), (true, &found));
            return Ok(());
        };
        match best(&instance, &choices) {
            (0, _) => {
                let is_small = matches!(found, Err(AssignError::CapacityTooSmall { .. }));
                prop_assert_eq!((is_small, &found), (true, &found));
            }
            expected => {
                let placement = found.unwrap();
                let (_, moves) = value(&instance, &placement.replicas);
                prop_assert_eq!((placement.proof.partition_bytes, moves), expected);
            }
        }
    }
}
