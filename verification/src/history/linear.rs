//! The exact checker: are the steps of one key possible under the specification?
//!
//! It walks through the history once and carries every *configuration* the key may be in: its state and which of the
//! pending steps have had their effect. Effects are placed as late as possible, just before a step ends (Lowe, "Testing
//! for linearizability", 2017), which leaves few configurations. Four observations keep them few when outcomes are
//! unknown and writes may repeat:
//!
//! - a step that only looks is satisfied by the first state that fits it, for looking changes nothing;
//! - an unconditional write can be preceded, in the same instant, by every other pending unconditional write, so one
//!   such move shows all their values to whoever looks and leaves none of them owing an effect;
//! - a value that no later step mentions is as good as any other such value ([`State::Unmentioned`]), so the unknown
//!   writes of a long run collapse into one;
//! - of two configurations that differ only in that one owes more looks, or has spent more optional writes, the other
//!   suffices.
//!
//! With values written once this is close to linear in the length of the history. Where it is not, a limit ends the
//! search and the verdict says so. [`crate::history::brute`] is the twin it is tested against.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use crate::history::key::{Effect, Guard, State, Step};

/// How many configurations one step may lead through before the search gives up.
pub const CONFIGURATIONS_MAX: usize = 50_000;
/// How many pending conditional writes are never worth sweeping.
const SWEEP_MIN: usize = 16;

/// The answer for one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order of effects that explains every answer.
    Linearizable,
    /// There is none, and this step (an index) is the first that makes it so.
    Violated {
        /// The step whose answer cannot be explained.
        step: usize,
    },
    /// The search met [`CONFIGURATIONS_MAX`].
    Undecided,
}

/// What a key holds when its steps begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Nothing.
    Absent,
    /// Nobody knows: anything.
    Anything,
}

/// Checks all steps of one key.
pub fn check(steps: &[Step]) -> Verdict {
    check_from(Start::Absent, steps)
}

/// Checks steps of one key.
pub fn check_from(start: Start, steps: &[Step]) -> Verdict {
    let mut search = Search::new(start, steps);
    for (time, event, step) in events(steps) {
        search.now = time;
        match event {
            Event::Call => search.on_call(step),
            Event::End => match search.on_end(step) {
                Reach::Some => {}
                Reach::None => return Verdict::Violated { step },
                Reach::TooMany => return Verdict::Undecided,
            },
        }
    }
    Verdict::Linearizable
}

/// In this order at equal times, for what touches in time overlaps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Call,
    End,
}

fn events(steps: &[Step]) -> Vec<(u64, Event, usize)> {
    let calls = steps
        .iter()
        .enumerate()
        .map(|(index, step)| (step.call, Event::Call, index));
    let ends = steps
        .iter()
        .enumerate()
        .filter_map(|(index, step)| Some((step.end?, Event::End, index)));
    let mut events: Vec<_> = calls.chain(ends).collect();
    events.sort_unstable();
    events
}

enum Reach {
    Some,
    None,
    TooMany,
}

/// One way things may stand.
#[derive(Clone, Debug)]
struct Configuration {
    state: State,
    /// Conditional writes with a known end that have had their effect.
    done: BTreeSet<usize>,
    /// Conditional writes of unknown outcome that have had their effect.
    spent: BTreeSet<usize>,
    /// Pending looks and unconditional writes that have not been satisfied.
    open: BTreeSet<usize>,
}

impl Configuration {
    fn new(state: State) -> Self {
        Configuration {
            state,
            done: BTreeSet::new(),
            spent: BTreeSet::new(),
            open: BTreeSet::new(),
        }
    }

    /// Whether whatever follows from `other` follows from `self` as well.
    fn covers(&self, other: &Configuration) -> bool {
        self.state == other.state
            && self.done == other.done
            && self.spent.is_subset(&other.spent)
            && self.open.is_subset(&other.open)
    }
}

/// Configurations none of which covers another.
#[derive(Default)]
struct Frontier {
    groups: BTreeMap<(State, BTreeSet<usize>), Vec<Configuration>>,
    inserted: usize,
}

impl Frontier {
    /// Adds a configuration unless one is there that covers it.
    fn insert(&mut self, new: Configuration) -> bool {
        let group = self.groups.entry((new.state, new.done.clone())).or_default();
        if group.iter().any(|old| old.covers(&new)) {
            return false;
        }
        group.retain(|old| !new.covers(old));
        group.push(new);
        self.inserted += 1;
        true
    }

    fn iter(&self) -> impl Iterator<Item = &Configuration> {
        self.groups.values().flatten()
    }

    fn into_configurations(self) -> impl Iterator<Item = Configuration> {
        self.groups.into_values().flatten()
    }
}

struct Search<'a> {
    steps: &'a [Step],
    now: u64,
    frontier: Frontier,
    /// Until when each value is mentioned by anything but its own writes.
    mentioned_until: BTreeMap<u32, u64>,
    /// When the last write of each value is called.
    written_until: BTreeMap<u32, u64>,
    /// Pending unconditional writes with a known end.
    blind: BTreeSet<usize>,
    /// What unconditional writes of unknown outcome may write at any time from now on.
    lingering: BTreeSet<State>,
    /// Pending conditional writes by their guards, so that a state finds those it allows.
    conditional: BTreeSet<(Guard, usize)>,
    /// So many of them are worth looking for dead ones.
    sweep_at: usize,
}

