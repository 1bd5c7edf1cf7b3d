//! A protocol of the workbench as a world for the model checker.
//!
//! The reductions are those of [`crate::world`]. *Fusion*: a client hears an answer in the step that sends it, or never;
//! hearing touches the client alone, and its rounds do not care about order. *Late starts*: an operation begins with its
//! first message handled. *Purge*: a message that changes nothing where it arrives, and whose answers nobody awaits, is
//! thrown away, by the law of [`Protocol`]. A message that is never handled is a message lost. `tests/crosscheck.rs`
//! compares with worlds that use neither fusion nor purge.

use stateright::{Model, Property};

use super::guarantee::Guarantee;
use super::state::{Envelope, Progress};
use super::{Links, Party, Protocol, Request, Sent, State};
use crate::script::Script;
use crate::value::OpIndex;
use crate::world::Fusion;

/// A protocol with clients, faults and what is to be true.
#[derive(Clone, Debug)]
pub struct Bench<P> {
    /// The protocol.
    pub protocol: P,
    /// What clients do.
    pub script: Script,
    /// How many nodes there are at first.
    pub nodes: u8,
    /// What goes wrong.
    pub harm: Harm,
    /// What is promised.
    pub guarantee: Guarantee,
    /// Is hearing an answer a step of its own?
    pub fusion: Fusion,
    /// What becomes of messages that do not matter any more.
    pub purge: Purge,
}

/// What goes wrong, besides messages that are late or lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Harm {
    /// So many nodes crash and do not come back.
    pub crashes: u8,
    /// So many times the configuration service removes a node.
    pub removals: u8,
    /// Whom it removes.
    pub suspicion: Suspicion,
}

/// Whom the configuration service suspects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspicion {
    /// Nodes that crashed: its detector of failures never errs.
    Right,
    /// Any node, for a slow one looks like a dead one.
    Wrong,
}

/// What becomes of messages that do not matter any more?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purge {
    /// They are thrown away.
    Purged,
    /// They stay until they are handled.
    Kept,
}

/// Does a client hear what the step sends it?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    /// Yes.
    Heard,
    /// No, and it never will.
    Lost,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// An operation begins, and one of its first messages is handled.
    Begin(Start, Hearing),
    /// A message on its way, by its place there, is handled.
    Deliver(usize, Hearing),
    /// A node crashes for good.
    Crash(u8),
    /// The configuration service removes a node.
    Remove(u8),
    /// A member hears of the newest configuration.
    Inform(u8),
}

/// How an operation begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Which.
    pub op: OpIndex,
    /// The configuration that its client goes by.
    pub epoch: u8,
    /// The node that is nearest to it.
    pub nearest: u8,
    /// Which of its first messages is handled.
    pub first: usize,
}

impl Action {
    /// Is it that a client does not hear the answer?
    pub fn loses_answer(self) -> bool {
        matches!(
            self,
            Action::Begin(_, Hearing::Lost) | Action::Deliver(_, Hearing::Lost)
        )
    }
}

const HEARINGS: [Hearing; 2] = [Hearing::Heard, Hearing::Lost];

impl<P: Protocol> Bench<P> {
    fn beginnings(&self, state: &State<P>, actions: &mut Vec<Action>) {
        let ops = (0..self.script.deeds.len()).filter(|op| self.may_begin(state, *op));
        for op in ops.map(|op| OpIndex(op as u8)) {
            for (config, nearest) in state
                .configs
                .iter()
                .flat_map(|config| (0..self.nodes).map(move |node| (config, node)))
            {
                let epoch = config.epoch;
                let mut began = state.clone();
                let sent = began.begin(&self.protocol, self.request(op), epoch, nearest);
                let starts = (0..sent.len()).map(|first| Start {
                    op,
                    epoch,
                    nearest,
                    first,
                });
                actions.extend(starts.flat_map(|start| HEARINGS.map(|hearing| Action::Begin(start, hearing))));
            }
        }
    }

    /// Those of one client follow each other.
    fn may_begin(&self, state: &State<P>, op: usize) -> bool {
        let client = self.script.deeds[op].client;
        let earlier = self.script.deeds[..op].iter().zip(&state.ops);
        let mut own = earlier.filter(|(deed, _)| deed.client == client);
        state.ops[op] == Progress::Waiting && own.all(|(_, progress)| matches!(progress, Progress::Told { .. }))
    }

    fn deliveries(&self, state: &State<P>, actions: &mut Vec<Action>) {
        for (place, envelope) in state.flight.iter().enumerate() {
            let before = place.checked_sub(1).map(|before| &state.flight[before]);
            if !before.is_some_and(|before| before == envelope || must_wait::<P>(before, envelope)) {
                actions.extend(HEARINGS.map(|hearing| Action::Deliver(place, hearing)));
            }
        }
    }

    fn harms(&self, state: &State<P>, actions: &mut Vec<Action>) {
        let lives = |node: u8| state.nodes[usize::from(node)].is_some();
        let living = (0..self.nodes).filter(|node| lives(*node)).count();
        if self.nodes - (living as u8) < self.harm.crashes && living > 1 {
            actions.extend((0..self.nodes).filter(|node| lives(*node)).map(Action::Crash));
        }
        let newest = state.newest();
        if newest.epoch < self.harm.removals && newest.members.len() > 1 {
            let suspected = |node: &u8| self.harm.suspicion == Suspicion::Wrong || !lives(*node);
            let members = newest.members.iter().copied();
            actions.extend(members.filter(suspected).map(Action::Remove));
        }
        let ignorant = |node: &u8| {
            let replica = state.nodes[usize::from(*node)].as_ref();
            replica.is_some_and(|replica| replica.epoch < newest.epoch)
        };
        actions.extend(newest.members.iter().copied().filter(ignorant).map(Action::Inform));
    }

