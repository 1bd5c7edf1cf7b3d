//! Rows of the protocols in the row store.
//!
//! A row's head and its inline body lie under separate keys of one batch, so that a scan or a read of heads never
//! touches bodies. Physical keys begin with the partition and with the layout at which this node entered it: a *shelf*.
//! So a node that left a partition and comes back sees none of its old rows, from the very moment in which it learns the
//! layout that brings it back.

use std::sync::Arc;

use bytes::Bytes;
use trellis_spec::layout::{Admitted, LayoutVersion, Partition};
use trellis_spec::register::{Cell, Fetch};
use trellis_spec::row::{Blob, Row, RowKey, successor};

use super::wire::{DecodeError, decode, encode};
use crate::storage::{Batch, Change, Position, Room, Rows, RowsError, Versioned};

/// Tables of the row store.
const HEADS: u8 = b'h';
const INLINE_BODIES: u8 = b'i';

/// Why rows cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CellsError {
    #[error(transparent)]
    Rows(#[from] RowsError),
    #[error("the row store holds {0}")]
    Damaged(#[from] DecodeError),
    #[error("the row store holds the head of a row without its body")]
    NoBody,
}

/// Where the rows of a partition lie for the time since this node entered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shelf {
    pub(crate) partition: Partition,
    pub(crate) entered: LayoutVersion,
}

impl Shelf {
    /// The shelf that an admitted request is about.
    pub(crate) fn of(admitted: &Admitted) -> Self {
        Shelf {
            partition: admitted.partition(),
            entered: admitted.entered(),
        }
    }

    /// Where references to blocks lie: whatever the time they are from, they do no harm, and data are told by their
    /// names.
    pub(super) fn of_blocks(partition: Partition) -> Self {
        Shelf {
            partition,
            entered: LayoutVersion(1),
        }
    }
}

/// The rows of the node's partitions.
pub(crate) struct Cells {
    rows: Arc<dyn Rows>,
}

/// The rows of a range.
pub(crate) struct Range {
    pub(crate) cells: Vec<(RowKey, Cell<Row>)>,
    /// The first key that was not looked at, if the range goes on.
    pub(crate) bound: Option<RowKey>,
}

impl Cells {
    pub(crate) fn new(rows: Arc<dyn Rows>) -> Self {
        Cells { rows }
    }

    /// The row, with its inline body if that is asked for.
    pub(crate) fn load(&self, shelf: Shelf, key: &[u8], fetch: Fetch) -> Result<Versioned<Cell<Row>>, CellsError> {
        let found = self.rows.get(&physical(HEADS, shelf, key))?;
        let written_at = found.written_at;
        let Some(head) = found.value else {
            return Ok(Versioned {
                value: Cell::default(),
                written_at,
            });
        };
        let mut cell: Cell<Row> = decode(&head)?;
        if fetch == Fetch::Full && inline_is_apart(&cell) {
            let body = self.rows.get(&physical(INLINE_BODIES, shelf, key))?.value;
            let body = body.ok_or(CellsError::NoBody)?;
            if let Some(row) = live_mut(&mut cell) {
                row.attach(Blob::from(&body[..]));
            }
        }
        Ok(Versioned {
            value: cell,
            written_at,
        })
    }

    /// Replaces the row `before` by `after`.
    pub(crate) fn replace(
        &self,
        shelf: Shelf,
        key: &[u8],
        before: &Cell<Row>,
        mut after: Cell<Row>,
        room: Room,
    ) -> Result<Position, CellsError> {
        let mut batch: Batch = Vec::with_capacity(2);
        let body = live_mut(&mut after).and_then(Row::detach);
        let same_value = before.ballot() == after.ballot();
        match body {
            Some(body) if !same_value => {
                batch.push((
                    physical(INLINE_BODIES, shelf, key),
                    Change::Put(Bytes::copy_from_slice(&body)),
                ));
            }
            None if !same_value && inline_is_apart(before) => {
                batch.push((physical(INLINE_BODIES, shelf, key), Change::Remove));
            }
            Some(_) | None => {}
        }
        batch.push((physical(HEADS, shelf, key), Change::Put(encode(&after))));
        Ok(self.rows.apply_within(batch, room)?)
    }

