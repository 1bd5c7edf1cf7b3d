//! Conditions are judged in the same step that writes.

use futures_util::future::join_all;

use super::{Bench, Finding, Suite, key, ok, refused, same};
use crate::condition::{EtagSet, WriteCondition};
use crate::error::StoreError;
use crate::object::{Etag, ObjectInfo};
use crate::store::{ObjectReader, ObjectStore};

const RACERS: usize = 8;

pub(super) async fn run<S: ObjectStore>(suite: &mut Suite<'_, S>) {
    suite.case("creation happens once", create).await;
    suite.case("replacement names its victim", replace).await;
    suite.case("deletion names its victim", delete).await;
    suite.case("one racing creator wins", race).await;
    suite.case("no increment is lost", count).await;
}

async fn create<S: ObjectStore>(bench: Bench<'_, S>) -> Finding {
    ok("create", bench.put_if("a", "1", WriteCondition::create()).await)?;
    let again = bench.put_if("a", "2", WriteCondition::create()).await;
    refused("create again", again, &StoreError::PreconditionFailed)?;
    same("bytes", ok("read", bench.get("a").await)?, b"1".to_vec())?;
    ok("delete", bench.delete("a").await)?;
    ok(
        "create after deleting",
        bench.put_if("a", "3", WriteCondition::create()).await,
    )?;
    let etag = ok("head", bench.store.head_object(&bench.bucket, &key("a")).await)?.etag;
    let unless = |etag| WriteCondition {
        if_match: None,
        if_none_match: Some(EtagSet::Of(vec![etag])),
    };
    let same_tag = bench.put_if("a", "4", unless(etag)).await;
    refused("write unless it is this one", same_tag, &StoreError::PreconditionFailed)?;
    ok(
        "write unless it is another one",
        bench.put_if("a", "5", unless(Etag::parse("other"))).await,
    )
    .map(|_| ())
}

async fn replace<S: ObjectStore>(bench: Bench<'_, S>) -> Finding {
    let any = WriteCondition {
        if_match: Some(EtagSet::Any),
        if_none_match: None,
    };
    refused(
        "replace nothing",
        bench.put_if("a", "0", any.clone()).await,
        &StoreError::NoSuchKey,
    )?;
    let first = ok("write", bench.put("a", "1").await)?.etag;
    let second = ok(
        "replace",
        bench.put_if("a", "2", WriteCondition::replace(first.clone())).await,
    )?
    .etag;
    let stale = bench.put_if("a", "3", WriteCondition::replace(first)).await;
    refused("replace what was replaced", stale, &StoreError::PreconditionFailed)?;
    ok("replace anything", bench.put_if("a", "4", any).await)?;
    ok("delete", bench.delete("a").await)?;
    let gone = bench.put_if("a", "5", WriteCondition::replace(second)).await;
    refused("replace what was deleted", gone, &StoreError::NoSuchKey)?;
    refused("read", bench.get("a").await, &StoreError::NoSuchKey)
}

async fn delete<S: ObjectStore>(bench: Bench<'_, S>) -> Finding {
    let delete = |condition| bench.delete_if("a", condition);
    let any = WriteCondition {
        if_match: Some(EtagSet::Any),
        if_none_match: None,
    };
    let other = || WriteCondition::replace(Etag::parse("other"));
    refused(
        "delete a version of nothing",
        delete(other()).await,
        &StoreError::NoSuchKey,
    )?;
    refused(
        "delete anything of nothing",
        delete(any.clone()).await,
        &StoreError::NoSuchKey,
    )?;
    ok("delete nothing", delete(WriteCondition::none()).await)?;
    let etag = ok("write", bench.put("a", "1").await)?.etag;
    refused(
        "delete another version",
        delete(other()).await,
        &StoreError::PreconditionFailed,
    )?;
    same("bytes", ok("read", bench.get("a").await)?, b"1".to_vec())?;
    let this = || WriteCondition::replace(etag.clone());
    ok("delete this version", delete(this()).await)?;
    refused("read", bench.get("a").await, &StoreError::NoSuchKey)?;
    refused("delete it once more", delete(this()).await, &StoreError::NoSuchKey)?;
    ok("write", bench.put("a", "2").await)?;
    ok("delete anything", delete(any).await)
}

async fn race<S: ObjectStore>(bench: Bench<'_, S>) -> Finding {
    let create = |racer: usize| bench.put_if("a", format!("racer {racer}"), WriteCondition::create());
    let results = join_all((0..RACERS).map(create)).await;
    let winners = results.iter().filter(|result| result.is_ok()).count();
    // A racer may be told that its outcome is unknown; then it may have won without a word.
    let unknown = results.iter().filter(|result| is_unknown(result)).count();
    let losers = results
        .iter()
        .filter(|result| **result == Err(StoreError::PreconditionFailed))
        .count();
    same("every racer has a proper answer", winners + unknown + losers, RACERS)?;
    same("at most one wins", winners <= 1 && winners + unknown >= 1, true)?;
    let left = ok("read", bench.get("a").await)?;
    let winner = results
        .iter()
        .position(Result::is_ok)
        .map(|racer| format!("racer {racer}").into_bytes());
    same(
        "the bytes are the winner's",
        winner.is_none_or(|winner| winner == left),
        true,
    )
}

fn is_unknown(result: &Result<ObjectInfo, StoreError>) -> bool {
    matches!(
        result,
        Err(StoreError::ConditionalConflict | StoreError::OutcomeUnknown)
    )
}

async fn count<S: ObjectStore>(bench: Bench<'_, S>) -> Finding {
    const ROUNDS: usize = 5;
    ok("write", bench.put("a", "0").await)?;
    let increments = join_all((0..RACERS).map(|_| async {
        let mut done = 0;
        while done < ROUNDS {
            done += usize::from(increment(&bench).await?);
        }
        Ok::<usize, String>(done)
    }));
    let done: usize = increments.await.into_iter().sum::<Result<usize, String>>()?;
    let left = ok("read", bench.get("a").await)?;
    // Increments with an unknown outcome are tried again and may count twice, so the sum is a lower bound.
    let left: usize = ok("parse", String::from_utf8_lossy(&left).parse())?;
    same("increments that are left", left >= done, true)
}

/// One optimistic increment; `false` if somebody else was faster.
async fn increment<S: ObjectStore>(bench: &Bench<'_, S>) -> Result<bool, String> {
    let reader = ok("open", bench.store.get_object(&bench.bucket, &key("a")).await)?;
    let (etag, size) = (reader.info().etag.clone(), reader.info().size);
    let bytes = ok("read", super::read(reader, 0..size).await)?;
    let number: usize = ok("parse", String::from_utf8_lossy(&bytes).parse())?;
    match bench
        .put_if("a", (number + 1).to_string(), WriteCondition::replace(etag))
        .await
    {
        Ok(_) => Ok(true),
        Err(StoreError::PreconditionFailed | StoreError::ConditionalConflict | StoreError::OutcomeUnknown) => Ok(false),
        Err(error) => Err(format!("increment: {error:?}")),
    }
}
