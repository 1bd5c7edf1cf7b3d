//! Ways through a world, for people and for files.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use stateright::Model;

use crate::check::Trace;
use crate::claim::{self, Mutant, Size};
use crate::mermaid::Diagram;
use crate::world::{Action, Names, Plot, PlotError, State, Table, Verdict, World};

/// A way through a world that can be walked again. It names its world, and lists what happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scenario {
    /// The claim whose world it is.
    pub claim: String,
    /// The title of the size, or the name of the mutant.
    pub world: String,
    /// Which of the initial states: in what order the clocks stand.
    pub start: usize,
    /// What happened.
    pub steps: Vec<Action>,
}

/// Why a scenario cannot be walked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayError {
    /// No claim has this name.
    NoClaim(String),
    /// The claim has no such world.
    NoWorld(String),
    /// The world has no such initial state.
    NoStart(usize),
    /// This step cannot be taken there.
    Impossible(usize),
}

/// What a walk came to.
#[derive(Clone, Debug)]
pub struct Walk {
    /// One line for each step, and the last state.
    pub text: String,
    /// The messages between clients and replicas.
    pub diagram: Diagram,
    /// The last state.
    pub state: Table,
    /// What came out.
    pub verdict: Verdict,
}

impl Scenario {
    /// The scenario of a trace through the world of that name.
    pub fn of(claim: &str, name: &str, world: &World, trace: Trace) -> Self {
        let first = trace.clone().into_states().into_iter().next();
        let start = world
            .init_states()
            .iter()
            .position(|state| Some(state) == first.as_ref());
        Scenario {
            claim: claim.to_owned(),
            world: name.to_owned(),
            start: start.unwrap_or(0),
            steps: trace.into_actions(),
        }
    }

    /// The world it is about.
    pub fn world(&self) -> Result<World, ReplayError> {
        let claim = claim::find(&self.claim).ok_or_else(|| ReplayError::NoClaim(self.claim.clone()))?;
        let sized = claim
            .sizes
            .iter()
            .find(|size| size.title() == self.world)
            .and_then(Size::world);
        let broken = claim
            .mutants
            .iter()
            .find(|mutant| mutant.name == self.world)
            .and_then(Mutant::world);
        sized.or(broken).ok_or_else(|| ReplayError::NoWorld(self.world.clone()))
    }

    /// Walks it again, with the rules as they are now.
    pub fn replay(&self) -> Result<Walk, ReplayError> {
        self.replay_in(&self.world()?)
    }

    /// Walks it in a world that differs from the named one.
    pub fn replay_in(&self, world: &World) -> Result<Walk, ReplayError> {
        let mut starts = world.init_states().into_iter();
        let start = starts.nth(self.start).ok_or(ReplayError::NoStart(self.start))?;
        walk(world, format!("{} {}", self.claim, self.world), start, &self.steps)
    }

    /// What it is for whoever follows it with other replicas than the model's.
    pub fn plot(&self) -> Result<Plot, ReplayError> {
        self.world()?
            .plot(self.start, &self.steps)
            .map_err(|error| match error {
                PlotError::NoStart => ReplayError::NoStart(self.start),
                PlotError::Impossible(step) => ReplayError::Impossible(step),
            })
    }
}

/// Takes these steps from there.
pub fn walk(world: &World, title: String, start: State, steps: &[Action]) -> Result<Walk, ReplayError> {
    let (mut state, mut names) = (start, Names::plain(world.replicas));
    let mut text = String::new();
    let mut diagram = Diagram::new(title, world.parties(&state));
    for (index, step) in steps.iter().enumerate() {
        if !world.is_possible(&state, *step) {
            return Err(ReplayError::Impossible(index));
        }
        diagram.step(index + 1, world.events(&state, *step, &names));
        let (line, next, renamed) = world.step(&state, *step, &names);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:>3}. {line}", index + 1);
        (state, names) = (next, renamed);
    }
    let _ = writeln!(text, "\n{state:?}");
    diagram.conclude(format!("{:?}", state.verdict));
    Ok(Walk {
        text,
        diagram,
        state: world.table(&state, &names),
        verdict: state.verdict,
    })
}

impl std::fmt::Display for ReplayError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ReplayError::NoClaim(name) => write!(f, "no claim is called {name}"),
            ReplayError::NoWorld(name) => write!(f, "the claim has no size and no mutant called {name}"),
            ReplayError::NoStart(start) => write!(f, "there is no initial state number {start}"),
            ReplayError::Impossible(step) => write!(f, "step {} cannot happen there", step + 1),
        }
    }
}

impl std::error::Error for ReplayError {}
