//! Uploads in parts: what is completed is exactly the named parts, what is aborted is gone.

use std::ops::Bound;

use super::{Bench, Finding, Suite, key, ok, pattern, refused, same, same_bytes};
use crate::body::Body;
use crate::checksum::{Algorithm, Checksum, ChecksumKind};
use crate::condition::WriteCondition;
use crate::error::StoreError;
use crate::multipart::{Completion, NamedPart, PART_MIN_BYTES, PartInfo};
use crate::object::{Etag, Metadata, ObjectInfo};
use crate::scan::{UploadBound, UploadId, UploadScan};
use crate::store::{NewUpload, ObjectStore, PartPage, PartTarget, Rest};

pub(super) async fn run<S: ObjectStore>(suite: &mut Suite<'_, S>) {
    suite.case("parts make an object", complete).await;
    suite.case("wrong completions are refused", wrong).await;
    suite.case("a replaced part is gone", replaced).await;
    suite.case("completions repeat", repeat).await;
    suite.case("completions obey conditions", conditions).await;
    suite.case("aborted uploads are gone", abort).await;
    suite.case("parts and uploads are listed", lists).await;
    suite.case("parts are copied", copy).await;
}

fn part_bytes(seed: u8) -> Vec<u8> {
    pattern(
        usize::try_from(PART_MIN_BYTES).unwrap_or(usize::MAX) + usize::from(seed),
        seed,
    )
}

fn name(parts: &[&PartInfo]) -> Completion {
    let named = |part: &&PartInfo| NamedPart {
        number: part.number,
        etag: part.etag.clone(),
        checksum: None,
    };
    Completion {
        parts: parts.iter().map(named).collect(),
        ..Completion::default()
    }
}

impl<S: ObjectStore> Bench<'_, S> {
    async fn begin(&self, name: &str, new: NewUpload) -> Result<UploadId, StoreError> {
        self.store
            .create_upload(&self.origin, &self.bucket, &key(name), new)
            .await
    }

    async fn part(&self, name: &str, upload: &UploadId, number: u16, bytes: Vec<u8>) -> Result<PartInfo, StoreError> {
        let target = PartTarget {
            key: key(name),
            upload: upload.clone(),
            number,
        };
        self.store
            .put_part(&self.origin, &self.bucket, &target, Body::from_bytes(bytes))
            .await
    }

    async fn complete(
        &self,
        name: &str,
        upload: &UploadId,
        completion: Completion,
        condition: WriteCondition,
    ) -> Result<ObjectInfo, StoreError> {
        self.store
            .complete_upload(&self.origin, &self.bucket, &key(name), upload, completion, condition)
            .await
    }

    async fn abort(&self, name: &str, upload: &UploadId) -> Result<(), StoreError> {
        self.store
            .abort_upload(&self.origin, &self.bucket, &key(name), upload)
            .await
    }

    async fn parts(&self, name: &str, upload: &UploadId, after: u16, limit: usize) -> Result<PartPage, StoreError> {
        self.store
            .list_parts(&self.bucket, &key(name), upload, after, limit)
            .await
    }

    async fn uploads(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let scan = UploadScan {
            prefix: prefix.to_owned(),
            from: UploadBound::Key(Bound::Unbounded),
            limit: 100,
        };
        let page = self.store.scan_uploads(&self.bucket, scan).await?;
        Ok(page
            .entries
            .into_iter()
            .map(|upload| upload.key.as_str().to_owned())
            .collect())
    }
}

