//! Claims: sentences about the protocols, the sizes at which each is checked, and the flaws that each notices.
//!
//! One file each. A claim that notices no flaw counts as failing, and so does a size whose number of states is not the
//! recorded one: then the model is not the one that was argued about.

mod c10_blocks;
mod c11_listing;
mod c12_deletion;
mod c13_force;
mod c1_read_after_write;
mod c2_read_after_read;
mod c3_unconditional;
mod c4_conditional;
mod c5_told_right;
mod c6_transition;
mod c7_copies;
mod c8_moves_on;
mod c9_tombstones;
mod durable;
mod elect;
mod progress;
mod whole;

use trellis_spec::flaw::Flaw;

use crate::block::{self, Plan};
use crate::check::{Report, Search, search};
use crate::rules::without;
use crate::script::Script;
use crate::workbench;
use crate::workbench::trial::{Trial, Verdict};
use crate::world::{State, World};

/// A sentence that is checked.
pub struct Claim {
    /// C1, C2, … as the protocols' page has it, or a word.
    pub name: &'static str,
    /// The sentence.
    pub sentence: &'static str,
    /// Where it comes from.
    pub source: &'static str,
    /// Where it is checked.
    pub sizes: Vec<Size>,
    /// What it notices.
    pub mutants: Vec<Mutant>,
}

/// One configuration.
pub struct Size {
    /// What clients do.
    pub script: &'static str,
    /// What is particular about it, in words.
    pub about: &'static str,
    /// How many replicas there are.
    pub replicas: u8,
    /// The particulars.
    pub particulars: Particulars,
    /// How it is searched.
    pub search: Search,
    /// How many different states there are, where that is known.
    pub unique: Option<usize>,
    /// How long it takes.
    pub effort: Effort,
}

/// What is particular about a configuration, in a world of rows, of blocks, or of a protocol of the workbench.
#[derive(Clone, Copy)]
pub enum Particulars {
    /// Rows: this is done to the script's world.
    Rows(fn(&mut World)),
    /// Blocks: this happens.
    Blocks(Plan),
    /// A protocol of the workbench: this is checked of it.
    Bench(Trial),
}

/// How long a size takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Seconds: part of every test run.
    Small,
    /// Minutes: for a person to run.
    Large,
}

/// A broken world that a claim must notice.
pub struct Mutant {
    /// Its name.
    pub name: &'static str,
    /// The guard that it lacks.
    pub guard: &'static str,
    /// The rule that is left out, where it is one of the specification.
    pub flaw: Option<Flaw>,
    /// Where it is noticed.
    pub size: Size,
}

/// All claims.
pub fn all() -> Vec<Claim> {
    let mut claims = vec![
        c1_read_after_write::claim(),
        c2_read_after_read::claim(),
        c3_unconditional::claim(),
        c4_conditional::claim(),
        c5_told_right::claim(),
        c6_transition::claim(),
        c7_copies::claim(),
        c8_moves_on::claim(),
        c9_tombstones::claim(),
        c10_blocks::claim(),
        c11_listing::claim(),
        c12_deletion::claim(),
        c13_force::claim(),
        elect::claim(),
        durable::claim(),
        whole::claim(),
        progress::claim(),
    ];
    claims.extend(workbench::claims());
    claims
}

/// The claim of this name.
pub fn find(name: &str) -> Option<Claim> {
    all().into_iter().find(|claim| claim.name.eq_ignore_ascii_case(name))
}

impl Size {
    /// A size searched completely, in every order of clocks, with three replicas.
    pub(crate) fn small(script: &'static str, about: &'static str, unique: usize, set: fn(&mut World)) -> Self {
        Size {
            script,
            about,
            replicas: 3,
            particulars: Particulars::Rows(set),
            search: Search::Exhaustive,
            unique: Some(unique),
            effort: Effort::Small,
        }
    }

    /// The same, but for a person to run.
    pub(crate) fn large(
        script: &'static str,
        about: &'static str,
        unique: impl Into<Option<usize>>,
        set: fn(&mut World),
    ) -> Self {
        Size {
            unique: unique.into(),
            effort: Effort::Large,
            ..Size::small(script, about, 0, set)
        }
    }

    /// Random walks over five replicas.
    pub(crate) fn five(script: &'static str, about: &'static str, set: fn(&mut World)) -> Self {
        Size {
            replicas: 5,
            search: Search::Walks {
                seed: 5,
                states: 2_000_000,
            },
            unique: None,
            effort: Effort::Large,
            ..Size::small(script, about, 0, set)
        }
    }

