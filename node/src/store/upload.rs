//! Multipart uploads: begin, store parts, list them, abort.

use std::collections::BTreeMap;

use futures_util::future::try_join;
use trellis_s3api::body::Body as Incoming;
use trellis_s3api::bucket::BucketInfo;
use trellis_s3api::error::StoreError;
use trellis_s3api::multipart::{PartInfo, admit_part};
use trellis_s3api::object::{Etag, ObjectKey, Timestamp};
use trellis_s3api::scan::{UploadId, UploadInfo};
use trellis_s3api::store::{NewUpload, Origin, PartPage, PartTarget, Rest};
use trellis_spec::block::Finding;
use trellis_spec::listing::Counted;
use trellis_spec::register::{Content, Fetch, OpId};
use trellis_spec::row::{
    Address, Completion, Guard, Part, Placement, Row, RowKey, Swap, Upload, UploadId as RowUploadId, UploadState,
    VersionId, successor,
};
use trellis_spec::stamp::Stamp;

use super::buckets::control;
use super::commit::{BehindGate, SHARDS, bucket_id, object_target};
use super::ids::{upload_id, upload_text};
use super::ingest::{Ingested, Owner};
use super::{ClusterStore, attributes, read_failed, write_failed};
use crate::cluster::{ClusterError, Span, Swapped, Target};

/// An upload's row and how it got there.
pub(super) struct StoredUpload {
    pub(super) id: RowUploadId,
    pub(super) target: Target,
    pub(super) row: Upload,
    pub(super) op: OpId,
}

impl StoredUpload {
    /// The move to another state, if the row is still this one.
    pub(super) fn moved_to(&self, state: UploadState) -> Swap {
        let row = Upload {
            state,
            ..self.row.clone()
        };
        Swap {
            guard: Guard::MadeBy(self.op),
            content: Content::Value(Row::Upload(row)),
        }
    }
}

/// A part's row and where it is.
pub(super) struct StoredPart {
    pub(super) address: Address,
    pub(super) op: OpId,
    turn: u32,
    pub(super) info: PartInfo,
}

/// What became of a completion that was begun and not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outlived {
    /// It writes nothing any more, and what it may have written is gone.
    Void,
    /// Its object is there.
    Written,
}

/// The row of an upload.
pub(super) fn upload_target(bucket: &BucketInfo, key: &ObjectKey, upload: RowUploadId) -> Target {
    let id = bucket_id(bucket);
    let address = Address::upload(id, SHARDS, key.as_str().as_bytes(), upload);
    Target {
        address,
        gate: Some(Address::gate(id, 0).key),
    }
}

impl ClusterStore {
    /// Begins an upload.
    pub(super) async fn begin_upload(
        &self,
        origin: &Origin,
        bucket: &BucketInfo,
        key: &ObjectKey,
        new: NewUpload,
    ) -> Result<UploadId, StoreError> {
        let id = RowUploadId(self.coordinator.env.random_id());
        let mut headers = attributes::to_headers(&new.metadata);
        attributes::put_agreement(&mut headers, new.checksum);
        let initiator = origin.caller.as_str().to_owned();
        let upload = Upload {
            initiated_ms: self.now_ms(),
            initiator,
            headers,
            state: UploadState::Open,
            until: 0,
        };
        let target = upload_target(bucket, key, id);
        let content = Content::Value(Row::Upload(upload));
        let began = self.coordinator.stamp(Stamp::ZERO);
        match self
            .coordinator
            .write(&target, self.fresh_op(), content, u64::MAX)
            .await
        {
            Ok(_) => Ok(upload_text(id)),
            Err(ClusterError::Gated) => match self.look_after_gate(bucket).await? {
                BehindGate::Gone => Err(self.gone_with(bucket, &target, began).await),
                BehindGate::Open => Err(StoreError::OutcomeUnknown),
            },
            Err(error) => Err(write_failed(error)),
        }
    }

    /// The upload's row as a quorum knows it.
    pub(super) async fn stored_upload(
        &self,
        bucket: &BucketInfo,
        key: &ObjectKey,
        id: RowUploadId,
    ) -> Result<StoredUpload, StoreError> {
        let target = upload_target(bucket, key, id);
        let found = self.coordinator.read(&target, Fetch::Head).await.map_err(read_failed)?;
        self.believe(bucket, found.gate).await?;
        let accepted = found.accepted.ok_or(StoreError::NoSuchUpload)?;
        let op = accepted.op;
        match accepted.content {
            Content::Value(Row::Upload(row)) => Ok(StoredUpload { id, target, row, op }),
            Content::Value(_) | Content::Tombstone => Err(StoreError::NoSuchUpload),
        }
    }

