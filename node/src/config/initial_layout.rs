//! The layout that a cluster begins with, as every node's configuration gives it.

use serde::Deserialize;
use trellis_spec::layout::{InitialError, Layout, Member, initial};

use super::{BadValue, bad};
use crate::folder::NodeName;
use crate::link::PeerId;

const PARTITIONS: u32 = 256;
const ZONE_MAX_BYTES: usize = 64;

/// Layout 1. It must say the same on all nodes, but for addresses, and never change.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitialLayout {
    /// Replicas of everything.
    pub replication_factor: u8,
    /// Into how many parts all keys are divided.
    #[serde(default = "partitions")]
    pub partitions: u32,
    /// The nodes.
    pub nodes: Vec<LayoutNode>,
}

/// One node of the layout.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayoutNode {
    /// What `trellis node id` prints on that node.
    pub id: NodeName,
    /// Nodes of one zone fail together.
    pub zone: String,
    /// How much it offers; only the proportions between nodes matter.
    pub capacity_bytes: u64,
    /// Where the other nodes dial it: host and port.
    pub address: String,
}

fn partitions() -> u32 {
    PARTITIONS
}

impl InitialLayout {
    /// The layout, the same on every node that is told the same.
    pub(crate) fn layout(&self) -> Result<Layout, BadValue> {
        for node in &self.nodes {
            node.check()?;
        }
        let members = self.nodes.iter().map(LayoutNode::member).collect();
        let layout = initial(members, self.replication_factor, self.partitions);
        layout.map_err(|error| match error {
            InitialError::Partitions(found) => bad(
                "initial_layout.partitions",
                format!("{found} is not a power of two between 1 and 32768"),
            ),
            InitialError::TooFewNodes {
                nodes,
                replication_factor,
            } => bad(
                "initial_layout.replication_factor",
                format!("{replication_factor} replicas cannot be kept on {nodes} nodes; 1 to {nodes} can"),
            ),
            InitialError::Members => bad("initial_layout.nodes", "two nodes have one id, or there are too many"),
        })
    }

    /// Where all nodes are dialed.
    pub fn peers(&self) -> Vec<(PeerId, String)> {
        let peer = |node: &LayoutNode| (node.id.key, node.address.clone());
        self.nodes.iter().map(peer).collect()
    }
}

impl LayoutNode {
    fn member(&self) -> Member {
        Member {
            id: self.id.id(),
            key: self.id.key.0,
            disk: self.id.disk,
            zone: self.zone.clone(),
            capacity_bytes: self.capacity_bytes,
        }
    }

    fn check(&self) -> Result<(), BadValue> {
        let port = self
            .address
            .rsplit_once(':')
            .map(|(host, port)| (host, port.parse::<u16>()));
        if !matches!(port, Some((host, Ok(1..))) if !host.is_empty()) {
            let problem = format!(
                "{:?} is not host:port, such as \"garden.example.org:3901\"",
                self.address
            );
            return Err(bad("initial_layout.nodes.address", problem));
        }
        if self.zone.is_empty() || self.zone.len() > ZONE_MAX_BYTES || self.zone.chars().any(char::is_control) {
            let problem = format!("{:?} is not a name of 1 to {ZONE_MAX_BYTES} bytes", self.zone);
            return Err(bad("initial_layout.nodes.zone", problem));
        }
        if self.capacity_bytes == 0 {
            return Err(bad(
                "initial_layout.nodes.capacity_bytes",
                "a node offers at least one byte",
            ));
        }
        Ok(())
    }
}
