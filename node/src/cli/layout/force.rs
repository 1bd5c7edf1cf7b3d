//! `trellis layout force`.

use clap::Args;

use super::show;
use super::words::counted;
use crate::admin::layout::{self, ForceReport, ForcedReport};
use crate::cli::CliResult;
use crate::cli::asking::Asking;
use crate::cli::status::short;

/// The way out when most replicas of some partition, or most storage nodes, are lost for good. Data may be lost.
///
/// Shows what it would come to, and changes nothing unless --yes-lose-data is said. The next layout is then not elected but
/// decreed by this node: what is staged, without the nodes that are named as lost. Those are refused for ever, and can only
/// come back as new nodes with empty folders. Whatever is left of each partition is kept; what was acknowledged last may
/// have been on lost nodes alone, and older versions may be back in its place.
///
/// Run it on one node only, and once: two nodes that both do it make two clusters. The nodes that are named must be gone, or
/// stopped for good; as long as one runs, its clients write what nobody else will ever read.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: of three nodes two are lost; the third goes on alone until there are new ones
  trellis layout config --replication-factor 1
  trellis layout force --lost 0123abcd --lost 4567cdef --epoch 202611221530
  trellis layout force --lost 0123abcd --lost 4567cdef --epoch 202611221530 --version 5 --yes-lose-data
  trellis layout history                            how far is it, and what was forced?")]
pub(in crate::cli) struct Force {
    /// A node that is lost for good: its id, or any beginning of it that no other node has. May be given again.
    #[arg(long, value_name = "ID", required = true)]
    lost: Vec<String>,
    /// A number above that of every force before (`trellis layout show` says the last one); 1 if there was none.
    #[arg(long, value_name = "N")]
    epoch: u64,
    /// The number that the layout was to get when it was shown; only then it is done.
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    /// Also if a node that is named was heard of within the last minute.
    #[arg(long)]
    although_heard: bool,
    /// Does it. Without this, it is only shown.
    #[arg(long, requires = "version")]
    yes_lose_data: bool,
    #[command(flatten)]
    asking: Asking,
}

impl Force {
    pub(super) fn run(self) -> CliResult {
        let (path, again) = match self.yes_lose_data {
            true => ("/v1/layout/force", String::new()),
            false => ("/v1/layout/force/preview", self.command()),
        };
        let order = layout::Force {
            lost: self.lost,
            epoch: self.epoch,
            version: self.version,
            although_heard: self.although_heard,
        };
        let asking = self.asking;
        asking.ask(async |mut node| {
            let report: ForceReport = node.post(path, &order).await?;
            asking.print(&report, |report| match again.is_empty() {
                true => done(report, &asking.options()),
                false => shown(report, &again, &asking.options()),
            })
        })
    }

    /// The options of the command that does it, but for the layout's number.
    fn command(&self) -> String {
        let lost: String = self.lost.iter().map(|node| format!(" --lost {node}")).collect();
        let heard = if self.although_heard { " --although-heard" } else { "" };
        format!("trellis layout force{lost} --epoch {}{heard}", self.epoch)
    }
}

fn shown(report: &ForceReport, again: &str, options: &str) -> String {
    let version = report.preview.version;
    let preview = show::preview_table(&report.preview);
    format!(
        "{preview}

{}

Nothing has changed yet. Be sure that the lost nodes never start again, and that nobody forces a layout elsewhere. Then:
  {again} --version {version} --yes-lose-data{options}",
        cost(report)
    )
}

fn done(report: &ForceReport, options: &str) -> String {
    format!(
        "layout {} is forced, epoch {}. {}\n\nNext: trellis layout history{options}",
        report.preview.version,
        report.forced.epoch,
        forced(&report.forced, report.partitions),
    )
}

fn cost(report: &ForceReport) -> String {
    let electors = format!(
        "{} of {} storage nodes are left to decide on layouts.",
        report.electors_left, report.electors
    );
    format!("{electors}\n{}", forced(&report.forced, report.partitions))
}

/// What may be lost.
pub(super) fn forced(forced: &ForcedReport, partitions: usize) -> String {
    let lost: Vec<&str> = forced.lost.iter().map(|id| short(id)).collect();
    let of = |count: usize| counted(count as u64, "partition", "partitions");
    let mut lines = vec![format!("Declared lost, for good: {}.", lost.join(", "))];
    match forced.doubtful {
        0 => {}
        count => lines.push(format!(
            "{} of {partitions} had less than a majority left: objects that were acknowledged last MAY BE LOST there, and \
             older versions or deleted objects may be back. What the nodes that are left hold of the layouts in use is kept.",
            of(count)
        )),
    }
    match forced.gone {
        0 => {}
        count => lines.push(format!(
            "{} of {partitions} had nobody left in the oldest layout in use: EVERYTHING IS LOST there that newer ones had not \
             copied.",
            of(count)
        )),
    }
    if forced.doubtful == 0 && forced.gone == 0 {
        lines.push("Every partition had a majority left: nothing that was acknowledged is lost.".to_owned());
    }
    lines.join("\n")
}
