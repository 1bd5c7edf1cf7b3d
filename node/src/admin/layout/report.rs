//! What is said about layouts, in the very types that travel.

use serde::{Deserialize, Serialize};
use trellis_spec::layout::assign;

use crate::admin::status::NodeStatus;
use crate::cluster::{Missing, WorkerReport};
use crate::config::Redundancy;

/// The newest layout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayoutReport {
    /// Its number.
    pub version: u64,
    /// Its hash, the same on all nodes.
    pub hash: String,
    /// That of the last layout that was forced; 0 if none was.
    pub epoch: u64,
    /// Whether it is the only one that is needed.
    pub state: LayoutState,
    /// The numbers of the layouts that are needed.
    pub active: Vec<u64>,
    /// Replicas of everything.
    pub replication_factor: u8,
    /// In how many zones.
    pub zone_redundancy: Redundancy,
    /// Into how many parts everything is divided.
    pub partitions: usize,
    /// How large each may grow.
    pub partition_bytes: u64,
    /// Bytes that fit in the cluster, each counted once.
    pub usable_bytes: u64,
    /// Whether that is the most, with the fewest moves.
    pub placement: Placement,
    /// Of the shares, so many are at their new owners.
    pub shares_synced: usize,
    /// Shares of rows and of blocks that nodes hold in this layout: two for each replica of a partition.
    pub shares: usize,
    /// What its nodes do.
    pub roles: Vec<RoleReport>,
    /// All nodes that are known, those without a role too.
    pub nodes: Vec<NodeStatus>,
    /// What is staged on this node.
    pub staged: StagedReport,
    /// Nodes that are copying what the newest layout gave them, as they said a moment ago.
    pub moving: Vec<NodeMoving>,
}

/// What a node still copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeMoving {
    /// The node.
    pub id: String,
    /// Partitions of rows and of blocks that it has not synced yet.
    pub partitions_left: u64,
    /// How much of them is missing there.
    pub missing: Missing,
    /// What it copied in this run, how fast, how much longer it will take, and the partitions that it is copying now.
    pub work: Option<WorkerReport>,
}

/// Whether data move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayoutState {
    /// The newest layout is the only one that is needed.
    Settled,
    /// Older ones are needed until enough is copied.
    Moving,
}

impl LayoutState {
    pub(super) fn of(active: usize) -> Self {
        match active {
            0 | 1 => LayoutState::Settled,
            _ => LayoutState::Moving,
        }
    }
}

/// Whether the proof holds that a layout carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// No placement holds more, and none that holds as much has fewer moves. This node checked it.
    Proven,
    /// There may be a better one.
    NotProven,
}

/// What a node does in a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
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
    pub(super) fn of(role: assign::Role) -> Self {
        match role {
            assign::Role::Storage { capacity_bytes } => Role::Storage { capacity_bytes },
            assign::Role::Gateway => Role::Gateway,
        }
    }

    pub(super) fn in_layout(self) -> assign::Role {
        match self {
            Role::Storage { capacity_bytes } => assign::Role::Storage { capacity_bytes },
            Role::Gateway => assign::Role::Gateway,
        }
    }
}

/// A node of a layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleReport {
    /// What configurations call it.
    pub id: String,
    /// Its zone.
    pub zone: String,
    /// What it does.
    pub role: Role,
    /// Words for people.
    pub tags: Vec<String>,
    /// Partitions that it holds.
    pub partitions: usize,
    /// Of its shares, so many are there.
    pub shares_synced: usize,
    /// Its shares of rows and of blocks.
    pub shares: usize,
    /// Whether requests get through to it now.
    pub is_connected: bool,
}

/// A change to be staged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "change", deny_unknown_fields)]
pub enum Change {
    /// A node gets a role, or another one. What is not given stays as it is.
    Assign {
        /// The node: its id, or a beginning of it.
        node: String,
        /// Its zone.
        #[serde(default)]
        zone: Option<String>,
        /// What it does.
        #[serde(default)]
        role: Option<Role>,
        /// Words for people.
        #[serde(default)]
        tags: Option<Vec<String>>,
    },
    /// A node leaves.
    Remove {
        /// The node: its id, or a beginning of it.
        node: String,
    },
    /// A node takes over what another one is: its zone, its role and its tags. That one leaves.
    Replace {
        /// The node that leaves: its id, or a beginning of it.
        old: String,
        /// The node that comes: its id, or a beginning of it.
        new: String,
    },
    /// How everything is kept. What is not given stays as it is.
    Config {
        /// Replicas of everything.
        #[serde(default)]
        replication_factor: Option<u8>,
        /// In how many zones.
        #[serde(default)]
        zone_redundancy: Option<Redundancy>,
    },
}

