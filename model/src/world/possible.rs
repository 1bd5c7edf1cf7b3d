//! What may happen in a world.

use std::sync::Arc;

use trellis_spec::layout::View;
use trellis_spec::register::Audience;

use super::layouts::answers;
use super::state::Running;
use super::{
    Action, Column, Deadlines, Entropy, Faults, Fusion, Learning, Resend, Restamp, Slot, State, Verdict, World,
};
use crate::coordinator::{Call, Move};

impl World {
    pub(super) fn possible(&self, state: &State, actions: &mut Vec<Action>) {
        self.protocol.take_effect();
        if state.verdict != Verdict::Fine {
            return;
        }
        for op in 0..state.ops.len() {
            self.possible_for(state, op, actions);
        }
        for column in 0..state.columns.len() {
            if self.is_twin(state, column) {
                continue;
            }
            let late = if self.faults == Faults::All {
                state.columns[column].late.len()
            } else {
                0
            };
            actions.extend((0..late).map(|index| Action::Late {
                column: column as u8,
                index: index as u8,
            }));
            self.possible_at(state, column as u8, actions);
        }
        self.possible_with_layouts(state, actions);
        self.possible_collection(state, actions);
    }

    /// Is a column the same as the one before it, so that whatever happens to it is covered there?
    pub(super) fn is_twin(&self, state: &State, column: usize) -> bool {
        self.sorted && column > 0 && state.columns[column] == state.columns[column - 1]
    }

    pub(super) fn possible_for(&self, state: &State, op: usize, actions: &mut Vec<Action>) {
        let Some(running) = state.running(op) else { return };
        let number = op as u8;
        if running.raised {
            actions.push(Action::GoOn { op: number });
            return;
        }
        if running.pending.is_some() {
            if !state.ops[op].is_sync {
                actions.extend([false, true].map(|far| Action::Restamp { op: number, far }));
            } else if !self.must_wait(state, op) {
                let far = self.restamp == Restamp::CloseOrFar;
                actions.push(Action::Restamp { op: number, far });
            }
            return;
        }
        for (index, column) in state.columns.iter().enumerate() {
            if !answers(column) || !self.asks(running, index) || self.is_twin(state, index) {
                continue;
            }
            let pulls = matches!(running.call, Some(Call::Pull(_)));
            if !pulls && !self.is_open(column) && !column.seat.view.is_behind(running.view) {
                continue;
            }
            self.possible_between(running, (number, index as u8), column, actions);
        }
        if self.faults == Faults::Delays {
            return;
        }
        if running.after.is_some() && self.is_impatient(state, op, running) {
            actions.push(Action::Patience { op: number });
        }
        let Some(client) = self.script.deeds.get(op).map(|deed| deed.client) else {
            return;
        };
        let has_next = self.script.deeds.get(op + 1).is_some_and(|next| next.client == client);
        let may_stop = running.after.is_some() && self.deadlines == Deadlines::BeforeNext && has_next;
        if may_stop || self.is_stranded(state, running) {
            actions.push(Action::GiveUp { op: number });
        }
    }

    pub(super) fn possible_between(
        &self,
        running: &Running,
        (op, column): (u8, u8),
        at: &Column,
        actions: &mut Vec<Action>,
    ) {
        let serve = Action::Serve { op, column };
        match (&at.slots[usize::from(op)], self.fusion) {
            (Slot::Open, Fusion::Apart) => actions.push(serve),
            (Slot::Open, Fusion::Fused) => {
                actions.push(Action::Deliver { op, column });
                let changes =
                    |call: &Call| self.faults == Faults::All && self.would_change(column, at, running.view, call);
                if running.call.as_ref().is_some_and(changes) {
                    actions.push(serve);
                }
            }
            (Slot::Served, _) if self.resend == Resend::Allowed => actions.push(Action::Deliver { op, column }),
            (Slot::Replying(_), _) => actions.push(Action::Hear { op, column }),
            (Slot::Served | Slot::Answered(_), _) => {}
        }
    }

    pub(super) fn is_impatient(&self, state: &State, op: usize, running: &Running) -> bool {
        let answered = |column: &Arc<Column>| matches!(column.slots[op], Slot::Answered(_));
        let asked_one = matches!(running.audience, Audience::One(_));
        (asked_one || state.columns.iter().any(answered)) && self.caught_up(state, op).on_patience() != Move::Wait
    }

    pub(super) fn possible_at(&self, state: &State, column: u8, actions: &mut Vec<Action>) {
        let at = &state.columns[usize::from(column)];
        let crashes = self.disks.crashes().unwrap_or(0);
        let not_durable = at.durable != at.rows || at.durable_seat.is_some_and(|seat| seat != at.seat);
        if crashes > 0 && not_durable {
            actions.push(Action::Flush { column });
            if state.crashes < crashes {
                actions.push(Action::Crash { column });
            }
        }
        if self.entropy == Entropy::Off {
            return;
        }
        for (from, source) in state.columns.iter().enumerate() {
            for (row, cell) in source.rows.iter().enumerate() {
                if cell.ballot() > at.rows[row].ballot() {
                    let (from, row) = (from as u8, row as u8);
                    actions.push(Action::Repair { from, to: column, row });
                }
            }
        }
    }

    /// Does a replica's state differ after it handled the call?
    fn would_change(&self, column: u8, at: &Column, view: View, call: &Call) -> bool {
        if matches!(call, Call::Pull(_)) && self.learning == Learning::Anyone {
            // The source would only learn, which it may do by itself.
            return false;
        }
        if self.has_transitions() && at.seat.view.is_behind(view) {
            let mut after = at.clone();
            self.serve_call(column.into(), &mut after, view, call.clone(), true);
            return after != *at;
        }
        match call {
            Call::Row(key, request) => {
                let admitted =
                    !self.has_transitions() || self.enter(column.into(), &mut at.clone(), view, call).is_ok();
                admitted && self.served(&self.stored(at, *key), request).changed.is_some()
            }
            Call::Scan(_) | Call::Pull(_) => false,
        }
    }
}
