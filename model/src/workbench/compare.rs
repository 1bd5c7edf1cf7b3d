//! All protocols side by side: what was checked of them, and what was measured.

use std::io::{self, Write};

use super::claims;
use super::guarantee::Guarantee;
use super::sheet::{Costs, HEADER_BYTES, Sheet, Survival, VALUE_BYTES, ZONES};
use super::trial::{Trial, Verdict};
use super::world::Suspicion;
use super::{Links, Membership};
use crate::claim::{Claim, Particulars, Size};

/// Prints the tables, as Markdown.
pub fn compare(out: &mut impl Write) -> io::Result<()> {
    let rows: Vec<Row> = claims().into_iter().map(Row::of).collect();
    premises(out, &rows)?;
    guarantees(out, &rows)?;
    costs(out, &rows)?;
    latencies(out, &rows)?;
    survival(out, &rows)?;
    sizes(out, &rows)?;
    mutants(out, &rows)
}

struct Row {
    claim: Claim,
    trials: Vec<Trial>,
    sheet: Sheet,
}

impl Row {
    fn of(claim: Claim) -> Self {
        let trials: Vec<Trial> = claim.sizes.iter().filter_map(trial).collect();
        let subject = trials.first().expect("every protocol has a size").subject;
        Row {
            claim,
            sheet: subject.sheet(),
            trials,
        }
    }

    /// The guarantees of that verdict among the trials that are meant.
    fn named(&self, verdict: Verdict, meant: impl Fn(&Trial) -> bool) -> Vec<&'static str> {
        let trials = self.trials.iter();
        let trials = trials.filter(|trial| trial.verdict == verdict && meant(trial));
        let mut guarantees: Vec<Guarantee> = trials.map(|trial| trial.guarantee).collect();
        guarantees.sort();
        guarantees.dedup();
        guarantees.into_iter().map(Guarantee::name).collect()
    }
}

fn trial(size: &Size) -> Option<Trial> {
    match size.particulars {
        Particulars::Bench(trial) => Some(trial),
        Particulars::Rows(_) | Particulars::Blocks(_) => None,
    }
}

fn premises(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    head(out, "", &["protocol", "source", "links between nodes", "members"])?;
    for row in rows {
        let links = match row.sheet.links {
            Links::Unordered => "any",
            Links::Ordered => "keep order",
        };
        let members = match row.sheet.membership {
            Membership::Fixed => "stay",
            Membership::Service => "removed by a service",
        };
        let cells = [row.claim.source, links, members].map(str::to_owned);
        line(out, row.claim.name, &cells)?;
    }
    Ok(())
}

fn guarantees(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    let titles = [
        "protocol",
        "messages are late or lost",
        "who crashed is removed",
        "who lives is removed",
    ];
    head(out, "What it guarantees", &titles)?;
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
        line(
            out,
            row.claim.name,
            &cells.map(|(kept, broken)| promised(&kept, &broken)),
        )?;
    }
    Ok(())
}

fn promised(kept: &[&str], broken: &[&str]) -> String {
    let kept = kept.iter().map(|name| (*name).to_owned());
    let all: Vec<String> = kept
        .chain(broken.iter().map(|name| format!("**not** {name}")))
        .collect();
    if all.is_empty() {
        "–".to_owned()
    } else {
        all.join(", ")
    }
}

fn costs(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    let of_one = [
        "round trips",
        "durable writes",
        "messages",
        "bytes",
        "values from one sender",
    ];
    let titles = [
        &["protocol"],
        &of_one[..],
        &of_one[..],
        &["conditional write: round trips"],
    ]
    .concat();
    head(out, "What a write, and then what a read costs", &titles)?;
    for row in rows {
        let cells = |costs: &Costs| {
            [
                costs.round_trips().to_string(),
                costs.alike.durable.to_string(),
                costs.alike.messages.to_string(),
                grouped(costs.bytes() as usize),
                costs.alike.most_from_one.to_string(),
            ]
        };
        let conditional = row.sheet.conditional.map(|costs| costs.round_trips().to_string());
        let mut all = [cells(&row.sheet.write), cells(&row.sheet.read)].concat();
        all.push(conditional.unwrap_or("not offered".to_owned()));
        line(out, row.claim.name, &all)?;
    }
    writeln!(
        out,
        "\nA value has {VALUE_BYTES} bytes, the rest of a message {HEADER_BYTES}."
    )
}

