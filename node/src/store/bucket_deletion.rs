//! Deleting a bucket: carries out the steps of `trellis_spec::gate::Deletion`.

use futures_util::future::join_all;
use trellis_s3api::bucket::BucketInfo;
use trellis_s3api::error::StoreError;
use trellis_spec::gate::{DeletionOutcome, DeletionStep, Emptiness, Fate, GateState, Held, Swapped};
use trellis_spec::listing::Counted;
use trellis_spec::register::{Content, OpId};
use trellis_spec::row::{
    self, Address, BucketId, BucketState, Guard, Placement, Row, RowKey, Swap, UploadState, successor,
};
use trellis_spec::stamp::Stamp;

use super::buckets::control;
use super::commit::bucket_id;
use super::{ClusterStore, read_failed, write_failed};
use crate::cluster::{ClusterError, Span, Target, WatchedDeletion};

/// Rows that one deletion settles because they stood in its way.
const BROUGHT_TO_LIGHT_MAX: usize = 8;

impl ClusterStore {
    /// Deletes an empty bucket.
    pub(super) async fn remove_bucket(&self, bucket: &BucketInfo) -> Result<(), StoreError> {
        let id = bucket_id(bucket);
        let me = self.fresh_op();
        let mut deletion = WatchedDeletion::new(self.coordinator.replica.recorder(), id);
        let mut doubtful = Vec::new();
        let view = || self.coordinator.place(&Placement::Index(id, 0)).view;
        let mut closed_under = view();
        loop {
            match deletion.step() {
                DeletionStep::Claim => deletion.on_swapped(self.claim_bucket(id, me).await?),
                DeletionStep::SetGate(state) => {
                    closed_under = view();
                    deletion.on_gate(self.hold_gate(id, state).await?)
                }
                DeletionStep::List(ballot) => match self.in_the_way(id, ballot).await {
                    Ok(Some(rows)) => {
                        doubtful = rows;
                        deletion.on_listed(Emptiness::Live)
                    }
                    Ok(None) => deletion.on_listed(Emptiness::Empty),
                    Err(_) if view() != closed_under => deletion.on_view(),
                    Err(error) => return Err(error),
                },
                DeletionStep::Decide(fate) => deletion.on_swapped(self.decide_bucket(id, me, fate).await?),
                DeletionStep::Done(DeletionOutcome::Deleted) => break,
                DeletionStep::Done(DeletionOutcome::NotEmpty) => {
                    self.bring_to_light(id, doubtful).await;
                    return Err(StoreError::BucketNotEmpty);
                }
                DeletionStep::Done(DeletionOutcome::Overtaken) => return Err(StoreError::SlowDown),
            }
        }
        self.buckets.remove(&bucket.name);
        self.free_name(bucket, id).await;
        Ok(())
    }

    async fn claim_bucket(&self, id: BucketId, me: OpId) -> Result<Swapped, StoreError> {
        let stored = self.stored_bucket(id).await?.ok_or(StoreError::NoSuchBucket)?;
        if stored.row.state == BucketState::Deleted {
            return Err(StoreError::NoSuchBucket);
        }
        let state = BucketState::Deleting {
            by: me,
            since_ms: self.now_ms(),
        };
        self.swapped(stored.op, me, row::Bucket { state, ..stored.row }).await
    }

    async fn decide_bucket(&self, id: BucketId, me: OpId, fate: Fate) -> Result<Swapped, StoreError> {
        let Some(stored) = self.stored_bucket(id).await? else {
            return Ok(Swapped::Lost);
        };
        let state = match fate {
            Fate::Active => BucketState::Active,
            Fate::Deleted => BucketState::Deleted,
        };
        // The guard names this deletion's own claim: once another one took over, it fails.
        self.swapped(me, self.fresh_op(), row::Bucket { state, ..stored.row })
            .await
    }

    async fn swapped(&self, current: OpId, op: OpId, row: row::Bucket) -> Result<Swapped, StoreError> {
        let ballot = self.swap_bucket(current, op, row).await?;
        Ok(ballot.map_or(Swapped::Lost, Swapped::Under))
    }

