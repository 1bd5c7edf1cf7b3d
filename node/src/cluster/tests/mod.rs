//! Nodes in memory, under a seed. Here: what becomes of objects when disks rot, fill up or are older copies, and when
//! clocks are wrong.

mod bucket_deletions;
mod forces;
mod forgetting;
mod repairs;
mod transitions;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use trellis_s3api::body::Body;
use trellis_s3api::bucket::{AccessKey, BucketInfo, BucketName};
use trellis_s3api::condition::{EtagSet, WriteCondition};
use trellis_s3api::error::StoreError;
use trellis_s3api::object::ObjectKey;
use trellis_s3api::store::{ObjectReader, ObjectStore, Origin, PutObject};
use trellis_spec::layout::{Knowledge, Layout, Member, initial};
use trellis_spec::peer::{Answer, Call, Envelope, Peer};

use super::{
    Coordinator, Forgetter, Life, Limits, Memory, Movers, Repairer, Replica, ReplicaService, Scrubber, Standing, decode,
};
use crate::env::Boxed;
use crate::env::simulated::{SimulatedNode, Simulation};
use crate::link::simulated::{Faults, SimulatedNetwork};
use crate::link::{Message, Network, PeerId, Service};
use crate::storage::{BlockName, Flush, MemoryBlockDisk, MemoryBlocks, MemoryDisk, MemoryRows, Rows};
use crate::store::{ClusterStore, SecretWrapping};

/// Objects above this size are one block each.
const INLINE_MAX_BYTES: usize = 64 << 10;

/// What all nodes are in.
struct World {
    network: SimulatedNetwork,
    layout: Layout,
    members: Vec<Member>,
    limits: Limits,
}

/// What outlives a node.
#[derive(Clone, Default)]
struct Left {
    /// What it remembers of the others.
    memory: Arc<Mutex<Memory>>,
    rows: MemoryDisk,
    blocks: MemoryBlockDisk,
}

/// One life of a node, and what a test may do to it.
struct Site {
    node: SimulatedNode,
    member: Member,
    left: Left,
    store: ClusterStore,
    coordinator: Arc<Coordinator>,
    standing: Arc<Standing>,
    handed: Arc<Handed>,
    _network: Arc<dyn Network>,
}

/// How much a node handed to others that pulled it.
#[derive(Default)]
struct Handed {
    rows: AtomicU64,
    references: AtomicU64,
}

/// A node's service, with somebody who counts in front of it.
struct Counted {
    service: ReplicaService,
    handed: Arc<Handed>,
}

impl Service for Counted {
    fn serve(&self, from: PeerId, message: Message) -> Boxed<'static, Message> {
        let call = decode::<Envelope>(&message.head).map(|envelope| envelope.call);
        let is_pull = matches!(call, Ok(Call::Pull { .. } | Call::PullReferences { .. }));
        let (answering, handed) = (self.service.serve(from, message), self.handed.clone());
        Box::pin(async move {
            let answer = answering.await;
            match decode::<Answer>(&answer.head) {
                Ok(Answer::Pulled(pulled)) if is_pull => {
                    handed.rows.fetch_add(pulled.rows.len() as u64, Ordering::Relaxed);
                }
                Ok(Answer::References { found, .. }) if is_pull => {
                    handed.references.fetch_add(found.len() as u64, Ordering::Relaxed);
                }
                Ok(_) | Err(_) => {}
            }
            answer
        })
    }
}

/// Some of them, with a bucket.
struct Sites {
    world: World,
    sites: Vec<Site>,
    bucket: BucketInfo,
}

fn member(number: u8) -> Member {
    Member::storage([number; 32], [number; 16], format!("zone-{number}"), 1 << 40)
}

