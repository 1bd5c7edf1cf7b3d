//! A conditional write: two round trips, one when the condition fails.
//!
//! The ballot is prepared at a majority, the condition is judged on the newest value among the promises, and the new
//! value is proposed under the same ballot (CASPaxos). Two rules were found by checking:
//!
//! - *Own operation id.* A proposal that did not reach a majority may still be seen, read and built upon. Whoever
//!   tries again first looks for it: found under its operation id, it is proposed again as it is; replaced by something
//!   that may have been judged on it, the outcome is unknown; in no majority and in nobody's lineage, it is void. Where
//!   a tombstone above it may have been forgotten, it may have been replaced by that.
//! - *No refusal unsettled.* "The condition failed" is an answer about a value, so that value must be on a majority
//!   first.

use core::marker::PhantomData;

use serde::{Deserialize, Serialize};

use super::attempt::{Ask, Attempt, Audience, Held, Promised, Round, Step, Taken, short};
use super::cell::{Accepted, Content, OpId, Value};
use super::message::{Fetch, Purpose, Reply, Request};
use super::settle::settled;
use crate::flaw::{Flaw, Rules};
use crate::quorum::{NodeId, ReplicaSets, Verdict};
use crate::row::Row;
use crate::stamp::Stamp;
use crate::trace::{self, Guarded, Made, Mention, Outcome, Traced, Values};

/// What a conditional operation makes of the value it finds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decision<V> {
    /// The condition holds; this takes the value's place.
    Write(Content<V>),
    /// The condition does not hold.
    Refuse,
}

/// A condition and the change it guards. Must give the same answer for the same value, with or without inline body.
pub trait Change<V> {
    /// Judges `current`; nothing means that the register was never written.
    fn decide(&self, current: Option<&Accepted<V>>) -> Decision<V>;
}

/// How a conditional write ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConditionalOutcome<V> {
    /// The condition held and this is on a majority.
    Written(Accepted<V>),
    /// The condition failed on this, which is on a majority. Nothing was written.
    Refused(Option<Accepted<V>>),
    /// The bucket's gate is closed at too many replicas. A minority may hold the value.
    Gated,
    /// It may have taken effect, may yet, or never will.
    Unknown,
    /// Nothing was proposed in time, and nothing will be.
    Unreached,
}

/// A conditional write in flight.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conditional<V, C, R> {
    sets: ReplicaSets,
    op: OpId,
    change: C,
    until: u64,
    /// The ballot of the first proposal that was sent.
    first: Option<Stamp>,
    ballot: Stamp,
    rounds: u32,
    phase: Phase<V>,
    rules: PhantomData<R>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Phase<V> {
    /// Somebody competes: see first whether the condition still holds, without disturbing them.
    Looking(Round<Held<V>>),
    /// Asking for promises.
    Preparing(Round<Promised<V>>),
    /// Proposing the new value.
    Proposing(Accepted<V>, Round<Taken>),
    /// The condition failed: bringing the value it failed on to a majority.
    Settling(Accepted<V>, Round<Taken>),
}

/// What a coordinator that proposed before makes of the newest value among the promises.
enum Lineage {
    /// It is its own proposal.
    Own,
    /// Somebody may have read the proposal and replaced it.
    Replaced,
    /// The proposal is in nobody's past.
    Void,
}

type ConditionalStep<V> = Step<V, ConditionalOutcome<V>>;

impl<V: Value, C: Change<V>, R: Rules> Conditional<V, C, R> {
    /// The operation `op`. No stamp later than `until` (microseconds) may carry its value.
    pub fn new(sets: ReplicaSets, op: OpId, change: C, until: u64) -> Self {
        let phase = Phase::Preparing(Round::numbered(0));
        Conditional {
            sets,
            op,
            change,
            until,
            first: None,
            ballot: Stamp::ZERO,
            rounds: 0,
            phase,
            rules: PhantomData,
        }
    }

    /// The operation.
    pub fn op(&self) -> OpId {
        self.op
    }

    fn look(&mut self) -> ConditionalStep<V> {
        self.rounds += 1;
        self.phase = Phase::Looking(Round::numbered(self.rounds));
        self.ask(Request::Read(Fetch::Head))
    }

