//! `trellis node`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use serde_json::json;

use super::CliResult;
use super::asking::Asking;
use super::layout::stage;
use super::output::{bytes, say, table};
use super::running::runtime;
use super::status::{short, state};
use crate::admin::layout::Change;
use crate::admin::{NewNode, NodeRole, NodeStatus};
use crate::env::Env;
use crate::folder::{NodeFolder, NodeName, read_name};
use crate::membership::is_address;

/// What a node is: a key and a disk, in a data folder.
#[derive(Debug, Subcommand)]
pub(super) enum Node {
    Init(Init),
    Id(Id),
    List(List),
    Connect(Connect),
    Replace(Replace),
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

/// Lists the nodes that a running node knows: those of the layout, and those that wait for a role.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  trellis node list --data /var/lib/trellis")]
pub(super) struct List {
    #[command(flatten)]
    asking: Asking,
}

/// Tells a running node where to find another one, which must know the same cluster secret. They tell all others.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  trellis node id --data /var/lib/trellis         on the new node
  trellis node connect ID@garden.example.org:3901 on one of the cluster")]
pub(super) struct Connect {
    /// What `trellis node id` prints on the other node, and the address of its links.
    #[arg(value_name = "ID@HOST:PORT")]
    place: Introduced,
    #[command(flatten)]
    asking: Asking,
}

/// Stages that a new node takes the place of another one: its zone, its capacity, its tags. The other one leaves.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: the disk of a node is lost, or it gets a larger one
  trellis node list                               is the new node known?
  trellis node replace 0123abcd 4567ef01          the old one, then the new one
  trellis layout preview
  trellis layout apply --wait

Staged on the node that is asked; nothing changes before `trellis layout apply`. The old node need not be up, as long as a
majority of each of its partitions is.")]
pub(super) struct Replace {
    /// The node that leaves: its id as `trellis node list` shows it, or any beginning of it that no other node has.
    old: String,
    /// The node that comes: its id, or any beginning of it that no other node has. It has no role yet.
    new: String,
    #[command(flatten)]
    asking: Asking,
}

/// A node and its address.
#[derive(Debug, Clone)]
struct Introduced {
    id: NodeName,
    address: String,
}

/// Not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("write ID@HOST:PORT, with what `trellis node id` prints on that node for ID")]
struct NotIntroduced;

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
            Node::List(List { asking }) => asking.ask(async |mut node| {
                let nodes: Vec<NodeStatus> = node.get("/v1/nodes").await?;
                asking.print(&nodes, |nodes| node_table(nodes))
            }),
            Node::Replace(Replace { old, new, asking }) => stage(&asking, Change::Replace { old, new }),
            Node::Connect(Connect { place, asking }) => asking.ask(async |mut node| {
                let Introduced { id, address } = place;
                let added: NewNode = node.post("/v1/nodes", &NewNode { id, address }).await?;
                asking.print(&added, |added| {
                    let list = format!("trellis node list{}", asking.options());
                    format!(
                        "looking for the node at {}; `{list}` shows whether it was found",
                        added.address
                    )
                })
            }),
        }
    }
}

impl FromStr for Introduced {
    type Err = NotIntroduced;

    fn from_str(text: &str) -> Result<Self, NotIntroduced> {
        let (id, address) = text.split_once('@').ok_or(NotIntroduced)?;
        let id = id.parse().map_err(|_| NotIntroduced)?;
        let address = Some(address)
            .filter(|address| is_address(address))
            .ok_or(NotIntroduced)?;
        Ok(Introduced {
            id,
            address: address.to_owned(),
        })
    }
}

fn node_table(nodes: &[NodeStatus]) -> String {
    let none = || "-".to_owned();
    let row = |node: &NodeStatus| {
        [
            short(&node.id).to_owned(),
            node.host.clone().unwrap_or_else(none),
            node.address.clone().unwrap_or_else(none),
            state(node.state).to_owned(),
            match node.role {
                NodeRole::Storage => format!("stores {} in zone {}", bytes(node.capacity_bytes), node.zone),
                NodeRole::Gateway => format!("gateway in zone {}", node.zone),
                NodeRole::None => "none: `trellis layout assign` gives it one".to_owned(),
            },
        ]
    };
    table(["NODE", "HOST", "ADDRESS", "STATE", "ROLE"], nodes.iter().map(row))
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
