//! The usual violations by name.
//!
//! Each rule here looks at two or three operations and is sound: what it reports contradicts the specification by
//! itself. It is not complete; [`crate::history::linear`] is. A rule exists so that a person reads "the object was
//! deleted and came back" and not "no order of effects exists".

use std::collections::BTreeMap;

use crate::history::key::{Effect, Guard, KeyHistory, State, Step};
use crate::history::{Action, Condition, Operation, Outcome};

/// How many findings are reported of one key.
pub const FINDINGS_PER_KEY_MAX: usize = 3;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A read returned a value that nobody wrote: corruption, or another key's object.
    UnwrittenValue,
    /// A read returned the value of a write that was refused for good.
    FailedWriteSeen,
    /// A read was over before the only write of its value began.
    FutureValue,
    /// A read returned what its own condition excludes.
    AnsweredAgainstCondition,
    /// A read that began after a write was acknowledged returned something older.
    LostWrite,
    /// A read that began after a deletion was acknowledged returned what was there before.
    DeletedReturned,
    /// A read that began after another read was answered returned something older.
    WentBack,
    /// A page that began after a write was acknowledged does not show it.
    MissingFromPage,
    /// A page that began after a deletion was acknowledged shows what was there before.
    DeletedInPage,
    /// Two conditional writes were told that the same, single state held.
    TwoWinners,
    /// A conditional write succeeded on a state that was gone before it began.
    WroteOnOldState,
    /// A conditional write succeeded, and no order of effects makes its condition true.
    ImpossibleSuccess,
    /// A condition was said not to hold, and no order of effects makes it false.
    ImpossibleRefusal,
    /// No order of effects explains the answers.
    NotLinearizable,
    /// The keys of a page do not ascend.
    PageOutOfOrder,
    /// A page has a key that was not asked for.
    PageOutsideRange,
}

impl Kind {
    /// The name in one sentence.
    pub fn sentence(self) -> &'static str {
        match self {
            Kind::UnwrittenValue => "a read returned a value that nobody wrote",
            Kind::FailedWriteSeen => "a read returned the value of a write that had failed for good",
            Kind::FutureValue => "a read was answered before the write of its value began",
            Kind::AnsweredAgainstCondition => "a read returned what its own condition excludes",
            Kind::LostWrite => "an acknowledged write is missing from a later read",
            Kind::DeletedReturned => "a deleted object came back",
            Kind::WentBack => "a later read returned something older than an earlier read",
            Kind::MissingFromPage => "an acknowledged object is missing from a later page of a listing",
            Kind::DeletedInPage => "a deleted object is on a later page of a listing",
            Kind::TwoWinners => "two conditional writes were both told that the same state held",
            Kind::WroteOnOldState => "a conditional write succeeded on a state that was gone before it began",
            Kind::ImpossibleSuccess => "a conditional write succeeded although its condition cannot have held",
            Kind::ImpossibleRefusal => "a condition was refused although it cannot have been false",
            Kind::NotLinearizable => "no order of effects explains the answers",
            Kind::PageOutOfOrder => "the keys of a page do not ascend",
            Kind::PageOutsideRange => "a page has a key that was not asked for",
        }
    }
}

/// One violation with the operations that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub key: String,
    /// What.
    pub kind: Kind,
    /// Indices into the history.
    pub operations: Vec<usize>,
}

/// What is wrong with pages by themselves.
pub fn pages(history: &[Operation]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, operation) in history.iter().enumerate() {
        let (Action::List { prefix, after }, Outcome::Page { entries, until }) =
            (&operation.action, &operation.outcome)
        else {
            continue;
        };
        let mut find = |key: &str, kind| {
            findings.push(Finding {
                key: key.to_owned(),
                kind,
                operations: vec![index],
            })
        };
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].key >= pair[1].key) {
            find(&pair[1].key, Kind::PageOutOfOrder);
        }
        let is_outside = |key: &str| {
            !key.starts_with(prefix.as_str()) || key <= after.as_str() || until.as_deref().is_some_and(|u| key > u)
        };
        if let Some(entry) = entries.iter().find(|entry| is_outside(&entry.key)) {
            find(&entry.key, Kind::PageOutsideRange);
        }
    }
    findings
}

