//! What may happen in a world, and what then does.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use trellis_spec::gate::{Gate, GateState};
use trellis_spec::listing::Scanned;
use trellis_spec::peer::Stored;
use trellis_spec::quorum::NodeId;
use trellis_spec::register::{Audience, Cell, Fetch, Reply, Request};
use trellis_spec::stamp::Stamp;

use super::state::Running;
use super::{
    Column, Deadlines, Disks, Entropy, Faults, Fusion, Progress, Resend, Restamp, Slot, Stamps, State, Verdict,
    Witness, World,
};
use crate::coordinator::{Answer, Call, Coordinator, Evidence, Move, Outcome, Why};
use crate::history::{self, Entry};
use crate::operation::{Order, gate_row};
use crate::value::{Body, Cargo, Key, OpIndex};

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
}

/// A stamp that lies above everything in the world is so far above.
const FAR: u64 = 50;

impl World {
    pub(super) fn possible(&self, state: &State, actions: &mut Vec<Action>) {
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
    }

    /// Is a column the same as the one before it, so that whatever happens to it is covered there?
    fn is_twin(&self, state: &State, column: usize) -> bool {
        self.sorted && column > 0 && state.columns[column] == state.columns[column - 1]
    }

    fn possible_for(&self, state: &State, op: usize, actions: &mut Vec<Action>) {
        let Some(running) = state.running(op) else { return };
        let number = op as u8;
        if running.pending.is_some() {
            actions.extend([false, true].map(|far| Action::Restamp { op: number, far }));
            return;
        }
        for (index, column) in state.columns.iter().enumerate() {
            if column.dead || !running.asks(index) || self.is_twin(state, index) {
                continue;
            }
            self.possible_between(running, number, index as u8, column, actions);
        }
        if self.faults == Faults::Delays {
            return;
        }
        if running.after.is_some() && self.is_impatient(state, op, running) {
            actions.push(Action::Patience { op: number });
        }
        let client = self.script.deeds[op].client;
        let has_next = self.script.deeds.get(op + 1).is_some_and(|next| next.client == client);
        if running.after.is_some() && self.deadlines == Deadlines::BeforeNext && has_next {
            actions.push(Action::GiveUp { op: number });
        }
    }

    fn possible_between(&self, running: &Running, op: u8, column: u8, at: &Column, actions: &mut Vec<Action>) {
        let serve = Action::Serve { op, column };
        match (&at.slots[usize::from(op)], self.fusion) {
            (Slot::Open, Fusion::Apart) => actions.push(serve),
            (Slot::Open, Fusion::Fused) => {
                actions.push(Action::Deliver { op, column });
                let changes = |call: &Call| self.faults == Faults::All && self.would_change(at, call);
                if running.call.as_ref().is_some_and(changes) {
                    actions.push(serve);
                }
            }
            (Slot::Served, _) if self.resend == Resend::Allowed => actions.push(Action::Deliver { op, column }),
            (Slot::Replying(_), _) => actions.push(Action::Hear { op, column }),
            (Slot::Served | Slot::Answered(_), _) => {}
        }
    }

    fn is_impatient(&self, state: &State, op: usize, running: &Running) -> bool {
        let answered = |column: &Arc<Column>| matches!(column.slots[op], Slot::Answered(_));
        let asked_one = matches!(running.audience, Audience::One(_));
        (asked_one || state.columns.iter().any(answered)) && self.caught_up(state, op).on_patience() != Move::Wait
    }

    fn possible_at(&self, state: &State, column: u8, actions: &mut Vec<Action>) {
        let at = &state.columns[usize::from(column)];
        let crashes = match self.disks {
            Disks::Immediate => 0,
            Disks::Grouped { crashes } | Disks::Dirty { crashes } => crashes,
        };
        if crashes > 0 && at.durable != at.rows {
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

    pub(super) fn apply(&self, state: &mut State, action: Action) {
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
                let (key, request) = at.late.remove(index.into());
                self.serve(at, key, &request);
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
                state.crashes += 1;
            }
            Action::Repair { from, to, row } => self.repair(state, from.into(), to.into(), Key(row)),
        }
    }