    fn prepare(&mut self) -> ConditionalStep<V> {
        self.rounds += 1;
        self.phase = Phase::Preparing(Round::numbered(self.rounds));
        self.ask(Request::Prepare {
            ballot: self.ballot,
            purpose: Purpose::Propose,
        })
    }

    fn propose(&mut self, value: Accepted<V>) -> ConditionalStep<V> {
        if self.ballot.time > self.until && !R::lacks(Flaw::ProposedBeyondUntil) {
            return Step::Done(self.on_deadline());
        }
        self.first = self.first.or(Some(self.ballot));
        self.rounds += 1;
        self.phase = Phase::Proposing(value.clone(), Round::numbered(self.rounds));
        self.ask(Request::Accept(value))
    }

    fn settle(&mut self, current: Option<&Accepted<V>>) -> ConditionalStep<V> {
        let value = settled::<V, R>(current, self.ballot);
        self.rounds += 1;
        self.phase = Phase::Settling(value.clone(), Round::numbered(self.rounds));
        self.ask(Request::Accept(value))
    }

    fn ask(&self, request: Request<V>) -> ConditionalStep<V> {
        Step::Ask(Ask {
            round: self.rounds,
            audience: Audience::All,
            request,
        })
    }

    fn on_held(&mut self, from: NodeId, held: Held<V>) -> ConditionalStep<V> {
        let Phase::Looking(round) = &mut self.phase else {
            return Step::Wait;
        };
        round.insert(from, held);
        if round.verdict(&self.sets, 0, |_| true) != Verdict::Reached {
            return Step::Wait;
        }
        let newest = round.newest();
        let on_majority = round.agrees_on(&self.sets, newest.map_or(Stamp::ZERO, |held| held.ballot));
        let own = newest.is_some_and(|held| held.op == self.op);
        if on_majority && !own && self.change.decide(newest) == Decision::Refuse {
            return Step::Done(ConditionalOutcome::Refused(newest.cloned()));
        }
        self.prepare()
    }

    fn on_promise(&mut self, from: NodeId, promised: Promised<V>) -> ConditionalStep<V> {
        let Phase::Preparing(round) = &mut self.phase else {
            return Step::Wait;
        };
        round.insert(from, promised);
        match round.verdict(&self.sets, short::<R>(Flaw::PrepareBelowQuorum), Promised::is_yes) {
            Verdict::Reached => {
                let floor = round.floor();
                let current = round.newest().cloned();
                let on_majority = round.agrees_on(&self.sets, current.as_ref().map_or(Stamp::ZERO, |held| held.ballot));
                self.judge(current, floor, on_majority)
            }
            Verdict::Pending => Step::Wait,
            Verdict::Impossible => Step::Again {
                above: round.newest_nack().unwrap_or(self.ballot),
            },
        }
    }

    fn judge(&mut self, current: Option<Accepted<V>>, floor: Stamp, on_majority: bool) -> ConditionalStep<V> {
        match (self.lineage(current.as_ref(), floor), current) {
            (Lineage::Own, Some(own)) => self.propose(own.under(self.ballot)),
            (Lineage::Replaced, _) => Step::Done(ConditionalOutcome::Unknown),
            (Lineage::Own | Lineage::Void, current) => match self.change.decide(current.as_ref()) {
                Decision::Write(content) => {
                    let forgotten = if R::lacks(Flaw::BaseIgnoresFloor) {
                        Stamp::ZERO
                    } else {
                        floor
                    };
                    let base = Some(current.map_or(forgotten, |held| held.ballot));
                    self.propose(Accepted {
                        ballot: self.ballot,
                        op: self.op,
                        base,
                        content,
                    })
                }
                // Without an own proposal about, a value on a majority needs no settling.
                Decision::Refuse if (on_majority && self.first.is_none()) || R::lacks(Flaw::RefusesUnsettled) => {
                    Step::Done(ConditionalOutcome::Refused(current))
                }
                Decision::Refuse => self.settle(current.as_ref()),
            },
        }
    }

    fn lineage(&self, current: Option<&Accepted<V>>, floor: Stamp) -> Lineage {
        let Some(current) = current else {
            return self.forgotten(floor);
        };
        if R::lacks(Flaw::ForgetsOwnProposal) {
            return Lineage::Void;
        }
        if current.op == self.op {
            return Lineage::Own;
        }
        match self.first {
            Some(first) if current.ballot > first && current.base.is_none_or(|base| base >= first) => {
                if R::lacks(Flaw::RepeatsReplacedProposal) {
                    Lineage::Void
                } else {
                    Lineage::Replaced
                }
            }
            Some(_) | None => Lineage::Void,
        }
    }

