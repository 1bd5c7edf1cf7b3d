//! Chain replication.
//!
//! *van Renesse, Schneider: Chain Replication for Supporting High Throughput and Availability, OSDI 2004, section 3.*
//! The nodes form a chain. Updates enter at the head, which gives them their order, and go down the chain; the tail
//! answers, for what it has everybody has. Reads are answered by the tail from its own state. A node keeps what it passed
//! on until an acknowledgement comes back up the chain (`Sent` in the paper).
//!
//! A configuration service, the paper's master, takes failed nodes out: the next node becomes head, the one
//! before becomes tail and answers what it has, and in the middle a node sends its new successor again what was not yet
//! acknowledged. Failures must be detected rightly, and links keep order, as the paper assumes: an old tail that lives
//! goes on to answer reads.

use super::guarantee::Guarantee::{self, Converges, Linearizable, ReadAfterWrite};
use super::log::{Log, Record};
use super::trial::{FAILOVER, MISJUDGED, TWO_FAILOVERS, breaks, keeps, lacks};
use super::{Config, Here, Links, Membership, Party, Protocol, Request, State};
use crate::claim::Claim;
use crate::coordinator::Outcome;
use crate::value::OpIndex;

/// The protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Chain {
    flaw: Flaw,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Flaw {
    None,
    HeadAnswers,
    InFlightIsDropped,
    HeadStartsAfresh,
}

/// Sound.
pub(super) const CHAIN: Chain = Chain { flaw: Flaw::None };

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// What it has.
    pub log: Log,
    /// The tail has so much of it.
    pub acknowledged: usize,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// From a client.
    Ask(Request),
    /// Down the chain: an update and its place.
    Forward(usize, Record),
    /// Up the chain: the tail has so much.
    Acknowledged(usize),
    /// To a client.
    Answer(Outcome),
}

impl Chain {
    fn take(&self, node: &mut Node, record: Record, here: &mut Here<'_, Message>) {
        node.log.push(record);
        here.store();
        self.pass_on(node, node.log.len() - 1, here);
    }

    /// Passes on what has its place from `place` on, or answers where the chain ends.
    fn pass_on(&self, node: &mut Node, place: usize, here: &mut Here<'_, Message>) {
        for (place, record) in node.log.from(place) {
            if let Some(next) = here.config.after(here.me) {
                here.send(next, Message::Forward(place, record.clone()));
            }
            if here.config.is_tail(here.me) || (self.flaw == Flaw::HeadAnswers && here.config.is_head(here.me)) {
                here.send(Party::Client(record.op), Message::Answer(record.outcome.clone()));
            }
        }
        if here.config.is_tail(here.me) {
            Self::acknowledge(node, node.log.len(), here);
        }
    }

    fn acknowledge(node: &mut Node, length: usize, here: &mut Here<'_, Message>) {
        node.acknowledged = node.acknowledged.max(length);
        if let Some(before) = here.config.before(here.me) {
            here.send(before, Message::Acknowledged(length));
        }
    }
}

impl Protocol for Chain {
    type Message = Message;
    type Node = Node;
    type Client = ();

    const LINKS: Links = Links::Ordered;
    const MEMBERSHIP: Membership = Membership::Service;

    fn begin(&self, request: Request, here: &mut Here<'_, Message>) {
        let config = here.config;
        let node = if request.is_read() {
            config.tail()
        } else {
            config.head()
        };
        here.send(Party::Node(node), Message::Ask(request));
    }

    fn serve(&self, node: &mut Node, from: Party, message: Message, here: &mut Here<'_, Message>) {
        match message {
            Message::Ask(request) if request.is_read() && here.config.is_tail(here.me) => {
                here.send(from, Message::Answer(Outcome::Found(node.log.value())));
            }
            Message::Ask(request) if !request.is_read() && here.config.is_head(here.me) => {
                node.log.append(request);
                here.store();
                self.pass_on(node, node.log.len() - 1, here);
            }
            Message::Forward(place, record) if Some(from) == here.config.before(here.me) => {
                if place == node.log.len() {
                    self.take(node, record, here);
                } else if here.config.is_tail(here.me) {
                    Self::acknowledge(node, node.log.len(), here);
                }
            }
            Message::Acknowledged(length) if Some(from) == here.config.after(here.me) => {
                Self::acknowledge(node, length, here);
            }
            Message::Ask(_) | Message::Forward(..) | Message::Acknowledged(_) | Message::Answer(_) => {}
        }
    }

    fn hear(&self, (): &mut (), _: Party, message: Message, _: &mut Here<'_, Message>) -> Option<Outcome> {
        match message {
            Message::Answer(outcome) => Some(outcome),
            Message::Ask(_) | Message::Forward(..) | Message::Acknowledged(_) => None,
        }
    }

    fn reconfigured(&self, node: &mut Node, old: &Config, here: &mut Here<'_, Message>) {
        if self.flaw == Flaw::HeadStartsAfresh && here.config.is_head(here.me) && !old.is_head(here.me) {
            *node = Node::default();
        }
        if old.after(here.me) != here.config.after(here.me) && self.flaw != Flaw::InFlightIsDropped {
            self.pass_on(node, node.acknowledged, here);
        }
    }

    fn value(node: &Node) -> Option<OpIndex> {
        node.log.value()
    }

    fn payload(message: &Message) -> usize {
        match message {
            Message::Ask(request) => usize::from(!request.is_read()),
            Message::Forward(..) => 1,
            Message::Answer(outcome) => usize::from(matches!(outcome, Outcome::Found(_))),
            Message::Acknowledged(_) => 0,
        }
    }

    /// The paper's update propagation invariant: what a node has, every node before it has.
    fn invariant(&self, state: &State<Self>) -> bool {
        let members: Vec<_> = state.members().collect();
        members
            .windows(2)
            .all(|pair| pair[0].kept.log.extends(&pair[1].kept.log))
    }
}

pub(super) fn claim() -> Claim {
    const PROPAGATES: Guarantee = Guarantee::Invariant("updates propagate");
    const HASTY: Chain = Chain {
        flaw: Flaw::HeadAnswers,
    };
    const FORGETFUL: Chain = Chain {
        flaw: Flaw::InFlightIsDropped,
    };
    const FRESH: Chain = Chain {
        flaw: Flaw::HeadStartsAfresh,
    };
    Claim {
        name: "chain",
        sentence: "A chain whose tail answers is linearizable, through failures that are detected rightly; while a node is \
                   removed that lives, reads may be old.",
        source: "van Renesse, Schneider 2004, section 3",
        sizes: vec![
            keeps(&CHAIN, Linearizable, "W|INM|RR", FAILOVER, 67_568),
            keeps(&CHAIN, Linearizable, "W|RR", TWO_FAILOVERS, 7_023),
            keeps(&CHAIN, PROPAGATES, "W|W", TWO_FAILOVERS, 6_433),
            keeps(&CHAIN, Converges, "W|W", FAILOVER, 2_237),
            breaks(&CHAIN, ReadAfterWrite, "W|R", MISJUDGED),
        ],
        mutants: vec![
            lacks(
                "chain-head-answers",
                "an update is answered when the tail has it",
                breaks(&HASTY, Linearizable, "W|R", FAILOVER),
            ),
            lacks(
                "chain-in-flight-dropped",
                "who gets a new successor sends again what was not acknowledged",
                breaks(&FORGETFUL, Converges, "W", FAILOVER),
            ),
            lacks(
                "chain-head-starts-afresh",
                "a new head goes on from what it has",
                breaks(&FRESH, PROPAGATES, "W", FAILOVER),
            ),
        ],
    }
}
