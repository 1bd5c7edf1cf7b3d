//! What operations cost in round trips between nodes: the currency of a cluster over long links.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use trellis_s3api::body::Body;
use trellis_s3api::bucket::{AccessKey, BucketInfo, BucketName};
use trellis_s3api::condition::{EtagSet, WriteCondition};
use trellis_s3api::error::StoreError;
use trellis_s3api::multipart::{Completion as Asked, NamedPart, PART_MIN_BYTES};
use trellis_s3api::object::ObjectKey;
use trellis_s3api::scan::{Scan, UploadId};
use trellis_s3api::store::{NewUpload, ObjectReader, ObjectStore, Origin, PartTarget, PutObject};
use trellis_spec::row::{Body as Stored, Completion, Object, PageRef, UploadState};
use trellis_spec::stamp::Stamp;

use super::{ClusterStore, three};
use crate::env::simulated::Simulation;
use crate::link::simulated::{Faults, SimulatedNetwork};
use crate::store::complete::fingerprint;
use crate::store::ids::upload_id;

/// Far more than disks and processors take in a simulation.
const ROUND_TRIP: Duration = Duration::from_secs(1);

/// A client of the first of three nodes, with a bucket.
struct Client {
    simulation: Simulation,
    stores: Vec<ClusterStore>,
    origin: Origin,
    bucket: BucketInfo,
}

fn with_a_client<F: Future<Output = ()>>(seed: u64, scenario: impl FnOnce(Client) -> F) {
    at_a_distance(seed, ROUND_TRIP, scenario);
}

fn at_a_distance<F: Future<Output = ()>>(seed: u64, round_trip: Duration, scenario: impl FnOnce(Client) -> F) {
    Simulation::run(seed, |simulation| async move {
        let faults = Faults {
            delay_min: round_trip / 2,
            jitter_max: Duration::ZERO,
            ..Faults::none()
        };
        let stores = three(&simulation, &SimulatedNetwork::new(&simulation, faults));
        let origin = Origin {
            caller: AccessKey("caller".to_owned()),
            invocation: None,
        };
        let name = BucketName::parse("far-away").unwrap();
        let bucket = stores[0].create_bucket(&origin, &name).await.unwrap();
        let client = Client {
            simulation,
            stores,
            origin,
            bucket,
        };
        scenario(client).await;
    });
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::parse(name).unwrap()
}

fn bytes(length: usize) -> Bytes {
    vec![7; length].into()
}

impl Client {
    fn store(&self) -> &ClusterStore {
        &self.stores[0]
    }

    /// Runs an operation and returns its cost.
    async fn cost<T>(&self, operation: impl Future<Output = Result<T, StoreError>>) -> (u128, T) {
        let before = self.simulation.now();
        let result = operation.await.unwrap();
        let elapsed = self.simulation.now() - before;
        (elapsed.as_millis() / ROUND_TRIP.as_millis(), result)
    }

    async fn put(&self, name: &str, length: usize, condition: WriteCondition) -> u128 {
        let put = PutObject {
            condition,
            ..PutObject::default()
        };
        let body = Body::from_bytes(bytes(length));
        self.cost(
            self.store()
                .put_object(&self.origin, &self.bucket, &key(name), put, body),
        )
        .await
        .0
    }

    async fn get(&self, name: &str) -> (u128, usize) {
        let read = async {
            let reader = self.store().get_object(&self.bucket, &key(name)).await?;
            let size = reader.info().size;
            let mut stream = reader.read(0..size);
            let mut length = 0;
            while let Some(piece) = stream.next().await {
                length += piece?.len();
            }
            Ok(length)
        };
        self.cost(read).await
    }

    async fn upload(&self, name: &str) -> (UploadId, Asked) {
        let (store, key) = (self.store(), key(name));
        let new = NewUpload::default();
        let upload = store.create_upload(&self.origin, &self.bucket, &key, new).await;
        let upload = upload.unwrap();
        let mut asked = Asked::default();
        for number in 1..=2 {
            let (key, upload) = (key.clone(), upload.clone());
            let target = PartTarget { key, upload, number };
            let body = Body::from_bytes(bytes(usize::try_from(PART_MIN_BYTES).unwrap()));
            let part = store.put_part(&self.origin, &self.bucket, &target, body).await;
            asked.parts.push(NamedPart {
                number,
                etag: part.unwrap().etag,
                checksum: None,
            });
        }
        (upload, asked)
    }

