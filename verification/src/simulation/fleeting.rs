//! Buckets that come and go while objects are written into them.
//!
//! The history knows two things about buckets. A bucket's *name* is a register that creations write if there is nothing
//! and deletions clear. And a *deletion* that was acknowledged is a listing: at a moment inside it no key of the bucket
//! was there, and none ever is afterwards, which is claim C12.

use trellis_s3api::bucket::{BucketInfo, BucketName};
use trellis_s3api::error::StoreError;
use trellis_s3api::store::ObjectStore;

use super::cluster::Told;
use super::session::{Session, Size, Spot, caller, scope, unknown};
use crate::history::{Action, Condition, Entry, Outcome};

/// The names of buckets that come and go.
pub(crate) const NAMES: [&str; 2] = ["fleeting-one", "fleeting-two"];
/// What a name holds when there is a bucket.
const EXISTS: &str = "exists";
/// Keys in such a bucket.
const KEYS: usize = 3;
/// The most keys that somebody who wants to delete a bucket deletes at a time.
const SWEEP_MAX: usize = 10;

impl Session {
    /// Does something in, or to, one of the buckets that come and go.
    pub(crate) async fn visit_fleeting(&self, at: usize) {
        let (dice, name) = (&self.world.dice, *self.world.dice.pick(&NAMES));
        if dice.percent(10) {
            return self.list_buckets(at).await;
        }
        match self.find_bucket(at, name).await {
            Some(Found::Bucket(bucket)) => {
                let key = format!("fleeting/{}", dice.below(KEYS));
                let spot = Spot { bucket, key };
                match dice.below(100) {
                    0..35 => drop(self.put(at, &spot, Size::Small, Condition::Always).await),
                    35..42 => drop(self.put(at, &spot, Size::Large, Condition::Absent).await),
                    42..60 => drop(self.get(at, &spot).await),
                    60..70 => drop(self.delete(at, &spot, Condition::Always).await),
                    70..75 => drop(
                        self.list(
                            at,
                            &Spot {
                                key: String::new(),
                                ..spot
                            },
                            "",
                            100,
                        )
                        .await,
                    ),
                    75..80 => self.upload(at, &spot, Condition::Always).await,
                    80..85 => drop(self.remove_bucket(at, &spot.bucket).await),
                    _ => drop(self.sweep(at, &spot.bucket).await),
                }
            }
            Some(Found::Nothing) => drop(self.create_bucket(at, name).await),
            None => {}
        }
    }

    /// The bucket of a name, as the node knows it, perhaps no longer.
    pub(crate) async fn find_bucket(&self, at: usize, name: &str) -> Option<Found> {
        let name = bucket_name(name);
        match self.ask(at, |store| async move { store.bucket(&name).await }).await {
            Told::Answer(Ok(bucket)) => {
                self.world.journal.met(&bucket);
                Some(Found::Bucket(bucket))
            }
            Told::Answer(Err(StoreError::NoSuchBucket)) => Some(Found::Nothing),
            Told::Answer(Err(_)) | Told::NotSent | Told::Crashed | Told::HungUp => None,
        }
    }

    /// Creates a bucket.
    pub(crate) async fn create_bucket(&self, at: usize, name: &str) -> Outcome {
        let call = self.world.journal.now();
        let (parsed, origin) = (bucket_name(name), self.origin(None));
        let told = self
            .ask(at, |store| async move { store.create_bucket(&origin, &parsed).await })
            .await;
        let outcome = match told {
            Told::Answer(Ok(bucket)) => {
                self.world.journal.met(&bucket);
                Outcome::Done
            }
            Told::Answer(Err(StoreError::BucketAlreadyOwnedByYou)) => Outcome::Refused,
            Told::Answer(Err(error)) => {
                self.note(&error);
                unknown(&error.to_string())
            }
            Told::NotSent => Outcome::Failed {
                why: "the node was down".to_owned(),
            },
            Told::Crashed | Told::HungUp => unknown("no answer"),
        };
        self.record(call, name_written(name, Some(EXISTS)), outcome.clone());
        outcome
    }

