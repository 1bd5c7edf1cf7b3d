//! Elastic replication.
//!
//! *Abu-Libdeh, van Renesse, Vigfusson: Leveraging Sharding in the Design of Scalable Replication Protocols, SoCC
//! 2013.* An operation counts when **all** replicas of one configuration have it in their history, so that any one
//! of them knows everything that counts. To leave a configuration, one of its replicas is *wedged*: it never serves that
//! configuration again, which thereby ends, and the next one *inherits* its history. Nobody need be dead for this: who
//! was removed by mistake can no longer get all to agree.
//!
//! Here a replica wedges when it hears of a newer configuration; the first member of that one, the orderer, inherits its
//! own history and has the others adopt it. Reads are confirmed by all replicas, since the orderer may be wedged out of
//! its configuration without knowing.
//!
//! The paper's second idea is where configurations come from: each shard's are decided by another shard, its sequencer,
//! so that no service stands outside. What that sequencer must be is a linearizable register, which is what is checked
//! here; the ring of shards itself is not in this world, the configuration service stands for it.

use super::guarantee::Guarantee::{Converges, Linearizable};
use super::log::{Log, Record};
use super::trial::{FAILOVER, MISJUDGED, MISJUDGED_TWICE, breaks, keeps, lacks};
use super::{Config, Here, Links, Membership, Party, Protocol, Request};
use crate::claim::Claim;
use crate::coordinator::Outcome;
use crate::value::OpIndex;

/// The protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Elastic {
    flaw: Flaw,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Flaw {
    None,
    NotWedged,
    NotInherited,
    AllButOne,
}

/// Sound.
pub(super) const ELASTIC: Elastic = Elastic { flaw: Flaw::None };

/// A replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    history: Log,
    /// At the orderer: operations that wait for all replicas.
    waiting: Vec<Waiting>,
}

/// An operation, what its client will be told, and who confirmed it, as bits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Waiting {
    op: OpIndex,
    outcome: Outcome,
    confirmed: u8,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// From a client.
    Ask(Request),
    /// From a new orderer: this is the history.
    Adopt(Log),
    /// From the orderer: this comes next.
    Add(Record),
    /// From the orderer, for a read: are you still with me?
    Confirm(OpIndex),
    /// To either.
    Confirmed(OpIndex),
    /// To a client.
    Answer(Outcome),
}

impl Elastic {
    fn order(&self, node: &mut Node, request: Request, here: &mut Here<'_, Message>) {
        let op = request.op;
        let outcome = if request.is_read() {
            here.send_others(&Message::Confirm(op));
            Outcome::Found(node.history.value())
        } else {
            let record = node.history.append(request);
            here.store();
            here.send_others(&Message::Add(record.clone()));
            record.outcome
        };
        let confirmed = here.me.bit();
        node.waiting.push(Waiting { op, outcome, confirmed });
        self.release(node, here);
    }

    /// Answers those whose operation all replicas confirmed.
    fn release(&self, node: &mut Node, here: &mut Here<'_, Message>) {
        let fewer = u32::from(self.flaw == Flaw::AllButOne);
        let all = here.config.members.len() as u32 - fewer;
        node.waiting.retain(|waiting| {
            let waits = waiting.confirmed.count_ones() < all;
            if !waits {
                here.send(Party::Client(waiting.op), Message::Answer(waiting.outcome.clone()));
            }
            waits
        });
    }
}

impl Protocol for Elastic {
    type Message = Message;
    type Node = Node;
    type Client = ();

    const LINKS: Links = Links::Ordered;
    const MEMBERSHIP: Membership = Membership::Service;

    fn begin(&self, request: Request, here: &mut Here<'_, Message>) {
        here.send(Party::Node(here.config.head()), Message::Ask(request));
    }

    fn serve(&self, node: &mut Node, from: Party, message: Message, here: &mut Here<'_, Message>) {
        if here.sent_under < here.config.epoch && self.flaw != Flaw::NotWedged && from.is_node() {
            return;
        }
        if self.flaw == Flaw::NotWedged {
            here.speaks_for = here.sent_under;
        }
        match message {
            Message::Ask(request) if here.config.is_head(here.me) => self.order(node, request, here),
            Message::Adopt(history) => {
                node.history = history;
                here.store();
            }
            Message::Add(record) => {
                let op = record.op;
                node.history.push(record);
                here.store();
                here.send(from, Message::Confirmed(op));
            }
            Message::Confirm(op) => here.send(from, Message::Confirmed(op)),
            Message::Confirmed(op) => {
                let of = |waiting: &&mut Waiting| waiting.op == op;
                if let Some(waiting) = node.waiting.iter_mut().find(of) {
                    waiting.confirmed |= from.bit();
                }
                self.release(node, here);
            }
            Message::Ask(_) | Message::Answer(_) => {}
        }
    }

    fn hear(&self, (): &mut (), _: Party, message: Message, _: &mut Here<'_, Message>) -> Option<Outcome> {
        match message {
            Message::Answer(outcome) => Some(outcome),
            Message::Ask(_) | Message::Adopt(_) | Message::Add(_) | Message::Confirm(_) | Message::Confirmed(_) => None,
        }
    }

    fn reconfigured(&self, node: &mut Node, _: &Config, here: &mut Here<'_, Message>) {
        node.waiting.clear();
        if !here.config.is_head(here.me) {
            return;
        }
        if self.flaw == Flaw::NotInherited {
            node.history = Log::default();
        }
        here.send_others(&Message::Adopt(node.history.clone()));
    }

    fn value(node: &Node) -> Option<OpIndex> {
        node.history.value()
    }

    fn payload(message: &Message) -> usize {
        match message {
            Message::Ask(request) => usize::from(!request.is_read()),
            Message::Adopt(_) | Message::Add(_) => 1,
            Message::Answer(outcome) => usize::from(matches!(outcome, Outcome::Found(_))),
            Message::Confirm(_) | Message::Confirmed(_) => 0,
        }
    }
}

pub(super) fn claim() -> Claim {
    const OPEN: Elastic = Elastic { flaw: Flaw::NotWedged };
    const FRESH: Elastic = Elastic {
        flaw: Flaw::NotInherited,
    };
    const FEWER: Elastic = Elastic { flaw: Flaw::AllButOne };
    Claim {
        name: "elastic",
        sentence: "A register whose operations count when all replicas of a configuration have them, and whose next \
                   configuration inherits what a wedged replica has, is linearizable, whoever is suspected.",
        source: "Abu-Libdeh, van Renesse, Vigfusson 2013",
        sizes: vec![
            keeps(&ELASTIC, Linearizable, "W|INM|RR", FAILOVER, 75_721),
            keeps(&ELASTIC, Linearizable, "W|INM|RR", MISJUDGED, 109_635),
            keeps(&ELASTIC, Linearizable, "W|RR", MISJUDGED_TWICE, 57_692),
            keeps(&ELASTIC, Converges, "W|W", FAILOVER, 1_635),
        ],
        mutants: vec![
            lacks(
                "elastic-not-wedged",
                "a replica that knows a newer configuration never serves an older one",
                breaks(&OPEN, Linearizable, "W|R", MISJUDGED),
            ),
            lacks(
                "elastic-not-inherited",
                "a new configuration inherits the history of a wedged replica",
                breaks(&FRESH, Linearizable, "W|R", FAILOVER),
            ),
            lacks(
                "elastic-all-but-one",
                "an operation counts when all replicas have it",
                breaks(&FEWER, Linearizable, "W|R", MISJUDGED),
            ),
        ],
    }
}
