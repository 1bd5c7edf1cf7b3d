//! Protocols of the workbench as subjects of claims.

use stateright::{Model, Path};

use super::guarantee::Guarantee;
use super::sheet::{Sheet, sheet};
use super::world::{Action, Bench, Harm, Purge, Suspicion};
use super::{Protocol, State};
use crate::check::{Report, Search, Way, explore};
use crate::claim::{Effort, Mutant, Particulars, Size};
use crate::script::Script;
use crate::world::Fusion;

/// Messages are late or lost, which for a protocol with fixed members is all that a crash can do.
pub(crate) const CALM: Harm = harm(0, 0, Suspicion::Right);
/// Besides, one node crashes, and is removed for that.
pub(crate) const FAILOVER: Harm = harm(1, 1, Suspicion::Right);
/// Besides, two nodes crash and are removed.
pub(crate) const TWO_FAILOVERS: Harm = harm(2, 2, Suspicion::Right);
/// Besides, one node is removed that may be alive.
pub(crate) const MISJUDGED: Harm = harm(0, 1, Suspicion::Wrong);

/// Besides, two nodes are removed that may be alive, and one crashes.
pub(crate) const MISJUDGED_TWICE: Harm = harm(1, 2, Suspicion::Wrong);

const fn harm(crashes: u8, removals: u8, suspicion: Suspicion) -> Harm {
    Harm {
        crashes,
        removals,
        suspicion,
    }
}

/// What is checked of a protocol.
#[derive(Clone, Copy)]
pub struct Trial {
    /// The protocol, sound or flawed.
    pub subject: &'static dyn Subject,
    /// What goes wrong.
    pub harm: Harm,
    /// What is promised.
    pub guarantee: Guarantee,
    /// What comes out.
    pub verdict: Verdict,
    /// How the world is kept small.
    pub reductions: Reductions,
}

/// Which of the reductions of [`super::world`] that can be done without are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reductions {
    /// All.
    All,
    /// None: hearing is a step of its own, and no message is thrown away. For comparison.
    None,
}

/// What is claimed of a guarantee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The protocol keeps it.
    Kept,
    /// The protocol is known not to keep it.
    Broken,
}

/// Any protocol.
pub trait Subject: Sync {
    /// Searches a world of it.
    fn search(&self, trial: &Trial, script: &str, nodes: u8, search: Search) -> Report;
    /// Serves that world to a browser.
    fn serve(&self, trial: &Trial, script: &str, nodes: u8, address: &str);
    /// What it costs.
    fn sheet(&self) -> Sheet;
}

impl<P: Protocol> Subject for P {
    fn search(&self, trial: &Trial, script: &str, nodes: u8, search: Search) -> Report {
        explore(bench(self, trial, script, nodes), search, |path| {
            Way::Told(told(self, trial, script, nodes, path))
        })
    }

    fn serve(&self, trial: &Trial, script: &str, nodes: u8, address: &str) {
        bench(self, trial, script, nodes).checker().serve(address);
    }

    fn sheet(&self) -> Sheet {
        sheet(self)
    }
}

fn bench<P: Protocol>(protocol: &P, trial: &Trial, script: &str, nodes: u8) -> Bench<P> {
    let (fusion, purge) = match trial.reductions {
        Reductions::All => (Fusion::Fused, Purge::Purged),
        Reductions::None => (Fusion::Apart, Purge::Kept),
    };
    Bench {
        protocol: protocol.clone(),
        script: Script::parse(script).expect("scripts of claims are well formed"),
        nodes,
        harm: trial.harm,
        guarantee: trial.guarantee,
        fusion,
        purge,
    }
}

/// The way to the first state that does not keep the guarantee; a search may report one that goes on behind it.
fn told<P: Protocol>(protocol: &P, trial: &Trial, script: &str, nodes: u8, path: Path<State<P>, Action>) -> String {
    let bench = bench(protocol, trial, script, nodes);
    let kept = |state: &State<P>| trial.guarantee.holds(protocol, &bench.script, state);
    let steps = path.into_vec().into_iter().take_while(|(state, _)| kept(state));
    let lines = (1..).zip(steps).filter_map(|(number, (state, action))| {
        let line = bench.format_step(&state, action?)?;
        Some(format!("{number:>3}. {line}\n"))
    });
    lines.collect()
}

impl Trial {
    /// Searches it.
    pub fn search(&self, script: &str, nodes: u8, search: Search) -> Report {
        self.subject.search(self, script, nodes, search)
    }

    /// Serves it to a browser.
    pub(crate) fn serve(&self, script: &str, nodes: u8, address: &str) {
        self.subject.serve(self, script, nodes, address);
    }
}

impl Harm {
    /// In words.
    pub fn about(self) -> &'static str {
        match (self.crashes, self.removals, self.suspicion) {
            (0, 0, _) => "messages late or lost",
            (1, _, Suspicion::Right) => "one node crashes and is removed",
            (_, _, Suspicion::Right) => "two nodes crash and are removed",
            (_, 2, Suspicion::Wrong) => "two nodes are removed, perhaps alive, and one crashes",
            (_, _, Suspicion::Wrong) => "one node is removed, perhaps alive",
        }
    }
}

/// A guarantee that a protocol keeps, in all of so many states of three nodes.
pub(crate) fn keeps(
    subject: &'static dyn Subject,
    guarantee: Guarantee,
    script: &'static str,
    harm: Harm,
    unique: usize,
) -> Size {
    Size {
        script,
        about: harm.about(),
        replicas: 3,
        particulars: Particulars::Bench(Trial {
            subject,
            harm,
            guarantee,
            verdict: Verdict::Kept,
            reductions: Reductions::All,
        }),
        search: Search::Exhaustive,
        unique: Some(unique),
        effort: Effort::Small,
    }
}

/// A size for a person to run.
pub(crate) fn large(size: Size) -> Size {
    Size {
        effort: Effort::Large,
        ..size
    }
}

/// A guarantee that a protocol is known not to keep: the nearest state shows it.
pub(crate) fn breaks(subject: &'static dyn Subject, guarantee: Guarantee, script: &'static str, harm: Harm) -> Size {
    const MOST_STATES: usize = 20_000_000;
    Size {
        particulars: Particulars::Bench(Trial {
            subject,
            harm,
            guarantee,
            verdict: Verdict::Broken,
            reductions: Reductions::All,
        }),
        search: Search::Nearest(MOST_STATES),
        unique: None,
        ..keeps(subject, guarantee, script, harm, 0)
    }
}

/// A protocol that lacks a guard.
pub(crate) fn lacks(name: &'static str, guard: &'static str, size: Size) -> Mutant {
    Mutant::around(name, guard, size)
}
