//! Finds the few operations that cannot all be true.
//!
//! Given a step at which [`crate::history::linear`] fails, other steps are relaxed one group after the other: a look is
//! left out, a write may have happened or not, at any time after its call. Relaxing only ever allows more, so what still
//! fails in the end is a real contradiction between the steps that kept their word.

use std::collections::BTreeSet;

use crate::history::anomaly::{Finding, Kind};
use crate::history::key::{Effect, Guard, KeyHistory, State, Step};
use crate::history::linear::{self, Verdict};

/// How many relaxed histories are tried; what cannot be relaxed by then is reported, too.
const CHECKS_MAX: usize = 2_000;

/// Turns the failing step into a finding that names the operations in conflict.
pub fn explain(name: &str, key: &KeyHistory, failing: usize) -> Finding {
    let conflict = shrink(&key.steps, failing);
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

/// The steps that must keep their word for the history to fail.
pub fn shrink(steps: &[Step], failing: usize) -> BTreeSet<usize> {
    let horizon = steps[failing].end.unwrap_or(u64::MAX);
    let is_early = |index: &usize| steps[*index].end.is_some_and(|end| end <= horizon);
    let mut kept: BTreeSet<usize> = (0..steps.len()).filter(is_early).collect();
    let mut checks = 0;
    let mut group = kept.len().div_ceil(2).max(1);
    loop {
        for candidates in chunks(&kept, failing, group) {
            let fewer: BTreeSet<usize> = kept.difference(&candidates).copied().collect();
            checks += 1;
            if still_fails(steps, &fewer) {
                kept = fewer;
            }
        }
        if group == 1 || checks > CHECKS_MAX {
            return kept;
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

fn still_fails(steps: &[Step], kept: &BTreeSet<usize>) -> bool {
    let relaxed: Vec<Step> = steps
        .iter()
        .enumerate()
        .filter_map(|(index, step)| relax(step, kept.contains(&index)))
        .collect();
    matches!(linear::check(&relaxed), Verdict::Violated { .. })
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
