//! Trellis' own register, beside the others.
//!
//! Nothing of it is written here: nodes answer with `register::Cell::serve`, clients are the attempts of
//! `trellis_spec::register`, as in the nodes of a cluster. `docs/protocols/register.md` tells the protocol and the claims
//! that are checked in its own, much richer world: crashes of coordinators, impatience, restarts, layouts that change.
//! Here it runs in the world of its competitors: an attempt gets one more stamp, clocks stand as operations are written.

use std::fmt::Debug;
use std::hash::Hash;
use std::marker::PhantomData;

use trellis_spec::flaw::{Flaw, Rules, Sound};
use trellis_spec::quorum::{NodeId, ReplicaSets};
use trellis_spec::register::{Accepted, Audience, Cell, Fetch, Reply, Request, WriteMode};
use trellis_spec::stamp::Stamp;

use super::guarantee::Guarantee::Linearizable;
use super::trial::{CALM, breaks, keeps, lacks};
use super::{Here, Links, Membership, Party, Protocol};
use crate::claim::Claim;
use crate::coordinator::{Answer, Call, Coordinator, Move, Outcome, Shared};
use crate::listing::Suspects;
use crate::operation::{Order, coordinator};
use crate::value::{Body, Cargo, Key, OpIndex, writer};

/// The register under some rules.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Register<R>(PhantomData<R>);

/// Stamps that an operation gets besides its first.
const RETRIES_MAX: u8 = 1;

/// A question or an answer of a round.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// To a node.
    Ask(u32, Call),
    /// To a coordinator.
    Answer(u32, Answer),
}

/// An operation at its coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    attempt: Shared,
    op: OpIndex,
    retries: u8,
}

impl Client {
    fn go_on(&mut self, attempt: &mut dyn Coordinator, step: Move, here: &mut Here<'_, Message>) -> Option<Outcome> {
        match step {
            Move::Ask { round, audience, call } => {
                match audience {
                    Audience::All => here.send_all(&Message::Ask(round, call)),
                    Audience::One(node) => here.send(Party::Node(node.0 as u8), Message::Ask(round, call)),
                }
                None
            }
            Move::Stamp { above, .. } if self.retries < RETRIES_MAX => {
                self.retries += 1;
                let step = attempt.stamped(Stamp::new(above.time + 1, u64::from(self.op.0)));
                self.go_on(attempt, step, here)
            }
            Move::Stamp { .. } => Some(attempt.on_deadline().0),
            Move::Done(outcome) => Some(outcome),
            Move::Wait | Move::Raise(_) | Move::Copy(_) | Move::Gated(_) => None,
        }
    }
}

/// Asks all nodes; the nearest for all that it holds, the others for heads, as nodes do.
fn ask_first(round: u32, call: Call, here: &mut Here<'_, Message>) {
    for member in &here.config.members {
        let call = match &call {
            Call::Row(key, Request::Read(_)) if *member != here.nearest => Call::Row(*key, Request::Read(Fetch::Head)),
            call @ (Call::Row(..) | Call::Scan(_) | Call::Pull(_)) => call.clone(),
        };
        here.send(Party::Node(*member), Message::Ask(round, call));
    }
}

/// Is there a body in what a node holds?
fn has_body(held: Option<&Accepted<Cargo>>) -> bool {
    held.is_some_and(|held| matches!(held.content.live(), Some(Cargo::Object(_, Body::Here))))
}

impl<R: Rules + Eq + Hash + Send + Sync + 'static> Protocol for Register<R> {
    type Message = Message;
    type Node = Cell<Cargo>;
    type Client = Client;

    const LINKS: Links = Links::Unordered;
    const MEMBERSHIP: Membership = Membership::Fixed;

    fn begin(&self, request: super::Request, here: &mut Here<'_, Message>) -> Client {
        const GAP: u64 = 100;
        let order = Order {
            kind: request.kind,
            key: Key(0),
            author: request.op,
            body: Body::Here,
            mode: WriteMode::Strict,
            keys: 1,
            suspects: Suspects::Count,
        };
        let members = here.config.members.iter().map(|member| NodeId(u64::from(*member)));
        let mut attempt = coordinator::<R>(&order, ReplicaSets::new(vec![members.collect()]));
        let clock = (u64::from(request.op.0) + 1) * GAP;
        let step = attempt.start(Stamp::new(clock, u64::from(request.op.0)));
        let (round, _, call) = step.into_question().expect("every operation begins with a question");
        ask_first(round, call, here);
        Client {
            attempt: Shared::from(attempt),
            op: request.op,
            retries: 0,
        }
    }

    fn serve(&self, node: &mut Self::Node, from: Party, message: Message, here: &mut Here<'_, Message>) {
        let Message::Ask(round, Call::Row(_, request)) = message else {
            return;
        };
        let served = node.serve::<R>(Stamp::ZERO, &request);
        if let Some(changed) = served.changed {
            *node = changed;
            here.store();
        }
        here.send(from, Message::Answer(round, Answer::Row(served.reply)));
    }

    fn hear(
        &self,
        client: &mut Client,
        from: Party,
        message: Message,
        here: &mut Here<'_, Message>,
    ) -> Option<Outcome> {
        let (Message::Answer(round, answer), Party::Node(node)) = (message, from) else {
            return None;
        };
        let mut attempt = client.attempt.fork();
        let step = attempt.on_answer(round, NodeId(u64::from(node)), answer);
        let outcome = client.go_on(&mut *attempt, step, here);
        client.attempt = Shared::from(attempt);
        outcome
    }

    fn value(node: &Self::Node) -> Option<OpIndex> {
        writer(node.accepted.as_ref())
    }

    fn payload(message: &Message) -> usize {
        let carries = match message {
            Message::Ask(_, Call::Row(_, request)) => match request {
                Request::Write(new) | Request::WriteBack(new) | Request::Accept(new) => has_body(Some(new)),
                Request::Read(_) | Request::Prepare { .. } => false,
            },
            Message::Answer(_, Answer::Row(reply)) => match reply {
                Reply::Row { accepted, .. } | Reply::Promise { accepted, .. } => has_body(accepted.as_ref()),
                Reply::Accept | Reply::Nack { .. } | Reply::Gated | Reply::TooFarAhead => false,
            },
            Message::Ask(_, Call::Scan(_) | Call::Pull(_)) => false,
            Message::Answer(_, Answer::Scanned(_) | Answer::Pulled(_) | Answer::Refused(_)) => false,
        };
        usize::from(carries)
    }
}

/// The rules without a guard that reads need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct NoWriteBack;

impl Rules for NoWriteBack {
    fn lacks(flaw: Flaw) -> bool {
        flaw == Flaw::NoWriteBack
    }
}

pub(super) fn claim() -> Claim {
    const SOUND: Register<Sound> = Register(PhantomData);
    const BRIEF: Register<NoWriteBack> = Register(PhantomData);
    Claim {
        name: "trellis",
        sentence: "Trellis' own register is linearizable in the world of its competitors too, conditional writes included.",
        source: "docs/protocols/register.md; its own claims are C1 to C5",
        sizes: vec![
            keeps(&SOUND, Linearizable, "W|RR", CALM, 16_460),
            keeps(&SOUND, Linearizable, "W|INM", CALM, 5_971),
            keeps(&SOUND, Linearizable, "INM|INM", CALM, 172_221),
        ],
        mutants: vec![lacks(
            "trellis-no-write-back",
            "a read writes back what a majority did not report",
            breaks(&BRIEF, Linearizable, "W|RR", CALM),
        )],
    }
}
