//! A linearizable read: one round trip when nothing is in flight.
//!
//! The newest value of a majority is the answer. If a majority already reported it, it is the answer at once;
//! otherwise it is first written back, so that no later read can miss it (Attiya, Bar-Noy, Dolev 1995). If a promise
//! or a floor refuses the write-back, the row is settled.

use alloc::vec::Vec;
use core::marker::PhantomData;

use serde::{Deserialize, Serialize};

use super::attempt::{Ask, Attempt, Audience, Held, Round, Step, Taken, short};
use super::cell::{Accepted, Value};
use super::message::{Fetch, Reply, Request};
use super::settle::{Settle, SettleOutcome};
use crate::flaw::{Flaw, Rules};
use crate::quorum::{NodeId, ReplicaSets, Verdict};
use crate::row::Row;
use crate::stamp::Stamp;
use crate::trace::{self, Made, Mention, Outcome, Traced, Values};

/// How a read ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ReadOutcome<V> {
    /// What the register holds; nothing if it was never written.
    Found(Option<Accepted<V>>),
    /// The newest value is not on a majority and may not be brought there: the bucket's gate is closed.
    Gated,
    /// No majority answered in time.
    Unreached,
}

/// A read in flight.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Read<V, R> {
    fetch: Fetch,
    sets: ReplicaSets,
    rounds: u32,
    phase: Phase<V, R>,
    rules: PhantomData<R>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Phase<V, R> {
    /// Asking everybody.
    Reading(Round<Held<V>>),
    /// The newest value is known, its inline body is asked of one replica that has it.
    Fetching {
        newest: Accepted<V>,
        holders: Vec<NodeId>,
        then: Then,
    },
    /// Bringing the newest value to a majority.
    WritingBack(Accepted<V>, Round<Taken>),
    /// The same, against promises.
    Settling(Settle<V, R>),
}

/// What happens once the whole value is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Then {
    Return,
    WriteBack,
}

type ReadStep<V> = Step<V, ReadOutcome<V>>;

impl<V: Value, R: Rules> Read<V, R> {
    /// A read of the head or the whole of one row.
    pub fn new(sets: ReplicaSets, fetch: Fetch) -> Self {
        Read {
            fetch,
            sets,
            rounds: 0,
            phase: Phase::Reading(Round::numbered(0)),
            rules: PhantomData,
        }
    }

    fn read(&mut self) -> ReadStep<V> {
        self.rounds += 1;
        self.phase = Phase::Reading(Round::numbered(self.rounds));
        self.ask(Audience::All, Request::Read(self.fetch))
    }

    fn ask(&self, audience: Audience, request: Request<V>) -> ReadStep<V> {
        Step::Ask(Ask {
            round: self.rounds,
            audience,
            request,
        })
    }

    fn on_held(&mut self, from: NodeId, held: Held<V>) -> ReadStep<V> {
        let Phase::Reading(round) = &mut self.phase else {
            return Step::Wait;
        };
        round.insert(from, held);
        if round.verdict(&self.sets, short::<R>(Flaw::ReadBelowQuorum), |_| true) != Verdict::Reached {
            return Step::Wait;
        }
        let Some(newest) = round.newest().cloned() else {
            return Step::Done(ReadOutcome::Found(None));
        };
        // A floor is not asked about: what a majority holds now was not deleted before this read began, for that would have
        // been seen by one of them, as a tombstone or, where that is forgotten, as a floor that takes nothing older in. And
        // where a write-back is refused by a floor, the row is settled.
        let on_majority = round.agrees_on(&self.sets, newest.ballot);
        let then = if on_majority || R::lacks(Flaw::NoWriteBack) {
            Then::Return
        } else {
            Then::WriteBack
        };
        self.with_newest(newest, then)
    }

    fn with_newest(&mut self, newest: Accepted<V>, then: Then) -> ReadStep<V> {
        let is_whole = newest.content.is_whole() || R::lacks(Flaw::HeadTakenForWhole);
        match then {
            Then::Return if self.fetch == Fetch::Head => Step::Done(ReadOutcome::Found(Some(newest.head()))),
            Then::Return if is_whole => Step::Done(ReadOutcome::Found(Some(newest))),
            Then::WriteBack if is_whole => self.write_back(newest),
            Then::Return | Then::WriteBack => self.fetch_whole(newest, then),
        }
    }

    /// Asks one holder after the other under one round number, so that a slow one's answer still counts.
    fn fetch_whole(&mut self, newest: Accepted<V>, then: Then) -> ReadStep<V> {
        if !matches!(self.phase, Phase::Fetching { .. }) {
            self.rounds += 1;
        }
        let mut holders = self.holders(newest.ballot);
        let Some(holder) = holders.pop() else { return Step::Wait };
        self.phase = Phase::Fetching { newest, holders, then };
        self.ask(Audience::One(holder), Request::Read(Fetch::Full))
    }

    /// Those who hold the value of this ballot and were not asked for it yet.
    fn holders(&self, ballot: Stamp) -> Vec<NodeId> {
        match &self.phase {
            Phase::Reading(round) => round
                .answers()
                .filter(|(_, held)| held.ballot() == ballot)
                .map(|(node, _)| node)
                .collect(),
            Phase::Fetching { holders, .. } => holders.clone(),
            Phase::WritingBack(..) | Phase::Settling(_) => Vec::new(),
        }
    }