/// What is staged on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedReport {
    /// The nodes that change.
    pub nodes: Vec<NewRole>,
    /// Replicas of everything, if that changes.
    pub replication_factor: Option<u8>,
    /// In how many zones, if that changes.
    pub zone_redundancy: Option<Redundancy>,
}

/// What a node is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "change")]
pub enum NewRole {
    /// This.
    Assign {
        /// The node.
        id: String,
        /// Its zone.
        zone: String,
        /// What it does.
        role: Role,
        /// Words for people.
        tags: Vec<String>,
    },
    /// It leaves.
    Remove {
        /// The node.
        id: String,
    },
}

/// What applying would come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// The number that the layout will have.
    pub version: u64,
    /// Replicas of everything.
    pub replication_factor: u8,
    /// In how many zones.
    pub zone_redundancy: Redundancy,
    /// Bytes that fit in the cluster now, each counted once.
    pub usable_bytes_before: u64,
    /// Bytes that will fit.
    pub usable_bytes_after: u64,
    /// Replicas of partitions that are copied to a node that has none.
    pub moves: u64,
    /// What that makes if all is full.
    pub bytes_to_move_at_most: u64,
    /// Partitions that stay where they are until the running transition is over.
    pub left: usize,
    /// What changes for each node.
    pub nodes: Vec<PreviewNode>,
    /// What changes for each zone.
    pub zones: Vec<PreviewZone>,
    /// Whether the layout that it follows is proven to be the best; it itself is, or else there is no preview.
    pub follows: Placement,
    /// Nodes of it that are not connected now.
    pub not_connected: Vec<String>,
}

/// What changes for a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewNode {
    /// The node.
    pub id: String,
    /// Its zone.
    pub zone: String,
    /// What it does; nothing if it leaves.
    pub role: Option<Role>,
    /// How much of its capacity can be filled.
    pub usable_bytes: u64,
    /// Partitions that it holds now.
    pub before: u64,
    /// Partitions that it will hold.
    pub after: u64,
    /// Those that come.
    pub gains: u64,
    /// Those that go.
    pub loses: u64,
}

/// What changes for a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewZone {
    /// Its name.
    pub zone: String,
    /// What its nodes offer.
    pub capacity_bytes: u64,
    /// Partitions that they hold now.
    pub before: u64,
    /// Partitions that they will hold.
    pub after: u64,
}

/// An order to apply what is staged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// Only if the layout gets this number.
    #[serde(default)]
    pub version: Option<u64>,
}

/// A layout that was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Its number.
    pub version: u64,
    /// Replicas of partitions that are copied now.
    pub moves: u64,
    /// What that makes if all is full.
    pub bytes_to_move_at_most: u64,
}

/// An order to force the next layout: what is staged, without nodes that are lost for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Force {
    /// Who is lost: ids, or beginnings of them.
    pub lost: Vec<String>,
    /// A number above that of every force before.
    pub epoch: u64,
    /// The number that the layout is to get: nothing is done without it.
    #[serde(default)]
    pub version: Option<u64>,
    /// Also if one of them was heard of a moment ago.
    #[serde(default)]
    pub although_heard: bool,
}

/// What forcing would come to, or came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForceReport {
    /// Nodes, and what may be lost.
    pub forced: ForcedReport,
    /// All partitions.
    pub partitions: usize,
    /// The storage nodes that elect the next layout.
    pub electors: usize,
    /// So many of them are left.
    pub electors_left: usize,
    /// The layout.
    pub preview: Preview,
}

/// How a layout was forced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForcedReport {
    /// The number that the operator named.
    pub epoch: u64,
    /// Who was declared lost.
    pub lost: Vec<String>,
    /// Partitions of which less than a majority was left: what was acknowledged last may be lost, and older versions back.
    pub doubtful: usize,
    /// Partitions of which nothing was left.
    pub gone: usize,
}

/// A layout that this node knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionReport {
    /// Its number.
    pub version: u64,
    /// Its hash.
    pub hash: String,
    /// When it was decided: milliseconds since the Unix epoch; nothing if this node was never told.
    pub decided_ms: Option<u64>,
    /// When this node saw that no partition needs it any more; nothing if one does, or if that was over when it came.
    pub retired_ms: Option<u64>,
    /// How it was forced; nothing if it was elected.
    pub forced: Option<ForcedReport>,
    /// How many nodes it names.
    pub nodes: usize,
    /// Replicas of everything.
    pub replication_factor: u8,
    /// In how many zones.
    pub zone_redundancy: Redundancy,
    /// Partitions of rows and of blocks for which it is needed.
    pub partitions_active: usize,
    /// Partitions of rows and of blocks.
    pub partitions: usize,
    /// Of the shares, so many are at their owners.
    pub shares_synced: usize,
    /// Shares of rows and of blocks that its nodes hold.
    pub shares: usize,
}