async fn complete<S: ObjectStore>(bench: Bench<'_, S>) -> Finding {
    let metadata = Metadata {
        content_type: Some("text/x-parts".to_owned()),
        ..Metadata::default()
    };
    let new = NewUpload {
        metadata: metadata.clone(),
        checksum: Some((Algorithm::Crc32, ChecksumKind::FullObject)),
    };
    let upload = ok("begin", bench.begin("a", new).await)?;
    let last = ok(
        "store the last part",
        bench.part("a", &upload, 30, b"tail".to_vec()).await,
    )?;
    ok("store a part", bench.part("a", &upload, 2, part_bytes(1)).await)?;
    let first = ok("replace that part", bench.part("a", &upload, 2, part_bytes(2)).await)?;
    ok(
        "store a part that is not named",
        bench.part("a", &upload, 9, part_bytes(3)).await,
    )?;
    refused("read before completion", bench.get("a").await, &StoreError::NoSuchKey)?;
    let made = bench
        .complete("a", &upload, name(&[&first, &last]), WriteCondition::none())
        .await;
    let made = ok("complete", made)?;
    let bytes = [part_bytes(2), b"tail".to_vec()].concat();
    same_bytes("bytes", &ok("read", bench.get("a").await)?, &bytes)?;
    same(
        "checksum",
        made.checksum.map(|sum| sum.value),
        Some(Checksum::of(Algorithm::Crc32, &bytes)),
    )?;
    same(
        "the tag tells the number of parts",
        made.etag.as_str().ends_with("-2"),
        true,
    )?;
    same("metadata", &made.metadata, &metadata)?;
    let sizes: Vec<(u16, u64)> = made.parts.iter().map(|part| (part.number, part.size)).collect();
    same("parts", sizes, vec![(2, PART_MIN_BYTES + 2), (30, 4)])?;
    same("uploads", ok("list", bench.uploads("").await)?, Vec::new())?;
    let head = ok("head", bench.store.head_object(&bench.bucket, &key("a")).await)?;
    same("head and completion agree", head, made)
}

async fn wrong<S: ObjectStore>(bench: Bench<'_, S>) -> Finding {
    let upload = ok("begin", bench.begin("a", NewUpload::default()).await)?;
    let small = ok(
        "store a small part",
        bench.part("a", &upload, 1, b"small".to_vec()).await,
    )?;
    let last = ok(
        "store the last part",
        bench.part("a", &upload, 2, b"last".to_vec()).await,
    )?;
    let try_it = |completion| bench.complete("a", &upload, completion, WriteCondition::none());
    let too_small = StoreError::EntityTooSmall { number: 1, size: 5 };
    refused("a small part", try_it(name(&[&small, &last])).await, &too_small)?;
    refused(
        "wrong order",
        try_it(name(&[&last, &small])).await,
        &StoreError::InvalidPartOrder,
    )?;
    let other = PartInfo {
        number: 2,
        ..small.clone()
    };
    refused(
        "a wrong tag",
        try_it(name(&[&other])).await,
        &StoreError::InvalidPart { number: 2 },
    )?;
    let missing = PartInfo { number: 3, ..small };
    refused(
        "a missing part",
        try_it(name(&[&missing])).await,
        &StoreError::InvalidPart { number: 3 },
    )?;
    refused("read", bench.get("a").await, &StoreError::NoSuchKey)?;
    ok("complete after all", try_it(name(&[&last])).await)?;
    same("bytes", ok("read", bench.get("a").await)?, b"last".to_vec())
}

async fn replaced<S: ObjectStore>(bench: Bench<'_, S>) -> Finding {
    let upload = ok("begin", bench.begin("a", NewUpload::default()).await)?;
    let mut versions = Vec::new();
    for bytes in ["first", "second", "third"] {
        versions.push(ok(
            "store",
            bench.part("a", &upload, 1, bytes.as_bytes().to_vec()).await,
        )?);
    }
    let newest = versions.pop().ok_or("no part")?;
    let try_it = |part| bench.complete("a", &upload, name(&[part]), WriteCondition::none());
    for old in &versions {
        refused(
            "a replaced part",
            try_it(old).await,
            &StoreError::InvalidPart { number: 1 },
        )?;
    }
    let page = ok("list parts", bench.parts("a", &upload, 0, 10).await)?;
    let listed: Vec<&Etag> = page.parts.iter().map(|part| &part.etag).collect();
    same("the listed parts", listed, vec![&newest.etag])?;
    ok("complete with the newest", try_it(&newest).await)?;
    same("bytes", ok("read", bench.get("a").await)?, b"third".to_vec())
}

async fn repeat<S: ObjectStore>(bench: Bench<'_, S>) -> Finding {
    let upload = ok("begin", bench.begin("a", NewUpload::default()).await)?;
    let part = ok("store a part", bench.part("a", &upload, 1, b"part".to_vec()).await)?;
    let try_it = || bench.complete("a", &upload, name(&[&part]), WriteCondition::none());
    let first = ok("complete", try_it().await)?;
    same(
        "the repeat is answered alike",
        ok("complete again", try_it().await)?.etag,
        first.etag,
    )?;
    ok("overwrite", bench.put("a", "newer").await)?;
    refused("complete once more", try_it().await, &StoreError::NoSuchUpload)?;
    same("bytes", ok("read", bench.get("a").await)?, b"newer".to_vec())
}

