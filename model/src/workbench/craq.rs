//! Chain replication with apportioned queries.
//!
//! *Terrace, Freedman: Object Storage on CRAQ: High-throughput chain replication for read-mostly workloads, USENIX ATC
//! 2009, sections 2.3 and 2.4.* Updates go down a chain as before. Reads may go to any node: a version that the tail
//! acknowledged is clean and is returned at once; above it the node has dirty ones, and asks the tail how much of them is
//! committed. Consistency may be traded away (section 2.4): *eventual* reads return the newest version that the node
//! knows, *bounded* ones not more than so many versions beyond the newest clean one.

use super::chain::{self, CHAIN};
use super::guarantee::Guarantee::{self, Linearizable, MonotonicReads, ReadAfterWrite, Sequential};
use super::trial::{CALM, FAILOVER, MISJUDGED, breaks, keeps, lacks};
use super::{Config, Here, Links, Membership, Party, Protocol, Request, State};
use crate::claim::Claim;
use crate::coordinator::Outcome;
use crate::value::OpIndex;

/// The protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Craq {
    reads: Reads,
    flaw: Flaw,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Reads {
    Strong,
    Eventual,
    /// Of versions beyond the newest clean one.
    Bounded(usize),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Flaw {
    None,
    DirtyIsReturned,
    CleanIsReturned,
    BoundIsIgnored,
}

const STRONG: Craq = Craq::new(Reads::Strong, Flaw::None);
const EVENTUAL: Craq = Craq::new(Reads::Eventual, Flaw::None);
const BOUNDED: Craq = Craq::new(Reads::Bounded(1), Flaw::None);

const BOUND: Guarantee = Guarantee::Invariant("reads run ahead by one version at most");

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// As in any chain.
    Chain(chain::Message),
    /// To the tail, for a read: how much is committed?
    Query(OpIndex),
    /// So much.
    Committed(OpIndex, usize),
}

impl Craq {
    const fn new(reads: Reads, flaw: Flaw) -> Self {
        Craq { reads, flaw }
    }

    fn read(&self, node: &chain::Node, request: Request, here: &mut Here<'_, Message>) {
        let newest = node.log.len();
        let clean = if here.config.is_tail(here.me) {
            newest
        } else {
            node.acknowledged
        };
        let served = match (&self.reads, &self.flaw) {
            (Reads::Strong | Reads::Eventual, Flaw::CleanIsReturned) => clean,
            (Reads::Strong, Flaw::DirtyIsReturned) | (Reads::Eventual, _) => newest,
            (Reads::Strong, _) if clean == newest => newest,
            (Reads::Strong, _) => return here.send(Party::Node(here.config.tail()), Message::Query(request.op)),
            (Reads::Bounded(_), _) => self.bounded(newest, clean),
        };
        answer(node, request.op, served, here);
    }

    fn bounded(&self, newest: usize, clean: usize) -> usize {
        match (&self.reads, &self.flaw) {
            (Reads::Bounded(bound), Flaw::None) => newest.min(clean + bound),
            (Reads::Bounded(_) | Reads::Strong | Reads::Eventual, _) => newest,
        }
    }
}

fn answer(node: &chain::Node, op: OpIndex, length: usize, here: &mut Here<'_, Message>) {
    let outcome = Outcome::Found(node.log.value_at(length));
    here.send(Party::Client(op), Message::Chain(chain::Message::Answer(outcome)));
}

impl Protocol for Craq {
    type Message = Message;
    type Node = chain::Node;
    type Client = ();

    const LINKS: Links = Links::Ordered;
    const MEMBERSHIP: Membership = Membership::Service;

    fn begin(&self, request: Request, here: &mut Here<'_, Message>) {
        let is_member = here.config.members.contains(&here.nearest);
        let node = if request.is_read() && is_member {
            here.nearest
        } else {
            here.config.head()
        };
        here.send(Party::Node(node), Message::Chain(chain::Message::Ask(request)));
    }

    fn serve(&self, node: &mut chain::Node, from: Party, message: Message, here: &mut Here<'_, Message>) {
        match message {
            Message::Chain(chain::Message::Ask(request)) if request.is_read() => self.read(node, request, here),
            Message::Chain(message) => here.within(Message::Chain, |here| CHAIN.serve(node, from, message, here)),
            Message::Query(op) if here.config.is_tail(here.me) => {
                here.send(from, Message::Committed(op, node.log.len()));
            }
            Message::Committed(op, length) => answer(node, op, length, here),
            Message::Query(_) => {}
        }
    }

