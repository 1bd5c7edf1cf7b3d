//! Bugs that a build for tests has on demand, and the runs that are to notice them.
//!
//! The names are those of `node/src/seeded.rs`. Each bug is put into every process of a cluster, and one run follows
//! another, of the kinds that may show it, until one reports something or time is out.

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::nemesis::{Harm, Schedule, fittings};
use super::operator::Operator;
use super::scene::{NOTHING_SHOWN, Scene, SceneError, Work};
use super::{Outcome, buckets, chain, mixed, race};
use crate::clock::Clock;
use crate::cluster::{Launch, Shape};

/// By which a build for tests is told which bug to have.
pub const BUG_VARIABLE: &str = "TRELLIS_SEEDED_BUG";
/// How long the clients of one run go on.
const RUN: Duration = Duration::from_secs(10);
/// Longer where layouts follow each other.
const LONG_RUN: Duration = Duration::from_secs(20);
/// How long an operator waits between two layouts, on average.
const OFTEN: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_millis(500);
/// So much of a fault stands in a table.
const WORDS_MAX: usize = 90;

/// A kind of run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Creators race while links and processes suffer.
    Race,
    /// One object is changed step by step meanwhile.
    Chain,
    /// A bit of everything meanwhile.
    Mixed,
    /// The same while links are cut for so long that requests end without an answer, and stragglers are given up.
    Cuts,
    /// The same on very few keys while clocks are wrong.
    Clocks,
    /// Buckets are deleted while others write into them.
    Buckets,
    /// All nodes are killed at once, again and again.
    Crashes,
    /// Five nodes, layouts that follow each other; in the end, all copies compared.
    Layouts,
    /// Five nodes, one of which is asleep while layouts follow each other as fast as they can.
    Sleepers,
    /// Nodes come back with older copies of their data.
    Copies,
}

/// One bug.
#[derive(Clone, Copy, Debug)]
pub struct Bug {
    /// Its name.
    pub name: &'static str,
    /// The guard that is left out.
    pub guard: &'static str,
    settings: &'static [Setting],
    by: Reporter,
}

/// Who is known to report a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reporter {
    /// Real processes, in a minute or two.
    Processes,
    /// Not they: what it needs comes together too seldom in real time.
    Others,
}

use Setting::{Buckets, Chain, Clocks, Copies, Crashes, Cuts, Layouts, Mixed, Race, Sleepers};

const fn bug(name: &'static str, settings: &'static [Setting], guard: &'static str) -> Bug {
    Bug {
        name,
        guard,
        settings,
        by: Reporter::Processes,
    }
}

const fn elusive(name: &'static str, settings: &'static [Setting], guard: &'static str) -> Bug {
    Bug {
        by: Reporter::Others,
        ..bug(name, settings, guard)
    }
}

