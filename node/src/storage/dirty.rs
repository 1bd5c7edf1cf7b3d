//! The rows that are visible and not yet in the index: where group commit keeps its promises.
//!
//! A batch passes three stages. *Visible*: it has a position, its rows answer reads, it waits in the queue.
//! *Durable*: the group that holds it is on disk. *Settled*: the index (or, in the twin, the durable map) has it, and
//! the rows leave this table unless a later batch changed them again. Rows found here that are not durable yet carry
//! their position, removals too. Pure state: whoever owns it brings the lock, the disk and the time.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::rows::{Batch, Change, Position, Versioned};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    visible: Position,
    durable: Position,
    settled: Position,
    rows: BTreeMap<Bytes, DirtyRow>,
    queue: VecDeque<(Position, Arc<Batch>)>,
    /// Size of every batch that is not settled.
    sizes: VecDeque<(Position, usize)>,
    held_bytes: usize,
}

#[derive(Debug)]
struct DirtyRow {
    /// The batch that the index will have the row from.
    at: Position,
    /// What a reader must wait for.
    waits_for: Position,
    change: Change,
}

/// Batches that are written together.
pub(crate) type Group = Vec<(Position, Arc<Batch>)>;

/// Changed rows of a range, in key order.
pub(crate) type DirtyRange = Vec<(Bytes, Versioned<Change>)>;

impl Dirty {
    /// An empty table behind a log that is durable up to `last`.
    pub(crate) fn new(last: Position) -> Self {
        Self {
            visible: last,
            durable: last,
            settled: last,
            ..Self::default()
        }
    }

    /// The newest position given out.
    pub(crate) fn visible(&self) -> Position {
        self.visible
    }

    /// Everything up to here is in the index.
    pub(crate) fn settled(&self) -> Position {
        self.settled
    }

    /// Bytes of keys and values in batches that are not settled.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Whether nothing waits for the disk to begin.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// Makes the batch visible and puts it in the queue.
    pub(crate) fn apply(&mut self, batch: Batch) -> Position {
        self.enqueue(batch, Position(self.visible.0 + 1))
    }

    /// Puts rows in the queue that are durable already, elsewhere and unchanged: readers need not wait for the copy.
    pub(crate) fn copy(&mut self, batch: Batch) -> Position {
        self.enqueue(batch, Position::default())
    }

    fn enqueue(&mut self, batch: Batch, waits_for: Position) -> Position {
        self.visible.0 += 1;
        for (key, change) in &batch {
            let row = DirtyRow {
                at: self.visible,
                waits_for,
                change: change.clone(),
            };
            self.rows.insert(key.clone(), row);
        }
        let bytes = content_bytes(&batch);
        self.held_bytes += bytes;
        self.sizes.push_back((self.visible, bytes));
        self.queue.push_back((self.visible, Arc::new(batch)));
        self.visible
    }

    /// The change of this row that the index does not have.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Versioned<Change>> {
        self.rows.get(key).map(|row| self.versioned(row))
    }

    /// Changed rows with `from <= key < to`, up to and including the one that is the `limit`-th with a value: merged
    /// with anything else, no row behind that one is among the first `limit`.
    pub(crate) fn range(&self, from: &[u8], to: &[u8], limit: usize) -> DirtyRange {
        let mut found = Vec::new();
        let mut values = 0;
        if from >= to {
            return found;
        }
        for (key, row) in self.rows.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to))) {
            if values == limit {
                break;
            }
            values += usize::from(matches!(row.change, Change::Put(_)));
            found.push((key.clone(), self.versioned(row)));
        }
        found
    }

    fn versioned(&self, row: &DirtyRow) -> Versioned<Change> {
        let written_at = if row.waits_for <= self.durable {
            Position::default()
        } else {
            row.waits_for
        };
        Versioned {
            value: row.change.clone(),
            written_at,
        }
    }

    /// The batches that the next group takes: as many as fit into `max_bytes`, at least one if there is any.
    pub(crate) fn take_group(&mut self, max_bytes: usize) -> Group {
        let mut group = Vec::new();
        let mut bytes = 0;
        while let Some((_, batch)) = self.queue.front() {
            let more = content_bytes(batch);
            if bytes + more > max_bytes && !group.is_empty() {
                break;
            }
            bytes += more;
            group.extend(self.queue.pop_front());
        }
        group
    }

    /// Puts a group that was taken last back to the front of the queue.
    pub(crate) fn put_back(&mut self, group: Group) {
        for waiting in group.into_iter().rev() {
            self.queue.push_front(waiting);
        }
    }

    /// The groups taken up to `position` are on disk.
    pub(crate) fn flushed(&mut self, position: Position) {
        self.durable = self.durable.max(position);
    }

    /// The index has these rows as of `position`.
    pub(crate) fn settle<'a>(&mut self, position: Position, keys: impl IntoIterator<Item = &'a Bytes>) {
        self.settled = self.settled.max(position);
        for key in keys {
            if self.rows.get(key).is_some_and(|row| row.at <= position) {
                self.rows.remove(key);
            }
        }
        let done = self.sizes.partition_point(|(at, _)| *at <= position);
        self.held_bytes -= self.sizes.drain(..done).map(|(_, bytes)| bytes).sum::<usize>();
    }
}

