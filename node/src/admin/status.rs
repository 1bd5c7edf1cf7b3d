//! What the admin API says, in the very types that travel.

use serde::{Deserialize, Serialize};
use trellis_spec::layout::assign::Role;

use super::copies::CopiesStatus;
use crate::folder::NodeName;
use crate::storage::{FolderState, Taking};

/// A node and what it knows of the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Of the program.
    pub version: String,
    /// What configurations call the node.
    pub id: String,
    /// The data folder.
    pub data_folder: String,
    /// Since the start of the process.
    pub uptime_seconds: u64,
    /// What `/health` says, and why.
    pub health: HealthStatus,
    /// The newest layout that the node knows.
    pub layout: LayoutStatus,
    /// All nodes of that layout, this one included, and those that are known without a role.
    pub nodes: Vec<NodeStatus>,
    /// Whether everything that was acknowledged is at full redundancy.
    pub copies: CopiesStatus,
    /// This node's disk.
    pub storage: StorageStatus,
}

/// Whether the node can serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthStatus {
    /// Whether it can.
    pub state: HealthState,
    /// Why, in a sentence.
    pub reason: String,
}

/// Whether the node can serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthState {
    /// `/health` answers 200.
    Well,
    /// `/health` answers 503.
    Unwell,
}

/// A layout in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayoutStatus {
    /// Its number.
    pub version: u64,
    /// The oldest layout that some partition still needs; the same number when nothing moves.
    pub oldest_active: u64,
    /// Its hash, the same on all nodes.
    pub hash: String,
    /// Replicas of each partition.
    pub replication_factor: u8,
    /// How many partitions there are.
    pub partitions: usize,
}

/// A node as this one sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// What configurations call it.
    pub id: String,
    /// What the layout has it do.
    pub role: NodeRole,
    /// The zone it is in; nothing without a role.
    pub zone: String,
    /// What the layout says it offers; 0 for a gateway.
    pub capacity_bytes: u64,
    /// Words for people.
    pub tags: Vec<String>,
    /// What its machine calls itself, once it was heard of.
    pub host: Option<String>,
    /// Where it is dialed; nothing for this node itself.
    pub address: Option<String>,
    /// Whether requests get through to it.
    pub state: LinkState,
    /// A small message there and back.
    pub round_trip_ms: Option<f64>,
    /// Since the last byte from it.
    pub last_heard_ms: Option<u64>,
    /// How often a connection to it was lost.
    pub connections_lost: u64,
    /// Why there is no connection.
    pub problem: Option<String>,
}

/// What a layout has a node do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeRole {
    /// It stores partitions.
    Storage,
    /// It answers clients and stores nothing.
    Gateway,
    /// No layout names it.
    None,
}

impl NodeRole {
    /// That of a member.
    pub fn of(role: Role) -> Self {
        match role {
            Role::Storage { .. } => NodeRole::Storage,
            Role::Gateway => NodeRole::Gateway,
        }
    }
}

/// Whether requests get through to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkState {
    /// It is this one.
    ThisNode,
    /// Both connections are up.
    Connected,
    /// They are being made for the first time.
    Connecting,
    /// One was lost and will be made again.
    Lost,
    /// The last attempt to connect failed; others follow.
    Failing,
}

/// A node's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageStatus {
    /// How often the data folder was opened, by this process included.
    pub start_counter: u64,
    /// The newest position in the log when it was.
    pub commit_counter: u64,
    /// The log: rows, small objects.
    pub log_bytes: u64,
    /// The index of the rows.
    pub index_bytes: u64,
    /// Blocks of larger objects, on all disks that are there.
    pub blocks_bytes: u64,
    /// The folders where they are.
    pub block_folders: Vec<BlockFolderStatus>,
    /// Free on the disk, for this user.
    pub free_bytes: u64,
    /// Below this much free space new data is refused.
    pub min_free_bytes: u64,
    /// What the store takes just now, for want of room.
    pub taking: Taking,
}

/// A folder with blocks, on a disk of its own perhaps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockFolderStatus {
    /// Where it is.
    pub path: String,
    /// What the configuration says that it is for; nothing for the one in the data folder.
    pub capacity_bytes: Option<u64>,
    /// What its files take up; nothing while it is away.
    pub used_bytes: Option<u64>,
    /// Free on its file system, but for the reserve; nothing while it is away.
    pub free_bytes: Option<u64>,
    /// Whether it is in use.
    #[serde(flatten)]
    pub how: FolderState,
}

/// A bucket as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketSummary {
    /// Its name.
    pub name: String,
    /// The access key that owns it.
    pub owner: String,
    /// Milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Its identity: another one after it was deleted and created again.
    pub id: String,
}

/// A bucket to be created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewBucket {
    /// Its name.
    pub name: String,
    /// The access key that will own it.
    pub owner: String,
}

/// A node that may be found at an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewNode {
    /// What `trellis node id` prints on it.
    pub id: NodeName,
    /// Host and port.
    pub address: String,
}

/// An access key to be created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKeyName {
    /// For people.
    pub name: String,
}

/// An access key that was just created: the only moment at which its secret is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySecret {
    /// The public half.
    pub id: String,
    /// For people.
    pub name: String,
    /// The secret half.
    pub secret: String,
}
