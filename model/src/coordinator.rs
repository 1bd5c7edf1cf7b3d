//! Coordinators: the attempts of the specification behind one face, so that a world can hold any of them.
//!
//! An operation on one row is one attempt. A listing and the deletion of a bucket are sequences of them; what the node's
//! driver does between two attempts is done here in the same order.

use std::any::Any;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use trellis_spec::layout::{GatedRow, Pulled, Refusal, Sources};
use trellis_spec::listing::Scanned;
use trellis_spec::quorum::{NodeId, ReplicaSets};
use trellis_spec::register::{Accepted, Ask, Attempt, Audience, Reply, Request, Step};
use trellis_spec::stamp::Stamp;

use crate::value::{Cargo, Key, OpIndex};

/// What a coordinator asks a replica.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// About one row.
    Row(Key, Request<Cargo>),
    /// For the objects from a key on.
    Scan(Key),
    /// For all rows from a key on, promises included, to sync.
    Pull(Key),
}

/// What a replica answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// To `Row`.
    Row(Reply<Cargo>),
    /// To `Scan`.
    Scanned(Scanned<Key, Cargo>),
    /// To `Pull`.
    Pulled(Pulled<Key, Cargo>),
    /// To anything: the request was not looked at.
    Refused(Refusal),
}

/// What a coordinator's view rose to.
#[derive(Clone, Debug)]
pub struct Raised {
    /// The replicas that a phase needs majorities of.
    pub sets: ReplicaSets,
    /// Where a new owner pulls from.
    pub sources: Sources,
}

/// Why a coordinator wants a fresh stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It met something newer. Worlds bound how often.
    Competing,
    /// The next attempt of an operation that has several.
    NextAttempt,
}

/// What a coordinator does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// Waits for more answers.
    Wait,
    /// Asks.
    Ask {
        /// The round that answers belong to.
        round: u32,
        /// Whom.
        audience: Audience,
        /// What.
        call: Call,
    },
    /// Wants a fresh stamp above this one.
    Stamp {
        /// The newest stamp seen.
        above: Stamp,
        /// What for.
        why: Why,
    },
    /// Wants the floor raised where it runs, then `on_raised`.
    Raise(Stamp),
    /// Wants these rows copied where it runs, then `on_copied`.
    Copy(Vec<(Key, Accepted<Cargo>)>),
    /// Wants to know what became of the bucket of this row, by `on_gated`.
    Gated(Key),
    /// Is done.
    Done(Outcome),
}

impl Move {
    /// The round, whom and what it asks, if it does.
    pub fn into_question(self) -> Option<(u32, Audience, Call)> {
        match self {
            Move::Ask { round, audience, call } => Some((round, audience, call)),
            Move::Wait | Move::Stamp { .. } | Move::Raise(_) | Move::Copy(_) => None,
            Move::Gated(_) | Move::Done(_) => None,
        }
    }
}

/// What the client is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// The write took effect.
    Wrote,
    /// The condition failed on this.
    Refused(Option<OpIndex>),
    /// The row holds this.
    Found(Option<OpIndex>),
    /// The objects, by key.
    Listed(Vec<(Key, OpIndex)>),
    /// The bucket is gone.
    Dropped,
    /// The node holds what was acknowledged under older layouts.
    Synced,
    /// It may have taken effect, may yet, or never will.
    Unknown,
    /// There was no effect and there is no result.
    Nothing,
}

/// An outcome together with what the checker wants to know about it.
pub type Told = (Outcome, Evidence);

/// The stamp of the version that an outcome is about, and whether something is wrong with it on the face of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Evidence {
    /// The version's stamp.
    At(Stamp),
    /// The outcome is about no version of one row.
    None,
    /// A value without its body was returned to somebody who asked for all of it.
    Bodiless,
}

/// An operation in flight at its coordinator.
pub trait Coordinator: Plain + Debug + Send + Sync {
    /// Begins, with a fresh stamp.
    fn start(&mut self, stamp: Stamp) -> Move;
    /// Goes on after [`Move::Stamp`].
    fn stamped(&mut self, stamp: Stamp) -> Move;
    /// An answer to the request of `round`.
    fn on_answer(&mut self, round: u32, from: NodeId, answer: Answer) -> Move;
    /// Goes on without those who did not answer, where that is possible.
    fn on_patience(&mut self) -> Move;
    /// Its view rose: answers under the older one are void.
    fn on_view(&mut self, raised: &Raised) -> Move;
    /// The floor is raised.
    fn on_raised(&mut self) -> Move {
        Move::Wait
    }
    /// The rows of [`Move::Copy`] were copied, but for those that a promise above this stamp kept out.
    fn on_copied(&mut self, _: Vec<(Key, Stamp)>) -> Move {
        Move::Wait
    }
    /// What became of the bucket of [`Move::Gated`].
    fn on_gated(&mut self, _: GatedRow) -> Move {
        Move::Wait
    }
    /// Gives up.
    fn on_deadline(&self) -> Told;
    /// The evidence for the outcome that the last move told.
    fn evidence(&self) -> Evidence {
        Evidence::None
    }
}

