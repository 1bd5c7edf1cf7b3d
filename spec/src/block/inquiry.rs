//! Is a version dead? An attempt on the row that names it, or would.
//!
//! A linearizable read finds what is chosen, and under which ballot. If that is not the version, and the ballot is after
//! the last stamp under which the version may be proposed, no value of the row will ever be that version again: a value
//! under a higher ballot is either proposed anew, which the version may not be, or was found among the promises of a
//! majority, one of which tells of this ballot or a later one. If the ballot is not after it, the row is settled under
//! one that is. That nothing is there is no proof either: a write may be on its way.

use core::marker::PhantomData;

use serde::{Deserialize, Serialize};

use crate::flaw::{Flaw, Rules};
use crate::quorum::{NodeId, ReplicaSets};
use crate::register::{Accepted, Ask, Attempt, Fetch, Read, ReadOutcome, Reply, Settle, SettleOutcome, Step, Value};
use crate::row::{Address, BlockReference, Row, VersionId};
use crate::stamp::{Incarnation, Stamp};
use crate::trace::{self, Made, Mention, Outcome, Traced, Values};

/// A value that tells for which version it names blocks.
pub trait Names: Value {
    /// Does it name the blocks of this version?
    fn names(&self, version: VersionId) -> bool;
}

impl Names for Row {
    fn names(&self, version: VersionId) -> bool {
        match self {
            Row::Object(object) => object.version == version,
            Row::Part(part) => part.version == version,
            Row::Upload(_) | Row::Manifest(_) | Row::Gate(_) | Row::Bucket(_) | Row::Name(_) | Row::AccessKey(_) => {
                false
            }
        }
    }
}

/// What an inquiry asks about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// The row that names the version, or would.
    pub owner: Address,
    /// The version.
    pub version: VersionId,
    /// Nobody proposes it under a stamp of a later time.
    pub until: u64,
}

/// Proof that a version is dead. Nothing but an [`Inquiry`] makes one, and it is good for ever.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dead(Subject);

impl Subject {
    /// May this reference be dropped when the version is dead?
    pub(super) fn covers(&self, reference: &BlockReference) -> bool {
        self.owner == reference.owner && self.version == reference.version && reference.until <= self.until
    }
}

impl Dead {
    /// What is dead.
    pub fn subject(&self) -> &Subject {
        &self.0
    }
}

/// What an inquiry found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Finding<V> {
    /// The version will never be current again.
    Dead(Dead),
    /// It is current: this names it.
    Alive(Accepted<V>),
    /// Nobody can say now.
    Unreached,
}

/// An inquiry in flight.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Inquiry<V, R> {
    subject: Subject,
    sets: ReplicaSets,
    round: u32,
    phase: Phase<V, R>,
    rules: PhantomData<R>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Phase<V, R> {
    Reading(Read<V, R>),
    Settling(Settle<V, R>),
}

type InquiryStep<V> = Step<V, Finding<V>>;

impl<V: Names, R: Rules> Inquiry<V, R> {
    /// Asks the row `owner`, which `sets` hold, about the version: nobody proposes it under a stamp later than `until`.
    pub fn new(sets: ReplicaSets, owner: Address, version: VersionId, until: u64) -> Self {
        let phase = Phase::Reading(Read::new(sets.clone(), Fetch::Head));
        Inquiry {
            subject: Subject { owner, version, until },
            sets,
            round: 0,
            phase,
            rules: PhantomData,
        }
    }

    fn on_read(&mut self, step: Step<V, ReadOutcome<V>>) -> InquiryStep<V> {
        match step {
            Step::Wait => Step::Wait,
            Step::Ask(ask) => self.ask(ask),
            Step::Again { above } => Step::Again { above },
            Step::Done(ReadOutcome::Found(found)) => self.judge(found),
            Step::Done(ReadOutcome::Gated | ReadOutcome::Unreached) => Step::Done(Finding::Unreached),
        }
    }

