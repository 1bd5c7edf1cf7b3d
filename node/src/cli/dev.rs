//! `trellis dev`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::CliResult;
use super::output::{quoted, say};
use super::running::{LogOptions, Signals, runtime};
use crate::dev::{DevCluster, DevOptions, NODES_MAX};
use crate::env::Env;
use crate::logging::LogFormat;
use crate::node::Settings;
use crate::trace::{TRACE_MAX_BYTES, TraceSettings};

/// Nodes of one process share a machine that does other things as well.
const MIN_FREE_BYTES: u64 = 64 << 20;

/// Runs a whole cluster in this process, for trying and for tests.
///
/// The first start makes an access key; DIR/credentials.env and DIR/endpoints.txt say how to reach the cluster. All
/// that was acknowledged is there again at the next start, however the process ended.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trellis dev                          one node at http://127.0.0.1:3900
  trellis dev --nodes 3                three nodes on ports 3900 to 3902
  trellis dev --data /tmp/try --s3 127.0.0.1:9000

  set -a; . DIR/credentials.env; set +a; aws s3 mb s3://first")]
pub(super) struct Dev {
    /// How many nodes; by default as many as DIR has, or one.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(NODES_MAX)))]
    nodes: Option<u16>,
    /// Where everything is kept; by default trellis-dev in the user's data folder.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where the first node serves S3; the others on the ports above.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3900")]
    s3: SocketAddr,
    /// Writes a trace of what the nodes do to this folder, for `trellis-model replay DIR`.
    #[arg(long, value_name = "DIR")]
    trace: Option<PathBuf>,
    /// How many of a hundred rows, pages of listings, blocks and synced partitions the trace is about.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u8).range(1..=100))]
    trace_percent: u8,
    #[command(flatten)]
    log: LogOptions,
}

impl Dev {
    pub(super) fn run(self) -> CliResult {
        self.log.start("warn", LogFormat::Human)?;
        let data = self.data.clone().map_or_else(default_data, Ok)?;
        let options = DevOptions {
            nodes: self.nodes,
            data: std::path::absolute(data)?,
            s3: self.s3,
        };
        let mut settings = Settings::default();
        settings.rows.min_free_bytes = MIN_FREE_BYTES;
        settings.trace = self.trace.map(|folder| TraceSettings {
            folder,
            max_bytes: TRACE_MAX_BYTES,
            percent: self.trace_percent,
        });
        runtime()?.block_on(serve(options, settings))
    }
}

async fn serve(options: DevOptions, settings: Settings) -> CliResult {
    let mut signals = Signals::listen()?;
    let env = Env::real();
    let Some(started) = signals.or_start(DevCluster::start(&env, &options, &settings)).await else {
        return Ok(());
    };
    let cluster = started?;
    say(introduction(&cluster, &options, &settings.front.region));
    signals.then_stop(cluster.stop()).await;
    Ok(())
}

fn introduction(cluster: &DevCluster, options: &DevOptions, region: &str) -> String {
    let nodes = match cluster.len() {
        1 => "1 node".to_owned(),
        nodes => format!("{nodes} nodes"),
    };
    let credentials = quoted(&cluster.credentials);
    format!(
        "Trellis is ready: {nodes}, data in {data}

  S3           {endpoints}  (region {region})
  credentials  {credentials}

Try it with the AWS command line:

  set -a; . {credentials}; set +a
  aws s3 mb s3://first
  aws s3 cp FILE s3://first/
  aws s3 ls s3://first/

Ctrl-C stops it; everything is there again at the next start.",
        data = quoted(&options.data),
        endpoints = cluster.endpoints.join(" "),
    )
}

/// `trellis-dev` where programs of this user keep their data.
pub(super) fn default_data() -> Result<PathBuf, NoHome> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    // The specification of XDG_DATA_HOME says that relative paths are to be ignored.
    let data = set("XDG_DATA_HOME").filter(|path| path.is_absolute());
    let data = data.or_else(|| Some(set("HOME")?.join(".local/share")));
    data.map(|data| data.join("trellis-dev")).ok_or(NoHome)
}

/// There is no default for the data folder.
#[derive(Debug, thiserror::Error)]
#[error("neither HOME nor XDG_DATA_HOME is set; name a data folder with --data DIR")]
pub(super) struct NoHome;