    pub(super) fn request(&self, op: OpIndex) -> Request {
        let kind = self.script.kind(op);
        Request { op, kind }
    }

    /// Does it; tells how many answers were sent to clients.
    pub(super) fn apply(&self, state: &mut State<P>, action: Action) -> usize {
        match action {
            Action::Begin(start, hearing) => {
                let me = Party::Client(start.op);
                let mut sent = self.start(state, start);
                let first = sent.remove(start.first);
                self.post(state, me, sent, Hearing::Heard);
                self.handle(state, Envelope::of(me, first), hearing)
            }
            Action::Deliver(place, hearing) => {
                let envelope = state.flight.remove(place);
                self.handle(state, envelope, hearing)
            }
            Action::Crash(node) => {
                state.nodes[usize::from(node)] = None;
                0
            }
            Action::Remove(node) => {
                state.configs.push(state.newest().without(node));
                0
            }
            Action::Inform(node) => {
                let sent = state.inform(&self.protocol, node);
                self.post(state, Party::Node(node), sent, Hearing::Heard)
            }
        }
    }

    pub(super) fn start(&self, state: &mut State<P>, start: Start) -> Vec<Sent<P::Message>> {
        state.begin(&self.protocol, self.request(start.op), start.epoch, start.nearest)
    }

    fn handle(&self, state: &mut State<P>, envelope: Envelope<P::Message>, hearing: Hearing) -> usize {
        let to = envelope.to;
        let sent = state.receive(&self.protocol, envelope);
        self.post(state, to, sent, hearing)
    }

    /// Sends messages; tells how many of them are answers to clients.
    fn post(&self, state: &mut State<P>, from: Party, sent: Vec<Sent<P::Message>>, hearing: Hearing) -> usize {
        let mut answers = 0;
        for sent in sent {
            let fused = self.fusion == Fusion::Fused && matches!(sent.to, Party::Client(_));
            let envelope = Envelope::of(from, sent);
            answers += usize::from(fused);
            match (fused, hearing) {
                (true, Hearing::Heard) => {
                    let client = envelope.to;
                    let more = state.receive(&self.protocol, envelope);
                    self.post(state, client, more, Hearing::Heard);
                }
                (true, Hearing::Lost) => {}
                (false, _) => state.flight.push(envelope),
            }
        }
        answers
    }

    fn tidy(&self, state: &mut State<P>) {
        match P::LINKS {
            Links::Unordered => state.flight.sort(),
            Links::Ordered => state.flight.sort_by_key(|envelope| (envelope.from, envelope.to)),
        }
        let mut kept: Vec<Envelope<P::Message>> = Vec::new();
        for envelope in std::mem::take(&mut state.flight) {
            let waits = kept.last().is_some_and(|before| must_wait::<P>(before, &envelope));
            if !self.is_over(state, &envelope, waits) {
                kept.push(envelope);
            }
        }
        state.flight = kept;
    }

    /// Will a message never matter any more?
    fn is_over(&self, state: &State<P>, envelope: &Envelope<P::Message>, waits: bool) -> bool {
        let gone = match envelope.to {
            Party::Node(node) => state.nodes[usize::from(node)].is_none(),
            Party::Client(op) => state.outcome(op).is_some(),
        };
        gone || (self.purge == Purge::Purged && !waits && self.changes_nothing(state, envelope))
    }

    fn changes_nothing(&self, state: &State<P>, envelope: &Envelope<P::Message>) -> bool {
        let mut later = state.clone();
        later.flight = Vec::new();
        let before = later.clone();
        let to = envelope.to;
        let sent = later.receive(&self.protocol, envelope.clone());
        later == before
            && sent.into_iter().all(|sent| {
                let answer = Envelope::of(to, sent);
                let unheard = matches!(answer.to, Party::Client(_));
                unheard && later.receive(&self.protocol, answer).is_empty() && later == before
            })
    }
}

/// Must a message wait for the one before it?
fn must_wait<P: Protocol>(before: &Envelope<P::Message>, envelope: &Envelope<P::Message>) -> bool {
    P::LINKS == Links::Ordered && (before.from, before.to) == (envelope.from, envelope.to)
}

impl<P: Protocol> Model for Bench<P> {
    type State = State<P>;
    type Action = Action;

    fn init_states(&self) -> Vec<State<P>> {
        vec![State::new(self.nodes, self.script.deeds.len())]
    }

    fn actions(&self, state: &State<P>, actions: &mut Vec<Action>) {
        self.beginnings(state, actions);
        self.deliveries(state, actions);
        self.harms(state, actions);
    }

    fn next_state(&self, last: &State<P>, action: Action) -> Option<State<P>> {
        let mut next = last.clone();
        let answers = self.apply(&mut next, action);
        if action.loses_answer() && answers == 0 {
            return None;
        }
        self.tidy(&mut next);
        Some(next)
    }

    fn format_step(&self, last: &State<P>, action: Action) -> Option<String> {
        Some(self.narrate(last, action))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(self.guarantee.name(), |bench: &Self, state: &State<P>| {
                bench.guarantee.holds(&bench.protocol, &bench.script, state)
            }),
            Property::sometimes("everything was answered", |_, state: &State<P>| {
                let told = |progress: &Progress<P::Client>| matches!(progress, Progress::Told { .. });
                state.ops.iter().all(told)
            }),
        ]
    }
}