/// What is wrong with one key, if a rule has a name for it.
pub fn of_key(name: &str, key: &KeyHistory, history: &[Operation]) -> Vec<Finding> {
    let rules = Rules::new(key, history);
    let mut found: Vec<(Kind, Vec<usize>)> = key.steps.iter().filter_map(|step| rules.look(step)).collect();
    found.extend(rules.two_winners());
    found.sort();
    found.dedup_by_key(|(kind, _)| *kind);
    found.truncate(FINDINGS_PER_KEY_MAX);
    let finding = |(kind, operations)| Finding {
        key: name.to_owned(),
        kind,
        operations,
    };
    found.into_iter().map(finding).collect()
}

/// Evidence that the key was in a state at some moment of an interval.
#[derive(Clone, Copy)]
struct Witness {
    call: u64,
    end: u64,
    state: State,
    operation: usize,
}

struct Rules<'a> {
    key: &'a KeyHistory,
    history: &'a [Operation],
    writers: BTreeMap<State, Vec<Step>>,
    writes: Witnesses,
    looks: Witnesses,
}

impl<'a> Rules<'a> {
    fn new(key: &'a KeyHistory, history: &'a [Operation]) -> Self {
        let mut writers: BTreeMap<State, Vec<Step>> = BTreeMap::new();
        let (mut writes, mut looks) = (Vec::new(), Vec::new());
        for step in &key.steps {
            if let Effect::Write { to, .. } = step.effect {
                writers.entry(to).or_default().push(*step);
            }
            let Some(end) = step.end else { continue };
            let witness = |state| Witness {
                call: step.call,
                end,
                state,
                operation: step.operation,
            };
            looks.extend(observed(step).map(witness));
            if let Effect::Write { to, .. } = step.effect {
                writes.push(witness(to));
            }
        }
        Rules {
            key,
            history,
            writers,
            writes: Witnesses::new(writes),
            looks: Witnesses::new(looks),
        }
    }

    /// Judges what one step saw.
    fn look(&self, step: &Step) -> Option<(Kind, Vec<usize>)> {
        let end = step.end?;
        if let Some(kind) = self.against_condition(step) {
            return Some((kind, vec![step.operation]));
        }
        let state = observed(step)?;
        let writers = self.writers.get(&state).map_or(&[][..], Vec::as_slice);
        if let State::Value(value) = state
            && let Some(found) = self.unwritten(step, value, writers, end)
        {
            return Some(found);
        }
        let (witness, is_write) = self.newer(step, state, writers)?;
        let kind = self.name(step, witness, is_write);
        Some((
            kind,
            writers
                .last()
                .map(|w| w.operation)
                .into_iter()
                .chain([witness.operation, step.operation])
                .collect(),
        ))
    }

    /// Judges a value that no write can have put there before `end`.
    fn unwritten(&self, step: &Step, value: u32, writers: &[Step], end: u64) -> Option<(Kind, Vec<usize>)> {
        let first = writers.iter().min_by_key(|writer| writer.call);
        let failed = self.key.failed_writes.get(&value);
        let (kind, write) = match (first, failed) {
            (Some(first), _) if first.call <= end => return None,
            (Some(first), _) => (Kind::FutureValue, Some(first.operation)),
            (None, Some(&failed)) => (Kind::FailedWriteSeen, Some(failed)),
            (None, None) => (Kind::UnwrittenValue, None),
        };
        let kind = if matches!(step.effect, Effect::Write { .. }) {
            Kind::ImpossibleSuccess
        } else {
            kind
        };
        Some((kind, write.into_iter().chain([step.operation]).collect()))
    }

    /// Evidence of another state after the last write of this one and before the step.
    fn newer(&self, step: &Step, state: State, writers: &[Step]) -> Option<(Witness, bool)> {
        let last_end = writers.iter().map(|writer| writer.end.unwrap_or(u64::MAX)).max();
        let write = self
            .writes
            .between(last_end, step.call, state)
            .map(|witness| (witness, true));
        write.or_else(|| {
            self.looks
                .between(last_end, step.call, state)
                .map(|witness| (witness, false))
        })
    }

    fn name(&self, step: &Step, witness: Witness, is_write: bool) -> Kind {
        let is_page = matches!(self.history[step.operation].action, Action::List { .. });
        let is_conditional_write = matches!(step.effect, Effect::Write { .. });
        match (is_write, witness.state) {
            _ if is_conditional_write => Kind::WroteOnOldState,
            (false, _) => Kind::WentBack,
            (true, State::Absent) if is_page => Kind::DeletedInPage,
            (true, State::Absent) => Kind::DeletedReturned,
            (true, State::Value(_) | State::Unmentioned) if is_page => Kind::MissingFromPage,
            (true, State::Value(_) | State::Unmentioned) => Kind::LostWrite,
        }
    }

