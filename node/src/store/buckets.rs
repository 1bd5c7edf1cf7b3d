//! Buckets and their names: rows of the system partition, changed by compare-and-swap.

use trellis_s3api::bucket::BucketId as InfoId;
use trellis_s3api::bucket::{Access, AccessKey, BucketInfo, BucketName, Grant};
use trellis_s3api::error::StoreError;
use trellis_s3api::object::Timestamp;
use trellis_s3api::store::Origin;
use trellis_spec::gate::Gate;
use trellis_spec::layout::GatedRow;
use trellis_spec::listing::Counted;
use trellis_spec::register::{Accepted, Content, Fetch, OpId};
use trellis_spec::row::{self, Address, BucketId, BucketState, Guard, Placement, Row, RowKey, Swap, successor};
use trellis_spec::stamp::Stamp;

use super::cache::Remembered;
use super::commit::{BehindGate, SHARDS, bucket_id};
use super::ids::digest;
use super::{ClusterStore, read_failed, write_failed};
use crate::cluster::{ClusterError, Gatekeeper, Span, Swapped, Target};
use crate::env::Boxed;

/// A bucket's row and how it got there.
pub(super) struct StoredBucket {
    pub(super) row: row::Bucket,
    pub(super) op: OpId,
    pub(super) ballot: Stamp,
}

pub(super) fn control(address: Address) -> Target {
    Target { address, gate: None }
}

impl ClusterStore {
    /// The bucket of that name; remembered for a while.
    pub(super) async fn find_bucket(&self, name: &BucketName) -> Result<BucketInfo, StoreError> {
        match self.buckets.get(name) {
            Remembered::Fresh(info) => Ok(info),
            Remembered::Aging(info) => {
                let (store, name) = (self.clone(), name.clone());
                self.beside(
                    "bucket-renewal",
                    async move { store.look_bucket_up(&name).await.map(drop) },
                );
                Ok(info)
            }
            Remembered::Nothing => self.look_bucket_up(name).await,
        }
    }

    async fn look_bucket_up(&self, name: &BucketName) -> Result<BucketInfo, StoreError> {
        let since = self.buckets.now();
        let Some(info) = self.current_bucket(name).await? else {
            self.buckets.remove(name);
            return Err(StoreError::NoSuchBucket);
        };
        self.buckets.insert(name.clone(), info.clone(), since);
        Ok(info)
    }

    async fn current_bucket(&self, name: &BucketName) -> Result<Option<BucketInfo>, StoreError> {
        let Some((_, id)) = self.named(name).await? else {
            return Ok(None);
        };
        let bucket = self.stored_bucket(id).await?;
        let bucket = bucket.filter(|stored| stored.row.state != BucketState::Deleted);
        Ok(bucket.and_then(|stored| info(&stored.row)))
    }

    /// All buckets that the caller may do something in: both tables in one round trip.
    pub(super) async fn buckets_of(&self, caller: &AccessKey) -> Result<Vec<BucketInfo>, StoreError> {
        let all = self.all_buckets().await?;
        let mine = |info: &BucketInfo| info.owner == *caller || info.grants.iter().any(|grant| grant.key == *caller);
        Ok(all.into_iter().filter(mine).collect())
    }

    /// Every bucket that has its name.
    pub async fn all_buckets(&self) -> Result<Vec<BucketInfo>, StoreError> {
        let (names, buckets) = tokio::join!(self.table(b"n"), self.table(b"b"));
        let named: Vec<BucketId> = names?.into_iter().filter_map(|(_, row)| name_row(&row)).collect();
        let buckets = buckets?.into_iter().filter_map(|(_, row)| bucket_row(row));
        let used = buckets.filter(|bucket| bucket.state != BucketState::Deleted && named.contains(&bucket.id));
        let mut infos: Vec<BucketInfo> = used.filter_map(|bucket| info(&bucket)).collect();
        infos.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(infos)
    }

    /// Creates a bucket: its row first, its name last.
    pub(super) async fn new_bucket(&self, origin: &Origin, name: &BucketName) -> Result<BucketInfo, StoreError> {
        let created = self
            .create_for(&origin.caller, name, origin.invocation.as_deref())
            .await?;
        self.buckets.insert(name.clone(), created.clone(), self.buckets.now());
        Ok(created)
    }

