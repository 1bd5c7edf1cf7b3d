//! All protocols side by side: what was checked of them, and what was measured.

use std::io::{self, Write};

use super::claims;
use super::guarantee::Guarantee;
use super::sheet::{Costs, HEADER_BYTES, Sheet, Survival, VALUE_BYTES};
use super::trial::{Trial, Verdict};
use super::world::Suspicion;
use crate::claim::{Claim, Particulars};

/// Prints the tables, as Markdown.
pub fn compare(out: &mut impl Write) -> io::Result<()> {
    let rows: Vec<Row> = claims().into_iter().map(Row::of).collect();
    guarantees(out, &rows)?;
    costs(out, &rows)?;
    latencies(out, &rows)?;
    survival(out, &rows)
}

struct Row {
    claim: Claim,
    trials: Vec<Trial>,
    sheet: Sheet,
}

impl Row {
    fn of(claim: Claim) -> Self {
        let trial = |particulars: &Particulars| match particulars {
            Particulars::Bench(trial) => Some(*trial),
            Particulars::Rows(_) | Particulars::Blocks(_) => None,
        };
        let trials: Vec<Trial> = claim.sizes.iter().filter_map(|size| trial(&size.particulars)).collect();
        let subject = trials.first().expect("every protocol has a size").subject;
        Row {
            claim,
            sheet: subject.sheet(),
            trials,
        }
    }

    /// The guarantees of that verdict among the trials that are meant.
    fn named(&self, verdict: Verdict, meant: impl Fn(&Trial) -> bool) -> Vec<&'static str> {
        let trials = self
            .trials
            .iter()
            .filter(|trial| trial.verdict == verdict && meant(trial));
        let mut guarantees: Vec<Guarantee> = trials.map(|trial| trial.guarantee).collect();
        guarantees.sort();
        guarantees.dedup();
        guarantees.into_iter().map(Guarantee::name).collect()
    }
}

fn guarantees(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    head(
        out,
        &[
            "protocol",
            "messages are late or lost",
            "crashed nodes are removed",
            "nodes are removed by mistake",
        ],
    )?;
    for row in rows {
        let calm = |trial: &Trial| trial.harm.removals == 0;
        let right = |trial: &Trial| trial.harm.removals > 0 && trial.harm.suspicion == Suspicion::Right;
        let wrong = |trial: &Trial| trial.harm.suspicion == Suspicion::Wrong;
        // Where nodes may be removed, it may also happen that none is.
        let anywhere = row.named(Verdict::Kept, |_| true);
        let cells = [
            (anywhere, row.named(Verdict::Broken, calm)),
            (row.named(Verdict::Kept, right), row.named(Verdict::Broken, right)),
            (row.named(Verdict::Kept, wrong), row.named(Verdict::Broken, wrong)),
        ];
        let cells = cells.map(|(kept, broken)| {
            let broken = broken.into_iter().map(|name| format!("**not:** {name}"));
            let all: Vec<String> = kept.into_iter().map(str::to_owned).chain(broken).collect();
            if all.is_empty() {
                "–".to_owned()
            } else {
                all.join("; ")
            }
        });
        line(out, row.claim.name, &cells)?;
    }
    writeln!(out)
}

fn costs(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    head(
        out,
        &[
            "protocol",
            "write: round trips",
            "durable writes",
            "messages",
            "bytes",
            "read: round trips",
            "durable writes",
            "messages",
            "bytes",
            "conditional write: round trips",
        ],
    )?;
    for row in rows {
        let cells = |costs: &Costs| {
            [
                costs.round_trips().to_string(),
                costs.alike.durable.to_string(),
                costs.alike.messages.to_string(),
                costs.bytes().to_string(),
            ]
        };
        let conditional = row.sheet.conditional.map(|costs| costs.round_trips().to_string());
        let mut all = [cells(&row.sheet.write), cells(&row.sheet.read)].concat();
        all.push(conditional.unwrap_or("not offered".to_owned()));
        line(out, row.claim.name, &all)?;
    }
    writeln!(
        out,
        "\nA value has {VALUE_BYTES} bytes, the rest of a message {HEADER_BYTES}.\n"
    )
}

fn latencies(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    head(
        out,
        &[
            "protocol",
            "write from A",
            "from B",
            "from C",
            "read from A",
            "from B",
            "from C",
        ],
    )?;
    for row in rows {
        let zones = [row.sheet.write.zones_us, row.sheet.read.zones_us].concat();
        let cells: Vec<String> = zones.iter().map(|us| format!("{:.1}", *us as f64 / 1000.0)).collect();
        line(out, row.claim.name, &cells)?;
    }
    writeln!(out, "\nMilliseconds.\n")
}

fn survival(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    head(
        out,
        &[
            "protocol",
            "1 of 3 dead: writes",
            "reads",
            "after removal",
            "2 of 3 dead: writes",
            "reads",
            "after removal",
        ],
    )?;
    for row in rows {
        let cells = |survival: &Survival| {
            let of = |count: usize| format!("{count} of {}", survival.choices);
            let removed = survival.removed.map_or("nobody removes".to_owned(), of);
            [of(survival.writes), of(survival.reads), removed]
        };
        let both: Vec<String> = row.sheet.survives.iter().flat_map(cells).collect();
        line(out, row.claim.name, &both)?;
    }
    Ok(())
}

fn head(out: &mut impl Write, titles: &[&str]) -> io::Result<()> {
    writeln!(out, "| {} |", titles.join(" | "))?;
    writeln!(out, "|{}", "---|".repeat(titles.len()))
}

fn line(out: &mut impl Write, name: &str, cells: &[String]) -> io::Result<()> {
    writeln!(out, "| {name} | {} |", cells.join(" | "))
}
