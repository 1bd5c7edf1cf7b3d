//! `simulate --seed S`: runs whole nodes under seeds, and says what it met and what went wrong.

use std::fs;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use trellis_model::transcript::Scenario;
use trellis_verification::clock::Clock;
use trellis_verification::history::file;
use trellis_verification::simulation::scenario::play;
use trellis_verification::simulation::{Field, Run, Sabotage, Scale, Setup, Tally, Weather, run, shrink};

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
    /// What kind of harm is done; every third seed is a storm if nothing is said.
    #[arg(long, value_enum)]
    weather: Option<Weather>,
    /// How many nodes; 0 takes turns with 3, 1 and 5, and in storms with 5, 4 and 3.
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
    /// Looks for a smaller run that goes wrong too, after a bad one.
    #[arg(long)]
    shrink: bool,
    /// Clients at most, whatever the seed draws.
    #[arg(long, default_value_t = Scale::default().clients_max)]
    clients_max: u32,
    /// Keys in use at a time, at most.
    #[arg(long, default_value_t = Scale::default().keys_max, value_parser = at_least_one)]
    keys_max: usize,
    /// For how many seconds harm is done, at most.
    #[arg(long, default_value_t = Scale::default().safety_max_s)]
    safety_max_s: u64,
    /// What is left in peace; may be given several times.
    #[arg(long, value_enum)]
    spare: Vec<Field>,
    /// Says for every run what was done to the cluster.
    #[arg(long)]
    verbose: bool,
    /// Follows a scenario that `trellis-model` saved, step by step as far as nodes do what the model did, in place of a
    /// seed's own course.
    #[arg(long)]
    scenario: Option<PathBuf>,
}

/// What came of all runs so far.
#[derive(Default)]
struct Total {
    runs: u64,
    bad: Vec<Setup>,
    operations: u64,
    virtual_time: Duration,
    tally: Tally,
    /// Equal for equal runs in the same order.
    digest: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let is_good = match &arguments.scenario {
        Some(file) => follow(file, arguments.seed),
        None => simulate(&arguments).map(|total| total.bad.is_empty()),
    };
    match is_good {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Nobody reads what cannot be written.
            let _ = writeln!(io::stderr(), "cannot report: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Lets whole nodes follow a scenario; says whether clients were told nothing wrong.
fn follow(file: &Path, seed: u64) -> io::Result<bool> {
    let scenario: Scenario = serde_json::from_slice(&fs::read(file)?)?;
    let played = play(&scenario, seed).map_err(io::Error::other)?;
    writeln!(io::stdout(), "{played}")?;
    Ok(played.is_good())
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
        match catch_unwind(AssertUnwindSafe(|| run(setup.clone()))) {
            Ok(run) => total.take(arguments, &run, &mut out)?,
            Err(_) => {
                writeln!(out, "PANIC, see above\n{}", replay(&setup))?;
                total.bad.push(setup);
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
    let seed = arguments.seed.wrapping_add(number);
    let drawn = if seed.is_multiple_of(3) {
        Weather::Storm
    } else {
        Weather::Varied
    };
    let weather = arguments.weather.unwrap_or(drawn);
    let turns: [usize; 4] = match weather {
        Weather::Varied => [3, 1, 3, 5],
        Weather::Storm => [5, 4, 5, 3],
    };
    let turn = usize::try_from(seed % 4).unwrap_or(0);
    let nodes = if arguments.nodes == 0 {
        turns[turn]
    } else {
        usize::from(arguments.nodes)
    };
    Setup {
        seed,
        nodes,
        weather,
        sabotage: arguments.sabotage,
        scale: Scale {
            clients_max: arguments.clients_max,
            keys_max: arguments.keys_max,
            safety_max_s: arguments.safety_max_s,
            spared: arguments.spare.iter().copied().collect(),
        },
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("a run needs a key".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("not a number: {error}")),
    }
}

fn replay(setup: &Setup) -> String {
    format!("replay: cargo run --release -p trellis-verification --bin simulate -- {setup} --verbose")
}

/// What went wrong in a run, and how to see it again.
fn say(run: &Run, out: &mut impl Write) -> io::Result<()> {
    const FAULTS_SHOWN_MAX: usize = 10;
    for fault in run.faults.iter().take(FAULTS_SHOWN_MAX) {
        writeln!(out, "FAULT {fault}")?;
    }
    if run.faults.len() > FAULTS_SHOWN_MAX {
        writeln!(out, "... and {} more", run.faults.len() - FAULTS_SHOWN_MAX)?;
    }
    writeln!(out, "{}\n{}", run.shape, replay(&run.setup))
}

impl Total {
    fn take(&mut self, arguments: &Arguments, run: &Run, out: &mut impl Write) -> io::Result<()> {
        self.operations += run.history.len() as u64;
        self.virtual_time += run.virtual_time;
        self.tally.add_all(&run.tally);
        self.digest = self.digest.rotate_left(1) ^ run.digest;
        if arguments.verbose {
            writeln!(out, "{}", run.shape)?;
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
        self.bad.push(run.setup.clone());
        say(run, out)?;
        if let Some(folder) = &arguments.histories {
            let path = folder.join(format!("seed-{}-nodes-{}.jsonl", run.setup.seed, run.setup.nodes));
            file::write(&path, &run.history)?;
            writeln!(out, "history: {}", path.display())?;
        }
        if arguments.shrink {
            match shrink(&run.setup) {
                Some(smaller) => {
                    writeln!(out, "SMALLER, {} operations", smaller.history.len())?;
                    say(&smaller, out)?;
                }
                None => writeln!(out, "no smaller run was found to go wrong")?,
            }
        }
        Ok(())
    }

    fn report(&self, elapsed: Duration, out: &mut impl Write) -> io::Result<()> {
        let (wall, inside) = (elapsed.as_secs_f64(), self.virtual_time.as_secs_f64());
        write!(out, "{}", self.tally)?;
        writeln!(
            out,
            "{} seeds in {wall:.0} s ({:.1} per minute), {} operations, {:.2} simulated hours ({:.1} per hour), digest {:016x}",
            self.runs,
            60.0 * self.runs as f64 / wall,
            self.operations,
            inside / 3600.0,
            inside / wall,
            self.digest,
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
