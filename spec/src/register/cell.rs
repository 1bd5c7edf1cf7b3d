//! The replica's half: one row, one pure rule.

use core::fmt::Debug;
use core::hash::Hash;

use serde::{Deserialize, Serialize};

use super::message::{Fetch, Reply, Request};
use crate::flaw::{Flaw, Rules};
use crate::stamp::Stamp;

/// What a register may hold. The protocol never looks inside.
pub trait Value: Clone + Debug + PartialEq + Eq + PartialOrd + Ord + Hash {
    /// The same value without its inline body. Values under one operation id have equal heads only if they are equal.
    fn head(&self) -> Self;
    /// Is the inline body there (or was there none to begin with)?
    fn is_whole(&self) -> bool;
    /// Is it one that only unconditional writes make, whose stamps say more than their order (a gate)? A new owner takes
    /// the newest of those as it is, for settling it would change its stamp.
    fn keeps_stamp(&self) -> bool {
        false
    }
}

/// The S3 operation that made a value. It stays when the value is accepted again under a higher ballot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OpId(pub [u8; 16]);

/// A live value, or the mark that one was deleted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Content<V> {
    /// Something is there.
    Value(V),
    /// Nothing is there, and that is newer than what was.
    Tombstone,
}

/// A value together with the ballot under which it was accepted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Accepted<V> {
    /// The newest ballot under which this replica accepted it.
    pub ballot: Stamp,
    /// The operation that made it.
    pub op: OpId,
    /// For values of conditional writes: the ballot of the value that the condition was judged on.
    pub base: Option<Stamp>,
    /// The value.
    pub content: Content<V>,
}

/// The durable state of one row at one replica.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cell<V> {
    /// Everything below is refused.
    pub promised: Stamp,
    /// What is held.
    pub accepted: Option<Accepted<V>>,
}

/// A reply, and the row as it must be durable before the reply leaves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Served<V> {
    /// The reply.
    pub reply: Reply<V>,
    /// The changed row; nothing if it stays as it is.
    pub changed: Option<Cell<V>>,
}

/// What came of copying a settled value into a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Copied<V> {
    /// The row holds it already, or something newer.
    Held,
    /// This is the row now; it must be durable before anything relies on it.
    Taken(Cell<V>),
    /// The row has promised this ballot, which is above the value. Nothing was changed.
    Promised(Stamp),
}

impl<V> Default for Cell<V> {
    fn default() -> Self {
        Cell {
            promised: Stamp::ZERO,
            accepted: None,
        }
    }
}

impl<V: Value> Content<V> {
    /// The live value.
    pub fn live(&self) -> Option<&V> {
        match self {
            Content::Value(value) => Some(value),
            Content::Tombstone => None,
        }
    }

    /// Is the inline body there?
    pub fn is_whole(&self) -> bool {
        self.live().is_none_or(Value::is_whole)
    }
}

impl<V: Value> Accepted<V> {
    /// The same without the inline body.
    pub fn head(&self) -> Self {
        let content = match &self.content {
            Content::Value(value) => Content::Value(value.head()),
            Content::Tombstone => Content::Tombstone,
        };
        Accepted {
            content,
            ..self.clone()
        }
    }

    /// The same value under a higher ballot.
    pub fn under(self, ballot: Stamp) -> Self {
        Accepted { ballot, ..self }
    }
}

impl<V: Value> Cell<V> {
    /// The ballot of what is held; zero for nothing.
    pub fn ballot(&self) -> Stamp {
        self.accepted.as_ref().map_or(Stamp::ZERO, |accepted| accepted.ballot)
    }