/// All of them.
pub const BUGS: [Bug; 33] = [
    bug("write-below-quorum", &[Mixed], "a write is acknowledged by a majority"),
    bug("read-below-quorum", &[Mixed], "a read asks a majority"),
    bug(
        "no-write-back",
        &[Mixed],
        "a read writes back what is not on a majority",
    ),
    bug("write-back-below-quorum", &[Mixed], "a write-back needs a majority"),
    bug(
        "write-ignores-promise",
        &[Mixed, Chain],
        "a write below a promise is refused",
    ),
    bug(
        "accept-ignores-promise",
        &[Race, Chain],
        "a proposal below a promise is refused",
    ),
    bug(
        "prepare-below-quorum",
        &[Race, Chain],
        "a proposal follows promises of a majority",
    ),
    bug(
        "refuses-unsettled",
        &[Mixed, Race, Chain],
        "a refusal is on a value that is on a majority",
    ),
    bug(
        "forgets-own-proposal",
        &[Chain, Mixed],
        "a conditional write looks for its own value before it judges again",
    ),
    bug(
        "repeats-replaced-proposal",
        &[Chain, Mixed],
        "a value that was read and replaced is not proposed again",
    ),
    bug("goes-back", &[Mixed], "a replica never goes back to an older value"),
    elusive(
        "filter-before-merge",
        &[Cuts],
        "pages are merged before tombstones are left out",
    ),
    bug("listing-from-one", &[Cuts], "a page comes from a majority"),
    bug("gate-unchecked", &[Buckets], "a closed gate refuses writes"),
    elusive(
        "no-view-on-requests",
        &[Sleepers, Layouts],
        "a request says under which layouts it was sent",
    ),
    elusive(
        "serves-older-hi",
        &[Sleepers, Layouts],
        "a replica refuses requests under an older layout",
    ),
    elusive(
        "quorum-of-newest",
        &[Sleepers, Layouts],
        "a phase needs a majority of every active layout",
    ),
    elusive(
        "answers-kept-across-views",
        &[Sleepers, Layouts],
        "answers given under an older view are dropped",
    ),
    elusive("sync-from-one", &[Layouts], "a new owner pulls from a majority"),
    elusive(
        "retires-early",
        &[Layouts],
        "a layout is retired when a majority is synced",
    ),
    elusive(
        "drops-early",
        &[Layouts],
        "rows are dropped when every node of the newest layout is synced",
    ),
    elusive(
        "reference-without-data",
        &[Cuts, Layouts],
        "a replica without data does not count for a block",
    ),
    elusive(
        "block-synced-without-data",
        &[Layouts],
        "a new owner of blocks is synced only with their data",
    ),
    bug(
        "answers-before-durable",
        &[Crashes, Mixed],
        "an answer waits until what it tells of is on disk",
    ),
    bug("promises-forgotten", &[Race, Chain], "a promise is stored"),
    bug("changes-lost", &[Mixed], "every change is stored (one in fifty is not)"),
    bug("stamps-shared", &[Clocks], "every process issues its own stamps"),
    bug("empty-pulls", &[Layouts], "whoever pulls rows is told all of them"),
    bug(
        "blocks-at-one-node",
        &[Cuts, Layouts],
        "a block is at a majority before a row names it",
    ),
    bug(
        "unreached-is-absent",
        &[Cuts],
        "a row of which too little was heard is not called absent",
    ),
    bug(
        "unknown-is-done",
        &[Cuts],
        "a write of unknown outcome is not acknowledged",
    ),
    bug(
        "old-copy-unnoticed",
        &[Copies],
        "who comes back with less than it had is refused",
    ),
    bug(
        "full-unseen",
        &[Layouts],
        "what nobody saw to be whole is not called full",
    ),
];

/// What came of one bug.
#[derive(Clone, Debug)]
pub struct Hunt {
    bug: Bug,
    /// What was reported first; nothing if nothing was.
    caught: Option<(Setting, String)>,
    took: Duration,
    runs: u32,
}

/// Where and how long to look.
#[derive(Clone, Debug)]
pub struct Hunting {
    /// The build for tests.
    pub binary: PathBuf,
    /// For each bug.
    pub limit: Duration,
    /// What happens follows from it.
    pub seed: u64,
}

/// The head of the table that hunts are the lines of.
pub const TABLE: &str = "| guard left out | name | reported by | seconds | runs |\n|---|---|---|---|---|";

impl Hunting {
    /// Looks for one bug.
    pub async fn hunt(&self, bug: Bug) -> std::io::Result<Hunt> {
        let (clock, mut runs, mut caught) = (Clock::start(), 0, None);
        while caught.is_none() && (runs == 0 || clock.elapsed() < self.limit) {
            let setting = bug.settings[runs as usize % bug.settings.len()];
            let environment = vec![(BUG_VARIABLE.to_owned(), bug.name.to_owned())];
            caught = self.run(setting, environment, runs).await?.map(|what| (setting, what));
            runs += 1;
        }
        Ok(Hunt {
            bug,
            caught,
            took: clock.elapsed(),
            runs,
        })
    }

    /// Runs every kind once without any bug: what is reported then is no bug of ours. Returns that.
    pub async fn control(&self) -> std::io::Result<Vec<(Setting, String)>> {
        let mut reported = Vec::new();
        for setting in [
            Race, Chain, Mixed, Cuts, Clocks, Buckets, Crashes, Layouts, Sleepers, Copies,
        ] {
            let found = self.run(setting, Vec::new(), 0).await?;
            reported.extend(found.map(|what| (setting, what)));
        }
        Ok(reported)
    }

    async fn run(
        &self,
        setting: Setting,
        environment: Vec<(String, String)>,
        run: u32,
    ) -> std::io::Result<Option<String>> {
        let folder = tempfile::tempdir()?;
        let mut scene = self.scene(setting, folder.path().to_owned(), self.seed.wrapping_add(run.into()));
        scene.launch.fittings.environment = environment;
        Ok(reported(scene.play().await))
    }

