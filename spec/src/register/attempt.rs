//! The coordinator's half: what all attempts have in common.
//!
//! An attempt is told what happened (`start`, `on_reply`, `on_patience`, `on_view`, `again`) and says what to do next ([`Step`]).
//! It goes through numbered rounds; each round is one request to all replicas, and replies to earlier rounds are
//! ignored, so that answers of different phases, stamps or views are never counted together.

use alloc::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cell::{Accepted, Value};
use super::message::{Reply, Request};
use crate::flaw::Rules;
use crate::quorum::{NodeId, ReplicaSets, Verdict, Vote};
use crate::stamp::Stamp;

/// Who a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Audience {
    /// Every replica of the partition.
    All,
    /// One of them.
    One(NodeId),
}

/// A request to send.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ask<V> {
    /// Comes back with the replies.
    pub round: u32,
    /// Who is asked.
    pub audience: Audience,
    /// What.
    pub request: Request<V>,
}

/// What an attempt wants next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Step<V, O> {
    /// More replies.
    Wait,
    /// This request sent. Requests of earlier rounds need not be sent again.
    Ask(Ask<V>),
    /// A call of [`Attempt::again`] with a fresh stamp above this one, after a pause if others compete.
    Again {
        /// The newest stamp seen.
        above: Stamp,
    },
    /// Nothing: this is the outcome.
    Done(O),
}

/// One operation in flight at its coordinator. Lives in memory, and may die at any moment.
pub trait Attempt<V: Value> {
    /// How it may end.
    type Outcome;

    /// Begins, with a fresh stamp.
    fn start(&mut self, stamp: Stamp) -> Step<V, Self::Outcome>;
    /// Goes on after [`Step::Again`], with a fresh stamp above the one named there.
    fn again(&mut self, stamp: Stamp) -> Step<V, Self::Outcome>;
    /// A reply of `from` to the request of `round`.
    fn on_reply(&mut self, round: u32, from: NodeId, reply: Reply<V>) -> Step<V, Self::Outcome>;
    /// Replicas had ample time to answer and some did not: goes on without them where that is possible.
    fn on_patience(&mut self) -> Step<V, Self::Outcome>;
    /// The coordinator's view rose to one with these replicas. Answers given under the older view are void, for a phase
    /// takes all of them under one view. A write, a write-back or a read does its phase again with the same stamp; what
    /// follows a ballot starts over with a new one, since its promises are void too.
    fn on_view(&mut self, sets: ReplicaSets) -> Step<V, Self::Outcome>;
    /// The deadline passed: the outcome as far as it is known. No method is called after this one.
    fn on_deadline(&self) -> Self::Outcome;
}

/// The replies of one round.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Round<A> {
    pub(super) number: u32,
    answers: BTreeMap<NodeId, A>,
}

impl<A> Round<A> {
    pub(super) fn numbered(number: u32) -> Self {
        Round {
            number,
            answers: BTreeMap::new(),
        }
    }

    /// Forgets the answers that `keep` does not want; replies to the requests before are ignored from now on.
    pub(super) fn next(&mut self, keep: impl Fn(&A) -> bool) {
        self.number += 1;
        self.answers.retain(|_, answer| keep(answer));
    }

    pub(super) fn insert(&mut self, from: NodeId, answer: A) {
        self.answers.entry(from).or_insert(answer);
    }

    pub(super) fn answers(&self) -> impl Iterator<Item = (NodeId, &A)> {
        self.answers.iter().map(|(node, answer)| (*node, answer))
    }

    /// Is there a quorum of answers that `agree`? `missing` is zero but for flawed rules.
    pub(super) fn verdict(&self, sets: &ReplicaSets, missing: usize, agree: impl Fn(&A) -> bool) -> Verdict {
        sets.verdict_short_of(missing, |node| match self.answers.get(&node) {
            Some(answer) if agree(answer) => Vote::Yes,
            Some(_) => Vote::No,
            None => Vote::Open,
        })
    }
}

/// What a replica said about a value that it was to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Taken {
    Yes,
    Newer(Stamp),
    Gated,
    TooFarAhead,
}

impl Taken {
    pub(super) fn of<V>(reply: &Reply<V>) -> Option<Self> {
        match reply {
            Reply::Accept => Some(Taken::Yes),
            Reply::Nack { seen } => Some(Taken::Newer(*seen)),
            Reply::Gated => Some(Taken::Gated),
            Reply::TooFarAhead => Some(Taken::TooFarAhead),
            Reply::Row { .. } | Reply::Promise { .. } => None,
        }
    }

    pub(super) fn is_yes(&self) -> bool {
        *self == Taken::Yes
    }
}