    async fn create_for(
        &self,
        owner: &AccessKey,
        name: &BucketName,
        invocation: Option<&str>,
    ) -> Result<BucketInfo, StoreError> {
        let op = invocation.map_or_else(
            || self.fresh_op(),
            |invocation| {
                OpId(digest(&[
                    owner.as_str().as_bytes(),
                    invocation.as_bytes(),
                    name.as_str().as_bytes(),
                ]))
            },
        );
        let mut guard = match self.taken(name).await? {
            Some(taken) if taken.op != op => self.name_is_taken(owner, Some(taken)).await?,
            Some(_) | None => Guard::Absent,
        };
        let id = BucketId(self.coordinator.env.random_id());
        let bucket = row::Bucket {
            id,
            name: name.as_str().to_owned(),
            created_ms: self.now_ms(),
            owner: owner.as_str().to_owned(),
            grants: Default::default(),
            shards: SHARDS,
            state: BucketState::Active,
        };
        let content = Content::Value(Row::Bucket(bucket));
        let target = control(Address::bucket(id));
        self.coordinator
            .write(&target, self.fresh_op(), content, u64::MAX)
            .await
            .map_err(write_failed)?;
        const TRIES: usize = 3;
        for _ in 0..TRIES {
            let named = Content::Value(Row::Name(row::BucketName { bucket: id }));
            let swap = Swap { guard, content: named };
            let target = control(Address::name(name.as_str()));
            match self
                .coordinator
                .swap(&target, op, swap, u64::MAX)
                .await
                .map_err(conflict)?
            {
                Swapped::Written(accepted) => return self.created(&accepted).await,
                Swapped::Refused(current) => match self.name_is_taken(owner, current).await {
                    Ok(next) => guard = next,
                    Err(error) => {
                        self.forget_nameless(id).await;
                        return Err(error);
                    }
                },
            }
        }
        Err(StoreError::SlowDown)
    }

    /// The name's row.
    async fn taken(&self, name: &BucketName) -> Result<Option<Accepted<Row>>, StoreError> {
        let target = control(Address::name(name.as_str()));
        Ok(self
            .coordinator
            .read(&target, Fetch::Head)
            .await
            .map_err(read_failed)?
            .accepted)
    }

    /// Deletes the row of a bucket that did not get its name. What fails here is invisible to clients.
    async fn forget_nameless(&self, id: BucketId) {
        let target = control(Address::bucket(id));
        if let Err(error) = self
            .coordinator
            .write(&target, self.fresh_op(), Content::Tombstone, u64::MAX)
            .await
        {
            tracing::info!(%error, "the row of a bucket without a name was left behind");
        }
    }

    /// The bucket that the name stands for now: a repeat finds the one that its first attempt created.
    async fn created(&self, name: &Accepted<Row>) -> Result<BucketInfo, StoreError> {
        let id = name.content.live().and_then(name_row).ok_or(StoreError::SlowDown)?;
        let stored = self.stored_bucket(id).await?.ok_or(StoreError::SlowDown)?;
        if stored.row.state == BucketState::Deleted {
            return Err(StoreError::SlowDown);
        }
        info(&stored.row).ok_or(StoreError::SlowDown)
    }

    /// Somebody has the name, unless what has it is deleted: then it is free for whoever finds it so.
    async fn name_is_taken(&self, caller: &AccessKey, current: Option<Accepted<Row>>) -> Result<Guard, StoreError> {
        let Some(current) = current else {
            return Ok(Guard::Absent);
        };
        let Some(id) = current.content.live().and_then(name_row) else {
            return Ok(Guard::Absent);
        };
        match self.stored_bucket(id).await? {
            Some(stored) if stored.row.state == BucketState::Deleted => Ok(Guard::MadeBy(current.op)),
            Some(stored) if stored.row.owner == caller.as_str() => Err(StoreError::BucketAlreadyOwnedByYou),
            Some(_) | None => Err(StoreError::BucketAlreadyExists),
        }
    }

    /// The name's row: who made it and the bucket that it stands for.
    pub(super) async fn named(&self, name: &BucketName) -> Result<Option<(OpId, BucketId)>, StoreError> {
        let taken = self.taken(name).await?;
        let id = taken
            .as_ref()
            .and_then(|accepted| accepted.content.live())
            .and_then(name_row);
        Ok(taken.map(|accepted| accepted.op).zip(id))
    }

    /// The bucket's row as a quorum knows it.
    pub(super) async fn stored_bucket(&self, id: BucketId) -> Result<Option<StoredBucket>, StoreError> {
        let target = control(Address::bucket(id));
        let found = self.coordinator.read(&target, Fetch::Head).await.map_err(read_failed)?;
        let Some(accepted) = found.accepted else {
            return Ok(None);
        };
        let (op, ballot) = (accepted.op, accepted.ballot);
        let row = accepted.content.live().cloned().and_then(bucket_row);
        Ok(row.map(|row| StoredBucket { row, op, ballot }))
    }

    /// All live rows of a table of the system partition.
    pub(super) async fn table(&self, prefix: &[u8]) -> Result<Vec<(RowKey, Row)>, StoreError> {
        let to = successor(prefix).expect("a table's letter is below 0xff");
        let mut from = prefix.to_vec();
        let mut rows = Vec::new();
        loop {
            let limit = self.coordinator.limits.scan_max_rows;
            let span = Span {
                placement: Placement::System,
                from,
                to: to.clone(),
                limit,
                gate: None,
            };
            let listed = self.coordinator.list(&span, Counted::All).await.map_err(read_failed)?;
            rows.extend(listed.page.live().map(|(key, row)| (key.clone(), row.clone())));
            match listed.page.bound {
                Some(bound) => from = bound,
                None => return Ok(rows),
            }
        }
    }

