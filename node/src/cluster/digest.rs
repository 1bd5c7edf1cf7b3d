//! What a node holds of a partition, in one number: equal for nodes that hold the same.
//!
//! It is made by reading the partition, at the moment in which it is asked for. Nothing is kept up to date beside the
//! rows, so nothing can lag behind them. How much is here is counted on the way.
//!
//! Who asks says which tombstones are too old to be compared, so that all replicas leave out the same ones.

use std::time::Duration;

use blake2::digest::consts::U8;
use blake2::{Blake2b, Digest};
use trellis_spec::layout::Partition;
use trellis_spec::register::{Accepted, Cell, Content};
use trellis_spec::row::{BlockName, Row, VersionId};

use super::amount::{Amount, Count};
use super::cells::Shelf;
use super::door::{Door, Refused};
use super::keeper::{KeeperError, Own};
use super::replica::Replica;
use crate::storage::Position;

/// Rows or references read at a time; others have their turn in between.
const STEP: usize = 500;
const BETWEEN_STEPS: Duration = Duration::from_millis(1);

type Hash = Blake2b<U8>;

impl Replica {
    /// The digest of a partition under a view. Of rows, tombstones from before that time are left out.
    pub(super) async fn digest(&self, at: Door, tombstones_since_us: u64) -> Result<u64, Refused> {
        let shelf = Shelf::of(&self.enter(at)?);
        let is_of_blocks = self.is_of_blocks(at.partition);
        let digest = if is_of_blocks {
            self.digest_of_references(at.partition).await?
        } else {
            self.digest_of_rows(shelf, tombstones_since_us).await?
        };
        self.enter(at)?;
        Ok(digest)
    }

    /// Is it a partition of blocks?
    pub(super) fn is_of_blocks(&self, partition: Partition) -> bool {
        let known = self.layouts().now();
        let newest = known.peer.knowledge.newest();
        newest.is_some_and(|newest| newest.block_partitions().any(|of_blocks| of_blocks == partition))
    }

    async fn digest_of_rows(&self, shelf: Shelf, tombstones_since_us: u64) -> Result<u64, Refused> {
        let (mut hash, mut from, mut written_at) = (Hash::new(), Vec::new(), Position::default());
        let mut held = self.count();
        loop {
            let range = self.cells().scan(shelf, &from, None, STEP, usize::MAX)?;
            written_at = written_at.max(range.written_at);
            for (key, cell) in &range.value.cells {
                if let Some(row) = compared(cell, tombstones_since_us) {
                    add_row(&mut hash, key, row);
                    held.amount = held.amount.plus(amount(key, row));
                }
            }
            match range.value.bound {
                Some(bound) => from = bound,
                None => break,
            }
            self.rest(BETWEEN_STEPS).await;
        }
        self.durable(written_at).await?;
        self.repairs().note_held(shelf.partition, held);
        Ok(u64::from_le_bytes(hash.finalize().into()))
    }

    /// Nothing was counted yet.
    fn count(&self) -> Count {
        Count {
            amount: Amount::default(),
            at_us: self.env.clock.wall_us(),
            layout: self.layouts().now().newest(),
        }
    }

    async fn digest_of_references(&self, partition: Partition) -> Result<u64, KeeperError> {
        let (mut hash, mut after): (Hash, Option<(BlockName, VersionId)>) = (Hash::new(), None);
        let (mut lacks, mut held, mut last) = (false, self.count(), None);
        loop {
            let (found, next) = self.keeper().own(partition, after, STEP).await?;
            for own in &found {
                add_reference(&mut hash, own);
                lacks |= own.bytes.is_none();
                // References to one block follow each other.
                let is_another = last.replace(own.reference.block) != Some(own.reference.block);
                if let Some(bytes) = own.bytes.filter(|_| is_another) {
                    held.amount = held.amount.plus(Amount::block(bytes));
                }
            }
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
            self.rest(BETWEEN_STEPS).await;
        }
        self.repairs().note_lacking(partition, lacks);
        self.repairs().note_held(partition, held);
        if lacks {
            // Two that lack the same data do not prove to each other that nobody has them.
            hash.update(self.layouts().now().peer.me.0.to_le_bytes());
        }
        Ok(u64::from_le_bytes(hash.finalize().into()))
    }
}

impl Replica {
    /// A glance at some blocks that were here: if one is gone, so may be others, a whole folder perhaps. Whoever asks how
    /// whole the copies are is not to wait for the next comparison to hear of that.
    pub(super) async fn glance(&self) {
        const GLANCES: usize = 256;
        let complete = self.repairs().complete(&self.layouts().now());
        let step = (complete.len() / GLANCES).max(1);
        for partition in complete.iter().step_by(step) {
            // What cannot be read is for the comparison to find out.
            let Ok((found, _)) = self.keeper().own(*partition, None, 1).await else {
                continue;
            };
            if found.iter().any(|own| own.bytes.is_none()) {
                tracing::warn!(?partition, "a block is gone that was here; everything is compared");
                return self.repairs().doubt(&complete);
            }
        }
    }
}

/// What is compared of a row. Promises are left out: which nodes gave one differs, and a row with a promise is no less
/// there. So are old tombstones: replicas forget them one after the other, and nothing that was deleted shows where one is
/// missing.
fn compared(cell: &Cell<Row>, tombstones_since_us: u64) -> Option<&Accepted<Row>> {
    let held = cell.accepted.as_ref()?;
    match held.content {
        Content::Tombstone if held.ballot.time < tombstones_since_us => None,
        Content::Tombstone | Content::Value(_) => Some(held),
    }
}

/// How much a row is.
fn amount(key: &[u8], held: &Accepted<Row>) -> Amount {
    Amount::row(key, held.content.live().map_or(0, Row::inline_bytes))
}

fn add_row(hash: &mut Hash, key: &[u8], held: &Accepted<Row>) {
    hash.update((key.len() as u64).to_le_bytes());
    hash.update(key);
    hash.update(held.ballot.time.to_le_bytes());
    hash.update(held.op.0);
}

fn add_reference(hash: &mut Hash, own: &Own) {
    hash.update(own.reference.block.0);
    hash.update(own.reference.version.0);
    // How much data take on its disk is each node's own business.
    hash.update([u8::from(own.bytes.is_some())]);
}