    fn hear(&self, (): &mut (), _: Party, message: Message, _: &mut Here<'_, Message>) -> Option<Outcome> {
        match message {
            Message::Chain(chain::Message::Answer(outcome)) => Some(outcome),
            Message::Chain(_) | Message::Query(_) | Message::Committed(..) => None,
        }
    }

    fn reconfigured(&self, node: &mut chain::Node, old: &Config, here: &mut Here<'_, Message>) {
        here.within(Message::Chain, |here| CHAIN.reconfigured(node, old, here));
    }

    fn value(node: &chain::Node) -> Option<OpIndex> {
        node.log.value()
    }

    fn payload(message: &Message) -> usize {
        match message {
            Message::Chain(message) => chain::Chain::payload(message),
            Message::Query(_) | Message::Committed(..) => 0,
        }
    }

    /// No bounded read would return more than one version beyond what the tail has.
    fn invariant(&self, state: &State<Self>) -> bool {
        let committed = state.members().next_back().map_or(0, |tail| tail.kept.log.len());
        state.members().all(|member| {
            let served = self.bounded(member.kept.log.len(), member.kept.acknowledged);
            served <= committed + 1
        })
    }
}

pub(super) fn strong() -> Claim {
    const DIRTY: Craq = Craq::new(Reads::Strong, Flaw::DirtyIsReturned);
    const CLEAN: Craq = Craq::new(Reads::Strong, Flaw::CleanIsReturned);
    Claim {
        name: "craq",
        sentence: "A chain whose nodes all answer reads, and ask the tail about dirty versions, is linearizable, through \
                   failures that are detected rightly.",
        source: "Terrace, Freedman 2009, section 2.3",
        sizes: vec![
            keeps(&STRONG, Linearizable, "W|INM|RR", CALM, 11_783),
            keeps(&STRONG, Linearizable, "W|W|R", CALM, 2_453),
            keeps(&STRONG, Linearizable, "W|INM|RR", FAILOVER, 189_906),
            breaks(&STRONG, ReadAfterWrite, "W|R", MISJUDGED),
        ],
        mutants: vec![
            lacks(
                "craq-dirty-is-returned",
                "a node asks the tail before it returns a dirty version",
                breaks(&DIRTY, Linearizable, "W|RR", CALM),
            ),
            lacks(
                "craq-clean-is-returned",
                "a node with dirty versions does not return the clean one",
                breaks(&CLEAN, Linearizable, "W|R", CALM),
            ),
        ],
    }
}

pub(super) fn eventual() -> Claim {
    const CLEAN: Craq = Craq::new(Reads::Eventual, Flaw::CleanIsReturned);
    Claim {
        name: "craq-eventual",
        sentence: "CRAQ's eventual reads: while the chain is whole, a read returns the last acknowledged write or a later \
                   one, but may return less than a read before it did; through a node that was cut off, anything older.",
        source: "Terrace, Freedman 2009, section 2.4",
        sizes: vec![
            keeps(&EVENTUAL, ReadAfterWrite, "W|RR", CALM, 155),
            keeps(&EVENTUAL, ReadAfterWrite, "W|RR", FAILOVER, 2_941),
            breaks(&EVENTUAL, MonotonicReads, "W|RR", CALM),
            breaks(&EVENTUAL, Sequential, "W|RR", CALM),
            breaks(&EVENTUAL, ReadAfterWrite, "W|R", MISJUDGED),
            breaks(&EVENTUAL, BOUND, "W|W", CALM),
        ],
        mutants: vec![lacks(
            "craq-eventual-clean-is-returned",
            "an eventual read returns the newest version that the node knows",
            breaks(&CLEAN, ReadAfterWrite, "W|R", CALM),
        )],
    }
}

pub(super) fn bounded() -> Claim {
    const UNBOUNDED: Craq = Craq::new(Reads::Bounded(1), Flaw::BoundIsIgnored);
    Claim {
        name: "craq-bounded",
        sentence: "CRAQ's bounded reads: while the chain is whole, no read returns more than one version beyond what the \
                   tail has committed.",
        source: "Terrace, Freedman 2009, section 2.4",
        sizes: vec![
            keeps(&BOUNDED, BOUND, "W|W|R", CALM, 1_193),
            keeps(&BOUNDED, BOUND, "W|W", FAILOVER, 2_237),
            breaks(&BOUNDED, MonotonicReads, "W|RR", CALM),
        ],
        mutants: vec![lacks(
            "craq-bound-is-ignored",
            "a bounded read goes no further than its bound",
            breaks(&UNBOUNDED, BOUND, "W|W", CALM),
        )],
    }
}
