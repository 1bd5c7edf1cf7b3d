//! References to blocks, and the marks of blocks that have none left, in the row store.
//!
//! They lie beside the rows of the block's partition: `partition, block, version` is the key of a reference, `partition,
//! block` that of a mark. What is to be collected is found by walking over them, so nothing of it is lost at a restart.

use std::sync::Arc;

use bytes::Bytes;
use trellis_spec::block::{Held, Mark};
use trellis_spec::layout::Partition;
use trellis_spec::row::{BlockName, BlockReference, VersionId, successor};

use super::cells::{CellsError, PREFIX_BYTES, Shelf, end_of, physical};
use super::wire::{decode, encode};
use crate::storage::{Batch, Change, Position, Room, Rows, Versioned};

/// Tables of the row store.
const BLOCK_REFERENCES: u8 = b'r';
const BLOCK_MARKS: u8 = b'm';
/// Bytes of a block's name.
const NAME_BYTES: usize = 32;

/// Where a walk goes on.
pub(crate) type Bookmark = Bytes;

/// The references and marks of one node.
pub(crate) struct References {
    rows: Arc<dyn Rows>,
}

/// A block that is marked here.
pub(crate) struct Marked {
    pub(crate) partition: Partition,
    pub(crate) block: BlockName,
    pub(crate) mark: Mark,
}

/// A stretch of a walk, and where it goes on if it does.
pub(crate) struct Stretch<T> {
    pub(crate) found: Vec<T>,
    pub(crate) next: Option<Bookmark>,
}

impl References {
    pub(crate) fn new(rows: Arc<dyn Rows>) -> Self {
        References { rows }
    }

    /// Keeps a reference, and takes the block's mark away.
    pub(crate) fn refer(&self, partition: Partition, reference: &BlockReference) -> Result<Position, CellsError> {
        let mark = mark_key(partition, reference.block);
        let mut batch: Batch = vec![(reference_key(partition, reference), Change::Put(encode(reference)))];
        if self.rows.get(&mark)?.value.is_some() {
            batch.push((mark, Change::Remove));
        }
        Ok(self.rows.apply(batch)?)
    }

    /// Is this very reference here?
    pub(crate) fn has(&self, partition: Partition, reference: &BlockReference) -> Result<bool, CellsError> {
        Ok(self.rows.get(&reference_key(partition, reference))?.value.is_some())
    }

    /// Has the block another reference than this one?
    pub(crate) fn has_others(&self, partition: Partition, reference: &BlockReference) -> Result<bool, CellsError> {
        let own = reference_key(partition, reference);
        let found = self.references_to(partition, reference.block, 2)?.value;
        Ok(found.iter().any(|(key, _)| *key != own))
    }

    /// At most `limit` references of a partition after this one, where to go on, and how far the log must be durable
    /// before they are told of.
    #[expect(clippy::type_complexity, reason = "three things that belong to one look")]
    pub(crate) fn after(
        &self,
        partition: Partition,
        after: Option<(BlockName, VersionId)>,
        limit: usize,
    ) -> Result<(Vec<BlockReference>, Option<(BlockName, VersionId)>, Position), CellsError> {
        let shelf = Shelf::of_blocks(partition);
        let key = match after {
            // Nothing is between a key and the same with a zero behind it.
            Some((block, version)) => [&block.0[..], &version.0, &[0]].concat(),
            None => Vec::new(),
        };
        let start = physical(BLOCK_REFERENCES, shelf, &key);
        let end = end_of(&physical(BLOCK_REFERENCES, shelf, &[]));
        let rows = self.rows.scan(&start, &end, limit)?;
        let is_all = rows.value.len() < limit;
        let found: Result<Vec<BlockReference>, _> = rows.value.iter().map(|(_, row)| decode(row)).collect();
        let found = found?;
        let last = found.last().map(|last: &BlockReference| (last.block, last.version));
        Ok((found, last.filter(|_| !is_all), rows.written_at))
    }