impl<'a> Search<'a> {
    fn new(start: Start, steps: &'a [Step]) -> Self {
        let (mut mentioned_until, mut written_until) = (BTreeMap::new(), BTreeMap::new());
        for step in steps {
            if let Some(value) = mentioned(step.effect) {
                raise(&mut mentioned_until, value, step.end.unwrap_or(u64::MAX));
            }
            if let Effect::Write {
                to: State::Value(value),
                ..
            } = step.effect
            {
                raise(&mut written_until, value, step.call);
            }
        }
        let mut states = vec![State::Absent];
        if start == Start::Anything {
            states.push(State::Unmentioned);
            states.extend(mentioned_until.keys().copied().map(State::Value));
        }
        let mut frontier = Frontier::default();
        for state in states {
            frontier.insert(Configuration::new(state));
        }
        Search {
            steps,
            now: 0,
            frontier,
            mentioned_until,
            written_until,
            blind: BTreeSet::new(),
            lingering: BTreeSet::new(),
            conditional: BTreeSet::new(),
            sweep_at: SWEEP_MIN,
        }
    }

    fn on_call(&mut self, step: usize) {
        let Step { effect, end, .. } = self.steps[step];
        match (effect, end) {
            (Effect::Observed(_) | Effect::Refuted(_), _) => self.owe(step),
            (
                Effect::Write {
                    guard: Guard::Always, ..
                },
                Some(_),
            ) => {
                self.blind.insert(step);
                self.owe(step);
            }
            (
                Effect::Write {
                    guard: Guard::Always,
                    to,
                },
                None,
            ) => {
                self.lingering.insert(to);
            }
            (Effect::Write { guard, .. }, _) => {
                self.conditional.insert((guard, step));
            }
        }
    }

    /// From now on every configuration owes the step, unless its state satisfies it already.
    fn owe(&mut self, step: usize) {
        let effect = self.steps[step].effect;
        for configuration in self.frontier.groups.values_mut().flatten() {
            if !effect.seen_in(configuration.state) {
                configuration.open.insert(step);
            }
        }
    }

    /// The last moment for a step to have its effect.
    fn on_end(&mut self, step: usize) -> Reach {
        self.tidy();
        let mut reached = Frontier::default();
        let mut seen = Frontier::default();
        let mut todo: Vec<Configuration> = Vec::new();
        for start in std::mem::take(&mut self.frontier).into_configurations() {
            if self.is_satisfied(step, &start) {
                reached.insert(self.without(step, start.clone()));
            }
            seen.insert(start.clone());
            todo.push(start);
        }
        while let Some(from) = todo.pop() {
            if !self.goes_on(step, &from) {
                continue;
            }
            for next in self.moves(&from) {
                if self.is_last_effect(step, &next) {
                    reached.insert(self.without(step, next.clone()));
                }
                if seen.insert(next.clone()) {
                    todo.push(next);
                }
            }
            if seen.inserted > CONFIGURATIONS_MAX {
                return Reach::TooMany;
            }
        }
        self.blind.remove(&step);
        if let Effect::Write { guard, .. } = self.steps[step].effect {
            self.conditional.remove(&(guard, step));
        }
        self.frontier = reached;
        if self.frontier.groups.is_empty() {
            Reach::None
        } else {
            Reach::Some
        }
    }

    fn is_satisfied(&self, step: usize, configuration: &Configuration) -> bool {
        match self.steps[step].effect {
            Effect::Observed(_)
            | Effect::Refuted(_)
            | Effect::Write {
                guard: Guard::Always, ..
            } => !configuration.open.contains(&step),
            Effect::Write { .. } => configuration.done.contains(&step),
        }
    }

    /// An unconditional write may have a second effect at its end, so everything is explored for it; any other step has
    /// one, and what comes after that can wait.
    fn goes_on(&self, step: usize, configuration: &Configuration) -> bool {
        self.blind.contains(&step) || !self.is_satisfied(step, configuration)
    }

    /// Whether a configuration may be the one right after the step's last effect.
    fn is_last_effect(&self, step: usize, configuration: &Configuration) -> bool {
        let holds_it = match self.steps[step].effect {
            Effect::Write {
                to,
                guard: Guard::Always,
            } => configuration.state == self.canonical(to),
            Effect::Write { .. } | Effect::Observed(_) | Effect::Refuted(_) => true,
        };
        holds_it && self.is_satisfied(step, configuration)
    }

    fn without(&self, step: usize, mut configuration: Configuration) -> Configuration {
        configuration.done.remove(&step);
        configuration
    }

