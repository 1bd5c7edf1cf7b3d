//! Writing the row of an object: the moment at which a write takes effect.

use std::time::Duration;

use trellis_s3api::bucket::BucketInfo;
use trellis_s3api::condition::{EtagSet, WriteCondition};
use trellis_s3api::error::StoreError;
use trellis_s3api::object::{Etag, ObjectKey};
use trellis_spec::register::{Accepted, Content, OpId, WriteMode};
use trellis_spec::row::{Address, BucketId, Condition, Guard, Match, Row, Swap};
use trellis_spec::stamp::Stamp;

use super::{ClusterStore, write_failed};
use crate::cluster::{ClusterError, Swapped, Target};

/// Shards of a bucket's index. The bucket's row names them; every bucket has one for now.
pub(super) const SHARDS: u16 = 1;

/// A change of an object's row.
pub(super) struct Commit<'a> {
    pub(super) bucket: &'a BucketInfo,
    pub(super) key: &'a ObjectKey,
    pub(super) op: OpId,
    pub(super) content: Content<Row>,
    pub(super) condition: &'a WriteCondition,
    pub(super) until_us: u64,
}

/// What a conditional change came to.
pub(super) enum Committed {
    /// It is done. A repeat of an operation finds what its first attempt wrote.
    Done(Option<Accepted<Row>>),
    /// The condition did not hold of an object with this tag, or of none.
    Refused(Option<Etag>),
}

/// What was found behind a closed gate.
pub(super) enum BehindGate {
    /// The bucket is in use: try again.
    Open,
    /// It is gone.
    Gone,
}

/// The row id of a bucket.
pub(super) fn bucket_id(bucket: &BucketInfo) -> BucketId {
    BucketId(bucket.id.0)
}

/// The row of an object.
pub(super) fn object_target(bucket: &BucketInfo, key: &ObjectKey) -> Target {
    let id = bucket_id(bucket);
    let gate = Some(Address::gate(id, 0).key);
    Target {
        address: Address::object(id, SHARDS, key.as_str().as_bytes()),
        gate,
    }
}

impl ClusterStore {
    /// Writes an object's row. What a closed gate refuses is tried again when the bucket turns out to be in use.
    pub(super) async fn commit(&self, commit: Commit<'_>) -> Result<Committed, StoreError> {
        const TRIES_AT_A_GATE: usize = 3;
        self.coordinator.note_operation();
        let incarnation = self.coordinator.incarnation();
        let began = self.coordinator.stamp(Stamp::ZERO);
        for number in 0..TRIES_AT_A_GATE {
            let tried = if commit.condition.is_none() {
                self.write(&commit).await
            } else {
                self.swap(&commit).await
            };
            match tried {
                Ok(committed) => return Ok(committed),
                Err(ClusterError::Gated) => match self.look_after_gate(commit.bucket).await? {
                    // The new one's stamps may be lower than those to ask about.
                    BehindGate::Gone if self.coordinator.incarnation() != incarnation => {
                        return Err(StoreError::OutcomeUnknown);
                    }
                    BehindGate::Gone => {
                        let target = object_target(commit.bucket, commit.key);
                        return Err(self.gone_with(commit.bucket, &target, began).await);
                    }
                    // A conditional write that may have proposed is not judged anew.
                    BehindGate::Open if !commit.condition.is_none() => return Err(StoreError::ConditionalConflict),
                    BehindGate::Open if self.coordinator.limits.unconditional_writes == WriteMode::Strict => {
                        return Err(StoreError::OutcomeUnknown);
                    }
                    BehindGate::Open if self.coordinator.incarnation() != incarnation => {
                        return Err(StoreError::OutcomeUnknown);
                    }
                    BehindGate::Open => {}
                },
                Err(ClusterError::Unknown) if !commit.condition.is_none() => {
                    return Err(StoreError::ConditionalConflict);
                }
                // An earlier try may have left the value at a minority.
                Err(_) if number > 0 => return Err(StoreError::OutcomeUnknown),
                Err(error) => return Err(write_failed(error)),
            }
        }
        Err(StoreError::OutcomeUnknown)
    }

    /// The bucket that a request was about is gone. If its name stands for another one by now, the client shall ask
    /// again: what it found was out of date.
    pub(super) async fn gone(&self, bucket: &BucketInfo) -> StoreError {
        self.buckets.remove(&bucket.name);
        match self.named(&bucket.name).await {
            Ok(Some((_, id))) if id != bucket_id(bucket) => StoreError::SlowDown,
            Ok(_) => StoreError::NoSuchBucket,
            Err(error) => error,
        }
    }

    /// The bucket is gone, and with it what was to be written there under this stamp or a later one. Whoever was shown it
    /// before must not hear that it never was.
    pub(super) async fn gone_with(&self, bucket: &BucketInfo, target: &Target, stamp: Stamp) -> StoreError {
        match self.coordinator.may_have_shown(target, stamp).await {
            true => StoreError::OutcomeUnknown,
            false => self.gone(bucket).await,
        }
    }

    async fn write(&self, commit: &Commit<'_>) -> Result<Committed, ClusterError> {
        let target = object_target(commit.bucket, commit.key);
        self.coordinator
            .write(&target, commit.op, commit.content.clone(), commit.until_us)
            .await?;
        Ok(Committed::Done(None))
    }

    async fn swap(&self, commit: &Commit<'_>) -> Result<Committed, ClusterError> {
        let target = object_target(commit.bucket, commit.key);
        let guard = Guard::Object(condition(commit.condition));
        let swap = Swap {
            guard,
            content: commit.content.clone(),
        };
        Ok(
            match self.coordinator.swap(&target, commit.op, swap, commit.until_us).await? {
                Swapped::Written(accepted) => Committed::Done(Some(accepted)),
                Swapped::Refused(current) => Committed::Refused(current.as_ref().and_then(etag)),
            },
        )
    }

    /// A gate was closed: is the bucket gone, or was a deletion undone or abandoned?
    pub(super) async fn look_behind_gate(&self, bucket: &BucketInfo) -> Result<BehindGate, StoreError> {
        const LOOKS: u32 = 20;
        for _ in 0..LOOKS {
            if let Some(behind) = self.reopen(bucket).await? {
                return Ok(behind);
            }
            self.coordinator.env.clock.sleep(Duration::from_millis(100)).await;
        }
        Err(StoreError::OutcomeUnknown)
    }

    /// The same for a write that was refused by gates, of which a minority may hold the value.
    pub(super) async fn look_after_gate(&self, bucket: &BucketInfo) -> Result<BehindGate, StoreError> {
        let looked = self.look_behind_gate(bucket).await;
        looked.map_err(|_| StoreError::OutcomeUnknown)
    }
}

fn etag(accepted: &Accepted<Row>) -> Option<Etag> {
    match accepted.content.live()? {
        Row::Object(object) => Some(Etag::parse(&object.etag)),
        Row::Upload(_) | Row::Part(_) | Row::Manifest(_) | Row::Gate(_) => None,
        Row::Bucket(_) | Row::Name(_) | Row::AccessKey(_) => None,
    }
}

fn condition(condition: &WriteCondition) -> Condition {
    let wanted = |set: &Option<EtagSet>| {
        set.as_ref().map(|set| match set {
            EtagSet::Any => Match::Any,
            EtagSet::Of(etags) => Match::Etags(etags.iter().map(|etag| etag.as_str().to_owned()).collect()),
        })
    };
    Condition {
        if_match: wanted(&condition.if_match),
        if_none_match: wanted(&condition.if_none_match),
    }
}