    async fn hold_gate(&self, id: BucketId, state: GateState) -> Result<Held, StoreError> {
        match self.set_gate(id, state.gate, state.ballot).await {
            Ok(()) => Ok(Held::Set),
            // Too few took it: either something newer stands there, or they cannot be reached. Nothing is decided.
            Err(ClusterError::Unknown) => Ok(Held::Newer),
            Err(error) => Err(write_failed(error)),
        }
    }

    /// Looks for live objects and open uploads, as replicas see them whose gate this deletion closed. If there are any,
    /// gives those of them that are not on a majority.
    async fn in_the_way(&self, id: BucketId, ballot: Stamp) -> Result<Option<Vec<RowKey>>, StoreError> {
        for start in [id.objects_from(b""), id.uploads_from(b"", None)] {
            let found = self.in_the_way_from(id, start, ballot).await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    async fn in_the_way_from(
        &self,
        id: BucketId,
        start: RowKey,
        ballot: Stamp,
    ) -> Result<Option<Vec<RowKey>>, StoreError> {
        let placement = Placement::Index(id, 0);
        let to = successor(&start).expect("a table's letter is below 0xff");
        let mut from = start;
        loop {
            let (limit, gate) = (self.coordinator.limits.scan_max_rows, Some(Address::gate(id, 0).key));
            let span = Span {
                placement,
                from,
                to: to.clone(),
                limit,
                gate,
            };
            let listed = self
                .coordinator
                .list_as_it_is(&span, Counted::GateClosedUnder(ballot))
                .await;
            let page = listed.map_err(read_failed)?.page;
            let mut filling = page.live().filter(|(_, row)| fills_a_bucket(row)).peekable();
            if filling.peek().is_some() {
                let doubtful = filling.filter(|(key, _)| page.suspects.contains(key));
                return Ok(Some(doubtful.map(|(key, _)| key.clone()).collect()));
            }
            match &page.bound {
                Some(bound) => from = bound.clone(),
                None => return Ok(None),
            }
        }
    }

    /// Settles what stood in the way on few replicas, now that the bucket is in use again. It may be what is left of a
    /// write that nobody acknowledged, on a replica that is never among the first to answer a listing through this
    /// node: then the bucket would not be empty, and not show what is in it either.
    async fn bring_to_light(&self, id: BucketId, doubtful: Vec<RowKey>) {
        let reads = doubtful.into_iter().take(BROUGHT_TO_LIGHT_MAX).map(|key| async move {
            let (placement, gate) = (Placement::Index(id, 0), Some(Address::gate(id, 0).key));
            let address = Address { placement, key };
            // What cannot be settled now stands in the way of the next deletion too.
            let _ = self.coordinator.read_from_all(&Target { address, gate }).await;
        });
        join_all(reads).await;
    }

    /// The name goes last; what fails here is made up for by whoever creates a bucket of that name.
    async fn free_name(&self, bucket: &BucketInfo, id: BucketId) {
        let Ok(Some((op, named))) = self.named(&bucket.name).await else {
            return;
        };
        if named == id {
            let swap = Swap {
                guard: Guard::MadeBy(op),
                content: Content::Tombstone,
            };
            let target = control(Address::name(bucket.name.as_str()));
            if let Err(error) = self.coordinator.swap(&target, self.fresh_op(), swap, u64::MAX).await {
                tracing::info!(%error, bucket = %bucket.name, "the name of a deleted bucket was not freed");
            }
        }
    }
}

fn fills_a_bucket(row: &Row) -> bool {
    match row {
        Row::Object(_) => true,
        Row::Upload(upload) => match upload.state {
            UploadState::Open | UploadState::Completing(_) => true,
            UploadState::Completed(_) | UploadState::Aborted => false,
        },
        Row::Part(_) | Row::Manifest(_) | Row::Gate(_) => false,
        Row::Bucket(_) | Row::Name(_) | Row::AccessKey(_) => false,
    }
}