fn site(world: &World, node: SimulatedNode, member: &Member, left: Left) -> Site {
    let World {
        network,
        layout,
        members,
        limits,
    } = world;
    let env = node.env();
    let flush = Flush::After {
        least: Duration::from_micros(100),
        most: Duration::from_millis(3),
    };
    let (rows, opened) = MemoryRows::open(&left.rows, env.clone(), flush).unwrap();
    let blocks = MemoryBlocks::open(&left.blocks, env.clone(), Duration::from_millis(2));
    let peer = Peer {
        me: member.id,
        knowledge: Knowledge::of(layout.clone()),
    };
    let limits = limits.clone();
    let others = members.iter().filter(|other| other.key != member.key);
    let life = Life {
        opened_at: opened.commit_counter,
        peers: others.map(|other| PeerId(other.key)).collect(),
        memory: left.memory.clone(),
    };
    let standing = Standing::new(env.clone(), life, &limits);
    let held = Arc::new(rows.clone());
    let replica = Replica::new(env.clone(), peer, held, Arc::new(blocks), limits.clone()).unwrap();
    let replica = Arc::new(replica.with_standing(standing.clone()));
    let handed = Arc::new(Handed::default());
    let counted = Counted {
        service: ReplicaService::new(replica.clone()),
        handed: handed.clone(),
    };
    let network = network.attach(&node, PeerId(member.key), Arc::new(counted));
    let commits = move || rows.durable_so_far().0;
    standing.greet(&network, Arc::new(commits), Duration::from_secs(1));
    let coordinator = Arc::new(Coordinator::new(env.clone(), limits, replica, network.clone()));
    let store = ClusterStore::new(coordinator.clone(), SecretWrapping::new(&[7; 32]));
    let movers = Movers::new(coordinator.clone(), Arc::new(store.clone()));
    let repairer = Repairer::new(coordinator.clone(), &movers);
    let scrubber = Scrubber::new(coordinator.clone());
    let forgetter = Forgetter::new(coordinator.clone());
    let spawn = |name, task| env.spawner.spawn(name, task);
    spawn("movers", Box::pin(movers.run()));
    spawn("repairer", Box::pin(repairer.run()));
    spawn("scrubber", Box::pin(scrubber.run()));
    spawn("forgetter", Box::pin(forgetter.run()));
    spawn("tidings", Box::pin(coordinator.clone().spread_tidings()));
    Site {
        node,
        member: member.clone(),
        left,
        store,
        coordinator,
        standing,
        handed,
        _network: network,
    }
}

fn origin() -> Origin {
    Origin {
        caller: AccessKey("caller".to_owned()),
        invocation: None,
    }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::parse(name).unwrap()
}

impl Sites {
    async fn three(simulation: &Simulation) -> Self {
        Self::start(simulation, 3, 3).await
    }

    /// So many nodes, of which the first `owners` make the first layout.
    async fn start(simulation: &Simulation, nodes: u8, owners: usize) -> Self {
        Self::start_within(simulation, nodes, owners, Limits::default()).await
    }

    /// The same, which forget what was deleted this long ago.
    async fn forgetful(simulation: &Simulation, nodes: u8, owners: usize, age: Duration) -> Self {
        let limits = Limits {
            tombstone_age_s: age.as_secs(),
            ..Limits::default()
        };
        Self::start_within(simulation, nodes, owners, limits).await
    }

    async fn start_within(simulation: &Simulation, nodes: u8, owners: usize, limits: Limits) -> Self {
        let members: Vec<Member> = (1..=nodes).map(member).collect();
        let world = World {
            network: SimulatedNetwork::new(simulation, Faults::none()),
            layout: initial(members[..owners].to_vec(), owners as u8, 16).unwrap(),
            members: members.clone(),
            limits: Limits {
                inline_max_bytes: INLINE_MAX_BYTES,
                repair_pause_ms: 60_000,
                ..limits
            },
        };
        let fresh = |member: &Member| site(&world, simulation.node("site"), member, Left::default());
        let sites: Vec<Site> = members.iter().map(fresh).collect();
        let name = BucketName::parse("bucket").unwrap();
        let bucket = sites[0].store.create_bucket(&origin(), &name).await.unwrap();
        Sites { world, sites, bucket }
    }

    /// Crashes a node and starts it on these rows.
    fn restart(&mut self, at: usize, rows: MemoryDisk) {
        let old = &self.sites[at];
        let left = Left {
            rows,
            ..old.left.clone()
        };
        self.sites[at] = site(&self.world, old.node.restart(), &old.member, left);
    }

    async fn put(&self, at: usize, name: &str, body: &Bytes) -> Result<(), StoreError> {
        self.put_if(at, name, body, WriteCondition::none()).await
    }

