//! `trellis-nemesis`: workloads against a running store or against processes that it starts, and does harm to.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use trellis_model::transcript::Scenario;
use trellis_verification::cluster::{self, CLOCK_SKEW_VARIABLE, Launch, Shape, Traces, namespace};
use trellis_verification::history::file;
use trellis_verification::interruption::until_interrupted;
use trellis_verification::workload::follow::Follow;
use trellis_verification::workload::nemesis::{Harm, Means, Schedule, fittings};
use trellis_verification::workload::operator::Operator;
use trellis_verification::workload::scene::{Scene, Work};
use trellis_verification::workload::seeded::{BUG_VARIABLE, BUGS, Bug, Hunting, TABLE};
use trellis_verification::workload::{Outcome, buckets, chain, mixed, race};

/// Says to the program that it is in a mount namespace of its own.
const INSIDE: &str = "TRELLIS_NEMESIS_INSIDE";

/// Puts a store under load, optionally does harm to it, and judges every answer.
///
/// Ends with 0 when all is well, 1 when the store broke a promise, 2 when the run could not be carried out.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    workload: Workload,
    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Subcommand)]
enum Workload {
    /// Many clients create the same object: exactly one may succeed.
    Race,
    /// Many clients change one object step by step: no step may be lost or doubled.
    Chain,
    /// A bit of everything on a few keys. With `--harm kill` this is the crash loop.
    Mixed,
    /// Buckets are deleted while others write into them.
    Buckets,
    /// Follows a scenario that `trellis-model` saved: the same operations, losses and crashes in the same order, as far as
    /// links can be opened and closed.
    Scenario {
        /// The file.
        file: PathBuf,
    },
    /// Shows which bugs are noticed: puts one after the other into the nodes of a build for tests.
    ///
    /// Ends with 0 when each that processes are known to report was reported, and nothing was without a bug. Without
    /// `--binary` such a program is built.
    Seeded(Seeded),
}

#[derive(Args, Clone)]
struct Seeded {
    /// How long to look for each bug.
    #[arg(long, default_value_t = 2)]
    minutes_each: u64,
    /// Which bug; may be given several times (default: all that processes are known to report).
    #[arg(long)]
    bug: Vec<String>,
    /// Tries those too that processes are not known to report. It is no fault if they are not.
    #[arg(long, conflicts_with = "bug")]
    all: bool,
}

#[derive(Args)]
struct Common {
    /// Environment file of a store that is running already (AWS_ENDPOINT_URL may name several, with commas).
    #[arg(long, global = true, conflicts_with_all = ["binary", "harm"])]
    attach: Option<PathBuf>,
    /// The program `trellis` to start.
    #[arg(long, global = true)]
    binary: Option<PathBuf>,
    /// In which processes the nodes run.
    #[arg(long, global = true, value_enum, default_value = "dev")]
    shape: Shape,
    /// How many nodes.
    #[arg(long, global = true, default_value_t = 3)]
    nodes: u16,
    /// The folder of the cluster (default: a fresh one, removed afterwards).
    #[arg(long, global = true)]
    folder: Option<PathBuf>,
    /// What to do to the processes meanwhile; may be given several times.
    #[arg(long, global = true, value_enum)]
    harm: Vec<Harm>,
    /// Milliseconds between two harms, on average.
    #[arg(long, global = true, default_value_t = 1_500)]
    harm_every_ms: u64,
    /// Milliseconds a process is gone or silent, at most.
    #[arg(long, global = true, default_value_t = 500)]
    outage_max_ms: u64,
    /// Let an operator change the layout meanwhile, every so many milliseconds on average (with `--shape servers`).
    #[arg(long, global = true, requires = "binary")]
    layouts_every_ms: Option<u64>,
    /// How many clients (default: 64 in a race, 16 otherwise).
    #[arg(long, global = true)]
    clients: Option<u32>,
    /// How many keys (default: 100 in a race, 8 otherwise).
    #[arg(long, global = true)]
    keys: Option<u32>,
    /// For how many seconds chain, mixed and buckets go on.
    #[arg(long, global = true, default_value_t = 20)]
    seconds: u64,
    /// What clients and harm do follows from it (default: another one each time).
    #[arg(long, global = true)]
    seed: Option<u64>,
    /// A folder where the nodes write traces, for trellis-model replay.
    #[arg(long, global = true, requires = "binary")]
    trace: Option<PathBuf>,
    /// Where to keep the history, for trellis-check-history.
    #[arg(long, global = true)]
    history: Option<PathBuf>,
}

