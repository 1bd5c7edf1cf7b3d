//! Objects come back as they were written, whole or in part, and a body that is wrong leaves no trace.

use super::{Bench, Finding, Suite, key, ok, pattern, read, refused, same, same_bytes};
use crate::body::{Announced, Body, BodyError, Expected, stream_of};
use crate::checksum::{Algorithm, Checksum, ChecksumKind, ObjectChecksum};
use crate::condition::{EtagSet, WriteCondition};
use crate::error::StoreError;
use crate::object::{Etag, Metadata};
use crate::store::{CopyObject, ObjectReader, ObjectStore, PutObject};

use bytes::Bytes;

/// Larger than any block size in use, and not a multiple of one.
const LARGE_BYTES: usize = (9 << 20) + 4321;

pub(super) async fn run<S: ObjectStore>(suite: &mut Suite<'_, S>) {
    suite.case("objects come back", come_back).await;
    suite.case("any size is kept", sizes).await;
    suite.case("metadata is kept", metadata).await;
    suite.case("ranges are cut exactly", ranges).await;
    suite.case("readers keep their version", snapshot).await;
    suite.case("deletes are final", deletes).await;
    suite.case("bad bodies leave no trace", bad_bodies).await;
    suite.case("copies are alike", copies).await;
}

async fn come_back<S: ObjectStore>(bench: Bench<'_, S>) -> Finding {
    refused("read what is not there", bench.get("a").await, &StoreError::NoSuchKey)?;
    let written = ok("write", bench.put("a", "hello").await)?;
    same("entity tag", written.etag.as_str(), "5d41402abc4b2a76b9719d911017c592")?;
    let value = Checksum::of(Algorithm::Crc64Nvme, b"hello");
    same(
        "checksum",
        written.checksum,
        Some(ObjectChecksum {
            value,
            kind: ChecksumKind::FullObject,
        }),
    )?;
    let head = ok("head", bench.store.head_object(&bench.bucket, &key("a")).await)?;
    same("head and write agree", &head, &written)?;
    same("bytes", ok("read", bench.get("a").await)?, b"hello".to_vec())?;
    ok("overwrite", bench.put("a", "world!").await)?;
    same(
        "bytes after overwriting",
        ok("read", bench.get("a").await)?,
        b"world!".to_vec(),
    )
}

async fn sizes<S: ObjectStore>(bench: Bench<'_, S>) -> Finding {
    for size in [0, 1, 4095, 4096, 4097, 65_536, 1 << 20, (1 << 20) + 1, LARGE_BYTES] {
        let bytes = pattern(size, 7);
        let written = ok("write", bench.put("sized", bytes.clone()).await)?;
        same("size", written.size, size as u64)?;
        same_bytes("bytes", &ok("read", bench.get("sized").await)?, &bytes)?;
    }
    Ok(())
}

