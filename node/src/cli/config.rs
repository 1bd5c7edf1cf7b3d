//! `trellis config`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::CliResult;
use super::output::{bytes, quoted, say};
use super::running::runtime;
use crate::config::{self, Generated, Generation, generate, write_cluster_secret};
use crate::dev::NODES_MAX;
use crate::env::Env;
use crate::folder::{FolderError, read_name};
use crate::node::StartError;

/// Configurations of nodes, and the secrets they name.
#[derive(Debug, Subcommand)]
pub(super) enum Config {
    Check(Check),
    Generate(Generate),
    Secret(Secret),
}

/// Checks a configuration as `trellis server` would, without starting anything.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  trellis config check /etc/trellis/trellis.toml")]
pub(super) struct Check {
    /// The configuration.
    file: PathBuf,
}

/// Writes a cluster of several processes on this machine, for trying and for tests.
///
/// DIR gets a data folder and a configuration for each node, a cluster secret, and credentials.env and endpoints.txt
/// for clients. Start every node with `trellis server --config DIR/node-N.toml`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  trellis config generate --nodes 3 --folder /tmp/three --s3 127.0.0.1:3900
  for n in 1 2 3; do trellis server --config /tmp/three/node-$n.toml & done
  trellis status --data /tmp/three")]
pub(super) struct Generate {
    /// How many nodes.
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u16).range(1..=i64::from(NODES_MAX)))]
    nodes: u16,
    /// Where to write; must not hold a cluster yet.
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,
    /// Where the first node serves S3; the others on the ports above.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3900")]
    s3: SocketAddr,
    /// Where the first node listens for the others, which use the ports above; by default the ports after those for S3.
    #[arg(long, value_name = "ADDR")]
    links: Option<SocketAddr>,
}

/// Writes a new cluster secret, to be copied to every node of a cluster.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  trellis config secret /etc/trellis/cluster.secret")]
pub(super) struct Secret {
    /// Where to write it; must not be there yet.
    file: PathBuf,
}

impl Config {
    pub(super) fn run(self) -> CliResult {
        let runtime = runtime()?;
        let _inside = runtime.enter();
        match self {
            Config::Check(Check { file }) => check(&file),
            Config::Generate(wanted) => wanted.run(),
            Config::Secret(Secret { file }) => {
                write_cluster_secret(&Env::real(), &file)?;
                say(format!(
                    "wrote {}; copy it to every node of the cluster, and show it to nobody else",
                    quoted(&file)
                ));
                Ok(())
            }
        }
    }
}

fn check(file: &Path) -> CliResult {
    let config = config::Config::load(file)?;
    config.cluster_secret(file)?;
    config.first_access_key(file)?;
    let layout = &config.initial_layout;
    let node = match read_name(&config.data_folder) {
        Ok(name) => match layout.nodes.iter().find(|node| node.id == name) {
            Some(node) => format!("this node is in zone {}, at {}", node.zone, node.address),
            None if layout.nodes.iter().any(|node| node.id.key == name.key) => {
                return Err(StartError::OtherDisk(Box::new(name)).into());
            }
            None => format!("initial_layout does not name this node ({name}), which starts without a role"),
        },
        Err(error @ FolderError::NotInitialised(_)) => format!("but {error}"),
        Err(error) => return Err(error.into()),
    };
    let room = config.block_folder.iter().map(|folder| folder.capacity.0);
    let disks = match room.fold(0, u64::saturating_add) {
        0 => String::new(),
        room => format!("; its block folders are for {} together ({room} bytes)", bytes(room)),
    };
    say(format!(
        "{} is good: {} nodes, {} replicas, {} partitions; {node}{disks}",
        quoted(file),
        layout.nodes.len(),
        layout.replication_factor,
        layout.partitions
    ));
    Ok(())
}

impl Generate {
    fn run(self) -> CliResult {
        let wanted = Generation {
            nodes: self.nodes,
            folder: std::path::absolute(self.folder)?,
            s3: self.s3,
            links: self.links,
        };
        say(next_steps(&generate(&Env::real(), &wanted)?));
        Ok(())
    }
}

fn next_steps(generated: &Generated) -> String {
    let starts = generated.configs.iter();
    let starts = starts.map(|config| format!("  trellis server --config {}\n", quoted(config)));
    format!(
        "Start each node in a terminal, or as a job, of its own:

{starts}
then use the cluster at {endpoints}:

  set -a; . {credentials}; set +a
  aws s3 mb s3://first",
        starts = starts.collect::<String>(),
        endpoints = generated.endpoints.join(", "),
        credentials = quoted(&generated.credentials),
    )
}
