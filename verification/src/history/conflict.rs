//! Finds the few operations that cannot all be true.
//!
//! First the history before some moment is forgotten: what ended by then is left out and the key may hold anything. Then,
//! of the rest, one group after the other is relaxed: a look is left out, a write may have happened or not, at any time
//! after its call. Both only ever allow more, so what still fails in the end is a real contradiction between the steps
//! that kept their word.

use std::collections::BTreeSet;

use crate::history::anomaly::{Finding, Kind};
use crate::history::key::{Effect, Guard, KeyHistory, State, Step};
use crate::history::linear::{self, Start, Verdict};

/// How many steps are looked at in all relaxed histories together; what is not relaxed by then is reported, too.
const STEPS_CHECKED_MAX: usize = 500_000;
/// How many steps before the failing one are looked at first; twice as many each time that is not enough.
const WINDOW_MIN: usize = 2;

/// Steps that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Their indices.
    pub steps: BTreeSet<usize>,
    /// What ended before this moment plays no part, except that it ended.
    pub since: u64,
}

/// Turns the failing step into a finding that names the operations in conflict.
pub fn explain(name: &str, key: &KeyHistory, failing: usize) -> Finding {
    let conflict = shrink(&key.steps, failing).steps;
    let values: BTreeSet<u32> = conflict
        .iter()
        .filter_map(|&step| value_seen(key.steps[step].effect))
        .collect();
    let wrote_one = |step: &Step| match step.effect {
        Effect::Write {
            to: State::Value(value),
            ..
        } => values.contains(&value),
        Effect::Write { .. } | Effect::Observed(_) | Effect::Refuted(_) => false,
    };
    let writers = key
        .steps
        .iter()
        .enumerate()
        .filter(|(_, step)| wrote_one(step))
        .map(|(index, _)| index);
    let shown: BTreeSet<usize> = conflict.iter().copied().chain(writers).collect();
    Finding {
        key: name.to_owned(),
        kind: kind(key.steps[failing].effect),
        operations: shown.into_iter().map(|step| key.steps[step].operation).collect(),
    }
}

/// The steps that must keep their word for the history to fail. The steps are in order of their calls.
pub fn shrink(steps: &[Step], failing: usize) -> Conflict {
    let window = Window::find(steps, failing);
    let mut kept: BTreeSet<usize> = (0..steps.len()).filter(|&index| window.holds(&steps[index])).collect();
    let (mut checked, mut group) = (0, kept.len().div_ceil(2).max(1));
    loop {
        for candidates in chunks(&kept, failing, group) {
            if checked > STEPS_CHECKED_MAX {
                return Conflict {
                    steps: kept,
                    since: window.since,
                };
            }
            let fewer: BTreeSet<usize> = kept.difference(&candidates).copied().collect();
            let relaxed = window.relaxed(steps, |index| fewer.contains(&index));
            checked += relaxed.len();
            if window.fails(&relaxed) {
                kept = fewer;
            }
        }
        if group == 1 {
            return Conflict {
                steps: kept,
                since: window.since,
            };
        }
        group = group.div_ceil(2);
    }
}

fn chunks(kept: &BTreeSet<usize>, failing: usize, size: usize) -> Vec<BTreeSet<usize>> {
    let others: Vec<usize> = kept.iter().copied().filter(|&step| step != failing).collect();
    others
        .chunks(size)
        .map(|chunk| chunk.iter().copied().collect())
        .collect()
}

/// The part of a history that is looked at.
struct Window {
    start: Start,
    since: u64,
    until: u64,
}

impl Window {
    /// The shortest part up to the end of the failing step, of a few sizes, that fails by itself.
    fn find(steps: &[Step], failing: usize) -> Self {
        let until = steps[failing].end.unwrap_or(u64::MAX);
        let mut size = WINDOW_MIN;
        while let Some(first) = (failing + 1).checked_sub(size) {
            let window = Window {
                start: Start::Anything,
                since: steps[first].call,
                until,
            };
            if window.fails(&window.relaxed(steps, |_| true)) {
                return window;
            }
            size *= 2;
        }
        Window {
            start: Start::Absent,
            since: 0,
            until,
        }
    }

    /// Whether a step lies inside the window. One that began before it may have had its effect by then.
    fn holds(&self, step: &Step) -> bool {
        step.call >= self.since && step.end.is_some_and(|end| end <= self.until)
    }

    /// What may happen inside the window, with only the kept steps keeping their word.
    fn relaxed(&self, steps: &[Step], is_kept: impl Fn(usize) -> bool) -> Vec<Step> {
        let overlaps = |step: &Step| step.call <= self.until && step.end.is_none_or(|end| end >= self.since);
        let inside = steps.iter().enumerate().filter(|(_, step)| overlaps(step));
        inside
            .filter_map(|(index, step)| relax(step, is_kept(index) && self.holds(step)))
            .collect()
    }

    fn fails(&self, steps: &[Step]) -> bool {
        matches!(linear::check_from(self.start, steps), Verdict::Violated { .. })
    }
}

fn relax(step: &Step, keep: bool) -> Option<Step> {
    match step.effect {
        _ if keep => Some(*step),
        Effect::Write { .. } => Some(Step { end: None, ..*step }),
        Effect::Observed(_) | Effect::Refuted(_) => None,
    }
}

fn value_seen(effect: Effect) -> Option<u32> {
    match effect {
        Effect::Observed(State::Value(value)) => Some(value),
        Effect::Write { guard, .. } | Effect::Refuted(guard) => guard.value(),
        Effect::Observed(State::Absent | State::Unmentioned) => None,
    }
}

fn kind(effect: Effect) -> Kind {
    match effect {
        Effect::Write {
            guard: Guard::Always, ..
        }
        | Effect::Observed(_) => Kind::NotLinearizable,
        Effect::Write { .. } => Kind::ImpossibleSuccess,
        Effect::Refuted(_) => Kind::ImpossibleRefusal,
    }
}
