//! Completing an upload, in four round trips: one more with a condition.
//!
//! Three steps, each of which a repeat finds done or does: the upload row moves from open to completing, which fixes
//! parts, operation and version; the object row is written with that operation; the upload row moves to completed.
//! The condition of the request is judged where it counts, at the object row; if it fails, the upload is open again.
//!
//! Promises for a move of the upload row are asked for while it is found out what it moves to, and the pages of the
//! manifest are stored while the claim is. A claim whose pages never arrived is put back to open by whoever finds it,
//! once its time is over.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::{try_join, try_join_all};
use tokio::sync::oneshot;
use trellis_s3api::bucket::BucketInfo;
use trellis_s3api::condition::WriteCondition;
use trellis_s3api::error::StoreError;
use trellis_s3api::multipart::{Assembly, Completion as Asked, PartInfo, assemble};
use trellis_s3api::object::{Etag, ObjectInfo, ObjectKey};
use trellis_s3api::scan::UploadId;
use trellis_spec::register::{Content, Fetch};
use trellis_spec::row::{
    Address, BlockName, Body, Completion, Manifest, Object, PageRef, PartRef, Row, Swap, UploadId as RowUploadId,
    UploadState, VersionId,
};
use trellis_spec::stamp::Stamp;

use super::buckets::control;
use super::commit::{BehindGate, Commit, Committed, object_target};
use super::ids::upload_id;
use super::object::parts_in;
use super::upload::{Outlived, StoredPart, StoredUpload, newest, upload_info, upload_target};
use super::{ClusterStore, attributes, read_failed, write_failed};
use crate::cluster::{ClusterError, Swapped, encode};

/// Parts that one page of a manifest names.
const PARTS_IN_PAGE: usize = 500;

type Parts = BTreeMap<u16, Vec<StoredPart>>;

/// What an upload is to become.
struct Plan {
    /// Its row before; after the claim, the claim's.
    upload: StoredUpload,
    completion: Completion,
    /// The pages of the manifest; none if they are stored already.
    pages: Vec<Manifest>,
}

/// Why an upload was not claimed.
enum Unclaimed {
    /// It was completed before: the answer is given again.
    Completed(Completion),
    /// Nothing was claimed, or nobody knows.
    Failed(StoreError),
}

/// Why a claimed upload was not completed.
enum Unfinished {
    /// The condition did not hold of an object with this tag, or of none.
    Refused(Option<Etag>),
    /// The object may be there, or come yet.
    Failed(StoreError),
}

impl From<StoreError> for Unclaimed {
    fn from(error: StoreError) -> Self {
        Unclaimed::Failed(error)
    }
}

impl From<ClusterError> for Unclaimed {
    fn from(error: ClusterError) -> Self {
        Unclaimed::Failed(write_failed(error))
    }
}

impl From<StoreError> for Unfinished {
    fn from(error: StoreError) -> Self {
        Unfinished::Failed(error)
    }
}

