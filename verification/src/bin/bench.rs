//! `trellis-bench`: how fast a cluster on this machine stores and returns objects, beside any other S3 store.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use trellis_verification::bench::{Cell, Operation, System};
use trellis_verification::clock::Clock;
use trellis_verification::cluster::{Cluster, Fittings, Launch, Shape, Traces};
use trellis_verification::interruption::until_interrupted;

/// Measures PUT and GET of several sizes with several numbers of clients.
///
/// Starts `trellis` and measures each cell of a table on it and on every store named with --beside, in turn. The disk's
/// own cost of an append with fdatasync, in the same folder and the same run, stands above the table. Bodies are new and
/// unsigned; clients run on the same cores as the stores.
#[derive(Parser)]
#[command(
    after_help = "Example:\n  trellis-bench --binary target/release/trellis --nodes 3 --beside garage=garage.env"
)]
struct Options {
    /// The program `trellis` to start.
    #[arg(long)]
    binary: PathBuf,
    /// How many nodes, each a process of its own.
    #[arg(long, default_value_t = 1)]
    nodes: u16,
    /// Another store that runs already: a name, and a file with the variables of an SDK (AWS_ACCESS_KEY_ID,
    /// AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL with commas between several) and SERVER_PIDS.
    #[arg(long, value_name = "NAME=FILE")]
    beside: Vec<String>,
    /// Object sizes in KiB.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 1024, 65536])]
    sizes_kib: Vec<usize>,
    /// Numbers of clients.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 32])]
    clients: Vec<u32>,
    /// Seconds a cell.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Measures beside it a second cluster of the same kind, whose nodes write traces about so many of a hundred rows.
    #[arg(long, value_name = "PERCENT")]
    traced: Option<u8>,
    /// Where the nodes keep their data; a temporary folder by default.
    #[arg(long)]
    folder: Option<PathBuf>,
}

#[tokio::main]
#[expect(clippy::print_stderr, reason = "this is a program for people")]
async fn main() -> ExitCode {
    match until_interrupted(run(&Options::parse())).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the measurement failed: {error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "this is a program for people")]
async fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let home = std::path::absolute(options.folder.as_deref().unwrap_or(temporary.path()))?;
    std::fs::create_dir_all(&home)?;
    println!(
        "append of 1 KiB + fdatasync: {:.2} ms (median of 100)\n",
        sync_ms(&home)?
    );
    let cluster = start(options, home.join("cluster"), None).await?;
    let mut systems = vec![System::started("trellis", &cluster)];
    let trace = |percent| Traces {
        folder: home.join("trace"),
        percent,
    };
    let traced = match options.traced {
        Some(percent) => Some(start(options, home.join("traced"), Some(trace(percent))).await?),
        None => None,
    };
    systems.extend(traced.iter().map(|cluster| System::started("trellis, traced", cluster)));
    for described in &options.beside {
        systems.push(System::described(described)?);
    }
    for system in &systems {
        system.create_bucket().await?;
    }
    println!("| nodes | operation | KiB | clients | store | per s | MB/s | median ms | p99 ms | CPU ms | failed |");
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for kib in &options.sizes_kib {
        for clients in &options.clients {
            for (name, operation) in [("PUT", Operation::Put), ("GET", Operation::Get)] {
                let cell = Cell {
                    operation,
                    size: kib << 10,
                    clients: *clients,
                    duration: Duration::from_secs(options.seconds),
                };
                for system in &systems {
                    let measured = cell.measure(system).await?;
                    let (nodes, store) = (options.nodes, &system.name);
                    println!("| {nodes} | {name} | {kib} | {clients} | {store} | {measured} |");
                }
            }
        }
    }
    Ok(())
}

async fn start(options: &Options, folder: PathBuf, trace: Option<Traces>) -> Result<Cluster, Box<dyn Error>> {
    std::fs::create_dir_all(&folder)?;
    let launch = Launch {
        binary: options.binary.clone(),
        folder,
        nodes: options.nodes,
        shape: if options.nodes == 1 { Shape::Dev } else { Shape::Servers },
        trace,
        fittings: Fittings::default(),
    };
    Ok(Cluster::start(&launch).await?)
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
