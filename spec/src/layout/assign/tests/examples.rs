//! Clusters as people have them, with the figures that one can work out by hand.

use super::*;

fn three() -> Vec<Offer> {
    vec![storage(1, "a", TIB), storage(2, "b", TIB), storage(3, "c", TIB)]
}

fn three_and(node: Offer) -> Vec<Offer> {
    [three(), vec![node]].concat()
}

#[test]
fn three_equal_zones_hold_everything_each() {
    let (placement, plan) = solve(&[], &Past::default(), &demand(three()));
    assert_eq!([1, 2, 3].map(|node| load(&placement, node)), [256; 3]);
    assert_eq!(
        (placement.proof.partition_bytes, placement.usable_bytes()),
        (TIB / 256, TIB)
    );
    assert_eq!((plan.moves, plan.bytes_to_move_at_most), (768, 0));
    assert!(placement.proof.prices.is_empty() && placement.proof.left.is_empty());
}

#[test]
fn a_large_zone_is_no_larger_than_zones_need_it() {
    let large = three_and(storage(4, "c", 9 * TIB));
    let (placement, _) = solve(&[], &Past::default(), &demand(large));
    assert_eq!([1, 2].map(|node| load(&placement, node)), [256; 2]);
    assert_eq!(load(&placement, 3) + load(&placement, 4), 256);
    assert_eq!(placement.usable_bytes(), TIB);
}

#[test]
fn small_zones_share_what_a_large_one_may_not_have() {
    let nodes = vec![
        storage(1, "a", TIB),
        storage(2, "b", TIB),
        storage(3, "c", 9 * TIB),
        storage(4, "c", 9 * TIB),
    ];
    let two_zones = Demand {
        redundancy: ZoneRedundancy::AtLeast(2),
        ..demand(nodes)
    };
    let (placement, _) = solve(&[], &Past::default(), &two_zones);
    assert_eq!([1, 2, 3, 4].map(|node| load(&placement, node)), [128, 128, 256, 256]);
    assert_eq!(placement.usable_bytes(), 2 * TIB);
    assert_eq!(placement.proof.bottleneck, BTreeSet::from([NodeId(1), NodeId(2)]));
}

#[test]
fn a_fourth_zone_takes_its_share_and_nothing_else_moves() {
    let (placement, plan) = change(&demand(three()), &demand(three_and(storage(4, "d", TIB))));
    assert_eq!([1, 2, 3, 4].map(|node| load(&placement, node)), [192; 4]);
    assert_eq!((plan.moves, plan.bytes_to_move_at_most), (192, 192 * (TIB / 256)));
    assert_eq!(
        (plan.usable_bytes_before, plan.usable_bytes_after),
        (TIB, TIB / 192 * 256)
    );
    assert_eq!(
        plan.zones["d"],
        Change {
            capacity_bytes: TIB,
            before: 0,
            after: 192,
            gains: 192,
            loses: 0
        }
    );
    assert_eq!(plan.nodes[&NodeId(1)].change.loses, 64);
}

#[test]
fn a_node_that_makes_no_room_gets_nothing() {
    let (placement, plan) = change(&demand(three()), &demand(three_and(storage(4, "a", TIB))));
    assert_eq!((plan.moves, load(&placement, 4)), (0, 0));
    assert_eq!(placement.usable_bytes(), TIB);
}

#[test]
fn a_removed_node_costs_what_it_held() {
    let (placement, plan) = change(&demand(three_and(storage(4, "d", TIB))), &demand(three()));
    assert_eq!([1, 2, 3].map(|node| load(&placement, node)), [256; 3]);
    assert_eq!(plan.moves, 192);
    let gone = &plan.nodes[&NodeId(4)];
    assert_eq!(
        (gone.change.capacity_bytes, gone.change.after, gone.change.loses),
        (0, 0, 192)
    );
}

#[test]
fn a_replacement_gets_what_its_predecessor_held() {
    let replaced = vec![storage(1, "a", TIB), storage(2, "b", TIB), storage(4, "c", TIB)];
    let (placement, plan) = change(&demand(three()), &demand(replaced));
    assert_eq!((plan.moves, load(&placement, 4)), (256, 256));
    assert_eq!(plan.zones["c"].gains, 256);
}

#[test]
fn a_zone_of_gateways_is_no_zone() {
    let nodes = three_and(gateway(4, "d"));
    let (placement, plan) = solve(&[], &Past::default(), &demand(nodes.clone()));
    assert_eq!((load(&placement, 4), placement.usable_bytes()), (0, TIB));
    assert_eq!(plan.zones["d"], Change::default());
    let four_zones = Demand {
        replication_factor: 4,
        redundancy: ZoneRedundancy::AtLeast(4),
        ..demand([nodes, vec![storage(5, "a", TIB)]].concat())
    };
    assert_eq!(
        assign(&four_zones, &Past::default()),
        Err(AssignError::TooFewZones { zones: 3, wanted: 4 })
    );
}