fn latencies(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    let titles = [
        "protocol",
        "write from A",
        "from B",
        "from C",
        "read from A",
        "from B",
        "from C",
    ];
    head(out, "Milliseconds until the answer", &titles)?;
    for row in rows {
        let zones = [row.sheet.write.zones_us, row.sheet.read.zones_us].concat();
        let cells: Vec<String> = zones.into_iter().map(milliseconds).collect();
        line(out, row.claim.name, &cells)?;
    }
    let round_trip = |from: usize, to: usize| milliseconds(ZONES[from][to] + ZONES[to][from]);
    let (ab, ac, bc) = (round_trip(0, 1), round_trip(0, 2), round_trip(1, 2));
    writeln!(
        out,
        "\nRound trips: {ab} from A to B, {ac} from A to C, {bc} from B to C, {} within a zone.",
        round_trip(0, 0)
    )
}

fn milliseconds(us: u64) -> String {
    format!("{:.1}", us as f64 / 1000.0)
}

fn survival(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    let titles = [
        "protocol",
        "1 dead: writes",
        "reads",
        "once removed",
        "2 dead: writes",
        "reads",
        "once removed",
    ];
    head(
        out,
        "In how many of the ways to kill so many of three nodes operations still finish",
        &titles,
    )?;
    for row in rows {
        let cells = |survival: &Survival| {
            let of = |count: usize| format!("{count} of {}", survival.choices);
            let removed = survival.removed.map_or("–".to_owned(), of);
            [of(survival.writes), of(survival.reads), removed]
        };
        let both: Vec<String> = row.sheet.survives.iter().flat_map(cells).collect();
        line(out, row.claim.name, &both)?;
    }
    Ok(())
}

fn sizes(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    head(
        out,
        "What was checked, with three nodes",
        &["protocol", "operations", "what goes wrong", "guarantee", "result"],
    )?;
    for row in rows {
        for (size, trial) in row.claim.sizes.iter().zip(&row.trials) {
            let result = match size.unique {
                Some(unique) => format!("kept in all {} states", grouped(unique)),
                None => "broken, as known".to_owned(),
            };
            let script = size.script.replace('|', "\\|");
            let cells = [
                format!("`{script}`"),
                size.about.to_owned(),
                trial.guarantee.name().to_owned(),
                result,
            ];
            line(out, row.claim.name, &cells)?;
        }
    }
    Ok(())
}

fn mutants(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    head(
        out,
        "The mutants, all of which are caught",
        &["mutant", "the guard that it lacks", "protocol", "noticed in"],
    )?;
    for row in rows {
        for mutant in &row.claim.mutants {
            let title = mutant.size.title().replace('|', "\\|");
            let cells = [mutant.guard, row.claim.name, &title].map(str::to_owned);
            line(out, mutant.name, &cells)?;
        }
    }
    Ok(())
}

/// A number with a comma before each three digits.
fn grouped(number: usize) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", grouped(number / 1000), number % 1000),
    }
}

fn head(out: &mut impl Write, caption: &str, titles: &[&str]) -> io::Result<()> {
    if !caption.is_empty() {
        writeln!(out, "\n### {caption}\n")?;
    }
    writeln!(out, "| {} |", titles.join(" | "))?;
    writeln!(out, "|{}", "---|".repeat(titles.len()))
}

fn line(out: &mut impl Write, name: &str, cells: &[String]) -> io::Result<()> {
    writeln!(out, "| {name} | {} |", cells.join(" | "))
}
