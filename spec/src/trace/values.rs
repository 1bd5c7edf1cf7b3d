//! The values that a record mentions, and the protocol's own types with mentions in the place of values.
//!
//! One value occurs many times in a step or an attempt: stored, reported by each replica, returned. A record holds it
//! once; what was said is written down in the very types that said it, for they do not look into values.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize, Serializer};

use crate::register::{Accepted, Ask, Cell, ConditionalOutcome, Content, Reply, Request, Step, Value};
use crate::row::{Blob, Row};

/// The place of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mention {
    /// Which of the record's values it is.
    pub value: u32,
    /// Whether its inline body was there, if it has one.
    pub whole: bool,
}

/// The heads of the values that a record mentions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Values(Vec<Row>);

impl Values {
    /// The mention of a value, which is kept if it is new.
    pub fn mention(&mut self, row: &Row) -> Mention {
        let known = self.0.iter().position(|known| known.has_same_head(row));
        let value = known.unwrap_or_else(|| {
            self.0.push(row.head());
            self.0.len() - 1
        });
        place(value, row)
    }

    /// The value that is mentioned, with an empty body in the place of the one it had; nothing if there is none.
    pub fn get(&self, mention: Mention) -> Option<Row> {
        let mut row = self.0.get(usize::try_from(mention.value).ok()?)?.clone();
        if mention.whole && !row.is_whole() {
            row.attach(Blob::from(&[][..]));
        }
        Some(row)
    }
}

/// The same while its rows are borrowed: they are written as [`Values`] are read.
#[derive(Clone, Debug, Default)]
pub struct Borrowed<'a>(Vec<&'a Row>);

impl<'a> Borrowed<'a> {
    /// The mention of a value, which is kept if it is new.
    pub fn mention(&mut self, row: &'a Row) -> Mention {
        let known = self.0.iter().position(|known| known.has_same_head(row));
        let value = known.unwrap_or_else(|| {
            self.0.push(row);
            self.0.len() - 1
        });
        place(value, row)
    }
}

impl Serialize for Borrowed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|row| Head(row)))
    }
}

/// A row that is written without its inline body.
struct Head<'a>(&'a Row);

impl Serialize for Head<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.has_body() {
            self.0.head().serialize(serializer)
        } else {
            self.0.serialize(serializer)
        }
    }
}

fn place(value: usize, row: &Row) -> Mention {
    Mention {
        value: u32::try_from(value).unwrap_or(u32::MAX),
        whole: row.is_whole(),
    }
}

/// The content with its value replaced.
pub fn content<'a, V, W>(of: &'a Content<V>, replace: &mut impl FnMut(&'a V) -> W) -> Content<W> {
    match of {
        Content::Value(value) => Content::Value(replace(value)),
        Content::Tombstone => Content::Tombstone,
    }
}

/// The same of what was accepted.
pub fn accepted<'a, V, W>(of: &'a Accepted<V>, replace: &mut impl FnMut(&'a V) -> W) -> Accepted<W> {
    Accepted {
        ballot: of.ballot,
        op: of.op,
        base: of.base,
        content: content(&of.content, replace),
    }
}

/// The same of a row.
pub fn cell<'a, V, W>(of: &'a Cell<V>, replace: &mut impl FnMut(&'a V) -> W) -> Cell<W> {
    Cell {
        promised: of.promised,
        accepted: of.accepted.as_ref().map(|held| accepted(held, replace)),
    }
}

/// The same of a request.
pub fn request<'a, V, W>(of: &'a Request<V>, replace: &mut impl FnMut(&'a V) -> W) -> Request<W> {
    match of {
        Request::Read(fetch) => Request::Read(*fetch),
        Request::Write(new) => Request::Write(accepted(new, replace)),
        Request::WriteBack(new) => Request::WriteBack(accepted(new, replace)),
        Request::Prepare { ballot, purpose } => Request::Prepare {
            ballot: *ballot,
            purpose: *purpose,
        },
        Request::Accept(new) => Request::Accept(accepted(new, replace)),
    }
}

/// The same of a reply.
pub fn reply<'a, V, W>(of: &'a Reply<V>, replace: &mut impl FnMut(&'a V) -> W) -> Reply<W> {
    match of {
        Reply::Row { accepted: held } => Reply::Row {
            accepted: held.as_ref().map(|held| accepted(held, replace)),
        },
        Reply::Accept => Reply::Accept,
        Reply::Promise { accepted: held, floor } => Reply::Promise {
            accepted: held.as_ref().map(|held| accepted(held, replace)),
            floor: *floor,
        },
        Reply::Nack { seen } => Reply::Nack { seen: *seen },
        Reply::Gated => Reply::Gated,
        Reply::TooFarAhead => Reply::TooFarAhead,
    }
}

/// The same of the outcome of a conditional write.
pub fn conditional<'a, V, W>(
    of: &'a ConditionalOutcome<V>,
    replace: &mut impl FnMut(&'a V) -> W,
) -> ConditionalOutcome<W> {
    match of {
        ConditionalOutcome::Written(value) => ConditionalOutcome::Written(accepted(value, replace)),
        ConditionalOutcome::Refused(value) => {
            ConditionalOutcome::Refused(value.as_ref().map(|value| accepted(value, replace)))
        }
        ConditionalOutcome::Gated => ConditionalOutcome::Gated,
        ConditionalOutcome::Unknown => ConditionalOutcome::Unknown,
        ConditionalOutcome::Unreached => ConditionalOutcome::Unreached,
    }
}

/// The same of a step; `end` is for its outcome.
pub fn step<'a, V, W, O, P, F: FnMut(&'a V) -> W>(
    of: &'a Step<V, O>,
    replace: &mut F,
    end: impl FnOnce(&'a O, &mut F) -> P,
) -> Step<W, P> {
    match of {
        Step::Wait => Step::Wait,
        Step::Ask(ask) => Step::Ask(Ask {
            round: ask.round,
            audience: ask.audience,
            request: request(&ask.request, replace),
        }),
        Step::Again { above } => Step::Again { above: *above },
        Step::Done(outcome) => Step::Done(end(outcome, replace)),
    }
}
