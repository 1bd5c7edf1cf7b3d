//! Searching a world.

use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, HasDiscoveries, Model, Path, Property, UniformChooser};

use crate::engine::{self, Found, Violation};
use crate::world::{Action, State, World};

/// How a world is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// Every state, depth first.
    Exhaustive,
    /// The nearest states first, and a shortest counterexample; at most about so many.
    Nearest(usize),
    /// Random walks from this seed, until about so many states were met. Stops early where nothing is wrong but by
    /// chance.
    Walks {
        /// Where randomness starts.
        seed: u64,
        /// How many states, counting repeated ones.
        states: usize,
    },
    /// Random walks from this seed in which layouts move on faster than messages get lost.
    Biased {
        /// Where randomness starts.
        seed: u64,
        /// How many walks, each until nothing can happen any more or for [`LONGEST_WALK`] steps.
        walks: usize,
    },
    /// The nearest so many states, with the [`engine`] of this crate, which keeps all of them in memory.
    Plain(usize),
}

/// Who searches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// Stateright's checkers.
    Stateright,
    /// The engine of this crate, wherever states are counted: random walks stay as they are.
    Own,
}

impl Engine {
    /// The same search by this engine.
    pub fn of(self, search: Search) -> Search {
        match (self, search) {
            (Engine::Own, Search::Exhaustive) => Search::Plain(usize::MAX),
            (Engine::Own, Search::Nearest(most)) => Search::Plain(most),
            (Engine::Own, Search::Walks { .. } | Search::Biased { .. } | Search::Plain(_)) => search,
            (Engine::Stateright, _) => search,
        }
    }
}

/// Steps of a biased walk.
const LONGEST_WALK: usize = 160;

/// What a search found.
#[derive(Debug)]
pub struct Report {
    /// Different states met.
    pub unique: usize,
    /// States met, counting repeated ones.
    pub met: usize,
    /// Longest way walked.
    pub depth: usize,
    /// What went wrong, if anything.
    pub failure: Option<Failure>,
    /// What should have happened somewhere and did not.
    pub never: Vec<&'static str>,
    /// Was every state met?
    pub complete: bool,
}

/// A way through a world.
pub type Trace = Path<State, Action>;

/// A property that does not hold.
#[derive(Debug)]
pub struct Failure {
    /// Its name.
    pub property: &'static str,
    /// The way to where it does not.
    pub way: Way,
}

/// A way to a failure.
#[derive(Debug)]
pub enum Way {
    /// One that can be saved and walked again.
    Walked(Trace),
    /// One that is told only.
    Told(String),
}

impl Report {
    fn new<M: Model>(
        checker: &impl Checker<M>,
        search: Search,
        failure: Option<Failure>,
        never: Vec<&'static str>,
    ) -> Self {
        let complete = failure.is_none()
            && match search {
                Search::Exhaustive => true,
                Search::Nearest(most) => checker.state_count() < most,
                Search::Walks { .. } | Search::Biased { .. } | Search::Plain(_) => false,
            };
        Report {
            unique: checker.unique_state_count(),
            met: checker.state_count(),
            depth: checker.max_depth(),
            failure,
            never,
            complete,
        }
    }
}

/// Searches until all is seen or something fails.
pub fn search(world: &World, search: Search) -> Report {
    match search {
        Search::Biased { seed, walks } => walk(world, seed, walks),
        Search::Exhaustive | Search::Nearest(_) | Search::Walks { .. } | Search::Plain(_) => {
            explore(world.clone(), search, Way::Walked)
        }
    }
}

/// Searches any model; `way` makes of a path to a failure what is reported. Nothing moves here that a walk would have
/// to be biased to.
pub(crate) fn explore<M>(model: M, search: Search, way: impl Fn(Path<M::State, M::Action>) -> Way) -> Report
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + PartialEq + Hash + Send + Sync,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    if let Search::Plain(most) = search {
        return plain(&model, engine::search(&model, most), way);
    }
    let properties = model.properties();
    let builder = model.checker().threads(1).finish_when(HasDiscoveries::AnyFailures);
    match search {
        Search::Exhaustive | Search::Plain(_) => report(&properties, search, &builder.spawn_dfs().join(), way),
        Search::Nearest(most) => {
            let nearest = builder.target_state_count(most);
            report(&properties, search, &nearest.spawn_bfs().join(), way)
        }
        Search::Walks { seed, states } | Search::Biased { seed, walks: states } => {
            let walks = builder.target_state_count(states);
            report(
                &properties,
                search,
                &walks.spawn_simulation(seed, UniformChooser).join(),
                way,
            )
        }
    }
}

