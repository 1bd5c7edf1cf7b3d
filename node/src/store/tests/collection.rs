//! The space of what is dead comes back, and nothing else goes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use trellis_s3api::body::Body;
use trellis_s3api::bucket::{AccessKey, BucketInfo, BucketName};
use trellis_s3api::condition::WriteCondition;
use trellis_s3api::error::StoreError;
use trellis_s3api::multipart::{Completion, NamedPart, PartInfo};
use trellis_s3api::object::ObjectKey;
use trellis_s3api::scan::UploadId;
use trellis_s3api::store::{NewUpload, ObjectReader, ObjectStore, Origin, PartTarget, PutObject};
use trellis_spec::layout::{Knowledge, Layout, Member, initial};
use trellis_spec::peer::Peer;
use trellis_spec::row::BlockName;

use super::member;
use crate::cluster::{Collector, Coordinator, Limits, Replica, ReplicaService};
use crate::env::simulated::{SimulatedNode, Simulation};
use crate::link::PeerId;
use crate::link::simulated::{Faults, SimulatedNetwork};
use crate::storage::{Flush, MemoryBlockDisk, MemoryBlocks, MemoryDisk, MemoryRows};
use crate::store::{ClusterStore, SecretWrapping};

const BLOCK_BYTES: usize = 64 << 10;
/// Longer than uploads are valid, clocks may differ, a grace lasts, and some rounds take.
const LONG: Duration = Duration::from_secs(120);

fn limits() -> Limits {
    Limits {
        inline_max_bytes: 1 << 10,
        block_bytes: BLOCK_BYTES,
        upload_valid_s: 30,
        upload_least_s: 10,
        clock_skew_max_ms: 1_000,
        completion_valid_ms: 5_000,
        collect_pause_ms: 1_000,
        collect_grace_ms: 5_000,
        ..Limits::default()
    }
}

/// Three nodes that crash and come back with what is on their disks.
struct Cluster {
    simulation: Simulation,
    network: SimulatedNetwork,
    layout: Layout,
    members: Vec<Member>,
    nodes: Vec<SimulatedNode>,
    rows: Vec<MemoryDisk>,
    blocks: Vec<MemoryBlockDisk>,
    stores: Vec<ClusterStore>,
    origin: Origin,
    bucket: BucketInfo,
}

impl Cluster {
    async fn start(simulation: Simulation) -> Self {
        let network = SimulatedNetwork::new(&simulation, Faults::none());
        let members: Vec<Member> = (1..=3).map(member).collect();
        let layout = initial(members.clone(), 3, 16).unwrap();
        let nodes: Vec<SimulatedNode> = ["one", "two", "three"].map(|name| simulation.node(name)).into();
        let rows: Vec<MemoryDisk> = (0..3).map(|_| MemoryDisk::new()).collect();
        let blocks: Vec<MemoryBlockDisk> = (0..3).map(|_| MemoryBlockDisk::new()).collect();
        let origin = Origin {
            caller: AccessKey("caller".to_owned()),
            invocation: None,
        };
        let boot = |at: usize| boot(&network, &nodes[at], &layout, &members[at], &rows[at], &blocks[at]);
        let stores: Vec<ClusterStore> = (0..3).map(boot).collect();
        let name = BucketName::parse("bucket").unwrap();
        let bucket = stores[0].create_bucket(&origin, &name).await.unwrap();
        Cluster {
            simulation,
            network,
            layout,
            members,
            nodes,
            rows,
            blocks,
            stores,
            origin,
            bucket,
        }
    }

    fn restart(&mut self, at: usize) {
        self.nodes[at] = self.nodes[at].restart();
        self.rows[at].crash(0);
        let (node, member) = (&self.nodes[at], &self.members[at]);
        let (rows, blocks) = (&self.rows[at], &self.blocks[at]);
        self.stores[at] = boot(&self.network, node, &self.layout, member, rows, blocks);
    }

