//! One attempt, from its beginning to its end.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::values::{Mention, Values};
use crate::layout::{Partition, View};
use crate::quorum::{NodeId, ReplicaSets};
use crate::register::{
    Accepted, Attempt, ConditionalOutcome, Content, Fetch, OpId, ReadOutcome, Reply, Request, SettleOutcome, Step,
    WriteMode, WriteOutcome,
};
use crate::row::{Address, Guard, Row, RowKey, Swap, VersionId};
use crate::stamp::Stamp;

/// What an attempt was told, what it said, and what was sent for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRun {
    /// The row it is about.
    pub key: RowKey,
    /// The gate that its requests name.
    pub gate_key: Option<RowKey>,
    /// The partition of the row.
    pub partition: Partition,
    /// The view under which it began.
    pub view: View,
    /// The replicas under that view.
    pub sets: ReplicaSets,
    /// What it was made of.
    pub made: Made,
    /// What happened, in order. It may stop anywhere: an attempt may die at any moment.
    pub events: Vec<Event>,
    /// The values that the record mentions.
    pub values: Values,
}

/// What an attempt is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Made {
    /// A [`Read`](crate::register::Read).
    Read {
        /// How much of the row.
        fetch: Fetch,
    },
    /// A [`Write`](crate::register::Write).
    Write {
        /// What it does when it meets something newer.
        mode: WriteMode,
        /// The operation.
        op: OpId,
        /// The value.
        content: Content<Mention>,
        /// The time of the last stamp that may carry it.
        until: u64,
    },
    /// A [`Conditional`](crate::register::Conditional).
    Conditional {
        /// The operation.
        op: OpId,
        /// The condition and the value, if the attempt lived to be told.
        swap: Option<(Guard, Content<Mention>)>,
        /// The time of the last stamp that may carry it.
        until: u64,
    },
    /// A [`Settle`](crate::register::Settle).
    Settle,
    /// An [`Inquiry`](crate::block::Inquiry).
    Inquiry {
        /// The row that is asked.
        owner: Address,
        /// About this version.
        version: VersionId,
        /// The time of the last stamp that may carry it.
        until: u64,
    },
}

/// What happened to an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event<T = Mention> {
    /// It was told something, and said what to do next.
    Told(Input<T>, Step<T, Outcome<T>>),
    /// This was sent for it.
    Sent(NodeId, Request<T>),
}

/// What an attempt was told: its methods, as values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input<T = Mention> {
    /// Begin under this stamp.
    Start(Stamp),
    /// Go on under this stamp.
    Again(Stamp),
    /// A reply to the request of this round.
    Reply(u32, NodeId, Reply<T>),
    /// Replicas had ample time.
    Patience,
    /// The view rose; these are the replicas.
    View(ReplicaSets),
    /// The deadline passed.
    Deadline,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome<T = Mention> {
    /// A read.
    Read(ReadOutcome<T>),
    /// A write.
    Write(WriteOutcome),
    /// A conditional write.
    Conditional(ConditionalOutcome<T>),
    /// A row was settled.
    Settle(SettleOutcome<T>),
    /// An inquiry that found its version dead. The record proves nothing to anybody who deletes.
    Dead,
    /// An inquiry that found it alive.
    Alive(Accepted<T>),
    /// An inquiry that found nobody to tell.
    Untold,
}

/// An attempt that can be written down.
pub trait Traced: Attempt<Row> {
    /// What it was made of.
    fn made(&self, values: &mut Values) -> Made;
    /// Its outcome in the terms of a record.
    fn outcome<F: FnMut(&Row) -> Mention>(outcome: &Self::Outcome, mention: &mut F) -> Outcome;
}

/// A change that is a [`Swap`], or will be one.
pub trait Guarded {
    /// The swap, if it is known.
    fn swap(&self) -> Option<&Swap>;
}

impl Guarded for Swap {
    fn swap(&self) -> Option<&Swap> {
        Some(self)
    }
}
