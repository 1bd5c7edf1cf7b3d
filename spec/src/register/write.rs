//! An unconditional write: one round trip.
//!
//! A majority of accepts is the acknowledgement, whatever the other replicas answered. Without it, nothing is known: a
//! refusal may come from a promise, and a reader may have carried the value on before (both were found by checking).
//! What then happens is a choice, [`WriteMode`].

use core::marker::PhantomData;

use serde::{Deserialize, Serialize};

use super::attempt::{Ask, Attempt, Audience, Round, Step, Taken, short};
use super::cell::{Accepted, Content, OpId, Value};
use super::message::{Reply, Request};
use crate::flaw::{Flaw, Rules};
use crate::quorum::{NodeId, ReplicaSets, Verdict};
use crate::row::Row;
use crate::stamp::Stamp;
use crate::trace::{self, Made, Mention, Outcome, Traced, Values};

/// What a write that met something newer does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WriteMode {
    /// It tries again above what it met. Its value may then take effect several times, all inside the operation, as
    /// with any client that retries.
    #[default]
    Available,
    /// It never gets a second stamp: its outcome is unknown.
    Strict,
}

/// How an unconditional write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum WriteOutcome {
    /// On a majority of disks under this stamp.
    Written(Stamp),
    /// The bucket's gate is closed at too many replicas. A minority may hold the value.
    Gated,
    /// It may take effect at any time, or never.
    Unknown,
}

/// An unconditional PUT or DELETE in flight.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Write<V, R> {
    mode: WriteMode,
    sets: ReplicaSets,
    op: OpId,
    content: Content<V>,
    until: u64,
    ballot: Stamp,
    round: Round<Taken>,
    rules: PhantomData<R>,
}

impl<V: Value, R: Rules> Write<V, R> {
    /// A write of `content` that no stamp later than `until` (microseconds) may carry.
    pub fn new(mode: WriteMode, sets: ReplicaSets, op: OpId, content: Content<V>, until: u64) -> Self {
        let round = Round::numbered(0);
        Write {
            mode,
            sets,
            op,
            content,
            until,
            ballot: Stamp::ZERO,
            round,
            rules: PhantomData,
        }
    }

    fn ask(&mut self, stamp: Stamp) -> Step<V, WriteOutcome> {
        if stamp.time > self.until && !R::lacks(Flaw::ProposedBeyondUntil) {
            return Step::Done(WriteOutcome::Unknown);
        }
        self.round
            .next(|taken| R::lacks(Flaw::EarlierMajorityCounts) && taken.is_yes());
        self.ballot = stamp;
        self.send()
    }

    fn send(&self) -> Step<V, WriteOutcome> {
        let new = Accepted {
            ballot: self.ballot,
            op: self.op,
            base: None,
            content: self.content.clone(),
        };
        Step::Ask(Ask {
            round: self.round.number,
            audience: Audience::All,
            request: Request::Write(new),
        })
    }

    fn verdict(&self) -> Verdict {
        self.round
            .verdict(&self.sets, short::<R>(Flaw::WriteBelowQuorum), Taken::is_yes)
    }

    fn refused(&self) -> Step<V, WriteOutcome> {
        let retries = self.mode == WriteMode::Available || R::lacks(Flaw::StrictWriteRetries);
        match self.round.newest_nack() {
            _ if self.round.has_gate() => Step::Done(WriteOutcome::Gated),
            Some(above) if retries => Step::Again { above },
            Some(_) | None => Step::Done(WriteOutcome::Unknown),
        }
    }
}

impl<V: Value, R: Rules> Attempt<V> for Write<V, R> {
    type Outcome = WriteOutcome;

    fn start(&mut self, stamp: Stamp) -> Step<V, WriteOutcome> {
        self.ask(stamp)
    }

    fn again(&mut self, stamp: Stamp) -> Step<V, WriteOutcome> {
        self.ask(stamp)
    }

    fn on_reply(&mut self, round: u32, from: NodeId, reply: Reply<V>) -> Step<V, WriteOutcome> {
        if round != self.round.number && !R::lacks(Flaw::EarlierMajorityCounts) {
            return Step::Wait;
        }
        let Some(taken) = Taken::of(&reply) else {
            return Step::Wait;
        };
        self.round.insert(from, taken);
        match self.verdict() {
            Verdict::Reached => Step::Done(WriteOutcome::Written(self.ballot)),
            Verdict::Pending => Step::Wait,
            Verdict::Impossible => self.refused(),
        }
    }

    fn on_patience(&mut self) -> Step<V, WriteOutcome> {
        match (self.mode, self.round.newest_nack()) {
            (WriteMode::Available, Some(above)) => Step::Again { above },
            (WriteMode::Available, None) | (WriteMode::Strict, _) => Step::Wait,
        }
    }

    fn on_view(&mut self, sets: ReplicaSets) -> Step<V, WriteOutcome> {
        self.sets = sets;
        self.round.next(|_| R::lacks(Flaw::AnswersKeptAcrossViews));
        match self.verdict() {
            Verdict::Reached => Step::Done(WriteOutcome::Written(self.ballot)),
            Verdict::Pending | Verdict::Impossible => self.send(),
        }
    }

    fn on_deadline(&self) -> WriteOutcome {
        WriteOutcome::Unknown
    }
}

impl<R: Rules> Traced for Write<Row, R> {
    fn made(&self, values: &mut Values) -> Made {
        Made::Write {
            mode: self.mode,
            op: self.op,
            content: trace::content(&self.content, &mut |row| values.mention(row)),
            until: self.until,
        }
    }

    fn outcome<F: FnMut(&Row) -> Mention>(outcome: &WriteOutcome, _: &mut F) -> Outcome {
        Outcome::Write(*outcome)
    }
}