    fn on_whole(&mut self, held: Held<V>) -> ReadStep<V> {
        let Phase::Fetching { newest, then, .. } = &self.phase else {
            return Step::Wait;
        };
        let then = *then;
        match held.accepted {
            // The operation alone does not tell: attempts of one SDK call share it and may differ in their content.
            Some(whole) if whole.head().content == newest.head().content && whole.content.is_whole() => {
                let whole = whole.under(newest.ballot);
                self.with_newest(whole, then)
            }
            Some(_) | None => self.read(),
        }
    }

    fn write_back(&mut self, value: Accepted<V>) -> ReadStep<V> {
        self.rounds += 1;
        self.phase = Phase::WritingBack(value.clone(), Round::numbered(self.rounds));
        self.ask(Audience::All, Request::WriteBack(value))
    }

    fn on_taken(&mut self, from: NodeId, taken: Taken) -> ReadStep<V> {
        let Phase::WritingBack(value, round) = &mut self.phase else {
            return Step::Wait;
        };
        round.insert(from, taken);
        match round.verdict(&self.sets, short::<R>(Flaw::WriteBackBelowQuorum), Taken::is_yes) {
            Verdict::Reached => {
                let value = value.clone();
                self.with_newest(value, Then::Return)
            }
            Verdict::Pending => Step::Wait,
            Verdict::Impossible if round.has_gate() => Step::Done(ReadOutcome::Gated),
            Verdict::Impossible => Step::Again {
                above: round.newest_nack().unwrap_or(value.ballot),
            },
        }
    }

    fn settling(step: Step<V, SettleOutcome<V>>) -> ReadStep<V> {
        match step {
            Step::Wait => Step::Wait,
            Step::Ask(ask) => Step::Ask(ask),
            Step::Again { above } => Step::Again { above },
            Step::Done(SettleOutcome::Settled(value)) => Step::Done(ReadOutcome::Found(Some(value))),
            Step::Done(SettleOutcome::Gated) => Step::Done(ReadOutcome::Gated),
            Step::Done(SettleOutcome::Unreached) => Step::Done(ReadOutcome::Unreached),
        }
    }
}

impl<V: Value, R: Rules> Attempt<V> for Read<V, R> {
    type Outcome = ReadOutcome<V>;

    /// A read needs no stamp until it settles.
    fn start(&mut self, _: Stamp) -> ReadStep<V> {
        self.read()
    }

    fn again(&mut self, stamp: Stamp) -> ReadStep<V> {
        if !matches!(self.phase, Phase::Settling(_)) {
            self.phase = Phase::Settling(Settle::new(self.sets.clone(), self.rounds));
        }
        let Phase::Settling(settle) = &mut self.phase else {
            return Step::Wait;
        };
        Self::settling(settle.again(stamp))
    }

    fn on_reply(&mut self, round: u32, from: NodeId, reply: Reply<V>) -> ReadStep<V> {
        if let Phase::Settling(settle) = &mut self.phase {
            return Self::settling(settle.on_reply(round, from, reply));
        }
        if round != self.rounds {
            return Step::Wait;
        }
        match &self.phase {
            Phase::Reading(_) => Held::of(reply).map_or(Step::Wait, |held| self.on_held(from, held)),
            Phase::Fetching { .. } => Held::of(reply).map_or(Step::Wait, |held| self.on_whole(held)),
            Phase::WritingBack(..) => Taken::of(&reply).map_or(Step::Wait, |taken| self.on_taken(from, taken)),
            Phase::Settling(_) => Step::Wait,
        }
    }

    fn on_patience(&mut self) -> ReadStep<V> {
        match &mut self.phase {
            Phase::Reading(_) => Step::Wait,
            Phase::Fetching { newest, then, .. } => {
                let (newest, then) = (newest.clone(), *then);
                self.fetch_whole(newest, then)
            }
            Phase::WritingBack(_, round) => round.newest_nack().map_or(Step::Wait, |above| Step::Again { above }),
            Phase::Settling(settle) => Self::settling(settle.on_patience()),
        }
    }

    fn on_view(&mut self, sets: ReplicaSets) -> ReadStep<V> {
        self.sets = sets;
        match &mut self.phase {
            Phase::Reading(round) if R::lacks(Flaw::AnswersKeptAcrossViews) => {
                self.rounds += 1;
                round.number = self.rounds;
                self.ask(Audience::All, Request::Read(self.fetch))
            }
            Phase::Reading(_) | Phase::Fetching { .. } => self.read(),
            Phase::WritingBack(value, _) => {
                let value = value.clone();
                self.write_back(value)
            }
            Phase::Settling(settle) => Self::settling(settle.on_view(self.sets.clone())),
        }
    }

    fn on_deadline(&self) -> ReadOutcome<V> {
        ReadOutcome::Unreached
    }
}

impl<R: Rules> Traced for Read<Row, R> {
    fn made(&self, _: &mut Values) -> Made {
        Made::Read { fetch: self.fetch }
    }

    fn outcome<F: FnMut(&Row) -> Mention>(outcome: &ReadOutcome<Row>, mention: &mut F) -> Outcome {
        Outcome::Read(match outcome {
            ReadOutcome::Found(found) => {
                ReadOutcome::Found(found.as_ref().map(|found| trace::accepted(found, mention)))
            }
            ReadOutcome::Gated => ReadOutcome::Gated,
            ReadOutcome::Unreached => ReadOutcome::Unreached,
        })
    }
}
