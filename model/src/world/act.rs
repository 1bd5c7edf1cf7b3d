//! What then does happen: messages, answers, stamps.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use trellis_spec::layout::{GatedRow, Refusal, View};
use trellis_spec::quorum::NodeId;
use trellis_spec::register::{Audience, Reply, Request};
use trellis_spec::stamp::Stamp;

use super::layouts::waits;
use super::{Collection, Column, Fusion, Restamp, Settlers, Slot, State, World};
use crate::coordinator::{Answer, Call, Coordinator, Move, Shared, Why};
use crate::value::Key;

/// One step of a world. Columns are those of the state it is taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// A replica handles the request of an operation, and its coordinator hears the answer.
    Deliver { op: u8, column: u8 },
    /// A replica handles the request of an operation, and the answer is lost, or not yet there.
    Serve { op: u8, column: u8 },
    /// A coordinator hears an answer that was under way.
    Hear { op: u8, column: u8 },
    /// A replica handles a request that nobody waits for any more.
    Late { column: u8, index: u8 },
    /// Replicas had ample time to answer.
    Patience { op: u8 },
    /// A coordinator gets the stamp that it waits for: above everything, or just above what it met.
    Restamp { op: u8, far: bool },
    /// The deadline passes.
    GiveUp { op: u8 },
    /// A replica makes its changes durable.
    Flush { column: u8 },
    /// A replica crashes, loses what was not durable, and is back.
    Crash { column: u8 },
    /// A replica sends another what it holds of a row.
    Repair { from: u8, to: u8, row: u8 },
    /// A node hears of the next layout.
    Learn { column: u8 },
    /// A node learns that a majority is synced: this layout is the oldest active one.
    Retire { column: u8, to: u8 },
    /// A node that left deletes its rows.
    Drop { column: u8 },
    /// An operation is about to begin at a coordinator that knows what this node knows.
    Inform { op: u8, column: u8 },
    /// The next layout is elected.
    Decide,
    /// A source reads its rows for a pull to come.
    Snapshot { column: u8 },
    /// A disk loses what it held.
    LoseDisk { column: u8 },
    /// A sync goes on after its node's floor was raised.
    GoOn { op: u8 },
    /// A replica reports what it holds of a row, under its view.
    Report { column: u8, row: u8 },
    /// A replica forgets a tombstone.
    Forget { column: u8, row: u8 },
    /// A replica forgets the tombstone of some other row, which is as new as any stamp is.
    ForgetOther { column: u8 },
}

/// A stamp that lies above everything in the world is so far above.
const FAR: u64 = 50;

impl World {
    pub(super) fn apply(&self, state: &mut State, action: Action) {
        self.protocol.take_effect();
        match action {
            Action::Deliver { op, column } => {
                let answer = self.handle(state, op, column);
                self.hear(state, op.into(), column.into(), answer);
            }
            Action::Serve { op, column } => {
                let answer = self.handle(state, op, column);
                let slot = match self.fusion {
                    Fusion::Fused => Slot::Served,
                    Fusion::Apart => Slot::Replying(answer),
                };
                state.column(column.into()).slots[usize::from(op)] = slot;
            }
            Action::Hear { op, column } => {
                let slot = &mut state.column(column.into()).slots[usize::from(op)];
                if let Slot::Replying(answer) = std::mem::replace(slot, Slot::Open) {
                    self.hear(state, op.into(), column.into(), answer);
                }
            }
            Action::Late { column, index } => {
                let at = state.column(column.into());
                let (view, key, request) = at.late.remove(index.into());
                self.serve_late(column.into(), at, view, key, request);
            }
            Action::Patience { op } => {
                let mut coordinator = self.caught_up(state, op.into());
                let step = coordinator.on_patience();
                self.go_on(state, op.into(), coordinator, step);
            }
            Action::Restamp { op, far } => self.restamp(state, op.into(), far),
            Action::GiveUp { op } => self.give_up(state, op.into()),
            Action::Flush { column } => flush(state.column(column.into())),
            Action::Crash { column } => {
                let at = state.column(column.into());
                at.rows.clone_from(&at.durable);
                at.floor = at.durable_floor;
                at.seat = at.durable_seat.unwrap_or(at.seat);
                state.crashes += 1;
                self.forget_sync(state, column.into());
            }
            Action::Repair { from, to, row } => self.repair(state, from.into(), to.into(), Key(row)),
            Action::GoOn { op } => {
                let Some(running) = state.running_mut(op.into()) else {
                    return;
                };
                running.raised = false;
                let mut coordinator = running.coordinator.fork();
                let step = coordinator.on_raised();
                self.go_on(state, op.into(), coordinator, step);
            }
            Action::Report { column, row } => self.report(state, column.into(), Key(row)),
            Action::Forget { column, row } => self.forget(state, column.into(), Key(row)),
            Action::ForgetOther { column } => {
                let floor = newest_stamp(state);
                state.column(column.into()).floor = floor;
            }
            Action::Learn { .. }
            | Action::Retire { .. }
            | Action::Drop { .. }
            | Action::Inform { .. }
            | Action::Decide
            | Action::Snapshot { .. }
            | Action::LoseDisk { .. } => self.apply_to_layouts(state, action),
        }
    }