    async fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let body = Body::from_bytes(bytes.to_vec());
        self.stores[0]
            .put_object(&self.origin, &self.bucket, &key(name), PutObject::default(), body)
            .await
            .map(|_| ())
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        let condition = WriteCondition::none();
        self.stores[0]
            .delete_object(&self.origin, &self.bucket, &key(name), condition)
            .await
    }

    async fn get(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        let reader = self.stores[1].get_object(&self.bucket, &key(name)).await?;
        let size = reader.info().size;
        let mut stream = reader.read(0..size);
        let mut bytes = Vec::new();
        while let Some(piece) = stream.next().await {
            bytes.extend_from_slice(&piece?);
        }
        Ok(bytes)
    }

    async fn begin(&self, name: &str) -> UploadId {
        self.stores[0]
            .create_upload(&self.origin, &self.bucket, &key(name), NewUpload::default())
            .await
            .unwrap()
    }

    async fn part(&self, name: &str, upload: &UploadId, number: u16, bytes: &[u8]) -> PartInfo {
        let target = PartTarget {
            key: key(name),
            upload: upload.clone(),
            number,
        };
        let body = Body::from_bytes(bytes.to_vec());
        let stored = self.stores[0].put_part(&self.origin, &self.bucket, &target, body);
        stored.await.unwrap()
    }

    async fn complete(&self, name: &str, upload: &UploadId, parts: &[PartInfo]) {
        let named = |part: &PartInfo| NamedPart {
            number: part.number,
            etag: part.etag.clone(),
            checksum: None,
        };
        let completion = Completion {
            parts: parts.iter().map(named).collect(),
            ..Completion::default()
        };
        let condition = WriteCondition::none();
        self.stores[0]
            .complete_upload(&self.origin, &self.bucket, &key(name), upload, completion, condition)
            .await
            .unwrap();
    }

    /// Which blocks are on any of these nodes' disks.
    fn stored(&self, nodes: &[usize]) -> BTreeSet<BlockName> {
        nodes.iter().flat_map(|at| self.blocks[*at].names()).collect()
    }

    async fn sleep(&self, duration: Duration) {
        self.simulation.sleep(duration).await;
    }
}

fn boot(
    network: &SimulatedNetwork,
    node: &SimulatedNode,
    layout: &Layout,
    member: &Member,
    rows: &MemoryDisk,
    blocks: &MemoryBlockDisk,
) -> ClusterStore {
    let env = node.env();
    let flush = Flush::After {
        least: Duration::from_micros(100),
        most: Duration::from_millis(3),
    };
    let (rows, _) = MemoryRows::open(rows, env.clone(), flush).unwrap();
    let peer = Peer {
        me: member.id,
        knowledge: Knowledge::of(layout.clone()),
    };
    let blocks = Arc::new(MemoryBlocks::open(blocks, env.clone(), Duration::from_millis(2)));
    let replica = Arc::new(Replica::new(env.clone(), peer, Arc::new(rows), blocks, limits()).unwrap());
    let service = Arc::new(ReplicaService::new(replica.clone()));
    let network = network.attach(node, PeerId(member.key), service);
    let coordinator = Arc::new(Coordinator::new(env.clone(), limits(), replica, network));
    let collector = Collector::new(coordinator.clone());
    env.spawner.spawn("collector", Box::pin(collector.run()));
    ClusterStore::new(coordinator, SecretWrapping::new(&[7; 32]))
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::parse(name).unwrap()
}

/// Bytes of some blocks that are all different, and different for each seed.
fn bytes(seed: u8, blocks: usize) -> Vec<u8> {
    let block = |number: usize| {
        let mut block = vec![seed; BLOCK_BYTES];
        block[..8].copy_from_slice(&number.to_le_bytes());
        block
    };
    (0..blocks).flat_map(block).collect()
}

fn names(bytes: &[u8]) -> BTreeSet<BlockName> {
    bytes.chunks(BLOCK_BYTES).map(BlockName::of).collect()
}

#[test]
fn what_is_overwritten_or_deleted_goes_and_what_is_current_stays() {
    Simulation::run(1, |simulation| async move {
        let cluster = Cluster::start(simulation).await;
        let (old, new, gone) = (bytes(1, 3), bytes(2, 3), bytes(3, 2));
        cluster.put("a", &old).await.unwrap();
        cluster.put("a", &new).await.unwrap();
        cluster
            .put("shared", &[&old[..BLOCK_BYTES], &new[..BLOCK_BYTES]].concat())
            .await
            .unwrap();
        cluster.put("b", &gone).await.unwrap();
        cluster.delete("b").await.unwrap();
        assert!(cluster.stored(&[0, 1, 2]).is_superset(&names(&gone)));
        cluster.sleep(LONG).await;
        let mut expected = names(&new);
        expected.extend(names(&old[..BLOCK_BYTES]));
        assert_eq!(cluster.stored(&[0, 1, 2]), expected);
        assert_eq!(cluster.get("a").await.unwrap(), new);
        cluster.get("shared").await.unwrap();
    });
}

#[test]
fn nothing_goes_before_its_time() {
    Simulation::run(2, |simulation| async move {
        let cluster = Cluster::start(simulation).await;
        let old = bytes(1, 1);
        cluster.put("a", &old).await.unwrap();
        cluster.delete("a").await.unwrap();
        // Valid for ten seconds and one at this size's rate, a second for clocks, five of grace.
        cluster.sleep(Duration::from_secs(14)).await;
        assert_eq!(cluster.stored(&[0]), names(&old));
    });
}

