//! What any implementation of [`ObjectStore`] must pass: run it over the store in memory, over one node, over a cluster.
//!
//! [`run_all`] works in buckets of its own, named `conformance-…`, and deletes what it made. It needs nothing but an
//! empty-handed caller: a key that the store lets create buckets. Cases do not depend on time or on each other.

mod buckets;
mod conditions;
mod multipart;
mod objects;
mod scans;

use std::fmt::Debug;
use std::future::Future;
use std::ops::{Bound, Range};

use bytes::Bytes;
use futures_util::StreamExt as _;

use crate::body::Body;
use crate::bucket::{AccessKey, BucketInfo, BucketName};
use crate::condition::WriteCondition;
use crate::error::StoreError;
use crate::object::{ObjectInfo, ObjectKey};
use crate::scan::{Scan, UploadBound, UploadScan};
use crate::store::{ObjectReader, ObjectStore, Origin, PutObject};

/// A promise that a store did not keep.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{case}: {what}")]
pub struct Violation {
    /// The case that found it.
    pub case: &'static str,
    /// What was expected and what was seen.
    pub what: String,
}

/// Runs every case on `store` as `caller` and tells which promises were broken.
pub async fn run_all<S: ObjectStore>(store: &S, caller: &AccessKey) -> Vec<Violation> {
    let mut suite = Suite {
        store,
        caller,
        violations: Vec::new(),
    };
    buckets::run(&mut suite).await;
    objects::run(&mut suite).await;
    conditions::run(&mut suite).await;
    scans::run(&mut suite).await;
    multipart::run(&mut suite).await;
    suite.violations
}

/// What a case found out; the text says what went wrong.
type Finding = Result<(), String>;

struct Suite<'s, S> {
    store: &'s S,
    caller: &'s AccessKey,
    violations: Vec<Violation>,
}

/// The surroundings of one case: a store and an empty bucket.
struct Bench<'s, S> {
    store: &'s S,
    origin: Origin,
    bucket: BucketInfo,
}

impl<'s, S: ObjectStore> Suite<'s, S> {
    /// Runs one case in a bucket of its own.
    async fn case<F: Future<Output = Finding>>(&mut self, case: &'static str, run: impl FnOnce(Bench<'s, S>) -> F) {
        let finding = match self.bench(case).await {
            Ok(bench) => {
                let clean = Bench {
                    store: bench.store,
                    origin: bench.origin.clone(),
                    bucket: bench.bucket.clone(),
                };
                let finding = run(bench).await;
                let cleaned = clean.clear().await;
                finding.and(cleaned)
            }
            Err(what) => Err(what),
        };
        self.violations
            .extend(finding.err().map(|what| Violation { case, what }));
    }

    async fn bench(&self, case: &str) -> Result<Bench<'s, S>, String> {
        let name = BucketName::parse(&format!("conformance-{}", case.replace(' ', "-")));
        let name = name.map_err(|error| format!("{case}: {error}"))?;
        let origin = Origin {
            caller: self.caller.clone(),
            invocation: None,
        };
        let bucket = ok("create the bucket", self.store.create_bucket(&origin, &name).await)?;
        Ok(Bench {
            store: self.store,
            origin,
            bucket,
        })
    }
}

