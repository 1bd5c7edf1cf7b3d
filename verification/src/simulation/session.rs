//! One client's requests: each is made at a node and written down with what came of it.

use std::future::Future;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use md5::{Digest, Md5};
use trellis_node::store::ClusterStore;
use trellis_s3api::body::{Body, stream_of};
use trellis_s3api::bucket::{AccessKey, BucketInfo};
use trellis_s3api::condition::{EtagSet, WriteCondition};
use trellis_s3api::error::StoreError;
use trellis_s3api::object::{Etag, Metadata, ObjectInfo, ObjectKey};
use trellis_s3api::scan::Scan;
use trellis_s3api::store::{CopyObject, ObjectReader, ObjectStore, Origin, PutObject};

use super::World;
use super::cluster::Told;
use super::inspection;
use crate::history::{Action, Condition, Entry, Outcome};

/// How often one in a hundred clients does not wait for the answer.
const HANG_UPS_PERCENT: u32 = 3;
/// How long such a client waits at most.
const PATIENCE_MAX: Duration = Duration::from_millis(300);
/// How often a client repeats a request of unknown outcome, as software kits do.
const REPEATS_MAX: usize = 3;

/// A client that makes requests.
pub(crate) struct Session {
    pub(crate) number: u32,
    pub(crate) world: World,
    manners: Manners,
    bodies: AtomicU64,
}

/// Whether a client waits for its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manners {
    /// Not always.
    Hasty,
    /// Always.
    Patient,
}

/// A key in a bucket.
#[derive(Clone, Debug)]
pub(crate) struct Spot {
    pub(crate) bucket: BucketInfo,
    pub(crate) key: String,
}

/// How much of an object is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// Fits into its row.
    Small,
    /// Is cut into blocks.
    Large,
}

impl Spot {
    /// The key as the history names it: a bucket that was deleted and created again is another one.
    pub(crate) fn name(&self) -> String {
        format!("{}{}", scope(&self.bucket), self.key)
    }
}

/// What the names of a bucket's keys begin with.
pub(crate) fn scope(bucket: &BucketInfo) -> String {
    let id: String = bucket.id.0.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{id}/")
}

impl Session {
    pub(crate) fn new(number: u32, world: &World, manners: Manners) -> Self {
        Session {
            number,
            world: world.clone(),
            manners,
            bodies: AtomicU64::new(0),
        }
    }

