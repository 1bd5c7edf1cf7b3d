//! Tombstones are forgotten.
//!
//! A report under a view stays true of that view, so it is kept as a fact that anybody may act on who is in this view,
//! at any later moment: it does not matter who asked, nor when the answers came. Within one layout what is true of a row
//! at the moment of forgetting could have been reported before, and nothing that was reported can have become untrue:
//! reports are left out there, and who holds nothing under a high enough floor has forgotten what it reported.

use std::collections::BTreeMap;

use trellis_spec::flaw::Flaw;
use trellis_spec::layout::{LayoutVersion, View};
use trellis_spec::register::Cell;
use trellis_spec::stamp::Stamp;
use trellis_spec::tombstone::{self, Inward, Reports, deleted};

use super::act::newest_stamp;
use super::layouts::answers;
use super::{Action, Collection, Column, State, World};
use crate::value::Key;

impl World {
    pub(super) fn possible_collection(&self, state: &State, actions: &mut Vec<Action>) {
        if self.collection == Collection::Off {
            return;
        }
        for row in 0..self.script.keys() {
            for (index, at) in state.columns.iter().enumerate() {
                let column = index as u8;
                if !answers(at) || self.is_twin(state, index) {
                    continue;
                }
                if self.has_transitions() && self.is_worth_reporting(state, column, Key(row)) {
                    actions.push(Action::Report { column, row });
                }
                if self.floor_after(state, index, Key(row)).is_some() {
                    actions.push(Action::Forget { column, row });
                }
            }
        }
        if self.collection == Collection::OthersToo {
            let raise = |column| Action::ForgetOther { column };
            let columns = (0_u8..).zip(&state.columns).map(|(column, _)| column);
            actions.extend(columns.filter(|column| self.floor_may_rise(state, *column)).map(raise));
        }
    }

    /// Might the tombstone of some other row be forgotten here?
    fn floor_may_rise(&self, state: &State, column: u8) -> bool {
        let (index, at) = (usize::from(column), &state.columns[usize::from(column)]);
        let is_replica = self.holds(at.seat.view.hi, index);
        let is_quiet = self.inward(state, index) == Inward::Quiet;
        answers(at) && self.is_open(at) && is_replica && is_quiet && at.floor < newest_stamp(state)
    }

    /// Does a node serve the partition? Where nothing is forgotten all floors are zero, and a node that waits for them
    /// only does less.
    pub(super) fn is_open(&self, at: &Column) -> bool {
        let seat = at.seat;
        self.collection == Collection::Off || self.protocol.is_open(seat.entered, seat.synced, seat.raised)
    }

    /// Could somebody forget more if this replica said what it holds?
    fn is_worth_reporting(&self, state: &State, column: u8, key: Key) -> bool {
        let at = &state.columns[usize::from(column)];
        let view = at.seat.view;
        let any = |versions: std::ops::RangeInclusive<u64>| {
            versions
                .into_iter()
                .any(|version| self.holds(LayoutVersion(version), column.into()))
        };
        let known = state.reports.get(&(view, key, column)).copied();
        let news = |tombstone: Stamp| tombstone <= self.held(at, key) && known.is_none_or(|known| known < tombstone);
        let mut tombstones = state
            .columns
            .iter()
            .filter_map(|column| deleted(&column.rows[usize::from(key.0)]));
        any(view.lo.0..=view.hi.0) && self.is_open(at) && tombstones.any(news)
    }

    pub(super) fn report(&self, state: &mut State, column: usize, key: Key) {
        let at = &state.columns[column];
        let said = (at.seat.view, key, column as u8);
        let held = self.held(at, key);
        state.reports.insert(said, held);
    }