    /// Heads of at most `limit` rows of a range and about `max_bytes` bytes, from one snapshot; one row at least. Nothing
    /// for `to` is the end of the shelf.
    pub(crate) fn scan(
        &self,
        shelf: Shelf,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Versioned<Range>, CellsError> {
        let start = physical(HEADS, shelf, from);
        let end = match to {
            Some(to) => physical(HEADS, shelf, to),
            None => end_of(&physical(HEADS, shelf, &[])),
        };
        let found = self.rows.scan(&start, &end, limit.saturating_add(1))?;
        let mut cells = Vec::with_capacity(found.value.len());
        let (mut bound, mut bytes) = (None, 0_usize);
        for (key, value) in found.value {
            let key = key[PREFIX_BYTES..].to_vec();
            bytes += key.len() + value.len();
            if cells.len() == limit || (bytes > max_bytes && !cells.is_empty()) {
                bound = Some(key);
                break;
            }
            cells.push((key, decode(&value)?));
        }
        Ok(Versioned {
            value: Range { cells, bound },
            written_at: found.written_at,
        })
    }

    /// The shelf of the first row at or after the beginning of `from`.
    pub(crate) fn next_shelf(&self, from: Shelf) -> Result<Option<Shelf>, CellsError> {
        let found = self.rows.scan(&physical(HEADS, from, &[]), &[HEADS + 1], 1)?.value;
        Ok(found.first().and_then(|(key, _)| shelf_of(key)))
    }

    /// Removes at most `limit` rows of a shelf for good; says how many there were.
    pub(crate) fn clear(&self, shelf: Shelf, limit: usize) -> Result<usize, CellsError> {
        let mut removed = 0;
        for table in [HEADS, INLINE_BODIES] {
            let start = physical(table, shelf, &[]);
            let found = self.rows.scan(&start, &end_of(&start), limit)?.value;
            removed += found.len();
            let batch: Batch = found.into_iter().map(|(key, _)| (key, Change::Remove)).collect();
            if !batch.is_empty() {
                self.rows.apply_within(batch, Room::Upkeep)?;
            }
        }
        Ok(removed)
    }

    /// Returns when a change would not have to wait for memory, which it would do with a thread and a lock in its hands.
    pub(crate) async fn ready(&self) -> Result<(), CellsError> {
        Ok(self.rows.ready().await?)
    }

    /// Returns when everything up to `position` is on disk.
    pub(crate) async fn durable(&self, position: Position) -> Result<(), CellsError> {
        Ok(self.rows.durable(position).await?)
    }
}

fn live_mut(cell: &mut Cell<Row>) -> Option<&mut Row> {
    match &mut cell.accepted.as_mut()?.content {
        trellis_spec::register::Content::Value(row) => Some(row),
        trellis_spec::register::Content::Tombstone => None,
    }
}

/// Does the row have an inline body that lies under its own key?
fn inline_is_apart(cell: &Cell<Row>) -> bool {
    cell.accepted
        .as_ref()
        .is_some_and(|accepted| !accepted.content.is_whole())
}

/// Bytes of a physical key before the row's own.
pub(super) const PREFIX_BYTES: usize = 11;

pub(super) fn physical(table: u8, shelf: Shelf, key: &[u8]) -> Bytes {
    let mut physical = Vec::with_capacity(PREFIX_BYTES + key.len());
    physical.push(table);
    physical.extend(shelf.partition.0.to_be_bytes());
    physical.extend(shelf.entered.0.to_be_bytes());
    physical.extend(key);
    physical.into()
}

/// Above everything that begins with this.
pub(super) fn end_of(physical: &[u8]) -> Bytes {
    successor(physical).expect("a table's letter is below 0xff").into()
}

/// The shelf that a physical key is of.
fn shelf_of(physical: &[u8]) -> Option<Shelf> {
    Some(Shelf {
        partition: Partition(u16::from_be_bytes(physical.get(1..3)?.try_into().ok()?)),
        entered: LayoutVersion(u64::from_be_bytes(physical.get(3..PREFIX_BYTES)?.try_into().ok()?)),
    })
}