    /// A replica handles the present request of an operation, which begins with the first.
    pub(super) fn handle(&self, state: &mut State, op: u8, column: u8) -> Answer {
        let known = self.known(state);
        let answered = state.answered;
        let running = state
            .running_mut(op.into())
            .expect("only operations at work are served");
        if running.after.is_none() {
            running.after = Some(known);
            running.floor = answered;
        }
        let call = running
            .call
            .clone()
            .expect("an operation that waits for no stamp has asked");
        let whole = running.audience != Audience::All || column == 0;
        let at = state.column(column.into());
        match call {
            Call::Row(key, Request::Read(fetch)) => {
                // Drivers ask one replica for the body and the others for heads.
                let fetch = if whole || self.body == Body::Absent {
                    fetch
                } else {
                    Fetch::Head
                };
                Answer::Row(self.serve(at, key, &Request::Read(fetch)))
            }
            Call::Row(key, request) => Answer::Row(self.serve(at, key, &request)),
            Call::Scan(from) => Answer::Scanned(self.scan(at, from)),
        }
    }

    /// The operations whose clients know what became of them, as bits.
    fn known(&self, state: &State) -> u16 {
        let known = |op: &super::Op| match &op.progress {
            Progress::Told { outcome, .. } => !matches!(outcome, Outcome::Unknown | Outcome::Nothing),
            Progress::Waiting | Progress::Running(_) => false,
        };
        let bits = state.ops.iter().enumerate().filter(|(_, op)| known(op));
        bits.fold(0, |bits, (index, _)| bits | 1 << index)
    }

    fn serve(&self, at: &mut Column, key: Key, request: &Request<Cargo>) -> Reply<Cargo> {
        let served = self.protocol.serve(&self.admitted, &self.stored(at, key), request);
        if let Some(changed) = served.changed {
            at.rows[usize::from(key.0)] = changed;
        }
        served.reply
    }

    fn stored(&self, at: &Column, key: Key) -> Stored<Cargo> {
        let gate = if key.0 < self.script.keys() {
            self.gate(at)
        } else {
            GateState::default()
        };
        Stored {
            cell: at.rows[usize::from(key.0)].clone(),
            floor: Stamp::ZERO,
            gate,
        }
    }

    fn gate(&self, at: &Column) -> GateState {
        let row = at.rows.get(usize::from(gate_row(self.script.keys()).0));
        let held = row.and_then(|cell| cell.accepted.as_ref());
        held.map_or_else(GateState::default, |held| GateState {
            gate: match held.content.live() {
                Some(Cargo::Gate(gate)) => *gate,
                Some(Cargo::Object(..) | Cargo::Bucket(_)) | None => Gate::Open,
            },
            ballot: held.ballot,
        })
    }

    fn scan(&self, at: &Column, from: Key) -> Scanned<Key, Cargo> {
        let objects = at.rows.iter().take(self.script.keys().into());
        let mut rows: Vec<_> = (0..)
            .map(Key)
            .zip(objects)
            .filter(|(key, _)| *key >= from)
            .filter_map(|(key, cell)| Some((key, cell.accepted.as_ref()?.head())))
            .collect();
        let bound = rows.get(self.page_limit).map(|(key, _)| *key);
        rows.truncate(self.page_limit);
        Scanned {
            rows,
            bound,
            floor: Stamp::ZERO,
            gate: self.gate(at),
        }
    }

