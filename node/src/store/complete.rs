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
use trellis_spec::row::{Body, Completion, Manifest, Object, PageRef, PartRef, Row, UploadState, VersionId};

use super::commit::{Commit, Committed, object_target};
use super::ids::digest;
use super::upload::{StoredPart, StoredUpload, upload_info};
use super::{ClusterStore, attributes, read_failed};

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
                let claimed = self.claim_upload(&stored, &completion).await?;
                self.write_completed(bucket, key, &claimed, &completion, condition)
                    .await
            }
            UploadState::Completing(completion) if completion.asked == fingerprint => {
                self.write_completed(bucket, key, &stored, completion, condition).await
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

    /// Moves the upload row to completing. Whoever lost to another completion finds its own there on a repeat.
    async fn claim_upload(&self, upload: &StoredUpload, completion: &Completion) -> Result<StoredUpload, StoreError> {
        let state = UploadState::Completing(completion.clone());
        let op = self
            .move_upload(upload, self.fresh_op(), state.clone())
            .await?
            .ok_or(StoreError::SlowDown)?;
        let mut row = upload.row.clone();
        row.state = state;
        Ok(StoredUpload {
            id: upload.id,
            target: upload.target.clone(),
            row,
            op,
        })
    }

    async fn write_completed(
        &self,
        bucket: &BucketInfo,
        key: &ObjectKey,
        upload: &StoredUpload,
        completion: &Completion,
        condition: &WriteCondition,
    ) -> Result<ObjectInfo, StoreError> {
        let content = Content::Value(Row::Object(completion.object.clone()));
        let (op, until_us) = (completion.op, completion.until);
        let committed = self
            .commit(Commit {
                bucket,
                key,
                op,
                content,
                condition,
                until_us,
            })
            .await?;
        match committed {
            Committed::Done(_) => {
                // The object is there; should this fail, a repeat finds it so.
                let state = UploadState::Completed(completion.clone());
                if let Err(error) = self.move_upload(upload, self.fresh_op(), state).await {
                    tracing::info!(%error, "an upload was completed, but its row does not say so yet");
                }
                self.described(&completion.object).await
            }
            Committed::Refused(current) => {
                self.move_upload(upload, self.fresh_op(), UploadState::Open).await?;
                condition.holds(current.as_ref())?;
                Err(StoreError::PreconditionFailed)
            }
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

/// Of the parts with a number that the client names, the newest with the entity tag that it names, or the newest.
fn choose<'a>(stored: &'a Parts, asked: &Asked) -> BTreeMap<u16, &'a StoredPart> {
    let choose = |named: &trellis_s3api::multipart::NamedPart| {
        let versions = stored.get(&named.number)?;
        let matching = versions
            .iter()
            .filter(|part| part.info.etag == named.etag)
            .max_by_key(|part| part.ballot);
        Some((
            named.number,
            matching.or_else(|| versions.iter().max_by_key(|part| part.ballot))?,
        ))
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

fn fingerprint(asked: &Asked) -> [u8; 32] {
    let text = format!("{asked:?}");
    let (first, second) = (digest(&[b"1", text.as_bytes()]), digest(&[b"2", text.as_bytes()]));
    let mut fingerprint = [0; 32];
    fingerprint[..16].copy_from_slice(&first);
    fingerprint[16..].copy_from_slice(&second);
    fingerprint
}
