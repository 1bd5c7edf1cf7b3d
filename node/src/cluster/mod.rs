//! The driver: what turns the decisions of `trellis-spec` into messages, disk writes and answers.
//!
//! [`Replica`] answers requests of peers: it admits them, applies the pure rule to the stored row and waits until
//! everything that the answer tells of is durable. [`Coordinator`] runs attempts: it sends what they ask for and tells
//! them what came back. Neither decides anything about the protocols.

mod blocks;
mod cells;
mod collector;
mod coordinator;
mod keeper;
mod limits;
mod listing;
mod operations;
mod references;
mod replica;
mod standing;
#[cfg(test)]
mod tests;
mod tries;
mod turns;
mod watched;
mod wire;

pub use blocks::BlockError;
pub use collector::{Collected, Collector};
pub use coordinator::{Coordinator, Target};
pub use limits::{LimitError, Limits};
pub use listing::{Listed, Span};
pub use operations::{ClusterError, Found, Swapped};
pub use replica::{Replica, ReplicaService};
pub use standing::{Life, Memory, Standing};
pub(crate) use wire::encode;
pub use wire::{DecodeError, decode};
