//! Settling: accepting what is there again, under a new ballot.
//!
//! It repairs every row whatever promises and floors stand in the way, and changes no value: the operation id, and the
//! ballot that its condition was judged on, stay. "Nothing" is settled as a tombstone.

use core::marker::PhantomData;

use serde::{Deserialize, Serialize};

use super::attempt::{Ask, Attempt, Audience, Promised, Round, Step, Taken, short};
use super::cell::{Accepted, Content, OpId, Value};
use super::message::{Purpose, Reply, Request};
use crate::flaw::{Flaw, Rules};
use crate::quorum::{NodeId, ReplicaSets, Verdict};
use crate::row::Row;
use crate::stamp::Stamp;
use crate::trace::{self, Made, Mention, Outcome, Traced, Values};

/// How settling ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SettleOutcome<V> {
    /// A majority accepted this under the ballot it carries.
    Settled(Accepted<V>),
    /// The value is live and the bucket's gate is closed.
    Gated,
    /// No majority answered in time.
    Unreached,
}

/// Settling one row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Settle<V, R> {
    sets: ReplicaSets,
    rounds: u32,
    ballot: Stamp,
    phase: Phase<V>,
    rules: PhantomData<R>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Phase<V> {
    Preparing(Round<Promised<V>>),
    Accepting(Accepted<V>, Round<Taken>),
}

/// What is settled where `newest` was found: itself, or a tombstone for nothing.
pub(super) fn settled<V: Value, R: Rules>(newest: Option<&Accepted<V>>, ballot: Stamp) -> Accepted<V> {
    let tombstone = || Accepted {
        ballot,
        op: OpId::default(),
        base: None,
        content: Content::Tombstone,
    };
    let mut value = newest.map_or_else(tombstone, |held| held.clone().under(ballot));
    if R::lacks(Flaw::SettleRenames) {
        value.op = OpId::default();
    }
    value
}

impl<V: Value, R: Rules> Settle<V, R> {
    /// Rounds are numbered from `rounds` + 1, for it goes on where a read or a sync left off.
    pub fn new(sets: ReplicaSets, rounds: u32) -> Self {
        let phase = Phase::Preparing(Round::numbered(rounds));
        Settle {
            sets,
            rounds,
            ballot: Stamp::ZERO,
            phase,
            rules: PhantomData,
        }
    }

    /// The number of its last round.
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds
    }

    fn prepare(&mut self, ballot: Stamp) -> Step<V, SettleOutcome<V>> {
        self.rounds += 1;
        self.ballot = ballot;
        self.phase = Phase::Preparing(Round::numbered(self.rounds));
        self.ask(Request::Prepare {
            ballot,
            purpose: Purpose::Settle,
        })
    }

    fn accept(&mut self, value: Accepted<V>) -> Step<V, SettleOutcome<V>> {
        self.rounds += 1;
        self.phase = Phase::Accepting(value.clone(), Round::numbered(self.rounds));
        self.ask(Request::Accept(value))
    }

    fn ask(&self, request: Request<V>) -> Step<V, SettleOutcome<V>> {
        Step::Ask(Ask {
            round: self.rounds,
            audience: Audience::All,
            request,
        })
    }

    fn newest_nack(&self) -> Option<Stamp> {
        match &self.phase {
            Phase::Preparing(round) => round.newest_nack(),
            Phase::Accepting(_, round) => round.newest_nack(),
        }
    }

    fn on_promise(&mut self, from: NodeId, promised: Promised<V>) -> Step<V, SettleOutcome<V>> {
        let Phase::Preparing(round) = &mut self.phase else {
            return Step::Wait;
        };
        round.insert(from, promised);
        match round.verdict(&self.sets, short::<R>(Flaw::PrepareBelowQuorum), Promised::is_yes) {
            Verdict::Reached => {
                let value = settled::<V, R>(round.newest(), self.ballot);
                self.accept(value)
            }
            Verdict::Pending => Step::Wait,
            Verdict::Impossible => Step::Again {
                above: round.newest_nack().unwrap_or(self.ballot),
            },
        }
    }

    fn on_taken(&mut self, from: NodeId, taken: Taken) -> Step<V, SettleOutcome<V>> {
        let Phase::Accepting(value, round) = &mut self.phase else {
            return Step::Wait;
        };
        round.insert(from, taken);
        match round.verdict(&self.sets, 0, Taken::is_yes) {
            Verdict::Reached => Step::Done(SettleOutcome::Settled(value.clone())),
            Verdict::Pending => Step::Wait,
            Verdict::Impossible if round.has_gate() => Step::Done(SettleOutcome::Gated),
            Verdict::Impossible => Step::Again {
                above: round.newest_nack().unwrap_or(self.ballot),
            },
        }
    }
}

impl<V: Value, R: Rules> Attempt<V> for Settle<V, R> {
    type Outcome = SettleOutcome<V>;

    fn start(&mut self, stamp: Stamp) -> Step<V, SettleOutcome<V>> {
        self.prepare(stamp)
    }

    fn again(&mut self, stamp: Stamp) -> Step<V, SettleOutcome<V>> {
        self.prepare(stamp)
    }

    fn on_reply(&mut self, round: u32, from: NodeId, reply: Reply<V>) -> Step<V, SettleOutcome<V>> {
        if round != self.rounds {
            return Step::Wait;
        }
        match &self.phase {
            Phase::Preparing(_) => Promised::of(reply).map_or(Step::Wait, |promised| self.on_promise(from, promised)),
            Phase::Accepting(..) => Taken::of(&reply).map_or(Step::Wait, |taken| self.on_taken(from, taken)),
        }
    }

    fn on_patience(&mut self) -> Step<V, SettleOutcome<V>> {
        self.newest_nack().map_or(Step::Wait, |above| Step::Again { above })
    }

    fn on_view(&mut self, sets: ReplicaSets) -> Step<V, SettleOutcome<V>> {
        self.sets = sets;
        Step::Again { above: self.ballot }
    }

    fn on_deadline(&self) -> SettleOutcome<V> {
        SettleOutcome::Unreached
    }
}

impl<R: Rules> Traced for Settle<Row, R> {
    /// Only one that begins by itself is written down, and its rounds are numbered from one.
    fn made(&self, _: &mut Values) -> Made {
        Made::Settle
    }

    fn outcome<F: FnMut(&Row) -> Mention>(outcome: &SettleOutcome<Row>, mention: &mut F) -> Outcome {
        Outcome::Settle(match outcome {
            SettleOutcome::Settled(value) => SettleOutcome::Settled(trace::accepted(value, mention)),
            SettleOutcome::Gated => SettleOutcome::Gated,
            SettleOutcome::Unreached => SettleOutcome::Unreached,
        })
    }
}
