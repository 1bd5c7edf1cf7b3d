//! `trellis repair`.

use clap::{Args, Subcommand};

use super::CliResult;
use super::asking::Asking;

/// Has a node look after its copies now, rather than when it is time. It does so by itself as well.
#[derive(Debug, Subcommand)]
pub(super) enum Repair {
    Compare(Compare),
    Scrub(Scrub),
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

impl Repair {
    pub(super) fn run(self) -> CliResult {
        let (asking, what) = match self {
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
