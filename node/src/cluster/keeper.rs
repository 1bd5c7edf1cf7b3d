//! The keeper of one node's blocks: the only hand that adds and removes references and data.
//!
//! Each of its actions takes the block's lock first and holds it to the end, also when whoever asked has stopped
//! waiting: a reference is never added between the look and the deletion. The rules are [`trellis_spec::block`]'s.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::oneshot;
use trellis_spec::block::{Brought, Data, Dead, Dropped, Kept, Pulled, StoreStep, dropped, let_go, removable};
use trellis_spec::layout::Partition;
use trellis_spec::leaves::Extent;
use trellis_spec::peer::Answer;
use trellis_spec::row::{BlockName, BlockReference, VersionId};
use trellis_spec::trace::{DeleteStep, Record, Release, ReleaseStep};

use super::cells::CellsError;
use super::references::{Marked, References};
use super::turns::Turns;
use super::watched::WatchedStoring;
use crate::env::Env;
use crate::storage::{Block, BlockNames, Blocks, BlocksError, Rows};
use crate::trace::Recorder;

/// What comes of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deleted {
    /// The data are gone, and their mark.
    Done,
    /// They stay: somebody refers to them again, or it is too early.
    Kept,
}

/// A reference, and what this node has of its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Own {
    pub(crate) reference: BlockReference,
    copy: LocalCopy,
}

/// The data of a block at this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LocalCopy {
    /// They take so many bytes.
    Here(u64),
    /// They are not here.
    Absent,
    /// They may lie on a disk that is away, or cannot be read.
    Unknown,
}

impl Own {
    /// How much the data take here; nothing if they cannot be had here, for whatever reason: then this node needs another
    /// copy.
    pub(crate) fn bytes(&self) -> Option<u64> {
        match self.copy {
            LocalCopy::Here(bytes) => Some(bytes),
            LocalCopy::Absent | LocalCopy::Unknown => None,
        }
    }

    /// What another node is told that pulls it. Data of which this one does not know count as held: what no source holds
    /// was never acknowledged, and this node cannot say that. The puller then looks for them, here and elsewhere, and is
    /// not synced before it found them.
    pub(crate) fn told(self) -> Pulled {
        let data = match self.copy {
            LocalCopy::Here(_) | LocalCopy::Unknown => Data::Verified,
            LocalCopy::Absent => Data::Absent,
        };
        Pulled {
            reference: self.reference,
            data,
        }
    }
}