#[test]
fn fewer_replicas_need_no_move_and_more_need_one_each() {
    let two = Demand {
        replication_factor: 2,
        ..demand(three())
    };
    let (placement, plan) = change(&demand(three()), &two);
    assert_eq!((plan.moves, placement.usable_bytes()), (0, TIB / 171 * 256));
    let (placement, plan) = change(&two, &demand(three()));
    assert_eq!((plan.moves, placement.usable_bytes()), (256, TIB));
}

#[test]
fn without_zones_a_single_node_will_do() {
    let alone = Demand {
        replication_factor: 1,
        ..demand(vec![storage(7, "a", 1000)])
    };
    let (placement, _) = solve(&[], &Past::default(), &alone);
    assert_eq!((load(&placement, 7), placement.proof.partition_bytes), (256, 3));
}

#[test]
fn partners_are_many_so_that_a_lost_node_is_restored_from_many() {
    let nodes = (1..=12).map(|id| storage(id, ["a", "b", "c"][id as usize % 3], TIB));
    let (placement, _) = solve(&[], &Past::default(), &demand(nodes.collect()));
    let of_first = placement.replicas.iter().filter(|nodes| nodes.contains(&NodeId(1)));
    let partners: BTreeSet<&NodeId> = of_first.flatten().collect();
    // All of the other two zones, and itself.
    assert_eq!(partners.len(), 9);
}

#[test]
fn a_price_on_a_node_with_room_proves_nothing() {
    let (before, now) = (demand(three()), demand(three_and(storage(4, "c", TIB))));
    let (first, _) = solve(&[], &Past::default(), &before);
    let (mut lie, _) = solve(&[], &after(&first), &now);
    // Everything moves from node 3 to node 4, and node 3 is said to be so dear that this is no dearer than staying.
    lie.replicas = vec![[1, 2, 4].map(NodeId).to_vec(); 256];
    lie.proof.prices = BTreeMap::from([(NodeId(3), 1)]);
    assert_eq!(check(&now, &after(&first), &lie), Err(Violation::Price(NodeId(3))));
    lie.proof.prices.clear();
    assert_eq!(check(&now, &after(&first), &lie), Err(Violation::Moves(Partition(0))));
}

#[test]
fn places_are_those_of_the_members() {
    let member = |id| Member {
        id: NodeId(id),
        role: match id {
            2 => Role::Gateway,
            _ => Role::Storage { capacity_bytes: TIB },
        },
        ..Member::test(id, &format!("{id}"))
    };
    let members: Vec<Member> = (1..=4).map(member).collect();
    let (placement, _) = solve(
        &[],
        &Past::default(),
        &demand(members.iter().map(Offer::from).collect()),
    );
    assert_eq!(placement.as_places(&members), Some(vec![vec![0, 2, 3]; 256]));
    assert_eq!(placement.as_places(&members[..3]), None);
}

#[test]
fn nonsense_is_refused_with_a_word_on_what_to_do() {
    let refused = |demand: Demand, error: AssignError| {
        assert_eq!(assign(&demand, &Past::default()), Err(error.clone()));
        assert!(error.to_string().contains(": "), "{error}");
    };
    let with = |change: &dyn Fn(&mut Demand)| {
        let mut demand = demand(three());
        change(&mut demand);
        demand
    };
    refused(with(&|demand| demand.partitions = 100), AssignError::Partitions(100));
    refused(
        with(&|demand| demand.partitions = 65_536),
        AssignError::Partitions(65_536),
    );
    refused(with(&|demand| demand.partitions = 0), AssignError::Partitions(0));
    refused(with(&|demand| demand.replication_factor = 0), AssignError::NoReplicas);
    refused(
        with(&|demand| demand.replication_factor = 4),
        AssignError::TooFewNodes {
            storage_nodes: 3,
            replication_factor: 4,
        },
    );
    refused(
        with(&|demand| demand.redundancy = ZoneRedundancy::AtLeast(4)),
        AssignError::Redundancy {
            zones: 4,
            replication_factor: 3,
        },
    );
    refused(
        with(&|demand| demand.nodes[1].zone = "a".to_string()).with_zones(3),
        AssignError::TooFewZones { zones: 2, wanted: 3 },
    );
    refused(
        with(&|demand| demand.nodes[2] = storage(3, "c", 0)),
        AssignError::NoCapacity(NodeId(3)),
    );
    refused(
        with(&|demand| demand.nodes[2] = storage(2, "c", 1)),
        AssignError::NamedTwice(NodeId(2)),
    );
    refused(
        with(&|demand| demand.nodes[2] = storage(3, "c", u64::MAX)),
        AssignError::CapacityTooLarge,
    );
    refused(
        demand((0..1025).map(|id| storage(id, "a", 1)).collect()),
        AssignError::TooManyNodes(1025),
    );
    refused(
        with(&|demand| demand.nodes[2] = storage(3, "c", 255)),
        AssignError::CapacityTooSmall {
            nodes: vec![NodeId(3)],
            replicas: 256,
        },
    );
}

impl Demand {
    fn with_zones(mut self, zones: u8) -> Self {
        self.redundancy = ZoneRedundancy::AtLeast(zones);
        self
    }
}
