//! Primary and backups.
//!
//! *Alsberg, Day: A Principle for Resilient Sharing of Distributed Resources, ICSE 1976; Budhiraja, Marzullo, Schneider,
//! Toueg: The Primary-Backup Approach, in Mullender (ed.): Distributed Systems, 1993, chapter 8.* Clients talk to the
//! primary. It applies what they ask, brings its backups up to date, and answers when all of them are; a read waits for
//! the writes that it saw. When the primary fails, a backup takes its place and brings the others to its own state.
//!
//! One node is enough to go on. The price: everything depends on failures being detected rightly. A primary that was
//! removed while it lives does not know, and goes on to answer reads.

use std::collections::BTreeMap;

use super::guarantee::Guarantee::{Converges, Linearizable, ReadAfterWrite};
use super::trial::{FAILOVER, MISJUDGED, TWO_FAILOVERS, breaks, keeps, lacks};
use super::{Config, Here, Links, Membership, Party, Protocol, Request};
use crate::claim::Claim;
use crate::coordinator::Outcome;
use crate::value::OpIndex;

/// The protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PrimaryBackup {
    flaw: Flaw,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Flaw {
    None,
    AnswersBeforeBackups,
    ReadsDoNotWait,
    TakesOverSilently,
}

/// Sound.
pub(super) const PRIMARY: PrimaryBackup = PrimaryBackup { flaw: Flaw::None };

/// The value, and the number of writes that led to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    number: u8,
    value: Option<OpIndex>,
}

/// A node; what follows the version matters at the primary.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    version: Version,
    /// Which version each backup said that it holds.
    backed_up: BTreeMap<u8, u8>,
    /// What clients will be told when all backups hold a version.
    waiting: Vec<(u8, OpIndex, Outcome)>,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// From a client.
    Ask(Request),
    /// From the primary: hold this.
    Update(Version),
    /// From a backup: it holds this version.
    Held(u8),
    /// To a client.
    Answer(Outcome),
}

impl PrimaryBackup {
    fn handle(&self, node: &mut Node, request: Request, here: &mut Here<'_, Message>) {
        let (value, outcome) = request.apply(node.version.value);
        if outcome == Outcome::Wrote {
            let number = node.version.number + 1;
            node.version = Version { number, value };
            here.store();
            here.send_others(&Message::Update(node.version));
        }
        let at_once = match self.flaw {
            Flaw::AnswersBeforeBackups => true,
            Flaw::ReadsDoNotWait => request.is_read(),
            Flaw::None | Flaw::TakesOverSilently => false,
        };
        let number = if at_once { 0 } else { node.version.number };
        node.waiting.push((number, request.op, outcome));
        Self::release(node, here);
    }

    /// Answers those whose version all backups hold.
    fn release(node: &mut Node, here: &mut Here<'_, Message>) {
        let held = |backup: u8| node.backed_up.get(&backup).copied().unwrap_or(0);
        let everywhere = here.config.others(here.me).map(held).min().unwrap_or(u8::MAX);
        let (ready, waiting) = node.waiting.drain(..).partition(|(number, ..)| *number <= everywhere);
        node.waiting = waiting;
        for (_, op, outcome) in Vec::from_iter::<Vec<_>>(ready) {
            here.send(Party::Client(op), Message::Answer(outcome));
        }
    }
}

impl Protocol for PrimaryBackup {
    type Message = Message;
    type Node = Node;
    type Client = ();

    const LINKS: Links = Links::Ordered;
    const MEMBERSHIP: Membership = Membership::Service;

    fn begin(&self, request: Request, here: &mut Here<'_, Message>) {
        here.send(Party::Node(here.config.head()), Message::Ask(request));
    }

    fn serve(&self, node: &mut Node, from: Party, message: Message, here: &mut Here<'_, Message>) {
        match message {
            Message::Ask(request) if here.config.is_head(here.me) => self.handle(node, request, here),
            Message::Update(version) if here.config.is_head(from) => {
                node.version = version;
                here.store();
                here.send(from, Message::Held(version.number));
            }
            Message::Held(number) => {
                if let Party::Node(backup) = from {
                    node.backed_up.insert(backup, number);
                }
                Self::release(node, here);
            }
            Message::Ask(_) | Message::Update(_) | Message::Answer(_) => {}
        }
    }

    fn hear(&self, (): &mut (), _: Party, message: Message, _: &mut Here<'_, Message>) -> Option<Outcome> {
        match message {
            Message::Answer(outcome) => Some(outcome),
            Message::Ask(_) | Message::Update(_) | Message::Held(_) => None,
        }
    }

    fn reconfigured(&self, node: &mut Node, old: &Config, here: &mut Here<'_, Message>) {
        if !here.config.is_head(here.me) {
            return;
        }
        if !old.is_head(here.me) && self.flaw != Flaw::TakesOverSilently {
            here.send_others(&Message::Update(node.version));
        }
        Self::release(node, here);
    }

    fn value(node: &Node) -> Option<OpIndex> {
        node.version.value
    }

    fn payload(message: &Message) -> usize {
        match message {
            Message::Ask(request) => usize::from(!request.is_read()),
            Message::Update(_) => 1,
            Message::Answer(outcome) => usize::from(matches!(outcome, Outcome::Found(_))),
            Message::Held(_) => 0,
        }
    }
}

pub(super) fn claim() -> Claim {
    const HASTY: PrimaryBackup = PrimaryBackup {
        flaw: Flaw::AnswersBeforeBackups,
    };
    const DIRTY: PrimaryBackup = PrimaryBackup {
        flaw: Flaw::ReadsDoNotWait,
    };
    const SILENT: PrimaryBackup = PrimaryBackup {
        flaw: Flaw::TakesOverSilently,
    };
    Claim {
        name: "primary-backup",
        sentence: "A primary that answers when all backups are up to date keeps a linearizable register while failures are \
                   detected rightly; while a node is removed that lives, reads may be old.",
        source: "Alsberg, Day 1976; Budhiraja, Marzullo, Schneider, Toueg 1993, chapter 8",
        sizes: vec![
            keeps(&PRIMARY, Linearizable, "W|INM|RR", FAILOVER, 28_948),
            keeps(&PRIMARY, Linearizable, "W|RR", TWO_FAILOVERS, 6_728),
            keeps(&PRIMARY, Converges, "W|W", FAILOVER, 2_883),
            breaks(&PRIMARY, ReadAfterWrite, "W|R", MISJUDGED),
        ],
        mutants: vec![
            lacks(
                "primary-answers-before-backups",
                "the primary answers when all backups hold the write",
                breaks(&HASTY, Linearizable, "W|R", FAILOVER),
            ),
            lacks(
                "primary-reads-do-not-wait",
                "a read waits until all backups hold what it saw",
                breaks(&DIRTY, Linearizable, "W|RR", FAILOVER),
            ),
            lacks(
                "primary-takes-over-silently",
                "a new primary brings the backups to its own state",
                breaks(&SILENT, Converges, "W", FAILOVER),
            ),
        ],
    }
}