    async fn put_if(&self, at: usize, name: &str, body: &Bytes, condition: WriteCondition) -> Result<(), StoreError> {
        let put = PutObject {
            condition,
            ..PutObject::default()
        };
        let body = Body::from_bytes(body.clone());
        let (store, origin, key) = (&self.sites[at].store, origin(), key(name));
        let put = store.put_object(&origin, &self.bucket, &key, put, body);
        put.await.map(|_| ())
    }

    async fn get(&self, at: usize, name: &str) -> Result<Bytes, StoreError> {
        let reader = self.sites[at].store.get_object(&self.bucket, &key(name)).await?;
        let size = reader.info().size;
        let mut stream = reader.read(0..size);
        let mut body = Vec::new();
        while let Some(part) = stream.next().await {
            body.extend_from_slice(&part.unwrap());
        }
        Ok(body.into())
    }

    async fn delete(&self, at: usize, name: &str) -> Result<(), StoreError> {
        let (store, origin, key) = (&self.sites[at].store, origin(), key(name));
        let deleted = store.delete_object(&origin, &self.bucket, &key, WriteCondition::none());
        deleted.await
    }
}

#[test]
fn a_rotten_block_is_served_by_others_and_healed_by_the_next_who_stores_it() {
    Simulation::run(1, |simulation| async move {
        let three = Sites::three(&simulation).await;
        let body = Bytes::from(vec![7; INLINE_MAX_BYTES + 1]);
        let name = BlockName::of(&body);
        three.put(0, "object", &body).await.unwrap();
        // All three have it, also the one that was not waited for.
        simulation.sleep(Duration::from_secs(1)).await;
        for site in &three.sites[..2] {
            assert!(site.left.blocks.rot(name));
        }
        for at in 0..3 {
            assert_eq!(three.get(at, "object").await.unwrap(), body, "read at {at}");
        }
        three.put(1, "again", &body).await.unwrap();
        simulation.sleep(Duration::from_secs(1)).await;
        assert!(three.sites[2].left.blocks.lose(name));
        for at in 0..3 {
            assert_eq!(three.get(at, "object").await.unwrap(), body, "healed, read at {at}");
        }
    });
}

#[test]
fn full_disks_refuse_new_data_and_can_be_read_and_emptied() {
    Simulation::run(2, |simulation| async move {
        let three = Sites::three(&simulation).await;
        let set_full = |sites: &[Site], full: bool| {
            for site in sites {
                site.left.rows.set_full(full);
                site.left.blocks.set_full(full);
            }
        };
        let (small, large) = (Bytes::from_static(b"small"), Bytes::from(vec![7; INLINE_MAX_BYTES + 1]));
        three.put(0, "small", &small).await.unwrap();
        three.put(0, "large", &large).await.unwrap();
        set_full(&three.sites[..1], true);
        three.put(0, "one of three is full", &small).await.unwrap();
        three.put(0, "one of three is full, large", &large).await.unwrap();

        set_full(&three.sites, true);
        for body in [&small, &large] {
            assert_eq!(three.put(1, "new", body).await, Err(StoreError::StorageFull));
            assert_eq!(three.put(1, "small", body).await, Err(StoreError::StorageFull));
        }
        let create = WriteCondition {
            if_none_match: Some(EtagSet::Any),
            ..WriteCondition::none()
        };
        let created = three.put_if(1, "new", &small, create).await;
        assert_eq!(created, Err(StoreError::StorageFull));
        for at in 0..3 {
            assert_eq!(three.get(at, "small").await.unwrap(), small);
            assert_eq!(three.get(at, "large").await.unwrap(), large);
            // A minority lacks it: the read writes it back, out of the reserve.
            assert_eq!(three.get(at, "one of three is full").await.unwrap(), small);
            assert_eq!(three.get(at, "new").await, Err(StoreError::NoSuchKey));
        }
        three.delete(2, "small").await.unwrap();
        assert_eq!(three.get(0, "small").await, Err(StoreError::NoSuchKey));
        for name in ["large", "one of three is full", "one of three is full, large"] {
            three.delete(1, name).await.unwrap();
        }
        three.sites[0]
            .store
            .delete_bucket(&origin(), &three.bucket)
            .await
            .unwrap();

        set_full(&three.sites, false);
        three.sites[0]
            .store
            .create_bucket(&origin(), &three.bucket.name)
            .await
            .unwrap();
    });
}

