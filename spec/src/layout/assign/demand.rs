//! What is asked of a placement, and what can be wrong with that.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::layout::table::{Member, Partition};
use crate::quorum::NodeId;

/// More partitions than this are not planned for.
pub const PARTITIONS_MAX: u32 = 32_768;
/// More nodes than this are not planned for: the table of exchanges grows with their square.
pub const NODES_MAX: usize = 1_024;
/// More bytes than this, over all nodes, are taken for a slip of units.
pub const CAPACITY_MAX_BYTES: u64 = 1 << 63;

/// A node that offers itself to the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Offer {
    /// Its identity.
    pub node: NodeId,
    /// Nodes of one zone fail together.
    pub zone: String,
    /// What it does.
    pub role: Role,
    /// Words for people; no placement depends on them.
    pub tags: Vec<String>,
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// It stores partitions.
    Storage {
        /// Bytes that it offers.
        capacity_bytes: u64,
    },
    /// It answers clients and stores nothing.
    Gateway,
}

impl Role {
    /// The bytes that it offers: none, if it stores nothing.
    pub fn capacity_bytes(self) -> u64 {
        match self {
            Role::Storage { capacity_bytes } => capacity_bytes,
            Role::Gateway => 0,
        }
    }
}

/// In how many zones every partition must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ZoneRedundancy {
    /// In at least so many.
    AtLeast(u8),
    /// In as many as there are, up to one for each replica.
    Maximum,
}

/// What a layout is to provide.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Demand {
    /// The nodes, in any order.
    pub nodes: Vec<Offer>,
    /// The number of partitions: a power of two, fixed when the cluster is made.
    pub partitions: u32,
    /// Replicas per partition.
    pub replication_factor: u8,
    /// Zones per partition.
    pub redundancy: ZoneRedundancy,
}

/// What is there already and what it forbids. The default is a cluster that has nothing yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Past {
    /// For each partition its replicas in the newest layout; empty if there is none.
    pub previous: Vec<Vec<NodeId>>,
    /// Nodes that may not get the partition; see [`barred`].
    pub barred: BTreeMap<Partition, BTreeSet<NodeId>>,
    /// Partitions that are to be left as they are.
    pub pinned: BTreeSet<Partition>,
}

/// Why there is no placement. Nothing was changed; the words say what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AssignError {
    /// The number of partitions is not a power of two up to [`PARTITIONS_MAX`].
    Partitions(u32),
    /// The number of partitions is another than that of the previous layout.
    PartitionsChanged {
        /// In the previous layout.
        before: usize,
        /// Asked for.
        now: u32,
    },
    /// There are more than [`NODES_MAX`] nodes.
    TooManyNodes(usize),
    /// A node is named twice.
    NamedTwice(NodeId),
    /// A storage node offers no bytes.
    NoCapacity(NodeId),
    /// All capacities together are more than [`CAPACITY_MAX_BYTES`].
    CapacityTooLarge,
    /// No replicas are asked for.
    NoReplicas,
    /// There are fewer storage nodes than replicas.
    TooFewNodes {
        /// Storage nodes, gateways not counted.
        storage_nodes: usize,
        /// Replicas asked for.
        replication_factor: u8,
    },
    /// A partition cannot be in no zone, nor in more zones than it has replicas.
    Redundancy {
        /// Zones asked for.
        zones: u8,
        /// Replicas asked for.
        replication_factor: u8,
    },
    /// There are fewer zones with storage nodes than asked for.
    TooFewZones {
        /// Zones with storage nodes.
        zones: usize,
        /// Zones asked for.
        wanted: usize,
    },
    /// The partition can neither get new nodes nor be left as it is, for it was on a node that is gone.
    Stuck(Partition),
    /// However small partitions are, these nodes cannot hold as many as they must.
    CapacityTooSmall {
        /// The nodes that are too small.
        nodes: Vec<NodeId>,
        /// The replicas that they must hold between them, each of one byte or more.
        replicas: u64,
    },
}

/// The nodes that may not get a partition, whose replicas in every active layout are given, oldest first.
///
/// A node that lost the partition in a running transition may still be asked for what it held, so it must not start it
/// afresh at the same time: it may hold the partition in the next layout only if it does so in the newest, or did not in
/// any active one.
pub fn barred(active: &[Vec<NodeId>]) -> BTreeSet<NodeId> {
    let Some((newest, older)) = active.split_last() else {
        return BTreeSet::new();
    };
    let held = older.iter().flatten().copied();
    held.filter(|node| !newest.contains(node)).collect()
}

impl From<&Member> for Offer {
    fn from(member: &Member) -> Self {
        Offer {
            node: member.id,
            zone: member.zone.clone(),
            role: member.role,
            tags: member.tags.clone(),
        }
    }
}

impl core::error::Error for AssignError {}

impl fmt::Display for AssignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AssignError::Partitions(partitions) => {
                write!(
                    f,
                    "{partitions} partitions: ask for a power of two from 1 to {PARTITIONS_MAX}"
                )
            }
            AssignError::PartitionsChanged { before, now } => {
                write!(
                    f,
                    "the cluster was made with {before} partitions and cannot have {now}: ask for {before}"
                )
            }
            AssignError::TooManyNodes(nodes) => write!(f, "{nodes} nodes: name at most {NODES_MAX}"),
            AssignError::NamedTwice(node) => write!(f, "node {:016x} is named twice: name it once", node.0),
            AssignError::NoCapacity(node) => write!(
                f,
                "node {:016x} offers no bytes: give it a capacity or make it a gateway",
                node.0
            ),
            AssignError::CapacityTooLarge => {
                f.write_str("the capacities add up to more than 2^63 bytes: look for one in the wrong unit")
            }
            AssignError::NoReplicas => f.write_str("no replicas are asked for: ask for at least one"),
            AssignError::TooFewNodes {
                storage_nodes,
                replication_factor,
            } => write!(
                f,
                "{replication_factor} replicas cannot be kept on {storage_nodes} storage nodes: add nodes or ask for fewer replicas"
            ),
            AssignError::Redundancy {
                zones,
                replication_factor,
            } => write!(
                f,
                "{replication_factor} replicas cannot be in {zones} zones: ask for 1 to {replication_factor} zones"
            ),
            AssignError::TooFewZones { zones, wanted } => write!(
                f,
                "partitions cannot be in {wanted} zones, storage nodes are in {zones}: add a zone or ask for fewer"
            ),
            AssignError::Stuck(partition) => write!(
                f,
                "partition {} has no legal set of nodes while the running transition lasts: wait until it is over",
                partition.0
            ),
            AssignError::CapacityTooSmall { nodes, replicas } => {
                write!(f, "{replicas} replicas do not fit on nodes")?;
                nodes.iter().try_for_each(|node| write!(f, " {:016x}", node.0))?;
                f.write_str(": give them more capacity, add nodes, or ask for fewer zones or replicas")
            }
        }
    }
}
