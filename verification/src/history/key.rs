//! A history cut into one list of steps per key, with entity tags replaced by small numbers.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Action, Condition, Entry, Operation, Outcome};

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// No object.
    Absent,
    /// An object with this value.
    Value(u32),
    /// An object whose value no step mentions from here on: one such object is as good as another.
    Unmentioned,
}

/// [`Condition`] over numbered values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guard {
    /// No condition.
    Always,
    /// There is no object.
    Absent,
    /// There is one.
    Present,
    /// It is this one.
    Is(u32),
    /// It is not this one.
    IsNot(u32),
}

impl Guard {
    /// Whether the guard holds in a state.
    pub fn holds(self, state: State) -> bool {
        match self {
            Guard::Always => true,
            Guard::Absent => state == State::Absent,
            Guard::Present => state != State::Absent,
            Guard::Is(value) => state == State::Value(value),
            Guard::IsNot(value) => state != State::Value(value),
        }
    }

    /// The value the guard speaks of.
    pub fn value(self) -> Option<u32> {
        match self {
            Guard::Is(value) | Guard::IsNot(value) => Some(value),
            Guard::Always | Guard::Absent | Guard::Present => None,
        }
    }
}

/// What a step does to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// At a moment inside the step the key was in this state.
    Observed(State),
    /// At a moment inside the step the guard did not hold.
    Refuted(Guard),
    /// A write. Without guard it takes effect any number of times inside the step, with one at most once.
    Write {
        /// What the key holds afterwards.
        to: State,
        /// What must hold just before.
        guard: Guard,
    },
}

impl Effect {
    /// Whether a key in this state satisfies a step that only looks.
    pub fn seen_in(self, state: State) -> bool {
        match self {
            Effect::Observed(observed) => observed == state,
            Effect::Refuted(guard) => !guard.holds(state),
            Effect::Write { .. } => false,
        }
    }
}

/// One operation as one key sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where the operation stands in the history.
    pub operation: usize,
    /// No effect before this time.
    pub call: u64,
    /// No effect after this time, and at least one before it; `None`: any time later, or never.
    pub end: Option<u64>,
    /// What it does.
    pub effect: Effect,
}

/// The steps of one key.
#[derive(Clone, Debug, Default)]
pub struct KeyHistory {
    /// In order of their calls.
    pub steps: Vec<Step>,
    /// Values of writes that certainly failed, with their place in the history.
    pub failed_writes: BTreeMap<u32, usize>,
    numbers: BTreeMap<String, u32>,
}

impl KeyHistory {
    fn number(&mut self, value: &str) -> u32 {
        let next = u32::try_from(self.numbers.len()).expect("a history has fewer than 2^32 values");
        *self.numbers.entry(value.to_owned()).or_insert(next)
    }

    fn guard(&mut self, condition: &Condition) -> Guard {
        match condition {
            Condition::Always => Guard::Always,
            Condition::Absent => Guard::Absent,
            Condition::Present => Guard::Present,
            Condition::Is(value) => Guard::Is(self.number(value)),
            Condition::IsNot(value) => Guard::IsNot(self.number(value)),
        }
    }

    fn push(&mut self, operation: usize, from: &Operation, effect: Effect) {
        let end = match from.outcome {
            Outcome::Unknown { .. } => None,
            Outcome::Done
            | Outcome::Found { .. }
            | Outcome::NotFound
            | Outcome::Page { .. }
            | Outcome::Refused
            | Outcome::Failed { .. } => from.answer,
        };
        self.steps.push(Step {
            operation,
            call: from.call,
            end,
            effect,
        });
    }
}

/// Cuts a history into keys.
pub fn split(history: &[Operation]) -> BTreeMap<String, KeyHistory> {
    let mut keys: BTreeMap<String, KeyHistory> =
        names(history).into_iter().map(|k| (k, KeyHistory::default())).collect();
    for (index, operation) in history.iter().enumerate() {
        match &operation.action {
            Action::Get { key, condition } => add_get(entry(&mut keys, key), index, operation, condition),
            Action::Put { key, value, condition } => {
                let key = entry(&mut keys, key);
                let value = key.number(value);
                add_write(key, index, operation, State::Value(value), condition);
            }
            Action::Delete { key, condition } => {
                add_write(entry(&mut keys, key), index, operation, State::Absent, condition);
            }
            Action::List { prefix, after } => add_page(&mut keys, index, operation, prefix, after),
        }
    }
    for key in keys.values_mut() {
        key.steps.sort_by_key(|step| step.call);
    }
    keys
}

fn names(history: &[Operation]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for operation in history {
        match &operation.action {
            Action::Get { key, .. } | Action::Put { key, .. } | Action::Delete { key, .. } => {
                names.insert(key.clone());
            }
            Action::List { .. } => {}
        }
        if let Outcome::Page { entries, .. } = &operation.outcome {
            names.extend(entries.iter().map(|entry| entry.key.clone()));
        }
    }
    names
}

fn entry<'a>(keys: &'a mut BTreeMap<String, KeyHistory>, name: &str) -> &'a mut KeyHistory {
    keys.get_mut(name).expect("every name was collected before")
}

/// A read that was not answered says nothing and makes no step; the same holds for a refusal of any other kind.
fn add_get(key: &mut KeyHistory, index: usize, operation: &Operation, condition: &Condition) {
    match &operation.outcome {
        Outcome::Found { value } => {
            let value = key.number(value);
            key.push(index, operation, Effect::Observed(State::Value(value)));
        }
        Outcome::NotFound => key.push(index, operation, Effect::Observed(State::Absent)),
        Outcome::Refused => {
            let guard = key.guard(condition);
            key.push(index, operation, Effect::Refuted(guard));
        }
        Outcome::Done | Outcome::Page { .. } | Outcome::Failed { .. } | Outcome::Unknown { .. } => {}
    }
}

fn add_write(key: &mut KeyHistory, index: usize, operation: &Operation, to: State, condition: &Condition) {
    let guard = key.guard(condition);
    match &operation.outcome {
        Outcome::Done | Outcome::Unknown { .. } => key.push(index, operation, Effect::Write { to, guard }),
        Outcome::Refused => key.push(index, operation, Effect::Refuted(guard)),
        Outcome::Failed { .. } => {
            if let State::Value(value) = to {
                key.failed_writes.insert(value, index);
            }
        }
        Outcome::Found { .. } | Outcome::NotFound | Outcome::Page { .. } => {}
    }
}

/// A page reads every key in its range, the missing ones too.
fn add_page(keys: &mut BTreeMap<String, KeyHistory>, index: usize, operation: &Operation, prefix: &str, after: &str) {
    let Outcome::Page { entries, until } = &operation.outcome else {
        return;
    };
    let listed: BTreeMap<&str, &Entry> = entries.iter().map(|entry| (entry.key.as_str(), entry)).collect();
    for (name, key) in keys.iter_mut() {
        let covered = name.starts_with(prefix)
            && name.as_str() > after
            && until.as_ref().is_none_or(|until| name.as_str() <= until.as_str());
        let state = match listed.get(name.as_str()) {
            Some(entry) => State::Value(key.number(&entry.value)),
            None if covered => State::Absent,
            None => continue,
        };
        key.push(index, operation, Effect::Observed(state));
    }
}
