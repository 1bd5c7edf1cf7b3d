//! `trellis repair`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::CliResult;
use super::asking::Asking;
use super::output::quoted;
use crate::folder::NodeFolder;
use crate::storage::give_up;

/// Has a node look after its copies now, rather than when it is time. It does so by itself as well.
#[derive(Debug, Subcommand)]
pub(super) enum Repair {
    Compare(Compare),
    Scrub(Scrub),
    ReplaceFolder(ReplaceFolder),
}

/// Compares what the node holds with the other replicas, and copies what is missing.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  trellis repair compare --data /var/lib/trellis\n  trellis status")]
pub(super) struct Compare {
    #[command(flatten)]
    asking: Asking,
}

/// Reads every block of the node and compares it with its name, at full speed; what is damaged is copied again.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  trellis repair scrub --data /var/lib/trellis\n  trellis status")]
pub(super) struct Scrub {
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
    #[command(flatten)]
    asking: Asking,
}

impl ReplaceFolder {
    fn run(&self) -> CliResult {
        let data = self.asking.folder()?;
        // The lock says that the node does not run.
        let _locked = NodeFolder::open(&data)?;
        let id = give_up(&data, &self.path)?;
        self.asking.print(&id, |id| {
            format!(
                "{} (folder {id}) counts as lost. Start the node with an empty folder there, or take it out of the \
                 configuration; `trellis status` shows when everything is copied again",
                quoted(&self.path)
            )
        })
    }
}

impl Repair {
    pub(super) fn run(self) -> CliResult {
        let (asking, what) = match self {
            Repair::ReplaceFolder(replace) => return replace.run(),
            Repair::Compare(Compare { asking }) => (asking, "compare"),
            Repair::Scrub(Scrub { asking }) => (asking, "scrub"),
        };
        asking.ask(async |mut node| {
            let (): () = node.post(&format!("/v1/repair/{what}"), &()).await?;
            asking.print(&(), |()| {
                format!("begun; `trellis status{}` shows what comes of it", asking.options())
            })
        })
    }
}
