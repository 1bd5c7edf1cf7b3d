//! The operations of a script as coordinators over the attempts of the specification.

use trellis_spec::flaw::Rules;
use trellis_spec::layout::{Election, Nominate};
use trellis_spec::quorum::ReplicaSets;
use trellis_spec::register::{
    Accepted, Conditional, ConditionalOutcome, Content, Fetch, OpId, Read, ReadOutcome, Write, WriteMode, WriteOutcome,
};

use crate::coordinator::{Coordinator, Evidence, OnRow, Outcome, Tell, Told};
use crate::deletion::DropBucket;
use crate::listing::{List, Suspects};
use crate::script::Kind;
use crate::value::{Body, Cargo, Condition, Guarded, Key, OpIndex, writer};

/// What an operation is about.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// What it does.
    pub kind: Kind,
    /// On which object.
    pub key: Key,
    /// The operation whose value and id it carries.
    pub author: OpIndex,
    /// The body of the objects it writes.
    pub body: Body,
    /// What unconditional writes do when they meet something newer.
    pub mode: WriteMode,
    /// How many objects there are: the gate and the bucket are the rows behind them.
    pub keys: u8,
    /// What a deletion does with suspects.
    pub suspects: Suspects,
}

/// The id of the attempt number `step` of an operation.
pub fn op_id(op: OpIndex, step: u8) -> OpId {
    let mut id = [0; 16];
    id[0] = op.0 + 1;
    id[1] = step;
    OpId(id)
}

/// The row of the gate behind so many objects.
pub fn gate_row(keys: u8) -> Key {
    Key(keys)
}

/// The row of the bucket behind so many objects.
pub fn bucket_row(keys: u8) -> Key {
    Key(keys + 1)
}

/// The operation, not yet started.
pub fn coordinator<R: Rules + Send + Sync + 'static>(order: &Order, sets: ReplicaSets) -> Box<dyn Coordinator> {
    let op = op_id(order.author, 0);
    let value = || Cargo::Object(order.author, order.body);
    let object = || Content::Value(value());
    let write = |content| {
        let attempt: Write<Cargo, R> = Write::new(order.mode, sets.clone(), op, content, u64::MAX);
        Box::new(OnRow::new(order.key, attempt, Teller)) as Box<dyn Coordinator>
    };
    let put = |condition: Condition, content| {
        let change = Guarded { condition, content };
        let attempt: Conditional<Cargo, _, R> = Conditional::new(sets.clone(), op, change, u64::MAX);
        Box::new(OnRow::new(order.key, attempt, Teller)) as Box<dyn Coordinator>
    };
    let read = |fetch| {
        let attempt: Read<Cargo, R> = Read::new(sets.clone(), fetch);
        Box::new(OnRow::new(order.key, attempt, ReadTeller(fetch == Fetch::Full))) as Box<dyn Coordinator>
    };
    match order.kind {
        Kind::Write => write(object()),
        Kind::Delete => write(Content::Tombstone),
        Kind::Put(condition) => put(condition, object()),
        Kind::Remove(condition) => put(condition, Content::Tombstone),
        Kind::Read | Kind::Again(_) => read(Fetch::Full),
        Kind::Head => read(Fetch::Head),
        Kind::List => Box::new(List::<R>::new(sets)),
        Kind::Elect => {
            let attempt: Election<Cargo, R> = Conditional::new(sets, op, Nominate::new(value()), u64::MAX);
            Box::new(OnRow::new(order.key, attempt, Teller))
        }
        Kind::DropBucket => Box::new(DropBucket::<R>::new(sets, order.author, order.keys, order.suspects)),
    }
}

/// Tells what became of writes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Teller;

impl Tell<WriteOutcome> for Teller {
    fn tell(&self, outcome: WriteOutcome) -> Told {
        match outcome {
            WriteOutcome::Written(stamp) => (Outcome::Wrote, Evidence::At(stamp)),
            WriteOutcome::Gated | WriteOutcome::Unknown => (Outcome::Unknown, Evidence::None),
        }
    }
}

impl Tell<ConditionalOutcome<Cargo>> for Teller {
    fn tell(&self, outcome: ConditionalOutcome<Cargo>) -> Told {
        match outcome {
            ConditionalOutcome::Written(value) => (Outcome::Wrote, Evidence::At(value.ballot)),
            ConditionalOutcome::Refused(found) => (Outcome::Refused(writer(found.as_ref())), at(found.as_ref())),
            ConditionalOutcome::Gated | ConditionalOutcome::Unknown => (Outcome::Unknown, Evidence::None),
            ConditionalOutcome::Unreached => (Outcome::Nothing, Evidence::None),
        }
    }
}

/// Tells what a read found. It holds whether the whole value was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ReadTeller(bool);

impl Tell<ReadOutcome<Cargo>> for ReadTeller {
    fn tell(&self, outcome: ReadOutcome<Cargo>) -> Told {
        match outcome {
            ReadOutcome::Found(Some(found)) if self.0 && !found.content.is_whole() => {
                (Outcome::Found(writer(Some(&found))), Evidence::Bodiless)
            }
            ReadOutcome::Found(found) => (Outcome::Found(writer(found.as_ref())), at(found.as_ref())),
            ReadOutcome::Gated | ReadOutcome::Unreached => (Outcome::Nothing, Evidence::None),
        }
    }
}

fn at(found: Option<&Accepted<Cargo>>) -> Evidence {
    Evidence::At(found.map_or(trellis_spec::stamp::Stamp::ZERO, |held| held.ballot))
}