/// What a coordinator can do because it is a value like any other.
pub trait Plain {
    /// A copy.
    fn fork(&self) -> Box<dyn Coordinator>;
    /// For equality.
    fn as_any(&self) -> &dyn Any;
    /// Is it the same as `other`?
    fn equals(&self, other: &dyn Coordinator) -> bool;
    /// Adds everything that the future depends on to a hash.
    fn digest(&self, hasher: &mut dyn Hasher);
}

impl<T: Coordinator + Clone + PartialEq + Hash + 'static> Plain for T {
    fn fork(&self) -> Box<dyn Coordinator> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn equals(&self, other: &dyn Coordinator) -> bool {
        other.as_any().downcast_ref() == Some(self)
    }

    fn digest(&self, mut hasher: &mut dyn Hasher) {
        self.hash(&mut hasher);
    }
}

/// A coordinator in a state. States share it, for it changes seldom.
#[derive(Clone, Debug)]
pub struct Shared(Arc<dyn Coordinator>);

impl From<Box<dyn Coordinator>> for Shared {
    fn from(coordinator: Box<dyn Coordinator>) -> Self {
        Shared(Arc::from(coordinator))
    }
}

impl Deref for Shared {
    type Target = dyn Coordinator;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl PartialEq for Shared {
    fn eq(&self, other: &Self) -> bool {
        self.equals(&**other)
    }
}

impl Eq for Shared {}

impl Hash for Shared {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.digest(hasher);
    }
}

/// Turns the outcome of an attempt into what the client is told.
pub trait Tell<O>: Clone + Debug + PartialEq + Eq + Hash + Send + Sync + 'static {
    /// Says it.
    fn tell(&self, outcome: O) -> Told;
}

/// One attempt on one row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OnRow<A, T> {
    key: Key,
    attempt: A,
    teller: T,
    evidence: Evidence,
}

impl<A, T> OnRow<A, T> {
    /// The attempt on the row `key`.
    pub fn new(key: Key, attempt: A, teller: T) -> Self {
        OnRow {
            key,
            attempt,
            teller,
            evidence: Evidence::None,
        }
    }

    fn moved<O>(&mut self, step: Step<Cargo, O>) -> Move
    where
        T: Tell<O>,
    {
        match step {
            Step::Wait => Move::Wait,
            Step::Ask(ask) => asking(self.key, ask),
            Step::Again { above } => Move::Stamp {
                above,
                why: Why::Competing,
            },
            Step::Done(outcome) => {
                let (outcome, evidence) = self.teller.tell(outcome);
                self.evidence = evidence;
                Move::Done(outcome)
            }
        }
    }
}

/// A stamp that is wanted because the view rose, not because others compete.
pub fn uncontested(step: Move) -> Move {
    match step {
        Move::Stamp { above, .. } => Move::Stamp {
            above,
            why: Why::NextAttempt,
        },
        Move::Wait | Move::Ask { .. } | Move::Raise(_) | Move::Copy(_) | Move::Gated(_) | Move::Done(_) => step,
    }
}

/// An attempt's request, as one about the row `key`.
pub fn asking(key: Key, ask: Ask<Cargo>) -> Move {
    Move::Ask {
        round: ask.round,
        audience: ask.audience,
        call: Call::Row(key, ask.request),
    }
}

impl<A, T> Coordinator for OnRow<A, T>
where
    A: Attempt<Cargo> + Clone + Debug + PartialEq + Eq + Hash + Send + Sync + 'static,
    T: Tell<A::Outcome>,
{
    fn start(&mut self, stamp: Stamp) -> Move {
        let step = self.attempt.start(stamp);
        self.moved(step)
    }

    fn stamped(&mut self, stamp: Stamp) -> Move {
        let step = self.attempt.again(stamp);
        self.moved(step)
    }

    fn on_answer(&mut self, round: u32, from: NodeId, answer: Answer) -> Move {
        match answer {
            Answer::Row(reply) => {
                let step = self.attempt.on_reply(round, from, reply);
                self.moved(step)
            }
            Answer::Scanned(_) | Answer::Pulled(_) | Answer::Refused(_) => Move::Wait,
        }
    }

    fn on_view(&mut self, raised: &Raised) -> Move {
        let step = self.attempt.on_view(raised.sets.clone());
        uncontested(self.moved(step))
    }

    fn on_patience(&mut self) -> Move {
        let step = self.attempt.on_patience();
        self.moved(step)
    }

    fn on_deadline(&self) -> Told {
        self.teller.tell(self.attempt.on_deadline())
    }

    fn evidence(&self) -> Evidence {
        self.evidence
    }
}
