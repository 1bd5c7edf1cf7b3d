//! What a running transition forbids, and what is left as it was.

use super::*;

fn nodes(ids: &[u64]) -> Vec<Offer> {
    ids.iter().map(|id| storage(*id, &format!("{id}"), TIB)).collect()
}

/// Four partitions.
fn small(ids: &[u64]) -> Demand {
    Demand {
        partitions: 4,
        ..demand(nodes(ids))
    }
}

fn ids(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().map(|id| NodeId(*id)).collect()
}

#[test]
fn barred_is_who_was_dropped_and_not_taken_back() {
    assert_eq!(barred(&[]), BTreeSet::new());
    assert_eq!(barred(&[ids(&[1, 2, 3])]), BTreeSet::new());
    let chain = [ids(&[1, 2, 3]), ids(&[1, 2, 4]), ids(&[1, 4, 5])];
    assert_eq!(barred(&chain), BTreeSet::from([NodeId(2), NodeId(3)]));
}

#[test]
fn a_barred_node_is_passed_over() {
    let barred = BTreeMap::from([(Partition(1), BTreeSet::from([NodeId(4)]))]);
    let past = Past {
        previous: vec![ids(&[1, 2, 3]); 4],
        barred,
        ..Past::default()
    };
    let (placement, _) = solve(&[], &past, &small(&[1, 2, 4, 5]));
    assert_eq!(placement.replicas[1], ids(&[1, 2, 5]));
    assert_eq!(placement.proof.left, BTreeSet::new());
}

#[test]
fn a_partition_without_choice_is_left() {
    // Layout 2 put node 4 in the place of node 3; before that is over, node 3 is to come back for node 1.
    let past = Past {
        previous: vec![ids(&[1, 2, 4]); 4],
        barred: (0..2)
            .map(|number| (Partition(number), barred(&[ids(&[1, 2, 3]), ids(&[1, 2, 4])])))
            .collect(),
        ..Past::default()
    };
    let mut demand = small(&[1, 2, 3, 4]);
    demand.nodes[0].zone = "4".to_string();
    let (placement, plan) = solve(&demand.nodes, &past, &demand);
    assert_eq!(placement.proof.left, BTreeSet::from([Partition(0), Partition(1)]));
    assert_eq!(placement.replicas[0], ids(&[1, 2, 4]));
    assert!(placement.replicas[2].contains(&NodeId(3)));
    assert_eq!((plan.moves, plan.left), (2, placement.proof.left.clone()));
}

#[test]
fn a_pinned_partition_keeps_even_what_no_other_could_have() {
    let past = Past {
        previous: vec![ids(&[1, 2]), ids(&[1, 2, 3]), ids(&[1, 2, 3]), ids(&[1, 2, 3])],
        pinned: BTreeSet::from([Partition(0)]),
        ..Past::default()
    };
    let (placement, _) = solve(&[], &past, &small(&[1, 2, 3, 4]));
    assert_eq!(placement.replicas[0], ids(&[1, 2]));
    assert!(placement.replicas[1..].iter().all(|nodes| nodes.len() == 3));
}

#[test]
fn who_can_neither_go_nor_stay_has_to_wait() {
    let past = Past {
        previous: vec![ids(&[1, 2, 4]); 4],
        barred: BTreeMap::from([(Partition(2), BTreeSet::from([NodeId(3)]))]),
        ..Past::default()
    };
    assert_eq!(assign(&small(&[1, 2, 3]), &past), Err(AssignError::Stuck(Partition(2))));
    let first = Past {
        pinned: BTreeSet::from([Partition(1)]),
        ..Past::default()
    };
    assert_eq!(
        assign(&small(&[1, 2, 3]), &first),
        Err(AssignError::Stuck(Partition(1)))
    );
}

#[test]
fn the_number_of_partitions_is_for_ever() {
    let past = Past {
        previous: vec![ids(&[1, 2, 3]); 8],
        ..Past::default()
    };
    assert_eq!(
        assign(&small(&[1, 2, 3]), &past),
        Err(AssignError::PartitionsChanged { before: 8, now: 4 })
    );
}
