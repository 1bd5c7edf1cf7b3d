//! The slow twin of [`crate::history::linear`]: the specification read aloud, for histories of a few steps.
//!
//! Walks through time; between any two events every pending step may take effect, an unconditional write as often as it
//! likes. No reduction, no cleverness: the set of reachable (time, state, steps done) is searched to the end.

use std::collections::BTreeSet;

use crate::history::key::{Effect, Guard, State, Step};

/// Whether the steps of one key satisfy the specification.
pub fn is_linearizable(steps: &[Step]) -> bool {
    assert!(steps.len() <= 32, "the brute-force twin is for small histories");
    let events = events(steps);
    let mut seen = BTreeSet::new();
    let mut todo = vec![(0_usize, State::Absent, 0_u32)];
    while let Some((position, state, done)) = todo.pop() {
        if !seen.insert((position, state, done)) {
            continue;
        }
        let Some(&(_, is_end, next)) = events.get(position) else {
            return true;
        };
        if !is_end || done & (1 << next) != 0 {
            todo.push((position + 1, state, done));
        }
        for (index, step) in steps.iter().enumerate() {
            if is_pending(&events[..position], index)
                && let Some(after) = fire(step.effect, state, done & (1 << index) != 0)
            {
                todo.push((position, after, done | (1 << index)));
            }
        }
    }
    false
}

/// Calls and ends in order of time; of one moment, calls first, for then the two overlap.
fn events(steps: &[Step]) -> Vec<(u64, bool, usize)> {
    let calls = steps.iter().enumerate().map(|(index, step)| (step.call, false, index));
    let ends = steps
        .iter()
        .enumerate()
        .filter_map(|(index, step)| Some((step.end?, true, index)));
    let mut events: Vec<_> = calls.chain(ends).collect();
    events.sort_unstable();
    events
}

fn is_pending(past: &[(u64, bool, usize)], step: usize) -> bool {
    past.iter().filter(|(_, _, index)| *index == step).count() == 1
}

/// The state after the step takes effect, if it can.
fn fire(effect: Effect, state: State, done: bool) -> Option<State> {
    match effect {
        Effect::Observed(_) | Effect::Refuted(_) => effect.seen_in(state).then_some(state),
        Effect::Write {
            to,
            guard: Guard::Always,
        } => Some(to),
        Effect::Write { to, guard } => (!done && guard.holds(state)).then_some(to),
    }
}
