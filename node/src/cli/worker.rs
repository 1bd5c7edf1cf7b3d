//! `trellis worker`.

use clap::{Args, Subcommand};

use super::CliResult;
use super::asking::Asking;
use super::output::{bytes, moment, span, table};
use crate::cluster::{PartitionWork, Worker as Who, WorkerReport, WorkerState};

/// What works in the background of a node.
#[derive(Debug, Subcommand)]
pub(super) enum Worker {
    List(List),
}

/// Lists what works in the background: what each worker does, how far it is, how fast, and what went wrong last.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trellis worker list --data /var/lib/trellis
  trellis worker list --json | jq '.[] | select(.state == \"paused\")'")]
pub(super) struct List {
    #[command(flatten)]
    asking: Asking,
}

impl Worker {
    pub(super) fn run(self) -> CliResult {
        let Worker::List(List { asking }) = self;
        asking.ask(async |mut node| {
            let workers: Vec<WorkerReport> = node.get("/v1/workers").await?;
            asking.print(&workers, |workers| for_people(workers))
        })
    }
}

fn for_people(workers: &[WorkerReport]) -> String {
    let rows = table(
        ["WORKER", "STATE", "PROGRESS", "DONE", "RATE", "TO GO", "LAST END"],
        workers.iter().map(row),
    );
    let troubles: String = workers.iter().flat_map(troubles).collect();
    let partitions: String = workers.iter().filter_map(partitions).collect();
    format!("{rows}{partitions}{troubles}")
}

fn row(report: &WorkerReport) -> [String; 7] {
    let none = || "-".to_owned();
    [
        name(report.worker).to_owned(),
        match report.state {
            WorkerState::Idle => "idle",
            WorkerState::Working => "working",
            WorkerState::Paused => "PAUSED",
        }
        .to_owned(),
        match (report.steps, report.steps_done) {
            (0, 0) => none(),
            (0, done) => format!("{done} {}", unit(report.worker)),
            (steps, done) => format!("{done} of {steps} {}", unit(report.worker)),
        },
        done(report).unwrap_or_else(none),
        match (report.bytes_per_s, report.rows_per_s) {
            (0, 0) => none(),
            (0, rows) => format!("{rows} rows/s"),
            (per_s, _) => format!("{}/s", bytes(per_s)),
        },
        report.seconds_left.map_or_else(none, span),
        report.ended_ms.map_or_else(none, moment),
    ]
}

fn done(report: &WorkerReport) -> Option<String> {
    let counted = [(report.done.rows, "rows"), (report.done.blocks, "blocks")];
    let counted = counted.iter().filter(|(count, _)| *count > 0);
    let mut counted: Vec<String> = counted.map(|(count, what)| format!("{count} {what}")).collect();
    counted.extend(Some(report.done.bytes).filter(|count| *count > 0).map(bytes));
    (!counted.is_empty()).then(|| counted.join(", "))
}

fn partitions(report: &WorkerReport) -> Option<String> {
    let row = |work: &PartitionWork| {
        let (partition, done) = (work.partition, work.done);
        format!(
            "\n  partition {partition}: {} rows, {} blocks, {} in {}",
            done.rows,
            done.blocks,
            bytes(done.bytes),
            span(work.seconds)
        )
    };
    let rows: String = report.partitions.iter().map(row).collect();
    (!rows.is_empty()).then(|| format!("\n\n{} is at:{rows}", name(report.worker)))
}

fn troubles(report: &WorkerReport) -> Vec<String> {
    let (who, mut troubles) = (name(report.worker), Vec::new());
    if let Some(why) = &report.paused {
        troubles.push(format!("\n\n{who} is paused: {why}"));
    }
    if let Some(error) = &report.last_error {
        troubles.push(format!(
            "\n\n{who}, last error, {}: {}",
            moment(error.at_ms),
            error.what
        ));
    }
    troubles
}

fn name(worker: Who) -> &'static str {
    match worker {
        Who::Migration => "migration",
        Who::Comparison => "comparison",
        Who::Scrub => "scrub",
        Who::Collector => "collector",
        Who::Forgetter => "forgetter",
        Who::Membership => "membership",
    }
}

/// What the steps of a worker are.
pub(super) fn unit(worker: Who) -> &'static str {
    match worker {
        Who::Migration | Who::Comparison | Who::Forgetter => "partitions",
        Who::Scrub => "blocks",
        Who::Collector => "rows",
        Who::Membership => "nodes connected",
    }
}
