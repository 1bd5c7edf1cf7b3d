//! Searching a world.

use stateright::{Checker, HasDiscoveries, Model, Path, UniformChooser};

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
}

/// What a search found.
#[derive(Debug)]
pub struct Report {
    /// Different states met.
    pub unique: usize,
    /// Longest way walked.
    pub depth: usize,
    /// What went wrong, if anything: the property's name and the way there.
    pub failure: Option<(&'static str, Trace)>,
    /// What should have happened somewhere and did not.
    pub never: Vec<&'static str>,
    /// Was every state met?
    pub complete: bool,
}

/// A way through a world.
pub type Trace = Path<State, Action>;

/// Searches until all is seen or something fails.
pub fn search(world: &World, search: Search) -> Report {
    let builder = world
        .clone()
        .checker()
        .threads(1)
        .finish_when(HasDiscoveries::AnyFailures);
    match search {
        Search::Exhaustive => report(world, search, &builder.spawn_dfs().join()),
        Search::Nearest(most) => report(world, search, &builder.target_state_count(most).spawn_bfs().join()),
        Search::Walks { seed, states } => {
            let walks = builder
                .target_state_count(states)
                .spawn_simulation(seed, UniformChooser);
            report(world, search, &walks.join())
        }
    }
}

fn report(world: &World, search: Search, checker: &impl Checker<World>) -> Report {
    let mut failure = None;
    let mut never = Vec::new();
    for property in world.properties() {
        let found = checker.discovery(property.name);
        match (property.expectation.discovery_is_failure(), found) {
            (true, Some(path)) => failure = failure.or(Some((property.name, path))),
            (false, None) => never.push(property.name),
            (true, None) | (false, Some(_)) => {}
        }
    }
    let complete = failure.is_none()
        && match search {
            Search::Exhaustive => true,
            Search::Nearest(most) => checker.state_count() < most,
            Search::Walks { .. } => false,
        };
    Report {
        unique: checker.unique_state_count(),
        depth: checker.max_depth(),
        failure,
        never,
        complete,
    }
}
