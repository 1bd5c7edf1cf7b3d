//! `trellis-bench`: how fast a cluster on this machine stores and returns objects.
//!
//! Starts `trellis dev`, runs each cell of a table of sizes and numbers of clients for some seconds, and prints a row a
//! cell. The disk's own cost of an append with `fdatasync`, measured in the same folder in the same run, stands beside
//! it. Clients sign, hash and record what they do on the same cores: the figures are of the whole machine.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use tokio::task::JoinSet;
use trellis_verification::clock::Clock;
use trellis_verification::cluster::{Cluster, Launch, Shape};
use trellis_verification::history::{Condition, Outcome};
use trellis_verification::s3client::{Recorder, Session, Target};

/// Measures PUT and GET of several sizes with several numbers of clients.
#[derive(Parser)]
#[command(after_help = "Example:\n  trellis-bench --binary target/release/trellis --nodes 3")]
struct Options {
    /// The program `trellis` to start.
    #[arg(long)]
    binary: PathBuf,
    /// How many nodes, all in one process.
    #[arg(long, default_value_t = 1)]
    nodes: u16,
    /// Object sizes in KiB.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 1024, 65536])]
    sizes_kib: Vec<usize>,
    /// Numbers of clients.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 32])]
    clients: Vec<u32>,
    /// Seconds a cell.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
}

/// One cell of the table.
#[derive(Clone, Copy)]
struct Cell {
    size: usize,
    clients: u32,
    limit: Duration,
}

#[derive(Clone, Copy)]
enum Operation {
    Put,
    Get,
}

#[tokio::main]
#[expect(clippy::print_stderr, reason = "this is a program for people")]
async fn main() -> ExitCode {
    match run(&Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the measurement failed: {error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "this is a program for people")]
async fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    println!(
        "append of 1 KiB + fdatasync: {:.2} ms (median of 100)",
        sync_ms(folder.path())?
    );
    let (binary, folder) = (options.binary.clone(), folder.path().join("cluster"));
    std::fs::create_dir(&folder)?;
    let launch = Launch {
        binary,
        folder,
        nodes: options.nodes,
        shape: Shape::Dev,
    };
    let cluster = Cluster::start(&launch).await?;
    let recorder = Arc::new(Recorder::start());
    Session::new(0, cluster.target(), &recorder).create_bucket().await?;
    println!("| nodes | operation | KiB | clients | per s | MB/s | median ms | p99 ms | failed |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for kib in &options.sizes_kib {
        for clients in &options.clients {
            let limit = Duration::from_secs(options.seconds);
            let cell = Cell {
                size: kib << 10,
                clients: *clients,
                limit,
            };
            for (name, operation) in [("PUT", Operation::Put), ("GET", Operation::Get)] {
                let row = measure(cluster.target(), cell, operation).await;
                println!("| {} | {name} | {kib} | {clients} | {row} |", options.nodes);
            }
        }
    }
    Ok(())
}

/// Runs one cell and describes it.
async fn measure(target: &Target, cell: Cell, operation: Operation) -> String {
    let clock = Clock::start();
    let mut clients = JoinSet::new();
    for client in 0..cell.clients {
        clients.spawn(work(target.clone(), client, cell, operation));
    }
    let (mut times, mut failed) = (Vec::new(), 0_u64);
    while let Some(Ok((done, errors))) = clients.join_next().await {
        times.extend(done);
        failed += errors;
    }
    let seconds = clock.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |share: usize| {
        times
            .get(times.len().saturating_sub(1) * share / 100)
            .map_or(f64::NAN, |t| t.as_secs_f64() * 1e3)
    };
    let rate = times.len() as f64 / seconds;
    let megabytes = rate * cell.size as f64 / 1e6;
    format!("{rate:.0} | {megabytes:.1} | {:.2} | {:.2} | {failed}", at(50), at(99))
}

/// One client: an object of its own, written or read over and over.
async fn work(target: Target, client: u32, cell: Cell, operation: Operation) -> (Vec<Duration>, u64) {
    let recorder = Arc::new(Recorder::start());
    let mut session = Session::new(client, &target, &recorder);
    let mut body = vec![0_u8; cell.size];
    fastrand::Rng::with_seed(u64::from(client)).fill(&mut body);
    let body = Bytes::from(body);
    let (mut times, mut failed, clock) = (Vec::new(), 0, Clock::start());
    let mut number = 0_u64;
    while clock.elapsed() < cell.limit {
        let before = clock.elapsed();
        let outcome = match operation {
            Operation::Put => {
                let key = format!("bench/{}/{client}/{}", cell.size, number % 8);
                session.put(&key, body.clone(), Condition::Always).await
            }
            Operation::Get => {
                session
                    .get(&format!("bench/{}/{client}/0", cell.size), Condition::Always)
                    .await
                    .0
            }
        };
        number += 1;
        match outcome {
            Outcome::Done | Outcome::Found { .. } => times.push(clock.elapsed() - before),
            Outcome::NotFound | Outcome::Page { .. } => failed += 1,
            Outcome::Refused | Outcome::Failed { .. } | Outcome::Unknown { .. } => failed += 1,
        }
    }
    (times, failed)
}

/// The median time of an append of 1 KiB that is made durable.
fn sync_ms(folder: &Path) -> std::io::Result<f64> {
    let mut file = std::fs::File::create(folder.join("sync"))?;
    let mut times = Vec::new();
    for _ in 0..100 {
        let clock = Clock::start();
        file.write_all(&[7; 1024])?;
        file.sync_data()?;
        times.push(clock.elapsed());
    }
    times.sort_unstable();
    Ok(times[50].as_secs_f64() * 1e3)
}