impl<S: ObjectStore> Bench<'_, S> {
    async fn put(&self, name: &str, bytes: impl Into<Bytes>) -> Result<ObjectInfo, StoreError> {
        self.put_if(name, bytes, WriteCondition::none()).await
    }

    async fn put_if(
        &self,
        name: &str,
        bytes: impl Into<Bytes>,
        condition: WriteCondition,
    ) -> Result<ObjectInfo, StoreError> {
        let put = PutObject {
            condition,
            ..PutObject::default()
        };
        self.store
            .put_object(&self.origin, &self.bucket, &key(name), put, Body::from_bytes(bytes))
            .await
    }

    async fn get(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        let reader = self.store.get_object(&self.bucket, &key(name)).await?;
        let size = reader.info().size;
        read(reader, 0..size).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.delete_if(name, WriteCondition::none()).await
    }

    async fn delete_if(&self, name: &str, condition: WriteCondition) -> Result<(), StoreError> {
        self.store
            .delete_object(&self.origin, &self.bucket, &key(name), condition)
            .await
    }

    /// All keys of the bucket, by scans of `limit` entries.
    async fn keys(&self, prefix: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        let (mut keys, mut from) = (Vec::new(), Bound::Unbounded);
        loop {
            let page = self
                .store
                .scan(
                    &self.bucket,
                    Scan {
                        prefix: prefix.to_owned(),
                        from,
                        limit,
                    },
                )
                .await?;
            keys.extend(page.entries.into_iter().map(|entry| entry.key.as_str().to_owned()));
            match page.resume {
                Some(key) => from = Bound::Excluded(key),
                None => return Ok(keys),
            }
        }
    }

    /// Empties and deletes the bucket, unless the case did so itself.
    async fn clear(&self) -> Finding {
        let left = match self.keys("", 1000).await {
            Err(StoreError::NoSuchBucket) => return Ok(()),
            left => ok("list what is left", left)?,
        };
        for name in left {
            ok("delete what is left", self.delete(&name).await)?;
        }
        let all = UploadScan {
            prefix: String::new(),
            from: UploadBound::Key(Bound::Unbounded),
            limit: 1000,
        };
        for upload in ok("list uploads left", self.store.scan_uploads(&self.bucket, all).await)?.entries {
            let aborted = self
                .store
                .abort_upload(&self.origin, &self.bucket, &upload.key, &upload.id)
                .await;
            ok("abort what is left", aborted)?;
        }
        match self.store.delete_bucket(&self.origin, &self.bucket).await {
            Ok(()) | Err(StoreError::NoSuchBucket) => Ok(()),
            Err(error) => Err(format!("delete the emptied bucket: {error}")),
        }
    }
}

async fn read(reader: impl ObjectReader, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
    let mut stream = reader.read(range);
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes)
}

/// Bytes that differ from place to place, so that mixed-up blocks show.
fn pattern(len: usize, seed: u8) -> Vec<u8> {
    let byte = |index: usize| u8::try_from((index ^ (index >> 8) ^ (index >> 16)) & 0xff).unwrap_or(0) ^ seed;
    (0..len).map(byte).collect()
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::parse(name).expect("the suite uses valid keys")
}

fn ok<T, E: Debug>(what: &str, result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {error:?}"))
}

fn refused<T: Debug>(what: &str, result: Result<T, StoreError>, wanted: &StoreError) -> Finding {
    match result {
        Err(error) if error == *wanted => Ok(()),
        Err(error) => Err(format!("{what}: expected {wanted:?}, got {error:?}")),
        Ok(value) => Err(format!("{what}: expected {wanted:?}, but it succeeded with {value:?}")),
    }
}

fn same<T: PartialEq + Debug>(what: &str, got: T, wanted: T) -> Finding {
    if got == wanted {
        Ok(())
    } else {
        Err(format!("{what}: expected {wanted:?}, got {got:?}"))
    }
}

/// Like [`same`] for bytes, without printing them.
fn same_bytes(what: &str, got: &[u8], wanted: &[u8]) -> Finding {
    let place = got.iter().zip(wanted).position(|(a, b)| a != b);
    match (place, got.len() == wanted.len()) {
        (None, true) => Ok(()),
        (place, _) => Err(format!(
            "{what}: {} bytes, expected {}, first difference {place:?}",
            got.len(),
            wanted.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;

    #[tokio::test]
    async fn memory_keeps_every_promise() {
        let store = MemoryStore::new().with_key("key", "secret");
        assert_eq!(run_all(&store, &AccessKey("key".to_owned())).await, []);
    }
}