/// What the engine of this crate found; a way to a failure is walked again, step by step.
fn plain<M: Model>(
    model: &M,
    found: Found<M::State, M::Action>,
    way: impl Fn(Path<M::State, M::Action>) -> Way,
) -> Report
where
    M::State: PartialEq,
    M::Action: PartialEq,
{
    let walked = |Violation {
                      property,
                      start,
                      actions,
                  }| {
        let path = Path::from_actions(model, start, &actions).expect("it was walked");
        Failure {
            property,
            way: way(path),
        }
    };
    Report {
        unique: found.unique,
        met: found.starts + found.transitions,
        depth: found.depth,
        failure: found.violation.map(walked),
        never: found.never,
        complete: found.complete,
    }
}

/// Biased walks. They remember no states, so `unique` counts all that were met.
fn walk(world: &World, seed: u64, walks: usize) -> Report {
    let mut dice = Dice(seed);
    let properties = world.properties();
    let starts = world.init_states();
    let mut seen = vec![false; properties.len()];
    let (mut met, mut depth) = (0, 0);
    for _ in 0..walks {
        let start = starts[dice.below(starts.len() as u64) as usize].clone();
        let mut state = start.clone();
        let mut steps = Vec::new();
        loop {
            met += 1;
            for (index, property) in properties.iter().enumerate() {
                let holds = (property.condition)(world, &state);
                seen[index] |= holds;
                if property.expectation.discovery_is_failure() && !holds {
                    let trace = Path::from_actions(world, start, &steps).expect("it was walked");
                    let failure = Failure {
                        property: property.name,
                        way: Way::Walked(trace),
                    };
                    return walked(met, steps.len(), Some(failure), Vec::new());
                }
            }
            let mut actions = Vec::new();
            world.actions(&state, &mut actions);
            let Some(action) = dice.choose(&actions) else { break };
            if steps.len() == LONGEST_WALK {
                break;
            }
            state = world
                .next_state(&state, action)
                .expect("worlds refuse no action they offer");
            steps.push(action);
        }
        depth = depth.max(steps.len());
    }
    let never = properties.iter().zip(seen).filter(|(_, seen)| !seen);
    walked(met, depth, None, never.map(|(property, _)| property.name).collect())
}

fn walked(met: usize, depth: usize, failure: Option<Failure>, never: Vec<&'static str>) -> Report {
    Report {
        unique: met,
        met,
        depth,
        failure,
        never,
        complete: false,
    }
}

/// A small generator of random numbers (SplitMix64): the same seed walks the same way everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.roll() % end.max(1)
    }

    fn choose(&mut self, actions: &[Action]) -> Option<Action> {
        let total: u64 = actions.iter().map(weight).sum();
        let mut left = self.below(total);
        let chosen = |action: &&Action| {
            let weight = weight(action);
            let here = left < weight;
            left = left.saturating_sub(weight);
            here
        };
        actions.iter().find(chosen).copied()
    }
}

/// What carries a transition on is likely, faults are rare.
fn weight(action: &Action) -> u64 {
    match action {
        Action::Deliver { .. } | Action::Hear { .. } | Action::Restamp { .. } => 12,
        Action::Late { .. } | Action::Learn { .. } | Action::Flush { .. } | Action::Decide => 6,
        Action::Retire { .. } | Action::Drop { .. } | Action::Inform { .. } => 6,
        Action::Report { .. } | Action::Forget { .. } | Action::ForgetOther { .. } | Action::GoOn { .. } => 6,
        Action::Serve { .. } | Action::Patience { .. } | Action::Snapshot { .. } => 3,
        Action::Repair { .. } | Action::Crash { .. } | Action::LoseDisk { .. } => 2,
        Action::GiveUp { .. } => 1,
    }
}

fn report<M: Model>(
    properties: &[Property<M>],
    search: Search,
    checker: &impl Checker<M>,
    way: impl Fn(Path<M::State, M::Action>) -> Way,
) -> Report
where
    M::State: Clone + PartialEq,
    M::Action: Clone + PartialEq,
{
    let mut failure = None;
    let mut never = Vec::new();
    for property in properties {
        let found = checker.discovery(property.name);
        match (property.expectation.discovery_is_failure(), found) {
            (true, Some(path)) => {
                failure = failure.or(Some(Failure {
                    property: property.name,
                    way: way(path),
                }));
            }
            (false, None) => never.push(property.name),
            (true, None) | (false, Some(_)) => {}
        }
    }
    Report::new(checker, search, failure, never)
}
