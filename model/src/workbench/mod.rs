//! The workbench: a replication protocol in one small file, and everything around it for nothing.
//!
//! A [`Protocol`] says what a node does with a message, how a client begins an operation, and what it makes of the
//! answers. From that come a world for the model checker with crashes, delays, lost answers and suspicions
//! ([`world::Bench`]), guarantees to check in it ([`guarantee::Guarantee`]), a run in simulated time ([`run::Run`]), and a
//! sheet of what operations cost and what they survive ([`sheet::Sheet`]). [`compare`] puts all protocols side by side.
//!
//! Each protocol's file ends with its claims, those that it is known *not* to fulfil among them, and its mutants. All of
//! them keep one register; shards, manifests and transfers of data are not their subject.

pub mod chain;
pub mod compare;
pub mod consensus;
pub mod craq;
pub mod elastic;
pub mod guarantee;
pub mod here;
pub mod log;
mod narrate;
pub mod primary;
pub mod quorum;
pub mod register;
pub mod run;
pub mod sheet;
pub mod state;
pub mod trial;
pub mod world;

use std::fmt::Debug;
use std::hash::Hash;

pub use here::{Config, Here, Party, Sent};
pub use state::State;

use crate::claim::Claim;
use crate::coordinator::Outcome;
use crate::script::Kind;
use crate::value::OpIndex;

/// A replication protocol of one register.
///
/// One law: a message that changes nothing where it arrives, and whose answers nobody awaits, never will. Worlds throw
/// such messages away.
pub trait Protocol: Clone + Debug + PartialEq + Eq + Hash + Send + Sync + 'static {
    /// What is sent.
    type Message: Datum + Ord;
    /// What a node keeps; at first, what it is by default.
    type Node: Datum + Default;
    /// An operation in flight, at its client or coordinator.
    type Client: Datum;

    /// What it expects of links between nodes.
    const LINKS: Links;
    /// Whether its nodes are replaced when they fail.
    const MEMBERSHIP: Membership;
    /// Whether an operation may depend on what the register holds.
    const CONDITIONS: Conditions = Conditions::Offered;

    /// A client begins an operation.
    fn begin(&self, request: Request, here: &mut Here<'_, Self::Message>) -> Self::Client;
    /// A node handles a message.
    fn serve(&self, node: &mut Self::Node, from: Party, message: Self::Message, here: &mut Here<'_, Self::Message>);
    /// A client hears a message, and may be done.
    fn hear(
        &self,
        client: &mut Self::Client,
        from: Party,
        message: Self::Message,
        here: &mut Here<'_, Self::Message>,
    ) -> Option<Outcome>;
    /// A node that knew `old` hears of a newer configuration.
    fn reconfigured(&self, _node: &mut Self::Node, _old: &Config, _here: &mut Here<'_, Self::Message>) {}
    /// What a node holds.
    fn value(node: &Self::Node) -> Option<OpIndex>;
    /// How many values travel in a message.
    fn payload(message: &Self::Message) -> usize;
    /// What must be true of every state, besides what is guaranteed to clients.
    fn invariant(&self, _state: &State<Self>) -> bool {
        true
    }
}

/// What states are made of.
pub trait Datum: Clone + Debug + Eq + Hash + Send + Sync + 'static {}

impl<T: Clone + Debug + Eq + Hash + Send + Sync + 'static> Datum for T {}

/// What is expected of links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Messages overtake each other.
    Unordered,
    /// What one party sends to another arrives in order, or not at all from some point on.
    Ordered,
}

/// Are nodes replaced when they fail?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// No: what a minority holds up does not matter.
    Fixed,
    /// A configuration service, which is taken to be one process that never fails, removes whom it suspects.
    Service,
}

/// May an operation depend on what the register holds?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conditions {
    /// Yes: one of several creators wins.
    Offered,
    /// No: such a register cannot decide between two that find the same.
    NotOffered,
}

/// An operation that a client wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request {
    /// Which. Its value, if it writes one, is called the same.
    pub op: OpIndex,
    /// What.
    pub kind: Kind,
}

impl Request {
    /// What it leaves in a register that holds `current`, and what its client is told.
    pub fn apply(self, current: Option<OpIndex>) -> (Option<OpIndex>, Outcome) {
        match self.kind {
            Kind::Write => (Some(self.op), Outcome::Wrote),
            Kind::Delete => (None, Outcome::Wrote),
            Kind::Put(condition) if condition.holds(current) => (Some(self.op), Outcome::Wrote),
            Kind::Remove(condition) if condition.holds(current) => (None, Outcome::Wrote),
            Kind::Put(_) | Kind::Remove(_) => (current, Outcome::Refused(current)),
            Kind::Read | Kind::Head => (current, Outcome::Found(current)),
            Kind::Again(_) | Kind::List | Kind::DropBucket | Kind::Elect => (current, Outcome::Nothing),
        }
    }

    /// Does it leave everything as it is?
    pub fn is_read(self) -> bool {
        matches!(self.kind, Kind::Read | Kind::Head)
    }
}

/// The claims of all protocols.
pub(crate) fn claims() -> Vec<Claim> {
    vec![
        quorum::plain(),
        quorum::abd(),
        consensus::claim(),
        primary::claim(),
        chain::claim(),
        craq::strong(),
        craq::eventual(),
        craq::bounded(),
        elastic::claim(),
        register::claim(),
    ]
}
