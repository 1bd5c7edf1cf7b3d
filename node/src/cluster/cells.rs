//! Rows of the protocols in the row store.
//!
//! A row's head and its inline body lie under separate keys of one batch, so that a scan or a read of heads never
//! touches bodies. Physical keys begin with the partition and with the layout at which this node entered it, so that
//! all rows of a partition can one day be dropped or replaced at once.

use std::sync::Arc;

use bytes::Bytes;
use trellis_spec::layout::Partition;
use trellis_spec::register::{Cell, Fetch};
use trellis_spec::row::{Blob, Row, RowKey};

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
    pub(crate) fn load(
        &self,
        partition: Partition,
        key: &[u8],
        fetch: Fetch,
    ) -> Result<Versioned<Cell<Row>>, CellsError> {
        let found = self.rows.get(&physical(HEADS, partition, key))?;
        let written_at = found.written_at;
        let Some(head) = found.value else {
            return Ok(Versioned {
                value: Cell::default(),
                written_at,
            });
        };
        let mut cell: Cell<Row> = decode(&head)?;
        if fetch == Fetch::Full && inline_is_apart(&cell) {
            let body = self.rows.get(&physical(INLINE_BODIES, partition, key))?.value;
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
        partition: Partition,
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
                    physical(INLINE_BODIES, partition, key),
                    Change::Put(Bytes::copy_from_slice(&body)),
                ));
            }
            None if !same_value && inline_is_apart(before) => {
                batch.push((physical(INLINE_BODIES, partition, key), Change::Remove));
            }
            Some(_) | None => {}
        }
        batch.push((physical(HEADS, partition, key), Change::Put(encode(&after))));
        Ok(self.rows.apply_within(batch, room)?)
    }

    /// Heads of at most `limit` rows of a range and about `max_bytes` bytes, from one snapshot; one row at least.
    pub(crate) fn scan(
        &self,
        partition: Partition,
        from: &[u8],
        to: &[u8],
        limit: usize,
        max_bytes: usize,
    ) -> Result<Versioned<Range>, CellsError> {
        let (start, end) = (physical(HEADS, partition, from), physical(HEADS, partition, to));
        let found = self.rows.scan(&start, &end, limit.saturating_add(1))?;
        let prefix = physical(HEADS, partition, &[]).len();
        let mut cells = Vec::with_capacity(found.value.len());
        let (mut bound, mut bytes) = (None, 0_usize);
        for (key, value) in found.value {
            let key = key[prefix..].to_vec();
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

/// Entered-at is the first layout for every partition of a node that never moved.
pub(super) fn physical(table: u8, partition: Partition, key: &[u8]) -> Bytes {
    const ENTERED_AT_LAYOUT: u32 = 1;
    let mut physical = Vec::with_capacity(7 + key.len());
    physical.push(table);
    physical.extend(partition.0.to_be_bytes());
    physical.extend(ENTERED_AT_LAYOUT.to_be_bytes());
    physical.extend(key);
    physical.into()
}
