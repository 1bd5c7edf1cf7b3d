//! A new owner's sync as its driver runs it.

use trellis_spec::flaw::Rules;
use trellis_spec::layout::{GatedRow, Sources, Sync, SyncStep};
use trellis_spec::quorum::NodeId;
use trellis_spec::register::Audience;
use trellis_spec::stamp::Stamp;

use crate::coordinator::{Answer, Call, Coordinator, Evidence, Move, Outcome, Raised, Told, Why, asking, uncontested};
use crate::value::{Cargo, Key};

/// The sync at one node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Syncer<R>(Sync<Key, Cargo, R>);

impl<R: Rules> Syncer<R> {
    /// From these sources.
    pub fn new(sources: Sources) -> Self {
        Syncer(Sync::new(sources))
    }
}

fn moved(step: SyncStep<Key, Cargo>) -> Move {
    match step {
        SyncStep::Wait => Move::Wait,
        SyncStep::Pull { round, from } => Move::Ask {
            round,
            audience: Audience::All,
            call: Call::Pull(from.unwrap_or_default()),
        },
        SyncStep::Raise(floor) => Move::Raise(floor),
        SyncStep::Copy(rows) => Move::Copy(rows),
        SyncStep::Ask(key, ask) => asking(key, ask),
        SyncStep::Again { above } => Move::Stamp {
            above,
            why: Why::Competing,
        },
        SyncStep::Gated(key) => Move::Gated(key),
        SyncStep::Done(_) => Move::Done(Outcome::Synced),
    }
}

impl<R: Rules + Send + std::marker::Sync + 'static> Coordinator for Syncer<R> {
    fn start(&mut self, _: Stamp) -> Move {
        moved(self.0.start())
    }

    fn stamped(&mut self, stamp: Stamp) -> Move {
        moved(self.0.again(stamp))
    }

    fn on_answer(&mut self, round: u32, from: NodeId, answer: Answer) -> Move {
        match answer {
            Answer::Pulled(pulled) => moved(self.0.on_pulled(round, from, pulled)),
            Answer::Row(reply) => moved(self.0.on_reply(round, from, reply)),
            Answer::Scanned(_) | Answer::Refused(_) => Move::Wait,
        }
    }

    fn on_patience(&mut self) -> Move {
        moved(self.0.on_patience())
    }

    fn on_view(&mut self, raised: &Raised) -> Move {
        uncontested(moved(self.0.on_view(raised.sources.clone())))
    }

    fn on_raised(&mut self) -> Move {
        moved(self.0.on_raised())
    }

    fn on_copied(&mut self, blocked: Vec<(Key, Stamp)>) -> Move {
        moved(self.0.on_copied(blocked))
    }

    fn on_gated(&mut self, row: GatedRow) -> Move {
        moved(self.0.on_gated(row))
    }

    fn on_deadline(&self) -> Told {
        (Outcome::Nothing, Evidence::None)
    }
}