    /// Stores a part: an immutable row of its own. The newest of a number counts.
    pub(super) async fn store_part(
        &self,
        bucket: &BucketInfo,
        part: &PartTarget,
        mut body: Incoming,
    ) -> Result<PartInfo, StoreError> {
        let id = upload_id(&part.upload).ok_or(StoreError::NoSuchUpload)?;
        let (from, to) = (
            Address::parts_from(id, part.number),
            Address::parts_from(id, part.number + 1),
        );
        let earlier = self.parts_between(id, from, to, usize::MAX);
        let (upload, (earlier, _)) = try_join(self.stored_upload(bucket, &part.key, id), earlier).await?;
        if upload.row.state != UploadState::Open {
            return Err(StoreError::NoSuchUpload);
        }
        admit_part(&upload_info(&part.key, &upload), &mut body)?;
        let op = self.fresh_op();
        let owner = Owner {
            row: Address::part(upload.id, part.number, op),
            version: self.fresh_version(),
            until_us: self.until_us(body.announced_size()),
        };
        let Ingested { body, digests } = self.ingest(&owner, body).await?;
        let info = PartInfo::new(part.number, Timestamp::from_ms(self.now_ms()), &digests);
        let row = Part {
            upload: upload.target.address.clone(),
            number: part.number,
            version: owner.version,
            turn: earlier
                .values()
                .filter_map(|versions| newest(versions))
                .map(|part| part.turn.saturating_add(1))
                .max()
                .unwrap_or_default(),
            modified_ms: info.modified.ms(),
            size: digests.size,
            etag: info.etag.as_str().to_owned(),
            checksums: attributes::from_checksums(&info.checksums),
            body,
        };
        let content = Content::Value(Row::Part(row));
        let target = control(owner.row);
        self.coordinator
            .write(&target, op, content, owner.until_us)
            .await
            .map_err(write_failed)?;
        Ok(info)
    }

    /// All parts of an upload with numbers above `after`: the newest of each number. A page at least, if there are any.
    pub(super) async fn stored_parts(
        &self,
        upload: RowUploadId,
        after: u16,
        limit: usize,
    ) -> Result<(BTreeMap<u16, Vec<StoredPart>>, Rest), StoreError> {
        let to = successor(&Address::parts_from(upload, 0)).expect("a table's letter is below 0xff");
        let from = Address::parts_from(upload, after.saturating_add(1));
        self.parts_between(upload, from, to, limit).await
    }

    async fn parts_between(
        &self,
        upload: RowUploadId,
        mut from: RowKey,
        to: RowKey,
        limit: usize,
    ) -> Result<(BTreeMap<u16, Vec<StoredPart>>, Rest), StoreError> {
        let placement = Placement::Upload(upload);
        let mut parts: BTreeMap<u16, Vec<StoredPart>> = BTreeMap::new();
        loop {
            let rows = self.coordinator.limits.scan_max_rows;
            let span = Span {
                placement,
                from,
                to: to.clone(),
                limit: rows,
                gate: None,
            };
            let page = self
                .coordinator
                .list(&span, Counted::All)
                .await
                .map_err(read_failed)?
                .page;
            for (key, accepted) in page.rows {
                if let Content::Value(Row::Part(row)) = accepted.content {
                    parts
                        .entry(row.number)
                        .or_default()
                        .push(stored_part(placement, key, accepted.op, row));
                }
            }
            match page.bound {
                // One number more than asked for, so that the last one asked for is complete.
                Some(_) if parts.len() > limit => return Ok((parts, Rest::More)),
                Some(bound) => from = bound,
                None => return Ok((parts, Rest::End)),
            }
        }
    }

    /// At most `limit` parts with numbers above `after`.
    pub(super) async fn parts_page(
        &self,
        bucket: &BucketInfo,
        key: &ObjectKey,
        upload: &UploadId,
        after: u16,
        limit: usize,
    ) -> Result<PartPage, StoreError> {
        let id = upload_id(upload).ok_or(StoreError::NoSuchUpload)?;
        let stored = self.stored_upload(bucket, key, id).await?;
        match stored.row.state {
            UploadState::Open | UploadState::Completing(_) => {}
            UploadState::Completed(_) | UploadState::Aborted => return Err(StoreError::NoSuchUpload),
        }
        let (parts, rest) = self.stored_parts(stored.id, after, limit).await?;
        let rest = if parts.len() > limit { Rest::More } else { rest };
        let parts = parts
            .values()
            .take(limit)
            .filter_map(|versions| newest(versions))
            .map(|part| part.info.clone())
            .collect();
        Ok(PartPage {
            upload: upload_info(key, &stored),
            parts,
            rest,
        })
    }

