//! Completing an upload.
//!
//! Three steps, each of which a repeat finds done or does: the upload row moves from open to completing, which fixes
//! parts, operation and version; the object row is written with that operation; the upload row moves to completed.
//! The condition of the request is judged where it counts, at the object row; if it fails, the upload is open again.

use std::collections::BTreeMap;

use trellis_s3api::bucket::BucketInfo;
use trellis_s3api::condition::WriteCondition;
use trellis_s3api::error::StoreError;
use trellis_s3api::multipart::{Assembly, Completion as Asked, PartInfo, assemble};
use trellis_s3api::object::{ObjectInfo, ObjectKey};
use trellis_s3api::scan::UploadId;
use trellis_spec::register::{Content, Fetch};
use trellis_spec::row::{BlockName, Body, Completion, Manifest, Object, PageRef, PartRef, Row, UploadState, VersionId};
use trellis_spec::stamp::Stamp;

use super::commit::{BehindGate, Commit, Committed, object_target};

use super::upload::{StoredPart, StoredUpload, upload_info};
use super::{ClusterStore, attributes, read_failed, write_failed};
use crate::cluster::{ClusterError, encode};

/// Parts that one page of a manifest names.
const PARTS_IN_PAGE: usize = 500;

type Parts = BTreeMap<u16, Vec<StoredPart>>;

impl ClusterStore {
    /// Makes an object of the parts that the client names.
    pub(super) async fn complete(
        &self,
        bucket: &BucketInfo,
        key: &ObjectKey,
        upload: &UploadId,
        asked: &Asked,
        condition: &WriteCondition,
    ) -> Result<ObjectInfo, StoreError> {
        let stored = self.stored_upload(bucket, key, upload).await?;
        let fingerprint = fingerprint(asked);
        match &stored.row.state {
            UploadState::Open => {
                let completion = self.assemble_parts(key, &stored, asked, fingerprint).await?;
                self.write_completed(bucket, key, stored, completion, condition).await
            }
            UploadState::Completing(completion) if completion.asked == fingerprint => {
                let completion = completion.clone();
                self.write_completed(bucket, key, stored, completion, condition).await
            }
            UploadState::Completing(_) => Err(StoreError::SlowDown),
            UploadState::Completed(completion) if completion.asked == fingerprint => {
                self.answer_again(bucket, key, completion).await
            }
            UploadState::Completed(_) | UploadState::Aborted => Err(StoreError::NoSuchUpload),
        }
    }

    /// Chooses the parts, and writes the manifest that lists them.
    async fn assemble_parts(
        &self,
        key: &ObjectKey,
        upload: &StoredUpload,
        asked: &Asked,
        fingerprint: [u8; 32],
    ) -> Result<Completion, StoreError> {
        let (stored, _) = self.stored_parts(upload.id, 0, usize::MAX).await?;
        let chosen = choose(&stored, asked);
        let lookup = |number: u16| chosen.get(&number).map(|part| &part.info);
        let assembly = assemble(&upload_info(key, upload), asked, lookup)?;
        let (version, until) = (self.fresh_version(), self.until_us());
        let parts = asked
            .parts
            .iter()
            .filter_map(|named| chosen.get(&named.number).copied());
        let body = self
            .list_parts_in_pages(version, until, parts.map(part_ref).collect(), &assembly)
            .await?;
        let op = self.fresh_op();
        let object = self.object(upload, version, body, &assembly);
        Ok(Completion {
            op,
            asked: fingerprint,
            object,
            stamp: Stamp::ZERO,
            until,
        })
    }

    async fn list_parts_in_pages(
        &self,
        version: VersionId,
        until: u64,
        mut parts: Vec<PartRef>,
        assembly: &Assembly,
    ) -> Result<Body, StoreError> {
        for (part, described) in parts.iter_mut().zip(&assembly.parts) {
            part.checksums = attributes::from_checksums(described.checksum.as_slice());
        }
        let bytes = |page: &[PartRef]| page.iter().map(|part| part.size).sum();
        let page_bytes = parts.chunks(PARTS_IN_PAGE).map(bytes).collect();
        let pages = parts
            .chunks(PARTS_IN_PAGE)
            .map(|page| Manifest::Parts(page.to_vec()))
            .collect();
        let pages: PageRef = self.write_pages(version, until, pages, page_bytes).await?;
        Ok(Body::Paged(pages))
    }

    fn object(&self, upload: &StoredUpload, version: VersionId, body: Body, assembly: &Assembly) -> Object {
        let mut headers = attributes::to_headers(&attributes::to_metadata(&upload.row.headers));
        attributes::put_checksum(&mut headers, assembly.checksum);
        let etag = assembly.etag.as_str().to_owned();
        Object {
            version,
            modified_ms: self.now_ms(),
            size: assembly.size,
            etag,
            headers,
            body,
        }
    }