type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(error) = enter_namespace(&arguments) {
        return end(Err(error));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    end(runtime
        .map_err(Error::from)
        .and_then(|runtime| runtime.block_on(until_interrupted(run(&arguments)))))
}

fn end(outcome: Result<Outcome, Error>) -> ExitCode {
    let (code, text) = match outcome {
        Ok(outcome) => (if outcome.is_good() { 0 } else { 1 }, outcome.to_string()),
        Err(error) => (2, format!("the run failed: {error}")),
    };
    // Nobody to tell when the output is closed; the exit code says it all the same.
    let _ = writeln!(io::stdout(), "{text}");
    ExitCode::from(code)
}

/// Becomes the same program in a mount namespace of its own, if disks are to be mounted and it is not in one; returns an
/// error if that fails.
fn enter_namespace(arguments: &Arguments) -> Option<Error> {
    let harms = &arguments.common.harm;
    if std::env::var_os(INSIDE).is_some() || !harms.iter().any(|harm| [Harm::FullDisk, Harm::All].contains(harm)) {
        return None;
    }
    let (way, program) = (namespace()?, std::env::current_exe());
    let inside = program.map(|program| {
        let mut inside = Command::new("unshare");
        inside.args(way).arg(program).args(std::env::args_os().skip(1));
        inside.env(INSIDE, "yes").exec()
    });
    Some(inside.unwrap_or_else(|error| error).into())
}

async fn run(arguments: &Arguments) -> Result<Outcome, Error> {
    let common = &arguments.common;
    let seed = common.seed.unwrap_or_else(|| fastrand::u64(0..1_000_000));
    let work = match &arguments.workload {
        Workload::Seeded(seeded) => return hunt(seeded, common.binary.clone(), seed).await,
        Workload::Scenario { file } => return follow(file, common).await,
        Workload::Race | Workload::Chain | Workload::Mixed | Workload::Buckets => {
            work(&arguments.workload, common, seed)
        }
    };
    let outcome = match (&common.attach, &common.binary) {
        (Some(environment), _) => work.run(&cluster::attach(environment)?).await?,
        (None, Some(binary)) => play(work, common, seed, binary.clone()).await?,
        (None, None) => return Err("give either --attach or --binary".into()),
    };
    if let Some(path) = &common.history {
        file::write(path, &outcome.history)?;
    }
    Ok(outcome)
}

async fn follow(file: &Path, common: &Common) -> Result<Outcome, Error> {
    let scenario: Scenario = serde_json::from_slice(&std::fs::read(file)?)?;
    let fresh = tempfile::tempdir()?;
    let follow = Follow {
        binary: common.binary.clone().ok_or("give --binary")?,
        folder: common.folder.clone().unwrap_or_else(|| fresh.path().to_owned()),
    };
    Ok(follow.run(&scenario.plot()?).await?)
}

async fn play(work: Work, common: &Common, seed: u64, binary: PathBuf) -> Result<Outcome, Error> {
    let fresh = tempfile::tempdir()?;
    let folder = common.folder.clone().unwrap_or_else(|| fresh.path().to_owned());
    let trace = common.trace.as_deref().map(std::path::absolute).transpose()?;
    let (harms, left_out) = harms(common, &binary)?;
    let launch = Launch {
        binary,
        folder,
        nodes: common.nodes,
        shape: common.shape,
        trace: trace.map(|folder| Traces { folder, percent: 100 }),
        fittings: fittings(&harms),
    };
    let operator = common.layouts_every_ms.map(|every_ms| Operator {
        binary: launch.binary.clone(),
        folder: launch.folder.clone(),
        nodes: common.nodes,
        every: Duration::from_millis(every_ms),
        factors: factors(common.nodes, &harms),
        seed,
        count: Arc::default(),
    });
    let schedule = Schedule {
        harms,
        every: Duration::from_millis(common.harm_every_ms),
        outage_max: Duration::from_millis(common.outage_max_ms),
        seed,
        operator,
    };
    let mut outcome = Scene { work, launch, schedule }.play().await?;
    outcome.summary.extend(left_out);
    Ok(outcome)
}

