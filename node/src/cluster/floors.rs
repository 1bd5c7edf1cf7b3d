//! Floors and forgotten tombstones at a replica: what [`trellis_spec::tombstone`] decides is done here, on disk.
//!
//! A tombstone is forgotten under the partition's lock, as rows are changed, so that no request meets a row without its
//! tombstone and a floor from before. Whoever reads without the lock reads the floor last.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trellis_spec::layout::{LayoutVersion, Partition, is_open};
use trellis_spec::peer::Answer;
use trellis_spec::register::{Cell, Fetch, Request};
use trellis_spec::row::{Row, RowKey, is_forgettable};
use trellis_spec::stamp::Stamp;
use trellis_spec::tombstone::{Inward, forgotten, may_forget, report};
use trellis_spec::trace::{ForgottenRow, Openness, Record};

use super::cells::{CellsError, Shelf};
use super::door::{Door, Refused};
use super::layouts::Known;
use super::replica::Replica;
use super::standing::Standing;
use crate::seeded::NodeRules;
use crate::storage::{Position, Versioned};

/// Rows that one message may ask about or order to forget.
pub(super) const ROWS_AT_A_TIME: usize = 256;
/// Requests of clients do not wait for more.
const ROWS_UNDER_LOCK: usize = 16;

/// How many syncs pull rows of a partition into this node.
#[derive(Debug, Default)]
pub(super) struct Inflows(Arc<Mutex<BTreeMap<Partition, usize>>>);

/// As long as it lives, rows that were pulled may be on their way into this node.
#[derive(Debug)]
pub(super) struct Inflow {
    partition: Partition,
    all: Arc<Mutex<BTreeMap<Partition, usize>>>,
}

impl Inflows {
    /// A sync begins to pull.
    pub(super) fn begin(&self, partition: Partition) -> Inflow {
        *locked(&self.0).entry(partition).or_default() += 1;
        Inflow {
            partition,
            all: self.0.clone(),
        }
    }

    fn of(&self, partition: Partition) -> Inward {
        match locked(&self.0).contains_key(&partition) {
            true => Inward::Pulling,
            false => Inward::Quiet,
        }
    }
}

