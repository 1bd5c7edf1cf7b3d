//! What a node tells its operators, and what they tell it.
//!
//! The admin API is HTTP with JSON over a Unix socket, `admin.sock` in the data folder. Why not a port: the kernel says
//! who is at the other end of a Unix socket, so there is no token to make, keep, rotate or leak, nothing that a browser
//! or a request forged on a server can reach, and no address to choose. Only the user that the node runs as and root
//! are served; whoever wants it from afar uses ssh.
//!
//! [`Observer`] is the node as seen from here, [`serve`] answers, [`Client`] asks.

mod api;
mod client;
pub mod copies;
mod health;
pub mod layout;
mod nodes;
mod observer;
mod socket;
mod status;
mod survey;
mod workers;

pub use api::{AdminServer, Refused, serve};
pub use client::{Client, ClientError};
pub use health::{Cause, HealthReport, RedundancyReport, RedundancyState};
pub use observer::{MeasuredFolders, Observer, Seen};
pub use socket::{SOCKET_FILE, SocketError};
pub use status::{
    BlockFolderStatus, BucketSummary, HealthState, HealthStatus, KeySecret, LayoutStatus, NewBucket, NewKeyName,
    NewNode, NodeRole, NodeStatus,
};
pub use status::{LinkState, Status, StorageStatus};