/// Why something was not done. What was written is whole; a crash leaves no more than that.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeeperError {
    /// The references cannot be read or written.
    #[error(transparent)]
    References(#[from] CellsError),
    /// The data cannot.
    #[error(transparent)]
    Blocks(#[from] BlocksError),
    /// The node is stopping; what was begun may be done or not.
    #[error("the node is stopping")]
    Stopping,
}

/// See the module. Clones keep the same blocks.
#[derive(Clone)]
pub(crate) struct Keeper {
    env: Env,
    shelves: Arc<Shelves>,
}

/// What is kept, and the locks.
struct Shelves {
    references: References,
    rows: Arc<dyn Rows>,
    blocks: Arc<dyn Blocks>,
    locks: Turns,
    /// Who writes down what is decided, if anybody.
    recorder: OnceLock<Arc<Recorder>>,
}

impl Keeper {
    pub(crate) fn new(env: Env, rows: Arc<dyn Rows>, blocks: Arc<dyn Blocks>) -> Self {
        let shelves = Shelves {
            references: References::new(rows.clone()),
            rows,
            blocks,
            locks: Turns::new(),
            recorder: OnceLock::new(),
        };
        Keeper {
            env,
            shelves: Arc::new(shelves),
        }
    }

    /// From now on what is decided is recorded.
    pub(super) fn record_to(&self, recorder: &Arc<Recorder>) {
        // There is one in a life.
        let _ = self.shelves.recorder.set(recorder.clone());
    }

    /// The references, for walks over them.
    pub(crate) fn references(&self) -> &References {
        &self.shelves.references
    }

    /// The block's data, if they are here and right.
    pub(crate) async fn fetch(&self, name: BlockName) -> Result<Option<Bytes>, BlocksError> {
        self.shelves.blocks.get(name).await
    }

    /// Names data, so that they can be kept as a block.
    pub(crate) async fn name(&self, data: Bytes) -> Result<Block, BlocksError> {
        self.shelves.blocks.name(data).await
    }

    /// Keeps a reference to a block, and the block if it was sent along.
    pub(crate) async fn keep(
        &self,
        partition: Partition,
        reference: BlockReference,
        block: Option<Block>,
    ) -> Result<Answer, KeeperError> {
        let shelves = self.shelves.clone();
        self.to_the_end("keep a block", async move {
            shelves.keep(partition, &reference, block).await
        })
        .await
    }

    /// Of the next `limit` references of a partition after this one those that are of an extent, and where to go on.
    pub(crate) async fn own(
        &self,
        partition: Partition,
        after: Option<(BlockName, VersionId)>,
        limit: usize,
        extent: &Extent,
    ) -> Result<(Vec<Own>, Option<(BlockName, VersionId)>), KeeperError> {
        let (mut references, next, written_at) = self.shelves.references.after(partition, after, limit)?;
        references.retain(|reference| extent.has(&reference.block.0));
        let mut found = Vec::with_capacity(references.len());
        for reference in references {
            let copy = match self.shelves.blocks.size(reference.block).await {
                Ok(Some(bytes)) => LocalCopy::Here(bytes),
                Ok(None) => LocalCopy::Absent,
                Err(_) => LocalCopy::Unknown,
            };
            found.push(Own { reference, copy });
        }
        self.shelves.durable(written_at).await?;
        Ok((found, next))
    }

    /// The first `limit` names of blocks after this one.
    pub(crate) async fn names(&self, after: Option<BlockName>, limit: usize) -> Result<BlockNames, BlocksError> {
        self.shelves.blocks.list(after, limit).await
    }

    /// Brings a block to the disk where it belongs, if there are several and it lies on another one.
    pub(crate) async fn settle(&self, name: BlockName) -> Result<(), KeeperError> {
        if !self.shelves.blocks.is_spread() {
            return Ok(());
        }
        let shelves = self.shelves.clone();
        self.to_the_end("settle a block", async move {
            let _lock = shelves.locks.take(&name.0).await;
            Ok(shelves.blocks.settle(name).await?)
        })
        .await
    }

    /// Whether a block's data can be had here, as far as can be told without reading them.
    pub(crate) async fn data(&self, name: BlockName) -> Data {
        match self.shelves.blocks.has(name).await {
            Ok(true) => Data::Verified,
            Ok(false) | Err(_) => Data::Absent,
        }
    }

    /// Can new blocks be stored at all?
    pub(crate) fn check_open(&self) -> Result<(), KeeperError> {
        Ok(self.shelves.blocks.check_open()?)
    }

    /// Is this very reference here?
    pub(crate) fn refers(&self, partition: Partition, reference: &BlockReference) -> Result<bool, CellsError> {
        self.shelves.references.has(partition, reference)
    }

    /// Are there references of a partition?
    pub(crate) fn has_any(&self, partition: Partition) -> Result<bool, CellsError> {
        let (references, _, _) = self.shelves.references.after(partition, None, 1)?;
        Ok(!references.is_empty())
    }

    /// Drops all references of a partition that this node has left, as long as it `may_leave` it; their data follow after
    /// the grace.
    pub(crate) async fn leave(
        &self,
        partition: Partition,
        may_leave: impl Fn() -> bool + Clone + Send + Sync + 'static,
    ) -> Result<(), KeeperError> {
        const STEP_REFERENCES: usize = 256;
        loop {
            let (references, _, _) = self.shelves.references.after(partition, None, STEP_REFERENCES)?;
            if references.is_empty() {
                return Ok(());
            }
            let (shelves, now_us, may_leave) = (self.shelves.clone(), self.env.clock.wall_us(), may_leave.clone());
            let left = self.to_the_end("leave a partition", async move {
                for reference in &references {
                    if !shelves.leave(partition, reference, now_us, &may_leave).await? {
                        return Ok(false);
                    }
                }
                Ok(true)
            });
            if !left.await? {
                return Ok(());
            }
        }
    }

    /// Drops a reference of which it is proved that nothing needs it.
    pub(crate) async fn drop_reference(
        &self,
        partition: Partition,
        reference: BlockReference,
        dead: Dead,
    ) -> Result<Dropped, KeeperError> {
        let (shelves, now_us) = (self.shelves.clone(), self.env.clock.wall_us());
        self.to_the_end("drop a reference", async move {
            shelves.drop_reference(partition, &reference, &dead, now_us).await
        })
        .await
    }

    /// Deletes a marked block's data, if the grace is over and nobody refers to them.
    pub(crate) async fn delete(&self, marked: Marked, grace_us: u64) -> Result<Deleted, KeeperError> {
        let (shelves, now_us) = (self.shelves.clone(), self.env.clock.wall_us());
        self.to_the_end("delete a block", async move {
            shelves.delete(marked.partition, marked.block, now_us, grace_us).await
        })
        .await
    }

    /// Runs `work` to its end, whether anybody waits for it or not.
    async fn to_the_end<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, KeeperError>> + Send + 'static,
    ) -> Result<T, KeeperError> {
        let (done, answer) = oneshot::channel();
        let task = async move {
            let result = work.await;
            // Whoever asked may have stopped waiting.
            let _ = done.send(result);
        };
        self.env.spawner.spawn(name, Box::pin(task));
        answer.await.map_err(|_| KeeperError::Stopping)?
    }
}

