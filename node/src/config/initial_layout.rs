//! The layout that a cluster begins with, as every node's configuration gives it.

use serde::Deserialize;
use trellis_spec::layout::assign::AssignError;
use trellis_spec::layout::{Layout, Member, Wanted, first};

use super::redundancy::Redundancy;
use super::{BadValue, bad};
use crate::folder::NodeName;
use crate::membership::{Hint, is_address};

const PARTITIONS: u32 = 256;
const ZONE_MAX_BYTES: usize = 64;

/// Layout 1. It must say the same on all nodes, but for addresses, and never change.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitialLayout {
    /// Replicas of everything.
    pub replication_factor: u8,
    /// In how many zones everything is.
    #[serde(default)]
    pub zone_redundancy: Redundancy,
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
    /// How much it offers.
    pub capacity_bytes: u64,
    /// Where the other nodes dial it: host and port. Where it is now, nodes tell each other.
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
        let wanted = Wanted {
            members: self.nodes.iter().map(LayoutNode::member).collect(),
            replication_factor: self.replication_factor,
            redundancy: self.zone_redundancy.0,
        };
        first(wanted, self.partitions).map_err(|error| bad(key_of(&error), error))
    }

    /// Where to look for the nodes.
    pub fn addresses(&self) -> Vec<Hint> {
        let hint = |node: &LayoutNode| Hint {
            name: node.id,
            address: node.address.clone(),
        };
        self.nodes.iter().map(hint).collect()
    }
}

/// What to change when there is no such layout.
fn key_of(error: &AssignError) -> &'static str {
    match error {
        AssignError::Partitions(_) | AssignError::PartitionsChanged { .. } => "initial_layout.partitions",
        AssignError::NoReplicas | AssignError::TooFewNodes { .. } => "initial_layout.replication_factor",
        AssignError::Redundancy { .. } | AssignError::TooFewZones { .. } => "initial_layout.zone_redundancy",
        AssignError::TooManyNodes(_)
        | AssignError::NamedTwice(_)
        | AssignError::NoCapacity(_)
        | AssignError::CapacityTooLarge
        | AssignError::CapacityTooSmall { .. }
        | AssignError::Stuck(_) => "initial_layout.nodes",
    }
}

impl LayoutNode {
    fn member(&self) -> Member {
        Member::storage(self.id.key.0, self.id.disk, &*self.zone, self.capacity_bytes)
    }

    fn check(&self) -> Result<(), BadValue> {
        if !is_address(&self.address) {
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
