//! What the program does, apart from reading its arguments.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use stateright::Model;

use crate::check::{Engine, Failure, Report, Search, Way};
use crate::claim::{self, Claim, Effort, Mutant, Particulars, Size};
use crate::svg::Picture;
use crate::trace;
use crate::transcript::Scenario;
use crate::workbench::trial::Verdict;
use crate::world::World;

/// Did everything come out as it must?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Yes.
    AsClaimed,
    /// No: a claim failed, or a mutant survived.
    Otherwise,
}

impl Outcome {
    /// Both.
    pub fn and(self, other: Outcome) -> Outcome {
        if other == Outcome::AsClaimed { self } else { other }
    }
}

/// Prints the claims and their sizes.
pub fn list(out: &mut impl Write) -> io::Result<()> {
    for claim in claim::all() {
        writeln!(out, "{}: {}\n    ({})", claim.name, claim.sentence, claim.source)?;
        for size in &claim.sizes {
            writeln!(
                out,
                "    {:<6} {:<62} {}",
                effort(size.effort),
                size.title(),
                extent(size)
            )?;
        }
        let mutants: Vec<&str> = claim.mutants.iter().map(|mutant| mutant.name).collect();
        writeln!(out, "    notices {}", mutants.join(", "))?;
    }
    Ok(())
}

/// Checks the sizes of a claim that are of this effort and whose title contains `wanted`.
pub fn check(
    out: &mut impl Write,
    claim: &Claim,
    chosen: impl Fn(&Size) -> bool,
    engine: Engine,
    save: Option<&Path>,
) -> io::Result<Outcome> {
    let mut outcome = Outcome::AsClaimed;
    writeln!(out, "{}: {}", claim.name, claim.sentence)?;
    for size in claim.sizes.iter().filter(|size| chosen(size)) {
        let (report, took) = timed(|| size.search_as(engine.of(size.search)));
        let right = is_right(size, &report);
        let word = match (right, size.verdict()) {
            (true, Verdict::Kept) => "holds",
            (true, Verdict::Broken) => "violated, as known:",
            (false, _) => "FAILS",
        };
        writeln!(out, "    {word}  {:<62} {}", size.title(), measured(&report, took))?;
        if !report.never.is_empty() {
            writeln!(out, "    never happened: {}", report.never.join(", "))?;
        }
        if let Some(failure) = report.failure {
            writeln!(out, "    violated: {}", failure.property)?;
            tell(out, (claim.name, &size.title(), size.world()), failure, save)?;
        }
        outcome = outcome.and(if right { Outcome::AsClaimed } else { Outcome::Otherwise });
    }
    Ok(outcome)
}

/// Does a report say what the size claims?
pub fn is_right(size: &Size, report: &Report) -> bool {
    let counted = size.unique.is_none_or(|unique| unique == report.unique);
    match size.verdict() {
        Verdict::Kept => report.failure.is_none() && counted && (report.never.is_empty() || !report.complete),
        Verdict::Broken => report.failure.is_some(),
    }
}

/// Looks for every mutant.
pub fn mutants(out: &mut impl Write, wanted: Option<&str>, save: Option<&Path>) -> io::Result<Outcome> {
    let (mut caught, mut all) = (0, 0);
    for claim in claim::all() {
        let chosen = |mutant: &&Mutant| wanted.is_none_or(|wanted| mutant.name == wanted);
        for mutant in claim.mutants.iter().filter(chosen) {
            let (report, took) = timed(|| mutant.search());
            let word = if report.failure.is_some() { "caught" } else { "SURVIVED" };
            let about = format!("{} | {} | {}", mutant.name, mutant.guard, claim.name);
            writeln!(
                out,
                "{about} | {} | {} | {word}",
                mutant.size.title(),
                measured(&report, took)
            )?;
            all += 1;
            caught += usize::from(report.failure.is_some());
            if let (Some(_), Some(failure)) = (wanted, report.failure) {
                tell(out, (claim.name, mutant.name, mutant.world()), failure, save)?;
            }
        }
    }
    writeln!(out, "{caught} of {all} caught")?;
    let every = caught == all && all > 0;
    Ok(if every { Outcome::AsClaimed } else { Outcome::Otherwise })
}