/// The harms that are asked for, and a word for each that is not possible here.
fn harms(common: &Common, binary: &Path) -> Result<(Vec<Harm>, Vec<String>), Error> {
    let means = Means {
        shape: common.shape,
        can_skew: cluster::knows(binary, CLOCK_SKEW_VARIABLE)?,
        can_mount: std::env::var_os(INSIDE).is_some(),
        has_operator: common.layouts_every_ms.is_some(),
    };
    let asked = &common.harm;
    if !asked.contains(&Harm::All) {
        return match asked.iter().find_map(|harm| Some((harm, means.lack(*harm)?))) {
            Some((harm, why)) => Err(format!("--harm {}: {why}", harm.word()).into()),
            None => Ok((asked.clone(), Vec::new())),
        };
    }
    let (possible, left_out): (Vec<Harm>, Vec<Harm>) =
        Harm::EACH.into_iter().partition(|harm| means.lack(*harm).is_none());
    let say = |harm: Harm| format!("\nLEFT OUT {}: {}", harm.word(), means.lack(harm).unwrap_or_default());
    Ok((possible, left_out.into_iter().map(say).collect()))
}

/// The numbers of replicas among which an operator chooses. With a node that is gone for good, two would be too few.
fn factors(nodes: u16, harms: &[Harm]) -> Vec<u8> {
    let least = if harms.contains(&Harm::Replace) { 3 } else { 1 };
    [1, 2, 3, 5]
        .into_iter()
        .filter(|factor| *factor >= least && u16::from(*factor) <= nodes)
        .collect()
}

fn work(workload: &Workload, common: &Common, seed: u64) -> Work {
    let duration = Duration::from_secs(common.seconds);
    let (clients, keys) = (common.clients, common.keys);
    match workload {
        Workload::Race => Work::Race(race::Race {
            clients: clients.unwrap_or(64),
            keys: keys.unwrap_or(100),
        }),
        Workload::Chain => Work::Chain(chain::Chain {
            clients: clients.unwrap_or(16),
            duration,
        }),
        Workload::Buckets => Work::Buckets(buckets::Buckets {
            clients: clients.unwrap_or(8),
            duration,
            seed,
        }),
        Workload::Mixed | Workload::Seeded(_) | Workload::Scenario { .. } => Work::Mixed(mixed::Mixed {
            clients: clients.unwrap_or(16),
            keys: keys.unwrap_or(8),
            duration,
            seed,
        }),
    }
}

/// Prints a table as it comes about, line by line.
async fn hunt(seeded: &Seeded, binary: Option<PathBuf>, seed: u64) -> Result<Outcome, Error> {
    let binary = binary.map_or_else(build_for_tests, Ok)?;
    if !cluster::knows(&binary, BUG_VARIABLE)? {
        return Err("this program has no bugs to choose from: it was built without the feature seeded-bugs".into());
    }
    let bugs = wanted(seeded)?;
    let limit = Duration::from_secs(seeded.minutes_each * 60);
    let hunting = Hunting { binary, limit, seed };
    let mut outcome = Outcome::default();
    if seeded.bug.is_empty() {
        let reported = hunting.control().await?;
        outcome.faults.extend(
            reported
                .into_iter()
                .map(|(setting, what)| format!("without a bug, {setting:?}: {what}")),
        );
    }
    writeln!(io::stdout(), "{TABLE}")?;
    let mut caught = 0;
    for bug in &bugs {
        let hunt = hunting.hunt(*bug).await?;
        writeln!(io::stdout(), "{hunt}")?;
        caught += usize::from(hunt.is_caught());
        if hunt.is_missed() {
            outcome.faults.push(format!("{} was not noticed", bug.name));
        }
    }
    outcome.summary = format!("{caught} of {} bugs were reported", bugs.len());
    Ok(outcome)
}

/// The bugs to look for.
fn wanted(seeded: &Seeded) -> Result<Vec<Bug>, Error> {
    let is_wanted = |bug: &Bug| match seeded.bug.is_empty() {
        true => seeded.all || bug.is_expected(),
        false => seeded.bug.iter().any(|name| name == bug.name),
    };
    let bugs: Vec<Bug> = BUGS.into_iter().filter(is_wanted).collect();
    match bugs.len() < seeded.bug.len() {
        true => Err("there is no bug of that name".into()),
        false => Ok(bugs),
    }
}

/// Beside the other builds, so that nobody takes it for one of them.
fn build_for_tests() -> Result<PathBuf, Error> {
    let features = "trellis-node/seeded-bugs,trellis-node/clock-skew";
    let build = [
        "build",
        "--release",
        "--locked",
        "--workspace",
        "--bin",
        "trellis",
        "--features",
        features,
    ];
    let (root, target) = (concat!(env!("CARGO_MANIFEST_DIR"), "/.."), "target/for-tests");
    let built = Command::new("cargo")
        .args(build)
        .args(["--target-dir", target])
        .current_dir(root)
        .status()?;
    match built.success() {
        true => Ok(PathBuf::from(root).join(target).join("release/trellis")),
        false => Err("the program with the bugs could not be built".into()),
    }
}
