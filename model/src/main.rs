//! The program `trellis-model`: lists, checks and explores the claims about the protocols.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use trellis_model::check::Engine;
use trellis_model::claim::{self, Claim, Effort, Size};
use trellis_model::program::{self, Outcome};
use trellis_model::workbench::compare::compare;

/// Model checking of the Trellis protocols: the code that a node runs, under every order of messages, losses and
/// crashes that a configuration allows.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  trellis-model list
  trellis-model check C4                  the small sizes of one claim: seconds
  trellis-model check C4 --size large     the large ones: minutes, some GB
  trellis-model check C4 --engine own     the same states, searched by another engine
  trellis-model check all --size 'W|INM'  those of all claims whose title contains this
  trellis-model compare                   other protocols of replication beside Trellis' own
  trellis-model mutants                   every guard that a claim notices, left out in turn
  trellis-model mutants dirty-read        one of them, with the way to its discovery
  trellis-model replay DIR                what nodes recorded, held against the same code
  trellis-model replay WAY.json --svg WAY.svg
                                          what `--save` saved, and its messages as a picture
  trellis-model explore C1                in a browser, state by state"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints the claims, the sizes at which each is checked, and what each notices.
    List,
    /// Checks a claim, or `all`. Fails if a claim does not hold, or if a number of states is not the recorded one.
    Check {
        /// C1, C2, … or a word, as `list` has it.
        claim: String,
        /// `small`, `large`, or a part of a size's title.
        #[arg(long, default_value = "small")]
        size: String,
        /// Who searches. Both must count the same states.
        #[arg(long, value_enum, default_value = "stateright")]
        engine: Engine,
        /// Saves a counterexample here, as JSON for `replay`.
        #[arg(long)]
        save: Option<PathBuf>,
    },
    /// Serves a claim's states to a browser.
    Explore {
        /// As for `check`.
        claim: String,
        /// A part of a size's title; without it, the first size.
        #[arg(long, default_value = "")]
        size: String,
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:3000")]
        address: String,
    },
    /// Walks a saved scenario again with the rules as they are now, and prints it. Of a folder with traces that nodes
    /// recorded, takes every step again, and fails at the first that comes out otherwise.
    Replay {
        /// The scenario, or the folder of traces.
        path: PathBuf,
        /// Draws the scenario here, as a sequence diagram for Mermaid.
        #[arg(long)]
        mermaid: Option<PathBuf>,
        /// Draws it here, with the state that it comes to, as a picture for any browser.
        #[arg(long)]
        svg: Option<PathBuf>,
    },
    /// Prints the protocols of the workbench side by side: what holds of them, what they cost, and what they survive.
    Compare,
    /// Leaves out each guard in turn and looks whether its claim notices. Fails if one survives.
    Mutants {
        /// Only this one, with the way to its discovery.
        name: Option<String>,
        /// Saves that way here, as JSON for `replay`.
        #[arg(long, requires = "name")]
        save: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(Outcome::AsClaimed) => ExitCode::SUCCESS,
        Ok(Outcome::Otherwise) => ExitCode::FAILURE,
        // Whoever reads the output may stop reading.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => clap::Error::raw(clap::error::ErrorKind::Io, format!("{error}\n")).exit(),
    }
}

fn run(command: Command) -> io::Result<Outcome> {
    let out = &mut io::stdout().lock();
    match command {
        Command::List => program::list(out).map(|()| Outcome::AsClaimed),
        Command::Check {
            claim,
            size,
            engine,
            save,
        } => {
            let mut outcome = Outcome::AsClaimed;
            for claim in claims(&claim)? {
                outcome = outcome.and(program::check(
                    out,
                    &claim,
                    |of| is_meant(of, &size),
                    engine,
                    save.as_deref(),
                )?);
            }
            Ok(outcome)
        }
        Command::Explore { claim, size, address } => {
            let claims = claims(&claim)?;
            let sizes = claims.iter().flat_map(|claim| &claim.sizes);
            let found = sizes.into_iter().find(|of| size.is_empty() || is_meant(of, &size));
            let size = found.ok_or_else(|| io::Error::other("no size of that title; see `trellis-model list`"))?;
            program::explore(out, size, &address).map(|()| Outcome::AsClaimed)
        }
        Command::Replay { path, mermaid, svg } if path.is_dir() => match (mermaid, svg) {
            (None, None) => program::replay_traces(out, &path),
            (_, _) => Err(io::Error::other("a folder of traces is not drawn; a scenario is")),
        },
        Command::Replay { path, mermaid, svg } => program::replay(out, &path, mermaid.as_deref(), svg.as_deref()),
        Command::Compare => compare(out).map(|()| Outcome::AsClaimed),
        Command::Mutants { name, save } => program::mutants(out, name.as_deref(), save.as_deref()),
    }
}

fn claims(name: &str) -> io::Result<Vec<Claim>> {
    if name == "all" {
        return Ok(claim::all());
    }
    let found =
        claim::find(name).ok_or_else(|| io::Error::other(format!("no claim {name}; see `trellis-model list`")))?;
    Ok(vec![found])
}

fn is_meant(size: &Size, wanted: &str) -> bool {
    match (wanted, size.effort) {
        ("small", effort) => effort == Effort::Small,
        ("large", effort) => effort == Effort::Large,
        (part, _) => size.title().contains(part),
    }
}
