//! `trellis-nemesis`: workloads against a running store or against processes that it starts, kills and pauses.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tokio::sync::oneshot;
use trellis_verification::cluster::{self, Cluster, Launch, Shape, Traces};
use trellis_verification::history::file;
use trellis_verification::interruption::until_interrupted;
use trellis_verification::s3client::Target;
use trellis_verification::workload::nemesis::{self, Harm, Schedule};
use trellis_verification::workload::operator::{Changes, Operator};
use trellis_verification::workload::{Outcome, chain, mixed, race};

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

#[derive(Clone, Copy, Subcommand)]
enum Workload {
    /// Many clients create the same object: exactly one may succeed.
    Race,
    /// Many clients change one object step by step: no step may be lost or doubled.
    Chain,
    /// A bit of everything on a few keys. With `--harm kill` this is the crash loop.
    Mixed,
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
    /// For how many seconds chain and mixed go on.
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

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (code, text) = match until_interrupted(run(&arguments)).await {
        Ok(outcome) => (if outcome.is_good() { 0 } else { 1 }, outcome.to_string()),
        Err(error) => (2, format!("the run failed: {error}")),
    };
    // Nobody to tell when the output is closed; the exit code says it all the same.
    let _ = writeln!(io::stdout(), "{text}");
    ExitCode::from(code)
}

async fn run(arguments: &Arguments) -> Result<Outcome, Error> {
    let common = &arguments.common;
    let seed = common.seed.unwrap_or_else(|| fastrand::u64(0..1_000_000));
    let outcome = match (&common.attach, &common.binary) {
        (Some(environment), _) => work(arguments.workload, common, seed, &cluster::attach(environment)?).await?,
        (None, Some(binary)) => run_cluster(arguments.workload, common, seed, binary.clone()).await?,
        (None, None) => return Err("give either --attach or --binary".into()),
    };
    if let Some(path) = &common.history {
        file::write(path, &outcome.history)?;
    }
    Ok(outcome)
}

async fn run_cluster(workload: Workload, common: &Common, seed: u64, binary: PathBuf) -> Result<Outcome, Error> {
    let fresh = tempfile::tempdir()?;
    let folder = common.folder.clone().unwrap_or_else(|| fresh.path().to_owned());
    let trace = common.trace.as_deref().map(std::path::absolute).transpose()?;
    let trace = trace.map(|folder| Traces { folder, percent: 100 });
    let launch = Launch {
        binary,
        folder,
        nodes: common.nodes,
        shape: common.shape,
        trace,
    };
    let mut cluster = Cluster::start(&launch).await?;
    let target = cluster.target().clone();
    let schedule = Schedule {
        harms: common.harm.clone(),
        every: Duration::from_millis(common.harm_every_ms),
        outage_max: Duration::from_millis(common.outage_max_ms),
        seed,
    };
    let operator = common.layouts_every_ms.map(|every_ms| Operator {
        binary: launch.binary.clone(),
        folder: launch.folder.clone(),
        nodes: common.nodes,
        every: Duration::from_millis(every_ms),
        seed,
    });
    let work = operated(operator.as_ref(), work(workload, common, seed, &target));
    let ((outcome, changes), blows) = nemesis::during(&mut cluster, &schedule, work).await?;
    let mut outcome = outcome?;
    outcome.summary.push_str(&format!("; {blows} harms"));
    if let Some(operator) = operator {
        outcome.faults.extend(operator.settled().await);
        let Changes { applied, put_off } = changes;
        outcome
            .summary
            .push_str(&format!("; {applied} layouts, {put_off} put off"));
        if applied == 0 {
            outcome
                .faults
                .push("no layout was changed, so nothing was shown".to_owned());
        }
    }
    Ok(outcome)
}

/// Does the work, with an operator beside it if there is one.
async fn operated<T>(operator: Option<&Operator>, work: impl Future<Output = T>) -> (T, Changes) {
    let (over, is_over) = oneshot::channel();
    let work = async {
        let done = work.await;
        // Nobody to tell if there is no operator.
        let _ = over.send(());
        done
    };
    match operator {
        Some(operator) => tokio::join!(work, operator.work(is_over)),
        None => (work.await, Changes::default()),
    }
}

async fn work(workload: Workload, common: &Common, seed: u64, target: &Target) -> Result<Outcome, Error> {
    let duration = Duration::from_secs(common.seconds);
    let (clients, keys) = (common.clients, common.keys.unwrap_or(8));
    Ok(match workload {
        Workload::Race => {
            let keys = common.keys.unwrap_or(100);
            race::run(
                target,
                race::Race {
                    clients: clients.unwrap_or(64),
                    keys,
                },
            )
            .await?
        }
        Workload::Chain => {
            chain::run(
                target,
                chain::Chain {
                    clients: clients.unwrap_or(16),
                    duration,
                },
            )
            .await?
        }
        Workload::Mixed => {
            let clients = clients.unwrap_or(16);
            mixed::run(
                target,
                mixed::Mixed {
                    clients,
                    keys,
                    duration,
                    seed,
                },
            )
            .await?
        }
    })
}
