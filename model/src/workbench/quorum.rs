//! Read and write quorums.
//!
//! *Attiya, Bar-Noy, Dolev: Sharing Memory Robustly in Message-Passing Systems, JACM 42(1), 1995; with several
//! writers as in Lynch, Shvartsman: Robust Emulation of Shared Memory Using Dynamic Quorum-Acknowledged Broadcasts, FTCS
//! 1997.* Each copy has a tag. A write asks a majority for the newest tag and stores its value under a newer
//! one at a majority. A read asks a majority, takes the newest value, and stores *that* at a majority before it returns:
//! the write-back, without which a later read may miss it.
//!
//! Dynamo-like stores leave the write-back out, or do it after the answer, Garage among them. Reads then follow writes
//! but not each other.

use std::mem;

use super::guarantee::Guarantee::{Linearizable, MonotonicReads, ReadAfterWrite, Sequential};
use super::trial::{CALM, breaks, keeps, lacks};
use super::{Conditions, Here, Links, Membership, Party, Protocol, Request};
use crate::claim::Claim;
use crate::coordinator::Outcome;
use crate::value::OpIndex;

/// The protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Quorum {
    reads: Reads,
    flaw: Flaw,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Reads {
    AtOnce,
    WrittenBack,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Flaw {
    None,
    StoredBelowMajority,
    AskedBelowMajority,
    NewestNotKept,
}

const PLAIN: Quorum = Quorum::new(Reads::AtOnce, Flaw::None);
/// The published protocol.
pub(super) const ABD: Quorum = Quorum::new(Reads::WrittenBack, Flaw::None);

/// A value and its tag: a number, and the writer to break ties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    number: u8,
    writer: OpIndex,
    value: Option<OpIndex>,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// What do you hold?
    Query,
    /// This.
    Held(Version),
    /// Hold this, unless you hold something newer.
    Store(Version),
    /// It is, or something newer.
    Stored,
}

/// An operation. It remembers who answered, and the newest of what they said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client {
    request: Request,
    newest: Version,
    answered: u8,
    phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Phase {
    Asking,
    Storing(Outcome),
}

impl Quorum {
    const fn new(reads: Reads, flaw: Flaw) -> Self {
        Quorum { reads, flaw }
    }

    fn store(&self, client: &mut Client, here: &mut Here<'_, Message>) -> Option<Outcome> {
        let (value, outcome) = client.request.apply(client.newest.value);
        let is_read = client.request.is_read();
        if is_read && self.reads == Reads::AtOnce {
            return Some(outcome);
        }
        if !is_read {
            let (number, writer) = (client.newest.number + 1, client.request.op);
            client.newest = Version { number, writer, value };
        }
        client.phase = Phase::Storing(outcome);
        here.send_all(&Message::Store(client.newest));
        None
    }

    fn is_enough(&self, client: &Client, here: &Here<'_, Message>) -> bool {
        let fewer = match (&client.phase, &self.flaw) {
            (Phase::Asking, Flaw::AskedBelowMajority) | (Phase::Storing(_), Flaw::StoredBelowMajority) => 1,
            (_, Flaw::None | Flaw::AskedBelowMajority | Flaw::StoredBelowMajority | Flaw::NewestNotKept) => 0,
        };
        client.answered.count_ones() >= here.config.majority() - fewer
    }
}

impl Protocol for Quorum {
    type Message = Message;
    type Node = Version;
    type Client = Client;

    const LINKS: Links = Links::Unordered;
    const MEMBERSHIP: Membership = Membership::Fixed;
    const CONDITIONS: Conditions = Conditions::NotOffered;

    fn begin(&self, request: Request, here: &mut Here<'_, Message>) -> Client {
        here.send_all(&Message::Query);
        Client {
            request,
            newest: Version::default(),
            answered: 0,
            phase: Phase::Asking,
        }
    }

    fn serve(&self, node: &mut Version, from: Party, message: Message, here: &mut Here<'_, Message>) {
        match message {
            Message::Query => here.send(from, Message::Held(*node)),
            Message::Store(version) => {
                if version > *node || self.flaw == Flaw::NewestNotKept {
                    *node = version;
                    here.store();
                }
                here.send(from, Message::Stored);
            }
            Message::Held(_) | Message::Stored => {}
        }
    }

    fn hear(
        &self,
        client: &mut Client,
        from: Party,
        message: Message,
        here: &mut Here<'_, Message>,
    ) -> Option<Outcome> {
        match (&client.phase, message) {
            (Phase::Asking, Message::Held(version)) => client.newest = client.newest.max(version),
            (Phase::Storing(_), Message::Stored) => {}
            (
                Phase::Asking | Phase::Storing(_),
                Message::Query | Message::Held(_) | Message::Store(_) | Message::Stored,
            ) => return None,
        }
        client.answered |= from.bit();
        if !self.is_enough(client, here) {
            return None;
        }
        client.answered = 0;
        match mem::replace(&mut client.phase, Phase::Asking) {
            Phase::Asking => self.store(client, here),
            Phase::Storing(outcome) => Some(outcome),
        }
    }

    fn value(node: &Version) -> Option<OpIndex> {
        node.value
    }

    fn payload(message: &Message) -> usize {
        usize::from(matches!(message, Message::Held(_) | Message::Store(_)))
    }
}

pub(super) fn plain() -> Claim {
    const SHORT: Quorum = Quorum::new(Reads::AtOnce, Flaw::AskedBelowMajority);
    const OLDER: Quorum = Quorum::new(Reads::AtOnce, Flaw::NewestNotKept);
    Claim {
        name: "quorums",
        sentence: "Read and write quorums without write-back: a read returns the last acknowledged write or a later one, \
                   but may return less than a read before it did.",
        source: "DeCandia et al. 2007 (Dynamo); what Garage does",
        sizes: vec![
            keeps(&PLAIN, ReadAfterWrite, "W|RR", CALM, 4_458),
            keeps(&PLAIN, ReadAfterWrite, "W|W|R", CALM, 155_044),
            breaks(&PLAIN, MonotonicReads, "W|RR", CALM),
            breaks(&PLAIN, Sequential, "W|RR", CALM),
        ],
        mutants: vec![
            lacks(
                "quorums-asked-below-majority",
                "a read asks a majority",
                breaks(&SHORT, ReadAfterWrite, "W|R", CALM),
            ),
            lacks(
                "quorums-newest-not-kept",
                "a node keeps the newest version that it was sent",
                breaks(&OLDER, ReadAfterWrite, "W|W|R", CALM),
            ),
        ],
    }
}

pub(super) fn abd() -> Claim {
    const SHORT: Quorum = Quorum::new(Reads::WrittenBack, Flaw::StoredBelowMajority);
    Claim {
        name: "abd",
        sentence: "A register on majorities whose reads write back what they return is linearizable.",
        source: "Attiya, Bar-Noy, Dolev 1995; Lynch, Shvartsman 1997",
        sizes: vec![
            keeps(&ABD, Linearizable, "W|RR", CALM, 9_682),
            keeps(&ABD, Linearizable, "W|W|R", CALM, 330_221),
        ],
        mutants: vec![
            lacks(
                "abd-without-write-back",
                "a read writes back what it returns",
                breaks(&PLAIN, Linearizable, "W|RR", CALM),
            ),
            lacks(
                "abd-stored-below-majority",
                "a value is stored at a majority before the answer",
                breaks(&SHORT, Linearizable, "W|R", CALM),
            ),
        ],
    }
}
