//! What becomes of objects when disks rot or fill up: three nodes in memory, under a seed.

use std::sync::Arc;
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
use trellis_spec::peer::Peer;

use super::{Coordinator, Limits, Replica, ReplicaService};
use crate::env::simulated::Simulation;
use crate::link::PeerId;
use crate::link::simulated::{Faults, SimulatedNetwork};
use crate::storage::{BlockName, Flush, MemoryBlockDisk, MemoryBlocks, MemoryDisk, MemoryRows};
use crate::store::{ClusterStore, SecretWrapping};

/// Objects above this size are one block each.
const INLINE_MAX_BYTES: usize = 64 << 10;

/// One node, and what a test may do to it.
struct Site {
    rows: MemoryDisk,
    blocks: MemoryBlockDisk,
    store: ClusterStore,
}

/// Three of them, with a bucket.
struct Three {
    sites: Vec<Site>,
    bucket: BucketInfo,
}

fn member(number: u8) -> Member {
    let (key, disk) = ([number; 32], [number; 16]);
    Member {
        id: Member::derive_id(&key, &disk),
        key,
        disk,
        zone: format!("zone-{number}"),
        capacity_bytes: 1 << 40,
    }
}

fn site(simulation: &Simulation, network: &SimulatedNetwork, layout: &Layout, member: &Member) -> Site {
    let node = simulation.node("site");
    let (rows, blocks) = (MemoryDisk::new(), MemoryBlockDisk::new());
    let env = node.env();
    let flush = Flush::After {
        least: Duration::from_micros(100),
        most: Duration::from_millis(3),
    };
    let (opened, _) = MemoryRows::open(&rows, env.clone(), flush).unwrap();
    let held = MemoryBlocks::open(&blocks, env.clone(), Duration::from_millis(2));
    let peer = Peer {
        me: member.id,
        knowledge: Knowledge::of(layout.clone()),
    };
    let limits = Limits {
        inline_max_bytes: INLINE_MAX_BYTES,
        ..Limits::default()
    };
    let replica = Replica::new(env.clone(), peer, Arc::new(opened), Arc::new(held), limits.clone());
    let replica = Arc::new(replica);
    let service = Arc::new(ReplicaService::new(replica.clone()));
    let network = network.attach(&node, PeerId(member.key), service);
    let coordinator = Coordinator::new(env, limits, replica, network);
    let store = ClusterStore::new(Arc::new(coordinator), SecretWrapping::new(&[7; 32]));
    Site { rows, blocks, store }
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

impl Three {
    async fn start(simulation: &Simulation) -> Self {
        let network = SimulatedNetwork::new(simulation, Faults::none());
        let members: Vec<Member> = (1..=3).map(member).collect();
        let layout = initial(members.clone(), 3, 16).unwrap();
        let sites: Vec<Site> = members
            .iter()
            .map(|member| site(simulation, &network, &layout, member))
            .collect();
        let name = BucketName::parse("bucket").unwrap();
        let bucket = sites[0].store.create_bucket(&origin(), &name).await.unwrap();
        Three { sites, bucket }
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
        let three = Three::start(&simulation).await;
        let body = Bytes::from(vec![7; INLINE_MAX_BYTES + 1]);
        let name = BlockName::of(&body);
        three.put(0, "object", &body).await.unwrap();
        // All three have it, also the one that was not waited for.
        simulation.sleep(Duration::from_secs(1)).await;
        for site in &three.sites[..2] {
            assert!(site.blocks.rot(name));
        }
        for at in 0..3 {
            assert_eq!(three.get(at, "object").await.unwrap(), body, "read at {at}");
        }
        three.put(1, "again", &body).await.unwrap();
        simulation.sleep(Duration::from_secs(1)).await;
        assert!(three.sites[2].blocks.lose(name));
        for at in 0..3 {
            assert_eq!(three.get(at, "object").await.unwrap(), body, "healed, read at {at}");
        }
    });
}

#[test]
fn full_disks_refuse_new_data_and_can_be_read_and_emptied() {
    Simulation::run(2, |simulation| async move {
        let three = Three::start(&simulation).await;
        let set_full = |sites: &[Site], full: bool| {
            for site in sites {
                site.rows.set_full(full);
                site.blocks.set_full(full);
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