    /// Empties a bucket, then deletes it.
    pub(crate) async fn sweep(&self, at: usize, bucket: &BucketInfo) -> Outcome {
        let start = Spot {
            bucket: bucket.clone(),
            key: String::new(),
        };
        if let Outcome::Page { entries, .. } = self.list(at, &start, "", SWEEP_MAX).await {
            for Entry { key, .. } in entries {
                let key = key.trim_start_matches(&scope(bucket)).to_owned();
                self.delete(
                    at,
                    &Spot {
                        bucket: bucket.clone(),
                        key,
                    },
                    Condition::Always,
                )
                .await;
            }
        }
        self.abort_uploads(at, bucket).await;
        self.remove_bucket(at, bucket).await
    }

    /// Deletes a bucket, which must be empty.
    pub(crate) async fn remove_bucket(&self, at: usize, bucket: &BucketInfo) -> Outcome {
        let call = self.world.journal.now();
        let (gone, origin) = (bucket.clone(), self.origin(None));
        let told = self
            .ask(at, |store| async move { store.delete_bucket(&origin, &gone).await })
            .await;
        let outcome = match told {
            Told::Answer(Ok(())) => {
                self.world.tally.count("a bucket was deleted");
                self.is_empty_from(call, bucket);
                Outcome::Done
            }
            Told::Answer(Err(StoreError::BucketNotEmpty)) => {
                self.world.tally.count("a bucket was not empty");
                Outcome::Failed {
                    why: "the bucket is not empty".to_owned(),
                }
            }
            Told::Answer(Err(StoreError::NoSuchBucket)) => {
                self.is_empty_from(call, bucket);
                Outcome::Failed {
                    why: "the bucket was gone".to_owned(),
                }
            }
            Told::Answer(Err(error)) => {
                self.world.tally.count("the deletion of a bucket came to no end");
                self.note(&error);
                unknown(&error.to_string())
            }
            Told::NotSent => Outcome::Failed {
                why: "the node was down".to_owned(),
            },
            Told::Crashed | Told::HungUp => unknown("no answer"),
        };
        self.record(call, name_written(bucket.name.as_str(), None), outcome.clone());
        outcome
    }

    /// A bucket is gone: nothing was in it at a moment since `call`, and nothing is from now on.
    pub(crate) fn is_empty_from(&self, call: u64, bucket: &BucketInfo) {
        for call in [call, self.world.journal.now()] {
            let action = Action::List {
                prefix: scope(bucket),
                after: String::new(),
            };
            self.record(
                call,
                action,
                Outcome::Page {
                    entries: Vec::new(),
                    until: None,
                },
            );
        }
    }

    /// Reads all names at once.
    pub(crate) async fn list_buckets(&self, at: usize) {
        let call = self.world.journal.now();
        let Told::Answer(Ok(listed)) = self
            .ask(at, |store| async move { store.list_buckets(&caller()).await })
            .await
        else {
            return;
        };
        for name in NAMES {
            let outcome = if listed.iter().any(|bucket| bucket.name.as_str() == name) {
                Outcome::Found {
                    value: EXISTS.to_owned(),
                }
            } else {
                Outcome::NotFound
            };
            self.record(
                call,
                Action::Get {
                    key: register(name),
                    condition: Condition::Always,
                },
                outcome,
            );
        }
    }
}

/// What a name stands for.
pub(crate) enum Found {
    Bucket(BucketInfo),
    Nothing,
}

fn register(name: &str) -> String {
    format!("bucket {name}")
}

fn name_written(name: &str, value: Option<&str>) -> Action {
    let key = register(name);
    match value {
        Some(value) => Action::Put {
            key,
            value: value.to_owned(),
            condition: Condition::Absent,
        },
        None => Action::Delete {
            key,
            condition: Condition::Present,
        },
    }
}

pub(crate) fn bucket_name(name: &str) -> BucketName {
    BucketName::parse(name).expect("the names of the workload follow the rules")
}