/// Longer than it takes to greet everybody again.
const A_WHILE: Duration = Duration::from_secs(5);

#[test]
fn a_node_on_an_older_copy_of_its_disk_serves_nobody() {
    Simulation::run(3, |simulation| async move {
        let mut three = Sites::three(&simulation).await;
        let (old, new) = (Bytes::from_static(b"old"), Bytes::from_static(b"new"));
        three.put(0, "object", &old).await.unwrap();
        simulation.sleep(A_WHILE).await;
        let copy = three.sites[0].left.rows.copy();
        three.put(0, "object", &new).await.unwrap();
        simulation.sleep(A_WHILE).await;

        // Its own disk is welcome again, and at once.
        let own = three.sites[0].left.rows.clone();
        three.restart(0, own);
        assert_eq!(three.get(0, "object").await.unwrap(), new);

        // The copy is not, and answers nothing before the peers were asked.
        three.restart(0, copy);
        assert_ne!(three.get(0, "object").await, Ok(old.clone()));
        simulation.sleep(A_WHILE).await;
        let why = three.sites[0].standing.refused().unwrap();
        assert!(
            why.contains("older copy") && why.contains("new node with an empty folder"),
            "{why}"
        );
        assert!(three.put(0, "other", &old).await.is_err());
        assert!(three.get(0, "object").await.is_err());
        for at in [1, 2] {
            assert_eq!(three.get(at, "object").await.unwrap(), new, "the others serve");
        }
        three.put(1, "other", &new).await.unwrap();
        // Its vote does not count: with it alone, another one is not enough.
        three.sites[2].node.crash();
        assert!(three.put(1, "other", &new).await.is_err());
    });
}

#[test]
fn a_node_with_a_wrong_clock_coordinates_no_writes_until_it_is_set() {
    const MINUTE_US: i64 = 60_000_000;
    for by_us in [MINUTE_US, -MINUTE_US] {
        Simulation::run(4, |simulation| async move {
            let three = Sites::three(&simulation).await;
            let body = Bytes::from_static(b"body");
            let wrong = Err(StoreError::Unavailable("the clock of this node is wrong".to_owned()));
            three.put(0, "before", &body).await.unwrap();
            three.sites[0].node.jump_clock(by_us);
            simulation.sleep(A_WHILE).await;
            assert_eq!(three.put(0, "object", &body).await, wrong);
            assert_eq!(three.delete(0, "before").await, wrong);
            assert_eq!(three.get(0, "before").await.unwrap(), body, "it still reads");
            let differs = three.sites[0].standing.clock_differs_us().unwrap();
            assert!((differs + by_us).abs() < 100_000, "{differs}");
            for at in [1, 2] {
                assert_eq!(three.sites[at].standing.clock_differs_us(), None);
                three.put(at, "object", &body).await.unwrap();
            }
            three.sites[0].node.jump_clock(-by_us);
            simulation.sleep(A_WHILE).await;
            three.put(0, "object", &body).await.unwrap();
        });
    }
}

#[test]
fn one_row_from_the_future_does_not_carry_a_node_there() {
    const HOUR_US: i64 = 3_600_000_000;
    Simulation::run(5, |simulation| async move {
        let mut three = Sites::three(&simulation).await;
        let body = Bytes::from_static(b"body");
        let jump = |three: &Sites, by_us| three.sites.iter().for_each(|site| site.node.jump_clock(by_us));
        jump(&three, HOUR_US);
        three.put(1, "object", &body).await.unwrap();
        jump(&three, -HOUR_US);
        for name in ["object", "another"] {
            // The next life of a replica knows nothing of the future but what is in that row.
            for at in 0..3 {
                if at != 0 || name == "object" {
                    let rows = three.sites[at].left.rows.clone();
                    three.restart(at, rows);
                }
            }
            simulation.sleep(A_WHILE).await;
            three.put(0, name, &body).await.unwrap();
        }
    });
}