    /// Answers one request. The caller makes `changed` durable before the reply leaves, and the reply may not leave
    /// before everything it tells of is durable.
    ///
    /// `floor` is the partition's: below it lie tombstones that every replica was known to hold and that were then
    /// forgotten; a row that is not here may have been newer than a request from below the floor. A read does not look
    /// at it.
    pub fn serve<R: Rules>(&self, floor: Stamp, request: &Request<V>) -> Served<V> {
        match request {
            Request::Read(fetch) => self.unchanged(Reply::Row {
                accepted: self.fetched(*fetch),
            }),
            Request::Write(new) => {
                let promise_kept = new.ballot > self.promised || R::lacks(Flaw::WriteIgnoresPromise);
                self.take::<R>(floor, new, promise_kept)
            }
            Request::WriteBack(new) => {
                let promise_kept = new.ballot >= self.promised || R::lacks(Flaw::WriteBackIgnoresPromise);
                self.take::<R>(floor, new, promise_kept)
            }
            Request::Accept(new) => {
                let promise_kept = new.ballot >= self.promised || R::lacks(Flaw::AcceptIgnoresPromise);
                self.take::<R>(floor, new, promise_kept)
            }
            Request::Prepare { ballot, .. } => self.promise::<R>(floor, *ballot),
        }
    }

    /// Takes a value that a majority of every older layout holds with no promise above it. Floors and gates are not
    /// asked: it was let in once.
    pub fn copy<R: Rules>(&self, held: &Accepted<V>) -> Copied<V> {
        if held.ballot <= self.ballot() {
            return Copied::Held;
        }
        if held.ballot < self.promised && !R::lacks(Flaw::SyncJoins) {
            return Copied::Promised(self.promised);
        }
        Copied::Taken(Cell {
            promised: self.promised.max(held.ballot),
            accepted: Some(held.clone()),
        })
    }

    /// What this replica cannot be brought behind: the ballot that it holds, or the floor where it holds nothing.
    pub fn reports(&self, floor: Stamp) -> Stamp {
        self.accepted.as_ref().map_or(floor, |held| held.ballot)
    }

    fn take<R: Rules>(&self, floor: Stamp, new: &Accepted<V>, promise_kept: bool) -> Served<V> {
        let repeated = |held: &Accepted<V>| held.ballot == new.ballot && held.op == new.op;
        if self.accepted.as_ref().is_some_and(repeated) {
            return self.unchanged(Reply::Accept);
        }
        let newer = new.ballot > self.ballot() || R::lacks(Flaw::GoesBack);
        if !promise_kept || !newer || self.is_below::<R>(floor, new.ballot) {
            return self.unchanged(Reply::Nack {
                seen: self.newest(floor),
            });
        }
        let raised = if R::lacks(Flaw::GoesBack) {
            Stamp::ZERO
        } else {
            new.ballot
        };
        let promised = self.promised.max(raised);
        Served {
            reply: Reply::Accept,
            changed: Some(Cell {
                promised,
                accepted: Some(new.clone()),
            }),
        }
    }

    fn promise<R: Rules>(&self, floor: Stamp, ballot: Stamp) -> Served<V> {
        if ballot <= self.promised || ballot <= self.ballot() || self.is_below::<R>(floor, ballot) {
            return self.unchanged(Reply::Nack {
                seen: self.newest(floor),
            });
        }
        let changed = Cell {
            promised: ballot,
            accepted: self.accepted.clone(),
        };
        Served {
            reply: Reply::Promise {
                accepted: self.accepted.clone(),
                floor,
            },
            changed: Some(changed),
        }
    }

    fn is_below<R: Rules>(&self, floor: Stamp, stamp: Stamp) -> bool {
        self.accepted.is_none() && stamp <= floor && !R::lacks(Flaw::FloorUnchecked)
    }

    fn newest(&self, floor: Stamp) -> Stamp {
        let floor = if self.accepted.is_none() { floor } else { Stamp::ZERO };
        self.promised.max(self.ballot()).max(floor)
    }

    fn fetched(&self, fetch: Fetch) -> Option<Accepted<V>> {
        match fetch {
            Fetch::Head => self.accepted.as_ref().map(Accepted::head),
            Fetch::Full => self.accepted.clone(),
        }
    }

    fn unchanged(&self, reply: Reply<V>) -> Served<V> {
        Served { reply, changed: None }
    }
}
