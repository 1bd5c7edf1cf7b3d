//! Syncs of new owners: coordinators that run where they sync, begin again when their node's view rises, and are lost
//! with its process.

use trellis_spec::layout::{GatedRow, Standing, View};
use trellis_spec::register::{Accepted, Audience, Content, Copied};
use trellis_spec::stamp::Stamp;

use super::act::flush;
use super::state::{Disk, Running, Seat};
use super::{Column, DiskLoss, Progress, Settlers, State, World};
use crate::coordinator::{Call, Raised, Shared};
use crate::operation::bucket_row;
use crate::value::{Bucket, Cargo, Key};

impl World {
    /// The nodes that ever sync, in the order of their operations behind those of the script.
    pub(super) fn syncers(&self) -> Vec<u8> {
        let later = |column: &u8| self.layouts.iter().skip(1).any(|nodes| nodes.contains(column));
        let may = |column: &u8| later(column) || self.disk_loss == DiskLoss::Noticed;
        (0..self.replicas).filter(may).collect()
    }

    /// The column where the sync `op` runs.
    pub(super) fn home(&self, op: usize) -> Option<usize> {
        let syncer = op.checked_sub(self.script.deeds.len())?;
        self.syncers().get(syncer).map(|column| usize::from(*column))
    }

    /// A coordinator is told that it is behind.
    pub(super) fn outdated(&self, state: &mut State, op: usize, view: View) {
        if let Some(home) = self.home(op) {
            // Its node is behind: the sync begins again when it is tidied up.
            self.raise(home, state.column(home), view);
            return;
        }
        let mut coordinator = self.caught_up(state, op);
        let Some(running) = state.running_mut(op) else { return };
        running.view = running.view.join(view);
        let raised = self.raised(running.view, 0, Disk::Whole);
        let step = coordinator.on_view(&raised);
        self.go_on(state, op, coordinator, step);
    }

    fn raised(&self, view: View, home: usize, disk: Disk) -> Raised {
        let knowledge = self.knowledge(view);
        Raised {
            sets: self.protocol.sets(knowledge),
            sources: self.protocol.sources(knowledge, World::node(home), standing(disk)),
        }
    }

    /// Syncs begin where they are due, begin again where the view rose, and end where a node left.
    pub(super) fn tend_syncs(&self, state: &mut State) {
        for op in self.script.deeds.len()..state.ops.len() {
            let Some(home) = self.home(op) else { continue };
            // A sync that is over at once may be due again at once, but views do not rise meanwhile.
            self.tend_sync(state, op, home);
        }
    }

    fn tend_sync(&self, state: &mut State, op: usize, home: usize) {
        let at = &state.columns[home];
        let seat = at.seat;
        let behind = seat.synced < seat.view.hi || seat.standing == Disk::Damaged;
        let due = !at.dead && behind && self.holds(seat.view.hi, home);
        let view = state.running(op).map(|running| running.view);
        match view {
            None if due && state.ops[op].spent <= self.retries => self.start_sync(state, op, home),
            Some(_) if !due => self.stop_sync(state, op, 0),
            Some(view) if view != seat.view => self.restart_sync(state, op, home),
            None | Some(_) => {}
        }
    }

    fn start_sync(&self, state: &mut State, op: usize, home: usize) {
        let seat = state.columns[home].seat;
        let raised = self.raised(seat.view, home, seat.standing);
        let mut coordinator = self.protocol.syncer(raised.sources);
        let stamp = Stamp::new(state.ops[op].clock, op as u64 + 1);
        let step = coordinator.start(stamp);
        state.ops[op].progress = Progress::Running(Running {
            coordinator: Shared::from(coordinator.fork()),
            view: seat.view,
            round: 0,
            audience: Audience::All,
            call: None,
            stamp,
            retries: state.ops[op].spent,
            after: Some(0),
            floor: Stamp::ZERO,
            pending: None,
            raised: false,
        });
        self.go_on(state, op, coordinator, step);
    }

    fn restart_sync(&self, state: &mut State, op: usize, home: usize) {
        let mut coordinator = self.caught_up(state, op);
        let Seat { view, standing, .. } = state.columns[home].seat;
        let Some(running) = state.running_mut(op) else { return };
        running.view = view;
        (running.pending, running.raised) = (None, false);
        let step = coordinator.on_view(&self.raised(view, home, standing));
        self.go_on(state, op, coordinator, step);
    }

    /// A sync is over, or given up, or lost with its process.
    pub(super) fn stop_sync(&self, state: &mut State, op: usize, spent: u8) {
        self.leave_behind(state, op);
        let Some(running) = state.running(op) else { return };
        let clock = running.stamp.time;
        let op = &mut state.ops[op];
        (op.clock, op.spent) = (clock, spent);
        op.progress = Progress::Waiting;
    }

    /// Does a sync leave the settling to another one that is at it?
    pub(super) fn must_wait(&self, state: &State, op: usize) -> bool {
        let syncs = self.script.deeds.len()..state.ops.len();
        let settling = |other: usize| {
            let call = state.running(other).and_then(|running| running.call.as_ref());
            other != op && matches!(call, Some(Call::Row(..)))
        };
        self.settlers == Settlers::OneAtATime && syncs.contains(&op) && syncs.into_iter().any(settling)
    }

    pub(super) fn finish_sync(&self, state: &mut State, op: usize) {
        let Some(home) = self.home(op) else { return };
        let Some(hi) = state.running(op).map(|running| running.view.hi) else {
            return;
        };
        let at = state.column(home);
        at.seat.synced = at.seat.synced.max(hi);
        at.seat.standing = Disk::Whole;
        flush(at);
        self.stop_sync(state, op, 0);
        if hi.0 == self.layouts.len() as u64 {
            // It is never run again.
            state.ops[op].clock = 0;
        }
    }

    /// Copies settled rows where a sync runs, and says which of them a promise kept out.
    pub(super) fn copy(&self, state: &mut State, op: usize, rows: &[(Key, Accepted<Cargo>)]) -> Vec<(Key, Stamp)> {
        let Some(home) = self.home(op) else { return Vec::new() };
        let at = state.column(home);
        let mut blocked = Vec::new();
        for (key, held) in rows {
            let cell = &mut at.rows[usize::from(key.0)];
            match self.protocol.copy(cell, held) {
                Copied::Held => {}
                Copied::Taken(changed) => *cell = changed,
                Copied::Promised(above) => blocked.push((*key, above)),
            }
        }
        blocked
    }

    /// A bucket is gone once its row says so at a majority: that never changes.
    pub(super) fn fate_of_bucket(&self, state: &State) -> GatedRow {
        let row = usize::from(bucket_row(self.script.keys()).0);
        let gone = |column: &Column| {
            let held = column.rows.get(row).and_then(|cell| cell.accepted.as_ref());
            held.is_some_and(|held| held.content == Content::Value(Cargo::Bucket(Bucket::Deleted)))
        };
        if self.fates_are_known && self.on_majority(state, gone) {
            GatedRow::BucketGone
        } else {
            GatedRow::BucketThere
        }
    }

    /// A process that ends takes its sync with it.
    pub(super) fn forget_sync(&self, state: &mut State, column: usize) {
        for op in self.script.deeds.len()..state.ops.len() {
            if self.home(op) == Some(column) {
                let spent = state.running(op).map_or(0, |running| running.retries);
                self.stop_sync(state, op, spent);
            }
        }
    }
}

fn standing(disk: Disk) -> Standing {
    match disk {
        Disk::Whole => Standing::Whole,
        Disk::Damaged => Standing::Damaged,
    }
}