    /// Removes a reference; `mark` takes its place where it was the last.
    pub(crate) fn remove(
        &self,
        partition: Partition,
        reference: &BlockReference,
        mark: Option<Mark>,
    ) -> Result<Position, CellsError> {
        let mut batch: Batch = vec![(reference_key(partition, reference), Change::Remove)];
        batch.extend(mark.map(|mark| (mark_key(partition, reference.block), Change::Put(encode(&mark)))));
        Ok(self.rows.apply_within(batch, Room::Upkeep)?)
    }

    /// What keeps the block's data here.
    pub(crate) fn held(&self, partition: Partition, block: BlockName) -> Result<Versioned<Held>, CellsError> {
        let references = self.references_to(partition, block, 1)?;
        let mark = self.rows.get(&mark_key(partition, block))?;
        let value = match (references.value.is_empty(), mark.value) {
            (false, _) => Held::Referenced,
            (true, Some(mark)) => Held::Marked(decode(&mark)?),
            (true, None) => Held::Unknown,
        };
        Ok(Versioned {
            value,
            written_at: references.written_at.max(mark.written_at),
        })
    }

    /// Takes a mark away: the data are gone.
    pub(crate) fn unmark(&self, partition: Partition, block: BlockName) -> Result<Position, CellsError> {
        let batch = vec![(mark_key(partition, block), Change::Remove)];
        Ok(self.rows.apply_within(batch, Room::Upkeep)?)
    }

    /// At most `limit` references of this node, from where a walk is.
    pub(crate) fn walk(
        &self,
        from: Option<Bookmark>,
        limit: usize,
    ) -> Result<Stretch<(Partition, BlockReference)>, CellsError> {
        self.stretch(BLOCK_REFERENCES, from, limit, |key, value| {
            let partition = partition_of(key)?;
            decode(value).ok().map(|reference| (partition, reference))
        })
    }

    /// At most `limit` marked blocks of this node, from where a walk is.
    pub(crate) fn walk_marks(&self, from: Option<Bookmark>, limit: usize) -> Result<Stretch<Marked>, CellsError> {
        self.stretch(BLOCK_MARKS, from, limit, |key, value| {
            let name = key.get(PREFIX_BYTES..)?.try_into().ok()?;
            let mark = decode(value).ok()?;
            Some(Marked {
                partition: partition_of(key)?,
                block: BlockName(name),
                mark,
            })
        })
    }

    /// What cannot be read is left alone.
    fn stretch<T>(
        &self,
        table: u8,
        from: Option<Bookmark>,
        limit: usize,
        read: impl Fn(&[u8], &[u8]) -> Option<T>,
    ) -> Result<Stretch<T>, CellsError> {
        let start = from.unwrap_or_else(|| Bytes::copy_from_slice(&[table]));
        let end = [table + 1];
        let mut rows = self.rows.scan(&start, &end, limit.saturating_add(1))?.value;
        let next = (rows.len() > limit).then(|| rows.pop()).flatten().map(|(key, _)| key);
        let found = rows.iter().filter_map(|(key, value)| read(key, value)).collect();
        Ok(Stretch { found, next })
    }

    fn references_to(
        &self,
        partition: Partition,
        block: BlockName,
        limit: usize,
    ) -> Result<Versioned<Vec<(Bytes, Bytes)>>, CellsError> {
        let from = physical(BLOCK_REFERENCES, Shelf::of_blocks(partition), &block.0);
        let to = successor(&from).expect("a table's letter is below 0xff");
        Ok(self.rows.scan(&from, &to, limit)?)
    }
}

fn reference_key(partition: Partition, reference: &BlockReference) -> Bytes {
    let mut key = Vec::with_capacity(NAME_BYTES + reference.version.0.len());
    key.extend(reference.block.0);
    key.extend(reference.version.0);
    physical(BLOCK_REFERENCES, Shelf::of_blocks(partition), &key)
}

fn mark_key(partition: Partition, block: BlockName) -> Bytes {
    physical(BLOCK_MARKS, Shelf::of_blocks(partition), &block.0)
}

fn partition_of(key: &[u8]) -> Option<Partition> {
    Some(Partition(u16::from_be_bytes(key.get(1..3)?.try_into().ok()?)))
}
