//! Laws that hold for every demand and every past.

use super::twin::{choices, value};
use super::*;
use proptest::collection::{btree_map, btree_set, vec as vectors};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, proptest};
use proptest::sample::{Index, select, subsequence};

/// A demand that names enough nodes and zones, after some past.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    pub(super) demand: Demand,
    pub(super) past: Past,
}

/// Clusters of up to so many nodes, 2 to the power of so many partitions, and so many replicas.
pub(super) fn instances(
    nodes_max: usize,
    partitions_log_max: u32,
    replicas_max: u8,
) -> impl Strategy<Value = Instance> {
    let offers = vectors((0..4_usize, 0..60_u64, 1..8_u64), 1..=nodes_max).prop_map(|nodes| {
        let offer = |(id, (zone, bytes, scale)): (u64, (usize, u64, u64))| match bytes {
            0 => gateway(id, ["a", "b", "c", "d"][zone]),
            bytes => storage(id, ["a", "b", "c", "d"][zone], bytes * scale),
        };
        (1..).zip(nodes).map(offer).collect::<Vec<Offer>>()
    });
    let numbers = (0..=partitions_log_max, 1..=replicas_max, 0..=replicas_max);
    let demands = (offers, numbers).prop_filter_map("too few nodes or zones", |(nodes, numbers)| {
        let (partitions_log, replication_factor, zones) = numbers;
        let redundancy = match zones {
            0 => ZoneRedundancy::Maximum,
            zones => ZoneRedundancy::AtLeast(zones),
        };
        let demand = Demand {
            nodes,
            partitions: 1 << partitions_log,
            replication_factor,
            redundancy,
        };
        match assign(&demand, &Past::default()) {
            Ok(_) | Err(AssignError::CapacityTooSmall { .. }) => Some(demand),
            Err(_) => None,
        }
    });
    demands.prop_flat_map(move |demand| {
        let past = pasts(nodes_max as u64, &demand);
        (Just(demand), past).prop_map(|(demand, past)| Instance { demand, past })
    })
}

/// What there may have been: nothing, or anything. Nodes that are gone occur in it.
fn pasts(nodes_max: u64, demand: &Demand) -> impl Strategy<Value = Past> + use<> {
    let ids: Vec<NodeId> = (1..=nodes_max + 1).map(NodeId).collect();
    let partitions = demand.partitions as usize;
    let sets = subsequence(ids.clone(), 1..=ids.len().min(4)).prop_shuffle();
    let previous = vectors(sets, partitions).prop_flat_map(|previous| select(vec![vec![], previous.clone(), previous]));
    let partition = (0..demand.partitions as u16).prop_map(Partition);
    let some_nodes = btree_set((0..ids.len()).prop_map(move |place| ids[place]), 0..3);
    let barred = btree_map(partition.clone(), some_nodes, 0..partitions.min(5));
    let pinned = btree_set(partition, 0..2);
    (previous, barred, pinned).prop_map(|(previous, barred, pinned)| Past {
        pinned: if previous.is_empty() { BTreeSet::new() } else { pinned },
        previous,
        barred,
    })
}

/// Is every partition on a set that it may have?
fn is_legal(instance: &Instance, replicas: &[Vec<NodeId>]) -> bool {
    let sets = (0..).zip(replicas);
    sets.fold(true, |legal, (partition, set)| {
        legal && choices(instance, partition).is_some_and(|sets| sets.contains(set))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn what_is_found_is_legal_and_proven(instance in instances(9, 5, 4)) {
        if let Ok(placement) = assign(&instance.demand, &instance.past) {
            prop_assert!(is_legal(&instance, &placement.replicas));
            let verified = check(&instance.demand, &instance.past, &placement).unwrap();
            let (size, moves) = value(&instance, &placement.replicas);
            prop_assert!(size >= placement.proof.partition_bytes);
            prop_assert_eq!(verified.moves(), moves);
            prop_assert_eq!(Plan::new(&[], &instance.past, &instance.demand, &placement).moves, moves);
        }
    }

    #[test]
    fn the_order_in_which_things_are_named_does_not_matter(
        (instance, shuffled) in instances(8, 4, 3).prop_flat_map(|instance| {
            let nodes = Just(instance.demand.nodes.clone()).prop_shuffle();
            (Just(instance), nodes)
        })
    ) {
        let mut other = instance.clone();
        other.demand.nodes = shuffled;
        other.past.previous.iter_mut().for_each(|set| set.reverse());
        prop_assert_eq!(assign(&instance.demand, &instance.past), assign(&other.demand, &other.past));
    }

    #[test]
    fn once_placed_nothing_moves(instance in instances(8, 4, 3)) {
        let fresh = Past::default();
        if let Ok(placement) = assign(&instance.demand, &fresh) {
            let again = assign(&instance.demand, &after(&placement)).unwrap();
            prop_assert_eq!(&again.replicas, &placement.replicas);
            prop_assert_eq!(again.proof.partition_bytes, placement.proof.partition_bytes);
        }
    }

    #[test]
    fn a_changed_placement_is_accepted_only_if_it_is_as_good(
        instance in instances(6, 3, 3),
        changes in vectors((any::<Index>(), any::<Index>(), any::<Index>()), 1..4),
    ) {
        if let Ok(placement) = assign(&instance.demand, &instance.past) {
            let mut changed = placement.clone();
            for (partition, replica, node) in changes {
                let set = partition.get_mut(&mut changed.replicas);
                if !set.is_empty() {
                    *replica.get_mut(set) = node.get(&instance.demand.nodes).node;
                    set.sort();
                }
            }
            let (size, moves) = value(&instance, &changed.replicas);
            let is_as_good = is_legal(&instance, &changed.replicas)
                && size >= placement.proof.partition_bytes
                && moves == value(&instance, &placement.replicas).1;
            let accepted = check(&instance.demand, &instance.past, &changed);
            prop_assert!(accepted.is_err() || is_as_good, "{:?}", accepted);
        }
    }

    #[test]
    fn a_changed_proof_is_rejected(instance in instances(6, 3, 3), less in any::<u64>(), more in any::<u64>()) {
        let Ok(placement) = assign(&instance.demand, &instance.past) else { return Ok(()) };
        let less = 1 + less % placement.proof.partition_bytes;
        let lies: [fn(&mut Placement, u64, u64); 8] = [
            |lie, _, _| lie.proof.partition_bytes -= 1,
            |lie, less, _| lie.proof.partition_bytes -= less,
            |lie, _, more| lie.proof.partition_bytes += 1 + more % (1 << 40),
            |lie, _, _| lie.proof.bottleneck.clear(),
            |lie, _, _| lie.replicas[0].clear(),
            |lie, _, _| lie.replicas.clear(),
            |lie, _, _| lie.replicas[0].extend_from_within(..1),
            |lie, _, _| lie.proof.left = BTreeSet::from_iter(lie.proof.left.is_empty().then_some(Partition(0))),
        ];
        for (number, lie) in lies.iter().enumerate() {
            let mut changed = placement.clone();
            lie(&mut changed, less, more);
            prop_assert!(check(&instance.demand, &instance.past, &changed).is_err(), "lie {}", number);
        }
    }
}
