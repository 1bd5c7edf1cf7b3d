//! Attempts that are written down while they run.

mod blocks;
mod deletion;
mod election;
mod pages;

use trellis_spec::quorum::{NodeId, ReplicaSets};
use trellis_spec::register::{Reply, Request, Step};
use trellis_spec::row::Row;
use trellis_spec::stamp::Stamp;
use trellis_spec::trace::{self, AttemptRun, Event, Input, Mention, Outcome, Record, Traced, Values};

use super::place::{Place, Subject};
use crate::trace::Recorder;

pub(crate) use blocks::{WatchedPlacing, WatchedPulling, WatchedStoring};
pub(crate) use deletion::WatchedDeletion;
pub(crate) use election::WatchedElection;
pub(crate) use pages::{WatchedListing, WatchedSync};

/// Events of an attempt as a rule: three sent, three told, start and end.
const EVENTS: usize = 8;

/// An attempt, with its methods. If nobody records, they are all that there is.
pub(crate) struct Watched<'a, A: Traced> {
    attempt: &'a mut A,
    log: Option<Log<'a>>,
}

struct Log<'a> {
    recorder: &'a Recorder,
    run: Box<AttemptRun>,
}

impl<'a, A: Traced> Watched<'a, A> {
    pub(crate) fn new(attempt: &'a mut A, recorder: Option<&'a Recorder>, row: Subject<'_>, place: &Place) -> Self {
        let recorder = recorder.filter(|recorder| recorder.wants(row.key));
        let log = recorder.map(|recorder| Log::begin(recorder, row, place, attempt));
        Watched { attempt, log }
    }

    pub(crate) fn start(&mut self, stamp: Stamp) -> Step<Row, A::Outcome> {
        let step = self.attempt.start(stamp);
        self.told(Input::Start(stamp), step)
    }

    pub(crate) fn again(&mut self, stamp: Stamp) -> Step<Row, A::Outcome> {
        let step = self.attempt.again(stamp);
        self.told(Input::Again(stamp), step)
    }

    pub(crate) fn on_reply(&mut self, round: u32, from: NodeId, reply: Reply<Row>) -> Step<Row, A::Outcome> {
        // The attempt may keep the reply, so it is written down first.
        let heard = self.log.as_mut().map(|log| log.mention(&reply));
        let step = self.attempt.on_reply(round, from, reply);
        match heard {
            Some(heard) => self.told(Input::Reply(round, from, heard), step),
            None => step,
        }
    }

    pub(crate) fn on_patience(&mut self) -> Step<Row, A::Outcome> {
        let step = self.attempt.on_patience();
        self.told(Input::Patience, step)
    }

    pub(crate) fn on_view(&mut self, sets: ReplicaSets) -> Step<Row, A::Outcome> {
        let step = self.attempt.on_view(sets.clone());
        self.told(Input::View(sets), step)
    }

    pub(crate) fn on_deadline(&mut self) -> A::Outcome {
        let outcome = self.attempt.on_deadline();
        if let Some(log) = &mut self.log {
            let ended = A::outcome(&outcome, &mut |row| log.run.values.mention(row));
            log.run.events.push(Event::Told(Input::Deadline, Step::Done(ended)));
        }
        outcome
    }

    /// This is being sent for the attempt.
    pub(crate) fn sent(&mut self, to: NodeId, request: &Request<Row>) {
        if let Some(log) = &mut self.log {
            let request = trace::request(request, &mut |row| log.run.values.mention(row));
            log.run.events.push(Event::Sent(to, request));
        }
    }

    fn told(&mut self, input: Input, step: Step<Row, A::Outcome>) -> Step<Row, A::Outcome> {
        if let Some(log) = &mut self.log {
            let said = log.step::<A>(&step);
            log.run.events.push(Event::Told(input, said));
        }
        step
    }
}

impl<A: Traced> Drop for Watched<'_, A> {
    /// Its change may be known only at its end.
    fn drop(&mut self) {
        if let Some(mut log) = self.log.take() {
            log.run.made = self.attempt.made(&mut log.run.values);
            log.recorder.record(&Record::Attempt(*log.run));
        }
    }
}

impl<'a> Log<'a> {
    fn begin(recorder: &'a Recorder, row: Subject<'_>, place: &Place, attempt: &impl Traced) -> Self {
        let mut values = Values::default();
        let run = Box::new(AttemptRun {
            key: row.key.clone(),
            gate_key: row.gate.cloned(),
            partition: place.partition,
            view: place.view,
            sets: place.sets.clone(),
            made: attempt.made(&mut values),
            events: Vec::with_capacity(EVENTS),
            values,
        });
        Log { recorder, run }
    }

    fn mention(&mut self, reply: &Reply<Row>) -> Reply<Mention> {
        trace::reply(reply, &mut |row| self.run.values.mention(row))
    }

    fn step<A: Traced>(&mut self, step: &Step<Row, A::Outcome>) -> Step<Mention, Outcome> {
        let mut mention = |row: &Row| self.run.values.mention(row);
        trace::step(step, &mut mention, |outcome, mention| A::outcome(outcome, mention))
    }
}
