//! `trellis node`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::CliResult;
use super::output::say;
use super::running::runtime;
use crate::env::Env;
use crate::folder::{NodeFolder, NodeName, read_name};

/// What a node is: a key and a disk, in a data folder.
#[derive(Debug, Subcommand)]
pub(super) enum Node {
    Init(Init),
    Id(Id),
}

/// Makes a new node in an empty data folder and prints its id; one that is there already is left as it is.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  trellis node init --data /var/lib/trellis")]
pub(super) struct Init {
    #[command(flatten)]
    place: Place,
}

/// Prints the id of a node, as initial_layout wants it: its public key and the id of its disk.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  trellis node id --data /var/lib/trellis")]
pub(super) struct Id {
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct Place {
    /// The node's data folder.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

impl Node {
    pub(super) fn run(self) -> CliResult {
        match self {
            Node::Init(Init { place }) => {
                let runtime = runtime()?;
                let _inside = runtime.enter();
                place.print(NodeFolder::open_or_create(&place.data, &Env::real())?.name())
            }
            Node::Id(Id { place }) => place.print(read_name(&place.data)?),
        }
    }
}

impl Place {
    fn print(&self, name: NodeName) -> CliResult {
        if self.json {
            say(serde_json::to_string_pretty(&json!({ "id": name }))?);
        } else {
            say(name);
        }
        Ok(())
    }
}