    fn scene(&self, setting: Setting, folder: PathBuf, seed: u64) -> Scene {
        let harms = setting.harms();
        let moves = matches!(setting, Layouts | Sleepers);
        let nodes = if moves { 5 } else { 3 };
        let operator = Operator {
            binary: self.binary.clone(),
            folder: folder.clone(),
            nodes,
            every: if setting == Sleepers { SOON } else { OFTEN },
            factors: vec![3],
            seed,
            count: Arc::default(),
        };
        Scene {
            work: setting.work(seed),
            launch: Launch {
                binary: self.binary.clone(),
                folder,
                nodes,
                shape: if setting == Crashes { Shape::Dev } else { Shape::Servers },
                trace: None,
                fittings: fittings(&harms),
            },
            schedule: Schedule {
                harms,
                every: Duration::from_millis(700),
                outage_max: setting.outage_max(),
                seed,
                operator: moves.then_some(operator),
            },
        }
    }
}

impl Setting {
    fn harms(self) -> Vec<Harm> {
        match self {
            Race | Chain | Mixed | Buckets => {
                vec![Harm::Kill, Harm::Pause, Harm::Cut, Harm::CutOneWay, Harm::Delay]
            }
            Cuts => vec![Harm::Cut, Harm::CutOneWay],
            Clocks => vec![Harm::Skew],
            Crashes => vec![Harm::Kill],
            Layouts => vec![Harm::Kill, Harm::Oversleep, Harm::Cut, Harm::CutOneWay, Harm::Delay],
            Sleepers => vec![Harm::Oversleep],
            Copies => vec![Harm::OldCopy],
        }
    }

    /// How long a process is gone or silent; links are bad for six times as long.
    fn outage_max(self) -> Duration {
        match self {
            Race | Chain | Mixed | Buckets | Crashes | Layouts | Sleepers | Copies => Duration::from_millis(500),
            // Requests end after five seconds, and stragglers are given up after three.
            Cuts | Clocks => Duration::from_secs(2),
        }
    }

    fn work(self, seed: u64) -> Work {
        let mixed = |keys, duration| {
            Work::Mixed(mixed::Mixed {
                clients: 16,
                keys,
                duration,
                seed,
            })
        };
        match self {
            Race => Work::Race(race::Race { clients: 32, keys: 100 }),
            Chain => Work::Chain(chain::Chain {
                clients: 16,
                duration: RUN,
            }),
            Buckets => Work::Buckets(buckets::Buckets {
                clients: 8,
                duration: RUN,
                seed,
            }),
            Mixed | Crashes | Copies => mixed(6, RUN),
            Clocks => mixed(1, LONG_RUN),
            Cuts | Layouts | Sleepers => mixed(6, LONG_RUN),
        }
    }
}

/// What a run has to say against the nodes, in a few words.
fn reported(played: Result<Outcome, SceneError>) -> Option<String> {
    match played {
        Ok(outcome) => match outcome.found.first() {
            Some(kind) => Some(kind.sentence().to_owned()),
            None => outcome
                .faults
                .iter()
                .find(|fault| *fault != NOTHING_SHOWN)
                .map(|fault| in_short(fault)),
        },
        Err(error) => Some(in_short(&error.to_string())),
    }
}

fn in_short(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().replace('|', "/");
    match line.char_indices().nth(WORDS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

impl Bug {
    /// Do processes report it, as far as is known?
    pub fn is_expected(&self) -> bool {
        self.by == Reporter::Processes
    }
}

impl Hunt {
    /// Was it noticed?
    pub fn is_caught(&self) -> bool {
        self.caught.is_some()
    }

    /// Was it not, though processes are known to report it?
    pub fn is_missed(&self) -> bool {
        self.bug.is_expected() && !self.is_caught()
    }
}

impl Display for Hunt {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Bug { name, guard, .. } = self.bug;
        let by = match &self.caught {
            Some((setting, what)) => format!("{}: {what}", format!("{setting:?}").to_lowercase()),
            None => "**nobody**".to_owned(),
        };
        write!(
            f,
            "| {guard} | `{name}` | {by} | {} | {} |",
            self.took.as_secs(),
            self.runs
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_bug_is_one_that_the_node_knows() {
        let node = include_str!("../../../node/src/seeded.rs");
        let known = node
            .lines()
            .filter_map(|line| line.trim().strip_prefix("(\"")?.split_once('"'));
        let known: BTreeSet<&str> = known.map(|(name, _)| name).collect();
        assert_eq!(known, BUGS.iter().map(|bug| bug.name).collect());
    }

    #[test]
    fn what_is_reported_fits_into_a_table() {
        let fault = Outcome {
            faults: vec![NOTHING_SHOWN.to_owned(), format!("{}|\nmore", "x".repeat(99))],
            ..Outcome::default()
        };
        assert_eq!(reported(Ok(fault)), Some(format!("{}…", "x".repeat(WORDS_MAX))));
        assert_eq!(reported(Ok(Outcome::default())), None);
    }
}