    async fn complete(
        &self,
        name: &str,
        upload: &UploadId,
        asked: &Asked,
        condition: WriteCondition,
    ) -> Result<(), StoreError> {
        let asked = asked.clone();
        let (store, key) = (self.store(), key(name));
        store
            .complete_upload(&self.origin, &self.bucket, &key, upload, asked, condition)
            .await
            .map(drop)
    }
}

fn if_absent() -> WriteCondition {
    WriteCondition {
        if_none_match: Some(EtagSet::Any),
        ..WriteCondition::none()
    }
}

#[test]
fn operations_cost_what_they_must() {
    with_a_client(1, |client| async move {
        let small = client.put("small", 1_000, WriteCondition::none()).await;
        let large = client.put("large", 1_000_000, WriteCondition::none()).await;
        let created = client.put("created", 1_000, if_absent()).await;
        assert_eq!((small, large, created), (1, 2, 2), "PUT: small, large, conditional");

        let (small, large) = (client.get("small").await, client.get("large").await);
        assert_eq!((small, large), ((1, 1_000), (1, 1_000_000)), "GET: small, large");

        let scan = Scan {
            prefix: String::new(),
            from: Bound::Unbounded,
            limit: 1_000,
        };
        let list = client.store().scan(&client.bucket, scan);
        let (cost, page) = client.cost(list).await;
        assert_eq!((cost, page.entries.len()), (1, 3), "LIST");

        let name = key("small");
        let condition = WriteCondition::none();
        let delete = client
            .store()
            .delete_object(&client.origin, &client.bucket, &name, condition);
        assert_eq!(client.cost(delete).await.0, 1, "DELETE");
    });
}

#[test]
fn completing_an_upload_costs_four_round_trips() {
    with_a_client(2, |client| async move {
        let (upload, asked) = client.upload("film").await;
        let complete = client.complete("film", &upload, &asked, WriteCondition::none());
        assert_eq!(client.cost(complete).await.0, 4);

        let (upload, asked) = client.upload("song").await;
        let complete = client.complete("song", &upload, &asked, if_absent());
        assert_eq!(client.cost(complete).await.0, 5);
    });
}

#[test]
fn only_the_first_request_waits_for_a_lookup() {
    at_a_distance(4, Duration::from_millis(100), |client| async move {
        let name = &client.bucket.name;
        client.store().bucket(name).await.unwrap();
        // Longer than anything is remembered, in steps shorter than half of that.
        for _ in 0..20 {
            client.simulation.sleep(Duration::from_millis(700)).await;
            let before = client.simulation.now();
            client.store().bucket(name).await.unwrap();
            assert!(client.simulation.now() - before < Duration::from_millis(100));
        }
    });
}

#[test]
fn a_claim_whose_manifest_never_arrived_is_given_back() {
    with_a_client(3, |client| async move {
        let (upload, asked) = client.upload("film").await;
        claim_without_a_manifest(&client, &upload, &asked).await;

        let complete = || client.complete("film", &upload, &asked, WriteCondition::none());
        // Its time is not over: whoever claimed may still be at work.
        assert_eq!(complete().await, Err(StoreError::SlowDown));
        client.simulation.sleep(Duration::from_secs(60)).await;
        // Found abandoned and given back; the repeat that every client makes completes it.
        assert_eq!(complete().await, Err(StoreError::SlowDown));
        assert_eq!(complete().await, Ok(()));
        let size = 2 * usize::try_from(PART_MIN_BYTES).unwrap();
        assert_eq!(client.get("film").await.1, size);
    });
}

/// What a coordinator leaves that dies between its claim and the pages of its manifest.
async fn claim_without_a_manifest(client: &Client, upload: &UploadId, asked: &Asked) {
    let store = client.store();
    let id = upload_id(upload).unwrap();
    let found = store.stored_upload(&client.bucket, &key("film"), id).await.unwrap();
    let (stamp, manifest) = (store.coordinator.stamp(Stamp::ZERO), store.fresh_version());
    let object = Object {
        version: manifest,
        modified_ms: 0,
        size: 10,
        etag: "never-2".to_owned(),
        headers: BTreeMap::new(),
        body: Stored::Paged(PageRef {
            manifest,
            page_bytes: vec![10],
        }),
    };
    let completion = Completion {
        op: store.fresh_op(),
        asked: fingerprint(asked),
        object,
        stamp,
        until: stamp.time + 10_000_000,
    };
    let state = UploadState::Completing(completion);
    let moved = store.move_upload(&found, store.fresh_op(), state).await;
    assert!(moved.unwrap().is_some());
}