    pub(super) fn hear(&self, state: &mut State, op: usize, column: usize, answer: Answer) {
        let at = state.column(column);
        let is_read = matches!(answer, Answer::Row(Reply::Row { .. }) | Answer::Scanned(_));
        if waits(self.disks, is_read, matches!(answer, Answer::Pulled(_))) {
            flush(at);
        }
        if let Answer::Refused(refusal) = answer {
            let behind = |view: View| state.running(op).is_some_and(|running| running.view.is_behind(view));
            match refusal {
                Refusal::Stale(view) if behind(view) => self.outdated(state, op, view),
                // It is asked again.
                Refusal::Entering => {}
                Refusal::Stale(_) | Refusal::NeedLayout(_) | Refusal::NotOwner(_) => {
                    state.column(column).slots[op] = Slot::Served;
                }
            }
            return;
        }
        let mut coordinator = self.caught_up(state, op);
        let round = state.running(op).map_or(0, |running| running.round);
        let step = coordinator.on_answer(round, World::node(column), answer.clone());
        if step == Move::Wait {
            state.column(column).slots[op] = Slot::Answered(answer);
        } else {
            self.go_on(state, op, coordinator, step);
        }
    }

    /// The attempt with all the answers of the present round that its coordinator heard.
    pub(super) fn caught_up(&self, state: &State, op: usize) -> Box<dyn Coordinator> {
        let running = state.running(op).expect("only operations at work hear answers");
        let mut coordinator = running.coordinator.fork();
        for (index, column) in state.columns.iter().enumerate() {
            if let Slot::Answered(answer) = &column.slots[op] {
                let step = coordinator.on_answer(running.round, NodeId(index as u64 + 1), answer.clone());
                debug_assert_eq!(step, Move::Wait, "an answer that moved the attempt ended its round");
            }
        }
        coordinator
    }

    /// Does what a coordinator wants until it waits.
    pub(super) fn go_on(&self, state: &mut State, op: usize, mut coordinator: Box<dyn Coordinator>, mut step: Move) {
        loop {
            step = match step {
                Move::Wait => return,
                Move::Ask { round, .. } if round > self.rounds => {
                    let (outcome, evidence) = coordinator.on_deadline();
                    self.finish(state, op, outcome, evidence);
                    return;
                }
                Move::Ask { round, audience, call } => {
                    self.ask(state, op, coordinator, (round, audience, call));
                    return;
                }
                Move::Stamp { above, why } => match self.next_stamp(state, op, above, why) {
                    Some(stamp) => coordinator.stamped(stamp),
                    None => {
                        if let Some(running) = state.running_mut(op) {
                            running.coordinator = Shared::from(coordinator);
                        }
                        return;
                    }
                },
                Move::Raise(floor) => {
                    self.raise_floor(state, op, floor);
                    if self.collection != Collection::Off {
                        // The node is open from now on, and what it pulled is not copied yet.
                        self.leave_behind(state, op);
                        if let Some(running) = state.running_mut(op) {
                            (running.coordinator, running.raised) = (Shared::from(coordinator), true);
                        }
                        return;
                    }
                    coordinator.on_raised()
                }
                Move::Copy(rows) => {
                    let blocked = self.copy(state, op, &rows);
                    coordinator.on_copied(blocked)
                }
                Move::Gated(_) => {
                    let fate = self.fate_of_bucket(state);
                    let Some(running) = state.running_mut(op) else { return };
                    if fate == GatedRow::BucketThere && running.retries >= self.retries {
                        self.give_up(state, op);
                        return;
                    }
                    running.retries += u8::from(fate == GatedRow::BucketThere);
                    coordinator.on_gated(fate)
                }
                Move::Done(outcome) => {
                    self.finish(state, op, outcome, coordinator.evidence());
                    return;
                }
            };
        }
    }