impl Shelves {
    async fn keep(
        &self,
        partition: Partition,
        reference: &BlockReference,
        block: Option<Block>,
    ) -> Result<Answer, KeeperError> {
        let _lock = self.locks.take(&reference.block.0).await;
        let brought = block.as_ref().map_or(Brought::Nothing, |_| Brought::Data);
        let mut block = block;
        let recorder = self.recorder.get().map(Arc::as_ref);
        let mut storing = WatchedStoring::new(recorder, partition, reference, brought);
        let kept = loop {
            match storing.step() {
                StoreStep::Refer => {
                    self.rows.ready().await.map_err(CellsError::from)?;
                    let position = self.references.refer(partition, reference)?;
                    self.durable(position).await?;
                    storing.on_done()
                }
                StoreStep::Fill => {
                    if let Some(block) = block.take() {
                        match self.blocks.put(block).await {
                            Err(BlocksError::Full { .. }) => return Ok(Answer::Full),
                            put => put?,
                        }
                    }
                    storing.on_done()
                }
                StoreStep::Look => storing.on_look(self.look(reference.block).await),
                StoreStep::Answer(kept) => break kept,
            }
        };
        storing.answered(kept);
        Ok(match kept {
            Kept::Both => Answer::Stored,
            Kept::NeedData => Answer::NeedData,
            Kept::Neither => Answer::Failed,
        })
    }

    /// The data are read, not merely looked for: only verified data may be referred to.
    async fn look(&self, name: BlockName) -> Data {
        match self.blocks.get(name).await {
            Ok(Some(_)) => Data::Verified,
            Ok(None) => Data::Absent,
            Err(error) => {
                tracing::error!(%error, "a block cannot be read; its data are asked for again");
                Data::Absent
            }
        }
    }

    async fn drop_reference(
        &self,
        partition: Partition,
        reference: &BlockReference,
        dead: &Dead,
        now_us: u64,
    ) -> Result<Dropped, KeeperError> {
        let _lock = self.locks.take(&reference.block.0).await;
        let others = self.references.has_others(partition, reference)?;
        let dropped = dropped(reference, dead, others, now_us);
        self.remove(partition, reference, dropped)?;
        self.record(&reference.block, || {
            Record::Released(ReleaseStep {
                partition,
                reference: reference.clone(),
                why: Release::Dead(dead.subject().clone()),
                others,
                now_us,
                dropped,
            })
        });
        Ok(dropped)
    }

    /// Removes a reference, as it was decided.
    fn remove(&self, partition: Partition, reference: &BlockReference, dropped: Dropped) -> Result<(), CellsError> {
        let mark = match dropped {
            Dropped::Gone => None,
            Dropped::Replaced(mark) => Some(mark),
            Dropped::Kept => return Ok(()),
        };
        self.references.remove(partition, reference, mark)?;
        Ok(())
    }

    /// Under the lock of the block, if anybody records it.
    fn record(&self, block: &BlockName, record: impl FnOnce() -> Record) {
        if let Some(recorder) = self.recorder.get().filter(|recorder| recorder.wants(&block.0)) {
            recorder.record(&record());
        }
    }

    /// Whether the node may leave is asked under the lock under which references are added: one that comes with a newer
    /// layout comes after.
    async fn leave(
        &self,
        partition: Partition,
        reference: &BlockReference,
        now_us: u64,
        may_leave: &(impl Fn() -> bool + Sync),
    ) -> Result<bool, KeeperError> {
        self.rows.ready().await.map_err(CellsError::from)?;
        let _lock = self.locks.take(&reference.block.0).await;
        if !may_leave() {
            return Ok(false);
        }
        let others = self.references.has_others(partition, reference)?;
        let dropped = let_go(others, now_us);
        self.remove(partition, reference, dropped)?;
        self.record(&reference.block, || {
            Record::Released(ReleaseStep {
                partition,
                reference: reference.clone(),
                why: Release::Left,
                others,
                now_us,
                dropped,
            })
        });
        Ok(true)
    }

    /// That nobody refers to the data must be durable before they go: a reference whose removal a crash takes back
    /// would have lost them.
    async fn delete(
        &self,
        partition: Partition,
        block: BlockName,
        now_us: u64,
        grace_us: u64,
    ) -> Result<Deleted, KeeperError> {
        let _lock = self.locks.take(&block.0).await;
        let held = self.references.held(partition, block)?;
        let may_go = removable(held.value, now_us, grace_us);
        self.record(&block, || {
            Record::Deleted(DeleteStep {
                partition,
                block,
                held: held.value,
                now_us,
                grace_us,
                may_go,
            })
        });
        if !may_go {
            return Ok(Deleted::Kept);
        }
        self.durable(held.written_at).await?;
        match self.blocks.remove(block).await {
            // A disk that is away may hold them too, and one that takes no writes keeps them: the mark stays.
            Err(BlocksError::Away { .. } | BlocksError::Closed(_)) => return Ok(Deleted::Kept),
            removed => removed?,
        }
        self.references.unmark(partition, block)?;
        Ok(Deleted::Done)
    }

    async fn durable(&self, position: crate::storage::Position) -> Result<(), CellsError> {
        Ok(self.rows.durable(position).await?)
    }
}
