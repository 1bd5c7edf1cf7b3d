//! Examples told by hand, laws over random demands, and a twin that tries everything.

mod examples;
mod laws;
mod stays;
mod twin;

use super::*;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;

const TIB: u64 = 1 << 40;

/// A storage node.
fn storage(id: u64, zone: &str, capacity_bytes: u64) -> Offer {
    Offer {
        node: NodeId(id),
        zone: zone.to_string(),
        role: Role::Storage { capacity_bytes },
        tags: vec![],
    }
}

fn gateway(id: u64, zone: &str) -> Offer {
    Offer {
        role: Role::Gateway,
        ..storage(id, zone, 0)
    }
}

/// 256 partitions, three replicas, as many zones as possible.
fn demand(nodes: Vec<Offer>) -> Demand {
    Demand {
        nodes,
        partitions: 256,
        replication_factor: 3,
        redundancy: ZoneRedundancy::Maximum,
    }
}

fn after(placement: &Placement) -> Past {
    Past {
        previous: placement.replicas.clone(),
        ..Past::default()
    }
}

/// A placement that was checked, and its plan after a first demand.
fn solve(before: &[Offer], past: &Past, demand: &Demand) -> (Placement, Plan) {
    let placement = assign(demand, past).unwrap();
    let verified = check(demand, past, &placement).unwrap();
    let plan = Plan::new(before, past, demand, &placement);
    assert_eq!((verified.placement(), verified.moves()), (&placement, plan.moves));
    (placement, plan)
}

/// The placement of a first demand, and the one that follows when the demand changes.
fn change(first: &Demand, second: &Demand) -> (Placement, Plan) {
    let (before, _) = solve(&[], &Past::default(), first);
    solve(&first.nodes, &after(&before), second)
}

/// How many partitions a node holds.
fn load(placement: &Placement, node: u64) -> usize {
    let holds = |nodes: &&Vec<NodeId>| nodes.contains(&NodeId(node));
    placement.replicas.iter().filter(holds).count()
}