/// Bytes of keys and values.
pub(crate) fn content_bytes(batch: &Batch) -> usize {
    let bytes = |(key, change): &(Bytes, Change)| match change {
        Change::Put(value) => key.len() + value.len(),
        Change::Remove => key.len(),
    };
    batch.iter().map(bytes).sum()
}

/// The first `limit` rows of `settled` as changed by `dirty`; both in key order, `settled` at least `limit` rows plus
/// one for each dirty one unless the range has no more. A settled row is a value of any kind that `dirty` turns into
/// one of its own.
pub(crate) fn merge<T>(
    settled: Vec<(Bytes, T)>,
    dirty: DirtyRange,
    limit: usize,
    fresh: impl Fn(Bytes) -> T,
) -> Versioned<Vec<(Bytes, T)>> {
    let mut value = Vec::new();
    let mut written_at = Position::default();
    let mut settled = settled.into_iter().peekable();
    let mut dirty = dirty.into_iter().peekable();
    while value.len() < limit {
        let takes_dirty = match (settled.peek(), dirty.peek()) {
            (None, None) => break,
            (Some(_), None) => false,
            (None, Some(_)) => true,
            (Some((old, _)), Some((new, _))) => new <= old,
        };
        if !takes_dirty {
            value.extend(settled.next());
            continue;
        }
        let Some((key, change)) = dirty.next() else { break };
        settled.next_if(|(old, _)| *old == key);
        written_at = written_at.max(change.written_at);
        match change.value {
            Change::Put(bytes) => value.push((key, fresh(bytes))),
            Change::Remove => {}
        }
    }
    Versioned { value, written_at }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &'static str, value: &'static str) -> (Bytes, Change) {
        (
            Bytes::from_static(key.as_bytes()),
            Change::Put(Bytes::from_static(value.as_bytes())),
        )
    }

    fn remove(key: &'static str) -> (Bytes, Change) {
        (Bytes::from_static(key.as_bytes()), Change::Remove)
    }

    fn row(key: &'static str, value: &'static str) -> (Bytes, Bytes) {
        (Bytes::from_static(key.as_bytes()), Bytes::from_static(value.as_bytes()))
    }

    #[test]
    fn a_row_is_reported_dirty_until_durable_and_kept_until_settled() {
        let mut dirty = Dirty::new(Position(5));
        let at = dirty.apply(vec![put("a", "1"), remove("b")]);
        assert_eq!(at, Position(6));
        assert_eq!(
            dirty.get(b"b"),
            Some(Versioned {
                value: Change::Remove,
                written_at: at
            })
        );
        assert_eq!(dirty.take_group(100).len(), 1);
        dirty.flushed(at);
        assert_eq!(
            dirty.get(b"b"),
            Some(Versioned {
                value: Change::Remove,
                written_at: Position(0)
            })
        );
        let later = dirty.apply(vec![put("a", "2")]);
        dirty.settle(at, &[row("a", "").0, row("b", "").0]);
        assert_eq!(dirty.get(b"b"), None);
        assert_eq!(dirty.get(b"a").unwrap().written_at, later, "a later change stays");
    }

    #[test]
    fn nobody_waits_for_a_copy_but_its_batch_is_written_and_settled() {
        let mut dirty = Dirty::new(Position(5));
        let at = dirty.copy(vec![put("a", "1")]);
        assert_eq!(dirty.get(b"a").unwrap().written_at, Position(0));
        assert_eq!(dirty.take_group(100).len(), 1);
        dirty.settle(Position(5), &[row("a", "").0]);
        assert!(dirty.get(b"a").is_some());
        dirty.settle(at, &[row("a", "").0]);
        assert!(dirty.get(b"a").is_none());
    }

    #[test]
    fn groups_take_what_fits_and_never_nothing() {
        let mut dirty = Dirty::new(Position(0));
        for _ in 0..5 {
            dirty.apply(vec![put("key", "value")]);
        }
        let sizes: Vec<usize> = [16, 17, 1, 100].map(|max| dirty.take_group(max).len()).into();
        assert_eq!(sizes, [2, 2, 1, 0]);
        assert!(dirty.is_idle());
        assert_eq!(dirty.held_bytes(), 40);
        dirty.settle(Position(4), []);
        assert_eq!(dirty.held_bytes(), 8);
    }

    #[test]
    fn a_merge_overlays_and_covers_removals_in_what_it_looked_at() {
        let settled = vec![row("a", "old"), row("b", "old"), row("d", "old")];
        let mut dirty = Dirty::new(Position(0));
        dirty.apply(vec![put("b", "new")]);
        dirty.apply(vec![remove("a"), put("c", "new")]);
        dirty.apply(vec![remove("d")]);
        let all = merge(settled.clone(), dirty.range(b"a", b"z", 9), 9, |value| value);
        assert_eq!(
            all,
            Versioned {
                value: vec![row("b", "new"), row("c", "new")],
                written_at: Position(3)
            }
        );
        let first = merge(settled, dirty.range(b"a", b"z", 1), 1, |value| value);
        assert_eq!(
            first,
            Versioned {
                value: vec![row("b", "new")],
                written_at: Position(2)
            }
        );
    }
}