    fn hear(&self, state: &mut State, op: usize, column: usize, answer: Answer) {
        let at = state.column(column);
        let is_read = matches!(answer, Answer::Row(Reply::Row { .. }) | Answer::Scanned(_));
        match self.disks {
            Disks::Dirty { .. } if is_read => {}
            Disks::Immediate => {}
            Disks::Grouped { .. } | Disks::Dirty { .. } => flush(at),
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
    fn caught_up(&self, state: &State, op: usize) -> Box<dyn Coordinator> {
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
    fn go_on(&self, state: &mut State, op: usize, mut coordinator: Box<dyn Coordinator>, mut step: Move) {
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
                            running.coordinator = Arc::from(coordinator);
                        }
                        return;
                    }
                },
                Move::Done(outcome) => {
                    self.finish(state, op, outcome, coordinator.evidence());
                    return;
                }
            };
        }
    }

    fn ask(&self, state: &mut State, op: usize, coordinator: Box<dyn Coordinator>, asked: (u32, Audience, Call)) {
        self.leave_behind(state, op);
        if let Some(running) = state.running_mut(op) {
            running.coordinator = Arc::from(coordinator);
            running.call = Some(asked.2);
            (running.round, running.audience) = (asked.0, asked.1);
        }
    }

    /// The stamp that an operation gets now; nothing: it gives up, or gets one later.
    fn next_stamp(&self, state: &mut State, op: usize, above: Stamp, why: Why) -> Option<Stamp> {
        let running = state.running_mut(op)?;
        if why == Why::Competing && running.retries >= self.retries {
            self.give_up(state, op);
            return None;
        }
        running.retries += u8::from(why == Why::Competing);
        if self.restamp == Restamp::CloseOrFar {
            running.pending = Some(above);
            self.leave_behind(state, op);
            return None;
        }
        running.stamp = close(running.stamp, above);
        Some(running.stamp)
    }

    fn restamp(&self, state: &mut State, op: usize, far: bool) {
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

    fn give_up(&self, state: &mut State, op: usize) {
        let (outcome, evidence) = self.caught_up(state, op).on_deadline();
        self.finish(state, op, outcome, evidence);
    }

    /// Requests that were not handled anywhere are late from now on.
    fn leave_behind(&self, state: &mut State, op: usize) {
        let Some(running) = state.running_mut(op) else { return };
        let call = running.call.take().filter(|_| running.after.is_some());
        let running = running.clone();
        for (index, shared) in state.columns.iter_mut().enumerate() {
            let will_be_late = call.is_some() && running.asks(index) && !shared.dead;
            if shared.slots[op] == Slot::Open && !will_be_late {
                continue;
            }
            let column = Arc::make_mut(shared);
            let slot = std::mem::replace(&mut column.slots[op], Slot::Open);
            if let (Slot::Open, Some(Call::Row(key, request))) = (slot, &call)
                && will_be_late
                && !matches!(request, Request::Read(_))
            {
                column.late.push((*key, request.clone()));
            }
        }
    }

    fn finish(&self, state: &mut State, op: usize, outcome: Outcome, evidence: Evidence) {
        self.leave_behind(state, op);
        let Some(running) = state.running(op) else { return };
        let (after, floor, attempts) = (running.after.unwrap_or(0), running.floor, running.retries + 1);
        let verdict = self.on_evidence(state, op, floor, evidence);
        state.ops[op].progress = Progress::Told {
            outcome,
            after,
            attempts,
        };
        state.verdict = verdict;
        if verdict == Verdict::Fine && self.witness == Witness::History && !self.history_holds(state) {
            state.verdict = Verdict::NotLinearizable;
        }
        self.make_ready(state);
    }

    fn on_evidence(&self, state: &mut State, op: usize, floor: Stamp, evidence: Evidence) -> Verdict {
        let Evidence::At(stamp) = evidence else {
            return if evidence == Evidence::Bodiless {
                Verdict::Bodiless
            } else {
                Verdict::Fine
            };
        };
        let writes = self.script.kind(OpIndex(op as u8)).is_stamped();
        let counts = match self.witness {
            Witness::History => return Verdict::Fine,
            Witness::AfterWrites => writes,
            Witness::AfterReads => !writes,
        };
        if counts {
            state.answered = state.answered.max(stamp);
        }
        if stamp < floor && !writes {
            Verdict::WentBack
        } else {
            Verdict::Fine
        }
    }

    fn history_holds(&self, state: &State) -> bool {
        history::holds(&self.entries(state), self.script.keys(), self.mode)
    }

    /// The history so far.
    pub fn entries(&self, state: &State) -> Vec<Entry> {
        let entry = |(index, op): (usize, &super::Op)| {
            let (outcome, after, attempts) = match &op.progress {
                Progress::Waiting => return None,
                Progress::Running(running) => (None, running.after?, running.retries + 1),
                Progress::Told {
                    outcome,
                    after,
                    attempts,
                } => (Some(outcome.clone()), *after, *attempts),
            };
            let op = OpIndex(index as u8);
            Some(Entry {
                op,
                kind: self.script.kind(op),
                key: self.script.deeds[index].key,
                author: self.script.author(op),
                outcome,
                after,
                attempts,
            })
        };
        state.ops.iter().enumerate().filter_map(entry).collect()
    }

    /// Operations whose turn it is get their coordinators. They begin when their first message is handled.
    pub(super) fn make_ready(&self, state: &mut State) {
        for op in 0..state.ops.len() {
            let client = self.script.deeds[op].client;
            let before = op
                .checked_sub(1)
                .filter(|before| self.script.deeds[*before].client == client);
            let free = before.is_none_or(|before| matches!(state.ops[before].progress, Progress::Told { .. }));
            if free && state.ops[op].progress == Progress::Waiting {
                state.ops[op].progress = Progress::Running(self.ready(state, op));
            }
        }
    }

    fn ready(&self, state: &State, op: usize) -> Running {
        let index = OpIndex(op as u8);
        let author = self.script.author(index);
        let order = Order {
            kind: self.script.kind(index),
            key: self.script.deeds[op].key,
            author,
            body: self.body,
            mode: self.mode,
            keys: self.script.keys(),
            suspects: self.suspects,
        };
        let mut coordinator = self.protocol.coordinator(&order, self.sets.clone());
        let stamp = self.first_stamp(state, op);
        let Move::Ask { round, audience, call } = coordinator.start(stamp) else {
            panic!("every operation begins with a question");
        };
        Running {
            coordinator: Arc::from(coordinator),
            round,
            audience,
            call: Some(call),
            stamp,
            retries: 0,
            after: None,
            floor: Stamp::ZERO,
            pending: None,
        }
    }

    fn first_stamp(&self, state: &State, op: usize) -> Stamp {
        let twin = match self.stamps {
            Stamps::Unique => op,
            Stamps::Reused => {
                let client = self.script.deeds[op].client;
                let first = self
                    .script
                    .deeds
                    .iter()
                    .position(|deed| deed.client == client && deed.kind.is_stamped());
                first.filter(|_| self.script.deeds[op].kind.is_stamped()).unwrap_or(op)
            }
        };
        Stamp::new(state.ops[twin].clock, twin as u64 + 1)
    }

    fn repair(&self, state: &mut State, from: usize, to: usize, row: Key) {
        let Some(held) = state.columns[from].rows[usize::from(row.0)].accepted.clone() else {
            return;
        };
        let at = state.column(to);
        if self.entropy == Entropy::Raw {
            at.rows[usize::from(row.0)].accepted = Some(held);
        } else {
            self.serve(at, row, &Request::WriteBack(held));
        }
    }

    fn would_change(&self, at: &Column, call: &Call) -> bool {
        match call {
            Call::Row(key, request) => self
                .protocol
                .serve(&self.admitted, &self.stored(at, *key), request)
                .changed
                .is_some(),
            Call::Scan(_) => false,
        }
    }

    /// Drops what can no longer matter, and sorts what is alike.
    pub(super) fn tidy(&self, state: &mut State) {
        let over = state.is_over() || self.faults == Faults::Delays;
        for shared in &mut state.columns {
            let keeps = |late: &&(Key, Request<Cargo>)| !over && self.may_matter(shared, late);
            let mut late: Vec<_> = shared.late.iter().filter(keeps).cloned().collect();
            late.sort();
            late.dedup();
            if late != shared.late {
                Arc::make_mut(shared).late = late;
            }
        }
        if self.body != Body::Absent && state.columns.iter().any(|column| holds_head(column)) {
            state.verdict = Verdict::Bodiless;
        }
        if self.sorted {
            state.columns.sort();
        }
    }

    /// A gate may open again; promises and ballots on disk never fall.
    fn may_matter(&self, column: &Column, (key, request): &(Key, Request<Cargo>)) -> bool {
        let rows = if column.durable.is_empty() {
            &column.rows
        } else {
            &column.durable
        };
        let open = Stored {
            cell: rows[usize::from(key.0)].clone(),
            floor: Stamp::ZERO,
            gate: GateState::default(),
        };
        self.protocol.serve(&self.admitted, &open, request).changed.is_some()
    }
}

fn holds_head(column: &Column) -> bool {
    let head = |cell: &Cell<Cargo>| cell.accepted.as_ref().is_some_and(|held| !held.content.is_whole());
    column.rows.iter().any(head)
}

fn flush(column: &mut Column) {
    if !column.durable.is_empty() {
        column.durable.clone_from(&column.rows);
    }
}

fn close(last: Stamp, above: Stamp) -> Stamp {
    Stamp {
        time: last.time.max(above.time) + 1,
        ..last
    }
}

/// The times of all stamps issued.
fn stamps(state: &State) -> impl Iterator<Item = u64> + '_ {
    (0..state.ops.len()).filter_map(|op| Some(state.running(op)?.stamp.time))
}