    /// So many random walks in which layouts move on, and how many states they meet.
    pub(crate) fn walk(
        script: &'static str,
        about: &'static str,
        walks: usize,
        met: usize,
        set: fn(&mut World),
    ) -> Self {
        Size {
            search: Search::Biased { seed: 6, walks },
            ..Size::small(script, about, met, set)
        }
    }

    /// The same, for a person to run.
    pub(crate) fn long_walk(
        script: &'static str,
        about: &'static str,
        met: impl Into<Option<usize>>,
        set: fn(&mut World),
    ) -> Self {
        Size {
            unique: met.into(),
            effort: Effort::Large,
            ..Size::walk(script, about, 50_000, 0, set)
        }
    }

    /// The nearest states only, for a person to run.
    pub(crate) fn near(script: &'static str, about: &'static str, set: fn(&mut World)) -> Self {
        const NEAREST: usize = 2_000_000;
        Size {
            search: Search::Nearest(NEAREST),
            unique: None,
            ..Size::large(script, about, None, set)
        }
    }

    /// Where a mutant is looked for that seldom shows itself in the nearest states.
    pub(crate) fn chase(script: &'static str, about: &'static str, set: fn(&mut World)) -> Self {
        Size {
            unique: None,
            ..Size::walk(script, about, 1_000_000, 0, set)
        }
    }

    /// Where a mutant is looked for, nearest states first.
    pub(crate) fn hunt(script: &'static str, about: &'static str, set: fn(&mut World)) -> Self {
        const MOST_STATES: usize = 60_000_000;
        Size {
            search: Search::Nearest(MOST_STATES),
            unique: None,
            ..Size::small(script, about, 0, set)
        }
    }

    /// The world of rows, under sound rules; nothing for others.
    pub fn world(&self) -> Option<World> {
        match self.particulars {
            Particulars::Rows(set) => Some(self.rows(set)),
            Particulars::Blocks(_) | Particulars::Bench(_) => None,
        }
    }

    /// Whether what is claimed holds here, or is known not to.
    pub fn verdict(&self) -> Verdict {
        match self.particulars {
            Particulars::Rows(_) | Particulars::Blocks(_) => Verdict::Kept,
            Particulars::Bench(trial) => trial.verdict,
        }
    }

    fn rows(&self, set: fn(&mut World)) -> World {
        let script = Script::parse(self.script).expect("scripts of claims are well formed");
        let mut world = World::new(script, self.replicas);
        set(&mut world);
        world
    }

    /// Searches it under sound rules.
    pub fn search(&self) -> Report {
        self.search_as(self.search)
    }

    /// Searches it otherwise.
    pub fn search_as(&self, search: Search) -> Report {
        self.search_without(None, search)
    }

    fn search_without(&self, flaw: Option<Flaw>, by: Search) -> Report {
        match self.particulars {
            Particulars::Blocks(plan) => block::search(plan, by, flaw),
            Particulars::Bench(trial) => trial.search(self.script, self.replicas, by),
            Particulars::Rows(set) => {
                let mut world = self.rows(set);
                if let Some(flaw) = flaw {
                    world.protocol = without(flaw);
                }
                search(&world, by)
            }
        }
    }

    /// What one calls it.
    pub fn title(&self) -> String {
        if let Particulars::Bench(trial) = self.particulars {
            return format!("{} ({}; {})", self.script, trial.guarantee.name(), self.about);
        }
        let five = if self.replicas == 3 {
            String::new()
        } else {
            format!(", {} replicas", self.replicas)
        };
        format!("{} ({}{five})", self.script, self.about)
    }
}

impl Mutant {
    /// A rule of the specification left out.
    pub(crate) fn rule(name: &'static str, guard: &'static str, flaw: Flaw, size: Size) -> Self {
        Mutant {
            name,
            guard,
            flaw: Some(flaw),
            size,
        }
    }

    /// A fault around the rules, which the size's particulars bring.
    pub(crate) fn around(name: &'static str, guard: &'static str, size: Size) -> Self {
        Mutant {
            name,
            guard,
            flaw: None,
            size,
        }
    }

    /// The broken world of rows; nothing for others.
    pub fn world(&self) -> Option<World> {
        let mut world = self.size.world()?;
        if let Some(flaw) = self.flaw {
            world.protocol = without(flaw);
        }
        Some(world)
    }

    /// Searches the broken world.
    pub fn search(&self) -> Report {
        self.search_as(self.size.search)
    }

    /// Searches it otherwise.
    pub fn search_as(&self, search: Search) -> Report {
        self.size.search_without(self.flaw, search)
    }
}

/// Did a client learn such an outcome?
pub(crate) fn told(state: &State, outcome: impl Fn(&crate::coordinator::Outcome) -> bool) -> bool {
    state.outcomes().any(outcome)
}
