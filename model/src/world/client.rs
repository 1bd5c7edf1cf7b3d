//! Clients: when operations begin, what they are told, and whether that is right.

use trellis_spec::layout::View;
use trellis_spec::stamp::Stamp;

use super::state::Running;
use super::{Op, Progress, Stamps, State, Verdict, Witness, World};
use crate::coordinator::{Evidence, Outcome, Shared};
use crate::history::{self, Entry};
use crate::operation::Order;
use crate::value::OpIndex;

impl World {
    pub(super) fn finish(&self, state: &mut State, op: usize, outcome: Outcome, evidence: Evidence) {
        if state.ops[op].is_sync {
            if outcome == Outcome::Synced {
                self.finish_sync(state, op);
            } else {
                // It took too many stamps; only a world with more of them goes on.
                self.stop_sync(state, op, self.retries.saturating_add(1));
            }
            return;
        }
        self.leave_behind(state, op);
        let Some(running) = state.running(op) else { return };
        if let (Evidence::At(stamp), true) = (evidence, self.has_transitions()) {
            let (key, hi) = (self.script.deeds[op].key, running.view.hi);
            state.ghost.answered(key, hi, stamp);
        }
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

    pub(super) fn on_evidence(&self, state: &mut State, op: usize, floor: Stamp, evidence: Evidence) -> Verdict {
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

    pub(super) fn history_holds(&self, state: &State) -> bool {
        history::holds(&self.entries(state), self.script.keys(), self.mode)
    }

    /// The history so far.
    pub fn entries(&self, state: &State) -> Vec<Entry> {
        let entry = |(index, op): (usize, &Op)| {
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
            let outcome = match outcome {
                Some(told) => self.after_force(state, index, self.script.kind(op), &told)?,
                None => None,
            };
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
        let ops = state.ops.iter().take(self.script.deeds.len());
        ops.enumerate().filter_map(entry).collect()
    }

    /// Operations whose turn it is get their coordinators. They begin when their first message is handled.
    pub(super) fn make_ready(&self, state: &mut State) {
        for op in 0..self.script.deeds.len() {
            let client = self.script.deeds[op].client;
            let before = op
                .checked_sub(1)
                .filter(|before| self.script.deeds[*before].client == client);
            let free = before.is_none_or(|before| matches!(state.ops[before].progress, Progress::Told { .. }));
            if free && state.ops[op].progress == Progress::Waiting {
                state.ops[op].progress = Progress::Running(self.ready(state, op, self.first_seat().view));
            }
        }
    }

    pub(super) fn ready(&self, state: &State, op: usize, view: View) -> Running {
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
        let mut coordinator = self
            .protocol
            .coordinator(&order, self.protocol.sets(self.knowledge(view)));
        let stamp = self.first_stamp(state, op);
        let question = coordinator.start(stamp).into_question();
        let (round, audience, call) = question.expect("every operation begins with a question");
        Running {
            coordinator: Shared::from(coordinator),
            view,
            round,
            audience,
            call: Some(call),
            stamp,
            retries: 0,
            after: None,
            floor: Stamp::ZERO,
            pending: None,
            raised: false,
        }
    }

    pub(super) fn first_stamp(&self, state: &State, op: usize) -> Stamp {
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
}
