//! The order that one node gives to operations, for protocols in which one node does.
//!
//! A log is the history of the papers: operations in their order, each with what its client will be told. Of a register,
//! its last value and its length would do; the rest is kept to answer clients of a node that failed.

use super::Request;
use crate::coordinator::Outcome;
use crate::value::OpIndex;

/// An operation that has its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Record {
    /// Which.
    pub op: OpIndex,
    /// What the register holds after it.
    pub value: Option<OpIndex>,
    /// What its client will be told.
    pub outcome: Outcome,
}

/// Operations in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Log(Vec<Record>);

impl Log {
    /// What the register holds.
    pub fn value(&self) -> Option<OpIndex> {
        self.value_at(self.len())
    }

    /// What it held after so many operations.
    pub fn value_at(&self, length: usize) -> Option<OpIndex> {
        let last = length.checked_sub(1)?;
        self.0.get(last)?.value
    }

    /// Gives an operation its place, and its result.
    pub fn append(&mut self, request: Request) -> Record {
        let (value, outcome) = request.apply(self.value());
        let op = request.op;
        let record = Record { op, value, outcome };
        self.push(record.clone());
        record
    }

    /// Takes over an operation with its place.
    pub fn push(&mut self, record: Record) {
        self.0.push(record);
    }

    /// How many operations there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those from a place on, with their places.
    pub fn from(&self, place: usize) -> impl Iterator<Item = (usize, &Record)> {
        self.0.iter().enumerate().skip(place)
    }

    /// Does it go on where `shorter` ends?
    pub fn extends(&self, shorter: &Log) -> bool {
        self.0.starts_with(&shorter.0)
    }
}