    /// The floor of a replica after it forgot the row; nothing: it may not.
    fn floor_after(&self, state: &State, column: usize, key: Key) -> Option<Stamp> {
        let at = &state.columns[column];
        let cell = &at.rows[usize::from(key.0)];
        let tombstone = deleted(cell)?;
        let view = at.seat.view;
        let knowledge = self.knowledge(view);
        let mut reports =
            Reports::new(knowledge.replica_sets::<trellis_spec::flaw::Sound>(crate::rules::PARTITION, view));
        let inward = self.inward(state, column);
        for (of, from, held) in self.reported(state, key) {
            if self.protocol.may_forget(knowledge, World::node(column), of, inward) {
                reports.insert(World::node(from), held);
            }
        }
        let allowed = self.protocol.allow(&reports, tombstone);
        self.protocol.forgotten(cell, at.floor, tombstone).filter(|_| allowed)
    }

    /// Does a sync run at this node?
    fn inward(&self, state: &State, column: usize) -> Inward {
        let mut syncs = self.script.deeds.len()..state.ops.len();
        if syncs.any(|op| self.home(op) == Some(column) && state.running(op).is_some()) {
            Inward::Pulling
        } else {
            Inward::Quiet
        }
    }

    /// What was reported of a row, under which view and by whom.
    fn reported(&self, state: &State, key: Key) -> Vec<(View, usize, Stamp)> {
        if self.has_transitions() {
            let of_row = state.reports.iter().filter(|((_, of, _), _)| *of == key);
            return of_row
                .map(|((view, _, from), held)| (*view, usize::from(*from), *held))
                .collect();
        }
        let columns = state.columns.iter().enumerate().filter(|(_, at)| answers(at));
        columns
            .map(|(index, at)| (at.seat.view, index, at.rows[usize::from(key.0)].reports(at.floor)))
            .collect()
    }

    pub(super) fn forget(&self, state: &mut State, column: usize, key: Key) {
        let Some(floor) = self.floor_after(state, column, key) else {
            return;
        };
        let transitions = self.has_transitions();
        let at = state.column(column);
        let cell = std::mem::take(&mut at.rows[usize::from(key.0)]);
        at.floor = floor;
        if transitions {
            state.ghost.forgotten.insert((key, cell.ballot()));
        }
    }

    /// A sync raises the floor where it runs, and opens the node.
    pub(super) fn raise_floor(&self, state: &mut State, op: usize, floor: Stamp) {
        let Some(home) = self.home(op) else { return };
        let at = state.column(home);
        at.floor = at.floor.max(floor);
        if self.collection != Collection::Off {
            at.seat.raised = at.seat.entered;
        }
    }

    /// The floor and the row as they may become by forgetting: messages that matter then matter now.
    pub(super) fn once_forgotten(&self, at: &Column, key: Key) -> Option<(Cell<crate::value::Cargo>, Stamp)> {
        let cell = &at.rows[usize::from(key.0)];
        let tombstone = deleted(cell).filter(|_| self.collection != Collection::Off)?;
        let floor = self.protocol.forgotten(cell, at.floor, tombstone)?;
        Some((Cell::default(), floor))
    }

    /// What a replica reports of a row.
    fn held(&self, at: &Column, key: Key) -> Stamp {
        let cell = &at.rows[usize::from(key.0)];
        if self.protocol.lacks(Flaw::FloorTakenForReport) {
            cell.reports(at.floor)
        } else {
            tombstone::report(cell)
        }
    }

    /// Drops reports that nobody can act on any more.
    pub(super) fn tidy_reports(&self, state: &mut State) {
        if state.reports.is_empty() || self.protocol.lacks(Flaw::ReportsKeptAcrossViews) {
            return;
        }
        let views: Vec<View> = state
            .columns
            .iter()
            .filter(|at| !at.dead)
            .map(|at| at.seat.view)
            .collect();
        let may_come = |of: View| views.iter().any(|view| !of.is_behind(*view));
        let kept: BTreeMap<_, _> = state
            .reports
            .iter()
            .filter(|((of, ..), _)| may_come(*of))
            .map(|(said, held)| (*said, *held))
            .collect();
        state.reports = kept;
    }
}
