//! One consensus instance for each key, without a log.
//!
//! *Rystsov: CASPaxos: Replicated State Machines without logs, arXiv:1802.07000, 2018, section 2; Lamport: Paxos Made
//! Simple, 2001, section 2.* Any client proposes. It has a majority promise a ballot and learns what they accepted under
//! the highest one; it applies its change to that, and has a majority accept the result under its ballot. Reads are
//! changes that change nothing. Infinit keeps its mutable blocks in single-decree Paxos of this kind.
//!
//! A proposer that is refused tries again under a higher ballot. One that has proposed already does not, unless it reads:
//! its first proposal may have been accepted and replaced, and the paper leaves such retries to the client.

use super::guarantee::Guarantee::Linearizable;
use super::trial::{CALM, breaks, keeps, lacks, large};
use super::{Here, Links, Membership, Party, Protocol, Request};
use crate::claim::Claim;
use crate::coordinator::Outcome;
use crate::value::OpIndex;

/// The protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Consensus {
    flaw: Flaw,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Flaw {
    None,
    AcceptIgnoresPromise,
    PromiseTellsNothing,
    ReadsProposeNothing,
}

/// Sound.
pub(super) const CASPAXOS: Consensus = Consensus { flaw: Flaw::None };

/// Ballots that one operation may use up.
const BALLOTS_MAX: u8 = 2;

/// A number, and the operation to break ties; no operation uses one twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ballot {
    number: u8,
    op: OpIndex,
}

/// What was accepted, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Accepted {
    ballot: Ballot,
    value: Option<OpIndex>,
}

/// An acceptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    promised: Ballot,
    accepted: Accepted,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// Promise to refuse everything below this ballot.
    Prepare(Ballot),
    /// It is promised; this is what was accepted.
    Promise(Ballot, Accepted),
    /// Accept this.
    Accept(Accepted),
    /// It is accepted.
    Done(Ballot),
    /// To either: refused, for a newer ballot was promised.
    Refused(Ballot, Ballot),
}

/// A proposer. It remembers who agreed, and the newest of what was accepted before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Proposer {
    request: Request,
    ballot: Ballot,
    ballots: u8,
    agreed: u8,
    newest: Accepted,
    proposed: Option<Outcome>,
}

impl Consensus {
    fn prepare(proposer: &mut Proposer, above: u8, here: &mut Here<'_, Message>) {
        let (number, op) = (above + 1, proposer.request.op);
        proposer.ballot = Ballot { number, op };
        proposer.ballots += 1;
        proposer.agreed = 0;
        proposer.newest = Accepted::default();
        proposer.proposed = None;
        here.send_all(&Message::Prepare(proposer.ballot));
    }

    fn propose(&self, proposer: &mut Proposer, here: &mut Here<'_, Message>) -> Option<Outcome> {
        let (value, outcome) = proposer.request.apply(proposer.newest.value);
        if proposer.request.is_read() && self.flaw == Flaw::ReadsProposeNothing {
            return Some(outcome);
        }
        let ballot = proposer.ballot;
        proposer.agreed = 0;
        proposer.proposed = Some(outcome);
        here.send_all(&Message::Accept(Accepted { ballot, value }));
        None
    }

    fn refused(proposer: &mut Proposer, newer: Ballot, here: &mut Here<'_, Message>) -> Option<Outcome> {
        let may_repeat = proposer.proposed.is_none() || proposer.request.is_read();
        if !may_repeat || proposer.ballots == BALLOTS_MAX {
            return Some(Outcome::Unknown);
        }
        Self::prepare(proposer, newer.number, here);
        None
    }
}

impl Protocol for Consensus {
    type Message = Message;
    type Node = Node;
    type Client = Proposer;

    const LINKS: Links = Links::Unordered;
    const MEMBERSHIP: Membership = Membership::Fixed;