    /// Has `work` done at a node.
    pub(crate) async fn ask<T, F>(&self, at: usize, work: impl FnOnce(ClusterStore) -> F) -> Told<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let dice = &self.world.dice;
        let hasty = self.manners == Manners::Hasty && dice.percent(HANG_UPS_PERCENT);
        let patience = hasty.then(|| dice.up_to(PATIENCE_MAX));
        self.world.cluster.ask(at, patience, work).await
    }

    pub(crate) fn record(&self, call: u64, action: Action, outcome: Outcome) {
        inspection::acknowledge(&self.world, &action, &outcome);
        self.world.journal.record(self.number, call, action, outcome);
    }

    pub(crate) fn origin(&self, invocation: Option<String>) -> Origin {
        Origin {
            caller: caller(),
            invocation,
        }
    }

    /// Reads an object and compares its bytes with those that were written under its entity tag.
    pub(crate) async fn get(&self, at: usize, spot: &Spot) -> Outcome {
        let call = self.world.journal.now();
        let (bucket, key) = (spot.bucket.clone(), key(spot));
        let told = self
            .ask(at, |store| async move {
                let reader = store.get_object(&bucket, &key).await?;
                let (tag, size) = (reader.info().etag.as_str().to_owned(), reader.info().size);
                let mut bytes = Vec::new();
                let mut stream = reader.read(0..size);
                while let Some(piece) = stream.next().await {
                    bytes.extend_from_slice(&piece?);
                }
                Ok((tag, bytes))
            })
            .await;
        let outcome = self.read_outcome(told.map(|(value, bytes)| {
            if self.world.journal.body(&value).is_some_and(|written| written != bytes) {
                self.world
                    .journal
                    .complain(format!("{}: the bytes are not those of {value}", spot.name()));
            }
            Outcome::Found { value }
        }));
        let action = Action::Get {
            key: spot.name(),
            condition: Condition::Always,
        };
        self.record(call, action, outcome.clone());
        outcome
    }

    /// Writes an object.
    pub(crate) async fn put(&self, at: usize, spot: &Spot, size: Size, condition: Condition) -> Outcome {
        self.put_body(at, spot, self.body(size), condition).await
    }

    /// Writes this body, which has this entity tag.
    pub(crate) async fn put_body(
        &self,
        at: usize,
        spot: &Spot,
        (body, tag): (Bytes, String),
        condition: Condition,
    ) -> Outcome {
        let pieces = self.pieces(&body);
        let call = self.world.journal.now();
        let repeats = match condition {
            // Nobody writes that value again, so that it takes effect once, however often it is repeated.
            Condition::Is(_) if self.manners == Manners::Hasty => REPEATS_MAX,
            Condition::Is(_) | Condition::Always | Condition::Absent | Condition::Present | Condition::IsNot(_) => 1,
        };
        let invocation = format!("{}-{call}", self.number);
        let (mut at, mut outcome) = (at, Outcome::Unknown { why: String::new() });
        for repeat in 0..repeats {
            let origin = self.origin((repeats > 1).then(|| invocation.clone()));
            let told = self
                .put_once(at, origin, spot, pieces.clone(), body.len(), &condition)
                .await;
            let again = self.write_outcome(told, &condition);
            outcome = match (repeat, again) {
                (0, outcome) => outcome,
                (_, Outcome::Done) => {
                    self.world
                        .tally
                        .count("a repeated conditional write was told of its success");
                    Outcome::Done
                }
                // An earlier attempt may have succeeded, and something newer have taken its place.
                (_, _) => unknown("no clear answer to a repeated request"),
            };
            if !matches!(outcome, Outcome::Unknown { .. }) {
                break;
            }
            at = self.world.dice.below(self.world.cluster.len());
        }
        let action = Action::Put {
            key: spot.name(),
            value: tag,
            condition,
        };
        self.record(call, action, outcome.clone());
        outcome
    }

    async fn put_once(
        &self,
        at: usize,
        origin: Origin,
        spot: &Spot,
        pieces: Vec<Bytes>,
        size: usize,
        condition: &Condition,
    ) -> Told<ObjectInfo> {
        let (bucket, key, condition) = (spot.bucket.clone(), key(spot), write_condition(condition));
        let put = PutObject {
            metadata: Metadata::default(),
            condition,
        };
        self.ask(at, |store| async move {
            let body = Body::from_stream(stream_of(pieces), size as u64);
            store.put_object(&origin, &bucket, &key, put, body).await
        })
        .await
    }

    /// Begins to write an object and never sends the end of it: nothing may be there.
    pub(crate) async fn put_cut_short(&self, at: usize, spot: &Spot) -> Outcome {
        let (body, tag) = self.body(Size::Large);
        let call = self.world.journal.now();
        let pieces = self.pieces(&body.slice(..body.len() / 2));
        let told = self
            .put_once(at, self.origin(None), spot, pieces, body.len(), &Condition::Always)
            .await;
        let outcome = match told {
            Told::Answer(Ok(_)) => {
                self.world
                    .journal
                    .complain(format!("{}: half a body was accepted", spot.name()));
                unknown("half a body was accepted")
            }
            Told::Answer(Err(_)) | Told::NotSent | Told::Crashed | Told::HungUp => Outcome::Failed {
                why: "the body was cut short".to_owned(),
            },
        };
        self.record(
            call,
            Action::Put {
                key: spot.name(),
                value: tag,
                condition: Condition::Always,
            },
            outcome.clone(),
        );
        outcome
    }

    /// Deletes an object.
    pub(crate) async fn delete(&self, at: usize, spot: &Spot, condition: Condition) -> Outcome {
        let call = self.world.journal.now();
        let (bucket, key, origin) = (spot.bucket.clone(), key(spot), self.origin(None));
        let wanted = write_condition(&condition);
        let told = self
            .ask(at, |store| async move {
                store.delete_object(&origin, &bucket, &key, wanted).await
            })
            .await;
        let outcome = self.write_outcome(told, &condition);
        self.record(
            call,
            Action::Delete {
                key: spot.name(),
                condition,
            },
            outcome.clone(),
        );
        outcome
    }

    /// One page of a listing.
    pub(crate) async fn list(&self, at: usize, from: &Spot, prefix: &str, limit: usize) -> Outcome {
        let call = self.world.journal.now();
        let bucket = from.bucket.clone();
        let start = if from.key.is_empty() {
            Bound::Unbounded
        } else {
            Bound::Excluded(from.key.clone())
        };
        let scan = Scan {
            prefix: prefix.to_owned(),
            from: start,
            limit,
        };
        let told = self
            .ask(at, |store| async move { store.scan(&bucket, scan).await })
            .await;
        let scope = scope(&from.bucket);
        let outcome = match told {
            Told::Answer(Err(StoreError::NoSuchBucket)) => Outcome::Page {
                entries: Vec::new(),
                until: None,
            },
            told @ (Told::Answer(_) | Told::NotSent | Told::Crashed | Told::HungUp) => {
                self.read_outcome(told.map(|page| {
                    Outcome::Page {
                        entries: page
                            .entries
                            .iter()
                            .map(|listed| entry(&scope, listed.key.as_str(), &listed.etag))
                            .collect(),
                        until: page.resume.map(|key| format!("{scope}{key}")),
                    }
                }))
            }
        };
        let action = Action::List {
            prefix: format!("{scope}{prefix}"),
            after: from.name(),
        };
        self.record(call, action, outcome.clone());
        outcome
    }

    /// Copies an object to another key.
    pub(crate) async fn copy(&self, at: usize, from: &Spot, to: &Spot, condition: Condition) {
        let call = self.world.journal.now();
        let (bucket, from_key) = (from.bucket.clone(), key(from));
        let opened = self
            .ask(at, |store| async move { store.get_object(&bucket, &from_key).await })
            .await;
        let Told::Answer(Ok(source)) = opened else { return };
        let value = source.info().etag.as_str().to_owned();
        self.record(
            call,
            Action::Get {
                key: from.name(),
                condition: Condition::Always,
            },
            Outcome::Found { value: value.clone() },
        );
        if source.info().etag.md5().is_none() {
            // What was uploaded in parts may be written again in one piece, under another entity tag.
            return;
        }
        let call = self.world.journal.now();
        let (bucket, key, origin) = (to.bucket.clone(), key(to), self.origin(None));
        let copy = CopyObject {
            metadata: Metadata::default(),
            condition: write_condition(&condition),
            checksum: None,
        };
        let told = self
            .ask(at, |store| async move {
                store.copy_object(&origin, source, &bucket, &key, copy).await
            })
            .await;
        let outcome = self.write_outcome(told, &condition);
        self.world.tally.count("a copy was tried");
        self.record(
            call,
            Action::Put {
                key: to.name(),
                value,
                condition,
            },
            outcome,
        );
    }

    /// A body that nobody else writes, ever, and its entity tag.
    pub(crate) fn body(&self, size: Size) -> (Bytes, String) {
        let number = self.bodies.fetch_add(1, Ordering::Relaxed);
        let limits = &self.world.shape.limits;
        let length = match size {
            Size::Small => self.world.dice.below(200),
            Size::Large => limits.inline_max_bytes + self.world.dice.below(3 * limits.block_bytes),
        };
        let mut body = format!("{}-{number} ", self.number).into_bytes();
        let head = body.len();
        body.extend((head..length).map(|at| b'a' + u8::try_from((at * 7 + at / 251) % 26).unwrap_or(0)));
        let body = Bytes::from(body);
        let tag = Etag::of_md5(Md5::digest(&body).into()).as_str().to_owned();
        self.world.journal.wrote(&tag, &body);
        (body, tag)
    }

    /// The body as it arrives.
    fn pieces(&self, body: &Bytes) -> Vec<Bytes> {
        let size = self.world.dice.below(body.len()) + 1;
        body.chunks(size).map(|piece| body.slice_ref(piece)).collect()
    }

    fn read_outcome(&self, told: Told<Outcome>) -> Outcome {
        match told {
            Told::Answer(Ok(outcome)) => outcome,
            // A key of a bucket that is gone is not there.
            Told::Answer(Err(StoreError::NoSuchKey | StoreError::NoSuchBucket)) => Outcome::NotFound,
            Told::Answer(Err(error)) => {
                self.note(&error);
                unknown(&error.to_string())
            }
            Told::NotSent | Told::Crashed | Told::HungUp => unknown("no answer"),
        }
    }

    /// What the answer to a write tells of it.
    pub(crate) fn write_outcome<T>(&self, told: Told<T>, condition: &Condition) -> Outcome {
        match told {
            Told::Answer(Ok(_)) => Outcome::Done,
            Told::Answer(Err(StoreError::PreconditionFailed | StoreError::NoSuchKey)) => {
                if condition.is_always() {
                    self.world
                        .journal
                        .complain("a condition failed where there was none".to_owned());
                }
                self.world.tally.count("a condition failed");
                Outcome::Refused
            }
            Told::Answer(Err(StoreError::Body(error))) => Outcome::Failed { why: error.to_string() },
            Told::Answer(Err(error)) => {
                self.note(&error);
                unknown(&error.to_string())
            }
            Told::NotSent => Outcome::Failed {
                why: "the node was down".to_owned(),
            },
            Told::Crashed | Told::HungUp => unknown("no answer"),
        }
    }

    /// Counts errors, and reports those that can only be bugs.
    pub(crate) fn note(&self, error: &StoreError) {
        let tally = &self.world.tally;
        match error {
            StoreError::InvalidPart { .. } => self
                .world
                .journal
                .complain(format!("a part was acknowledged, but: {error}")),
            StoreError::Internal(what) => self.world.journal.complain(format!("internal error: {what}")),
            StoreError::ConditionalConflict => tally.count("a conditional write ended in a conflict"),
            StoreError::OutcomeUnknown => tally.count("an outcome was unknown"),
            StoreError::Unavailable(_) => tally.count("the store was unavailable"),
            StoreError::SlowDown => tally.count("a client was told to slow down"),
            StoreError::StorageFull => tally.count("a client was told that the disks are full"),
            StoreError::NoSuchBucket => tally.count("a bucket was gone"),
            StoreError::NoSuchKey
            | StoreError::NoSuchUpload
            | StoreError::BucketAlreadyOwnedByYou
            | StoreError::BucketAlreadyExists
            | StoreError::BucketNotEmpty
            | StoreError::InvalidPartOrder
            | StoreError::EntityTooSmall { .. }
            | StoreError::EntityTooLarge
            | StoreError::InvalidRequest(_)
            | StoreError::BadDigest
            | StoreError::PreconditionFailed
            | StoreError::Body(_) => {}
        }
    }
}

