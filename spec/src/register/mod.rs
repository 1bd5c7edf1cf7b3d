//! One register per key: last-writer-wins cell and consensus acceptor in the same row.
//!
//! Unconditional writes take one round trip: the value goes to all replicas under a fresh [`Stamp`], and a majority of
//! accepts is the acknowledgement (Attiya, Bar-Noy, Dolev 1995, with Lynch and Shvartsman's tags). Conditional writes
//! take two: the same stamp is first a ballot that replicas promise (CASPaxos, Rystsov 2018). The two meet in one rule:
//! a replica that promised a ballot refuses every stamp below it, whoever sends it.
//!
//! Reads return the newest value of a majority; when it is not yet on a majority they write it back, and when a
//! promise stands in the way they *settle* it: accept the same value, with the same operation id, under a new ballot.
//!
//! Claims C1 to C5 of the model are about this folder.
//!
//! [`Stamp`]: crate::stamp::Stamp

mod attempt;
mod cell;
mod conditional;
mod message;
mod read;
mod settle;
mod write;

pub use attempt::{Ask, Attempt, Audience, Step};
pub use cell::{Accepted, Cell, Content, Copied, OpId, Served, Value};
pub use conditional::{Change, Conditional, ConditionalOutcome, Decision};
pub use message::{Fetch, Purpose, Reply, Request};
pub use read::{Read, ReadOutcome};
pub use settle::{Settle, SettleOutcome};
pub use write::{Write, WriteMode, WriteOutcome};

#[cfg(test)]
pub(crate) mod tests;
