//! How long placements take: `cargo bench -p trellis-spec`.
//!
//! Prints the table of `docs/protocols/placement.md`. Times are the shortest of a few runs: a busy machine makes them
//! longer, and nothing makes them shorter.

#![expect(clippy::print_stdout, reason = "a table is what this program is for")]
#![expect(clippy::unwrap_used, reason = "a benchmark fails like a test")]
#![expect(clippy::disallowed_types, reason = "time is what is measured")]

use std::time::Instant;

use trellis_spec::layout::assign::{Demand, Offer, Past, Placement, Role, ZoneRedundancy, assign, check};
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