#[test]
fn a_node_that_was_away_catches_up() {
    Simulation::run(3, |simulation| async move {
        let mut cluster = Cluster::start(simulation).await;
        let (old, new) = (bytes(1, 3), bytes(2, 1));
        cluster.put("a", &old).await.unwrap();
        cluster.put("b", &new).await.unwrap();
        cluster.sleep(Duration::from_secs(5)).await;
        cluster.nodes[2].crash();
        cluster.delete("a").await.unwrap();
        cluster.sleep(LONG).await;
        assert_eq!(cluster.stored(&[0, 1]), names(&new));
        assert!(cluster.stored(&[2]).is_superset(&names(&old)));
        cluster.restart(2);
        // Its own row still names the object: that is doubted now and then.
        cluster.sleep(LONG * 4).await;
        assert_eq!(cluster.stored(&[2]), names(&new));
    });
}

#[test]
fn a_download_that_lasts_too_long_ends_with_an_error() {
    Simulation::run(4, |simulation| async move {
        let cluster = Cluster::start(simulation).await;
        let old = bytes(1, 40);
        cluster.put("a", &old).await.unwrap();
        let reader = cluster.stores[1].get_object(&cluster.bucket, &key("a")).await.unwrap();
        let mut stream = reader.read(0..old.len() as u64);
        let first = stream.next().await.unwrap().unwrap();
        assert_eq!(first[..], old[..first.len()]);
        cluster.delete("a").await.unwrap();
        cluster.sleep(LONG).await;
        let mut received = first.len();
        let failed = loop {
            match stream.next().await {
                Some(Ok(piece)) => received += piece.len(),
                Some(Err(error)) => break Some(error),
                None => break None,
            }
        };
        assert!(failed.is_some() && received < old.len());
    });
}

#[test]
fn content_that_comes_again_while_it_is_collected_stays() {
    for seed in 0..8 {
        Simulation::run(seed, |simulation| async move {
            let cluster = Cluster::start(simulation.clone()).await;
            let content = bytes(1, 2);
            for round in 0..12 {
                let name = format!("a{round}");
                cluster.put(&name, &content).await.unwrap();
                cluster.delete(&name).await.unwrap();
                cluster.sleep(simulation.draw_duration(Duration::from_secs(20))).await;
            }
            cluster.put("last", &content).await.unwrap();
            cluster.sleep(LONG).await;
            assert_eq!(cluster.get("last").await.unwrap(), content, "seed {seed}");
            cluster.delete("last").await.unwrap();
            cluster.sleep(LONG).await;
            assert_eq!(cluster.stored(&[0, 1, 2]), BTreeSet::new(), "seed {seed}");
        });
    }
}

#[test]
fn parts_live_and_die_with_their_upload() {
    Simulation::run(6, |simulation| async move {
        let cluster = Cluster::start(simulation).await;
        let (one, two, three) = (bytes(1, 80), bytes(2, 2), bytes(3, 2));
        let upload = cluster.begin("a").await;
        let parts = [
            cluster.part("a", &upload, 1, &one).await,
            cluster.part("a", &upload, 2, &two).await,
        ];
        let aborted = cluster.begin("a").await;
        cluster.part("a", &aborted, 1, &three).await;
        cluster.sleep(LONG).await;
        assert_eq!(cluster.stored(&[0]).len(), 84, "uploads that nobody ended");
        cluster.complete("a", &upload, &parts).await;
        let (origin, bucket) = (&cluster.origin, &cluster.bucket);
        let abort = cluster.stores[0]
            .abort_upload(origin, bucket, &key("a"), &aborted)
            .await;
        abort.unwrap();
        cluster.sleep(LONG).await;
        let whole = [one, two].concat();
        assert_eq!(cluster.stored(&[0, 1, 2]), names(&whole));
        assert_eq!(cluster.get("a").await.unwrap(), whole);
        cluster.put("a", b"small").await.unwrap();
        cluster.sleep(LONG).await;
        assert_eq!(cluster.stored(&[0, 1, 2]), BTreeSet::new());
    });
}

#[test]
fn a_crash_anywhere_in_the_middle_loses_nothing_and_forgets_nothing() {
    for seed in 0..24 {
        Simulation::run(seed, |simulation| async move {
            let mut cluster = Cluster::start(simulation.clone()).await;
            let (old, new) = (bytes(1, 3), bytes(2, 2));
            cluster.put("a", &old).await.unwrap();
            cluster.put("b", &new).await.unwrap();
            cluster.put("a", &new).await.unwrap();
            cluster.sleep(Duration::from_secs(9)).await;
            for _ in 0..4 {
                cluster.nodes[2].crash_after_polls(1 + simulation.draw(400));
                cluster.sleep(simulation.draw_duration(Duration::from_secs(8))).await;
                cluster.restart(2);
            }
            cluster.sleep(LONG * 4).await;
            assert_eq!(cluster.stored(&[0, 1, 2]), names(&new), "seed {seed}");
            assert_eq!(cluster.get("a").await.unwrap(), new, "seed {seed}");
            assert_eq!(cluster.get("b").await.unwrap(), new, "seed {seed}");
        });
    }
}
