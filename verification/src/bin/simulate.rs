//! `simulate --seed S`: runs whole nodes under seeds, and says what it met and what went wrong.

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use trellis_verification::clock::Clock;
use trellis_verification::history::file;
use trellis_verification::simulation::{Run, Sabotage, Setup, Tally, run};

/// Simulates clusters: many clients, much harm, then peace, in which everything must be well again.
///
/// Ends with 0 when all runs are good, 1 when one is not. The same seed gives the same run.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// End after this many minutes, whatever is left; takes as many seeds as fit.
    #[arg(long)]
    minutes: Option<u64>,
    /// How many nodes; 0 takes turns with 3, 1 and 5.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(..=7))]
    nodes: u16,
    /// Puts a bug in, to see that it is noticed.
    #[arg(long, value_enum, default_value_t)]
    sabotage: Sabotage,
    /// Writes the histories of bad runs into this folder.
    #[arg(long)]
    histories: Option<PathBuf>,
    /// Goes on after a bad run.
    #[arg(long)]
    keep_going: bool,
    /// Says for every run what was done to the cluster.
    #[arg(long)]
    verbose: bool,
}

/// What came of all runs so far.
#[derive(Default)]
struct Total {
    runs: u64,
    bad: Vec<Setup>,
    operations: u64,
    virtual_time: Duration,
    tally: Tally,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match simulate(&arguments) {
        Ok(total) if total.bad.is_empty() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            // Nobody reads what cannot be written.
            let _ = writeln!(io::stderr(), "cannot report: {error}");
            ExitCode::FAILURE
        }
    }
}

fn simulate(arguments: &Arguments) -> io::Result<Total> {
    let (clock, mut total, mut out) = (Clock::start(), Total::default(), io::stdout());
    let limit = arguments.minutes.map(|minutes| Duration::from_secs(60 * minutes));
    let seeds = if limit.is_some() { u64::MAX } else { arguments.seeds };
    for number in 0..seeds {
        if limit.is_some_and(|limit| clock.elapsed() > limit) {
            break;
        }
        let setup = setup(arguments, number);
        match catch_unwind(AssertUnwindSafe(|| run(setup))) {
            Ok(run) => total.take(arguments, &run, &mut out)?,
            Err(_) => {
                total.bad.push(setup);
                writeln!(out, "PANIC, see above\n{}", replay(setup))?;
            }
        }
        total.runs += 1;
        if !total.bad.is_empty() && !arguments.keep_going {
            break;
        }
    }
    total.report(clock.elapsed(), &mut out)?;
    Ok(total)
}

fn setup(arguments: &Arguments, number: u64) -> Setup {
    const TURNS: [usize; 4] = [3, 1, 3, 5];
    let seed = arguments.seed.wrapping_add(number);
    let turn = usize::try_from(seed % 4).unwrap_or(0);
    let nodes = if arguments.nodes == 0 {
        TURNS[turn]
    } else {
        usize::from(arguments.nodes)
    };
    Setup {
        seed,
        nodes,
        sabotage: arguments.sabotage,
    }
}

fn replay(setup: Setup) -> String {
    format!("replay: cargo run --release -p trellis-verification --bin simulate -- {setup} --verbose")
}

impl Total {
    fn take(&mut self, arguments: &Arguments, run: &Run, out: &mut impl Write) -> io::Result<()> {
        self.operations += run.history.len() as u64;
        self.virtual_time += run.virtual_time;
        self.tally.add_all(&run.tally);
        if arguments.verbose {
            run.harms.iter().try_for_each(|harm| writeln!(out, "{harm}"))?;
            writeln!(
                out,
                "{}: digest {:016x}, {} operations",
                run.setup,
                run.digest,
                run.history.len()
            )?;
        }
        if run.is_good() {
            return Ok(());
        }
        self.bad.push(run.setup);
        run.faults.iter().try_for_each(|fault| writeln!(out, "FAULT {fault}"))?;
        writeln!(out, "{}", replay(run.setup))?;
        if let Some(folder) = &arguments.histories {
            let path = folder.join(format!("seed-{}-nodes-{}.jsonl", run.setup.seed, run.setup.nodes));
            file::write(&path, &run.history)?;
            writeln!(out, "history: {}", path.display())?;
        }
        Ok(())
    }

    fn report(&self, elapsed: Duration, out: &mut impl Write) -> io::Result<()> {
        let (wall, inside) = (elapsed.as_secs_f64(), self.virtual_time.as_secs_f64());
        write!(out, "{}", self.tally)?;
        writeln!(
            out,
            "{} seeds in {wall:.0} s ({:.1} per minute), {} operations, {:.2} simulated hours ({:.1} per hour)",
            self.runs,
            60.0 * self.runs as f64 / wall,
            self.operations,
            inside / 3600.0,
            inside / wall,
        )?;
        match self.bad.len() {
            0 => writeln!(out, "all good"),
            bad => {
                let seeds: Vec<String> = self.bad.iter().map(ToString::to_string).collect();
                writeln!(out, "{bad} BAD: {}", seeds.join("; "))
            }
        }
    }
}