impl From<ClusterError> for Unfinished {
    fn from(_: ClusterError) -> Self {
        Unfinished::Failed(StoreError::OutcomeUnknown)
    }
}

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
        let id = upload_id(upload).ok_or(StoreError::NoSuchUpload)?;
        match self.claim(bucket, key, id, asked).await {
            Ok(plan) => self.write_completed(bucket, key, plan, condition).await,
            Err(Unclaimed::Completed(completion)) => self.answer_again(bucket, key, &completion).await,
            Err(Unclaimed::Failed(error)) => Err(error),
        }
    }

    /// Moves the upload from open to completing, and stores the manifest.
    async fn claim(
        &self,
        bucket: &BucketInfo,
        key: &ObjectKey,
        id: RowUploadId,
        asked: &Asked,
    ) -> Result<Plan, Unclaimed> {
        let (target, op) = (upload_target(bucket, key, id), self.fresh_op());
        let (planned, to_store) = oneshot::channel();
        let decided = async {
            let plan = Arc::new(self.plan(bucket, key, id, asked).await?);
            let swap = plan.upload.moved_to(UploadState::Completing(plan.completion.clone()));
            // Nobody waits for the plan only if the client has gone.
            let _ = planned.send(plan);
            Ok::<Swap, Unclaimed>(swap)
        };
        let claiming = async {
            match self.coordinator.swap_when(&target, op, u64::MAX, decided).await? {
                Swapped::Written(_) => Ok(()),
                Swapped::Refused(_) => Err(Unclaimed::Failed(StoreError::SlowDown)),
            }
        };
        let storing = async {
            let Ok(plan) = to_store.await else { return Ok(None) };
            let Completion { object, until, .. } = &plan.completion;
            if let Body::Paged(pages) = &object.body {
                self.write_pages(pages.manifest, *until, &plan.pages).await?;
            }

            Ok(Arc::into_inner(plan))
        };
        let ((), plan) = try_join(claiming, storing).await?;
        let mut plan = plan.expect("what was claimed was planned, and the claim has let go of the plan");
        plan.upload.op = op;
        plan.upload.row.state = UploadState::Completing(plan.completion.clone());
        Ok(plan)
    }

    async fn plan(
        &self,
        bucket: &BucketInfo,
        key: &ObjectKey,
        id: RowUploadId,
        asked: &Asked,
    ) -> Result<Plan, Unclaimed> {
        let upload = self.stored_upload(bucket, key, id);
        let (upload, (parts, _)) = try_join(upload, self.stored_parts(id, 0, usize::MAX)).await?;
        let fingerprint = fingerprint(asked);
        match upload.row.state.clone() {
            UploadState::Open => Ok(self.assembled(key, upload, &parts, asked)?),
            UploadState::Completing(begun) if begun.asked == fingerprint => {
                Ok(self.resumed(bucket, key, upload, begun).await?)
            }
            UploadState::Completed(completion) if completion.asked == fingerprint => {
                Err(Unclaimed::Completed(completion))
            }
            UploadState::Completing(_) => Err(Unclaimed::Failed(StoreError::SlowDown)),
            UploadState::Completed(_) | UploadState::Aborted => Err(Unclaimed::Failed(StoreError::NoSuchUpload)),
        }
    }

    /// Chooses the parts.
    fn assembled(
        &self,
        key: &ObjectKey,
        mut upload: StoredUpload,
        stored: &Parts,
        asked: &Asked,
    ) -> Result<Plan, StoreError> {
        let chosen = choose(stored, asked);
        let lookup = |number: u16| chosen.get(&number).map(|part| &part.info);
        let assembly = assemble(&upload_info(key, &upload), asked, lookup)?;
        let parts = asked
            .parts
            .iter()
            .filter_map(|named| chosen.get(&named.number).copied());
        let (page_bytes, pages) = in_pages(parts.map(part_ref).collect(), &assembly);
        let manifest = self.fresh_version();
        let body = Body::Paged(PageRef { manifest, page_bytes });
        let (stamp, until) = self.claim_stamp(&mut upload, Stamp::ZERO);
        let completion = Completion {
            op: self.fresh_op(),
            asked: fingerprint(asked),
            object: self.object(&upload, body, &assembly),
            stamp,
            until,
        };
        Ok(Plan {
            upload,
            completion,
            pages,
        })
    }

    /// Takes over what somebody else began. Their claim may be all that they stored.
    async fn resumed(
        &self,
        bucket: &BucketInfo,
        key: &ObjectKey,
        mut upload: StoredUpload,
        begun: Completion,
    ) -> Result<Plan, StoreError> {
        if !self.has_pages(&begun.object).await? {
            if self.outlive(bucket, key, &upload, &begun).await? == Outlived::Void {
                self.move_upload(&upload, self.fresh_op(), UploadState::Open).await?;
            }
            return Err(StoreError::SlowDown);
        }
        let (stamp, until) = self.claim_stamp(&mut upload, begun.stamp);
        let completion = Completion { stamp, until, ..begun };
        let pages = Vec::new();
        Ok(Plan {
            upload,
            completion,
            pages,
        })
    }

    async fn has_pages(&self, object: &Object) -> Result<bool, StoreError> {
        let Body::Paged(pages) = &object.body else {
            return Ok(true);
        };
        let numbers = (0_u32..).take(pages.page_bytes.len());
        let targets = numbers.map(|number| control(Address::manifest(pages.manifest, number)));
        let looks = targets.map(|target| async move { self.coordinator.read(&target, Fetch::Head).await });
        let found = try_join_all(looks).await.map_err(read_failed)?;
        Ok(found.iter().all(|page| page.live().is_some()))
    }

    /// The stamp of a claim, which no other try has, and the time until which it counts. It is above those of all earlier
    /// tries, by whomever: what a minority took of them must not come back over what this one writes. The upload's row
    /// keeps the latest time of all tries: clocks differ, and an earlier try may be the one that sleeps.
    fn claim_stamp(&self, upload: &mut StoredUpload, above: Stamp) -> (Stamp, u64) {
        let valid_us = self.coordinator.limits.completion_valid_ms.saturating_mul(1000);
        let stamp = self.coordinator.stamp(above);
        upload.row.until = upload.row.until.max(stamp.time.saturating_add(valid_us));
        (stamp, upload.row.until)
    }

    /// Every completion of an upload makes the same version, the upload's: as long as that is current, its parts stay.
    fn object(&self, upload: &StoredUpload, body: Body, assembly: &Assembly) -> Object {
        let mut headers = attributes::to_headers(&attributes::to_metadata(&upload.row.headers));
        attributes::put_checksum(&mut headers, assembly.checksum);
        let etag = assembly.etag.as_str().to_owned();
        Object {
            version: VersionId(upload.id.0),
            modified_ms: self.now_ms(),
            size: assembly.size,
            etag,
            headers,
            body,
        }
    }

    /// Writes the object, and says so in the upload row; only then is the client answered. A claim carries a stamp of
    /// its own: a coordinator whose claim was taken over can neither answer nor overwrite.
    async fn write_completed(
        &self,
        bucket: &BucketInfo,
        key: &ObjectKey,
        mut plan: Plan,
        condition: &WriteCondition,
    ) -> Result<ObjectInfo, StoreError> {
        const TRIES: usize = 3;
        let began = plan.completion.stamp;
        for number in 0..TRIES {
            match self.carry_out(bucket, key, &plan, began, condition).await {
                Ok(()) => return self.described(&plan).await,
                // Something newer stands there: with a later stamp the object takes its place, as a PUT would.
                Err(Unfinished::Failed(StoreError::OutcomeUnknown)) if condition.is_none() => {
                    plan = self.claim_again(plan).await.map_err(|_| StoreError::OutcomeUnknown)?;
                }
                // That the bucket is gone is said of all tries, other failures of the last alone.
                Err(Unfinished::Failed(error)) if number == 0 || error == StoreError::NoSuchBucket => {
                    return Err(error);
                }
                Err(Unfinished::Failed(_)) => return Err(StoreError::OutcomeUnknown),
                Err(Unfinished::Refused(current)) => {
                    self.move_upload(&plan.upload, self.fresh_op(), UploadState::Open)
                        .await?;
                    condition.holds(current.as_ref())?;
                    return Err(StoreError::PreconditionFailed);
                }
            }
        }
        Err(StoreError::OutcomeUnknown)
    }

    async fn carry_out(
        &self,
        bucket: &BucketInfo,
        key: &ObjectKey,
        plan: &Plan,
        began: Stamp,
        condition: &WriteCondition,
    ) -> Result<(), Unfinished> {
        let (upload, completion) = (&plan.upload, &plan.completion);
        let written = async {
            match self.write_claimed(bucket, key, completion, began, condition).await? {
                Committed::Done(_) => Ok(upload.moved_to(UploadState::Completed(completion.clone()))),
                Committed::Refused(current) => Err(Unfinished::Refused(current)),
            }
        };
        let op = self.fresh_op();
        match self
            .coordinator
            .swap_when(&upload.target, op, u64::MAX, written)
            .await?
        {
            Swapped::Written(_) => Ok(()),
            // Taken over, or given up, after it was written.
            Swapped::Refused(_) => Err(Unfinished::Failed(StoreError::OutcomeUnknown)),
        }
    }

    /// Renews a claim that is still this try's, with a later stamp.
    async fn claim_again(&self, mut plan: Plan) -> Result<Plan, StoreError> {
        (plan.completion.stamp, plan.completion.until) = self.claim_stamp(&mut plan.upload, plan.completion.stamp);
        let (op, state) = (self.fresh_op(), UploadState::Completing(plan.completion.clone()));
        let moved = self.move_upload(&plan.upload, op, state.clone()).await?;
        plan.upload.op = moved.ok_or(StoreError::SlowDown)?;
        plan.upload.row.state = state;
        Ok(plan)
    }

    async fn write_claimed(
        &self,
        bucket: &BucketInfo,
        key: &ObjectKey,
        completion: &Completion,
        began: Stamp,
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
            Err(ClusterError::Gated) => match self.look_after_gate(bucket).await? {
                BehindGate::Gone => Err(self.gone_with(bucket, &target, began).await),
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
            Some(accepted) if accepted.op == completion.op => {
                let parts = self.parts_of(&completion.object).await?;
                Ok(attributes::info(&completion.object, parts))
            }
            Some(_) | None => Err(StoreError::NoSuchUpload),
        }
    }

    async fn described(&self, plan: &Plan) -> Result<ObjectInfo, StoreError> {
        let object = &plan.completion.object;
        if plan.pages.is_empty() {
            return Ok(attributes::info(object, self.parts_of(object).await?));
        }
        Ok(attributes::info(object, plan.pages.iter().flat_map(parts_in).collect()))
    }
}

/// The parts with the numbers that the client names.
fn choose<'a>(stored: &'a Parts, asked: &Asked) -> BTreeMap<u16, &'a StoredPart> {
    let numbers = asked.parts.iter().map(|named| named.number);
    numbers
        .filter_map(|number| Some((number, newest(stored.get(&number)?)?)))
        .collect()
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

/// A manifest in pages, and the bytes of the object that each covers.
fn in_pages(mut parts: Vec<PartRef>, assembly: &Assembly) -> (Vec<u64>, Vec<Manifest>) {
    for (part, described) in parts.iter_mut().zip(&assembly.parts) {
        part.checksums = attributes::from_checksums(described.checksum.as_slice());
    }
    let bytes = |page: &[PartRef]| page.iter().map(|part| part.size).sum();
    let page_bytes = parts.chunks(PARTS_IN_PAGE).map(bytes).collect();
    let pages = parts
        .chunks(PARTS_IN_PAGE)
        .map(|page| Manifest::Parts(page.to_vec()))
        .collect();
    (page_bytes, pages)
}

/// A digest of what was asked for, in an encoding that later programs make alike.
pub(super) fn fingerprint(asked: &Asked) -> [u8; 32] {
    BlockName::of(&encode(asked)).0
}
