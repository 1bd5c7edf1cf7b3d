//! `trellis layout`.

mod force;
mod show;
mod steps;
mod words;

use clap::{Args, Subcommand};

use self::force::Force;
pub(super) use self::steps::stage;
use self::steps::{Apply, Assign, Config, Preview, Remove, Revert};
use super::CliResult;
use super::asking::Asking;
use crate::admin::layout::{LayoutReport, VersionReport};

/// Which node stores what: shows it, and changes it in steps.
///
/// Changes are staged first, on the node that is asked, and nowhere else: stage and apply on the same one. A preview
/// shows what they would come to; `apply` has the nodes of the layout decide, and data begin to move while clients go on.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Example: a node joins that runs with the cluster's secret and [initial_layout]
  trellis node list                                 is it known?
  trellis layout assign 0123abcd --zone garden --capacity 2TB
  trellis layout preview
  trellis layout apply
  trellis layout history                            how far is it?")]
pub(super) enum Layout {
    Show(Show),
    Assign(Assign),
    Remove(Remove),
    Config(Config),
    Preview(Preview),
    Apply(Apply),
    Revert(Revert),
    History(History),
    Force(Force),
}

/// Shows the newest layout, what is staged, and which nodes have no role.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  trellis layout show --data /var/lib/trellis")]
pub(super) struct Show {
    #[command(flatten)]
    asking: Asking,
}

/// Shows all layouts, and how far data have moved.
///
/// A layout is active for a partition until enough of its replicas in a newer one are synced.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  trellis layout history --json | jq '.[0]'")]
pub(super) struct History {
    #[command(flatten)]
    asking: Asking,
}

impl Layout {
    pub(super) fn run(self) -> CliResult {
        match self {
            Layout::Show(Show { asking }) => asking.ask(async |mut node| {
                let layout: LayoutReport = node.get("/v1/layout").await?;
                asking.print(&layout, |layout| show::layout(layout, &asking.options()))
            }),
            Layout::History(History { asking }) => asking.ask(async |mut node| {
                let history: Vec<VersionReport> = node.get("/v1/layout/history").await?;
                let layout: LayoutReport = node.get("/v1/layout").await?;
                asking.print(&history, |history| show::history(history, &layout.moving))
            }),
            Layout::Assign(command) => command.run(),
            Layout::Remove(command) => command.run(),
            Layout::Config(command) => command.run(),
            Layout::Preview(command) => command.run(),
            Layout::Apply(command) => command.run(),
            Layout::Revert(command) => command.run(),
            Layout::Force(command) => command.run(),
        }
    }
}
