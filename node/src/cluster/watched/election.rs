//! A candidacy that is written down while it runs. There are so few that all are.

use trellis_spec::layout::{Election, Layout, election, electors};
use trellis_spec::quorum::NodeId;
use trellis_spec::register::{Attempt, ConditionalOutcome, Reply, Request, Step};
use trellis_spec::stamp::Stamp;
use trellis_spec::trace::{self, Candidate, ElectionRun, Event, Input, Record};

use crate::seeded::NodeRules;
use crate::trace::Recorder;

type Outcome = ConditionalOutcome<Layout>;

/// A candidacy, with its methods.
pub(crate) struct WatchedElection<'a> {
    election: Election<Layout, NodeRules>,
    log: Option<(&'a Recorder, ElectionRun)>,
}

impl<'a> WatchedElection<'a> {
    /// The candidacy of `next` among the nodes of `newest`.
    pub(crate) fn new(recorder: Option<&'a Recorder>, newest: &Layout, next: &Layout) -> Self {
        let election = election(newest, next.clone());
        let run = || ElectionRun {
            version: next.version,
            sets: electors(newest),
            op: election.op(),
            candidate: Candidate::of(next),
            events: Vec::new(),
        };
        let log = recorder.map(|recorder| (recorder, run()));
        WatchedElection { election, log }
    }

    pub(crate) fn start(&mut self, stamp: Stamp) -> Step<Layout, Outcome> {
        let step = self.election.start(stamp);
        self.told(Input::Start(stamp), step)
    }

    pub(crate) fn again(&mut self, stamp: Stamp) -> Step<Layout, Outcome> {
        let step = self.election.again(stamp);
        self.told(Input::Again(stamp), step)
    }

    pub(crate) fn on_reply(&mut self, round: u32, from: NodeId, reply: Reply<Layout>) -> Step<Layout, Outcome> {
        // The candidacy keeps the reply, so it is written down first.
        let heard = self.log.as_ref().map(|_| trace::reply(&reply, &mut Candidate::of));
        let step = self.election.on_reply(round, from, reply);
        match heard {
            Some(heard) => self.told(Input::Reply(round, from, heard), step),
            None => step,
        }
    }

    pub(crate) fn on_patience(&mut self) -> Step<Layout, Outcome> {
        let step = self.election.on_patience();
        self.told(Input::Patience, step)
    }

    pub(crate) fn on_deadline(&mut self) -> Outcome {
        let outcome = self.election.on_deadline();
        if let Some((_, run)) = &mut self.log {
            let ended = Step::Done(trace::elected(&outcome, Candidate::of));
            run.events.push(Event::Told(Input::Deadline, ended));
        }
        outcome
    }

    /// This is being sent for it.
    pub(crate) fn sent(&mut self, to: NodeId, request: &Request<Layout>) {
        if let Some((_, run)) = &mut self.log {
            let request = trace::request(request, &mut Candidate::of);
            run.events.push(Event::Sent(to, request));
        }
    }

    fn told(&mut self, input: Input<Candidate>, step: Step<Layout, Outcome>) -> Step<Layout, Outcome> {
        if let Some((_, run)) = &mut self.log {
            let said = trace::step(&step, &mut Candidate::of, |outcome, _| {
                trace::elected(outcome, Candidate::of)
            });
            run.events.push(Event::Told(input, said));
        }
        step
    }
}

impl Drop for WatchedElection<'_> {
    fn drop(&mut self) {
        if let Some((recorder, run)) = self.log.take() {
            recorder.record(&Record::Election(run));
        }
    }
}
