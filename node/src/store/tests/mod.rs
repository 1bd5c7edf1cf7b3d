//! Three nodes in memory, under a seed: the conformance suite, what operations cost, and what is collected.

mod collection;
mod collection_on_disk;
mod round_trips;

use std::sync::Arc;
use std::time::Duration;

use trellis_s3api::bucket::AccessKey;
use trellis_s3api::conformance::run_all;
use trellis_spec::layout::{Knowledge, Layout, Member, initial};
use trellis_spec::peer::Peer;

use super::{ClusterStore, SecretWrapping};
use crate::cluster::{Coordinator, Limits, Replica, ReplicaService};
use crate::env::simulated::{SimulatedNode, Simulation};
use crate::link::PeerId;
use crate::link::simulated::{Faults, SimulatedNetwork};
use crate::storage::{Flush, MemoryBlockDisk, MemoryBlocks, MemoryDisk, MemoryRows};

fn member(number: u8) -> Member {
    Member::storage([number; 32], [number; 16], format!("zone-{number}"), 1 << 40)
}

fn start(network: &SimulatedNetwork, node: &SimulatedNode, layout: &Layout, member: &Member) -> ClusterStore {
    let env = node.env();
    let flush = Flush::After {
        least: Duration::from_micros(100),
        most: Duration::from_millis(3),
    };
    let (rows, _) = MemoryRows::open(&MemoryDisk::new(), env.clone(), flush).unwrap();
    let peer = Peer {
        me: member.id,
        knowledge: Knowledge::of(layout.clone()),
    };
    let limits = Limits {
        block_bytes: 1 << 18,
        ..Limits::default()
    };
    let blocks = Arc::new(MemoryBlocks::open(
        &MemoryBlockDisk::new(),
        env.clone(),
        Duration::from_millis(2),
    ));
    let replica = Arc::new(Replica::new(env.clone(), peer, Arc::new(rows), blocks, limits.clone()).unwrap());
    let service = Arc::new(ReplicaService::new(replica.clone()));
    let network = network.attach(node, PeerId(member.key), service);
    ClusterStore::new(
        Arc::new(Coordinator::new(env, limits, replica, network)),
        SecretWrapping::new(&[7; 32]),
    )
}

/// Three nodes, each in a zone of its own.
fn three(simulation: &Simulation, network: &SimulatedNetwork) -> Vec<ClusterStore> {
    let members: Vec<Member> = (1..=3).map(member).collect();
    let layout = initial(members.clone(), 3, 16).unwrap();
    let names = ["one", "two", "three"];
    let nodes = names.into_iter().map(|name| simulation.node(name));
    nodes
        .zip(&members)
        .map(|(node, member)| start(network, &node, &layout, member))
        .collect()
}

#[test]
fn three_nodes_pass_the_conformance_suite() {
    let violations = Simulation::run(1, |simulation| async move {
        let network = SimulatedNetwork::new(&simulation, Faults::none());
        let stores = three(&simulation, &network);
        run_all(&stores[0], &AccessKey("caller".to_owned())).await
    });
    assert_eq!(violations, vec![]);
}