impl Round<Taken> {
    /// The newest stamp that stood in somebody's way.
    pub(super) fn newest_nack(&self) -> Option<Stamp> {
        let seen = |taken: &Taken| match taken {
            Taken::Newer(seen) => Some(*seen),
            Taken::Yes | Taken::Gated | Taken::TooFarAhead => None,
        };
        self.answers().filter_map(|(_, taken)| seen(taken)).max()
    }

    pub(super) fn has_gate(&self) -> bool {
        self.answers().any(|(_, taken)| *taken == Taken::Gated)
    }
}

/// What a replica said to a ballot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Promised<V> {
    /// Promised; this is held, under this floor.
    Yes(Held<V>, Stamp),
    Newer(Stamp),
    TooFarAhead,
}

impl<V: Value> Promised<V> {
    pub(super) fn of(reply: Reply<V>) -> Option<Self> {
        match reply {
            Reply::Promise { accepted, floor } => Some(Promised::Yes(Held { accepted }, floor)),
            Reply::Nack { seen } => Some(Promised::Newer(seen)),
            Reply::TooFarAhead => Some(Promised::TooFarAhead),
            Reply::Row { .. } | Reply::Accept | Reply::Gated => None,
        }
    }

    pub(super) fn is_yes(&self) -> bool {
        matches!(self, Promised::Yes(..))
    }

    fn held(&self) -> Option<&Accepted<V>> {
        match self {
            Promised::Yes(held, _) => held.accepted.as_ref(),
            Promised::Newer(_) | Promised::TooFarAhead => None,
        }
    }
}

impl<V: Value> Round<Promised<V>> {
    /// The newest value among the promises.
    pub(super) fn newest(&self) -> Option<&Accepted<V>> {
        newest(self.answers().filter_map(|(_, promised)| promised.held()))
    }

    /// Do promises of a quorum all tell of the value accepted under `ballot` (zero: of none)?
    pub(super) fn agrees_on(&self, sets: &ReplicaSets, ballot: Stamp) -> bool {
        let holds = |promised: &Promised<V>| promised.held().map_or(Stamp::ZERO, |held| held.ballot) == ballot;
        self.verdict(sets, 0, |promised| promised.is_yes() && holds(promised)) == Verdict::Reached
    }

    /// The highest floor among the promises without a row: a value at or below it may have been there, and be forgotten.
    pub(super) fn floor(&self) -> Stamp {
        let floor = |promised: &Promised<V>| match promised {
            Promised::Yes(held, floor) if held.accepted.is_none() => Some(*floor),
            Promised::Yes(..) | Promised::Newer(_) | Promised::TooFarAhead => None,
        };
        let floors = self.answers().filter_map(|(_, promised)| floor(promised));
        floors.max().unwrap_or(Stamp::ZERO)
    }

    /// The newest stamp that stood in the way.
    pub(super) fn newest_nack(&self) -> Option<Stamp> {
        let seen = |promised: &Promised<V>| match promised {
            Promised::Newer(seen) => Some(*seen),
            Promised::Yes(..) | Promised::TooFarAhead => None,
        };
        self.answers().filter_map(|(_, promised)| seen(promised)).max()
    }
}

/// What a replica holds, as a read is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Held<V> {
    pub(super) accepted: Option<Accepted<V>>,
}

impl<V: Value> Held<V> {
    pub(super) fn of(reply: Reply<V>) -> Option<Self> {
        match reply {
            Reply::Row { accepted } => Some(Held { accepted }),
            Reply::Accept | Reply::Promise { .. } | Reply::Nack { .. } | Reply::Gated | Reply::TooFarAhead => None,
        }
    }

    pub(super) fn ballot(&self) -> Stamp {
        self.accepted.as_ref().map_or(Stamp::ZERO, |held| held.ballot)
    }
}

impl<V: Value> Round<Held<V>> {
    pub(super) fn newest(&self) -> Option<&Accepted<V>> {
        newest(self.answers().filter_map(|(_, held)| held.accepted.as_ref()))
    }

    /// Does a quorum hold the value accepted under `ballot` (zero: nothing)?
    pub(super) fn agrees_on(&self, sets: &ReplicaSets, ballot: Stamp) -> bool {
        self.verdict(sets, 0, |held| held.ballot() == ballot) == Verdict::Reached
    }
}

/// The newest of several values.
pub(super) fn newest<'a, V: Value>(rows: impl Iterator<Item = &'a Accepted<V>>) -> Option<&'a Accepted<V>> {
    rows.max_by_key(|accepted| (accepted.ballot, accepted.content.is_whole()))
}

/// One less than a quorum for the rules that lack `flaw`.
pub(super) fn short<R: Rules>(flaw: crate::flaw::Flaw) -> usize {
    usize::from(R::lacks(flaw))
}
