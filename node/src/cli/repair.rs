//! `trellis repair`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::CliResult;
use super::asking::Asking;
use super::output::{bytes, quoted, span};
use super::progress::{POLL, Progress, Step};
use super::worker::unit;
use crate::admin::{Client, ClientError};
use crate::cluster::{Worker, WorkerReport, WorkerState};
use crate::folder::NodeFolder;
use crate::storage::{Losing, give_up};

/// Has a node look after its copies now, rather than when it is time. It does so by itself as well.
#[derive(Debug, Subcommand)]
pub(super) enum Repair {
    Compare(Compare),
    Scrub(Scrub),
    ReplaceFolder(ReplaceFolder),
}

/// Compares what the node holds with the other replicas, and copies what is missing.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  trellis repair compare --wait --data /var/lib/trellis\n  trellis status --data /var/lib/trellis"
)]
pub(super) struct Compare {
    #[command(flatten)]
    how: How,
}

/// Reads every block of the node and compares it with its name, at full speed; what is damaged is copied again.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  trellis repair scrub --wait --data /var/lib/trellis\n  trellis status --data /var/lib/trellis"
)]
pub(super) struct Scrub {
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
struct How {
    /// Waits until it is done, and shows how far it is. Ending this command does not end the work.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    asking: Asking,
}

/// Declares that a block folder is lost with everything in it, so that the node starts without it. The node must not run.
///
/// From the next start on, what the folder held is copied again from the other nodes; with one replica it is gone. An empty
/// folder at the same path is then taken into use as a new one; without one, take it out of the configuration.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  trellis repair replace-folder /mnt/a/blocks --data /var/lib/trellis")]
pub(super) struct ReplaceFolder {
    /// The block folder, as the configuration names it.
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Also if the folder is there and holds blocks: they are lost here.
    #[arg(long)]
    lost: bool,
    #[command(flatten)]
    asking: Asking,
}

impl ReplaceFolder {
    fn run(&self) -> CliResult {
        let data = self.asking.folder()?;
        // The lock says that the node does not run.
        let _locked = NodeFolder::open(&data)?;
        let losing = if self.lost { Losing::Blocks } else { Losing::Nothing };
        let id = give_up(&data, &self.path, losing)?;
        self.asking.print(&id, |id| {
            format!(
                "{} (folder {id}) counts as lost. Start the node with an empty folder there, or take it out of the \
                 configuration; `trellis status` shows when everything is copied again",
                quoted(&self.path)
            )
        })
    }
}

/// It could not be done wholly.
#[derive(Debug, thiserror::Error)]
#[error("not all of it could be done: {0}. The node tries again by itself; `trellis worker list` shows how it is")]
struct Unfinished(String);

impl Repair {
    pub(super) fn run(self) -> CliResult {
        let (how, what, worker) = match self {
            Repair::ReplaceFolder(replace) => return replace.run(),
            Repair::Compare(Compare { how }) => (how, "compare", Worker::Comparison),
            Repair::Scrub(Scrub { how }) => (how, "scrub", Worker::Scrub),
        };
        let How { wait, asking } = how;
        asking.ask(async |mut node| {
            let before = report(&mut node, worker).await?;
            let (): () = node.post(&format!("/v1/repair/{what}"), &()).await?;
            if !wait {
                return asking.print(&(), |()| {
                    format!("begun; `trellis status{}` shows what comes of it", asking.options())
                });
            }
            let done = wait_for(&mut node, &before).await?;
            asking.print(&done, |done| {
                format!(
                    "done in {}: {} {}, {}",
                    span(done.seconds),
                    done.steps_done,
                    unit(worker),
                    bytes(done.done.bytes)
                )
            })?;
            match done.paused {
                Some(why) => Err(Unfinished(why).into()),
                None => Ok(()),
            }
        })
    }
}

async fn report(node: &mut Client, worker: Worker) -> Result<WorkerReport, ClientError> {
    let workers: Vec<WorkerReport> = node.get("/v1/workers").await?;
    let found = workers.into_iter().find(|report| report.worker == worker);
    Ok(found.unwrap_or_else(|| WorkerReport::idle(worker)))
}

/// Waits for the end of the first run that began after `before`.
async fn wait_for(node: &mut Client, before: &WorkerReport) -> Result<WorkerReport, ClientError> {
    // A comparison that is under way takes no new partitions in; a scrub begins anew.
    let is_another = before.state == WorkerState::Working && before.worker == Worker::Comparison;
    let runs = before.runs + 1 + u64::from(is_another);
    let mut progress = Progress::new();
    loop {
        let now = report(node, before.worker).await?;
        if now.runs >= runs && now.state != WorkerState::Working {
            return Ok(now);
        }
        progress.show(&Step {
            done: now.steps_done,
            of: now.steps,
            what: unit(now.worker),
            copied: now.done,
            bytes_per_s: now.bytes_per_s,
            seconds_left: now.seconds_left,
        });
        pause(POLL).await;
    }
}

/// Between two questions to a node.
pub(super) async fn pause(pause: Duration) {
    tokio::time::sleep(pause).await;
}
