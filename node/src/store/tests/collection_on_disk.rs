//! Collection on real files, by one node whose process is killed in the middle.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use trellis_s3api::body::Body;
use trellis_s3api::bucket::{AccessKey, BucketInfo, BucketName};
use trellis_s3api::condition::WriteCondition;
use trellis_s3api::object::ObjectKey;
use trellis_s3api::store::{ObjectReader, ObjectStore, Origin, PutObject, read_whole};
use trellis_spec::layout::{Knowledge, initial};
use trellis_spec::peer::Peer;

use super::member;
use crate::cluster::{Collected, Collector, Coordinator, Limits, Replica};
use crate::env::{Boxed, Clock, Env};
use crate::link::{Lane, LinkError, Message, Network, PeerId};
use crate::storage::{BlockFiles, BlockSetup, DataFolder, DiskRows, RowsConfig};
use crate::store::{ClusterStore, SecretWrapping};

const BLOCK_BYTES: usize = 64 << 10;
const HOUR_US: u64 = 3_600_000_000;

/// The machine's clock, put forward by as much as the test says.
struct ShiftedClock {
    inner: Arc<dyn Clock>,
    ahead_us: Arc<AtomicU64>,
}

impl Clock for ShiftedClock {
    fn wall_us(&self) -> u64 {
        self.inner.wall_us() + self.ahead_us.load(Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        self.inner.monotonic()
    }

    fn sleep(&self, duration: Duration) -> Boxed<'static, ()> {
        self.inner.sleep(duration)
    }
}

/// Nobody else is there.
struct Alone;

impl Network for Alone {
    fn call(&self, _: PeerId, _: Lane, _: Message) -> Boxed<'static, Result<Message, LinkError>> {
        Box::pin(std::future::ready(Err(LinkError::NotConnected)))
    }

    fn round_trip(&self, _: PeerId) -> Option<Duration> {
        None
    }
}

/// One process's life on a data folder.
struct Life {
    store: ClusterStore,
    collector: Collector,
}

/// Opens what is in the folder; the life before must be over.
fn begin(folder: &Path, ahead_us: &Arc<AtomicU64>) -> Life {
    let real = Env::real();
    let clock = Arc::new(ShiftedClock {
        inner: real.clock.clone(),
        ahead_us: ahead_us.clone(),
    });
    let env = Env { clock, ..real };
    let data = DataFolder::open(folder).unwrap();
    let (rows, _) = DiskRows::open(&data, RowsConfig::default(), env.random.clone()).unwrap();
    let blocks = Arc::new(BlockFiles::open(&data, &BlockSetup::default(), env.random.as_ref()).unwrap());
    let member = member(1);
    let peer = Peer {
        me: member.id,
        knowledge: Knowledge::of(initial(vec![member], 1, 4).unwrap()),
    };
    let limits = Limits {
        inline_max_bytes: 1 << 10,
        block_bytes: BLOCK_BYTES,
        collect_steps_per_s: 100_000,
        ..Limits::default()
    };
    let replica = Arc::new(Replica::new(env.clone(), peer, Arc::new(rows), blocks, limits.clone()).unwrap());
    let coordinator = Arc::new(Coordinator::new(env, limits, replica, Arc::new(Alone)));
    Life {
        store: ClusterStore::new(coordinator.clone(), SecretWrapping::new(&[7; 32])),
        collector: Collector::new(coordinator),
    }
}

/// Files of blocks under a folder.
fn files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let entries = entries.filter(|path| !path.ends_with("block-folder.json"));
    entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::parse(name).unwrap()
}

async fn put(life: &Life, origin: &Origin, bucket: &BucketInfo, name: &str, seed: u8) {
    let body: Vec<u8> = (0..3).flat_map(|block| vec![seed + block; BLOCK_BYTES]).collect();
    life.store
        .put_object(origin, bucket, &key(name), PutObject::default(), Body::from_bytes(body))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_goes_on_where_it_was() {
    let folder = TempDir::new().unwrap();
    let blocks = folder.path().join("blocks");
    let ahead_us = Arc::new(AtomicU64::new(0));
    let origin = Origin {
        caller: AccessKey("caller".to_owned()),
        invocation: None,
    };
    let mut life = begin(folder.path(), &ahead_us);
    let name = BucketName::parse("bucket").unwrap();
    let bucket = life.store.create_bucket(&origin, &name).await.unwrap();
    put(&life, &origin, &bucket, "old", 10).await;
    put(&life, &origin, &bucket, "kept", 12).await;
    let condition = WriteCondition::none();
    life.store
        .delete_object(&origin, &bucket, &key("old"), condition)
        .await
        .unwrap();
    assert_eq!(files(&blocks), 5, "one block is shared");
    assert_eq!(life.collector.round().await, Collected::default(), "too early");

    ahead_us.fetch_add(HOUR_US, Ordering::Relaxed);
    let dropped = Collected {
        references: 3,
        ..Collected::default()
    };
    assert_eq!(life.collector.round().await, dropped);
    assert_eq!(files(&blocks), 5, "the grace");
    // Nothing is closed: a start after a kill rebuilds what it knows from the log.
    drop(life);
    let mut life = begin(folder.path(), &ahead_us);

    // What was dropped and not yet durable is dropped again; its grace begins anew.
    life.collector.round().await;
    ahead_us.fetch_add(HOUR_US, Ordering::Relaxed);
    life.collector.round().await;
    assert_eq!(files(&blocks), 3);
    let reader = life.store.get_object(&bucket, &key("kept")).await.unwrap();
    assert_eq!(reader.info().size, 3 * BLOCK_BYTES as u64);
    let mut body = read_whole(reader, None);
    while let trellis_s3api::body::Piece::Data(_) = body.next().await.unwrap() {}
}
