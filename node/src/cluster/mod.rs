//! The driver: what turns the decisions of `trellis-spec` into messages, disk writes and answers.
//!
//! [`Replica`] answers requests of peers: it admits them, applies the pure rule to the stored row and waits until
//! everything that the answer tells of is durable. [`Coordinator`] runs attempts: it sends what they ask for and tells
//! them what came back. Neither decides anything about the protocols.

mod amount;
mod blocks;
mod calls;
mod cells;
mod changes;
mod collector;
mod comparison;
mod contact;
mod coordinator;
mod dates;
mod digest;
mod door;
mod elect;
mod epochs;
mod floors;
mod forgetter;
mod handing;
mod keeper;
mod layouts;
mod limits;
mod listing;
mod memory;
mod migration;
mod operations;
mod place;
mod poll;
mod redundancy;
mod references;
mod repair;
mod replica;
mod scrub;
mod showing;
mod standing;
#[cfg(test)]
mod tests;
pub(crate) mod tidings;
mod tries;
mod trouble;
mod turns;
mod watched;
mod wire;
mod workers;

pub use amount::{Amount, Count};
pub use blocks::BlockError;
pub use changes::Changes;
pub use collector::{Collected, Collector};
pub use coordinator::Coordinator;
pub use dates::Dates;
pub use elect::{ElectError, Elected};
pub use epochs::{Out, Overruled};
pub use forgetter::{Forgetter, Forgot};
pub use layouts::{Known, Layouts, LayoutsError};
pub use limits::{LimitError, Limits};
pub use listing::{Listed, Span};
pub use memory::Memory;
pub use migration::{Gatekeeper, Movers, Moves};
pub use operations::{ClusterError, Found, Swapped};
pub use place::Target;
pub use redundancy::{Below, Lack, Missing, Redundancy, Why};
pub use repair::{Evidence, Repairer, Repairs};
pub use replica::{Replica, ReplicaService};
pub use scrub::Scrubber;
pub use standing::{Life, Standing};
pub(crate) use watched::WatchedDeletion;
pub use wire::{DecodeError, decode, encode};
pub use workers::{PartitionWork, Worker, WorkerError, WorkerReport, WorkerState, Workers};