    /// Every configuration one effect away.
    fn moves(&self, from: &Configuration) -> Vec<Configuration> {
        let mut moves = self.blind_moves(from);
        let mut alike = BTreeSet::new();
        for &(guard, step) in ranges(from.state)
            .into_iter()
            .flat_map(|range| self.conditional.range(range))
        {
            let Effect::Write { to, .. } = self.steps[step].effect else {
                continue;
            };
            let (to, is_optional) = (self.canonical(to), self.steps[step].end.is_none());
            if from.done.contains(&step) || from.spent.contains(&step) || !guard.holds(from.state) {
                continue;
            }
            if is_optional && !alike.insert((guard, to)) {
                continue;
            }
            let mut next = from.clone();
            if is_optional {
                next.spent.insert(step)
            } else {
                next.done.insert(step)
            };
            self.show(&mut next, to);
            moves.push(next);
        }
        moves
    }

    /// One unconditional write, with all the others in the same instant before it.
    fn blind_moves(&self, from: &Configuration) -> Vec<Configuration> {
        let mut targets: BTreeSet<State> = self.lingering.clone();
        targets.extend(self.blind.iter().filter_map(|&step| self.target(step)));
        if targets.is_empty() {
            return Vec::new();
        }
        let mut passed = from.clone();
        passed.open.retain(|step| !self.blind.contains(step));
        for &target in &targets {
            self.show(&mut passed, target);
        }
        targets
            .into_iter()
            .map(|state| Configuration {
                state,
                ..passed.clone()
            })
            .collect()
    }

    fn show(&self, configuration: &mut Configuration, state: State) {
        configuration.state = state;
        configuration
            .open
            .retain(|&step| !self.steps[step].effect.seen_in(state));
    }

    fn target(&self, step: usize) -> Option<State> {
        match self.steps[step].effect {
            Effect::Write { to, .. } => Some(self.canonical(to)),
            Effect::Observed(_) | Effect::Refuted(_) => None,
        }
    }

    fn canonical(&self, state: State) -> State {
        match state {
            State::Value(value) if self.mentioned_until.get(&value).is_none_or(|&until| until < self.now) => {
                State::Unmentioned
            }
            State::Absent | State::Value(_) | State::Unmentioned => state,
        }
    }

    /// Forgets what can no longer make a difference.
    fn tidy(&mut self) {
        self.lingering = self.lingering.iter().map(|&state| self.canonical(state)).collect();
        if self.conditional.len() >= self.sweep_at {
            self.sweep();
            self.sweep_at = SWEEP_MIN.max(2 * self.conditional.len());
        }
        let mut frontier = Frontier::default();
        for configuration in std::mem::take(&mut self.frontier).into_configurations() {
            let state = self.canonical(configuration.state);
            frontier.insert(Configuration { state, ..configuration });
        }
        self.frontier = frontier;
    }

    /// Drops conditional writes of unknown outcome that wait for a value which cannot come back.
    fn sweep(&mut self) {
        for (guard, step) in self.dead() {
            self.conditional.remove(&(guard, step));
            self.frontier.groups.values_mut().flatten().for_each(|configuration| {
                configuration.spent.remove(&step);
            });
        }
    }

    fn dead(&self) -> Vec<(Guard, usize)> {
        let mut possible: BTreeSet<State> = self.frontier.iter().map(|configuration| configuration.state).collect();
        possible.extend(self.lingering.iter().copied());
        let pending = self.blind.iter().chain(self.conditional.iter().map(|(_, step)| step));
        possible.extend(pending.filter_map(|&step| self.target(step)));
        let is_dead = |&(guard, step): &(Guard, usize)| match guard {
            Guard::Is(value) => {
                let is_written_later = self.written_until.get(&value).is_some_and(|&until| until >= self.now);
                let is_optional = self.steps[step].end.is_none();
                is_optional && !possible.contains(&State::Value(value)) && !is_written_later
            }
            Guard::Always | Guard::Absent | Guard::Present | Guard::IsNot(_) => false,
        };
        self.conditional.iter().copied().filter(is_dead).collect()
    }
}

/// Where the guards that may hold in a state lie among pending conditional writes.
fn ranges(state: State) -> Vec<RangeInclusive<(Guard, usize)>> {
    let of = |first, last| (first, 0)..=(last, usize::MAX);
    let is_not = of(Guard::IsNot(0), Guard::IsNot(u32::MAX));
    match state {
        State::Absent => vec![of(Guard::Absent, Guard::Absent), is_not],
        State::Unmentioned => vec![of(Guard::Present, Guard::Present), is_not],
        State::Value(value) => {
            vec![
                of(Guard::Present, Guard::Present),
                of(Guard::Is(value), Guard::Is(value)),
                is_not,
            ]
        }
    }
}

/// The value a step depends on.
fn mentioned(effect: Effect) -> Option<u32> {
    match effect {
        Effect::Observed(State::Value(value)) => Some(value),
        Effect::Observed(State::Absent | State::Unmentioned) => None,
        Effect::Refuted(guard) | Effect::Write { guard, .. } => guard.value(),
    }
}

fn raise(times: &mut BTreeMap<u32, u64>, value: u32, time: u64) {
    let entry = times.entry(value).or_insert(time);
    *entry = (*entry).max(time);
}

#[cfg(test)]
mod tests;