    /// Nothing is there: was it never, or was a tombstone forgotten that replaced the own proposal, or was it?
    fn forgotten(&self, floor: Stamp) -> Lineage {
        match self.first {
            Some(first) if floor >= first && !R::lacks(Flaw::ForgottenTakenForNever) => Lineage::Replaced,
            Some(_) | None => Lineage::Void,
        }
    }

    fn on_taken(&mut self, from: NodeId, taken: Taken) -> ConditionalStep<V> {
        let (Phase::Proposing(value, round) | Phase::Settling(value, round)) = &mut self.phase else {
            return Step::Wait;
        };
        round.insert(from, taken);
        match round.verdict(&self.sets, 0, Taken::is_yes) {
            Verdict::Reached => {
                let value = value.clone();
                Step::Done(self.finished(value))
            }
            Verdict::Pending => Step::Wait,
            Verdict::Impossible if round.has_gate() => Step::Done(ConditionalOutcome::Gated),
            Verdict::Impossible => Step::Again {
                above: round.newest_nack().unwrap_or(self.ballot),
            },
        }
    }

    fn finished(&self, value: Accepted<V>) -> ConditionalOutcome<V> {
        match self.phase {
            Phase::Settling(..) => ConditionalOutcome::Refused(Some(value)),
            Phase::Looking(_) | Phase::Preparing(_) | Phase::Proposing(..) => ConditionalOutcome::Written(value),
        }
    }

    fn newest_nack(&self) -> Option<Stamp> {
        match &self.phase {
            Phase::Looking(_) => None,
            Phase::Preparing(round) => round.newest_nack(),
            Phase::Proposing(_, round) | Phase::Settling(_, round) => round.newest_nack(),
        }
    }
}

impl<V: Value, C: Change<V>, R: Rules> Attempt<V> for Conditional<V, C, R> {
    type Outcome = ConditionalOutcome<V>;

    fn start(&mut self, stamp: Stamp) -> ConditionalStep<V> {
        self.ballot = stamp;
        self.prepare()
    }

    fn again(&mut self, stamp: Stamp) -> ConditionalStep<V> {
        self.ballot = stamp;
        if self.first.is_none() {
            self.look()
        } else {
            self.prepare()
        }
    }

    fn on_reply(&mut self, round: u32, from: NodeId, reply: Reply<V>) -> ConditionalStep<V> {
        if round != self.rounds {
            return Step::Wait;
        }
        match &self.phase {
            Phase::Looking(_) => Held::of(reply).map_or(Step::Wait, |held| self.on_held(from, held)),
            Phase::Preparing(_) => Promised::of(reply).map_or(Step::Wait, |promised| self.on_promise(from, promised)),
            Phase::Proposing(..) | Phase::Settling(..) => {
                Taken::of(&reply).map_or(Step::Wait, |taken| self.on_taken(from, taken))
            }
        }
    }

    fn on_patience(&mut self) -> ConditionalStep<V> {
        self.newest_nack().map_or(Step::Wait, |above| Step::Again { above })
    }

    fn on_view(&mut self, sets: ReplicaSets) -> ConditionalStep<V> {
        self.sets = sets;
        Step::Again { above: self.ballot }
    }

    fn on_deadline(&self) -> ConditionalOutcome<V> {
        if self.first.is_none() {
            ConditionalOutcome::Unreached
        } else {
            ConditionalOutcome::Unknown
        }
    }
}

impl<C: Change<Row> + Guarded, R: Rules> Traced for Conditional<Row, C, R> {
    fn made(&self, values: &mut Values) -> Made {
        let mut mention = |row: &Row| values.mention(row);
        let swap = self.change.swap();
        Made::Conditional {
            op: self.op,
            swap: swap.map(|swap| (swap.guard.clone(), trace::content(&swap.content, &mut mention))),
            until: self.until,
        }
    }

    fn outcome<F: FnMut(&Row) -> Mention>(outcome: &ConditionalOutcome<Row>, mention: &mut F) -> Outcome {
        Outcome::Conditional(trace::conditional(outcome, mention))
    }
}
