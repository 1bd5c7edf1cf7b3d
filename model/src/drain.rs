//! Progress: does everything finish once operations stop competing?
//!
//! "Eventually" over all schedules is false of any such protocol, for coordinators can overtake each other for ever; and
//! checkers are unreliable about it on cycles. So progress is two claims about single states. *Nothing is stuck*: a
//! state in which nothing can happen any more is one in which every client was answered. *It drains*: from every state,
//! if the operations go on one after another, each with stamps above all others and all live replicas answering, each is
//! answered within a few rounds, and none of those that may take more than one stamp with an unknown outcome.

use std::sync::Arc;

use stateright::Model;
use trellis_spec::layout::LayoutVersion;

use crate::coordinator::Outcome;
use crate::world::{Action, Column, Learning, Progress, Resend, Restamp, Settlers, State, World};

/// More steps than any operation needs that is left alone.
const STEPS_ALONE: usize = 100;

/// More rounds than layouts need to follow each other.
const PASSES: usize = 6;

/// Is every client answered where nothing can happen any more?
pub fn nothing_is_stuck(world: &World, state: &State) -> bool {
    let mut actions = Vec::new();
    world.actions(state, &mut actions);
    !actions.is_empty() || state.is_over()
}

/// Does every operation finish if each is left alone in turn?
pub fn it_drains(world: &World, state: &State) -> bool {
    let mut patient = world.clone();
    patient.retries = u8::MAX;
    patient.restamp = Restamp::CloseOrFar;
    let mut state = state.clone();
    (0..state.ops.len()).all(|op| finishes(&patient, &mut state, op as u8))
}

/// Does the newest layout become the only active one, and does every operation finish, if the live nodes are left alone?
pub fn it_moves_on(world: &World, state: &State) -> bool {
    let mut patient = world.clone();
    patient.retries = u8::MAX;
    patient.restamp = Restamp::CloseOrFar;
    patient.resend = Resend::Allowed;
    patient.learning = Learning::Anyone;
    patient.settlers = Settlers::Any;
    let mut state = state.clone();
    // Syncs that took too many stamps may go on.
    patient.tidy(&mut state);
    (0..PASSES).any(|_| {
        pass(&patient, &mut state);
        has_moved(&patient, &state)
    })
}

/// Everything that can happen once without faults: layouts are heard of, then one operation after the other, newest
/// layouts' syncs included, then old layouts retire.
fn pass(world: &World, state: &mut State) {
    let carry = |action: &Action| matches!(action, Action::Learn { .. } | Action::Decide);
    settle_down(world, state, carry);
    for op in (0..state.ops.len()).rev() {
        finishes(world, state, op as u8);
    }
    let carry = |action: &Action| matches!(action, Action::Retire { .. } | Action::Drop { .. });
    settle_down(world, state, carry);
}

fn settle_down(world: &World, state: &mut State, wanted: impl Fn(&Action) -> bool) {
    loop {
        let mut actions = Vec::new();
        world.actions(state, &mut actions);
        let Some(action) = actions.into_iter().find(|action| wanted(action)) else {
            return;
        };
        match world.next_state(state, action) {
            Some(next) => *state = next,
            None => return,
        }
    }
}

fn has_moved(world: &World, state: &State) -> bool {
    let last = LayoutVersion(world.layouts.len() as u64);
    let settled = |(index, column): (usize, &Arc<Column>)| {
        let alone = column.seat.view.lo == last && column.seat.synced == last;
        column.dead || !world.holds(last, index) || alone
    };
    state.is_over() && state.columns.iter().enumerate().all(settled)
}

fn finishes(world: &World, state: &mut State, op: u8) -> bool {
    let at_work = |state: &State| matches!(state.ops[usize::from(op)].progress, Progress::Running(_));
    if !at_work(state) {
        return matches!(state.ops[usize::from(op)].progress, Progress::Told { .. });
    }
    for _ in 0..STEPS_ALONE {
        let Some(action) = next(world, state, op) else {
            return false;
        };
        match world.next_state(state, action) {
            Some(next) => *state = next,
            None => return false,
        }
        if !at_work(state) {
            return told(state, op) != Some(&Outcome::Nothing);
        }
    }
    false
}

/// What happens next where only `op` is served: a stamp above all others, then answers, then no more patience.
fn next(world: &World, state: &State, op: u8) -> Option<Action> {
    let mut actions = Vec::new();
    world.actions(state, &mut actions);
    let stamp = Action::Restamp { op, far: true };
    let deliver = |action: &Action| matches!(action, Action::Deliver { op: other, .. } | Action::GoOn { op: other } if *other == op);
    let patience = Action::Patience { op };
    if actions.contains(&stamp) {
        return Some(stamp);
    }
    let deadline = Action::GiveUp { op };
    let found = actions.iter().copied().find(deliver);
    let found = found.or(actions.contains(&patience).then_some(patience));
    // Who has asked only nodes that are lost by now hears nothing any more.
    found.or((world.force.is_some() && actions.contains(&deadline)).then_some(deadline))
}

fn told(state: &State, op: u8) -> Option<&Outcome> {
    match &state.ops[usize::from(op)].progress {
        Progress::Told { outcome, .. } => Some(outcome),
        Progress::Waiting | Progress::Running(_) => None,
    }
}