/// Walks a saved scenario again, and draws it where that is wanted.
pub fn replay(out: &mut impl Write, file: &Path, mermaid: Option<&Path>, svg: Option<&Path>) -> io::Result<Outcome> {
    let scenario: Scenario = serde_json::from_slice(&fs::read(file)?)?;
    match scenario.replay() {
        Ok(walk) => {
            writeln!(out, "{} | {}\n{}", scenario.claim, scenario.world, walk.text)?;
            let pictures = [
                mermaid.map(|file| (file, walk.diagram.to_string())),
                svg.map(|file| (file, Picture::of(&walk).to_string())),
            ];
            for (file, picture) in pictures.into_iter().flatten() {
                fs::write(file, picture)?;
                writeln!(out, "drawn as {}", file.display())?;
            }
            Ok(Outcome::AsClaimed)
        }
        Err(error) => {
            writeln!(out, "{error}")?;
            Ok(Outcome::Otherwise)
        }
    }
}

/// Takes the steps of recorded traces again.
pub fn replay_traces(out: &mut impl Write, folder: &Path) -> io::Result<Outcome> {
    let mut failure = None;
    let parts = trace::read_folder(folder)?.map_while(|part| part.map_err(|error| failure = Some(error)).ok());
    let replayed = trace::replay(parts);
    if let Some(error) = failure {
        return Err(error);
    }
    writeln!(out, "{replayed}")?;
    Ok(if replayed.is_good() {
        Outcome::AsClaimed
    } else {
        Outcome::Otherwise
    })
}

/// Serves stateright's explorer until it is interrupted.
pub fn explore(out: &mut impl Write, size: &Size, address: &str) -> io::Result<()> {
    writeln!(out, "{} at http://{address}", size.title())?;
    match (size.particulars, size.world()) {
        (Particulars::Bench(trial), _) => trial.serve(size.script, size.replicas, address),
        (Particulars::Rows(_) | Particulars::Blocks(_), Some(world)) => {
            // Unsorted, so that a replica keeps its name from step to step.
            world.unsorted().checker().serve(address);
        }
        (Particulars::Rows(_) | Particulars::Blocks(_), None) => {
            return Err(io::Error::other("worlds of blocks are not served; check them instead"));
        }
    }
    Ok(())
}

/// Tells of a failure in the world of that claim and name.
fn tell(
    out: &mut impl Write,
    (claim, name, world): (&str, &str, Option<World>),
    failure: Failure,
    save: Option<&Path>,
) -> io::Result<()> {
    let (world, trace) = match (failure.way, world) {
        (Way::Told(text), _) => return writeln!(out, "{text}"),
        (Way::Walked(trace), Some(world)) => (world, trace),
        (Way::Walked(trace), None) => return writeln!(out, "{:?}", trace.into_actions()),
    };
    let scenario = Scenario::of(claim, name, &world, trace);
    match scenario.replay() {
        Ok(walk) => writeln!(out, "{}", walk.text)?,
        Err(error) => writeln!(out, "the way there cannot be walked again: {error}")?,
    }
    if let Some(file) = save {
        fs::write(file, serde_json::to_vec_pretty(&scenario)?)?;
        writeln!(out, "saved as {}", file.display())?;
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the time that a search takes is for people; no state depends on it"
)]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

fn measured(report: &Report, took: Duration) -> String {
    let extent = if report.complete { "all" } else { "up to" };
    format!(
        "{extent} {} states, depth {}, {:.1} s",
        report.unique,
        report.depth,
        took.as_secs_f64()
    )
}

fn effort(effort: Effort) -> &'static str {
    match effort {
        Effort::Small => "small",
        Effort::Large => "large",
    }
}

fn extent(size: &Size) -> String {
    if size.verdict() == Verdict::Broken {
        return "known to be violated".to_owned();
    }
    match (size.search, size.unique) {
        (Search::Exhaustive, Some(unique)) => format!("exhaustive, {unique} states"),
        (Search::Exhaustive, None) => "exhaustive, not yet completed".to_owned(),
        (Search::Nearest(most) | Search::Plain(most), _) => format!("nearest {most} states"),
        (Search::Walks { states, .. }, _) => format!("random walks over {states} states"),
        (Search::Biased { walks, .. }, _) => format!("{walks} biased random walks"),
    }
}