    fn begin(&self, request: Request, here: &mut Here<'_, Message>) -> Proposer {
        let mut proposer = Proposer {
            request,
            ballot: Ballot::default(),
            ballots: 0,
            agreed: 0,
            newest: Accepted::default(),
            proposed: None,
        };
        Self::prepare(&mut proposer, 0, here);
        proposer
    }

    fn serve(&self, node: &mut Node, from: Party, message: Message, here: &mut Here<'_, Message>) {
        match message {
            Message::Prepare(ballot) if ballot > node.promised => {
                node.promised = ballot;
                here.store();
                let told = if self.flaw == Flaw::PromiseTellsNothing {
                    Accepted::default()
                } else {
                    node.accepted
                };
                here.send(from, Message::Promise(ballot, told));
            }
            Message::Accept(new) if new.ballot >= node.promised || self.flaw == Flaw::AcceptIgnoresPromise => {
                node.promised = new.ballot;
                node.accepted = new;
                here.store();
                here.send(from, Message::Done(new.ballot));
            }
            Message::Prepare(ballot) | Message::Accept(Accepted { ballot, .. }) => {
                here.send(from, Message::Refused(ballot, node.promised));
            }
            Message::Promise(..) | Message::Done(_) | Message::Refused(..) => {}
        }
    }

    fn hear(
        &self,
        client: &mut Proposer,
        from: Party,
        message: Message,
        here: &mut Here<'_, Message>,
    ) -> Option<Outcome> {
        match (&client.proposed, message) {
            (None, Message::Promise(ballot, accepted)) if ballot == client.ballot => {
                client.newest = client.newest.max(accepted);
            }
            (Some(_), Message::Done(ballot)) if ballot == client.ballot => {}
            (_, Message::Refused(ballot, newer)) if ballot == client.ballot => {
                return Self::refused(client, newer, here);
            }
            (
                None | Some(_),
                Message::Prepare(_)
                | Message::Promise(..)
                | Message::Accept(_)
                | Message::Done(_)
                | Message::Refused(..),
            ) => return None,
        }
        client.agreed |= from.bit();
        if client.agreed.count_ones() < here.config.majority() {
            return None;
        }
        match client.proposed.take() {
            None => self.propose(client, here),
            outcome => outcome,
        }
    }

    fn value(node: &Node) -> Option<OpIndex> {
        node.accepted.value
    }

    fn payload(message: &Message) -> usize {
        usize::from(matches!(message, Message::Promise(..) | Message::Accept(_)))
    }
}

pub(super) fn claim() -> Claim {
    const IGNORES: Consensus = Consensus {
        flaw: Flaw::AcceptIgnoresPromise,
    };
    const SILENT: Consensus = Consensus {
        flaw: Flaw::PromiseTellsNothing,
    };
    const BRIEF: Consensus = Consensus {
        flaw: Flaw::ReadsProposeNothing,
    };
    Claim {
        name: "caspaxos",
        sentence: "A register that each operation decides anew by consensus is linearizable, conditional writes included.",
        source: "Rystsov 2018 (CASPaxos), section 2; what Infinit does",
        sizes: vec![
            keeps(&CASPAXOS, Linearizable, "W|R", CALM, 371_294),
            keeps(&CASPAXOS, Linearizable, "INM|INM", CALM, 67_344),
            large(keeps(&CASPAXOS, Linearizable, "W|RR", CALM, 4_682_073)),
        ],
        mutants: vec![
            lacks(
                "caspaxos-accept-ignores-promise",
                "an acceptor refuses proposals below its promise",
                breaks(&IGNORES, Linearizable, "INM|INM", CALM),
            ),
            lacks(
                "caspaxos-promise-tells-nothing",
                "a promise tells what was accepted",
                breaks(&SILENT, Linearizable, "INM|INM", CALM),
            ),
            lacks(
                "caspaxos-reads-propose-nothing",
                "a read has its value accepted under its own ballot",
                breaks(&BRIEF, Linearizable, "W|RR", CALM),
            ),
        ],
    }
}
