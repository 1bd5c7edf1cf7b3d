//! The values of the modelled rows, and the conditions put on them.
//!
//! Every write makes a value of its own, named after the operation that made it, so that a history tells which write a
//! read saw.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};
use trellis_spec::flaw::Rules;
use trellis_spec::gate::{Fate, Gate, may_decide};
use trellis_spec::register::{Accepted, Change, Content, Decision, OpId, Value};

/// A row of the modelled partition, in the order in which rows are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key(pub u8);

/// An operation of a script, by its place in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OpIndex(pub u8);

/// The inline body of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Body {
    /// There is none: the object has blocks.
    Absent,
    /// It is here.
    Here,
    /// There is one, and this is only the head.
    Detached,
}

/// What a row holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cargo {
    /// The object that this operation wrote.
    Object(OpIndex, Body),
    /// The bucket's gate.
    Gate(Gate),
    /// The bucket.
    Bucket(Bucket),
}

/// The bucket's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bucket {
    /// In use. So is a bucket whose row was never written.
    Active,
    /// This deletion finds out whether it is empty.
    Deleting(OpId),
    /// Gone for good.
    Deleted,
}

impl Value for Cargo {
    fn head(&self) -> Self {
        match *self {
            Cargo::Object(by, Body::Here) => Cargo::Object(by, Body::Detached),
            Cargo::Object(_, Body::Absent | Body::Detached) | Cargo::Gate(_) | Cargo::Bucket(_) => *self,
        }
    }

    fn is_whole(&self) -> bool {
        !matches!(self, Cargo::Object(_, Body::Detached))
    }

    fn keeps_stamp(&self) -> bool {
        matches!(self, Cargo::Gate(_))
    }
}

/// Which operation wrote the object that a row holds, if it holds one.
pub fn writer(found: Option<&Accepted<Cargo>>) -> Option<OpIndex> {
    match found?.content.live()? {
        Cargo::Object(by, _) => Some(*by),
        Cargo::Gate(_) | Cargo::Bucket(_) => None,
    }
}

/// The condition of a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Condition {
    /// `If-None-Match: *`.
    Absent,
    /// `If-Match: *`.
    Present,
    /// `If-Match` with the entity tag of what this operation wrote.
    WrittenBy(OpIndex),
}

impl Condition {
    /// Does it hold of a row with this object?
    pub fn holds(self, object: Option<OpIndex>) -> bool {
        match self {
            Condition::Absent => object.is_none(),
            Condition::Present => object.is_some(),
            Condition::WrittenBy(op) => object == Some(op),
        }
    }
}

/// A conditional write of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guarded {
    /// When.
    pub condition: Condition,
    /// What.
    pub content: Content<Cargo>,
}

impl Change<Cargo> for Guarded {
    fn decide(&self, current: Option<&Accepted<Cargo>>) -> Decision<Cargo> {
        if self.condition.holds(writer(current)) {
            Decision::Write(self.content.clone())
        } else {
            Decision::Refuse
        }
    }
}

/// The compare-and-swaps of a bucket deletion.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketChange<R> {
    /// The deletion.
    pub me: OpId,
    /// What is to happen; nothing: the bucket is claimed.
    pub fate: Option<Fate>,
    /// The rules in force.
    pub rules: PhantomData<R>,
}

impl<R: Rules> Change<Cargo> for BucketChange<R> {
    fn decide(&self, current: Option<&Accepted<Cargo>>) -> Decision<Cargo> {
        let state = match current.and_then(|held| held.content.live()) {
            Some(Cargo::Bucket(state)) => *state,
            Some(Cargo::Object(..) | Cargo::Gate(_)) | None => Bucket::Active,
        };
        let next = match (state, self.fate) {
            (Bucket::Active | Bucket::Deleting(_), None) => Some(Bucket::Deleting(self.me)),
            (Bucket::Deleting(owner), Some(fate)) if may_decide::<R>(owner, self.me) => Some(match fate {
                Fate::Active => Bucket::Active,
                Fate::Deleted => Bucket::Deleted,
            }),
            (Bucket::Active | Bucket::Deleting(_), Some(_)) | (Bucket::Deleted, _) => None,
        };
        next.map_or(Decision::Refuse, |next| {
            Decision::Write(Content::Value(Cargo::Bucket(next)))
        })
    }
}