    pub(super) fn ask(
        &self,
        state: &mut State,
        op: usize,
        coordinator: Box<dyn Coordinator>,
        asked: (u32, Audience, Call),
    ) {
        let running = state.running(op);
        let has_effect = running.is_none_or(|running| !self.is_futile(state, running));
        if self.has_transitions() && has_effect {
            let last = running.and_then(|running| running.call.clone());
            state.ghost.asked(last.as_ref(), &asked.2);
        }
        self.leave_behind(state, op);
        if let Some(running) = state.running_mut(op) {
            running.pending = None;
            running.coordinator = Shared::from(coordinator);
            running.call = Some(asked.2);
            (running.round, running.audience) = (asked.0, asked.1);
        }
    }

    /// The stamp that an operation gets now; nothing: it gives up, or gets one later.
    pub(super) fn next_stamp(&self, state: &mut State, op: usize, above: Stamp, why: Why) -> Option<Stamp> {
        let running = state.running_mut(op)?;
        if why == Why::Competing && running.retries >= self.retries {
            self.give_up(state, op);
            return None;
        }
        running.retries += u8::from(why == Why::Competing);
        let must_wait = self.must_wait(state, op);
        let running = state.running_mut(op)?;
        if self.restamp == Restamp::CloseOrFar || must_wait {
            running.pending = Some(above);
            self.leave_behind(state, op);
            return None;
        }
        running.stamp = close(running.stamp, above);
        Some(running.stamp)
    }

    pub(super) fn restamp(&self, state: &mut State, op: usize, far: bool) {
        let highest = state
            .ops
            .iter()
            .map(|op| op.clock)
            .chain(stamps(state))
            .max()
            .unwrap_or(0);
        let running = state.running_mut(op).expect("only operations at work wait for stamps");
        let above = running.pending.take().unwrap_or(Stamp::ZERO);
        running.stamp = close(running.stamp, above);
        if far {
            running.stamp.time = highest + FAR;
        }
        let mut coordinator = running.coordinator.fork();
        let step = coordinator.stamped(running.stamp);
        self.go_on(state, op, coordinator, step);
    }

    pub(super) fn give_up(&self, state: &mut State, op: usize) {
        let (outcome, evidence) = self.caught_up(state, op).on_deadline();
        self.finish(state, op, outcome, evidence);
    }

    /// Requests that were not handled anywhere are late from now on.
    pub(super) fn leave_behind(&self, state: &mut State, op: usize) {
        let Some(running) = state.running_mut(op) else { return };
        let before = running.clone();
        let tame = self.settlers == Settlers::OneAtATime && op >= self.script.deeds.len();
        let call = running.call.take().filter(|_| before.after.is_some() && !tame);
        let asked: Vec<usize> = (0..state.columns.len())
            .filter(|index| self.asks(&before, *index))
            .collect();
        for (index, shared) in state.columns.iter_mut().enumerate() {
            let will_be_late = call.is_some() && asked.contains(&index) && !shared.dead;
            if shared.slots[op] == Slot::Open && !will_be_late {
                continue;
            }
            let column = Arc::make_mut(shared);
            let slot = std::mem::replace(&mut column.slots[op], Slot::Open);
            if let (Slot::Open, true, Some(Call::Row(key, request))) = (slot, will_be_late, &call)
                && !matches!(request, Request::Read(_))
            {
                column.late.push((before.view, *key, request.clone()));
            }
        }
    }
}

pub(super) fn flush(column: &mut Column) {
    if !column.durable.is_empty() {
        column.durable.clone_from(&column.rows);
        column.durable_floor = column.floor;
        column.durable_seat = Some(column.seat);
    }
}

fn close(last: Stamp, above: Stamp) -> Stamp {
    Stamp {
        time: last.time.max(above.time) + 1,
        ..last
    }
}

/// The newest stamp that somebody works under.
pub(super) fn newest_stamp(state: &State) -> Stamp {
    let stamps = (0..state.ops.len()).filter_map(|op| Some(state.running(op)?.stamp));
    stamps.max().unwrap_or(Stamp::ZERO)
}

/// The times of all stamps issued.
fn stamps(state: &State) -> impl Iterator<Item = u64> + '_ {
    (0..state.ops.len()).filter_map(|op| Some(state.running(op)?.stamp.time))
}