    /// Claims the upload, writes the object, and says so in the upload row; only then is the client answered. A claim
    /// carries a stamp of its own: a coordinator whose claim was taken over can neither answer nor overwrite.
    async fn write_completed(
        &self,
        bucket: &BucketInfo,
        key: &ObjectKey,
        mut upload: StoredUpload,
        mut completion: Completion,
        condition: &WriteCondition,
    ) -> Result<ObjectInfo, StoreError> {
        const TRIES: usize = 3;
        for _ in 0..TRIES {
            upload = self.claim_upload(upload, &mut completion).await?;
            let committed = match self.write_claimed(bucket, key, &completion, condition).await {
                // Something newer stands there: with a later stamp the object takes its place, as a PUT would.
                Err(StoreError::OutcomeUnknown) if condition.is_none() => continue,
                committed => committed?,
            };
            return match committed {
                Committed::Done(_) => {
                    let state = UploadState::Completed(completion.clone());
                    let moved = self.move_upload(&upload, self.fresh_op(), state).await?;
                    moved.ok_or(StoreError::OutcomeUnknown)?;
                    self.described(&completion.object).await
                }
                Committed::Refused(current) => {
                    self.move_upload(&upload, self.fresh_op(), UploadState::Open).await?;
                    condition.holds(current.as_ref())?;
                    Err(StoreError::PreconditionFailed)
                }
            };
        }
        Err(StoreError::OutcomeUnknown)
    }

    /// Moves the upload row to completing, under a stamp and for a time that are this try's own.
    async fn claim_upload(
        &self,
        upload: StoredUpload,
        completion: &mut Completion,
    ) -> Result<StoredUpload, StoreError> {
        let valid_us = self.coordinator.limits.completion_valid_ms.saturating_mul(1000);
        completion.stamp = self.coordinator.stamp(Stamp::ZERO);
        completion.until = completion.stamp.time.saturating_add(valid_us);
        let state = UploadState::Completing(completion.clone());
        let op = self
            .move_upload(&upload, self.fresh_op(), state.clone())
            .await?
            .ok_or(StoreError::SlowDown)?;
        let mut row = upload.row;
        row.state = state;
        Ok(StoredUpload { row, op, ..upload })
    }

    async fn write_claimed(
        &self,
        bucket: &BucketInfo,
        key: &ObjectKey,
        completion: &Completion,
        condition: &WriteCondition,
    ) -> Result<Committed, StoreError> {
        let content = Content::Value(Row::Object(completion.object.clone()));
        let (op, until_us) = (completion.op, completion.until);
        if !condition.is_none() {
            return self
                .commit(Commit {
                    bucket,
                    key,
                    op,
                    content,
                    condition,
                    until_us,
                })
                .await;
        }
        let target = object_target(bucket, key);
        match self
            .coordinator
            .write_under(&target, op, content, completion.stamp)
            .await
        {
            Ok(_) => Ok(Committed::Done(None)),
            Err(ClusterError::Gated) => match self.look_behind_gate(bucket).await? {
                BehindGate::Gone => Err(self.gone(bucket).await),
                BehindGate::Open => Err(StoreError::OutcomeUnknown),
            },
            Err(error) => Err(write_failed(error)),
        }
    }

    /// A repeat of a completed completion: the same answer, as long as its object is the current one.
    async fn answer_again(
        &self,
        bucket: &BucketInfo,
        key: &ObjectKey,
        completion: &Completion,
    ) -> Result<ObjectInfo, StoreError> {
        let found = self
            .coordinator
            .read(&object_target(bucket, key), Fetch::Head)
            .await
            .map_err(read_failed)?;
        match found.accepted {
            Some(accepted) if accepted.op == completion.op => self.described(&completion.object).await,
            Some(_) | None => Err(StoreError::NoSuchUpload),
        }
    }

    async fn described(&self, object: &Object) -> Result<ObjectInfo, StoreError> {
        Ok(attributes::info(object, self.parts_of(object).await?))
    }
}

/// Of the parts with a number that the client names, the newest.
fn choose<'a>(stored: &'a Parts, asked: &Asked) -> BTreeMap<u16, &'a StoredPart> {
    let choose = |named: &trellis_s3api::multipart::NamedPart| {
        let versions = stored.get(&named.number)?;
        Some((named.number, versions.iter().max_by_key(|part| part.ballot)?))
    };
    asked.parts.iter().filter_map(choose).collect()
}

fn part_ref(part: &StoredPart) -> PartRef {
    let PartInfo { number, size, .. } = part.info;
    PartRef {
        part: part.address.clone(),
        number,
        size,
        op: part.op,
        checksums: BTreeMap::new(),
    }
}

/// A digest of what was asked for, in an encoding that later programs make alike.
fn fingerprint(asked: &Asked) -> [u8; 32] {
    BlockName::of(&encode(asked)).0
}
