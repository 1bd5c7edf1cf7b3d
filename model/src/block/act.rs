//! What clients and the collector do.

use std::collections::BTreeSet;
use std::sync::Arc;

use trellis_spec::block::{Data, Dropped, Finding, Inquiry, Placing, UploadFate, dropped, proposed_until};
use trellis_spec::quorum::{NodeId, Verdict};
use trellis_spec::register::{
    Accepted, Ask, Conditional, ConditionalOutcome, Content, Fetch, OpId, Read, ReadOutcome, Step, Write, WriteMode,
    WriteOutcome,
};
use trellis_spec::row::{Block, Guard, Row, Swap, UploadState, VersionId};
use trellis_spec::stamp::Stamp;

use super::rules::R;
use super::state::{
    Answer, Call, Ended, Key, OnRow, Process, Program, Slot, Stage, State, completion, object, owner, reference, upload,
};
use super::{Action, BlockWorld, Losses, Patience, ROW_REPLICAS};

impl BlockWorld {
    pub(super) fn process_actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (at, process) in (0_u8..).zip(&state.processes) {
            for (number, node) in (0_u8..).zip(&state.nodes) {
                if node.slots[usize::from(at)] != Slot::Open || self.has_twin(state, number) {
                    continue;
                }
                actions.push(Action::Deliver(at, number));
                if self.plan.losses == Losses::Allowed && at < self.collector() {
                    actions.push(Action::Lose(at, number));
                }
                let keeps = matches!(process.call, Some(Call::Keep { with_data: true, .. }));
                if keeps && state.crashes < self.plan.crashes {
                    actions.push(Action::Cut(at, number));
                }
            }
            if self.plan.patience == Patience::Short && self.patience(state, at).is_some() {
                actions.push(Action::Patience(at));
            }
        }
        let collector = &state.processes[usize::from(self.collector())];
        if *collector.stage == Stage::Over && state.inquiries < self.plan.inquiries {
            let versions = state.nodes.iter().flat_map(|node| node.references.keys());
            let versions: BTreeSet<VersionId> = versions.copied().collect();
            let asked = versions.into_iter().filter(|version| !state.dead.contains_key(version));
            actions.extend(asked.map(Action::Inquire));
        }
        for (number, node) in (0_u8..).zip(&state.nodes) {
            if !self.has_twin(state, number) {
                actions.extend(node.late.iter().map(|call| Action::Late(number, call.clone())));
            }
        }
    }

    /// Is the node before it just the same?
    fn has_twin(&self, state: &State, at: u8) -> bool {
        let at = usize::from(at);
        !self.moves() && at > 0 && state.nodes[at] == state.nodes[at - 1]
    }

    /// What a process does that goes on without the nodes that did not answer; nothing if it waits.
    fn patience(&self, state: &State, at: u8) -> Option<(Stage, Step<Row, Ended>)> {
        let (mut stage, _) = self.told(state, at, None);
        let Stage::Row(_, attempt) = &mut stage else {
            return None;
        };
        match attempt.on_patience() {
            Step::Wait => None,
            step @ (Step::Ask(_) | Step::Again { .. } | Step::Done(_)) => Some((stage, step)),
        }
    }

    /// A process's stage, with all answers of its round told to it, that of `last` at the end.
    fn told(&self, state: &State, at: u8, last: Option<u8>) -> (Stage, Step<Row, Ended>) {
        let process = &state.processes[usize::from(at)];
        let mut stage = (*process.stage).clone();
        let mut step = Step::Wait;
        let others = (0_u8..).take(state.nodes.len()).filter(|node| Some(*node) != last);
        for node in others.chain(last) {
            let Slot::Answered(answer) = &state.nodes[usize::from(node)].slots[usize::from(at)] else {
                continue;
            };
            let from = NodeId(u64::from(node));
            match (&mut stage, answer) {
                (Stage::Row(_, attempt), Answer::Row(reply)) => {
                    step = attempt.on_reply(process.round, from, reply.clone());
                }
                (Stage::Placing(placing), Answer::Kept(kept)) => placing.on_kept(from, *kept),
                (Stage::Row(..) | Stage::Placing(_) | Stage::Over, _) => {}
            }
        }
        (stage, step)
    }

    pub(super) fn act(&self, state: &mut State, action: Action) {
        match action {
            Action::Inquire(version) => self.inquire(state, version),
            Action::Deliver(at, node) => self.deliver(state, at, node),
            Action::Lose(at, node) => self.serve_only(state, at, node, false),
            Action::Cut(at, node) => {
                state.crashes += 1;
                self.serve_only(state, at, node, true);
            }
            Action::Patience(at) => {
                if let Some((stage, step)) = self.patience(state, at) {
                    state.process(at).stage = Arc::new(stage);
                    self.on_step(state, at, step);
                }
            }
            Action::Late(at, call) => {
                let node = state.node(at);
                node.late.remove(&call);
                self.handle(node, &call, false);
            }
            Action::Drop(at, version) => {
                state.dropped = true;
                let dead = state.dead.get(&version).cloned();
                let node = state.node(at);
                if let (Some(reference), Some(dead)) = (node.references.get(&version), &dead) {
                    match dropped(reference, dead, node.references.len() > 1, 0) {
                        Dropped::Gone => _ = node.references.remove(&version),
                        Dropped::Replaced(mark) => {
                            node.references.remove(&version);
                            node.mark = Some(mark);
                        }
                        Dropped::Kept => {}
                    }
                }
            }
            Action::Notice(at) => state.node(at).noticed = true,
            Action::Delete(at) => {
                state.deleted |= state.nodes[usize::from(at)].data == Data::Verified;
                let node = state.node(at);
                (node.data, node.mark, node.noticed) = (Data::Absent, None, false);
            }
            Action::Learn
            | Action::Pull(..)
            | Action::Fetch(_)
            | Action::Synced(_)
            | Action::Retire(_)
            | Action::Leave => self.move_on(state, &action),
        }
    }

    /// A client begins, or begins again under a new version above the stamp that it has seen.
    pub(super) fn begin(&self, state: &mut State, at: u8, above: u64) {
        let program = self.plan.programs[usize::from(at)];
        let time = state.times[usize::from(at)].max(above + 1);
        let process = state.process(at);
        process.version = Self::version(at, process.tries);
        process.stamp = Stamp::new(time, u64::from(at) + 1);
        (process.step, process.stamps) = (0, 0);
        process.until = match program {
            Program::Put | Program::Copy => time + self.plan.valid,
            Program::Delete | Program::Abort => u64::MAX,
            Program::Upload | Program::Resume => 0,
        };
        match program {
            Program::Put | Program::Copy | Program::Upload => self.place(state, at, program != Program::Copy),
            Program::Delete => {
                let write = Self::write(process, WriteMode::Strict, Content::Tombstone);
                self.on_row(state, at, Key::Object, OnRow::Write(write));
            }
            Program::Resume => {
                process.until = time;
                let write = Self::write(process, WriteMode::Strict, Content::Value(object(process.version)));
                self.on_row(state, at, Key::Object, OnRow::Write(write));
            }
            Program::Abort => {
                let read = Read::new(Self::row_sets(), Fetch::Head);
                self.on_row(state, at, Key::Upload, OnRow::Read(read));
            }
        }
    }

    fn write(process: &Process, mode: WriteMode, content: Content<Row>) -> Write<Row, R> {
        Write::new(mode, Self::row_sets(), OpId(process.version.0), content, process.until)
    }

    fn place(&self, state: &mut State, at: u8, with_data: bool) {
        let process = state.process(at);
        let reference = reference(process.version, process.until);
        let view = process.view;
        let sets = Self::sets(view);
        process.stage = Arc::new(Stage::Placing(Placing::new(Block::default(), sets.clone())));
        let call = Call::Keep {
            reference,
            with_data,
            view,
        };
        self.ask(state, at, call, sets.members().into_iter().map(index));
    }

    /// What was asked before and not handled may arrive late.
    fn ask(&self, state: &mut State, at: u8, call: Call, nodes: impl Iterator<Item = u8>) {
        self.leave(state, at);
        state.process(at).call = Some(call);
        nodes.for_each(|node| state.node(node).slots[usize::from(at)] = Slot::Open);
    }

    fn leave(&self, state: &mut State, at: u8) {
        let call = state.process(at).call.take();
        for number in (0..).take(state.nodes.len()) {
            if state.nodes[usize::from(number)].slots[usize::from(at)] == Slot::Empty {
                continue;
            }
            let node = state.node(number);
            let slot = std::mem::take(&mut node.slots[usize::from(at)]);
            if let (Slot::Open, Some(call)) = (slot, &call) {
                node.late.insert(call.clone());
            }
        }
    }

    fn over(&self, state: &mut State, at: u8) {
        self.leave(state, at);
        state.process(at).stage = Arc::new(Stage::Over);
    }

    fn on_row(&self, state: &mut State, at: u8, key: Key, mut attempt: OnRow) {
        let process = state.process(at);
        let step = attempt.start(process.stamp);
        process.stage = Arc::new(Stage::Row(key, attempt));
        self.on_step(state, at, step);
    }

    fn on_step(&self, state: &mut State, at: u8, mut step: Step<Row, Ended>) {
        loop {
            step = match step {
                Step::Wait => return,
                Step::Ask(ask) => return self.ask_row(state, at, ask),
                Step::Done(ended) => return self.on_ended(state, at, ended),
                Step::Again { above } => match self.again(state, at, above) {
                    Some(step) => step,
                    None => return self.over(state, at),
                },
            }
        }
    }

    /// Another stamp, unless the operation has used up what it may.
    fn again(&self, state: &mut State, at: u8, above: Stamp) -> Option<Step<Row, Ended>> {
        let by = u64::from(at) + 1;
        // What an inquiry begins with needs no stamp.
        let most = self.plan.stamps + u8::from(at == self.collector());
        let process = state.process(at);
        process.stamps += 1;
        if process.stamps > most {
            return None;
        }
        process.stamp = Stamp::new(above.time + 1, by);
        match Arc::make_mut(&mut process.stage) {
            Stage::Row(_, attempt) => Some(attempt.again(process.stamp)),
            Stage::Placing(_) | Stage::Over => None,
        }
    }

    fn ask_row(&self, state: &mut State, at: u8, ask: Ask<Row>) {
        let process = state.process(at);
        let Stage::Row(key, _) = *process.stage else { return };
        process.round = ask.round;
        // Only reads of the whole ask one node alone.
        self.ask(state, at, Call::Row(key, ask.request), 0..ROW_REPLICAS);
    }

    /// A node handles what a process asks, and is not heard.
    fn serve_only(&self, state: &mut State, at: u8, node: u8, cut: bool) {
        let Some(call) = state.process(at).call.clone() else {
            return;
        };
        let node = state.node(node);
        node.slots[usize::from(at)] = Slot::Served;
        self.handle(node, &call, cut);
    }

    fn deliver(&self, state: &mut State, at: u8, number: u8) {
        let Some(call) = state.process(at).call.clone() else {
            return;
        };
        let node = state.node(number);
        let Some(answer) = self.handle(node, &call, false) else {
            return;
        };
        // Every answer under the older view is thrown away.
        if let Answer::Stale(view) = answer {
            let process = state.process(at);
            process.view = process.view.join(view);
            node_slot(state, number, at, Slot::Served);
            let with_data = matches!(call, Call::Keep { with_data: true, .. });
            return self.place(state, at, with_data);
        }
        node_slot(state, number, at, Slot::Answered(answer));
        let (stage, step) = self.told(state, at, Some(number));
        if let Stage::Placing(placing) = &stage {
            return match placing.verdict() {
                Verdict::Reached => self.on_stored(state, at),
                Verdict::Pending => {}
                Verdict::Impossible => self.over(state, at),
            };
        }
        if !matches!(step, Step::Wait) {
            state.process(at).stage = Arc::new(stage);
            self.on_step(state, at, step);
        }
    }

    /// The block is stored: now the row that names it.
    fn on_stored(&self, state: &mut State, at: u8) {
        self.leave(state, at);
        let process = state.process(at);
        let (version, view) = (process.version, process.view);
        if view == super::first_view() {
            state.stored_before.insert(version);
        }
        if self.moves() {
            return self.write_at_once(state, at);
        }
        let process = state.process(at);
        match self.plan.programs[usize::from(at)] {
            Program::Put | Program::Copy => {
                let content = Content::Value(object(process.version));
                let write = Self::write(process, WriteMode::Available, content);
                self.on_row(state, at, Key::Object, OnRow::Write(write));
            }
            Program::Upload => {
                let claim = UploadState::Completing(completion(process.version, process.stamp));
                process.step = 1;
                let until = process.stamp.time;
                self.move_upload(state, at, OpId::default(), claim, until);
            }
            Program::Delete | Program::Abort | Program::Resume => {}
        }
    }

    /// Where the blocks move, the row is written in one step: what matters there begins with it.
    fn write_at_once(&self, state: &mut State, at: u8) {
        let process = state.process(at);
        let (ballot, version) = (process.stamp, process.version);
        let accepted = Accepted {
            ballot,
            op: OpId(version.0),
            base: None,
            content: Content::Value(object(version)),
        };
        for number in 0..ROW_REPLICAS {
            let cell = &mut state.node(number).object;
            if cell.promised < ballot {
                (cell.promised, cell.accepted) = (ballot, Some(accepted.clone()));
            }
        }
        self.over(state, at);
    }

    fn move_upload(&self, state: &mut State, at: u8, from: OpId, to: UploadState, until: u64) {
        let process = state.process(at);
        let op = OpId([0x80 + at * TRIES + process.step; 16]);
        process.upload = op;
        let swap = Swap {
            guard: Guard::MadeBy(from),
            content: Content::Value(upload(to, until)),
        };
        let swap = Conditional::new(Self::row_sets(), op, swap, u64::MAX);
        self.on_row(state, at, Key::Upload, OnRow::Swap(swap));
    }

    fn on_ended(&self, state: &mut State, at: u8, ended: Ended) {
        self.leave(state, at);
        let process = state.process(at);
        let step = process.step;
        let is_upload = self.plan.programs.get(usize::from(at)) == Some(&Program::Upload);
        match ended {
            Ended::Write(WriteOutcome::Written(_)) if is_upload => {
                process.step = 3;
                let claimed = process.upload;
                let completed = UploadState::Completed(completion(process.version, process.stamp));
                let until = process.stamp.time;
                process.stamp = Stamp::new(process.stamp.time + 1, process.stamp.by.0);
                self.move_upload(state, at, claimed, completed, until);
            }
            Ended::Write(WriteOutcome::Unknown) if self.plan.programs.get(usize::from(at)) == Some(&Program::Put) => {
                process.tries += 1;
                let seen = process.stamp.time;
                if process.tries < self.plan.versions {
                    self.begin(state, at, seen);
                } else {
                    self.over(state, at);
                }
            }
            Ended::Swap(ConditionalOutcome::Written(_)) if is_upload && step == 1 => {
                process.step = 2;
                process.until = process.stamp.time;
                let content = Content::Value(object(process.version));
                let write = Self::write(process, WriteMode::Strict, content);
                self.on_row(state, at, Key::Object, OnRow::Write(write));
            }
            Ended::Read(ReadOutcome::Found(Some(found))) if at == self.collector() => {
                let fate = match found.content.live() {
                    Some(Row::Upload(upload)) => proposed_until::<R>(upload),
                    Some(_) | None => UploadFate::Kept,
                };
                match fate {
                    UploadFate::Kept => self.over(state, at),
                    UploadFate::UpToObject(until) => self.inquire_object(state, until),
                }
            }
            Ended::Read(ReadOutcome::Found(Some(found))) => {
                process.step = 1;
                match found.content.live() {
                    Some(Row::Upload(row))
                        if !matches!(row.state, UploadState::Completed(_) | UploadState::Aborted) =>
                    {
                        let until = row.until;
                        process.stamp = process.stamp.max(Stamp::new(found.ballot.time + 1, process.stamp.by.0));
                        self.move_upload(state, at, found.op, UploadState::Aborted, until);
                    }
                    Some(_) | None => self.over(state, at),
                }
            }
            Ended::Inquiry(Finding::Dead(dead)) => {
                let version = process.version;
                state.dead.insert(version, dead);
                self.over(state, at);
            }
            Ended::Inquiry(Finding::Alive(_) | Finding::Unreached)
            | Ended::Write(_)
            | Ended::Swap(_)
            | Ended::Read(_) => self.over(state, at),
        }
    }

    pub(super) fn inquire(&self, state: &mut State, version: VersionId) {
        state.inquiries += 1;
        let until = state
            .nodes
            .iter()
            .find_map(|node| node.references.get(&version))
            .map_or(0, |reference| reference.until);
        let at = self.collector();
        let process = state.process(at);
        (process.version, process.step, process.stamps) = (version, 0, 0);
        process.stamp = Stamp::ZERO;
        match self.plan.programs[usize::from(Self::client_of(version))] {
            Program::Upload | Program::Resume => {
                let read = Read::new(Self::row_sets(), Fetch::Head);
                self.on_row(state, at, Key::Upload, OnRow::Read(read));
            }
            Program::Put | Program::Copy | Program::Delete | Program::Abort => self.inquire_object(state, until),
        }
    }

    fn inquire_object(&self, state: &mut State, until: u64) {
        let at = self.collector();
        let version = state.processes[usize::from(at)].version;
        let inquiry = Inquiry::new(Self::row_sets(), owner(), version, until);
        self.on_row(state, at, Key::Object, OnRow::Inquiry(inquiry));
    }
}

/// Operations on the upload row that one client has.
const TRIES: u8 = 4;

fn index(node: NodeId) -> u8 {
    u8::try_from(node.0).unwrap_or(u8::MAX)
}

fn node_slot(state: &mut State, node: u8, process: u8, slot: Slot) {
    state.node(node).slots[usize::from(process)] = slot;
}