    /// Opens the gate of a bucket that is in use, undoing a deletion that was abandoned; nothing while one is at work.
    pub(super) async fn reopen(&self, bucket: &BucketInfo) -> Result<Option<BehindGate>, StoreError> {
        self.buckets.remove(&bucket.name);
        self.reopen_gate(bucket_id(bucket)).await
    }

    async fn reopen_gate(&self, id: BucketId) -> Result<Option<BehindGate>, StoreError> {
        let stored = self.stored_bucket(id).await?;
        let Some(stored) = stored else {
            return Ok(Some(BehindGate::Gone));
        };
        match stored.row.state {
            BucketState::Deleted => Ok(Some(BehindGate::Gone)),
            BucketState::Active => self.open_gate(stored.row.id, stored.ballot).await.map(Some),
            BucketState::Deleting { since_ms, .. } => {
                let abandoned_ms = since_ms.saturating_add(self.coordinator.limits.deletion_abandoned_ms);
                if self.now_ms() < abandoned_ms {
                    return Ok(None);
                }
                let row = row::Bucket {
                    state: BucketState::Active,
                    ..stored.row
                };
                let id = row.id;
                match self.swap_bucket(stored.op, self.fresh_op(), row).await? {
                    Some(ballot) => self.open_gate(id, ballot).await.map(Some),
                    None => Ok(None),
                }
            }
        }
    }

    async fn open_gate(&self, id: BucketId, ballot: Stamp) -> Result<BehindGate, StoreError> {
        match self.set_gate(id, Gate::Open, ballot).await {
            // Refused by something newer: whoever looks again will see it.
            Ok(()) | Err(ClusterError::Unknown) => Ok(BehindGate::Open),
            Err(error) => Err(write_failed(error)),
        }
    }

    /// Writes the gate of a bucket under the ballot of the bucket row's state that it follows.
    pub(super) async fn set_gate(&self, id: BucketId, gate: Gate, ballot: Stamp) -> Result<(), ClusterError> {
        let target = control(Address::gate(id, 0));
        let content = Content::Value(Row::Gate(gate));
        self.coordinator
            .write_under(&target, self.fresh_op(), content, ballot)
            .await
            .map(|_| ())
    }

    /// Replaces a bucket's row if it is still the one that `current` made; the ballot of the new one if so.
    pub(super) async fn swap_bucket(
        &self,
        current: OpId,
        op: OpId,
        row: row::Bucket,
    ) -> Result<Option<Stamp>, StoreError> {
        let target = control(Address::bucket(row.id));
        let swap = Swap {
            guard: Guard::MadeBy(current),
            content: Content::Value(Row::Bucket(row)),
        };
        match self
            .coordinator
            .swap(&target, op, swap, u64::MAX)
            .await
            .map_err(conflict)?
        {
            Swapped::Written(accepted) => Ok(Some(accepted.ballot)),
            Swapped::Refused(_) => Ok(None),
        }
    }
}

impl Gatekeeper for ClusterStore {
    fn behind_gate(&self, bucket: BucketId) -> Boxed<'_, GatedRow> {
        Box::pin(async move {
            match self.reopen_gate(bucket).await {
                Ok(Some(BehindGate::Gone)) => GatedRow::BucketGone,
                Ok(Some(BehindGate::Open) | None) | Err(_) => GatedRow::BucketThere,
            }
        })
    }
}

/// An administrative change whose outcome is unknown can be looked at again: the client is told to.
fn conflict(error: ClusterError) -> StoreError {
    match error {
        ClusterError::Unknown => StoreError::OutcomeUnknown,
        ClusterError::Unreached | ClusterError::Gated | ClusterError::Full | ClusterError::Clock => write_failed(error),
    }
}

fn name_row(row: &Row) -> Option<BucketId> {
    match row {
        Row::Name(name) => Some(name.bucket),
        Row::Object(_) | Row::Upload(_) | Row::Part(_) | Row::Manifest(_) => None,
        Row::Gate(_) | Row::Bucket(_) | Row::AccessKey(_) => None,
    }
}

fn bucket_row(row: Row) -> Option<row::Bucket> {
    match row {
        Row::Bucket(bucket) => Some(bucket),
        Row::Object(_) | Row::Upload(_) | Row::Part(_) | Row::Manifest(_) => None,
        Row::Gate(_) | Row::Name(_) | Row::AccessKey(_) => None,
    }
}

fn info(bucket: &row::Bucket) -> Option<BucketInfo> {
    let grant = |(key, grant): (&String, &row::Grant)| Grant {
        key: AccessKey(key.clone()),
        access: match grant {
            row::Grant::Read => Access::Read,
            row::Grant::ReadWrite => Access::ReadWrite,
        },
    };
    Some(BucketInfo {
        id: InfoId(bucket.id.0),
        name: BucketName::parse(&bucket.name).ok()?,
        created: Timestamp::from_ms(bucket.created_ms),
        owner: AccessKey(bucket.owner.clone()),
        grants: bucket.grants.iter().map(grant).collect(),
    })
}