    fn against_condition(&self, step: &Step) -> Option<Kind> {
        let operation = &self.history[step.operation];
        let Action::Get { condition, .. } = &operation.action else {
            return None;
        };
        let is_against = match (&operation.outcome, condition) {
            (Outcome::Found { .. }, Condition::IsNot(_)) => false, // A 304 is recorded as the value it confirms.
            (Outcome::Found { value }, _) => !condition.holds(Some(value)),
            (
                Outcome::Done
                | Outcome::NotFound
                | Outcome::Page { .. }
                | Outcome::Refused
                | Outcome::Failed { .. }
                | Outcome::Unknown { .. },
                _,
            ) => false,
        };
        is_against.then_some(Kind::AnsweredAgainstCondition)
    }

    /// Two successes on one state need a write of that state between them.
    fn two_winners(&self) -> Vec<(Kind, Vec<usize>)> {
        let mut winners: BTreeMap<Guard, Vec<&Step>> = BTreeMap::new();
        for step in self.key.steps.iter().filter(|step| step.end.is_some()) {
            if let Effect::Write {
                guard: guard @ (Guard::Absent | Guard::Is(_)),
                ..
            } = step.effect
            {
                winners.entry(guard).or_default().push(step);
            }
        }
        let pairs = winners.values().flat_map(|same| same.windows(2));
        let is_wrong = |pair: &&[&Step]| observed(pair[0]).is_some_and(|state| !self.is_rewritten(state, pair));
        pairs
            .filter(is_wrong)
            .map(|pair| (Kind::TwoWinners, vec![pair[0].operation, pair[1].operation]))
            .collect()
    }

    fn is_rewritten(&self, state: State, pair: &[&Step]) -> bool {
        let from = pair.iter().map(|step| step.call).min();
        let until = pair.iter().map(|step| step.end.unwrap_or(u64::MAX)).max();
        self.writers.get(&state).is_some_and(|writers| {
            writers
                .iter()
                .any(|writer| Some(writer.call) <= until && Some(writer.end.unwrap_or(u64::MAX)) >= from)
        })
    }
}

/// The state a step saw at a moment inside its interval, if it tells one.
fn observed(step: &Step) -> Option<State> {
    match step.effect {
        Effect::Observed(state) => Some(state),
        Effect::Write {
            guard: Guard::Absent, ..
        } => Some(State::Absent),
        Effect::Write {
            guard: Guard::Is(value),
            ..
        } => Some(State::Value(value)),
        Effect::Write {
            guard: Guard::Always | Guard::Present | Guard::IsNot(_),
            ..
        }
        | Effect::Refuted(_) => None,
    }
}

/// Witnesses in order of their calls; for each, the two earliest ends from there on that speak of different states.
struct Witnesses {
    sorted: Vec<Witness>,
    earliest: Vec<[Option<Witness>; 2]>,
}

impl Witnesses {
    fn new(mut sorted: Vec<Witness>) -> Self {
        sorted.sort_by_key(|witness| witness.call);
        let mut earliest = Vec::with_capacity(sorted.len());
        let mut best = [None; 2];
        for witness in sorted.iter().rev() {
            best = with(best, *witness);
            earliest.push(best);
        }
        earliest.reverse();
        Witnesses { sorted, earliest }
    }

    /// A witness of another state whose interval lies after `after` (`None`: anywhere) and before `before`.
    fn between(&self, after: Option<u64>, before: u64, state: State) -> Option<Witness> {
        let start = self.sorted.partition_point(|witness| Some(witness.call) <= after);
        let best = self.earliest.get(start)?;
        best.iter()
            .flatten()
            .find(|witness| witness.state != state)
            .filter(|witness| witness.end < before)
            .copied()
    }
}

/// Keeps the two earliest ends of different states, the earlier one first.
fn with(best: [Option<Witness>; 2], new: Witness) -> [Option<Witness>; 2] {
    let mut all: Vec<Witness> = best.into_iter().flatten().chain([new]).collect();
    all.sort_by_key(|witness| witness.end);
    let first = all[0];
    [
        Some(first),
        all.into_iter().find(|witness| witness.state != first.state),
    ]
}
