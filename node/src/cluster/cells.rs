//! Rows of the protocols in the row store.
//!
//! A row's head and its inline body lie under separate keys of one batch, so that a scan or a read of heads never
//! touches bodies. Physical keys begin with the partition and with the layout at which this node entered it: a *shelf*.
//! So a node that left a partition and comes back sees none of its old rows, from the very moment in which it learns the
//! layout that brings it back.
//!
//! The floor of a partition lies on the shelf of its rows. A tombstone goes, and the floor rises, in one batch. So whoever
//! finds that a row is not there and looks at the floor *afterwards* sees one that stands for every tombstone that he did
//! not see.

use std::sync::Arc;

use bytes::Bytes;
use trellis_spec::layout::{Admitted, LayoutVersion, Partition};
use trellis_spec::register::{Cell, Fetch};
use trellis_spec::row::{Blob, Row, RowKey, successor};
use trellis_spec::stamp::Stamp;

use super::wire::{DecodeError, decode, encode};
use crate::storage::{Batch, Change, Position, Room, Rows, RowsError, Versioned};

/// Tables of the row store.
const HEADS: u8 = b'h';
const INLINE_BODIES: u8 = b'i';
const FLOORS: u8 = b'f';

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

    /// The floor of the shelf; nothing: it was never raised.
    pub(crate) fn floor(&self, shelf: Shelf) -> Result<Versioned<Option<Stamp>>, CellsError> {
        let found = self.rows.get(&physical(FLOORS, shelf, &[]))?;
        Ok(Versioned {
            value: found.value.as_deref().map(decode).transpose()?,
            written_at: found.written_at,
        })
    }

    /// Raises the floor of the shelf.
    pub(crate) fn raise(&self, shelf: Shelf, floor: Stamp) -> Result<Position, CellsError> {
        self.forget(shelf, &[], floor)
    }

    /// Removes these tombstones and raises the floor of the shelf, all or nothing. Tombstones have no body.
    pub(crate) fn forget(&self, shelf: Shelf, tombstones: &[&RowKey], floor: Stamp) -> Result<Position, CellsError> {
        let gone = |key: &&RowKey| (physical(HEADS, shelf, key), Change::Remove);
        let mut batch: Batch = tombstones.iter().map(gone).collect();
        batch.push((physical(FLOORS, shelf, &[]), Change::Put(encode(&floor))));
        Ok(self.rows.apply_within(batch, Room::Upkeep)?)
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

    /// The first shelf at or after `from` on which there is anything.
    pub(crate) fn next_shelf(&self, from: Shelf) -> Result<Option<Shelf>, CellsError> {
        let mut next = None;
        for table in [HEADS, FLOORS] {
            let found = self.rows.scan(&physical(table, from, &[]), &[table + 1], 1)?.value;
            let shelf = found.first().and_then(|(key, _)| shelf_of(key));
            next = next.into_iter().chain(shelf).min();
        }
        Ok(next)
    }

    /// Removes at most `limit` rows of a shelf for good, and its floor; says how many there were.
    pub(crate) fn clear(&self, shelf: Shelf, limit: usize) -> Result<usize, CellsError> {
        let mut removed = 0;
        for table in [HEADS, INLINE_BODIES, FLOORS] {
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

#[cfg(test)]
mod tests {
    use super::*;
    use trellis_spec::register::{Accepted, Content, OpId};

    use crate::env::simulated::Simulation;
    use crate::storage::{Flush, MemoryDisk, MemoryRows};

    #[test]
    fn whatever_a_crash_leaves_there_is_the_tombstone_or_its_floor() {
        Simulation::run(1, |simulation| async move {
            let env = simulation.node("node").env();
            let shelf = |entered| Shelf {
                partition: Partition(7),
                entered: LayoutVersion(entered),
            };
            let tombstone = |time| Cell {
                promised: Stamp::new(time, 1),
                accepted: Some(Accepted {
                    ballot: Stamp::new(time, 1),
                    op: OpId::default(),
                    base: None,
                    content: Content::Tombstone,
                }),
            };
            let keys: Vec<RowKey> = (0..4_u8).map(|number| vec![b'o', number]).collect();
            for survivors in 0..=keys.len() + 1 {
                let disk = MemoryDisk::new();
                let open = || Arc::new(MemoryRows::open(&disk, env.clone(), Flush::ByHand).unwrap().0);
                let rows = open();
                let cells = Cells::new(rows.clone());
                for (time, key) in (1..).zip(&keys) {
                    let none = Cell::default();
                    cells.replace(shelf(3), key, &none, tombstone(time), Room::New).unwrap();
                }
                rows.flush().unwrap();
                for (time, key) in (1..).zip(&keys) {
                    cells.forget(shelf(3), &[key], Stamp::new(time, 1)).unwrap();
                }
                disk.crash(survivors);
                let cells = Cells::new(open());
                let floor = cells.floor(shelf(3)).unwrap().value.unwrap_or_default();
                let gone = survivors.min(keys.len());
                assert_eq!(floor.time, gone as u64);
                for (number, key) in keys.iter().enumerate() {
                    let cell = cells.load(shelf(3), key, Fetch::Full).unwrap().value;
                    assert_eq!(cell.accepted.is_none(), number < gone, "{survivors}");
                }
                assert_eq!(cells.floor(shelf(4)).unwrap().value, None, "who enters anew has none");
                // A shelf with nothing but a floor is found and cleared too.
                assert_eq!(cells.next_shelf(shelf(0)).unwrap(), Some(shelf(3)));
                while cells.clear(shelf(3), 2).unwrap() > 0 {}
                assert_eq!(cells.next_shelf(shelf(0)).unwrap(), None);
            }
        });
    }
}
