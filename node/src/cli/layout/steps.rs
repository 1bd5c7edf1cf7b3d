//! The steps of a change: what is staged, what it would come to, and making it so.

use clap::Args;

use super::show;
use crate::admin::Client;
use crate::admin::layout::{self, Applied, Change, LayoutReport, LayoutState, Role, StagedReport};
use crate::cli::CliResult;
use crate::cli::asking::Asking;
use crate::cli::output::bytes;
use crate::cli::progress::{POLL, Progress, Step};
use crate::cli::repair::pause;
use crate::config::Redundancy;
use crate::size::parse_bytes;

/// Stages a role for a node: a new one, or another one than it has. What is not given stays as it is.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trellis layout assign 0123abcd --zone garden --capacity 2TB
  trellis layout assign 0123abcd --zone garden --gateway --tag rack-3
  trellis layout assign 0123abcd --zone attic       the node moved to another zone

Staged on the node that is asked; nothing changes before `trellis layout apply`.")]
pub(in crate::cli) struct Assign {
    /// The node: its id as `trellis node list` shows it, or any beginning of it that no other node has.
    node: String,
    /// Its zone: nodes of one zone fail together.
    #[arg(long)]
    zone: Option<String>,
    /// What it offers, such as 500GB, 2TB or 1.5TiB.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    capacity: Option<u64>,
    /// It stores nothing and answers clients.
    #[arg(long, conflicts_with = "capacity")]
    gateway: bool,
    /// A word for people; may be given again. Replaces those that the node has.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    #[command(flatten)]
    asking: Asking,
}

/// Stages that a node leaves the layout. It stays until the data are elsewhere, if it is up.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  trellis layout remove 0123abcd

Staged on the node that is asked; nothing changes before `trellis layout apply`. Do not stop a node that was removed before
`trellis layout history` says that nothing moves.")]
pub(in crate::cli) struct Remove {
    /// The node: its id, or any beginning of it that no other node has.
    node: String,
    #[command(flatten)]
    asking: Asking,
}

/// Stages another number of replicas, or of zones.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trellis layout config --replication-factor 5
  trellis layout config --zone-redundancy maximum

Staged on the node that is asked; nothing changes before `trellis layout apply`.")]
pub(in crate::cli) struct Config {
    /// Replicas of everything.
    #[arg(long, value_name = "N")]
    replication_factor: Option<u8>,
    /// In how many zones everything is at least; `maximum` for as many as there are.
    #[arg(long, value_name = "K|maximum")]
    zone_redundancy: Option<Redundancy>,
    #[command(flatten)]
    asking: Asking,
}

/// Shows what the staged changes would come to: who gets what, how much fits, how much moves.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  trellis layout preview")]
pub(in crate::cli) struct Preview {
    #[command(flatten)]
    asking: Asking,
}

/// Makes the staged changes: the nodes of the layout decide on the next one.
///
/// Data move in the background, and clients go on meanwhile. If another layout was decided at the same time, nothing is
/// lost: the staged changes are still there, to be looked at again on top of it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trellis layout apply --wait                       until all is where it belongs
  trellis layout apply --version 4                  only if that is the number that was previewed")]
pub(in crate::cli) struct Apply {
    /// Only if the layout gets this number, as the preview said.
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    /// Waits until everything is at its new owners, and shows how far it is. Ending this command does not end the moves.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    asking: Asking,
}

/// Forgets what is staged. A layout that was applied cannot be taken back, but changed again.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  trellis layout revert")]
pub(in crate::cli) struct Revert {
    #[command(flatten)]
    asking: Asking,
}

impl Assign {
    pub(super) fn run(self) -> CliResult {
        let role = match (self.capacity, self.gateway) {
            (Some(capacity_bytes), _) => Some(Role::Storage { capacity_bytes }),
            (None, true) => Some(Role::Gateway),
            (None, false) => None,
        };
        let change = Change::Assign {
            node: self.node,
            zone: self.zone,
            role,
            tags: Some(self.tags).filter(|tags| !tags.is_empty()),
        };
        stage(&self.asking, change)
    }
}

impl Remove {
    pub(super) fn run(self) -> CliResult {
        stage(&self.asking, Change::Remove { node: self.node })
    }
}

impl Config {
    pub(super) fn run(self) -> CliResult {
        let change = Change::Config {
            replication_factor: self.replication_factor,
            zone_redundancy: self.zone_redundancy,
        };
        stage(&self.asking, change)
    }
}

/// Stages a change, and says what is staged then.
pub(in crate::cli) fn stage(asking: &Asking, change: Change) -> CliResult {
    asking.ask(async |mut node| {
        let staged: StagedReport = node.post("/v1/layout/staged", &change).await?;
        asking.print(&staged, |staged| {
            let next = format!("trellis layout preview{}", asking.options());
            format!("{}\nNothing has changed yet. Next: {next}", show::staged(staged))
        })
    })
}

impl Preview {
    pub(super) fn run(self) -> CliResult {
        let asking = self.asking;
        asking.ask(async |mut node| {
            let preview: layout::Preview = node.get("/v1/layout/preview").await?;
            asking.print(&preview, |preview| show::preview(preview, &asking.options()))
        })
    }
}

impl Apply {
    pub(super) fn run(self) -> CliResult {
        let Apply { version, wait, asking } = self;
        asking.ask(async |mut node| {
            let applied: Applied = node.post("/v1/layout/apply", &layout::Apply { version }).await?;
            if wait {
                until_moved(&mut node, applied.version).await?;
                return asking.print(&applied, |applied| {
                    format!(
                        "layout {} is decided, and everything is where it belongs.",
                        applied.version
                    )
                });
            }
            asking.print(&applied, |applied| {
                let moving = match applied.moves {
                    0 => "No data have to move.".to_owned(),
                    moves => format!(
                        "{moves} replicas of partitions move now, {} at most.",
                        bytes(applied.bytes_to_move_at_most)
                    ),
                };
                let next = format!("trellis layout history{}", asking.options());
                format!(
                    "layout {} is decided. {moving} `{next}` shows how far it is.",
                    applied.version
                )
            })
        })
    }
}

/// Waits until every share is at its owner in this layout, or in a newer one.
async fn until_moved(node: &mut Client, version: u64) -> CliResult {
    let mut progress = Progress::new();
    loop {
        let layout: LayoutReport = node.get("/v1/layout").await?;
        let is_settled = layout.state == LayoutState::Settled && layout.shares_synced == layout.shares;
        if layout.version >= version && is_settled {
            return Ok(());
        }
        let works = || layout.moving.iter().filter_map(|moving| moving.work.as_ref());
        progress.show(&Step {
            done: layout.shares_synced as u64,
            of: layout.shares as u64,
            what: "shares",
            copied: works().map(|work| work.done).sum(),
            bytes_per_s: works().map(|work| work.bytes_per_s).sum(),
            seconds_left: works().filter_map(|work| work.seconds_left).max(),
        });
        pause(POLL).await;
    }
}

impl Revert {
    pub(super) fn run(self) -> CliResult {
        let asking = self.asking;
        asking.ask(async |mut node| {
            let forgotten: StagedReport = node.delete_for("/v1/layout/staged").await?;
            asking.print(&forgotten, |forgotten| match forgotten == &StagedReport::default() {
                true => "nothing was staged".to_owned(),
                false => format!("Forgotten, and not applied. {}", show::staged(forgotten)),
            })
        })
    }
}
