//! How long placements take, and how they compare with weighted rendezvous hashing: `cargo bench -p trellis-spec`.
//!
//! Prints the tables of `docs/protocols/placement.md`. Times are the shortest of a few runs: a busy machine makes them
//! longer, and nothing makes them shorter.

#![expect(clippy::print_stdout, reason = "tables are what this program is for")]
#![expect(clippy::unwrap_used, reason = "a benchmark fails like a test")]
#![expect(clippy::disallowed_types, reason = "time is what is measured")]

use std::collections::BTreeMap;
use std::time::Instant;

use trellis_spec::layout::assign::{Demand, Offer, Past, Placement, Plan, Role, ZoneRedundancy, assign, check};
use trellis_spec::layout::{Member, Partition, initial};
use trellis_spec::quorum::NodeId;

const TIB: u64 = 1 << 40;
const RUNS: usize = 5;
const ZONES: [&str; 5] = ["a", "b", "c", "d", "e"];

fn main() {
    println!("| partitions | nodes | change | place, ms | check, ms | usable, TiB | moves |");
    println!("|---|---|---|---|---|---|---|");
    for (partitions, nodes) in [(256, 10), (256, 30), (256, 100), (4096, 30), (4096, 100)] {
        time_changes(partitions, nodes);
    }
    println!("\n| nodes | change | usable, TiB: rendezvous | optimal | moves: rendezvous | optimal |");
    println!("|---|---|---|---|---|---|");
    for nodes in [4, 6, 10, 30] {
        compare_changes(nodes);
    }
}

/// Nodes of 1 to 8 TiB in five zones of different size.
fn cluster(nodes: u64) -> Demand {
    demand((1..=nodes).map(node).collect(), 256)
}

fn node(id: u64) -> Offer {
    Offer {
        node: NodeId(id.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
        zone: ZONES[(id % 7 % 5) as usize].to_owned(),
        role: Role::Storage {
            capacity_bytes: (1 + id * 5 % 8) * TIB,
        },
        tags: Vec::new(),
    }
}

fn demand(nodes: Vec<Offer>, partitions: u32) -> Demand {
    Demand {
        nodes,
        partitions,
        replication_factor: 3,
        redundancy: ZoneRedundancy::AtLeast(2),
    }
}

/// A cluster, and what happens to it.
fn changes(nodes: u64) -> [(&'static str, Demand); 5] {
    let all = cluster(nodes).nodes;
    let without = |dropped: u64| {
        demand(
            all.iter()
                .filter(|offer| offer.node != node(dropped).node)
                .cloned()
                .collect(),
            256,
        )
    };
    let mut replaced = without(2);
    replaced.nodes.push(Offer {
        zone: node(2).zone,
        ..node(nodes + 1)
    });
    let in_zones = all.iter().filter(|offer| offer.zone != "b").cloned().collect();
    let doubled = (1..=2 * nodes).map(node).collect();
    [
        ("one node more", cluster(nodes + 1)),
        ("one node fewer", without(1)),
        ("one node replaced", replaced),
        ("one zone lost", demand(in_zones, 256)),
        ("twice the nodes", demand(doubled, 256)),
    ]
}

fn time_changes(partitions: u32, nodes: u64) {
    let first = Demand {
        partitions,
        ..cluster(nodes)
    };
    let before = time("first", &first, &Past::default());
    let past = Past {
        previous: before.replicas,
        ..Past::default()
    };
    for (name, demand) in changes(nodes) {
        time(name, &Demand { partitions, ..demand }, &past);
    }
}

fn time(name: &str, demand: &Demand, past: &Past) -> Placement {
    let (place_ms, placement) = shortest(|| assign(demand, past).unwrap());
    let (check_ms, moves) = shortest(|| check(demand, past, &placement).unwrap().moves());
    println!(
        "| {} | {} | {name} | {place_ms:.1} | {check_ms:.1} | {:.2} | {moves} |",
        demand.partitions,
        demand.nodes.len(),
        placement.usable_bytes() as f64 / TIB as f64,
    );
    placement
}

/// Milliseconds, and what came out.
fn shortest<T>(run: impl Fn() -> T) -> (f64, T) {
    let timed = || {
        let start = Instant::now();
        let out = run();
        (start.elapsed().as_secs_f64() * 1e3, out)
    };
    let runs = (0..RUNS).map(|_| timed());
    runs.min_by(|one, other| one.0.total_cmp(&other.0)).unwrap()
}

fn compare_changes(nodes: u64) {
    let first = cluster(nodes);
    let optimal = compare("first", &first, &Past::default(), &Past::default());
    let hashed = rendezvous(&first);
    let past = |previous| Past {
        previous,
        ..Past::default()
    };
    for (name, demand) in changes(nodes) {
        compare(name, &demand, &past(optimal.clone()), &past(hashed.clone()));
    }
}

/// One row; each way changes what it had itself made before.
fn compare(name: &str, demand: &Demand, optimal: &Past, hashed: &Past) -> Vec<Vec<NodeId>> {
    // Rendezvous hashing takes zones in turn, so the optimum is not allowed to do with fewer.
    let demand = &Demand {
        redundancy: ZoneRedundancy::Maximum,
        ..demand.clone()
    };
    let placement = assign(demand, optimal).unwrap();
    let moves = Plan::new(&[], optimal, demand, &placement).moves;
    let other = Placement {
        replicas: rendezvous(demand),
        ..placement.clone()
    };
    let other_moves = Plan::new(&[], hashed, demand, &other).moves;
    println!(
        "| {} | {name} | {:.2} | {:.2} | {other_moves} | {moves} |",
        demand.nodes.len(),
        usable(demand, &other.replicas) as f64 / TIB as f64,
        placement.usable_bytes() as f64 / TIB as f64,
    );
    placement.replicas
}

/// Where weighted rendezvous hashing puts partitions: in three zones, as it takes zones in turn.
fn rendezvous(demand: &Demand) -> Vec<Vec<NodeId>> {
    let member = |offer: &Offer| Member {
        id: offer.node,
        key: [0; 32],
        disk: [0; 16],
        zone: offer.zone.clone(),
        capacity_bytes: capacity(offer),
    };
    let members = demand.nodes.iter().map(member).collect();
    let layout = initial(members, demand.replication_factor, demand.partitions).unwrap();
    let partitions = 0..demand.partitions as u16;
    partitions
        .map(|partition| layout.replicas(Partition(partition)))
        .collect()
}

/// What fits until the first node is full.
fn usable(demand: &Demand, replicas: &[Vec<NodeId>]) -> u64 {
    let mut load: BTreeMap<NodeId, u64> = BTreeMap::new();
    replicas
        .iter()
        .flatten()
        .for_each(|node| *load.entry(*node).or_default() += 1);
    let size = |offer: &Offer| capacity(offer).checked_div(*load.get(&offer.node)?);
    demand.nodes.iter().filter_map(size).min().unwrap_or(0) * replicas.len() as u64
}

fn capacity(offer: &Offer) -> u64 {
    match offer.role {
        Role::Storage { capacity_bytes } => capacity_bytes,
        Role::Gateway => 0,
    }
}