async fn conditions<S: ObjectStore>(bench: Bench<'_, S>) -> Finding {
    let upload = ok("begin", bench.begin("a", NewUpload::default()).await)?;
    let part = ok("store a part", bench.part("a", &upload, 1, b"part".to_vec()).await)?;
    let old = ok("write", bench.put("a", "old").await)?;
    let try_it = |condition| bench.complete("a", &upload, name(&[&part]), condition);
    refused(
        "create",
        try_it(WriteCondition::create()).await,
        &StoreError::PreconditionFailed,
    )?;
    same("bytes", ok("read", bench.get("a").await)?, b"old".to_vec())?;
    ok("replace", try_it(WriteCondition::replace(old.etag)).await)?;
    same("bytes", ok("read", bench.get("a").await)?, b"part".to_vec())
}

async fn abort<S: ObjectStore>(bench: Bench<'_, S>) -> Finding {
    let upload = ok("begin", bench.begin("a", NewUpload::default()).await)?;
    let part = ok("store a part", bench.part("a", &upload, 1, part_bytes(1)).await)?;
    let abort = || bench.abort("a", &upload);
    ok("abort", abort().await)?;
    refused("abort again", abort().await, &StoreError::NoSuchUpload)?;
    let part_again = bench.part("a", &upload, 1, b"part".to_vec()).await;
    refused("store a part", part_again, &StoreError::NoSuchUpload)?;
    let completed = bench
        .complete("a", &upload, name(&[&part]), WriteCondition::none())
        .await;
    refused("complete", completed, &StoreError::NoSuchUpload)?;
    same("uploads", ok("list", bench.uploads("").await)?, Vec::new())?;
    refused("read", bench.get("a").await, &StoreError::NoSuchKey)
}

async fn lists<S: ObjectStore>(bench: Bench<'_, S>) -> Finding {
    let mut ids = Vec::new();
    for name in ["b", "a", "b", "c/d"] {
        ids.push(ok("begin", bench.begin(name, NewUpload::default()).await)?);
    }
    let keys = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
    same(
        "uploads",
        ok("list", bench.uploads("").await)?,
        keys(&["a", "b", "b", "c/d"]),
    )?;
    same(
        "uploads of a prefix",
        ok("list", bench.uploads("b").await)?,
        keys(&["b", "b"]),
    )?;
    let upload = ids.first().ok_or("no upload")?;
    for number in [5, 1, 10_000, 7] {
        ok(
            "store a part",
            bench.part("b", upload, number, number.to_string().into_bytes()).await,
        )?;
    }
    let list = |after, limit| bench.parts("b", upload, after, limit);
    let page = ok("list parts", list(0, 3).await)?;
    let numbers: Vec<u16> = page.parts.iter().map(|part| part.number).collect();
    same("the first page", (numbers, page.rest), (vec![1, 5, 7], Rest::More))?;
    let page = ok("list parts", list(7, 3).await)?;
    let numbers: Vec<u16> = page.parts.iter().map(|part| part.number).collect();
    same("the last page", (numbers, page.rest), (vec![10_000], Rest::End))?;
    let other = bench.parts("a", upload, 0, 10).await;
    refused("list the parts under another key", other, &StoreError::NoSuchUpload)
}

async fn copy<S: ObjectStore>(bench: Bench<'_, S>) -> Finding {
    let bytes = part_bytes(11);
    ok("write the source", bench.put("source", bytes.clone()).await)?;
    let upload = ok("begin", bench.begin("a", NewUpload::default()).await)?;
    let mut parts = Vec::new();
    for (number, range) in [(1, 0..bytes.len()), (2, 100..4_000_000)] {
        let reader = ok("open", bench.store.get_object(&bench.bucket, &key("source")).await)?;
        let target = PartTarget {
            key: key("a"),
            upload: upload.clone(),
            number,
        };
        let range = range.start as u64..range.end as u64;
        let part = bench
            .store
            .copy_part(&bench.origin, reader, range, &bench.bucket, &target)
            .await;
        parts.push(ok("copy a part", part)?);
    }
    let named: Vec<&PartInfo> = parts.iter().collect();
    ok(
        "complete",
        bench.complete("a", &upload, name(&named), WriteCondition::none()).await,
    )?;
    let wanted = [bytes.as_slice(), bytes.get(100..4_000_000).unwrap_or_default()].concat();
    same_bytes("bytes", &ok("read", bench.get("a").await)?, &wanted)
}
