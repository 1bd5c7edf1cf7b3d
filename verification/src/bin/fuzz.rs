//! The program `trellis-fuzz`: feeds readers with mutated inputs for as long as one likes.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use fastrand::Rng;
use trellis_verification::fuzz::mutate::mutated;
use trellis_verification::fuzz::{TARGETS, Target};

/// Feeds readers with mutated inputs, and keeps the first that makes one panic.
#[derive(Parser)]
#[command(after_help = "Examples:
  trellis-fuzz --rounds 1000000              all targets, one after the other
  trellis-fuzz layouts --seed 7              one of them, under another seed
  trellis-fuzz layouts --file INPUT          one input once more
  ulimit -v 2000000; trellis-fuzz frames     an allocation of 2 GB ends the program")]
struct Arguments {
    /// The target; without it, all.
    target: Option<String>,
    /// Prints the names of the targets.
    #[arg(long)]
    list: bool,
    /// What chance starts from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many inputs each target gets.
    #[arg(long, default_value_t = 100_000)]
    rounds: u64,
    /// Feeds this file alone.
    #[arg(long, requires = "target")]
    file: Option<PathBuf>,
    /// Where the input that fails is kept.
    #[arg(long, default_value = "fuzz-input")]
    keep: PathBuf,
}

fn main() -> io::Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.list {
        TARGETS.iter().for_each(|target| say(target.name));
        return Ok(ExitCode::SUCCESS);
    }
    let targets = match &arguments.target {
        None => TARGETS.to_vec(),
        Some(name) => vec![Target::find(name).ok_or_else(|| io::Error::other(format!("no target {name}")))?],
    };
    if let (Some(file), [target]) = (&arguments.file, targets.as_slice()) {
        (target.feed)(&std::fs::read(file)?);
        return Ok(ExitCode::SUCCESS);
    }
    for target in targets {
        if let Some(input) = failing(target, &arguments)? {
            std::fs::write(&arguments.keep, input)?;
            say(&format!("{} fails on {}", target.name, arguments.keep.display()));
            return Ok(ExitCode::FAILURE);
        }
        say(&format!("{}: {} inputs", target.name, arguments.rounds));
    }
    Ok(ExitCode::SUCCESS)
}

fn failing(target: Target, arguments: &Arguments) -> io::Result<Option<Vec<u8>>> {
    let (seeds, mut rng) = (target.seeds()?, Rng::with_seed(arguments.seed));
    for _ in 0..arguments.rounds {
        let input = mutated(&seeds, &mut rng);
        if catch_unwind(AssertUnwindSafe(|| (target.feed)(&input))).is_err() {
            return Ok(Some(input));
        }
    }
    Ok(None)
}

#[expect(clippy::print_stdout, reason = "this is what the program is for")]
fn say(line: &str) {
    println!("{line}");
}
