//! Buckets come, are found, and go when they are empty.

use super::{Bench, Finding, Suite, ok, refused, same};
use crate::error::StoreError;
use crate::store::ObjectStore;

pub(super) async fn run<S: ObjectStore>(suite: &mut Suite<'_, S>) {
    suite.case("buckets are found", found).await;
    suite.case("buckets exist once", once).await;
    suite.case("full buckets stay", full).await;
    suite.case("new buckets are empty", fresh).await;
}

async fn found<S: ObjectStore>(bench: Bench<'_, S>) -> Finding {
    let found = ok("look the bucket up", bench.store.bucket(&bench.bucket.name).await)?;
    same("the bucket", &found, &bench.bucket)?;
    same("its owner", &found.owner, &bench.origin.caller)?;
    let listed = ok("list the buckets", bench.store.list_buckets(&bench.origin.caller).await)?;
    same(
        "it is listed",
        listed.iter().filter(|bucket| bucket.id == found.id).count(),
        1,
    )?;
    same(
        "buckets are listed by name",
        listed.is_sorted_by_key(|bucket| &bucket.name),
        true,
    )?;
    ok(
        "delete the bucket",
        bench.store.delete_bucket(&bench.origin, &bench.bucket).await,
    )?;
    refused(
        "look it up again",
        bench.store.bucket(&bench.bucket.name).await,
        &StoreError::NoSuchBucket,
    )?;
    let put = bench.put("a", "a").await;
    refused("write to it", put, &StoreError::NoSuchBucket)?;
    let deleted = bench.store.delete_bucket(&bench.origin, &bench.bucket).await;
    refused("delete it again", deleted, &StoreError::NoSuchBucket)
}

async fn once<S: ObjectStore>(bench: Bench<'_, S>) -> Finding {
    let again = bench.store.create_bucket(&bench.origin, &bench.bucket.name).await;
    refused("create it again", again, &StoreError::BucketAlreadyOwnedByYou)
}

async fn full<S: ObjectStore>(bench: Bench<'_, S>) -> Finding {
    ok("write an object", bench.put("a", "a").await)?;
    let deleted = bench.store.delete_bucket(&bench.origin, &bench.bucket).await;
    refused("delete the bucket", deleted, &StoreError::BucketNotEmpty)?;
    same(
        "the object is still there",
        ok("read it", bench.get("a").await)?,
        b"a".to_vec(),
    )
}

async fn fresh<S: ObjectStore>(bench: Bench<'_, S>) -> Finding {
    ok("write an object", bench.put("a", "a").await)?;
    ok("delete the object", bench.delete("a").await)?;
    ok(
        "delete the bucket",
        bench.store.delete_bucket(&bench.origin, &bench.bucket).await,
    )?;
    let again = ok(
        "create it again",
        bench.store.create_bucket(&bench.origin, &bench.bucket.name).await,
    )?;
    let bench = Bench { bucket: again, ..bench };
    refused("read the old object", bench.get("a").await, &StoreError::NoSuchKey)?;
    same("keys", ok("list the new bucket", bench.keys("", 10).await)?, Vec::new())?;
    bench.clear().await
}