impl Drop for Inflow {
    fn drop(&mut self) {
        let mut all = locked(&self.all);
        if let Some(count) = all.get_mut(&self.partition) {
            *count -= 1;
        }
        all.retain(|_, count| *count > 0);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panicking holder left is whole: a number was changed or not.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Replica {
    /// The floor, where a row holds nothing and somebody looks at it; else it says nothing. No read does. A trace does:
    /// where a row is gone, the floor tells whether it was forgotten or lost.
    pub(super) fn floor_under(
        &self,
        shelf: Shelf,
        key: &[u8],
        cell: &Cell<Row>,
        request: &Request<Row>,
    ) -> Result<Versioned<Stamp>, CellsError> {
        let is_read = matches!(request, Request::Read(_));
        let is_looked_at = !is_read || self.recorder().is_some_and(|recorder| recorder.wants(key));
        let (mut value, mut written_at) = (Stamp::ZERO, Position::default());
        if cell.accepted.is_none() && is_looked_at {
            match self.cells().floor(shelf) {
                // The answer to a read does not tell of it, nor does it fail for a trace.
                Ok(floor) if is_read => value = floor.value.unwrap_or_default(),
                Err(_) if is_read => {}
                floor => {
                    let floor = floor?;
                    (value, written_at) = (floor.value.unwrap_or_default(), floor.written_at);
                }
            }
        }
        Ok(Versioned { value, written_at })
    }

    /// Does this node serve from the rows of a shelf?
    pub(super) fn is_open(&self, known: &Known, shelf: Shelf) -> Result<bool, CellsError> {
        let Openness { synced, raised } = self.openness(known, shelf)?;
        Ok(is_open::<NodeRules>(shelf.entered, synced, raised))
    }

    /// What tells that.
    pub(super) fn openness(&self, known: &Known, shelf: Shelf) -> Result<Openness, CellsError> {
        let Shelf { partition, entered } = shelf;
        let synced = known.synced(partition, known.peer.me);
        // A floor on the shelf, be it zero, was put there by a sync since the node entered.
        let is_raised = synced < entered && self.cells().floor(shelf)?.value.is_some();
        let raised = if is_raised { entered } else { LayoutVersion::default() };
        Ok(Openness { synced, raised })
    }

    /// Has this node entered a partition, and does not know its floor yet?
    pub(super) fn is_entering(&self, partition: Partition) -> bool {
        let known = self.layouts().now();
        let entered = known.peer.knowledge.entered(known.peer.me, partition);
        let is_closed = |entered| {
            let shelf = Shelf { partition, entered };
            // Who cannot read its floor cannot serve either, and says so.
            self.is_open(&known, shelf).is_ok_and(|is_open| !is_open)
        };
        entered.is_some_and(is_closed)
    }

    /// Raises the floor to what a sync of this node under this view was told, and opens the node.
    pub(super) async fn raise_floor(&self, at: Door, floor: Stamp) -> Result<(), Refused> {
        self.cells().ready().await?;
        let position = self.raise_now(at, floor)?;
        self.durable(position).await
    }

    fn raise_now(&self, at: Door, floor: Stamp) -> Result<Position, Refused> {
        let _partition = self.lock(at.partition);
        let shelf = Shelf::of(&self.enter(at)?);
        let own = self.cells().floor(shelf)?;
        let is_higher = own.value.is_none_or(|own| own < floor) && floor > Stamp::ZERO;
        if is_higher || !self.is_open(&self.layouts().now(), shelf)? {
            return Ok(self.cells().raise(shelf, floor)?);
        }
        Ok(own.written_at)
    }

    /// Says what this node holds of each of these rows. Where it holds nothing its floor may be as high, raised by others of
    /// its rows, and that is no report: a sync that began to pull before the tombstone was there may yet copy what was
    /// deleted, below the floor.
    pub(super) async fn report(&self, at: Door, keys: &[RowKey]) -> Result<Answer, Refused> {
        let shelf = Shelf::of(&self.enter(at)?);
        // What it could not forget itself, others do not forget either: it would have to be brought to them again.
        if keys.len() > ROWS_AT_A_TIME || !self.may_forget(at) {
            return Ok(Answer::Failed);
        }
        let (mut held, mut position) = (Vec::with_capacity(keys.len()), Position::default());
        for key in keys {
            let cell = self.cells().load(shelf, key, Fetch::Head)?;
            held.push(report(&cell.value));
            position = position.max(cell.written_at);
        }
        // It is a report under this view, and no other.
        self.enter(at)?;
        self.durable(position).await?;
        Ok(Answer::Reported(held))
    }

    /// Forgets these tombstones, as far as it may: everybody reported under the view of the request that they can go.
    pub(super) async fn forget(&self, at: Door, tombstones: &[(RowKey, Stamp)]) -> Result<Answer, Refused> {
        self.cells().ready().await?;
        if tombstones.len() > ROWS_AT_A_TIME {
            return Ok(Answer::Failed);
        }
        let (mut count, mut position) = (0, Position::default());
        for some in tombstones.chunks(ROWS_UNDER_LOCK) {
            let (gone, written_at) = self.forget_now(at, some)?;
            (count, position) = (count + gone, position.max(written_at));
        }
        self.durable(position).await?;
        Ok(Answer::Forgotten(count))
    }

    fn forget_now(&self, at: Door, tombstones: &[(RowKey, Stamp)]) -> Result<(u32, Position), Refused> {
        let _partition = self.lock(at.partition);
        let shelf = Shelf::of(&self.enter(at)?);
        if !self.may_forget(at) {
            return Ok((0, Position::default()));
        }
        let mut floor = self.cells().floor(shelf)?.value.unwrap_or_default();
        let mut gone = Vec::new();
        for (key, tombstone) in tombstones {
            let may_go = is_forgettable(key) && self.is_old(*tombstone);
            let cell = self.cells().load(shelf, key, Fetch::Head)?;
            let raised = forgotten::<Row, NodeRules>(&cell.value, floor, *tombstone);
            if let Some(raised) = raised.filter(|_| may_go) {
                floor = raised;
                gone.push((key, *tombstone));
            }
        }
        if gone.is_empty() {
            return Ok((0, Position::default()));
        }
        let keys: Vec<&RowKey> = gone.iter().map(|(key, _)| *key).collect();
        let position = self.cells().forget(shelf, &keys, floor)?;
        for (key, tombstone) in &gone {
            self.record_forgotten(shelf, key, *tombstone, floor, position);
        }
        Ok((u32::try_from(gone.len()).unwrap_or(u32::MAX), position))
    }

    fn may_forget(&self, at: Door) -> bool {
        // Its idea of what is past would be wrong.
        if self.standing().and_then(Standing::clock_differs_us).is_some() {
            return false;
        }
        let known = self.layouts().now();
        let (me, knowledge) = (known.peer.me, &known.peer.knowledge);
        // A sync that is due pulls again and again until it comes to its end.
        let inward = if known.synced(at.partition, me) < known.newest() {
            Inward::Pulling
        } else {
            self.inflows.of(at.partition)
        };
        may_forget::<NodeRules>(knowledge, me, at.partition, at.view, inward)
    }

    /// Whoever gave the order may have a clock that is ahead, and a floor that is near to now or still to come would refuse
    /// what clients write.
    fn is_old(&self, tombstone: Stamp) -> bool {
        let age_us = self.limits.tombstone_age_s.saturating_mul(1_000_000);
        tombstone.time.saturating_add(age_us / 2) <= self.env.clock.wall_us()
    }

    fn record_forgotten(&self, shelf: Shelf, key: &RowKey, tombstone: Stamp, floor: Stamp, position: Position) {
        if let Some(recorder) = self.recorder().filter(|recorder| recorder.wants(key)) {
            recorder.record(&Record::Forgotten(ForgottenRow {
                partition: shelf.partition,
                entered: shelf.entered,
                key: key.clone(),
                tombstone,
                floor,
                position: position.0,
            }));
        }
    }
}