async fn metadata<S: ObjectStore>(bench: Bench<'_, S>) -> Finding {
    let text = |text: &str| Some(text.to_owned());
    let metadata = Metadata {
        content_type: text("text/plain; charset=utf-8"),
        cache_control: text("no-cache"),
        content_disposition: text("attachment; filename=\"ü.txt\""),
        content_encoding: text("gzip"),
        content_language: text("de, en"),
        expires: text("Thu, 01 Dec 1994 16:00:00 GMT"),
        website_redirect_location: text("/elsewhere"),
        user: [("colour", "gr\u{fc}n"), ("empty", "")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
    };
    let put = PutObject {
        metadata: metadata.clone(),
        ..PutObject::default()
    };
    let body = Body::from_bytes("x");
    ok(
        "write",
        bench
            .store
            .put_object(&bench.origin, &bench.bucket, &key("a"), put, body)
            .await,
    )?;
    let head = ok("head", bench.store.head_object(&bench.bucket, &key("a")).await)?;
    same("metadata", head.metadata, metadata)
}

async fn ranges<S: ObjectStore>(bench: Bench<'_, S>) -> Finding {
    let bytes = pattern(LARGE_BYTES, 3);
    ok("write", bench.put("a", bytes.clone()).await)?;
    let mib = 1 << 20;
    for (start, end) in [
        (0, 1),
        (mib - 1, mib + 1),
        (mib, 2 * mib),
        (5, LARGE_BYTES),
        (LARGE_BYTES - 1, LARGE_BYTES),
        (9, 9),
    ] {
        let reader = ok("open", bench.store.get_object(&bench.bucket, &key("a")).await)?;
        let part = ok("read a range", read(reader, start as u64..end as u64).await)?;
        same_bytes("bytes of the range", &part, bytes.get(start..end).unwrap_or_default())?;
    }
    Ok(())
}

async fn snapshot<S: ObjectStore>(bench: Bench<'_, S>) -> Finding {
    let first = pattern(LARGE_BYTES, 1);
    ok("write", bench.put("a", first.clone()).await)?;
    let reader = ok("open", bench.store.get_object(&bench.bucket, &key("a")).await)?;
    ok("overwrite", bench.put("a", pattern(LARGE_BYTES, 2)).await)?;
    let size = reader.info().size;
    same_bytes(
        "bytes of the opened version",
        &ok("read on", read(reader, 0..size).await)?,
        &first,
    )
}

async fn deletes<S: ObjectStore>(bench: Bench<'_, S>) -> Finding {
    ok("delete what is not there", bench.delete("a").await)?;
    ok("write", bench.put("a", "a").await)?;
    ok("delete", bench.delete("a").await)?;
    refused("read", bench.get("a").await, &StoreError::NoSuchKey)?;
    same("keys", ok("list", bench.keys("", 10).await)?, Vec::new())?;
    ok("write again", bench.put("a", "b").await)?;
    same("bytes", ok("read", bench.get("a").await)?, b"b".to_vec())
}

async fn bad_bodies<S: ObjectStore>(bench: Bench<'_, S>) -> Finding {
    let bytes = Bytes::from(pattern(2 << 20, 5));
    ok("write the old version", bench.put("old", "old").await)?;
    for name in ["old", "new"] {
        let short = Body::from_stream(stream_of([bytes.clone()]), bytes.len() as u64 + 1);
        let error = StoreError::Body(BodyError::Incomplete);
        refused("write a body that ends early", put(&bench, name, short).await, &error)?;
        let error = StoreError::Body(BodyError::ChecksumMismatch(Algorithm::Sha256));
        refused(
            "write a body with a wrong checksum",
            put(&bench, name, mislabelled(&bytes)).await,
            &error,
        )?;
        let broken = Body::new(
            Box::pin(futures_util::stream::iter(breaking(&bytes))),
            Expected::default(),
        );
        let error = StoreError::Body(BodyError::Disconnected("gone".to_owned()));
        refused("write a body that breaks off", put(&bench, name, broken).await, &error)?;
    }
    same(
        "the old version",
        ok("read it", bench.get("old").await)?,
        b"old".to_vec(),
    )?;
    refused(
        "read what was never completed",
        bench.get("new").await,
        &StoreError::NoSuchKey,
    )?;
    same("keys", ok("list", bench.keys("", 10).await)?, vec!["old".to_owned()])
}

async fn put<S: ObjectStore>(bench: &Bench<'_, S>, name: &str, body: Body) -> Result<(), StoreError> {
    let put = PutObject::default();
    bench
        .store
        .put_object(&bench.origin, &bench.bucket, &key(name), put, body)
        .await
        .map(|_| ())
}

fn mislabelled(bytes: &Bytes) -> Body {
    let wrong = Announced::Value(Checksum::of(Algorithm::Sha256, b"something else"));
    let expected = Expected {
        checksum: Some((Algorithm::Sha256, wrong)),
        ..Expected::default()
    };
    Body::new(Box::pin(futures_util::stream::iter([Ok(bytes.clone())])), expected)
}

fn breaking(bytes: &Bytes) -> [Result<Bytes, BodyError>; 2] {
    [Ok(bytes.clone()), Err(BodyError::Disconnected("gone".to_owned()))]
}

async fn copies<S: ObjectStore>(bench: Bench<'_, S>) -> Finding {
    let bytes = pattern(LARGE_BYTES, 9);
    let source = ok("write", bench.put("a", bytes.clone()).await)?;
    let metadata = Metadata {
        content_type: Some("text/x-copy".to_owned()),
        ..Metadata::default()
    };
    let copy = |condition| CopyObject {
        metadata: metadata.clone(),
        condition,
        checksum: None,
    };
    let to = |name: &'static str, condition| {
        let (bench, copy) = (&bench, copy(condition));
        async move {
            let reader = bench.store.get_object(&bench.bucket, &key("a")).await?;
            bench
                .store
                .copy_object(&bench.origin, reader, &bench.bucket, &key(name), copy)
                .await
        }
    };
    let made = ok("copy", to("b", WriteCondition::none()).await)?;
    same("metadata", &made.metadata, &metadata)?;
    same("size", made.size, source.size)?;
    same("checksum", made.checksum, source.checksum)?;
    same_bytes("bytes", &ok("read the copy", bench.get("b").await)?, &bytes)?;
    refused(
        "copy over it",
        to("b", WriteCondition::create()).await,
        &StoreError::PreconditionFailed,
    )?;
    let stale = WriteCondition {
        if_match: Some(EtagSet::Of(vec![Etag::parse("other")])),
        if_none_match: None,
    };
    refused(
        "copy over another version",
        to("b", stale).await,
        &StoreError::PreconditionFailed,
    )?;
    ok("delete the source", bench.delete("a").await)?;
    same_bytes(
        "bytes after the source is gone",
        &ok("read the copy", bench.get("b").await)?,
        &bytes,
    )
}