    fn on_settle(&mut self, step: Step<V, SettleOutcome<V>>) -> InquiryStep<V> {
        match step {
            Step::Wait => Step::Wait,
            Step::Ask(ask) => self.ask(ask),
            Step::Again { above } => Step::Again {
                above: above.max(self.last_proposal()),
            },
            Step::Done(SettleOutcome::Settled(value)) => self.judge(Some(value)),
            Step::Done(SettleOutcome::Gated | SettleOutcome::Unreached) => Step::Done(Finding::Unreached),
        }
    }

    /// `chosen` is on a majority under the ballot that it carries.
    fn judge(&mut self, chosen: Option<Accepted<V>>) -> InquiryStep<V> {
        let fenced = chosen
            .as_ref()
            .is_some_and(|chosen| chosen.ballot.time > self.subject.until);
        let current = chosen.filter(|chosen| {
            let live = chosen.content.live();
            live.is_some_and(|value| value.names(self.subject.version))
        });
        match current {
            Some(current) => Step::Done(Finding::Alive(current)),
            None if fenced || R::lacks(Flaw::DroppedWithoutFence) => {
                Step::Done(Finding::Dead(Dead(self.subject.clone())))
            }
            None => {
                self.phase = Phase::Settling(Settle::new(self.sets.clone(), self.round));
                Step::Again {
                    above: self.last_proposal(),
                }
            }
        }
    }

    /// Every stamp under which the version may be proposed is at or below this one.
    fn last_proposal(&self) -> Stamp {
        Stamp {
            time: self.subject.until,
            by: Incarnation(u64::MAX),
        }
    }

    fn ask(&mut self, ask: Ask<V>) -> InquiryStep<V> {
        self.round = ask.round;
        Step::Ask(ask)
    }
}

impl<V: Names, R: Rules> Attempt<V> for Inquiry<V, R> {
    type Outcome = Finding<V>;

    fn start(&mut self, stamp: Stamp) -> InquiryStep<V> {
        match &mut self.phase {
            Phase::Reading(read) => {
                let step = read.start(stamp);
                self.on_read(step)
            }
            Phase::Settling(_) => Step::Wait,
        }
    }

    fn again(&mut self, stamp: Stamp) -> InquiryStep<V> {
        match &mut self.phase {
            Phase::Reading(read) => {
                let step = read.again(stamp);
                self.on_read(step)
            }
            Phase::Settling(settle) => {
                let step = settle.again(stamp);
                self.on_settle(step)
            }
        }
    }

    fn on_reply(&mut self, round: u32, from: NodeId, reply: Reply<V>) -> InquiryStep<V> {
        match &mut self.phase {
            Phase::Reading(read) => {
                let step = read.on_reply(round, from, reply);
                self.on_read(step)
            }
            Phase::Settling(settle) => {
                let step = settle.on_reply(round, from, reply);
                self.on_settle(step)
            }
        }
    }

    fn on_patience(&mut self) -> InquiryStep<V> {
        match &mut self.phase {
            Phase::Reading(read) => {
                let step = read.on_patience();
                self.on_read(step)
            }
            Phase::Settling(settle) => {
                let step = settle.on_patience();
                self.on_settle(step)
            }
        }
    }

    fn on_view(&mut self, sets: ReplicaSets) -> InquiryStep<V> {
        self.sets = sets.clone();
        match &mut self.phase {
            Phase::Reading(read) => {
                let step = read.on_view(sets);
                self.on_read(step)
            }
            Phase::Settling(settle) => {
                let step = settle.on_view(sets);
                self.on_settle(step)
            }
        }
    }

    fn on_deadline(&self) -> Finding<V> {
        Finding::Unreached
    }
}

impl<R: Rules> Traced for Inquiry<Row, R> {
    fn made(&self, _: &mut Values) -> Made {
        let Subject { owner, version, until } = self.subject.clone();
        Made::Inquiry { owner, version, until }
    }

    fn outcome<F: FnMut(&Row) -> Mention>(outcome: &Finding<Row>, mention: &mut F) -> Outcome {
        match outcome {
            Finding::Dead(_) => Outcome::Dead,
            Finding::Alive(value) => Outcome::Alive(trace::accepted(value, mention)),
            Finding::Unreached => Outcome::Untold,
        }
    }
}