    /// Gives an upload up.
    pub(super) async fn abort(
        &self,
        bucket: &BucketInfo,
        key: &ObjectKey,
        upload: &UploadId,
    ) -> Result<(), StoreError> {
        let id = upload_id(upload).ok_or(StoreError::NoSuchUpload)?;
        let stored = self.stored_upload(bucket, key, id).await?;
        match &stored.row.state {
            UploadState::Open => {}
            UploadState::Completing(completion) => match self.outlive(bucket, key, &stored, completion).await? {
                Outlived::Void => {}
                // Nobody else may ever say so, and the upload would fill its bucket for good.
                Outlived::Written => {
                    let state = UploadState::Completed(completion.clone());
                    self.move_upload(&stored, self.fresh_op(), state).await?;
                    return Err(StoreError::NoSuchUpload);
                }
            },
            UploadState::Completed(_) | UploadState::Aborted => return Err(StoreError::NoSuchUpload),
        }
        match self.move_upload(&stored, self.fresh_op(), UploadState::Aborted).await? {
            Some(_) => Ok(()),
            None => Err(StoreError::SlowDown),
        }
    }

    /// Makes sure that a completion which somebody began and did not end writes nothing any more. Until its time is over
    /// it may still be at work.
    pub(super) async fn outlive(
        &self,
        bucket: &BucketInfo,
        key: &ObjectKey,
        upload: &StoredUpload,
        completion: &Completion,
    ) -> Result<Outlived, StoreError> {
        let skew_us = self.coordinator.limits.clock_skew_max_ms.saturating_mul(1000);
        if self.coordinator.env.clock.wall_us() <= completion.until.saturating_add(skew_us) {
            return Err(StoreError::SlowDown);
        }
        // A promise of a majority would not do: a value that a minority accepted before it is found by a later read, and
        // carried on. So the row is settled above every stamp under which the upload's object was ever proposed.
        let object = object_target(bucket, key).address;
        let until = completion.until.max(upload.row.until);
        match self.coordinator.inquire(&object, VersionId(upload.id.0), until).await {
            Finding::Dead(_) => Ok(Outlived::Void),
            Finding::Alive(_) => Ok(Outlived::Written),
            Finding::Unreached => Err(StoreError::SlowDown),
        }
    }

    /// Moves an upload's row on, if it is still the one that was read; the operation that made the new one if so.
    pub(super) async fn move_upload(
        &self,
        upload: &StoredUpload,
        op: OpId,
        state: UploadState,
    ) -> Result<Option<OpId>, StoreError> {
        let swap = upload.moved_to(state);
        match self.coordinator.swap(&upload.target, op, swap, u64::MAX).await {
            Ok(Swapped::Written(_)) => Ok(Some(op)),
            Ok(Swapped::Refused(_)) => Ok(None),
            Err(error) => Err(write_failed(error)),
        }
    }
}

/// An upload as `trellis-s3api` sees it.
pub(super) fn upload_info(key: &ObjectKey, upload: &StoredUpload) -> UploadInfo {
    UploadInfo {
        key: key.clone(),
        id: upload_text(upload.id),
        initiated: Timestamp::from_ms(upload.row.initiated_ms),
        checksum: attributes::agreement(&upload.row.headers),
    }
}

/// The part that counts of those stored under one number. Of two that were stored at the same time, either may.
pub(super) fn newest(versions: &[StoredPart]) -> Option<&StoredPart> {
    versions.iter().max_by_key(|part| (part.turn, part.op))
}

fn stored_part(placement: Placement, key: RowKey, op: OpId, row: Part) -> StoredPart {
    let info = PartInfo {
        number: row.number,
        size: row.size,
        etag: Etag::parse(&row.etag),
        modified: Timestamp::from_ms(row.modified_ms),
        checksums: attributes::checksums(&row.checksums),
    };
    StoredPart {
        address: Address { placement, key },
        op,
        turn: row.turn,
        info,
    }
}