impl<T> Told<T> {
    fn map<U>(self, change: impl FnOnce(T) -> U) -> Told<U> {
        match self {
            Told::Answer(answer) => Told::Answer(answer.map(change)),
            Told::NotSent => Told::NotSent,
            Told::Crashed => Told::Crashed,
            Told::HungUp => Told::HungUp,
        }
    }
}

pub(crate) fn unknown(why: &str) -> Outcome {
    Outcome::Unknown { why: why.to_owned() }
}

/// Everybody signs with the same key.
pub(crate) fn caller() -> AccessKey {
    AccessKey("caller".to_owned())
}

pub(crate) fn key(spot: &Spot) -> ObjectKey {
    ObjectKey::parse(spot.key.clone()).expect("keys of the workload are short")
}

fn entry(scope: &str, key: &str, tag: &Etag) -> Entry {
    Entry {
        key: format!("{scope}{key}"),
        value: tag.as_str().to_owned(),
    }
}

pub(crate) fn write_condition(condition: &Condition) -> WriteCondition {
    let of = |tag: &String| Some(EtagSet::Of(vec![Etag::parse(tag)]));
    let (if_match, if_none_match) = match condition {
        Condition::Always => (None, None),
        Condition::Absent => (None, Some(EtagSet::Any)),
        Condition::Present => (Some(EtagSet::Any), None),
        Condition::Is(tag) => (of(tag), None),
        Condition::IsNot(tag) => (None, of(tag)),
    };
    WriteCondition {
        if_match,
        if_none_match,
    }
}
