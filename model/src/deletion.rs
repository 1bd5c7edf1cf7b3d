//! The deletion of a bucket as its driver runs it: [`Deletion`] says what, the attempts of the register do it.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use trellis_spec::flaw::Rules;
use trellis_spec::gate::{Deletion, DeletionOutcome, DeletionStep, Emptiness, Fate, Gate, GateState, Held, Swapped};
use trellis_spec::listing::Counted;
use trellis_spec::quorum::{NodeId, ReplicaSets};
use trellis_spec::register::{
    Accepted, Attempt, Conditional, ConditionalOutcome, Content, Step, Write, WriteMode, WriteOutcome,
};
use trellis_spec::stamp::Stamp;

use crate::coordinator::{Answer, Call, Coordinator, Evidence, Move, Outcome, Raised, Told, Why, uncontested};
use crate::listing::{Pages, PagesMove, Suspects};
use crate::operation::{bucket_row, gate_row, op_id};
use crate::value::{BucketChange, Cargo, Key, OpIndex};

/// Operation ids of a deletion's gate writes; those of its compare-and-swaps are numbered from 1.
const GATE_CLOSED: u8 = 100;
const GATE_OPENED: u8 = 101;

/// One client's deletion of the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DropBucket<R> {
    sets: ReplicaSets,
    me: OpIndex,
    keys: u8,
    suspects: Suspects,
    deletion: Deletion,
    running: Running<R>,
    /// Rounds before those of the running attempt.
    base: u32,
    round: u32,
    attempts: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Running<R> {
    Nothing,
    Swap(Conditional<Cargo, BucketChange<R>, R>),
    Gate(Write<Cargo, R>),
    Pages(Pages<R>),
}

impl<R: Rules> DropBucket<R> {
    /// The operation `me` in a world of so many objects.
    pub fn new(sets: ReplicaSets, me: OpIndex, keys: u8, suspects: Suspects) -> Self {
        DropBucket {
            sets,
            me,
            keys,
            suspects,
            deletion: Deletion::default(),
            running: Running::Nothing,
            base: 0,
            round: 0,
            attempts: 0,
        }
    }

    /// Runs what the deletion says. A compare-and-swap needs `stamp`, and asks for one if it has none.
    fn advance(&mut self, stamp: Option<Stamp>) -> Move {
        self.base = self.round;
        match self.deletion.step() {
            DeletionStep::Claim => self.swap(None, stamp),
            DeletionStep::Decide(fate) => self.swap(Some(fate), stamp),
            DeletionStep::SetGate(gate) => self.set_gate(gate),
            DeletionStep::List(ballot) => {
                let mut pages = Pages::new(
                    self.sets.clone(),
                    Counted::GateClosedUnder(ballot),
                    self.suspects,
                    self.base,
                );
                let step = pages.scan();
                self.running = Running::Pages(pages);
                self.on_pages(step)
            }
            DeletionStep::Done(DeletionOutcome::Deleted) => Move::Done(Outcome::Dropped),
            DeletionStep::Done(DeletionOutcome::NotEmpty | DeletionOutcome::Overtaken) => Move::Done(Outcome::Nothing),
        }
    }

    fn swap(&mut self, fate: Option<Fate>, stamp: Option<Stamp>) -> Move {
        let Some(stamp) = stamp else {
            self.running = Running::Nothing;
            return Move::Stamp {
                above: Stamp::ZERO,
                why: Why::NextAttempt,
            };
        };
        self.attempts += 1;
        let change = BucketChange {
            me: op_id(self.me, 0),
            fate,
            rules: PhantomData,
        };
        let mut swap = Conditional::new(self.sets.clone(), op_id(self.me, self.attempts), change, u64::MAX);
        let step = swap.start(stamp);
        self.running = Running::Swap(swap);
        self.on_swap(step)
    }

    fn set_gate(&mut self, gate: GateState) -> Move {
        // The same write again is the same operation: a deletion whose view rose closes the gate once more.
        let op = match gate.gate {
            Gate::Open => op_id(self.me, GATE_OPENED),
            Gate::Closed => op_id(self.me, GATE_CLOSED),
        };
        let content = Content::Value(Cargo::Gate(gate.gate));
        let mut write = Write::new(WriteMode::Strict, self.sets.clone(), op, content, u64::MAX);
        let step = write.start(gate.ballot);
        self.running = Running::Gate(write);
        self.on_gate(step)
    }

    fn on_swap(&mut self, step: Step<Cargo, ConditionalOutcome<Cargo>>) -> Move {
        let swapped = match self.on_row(bucket_row(self.keys), step) {
            Ok(step) => return step,
            Err(ConditionalOutcome::Written(value)) => Swapped::Under(value.ballot),
            Err(ConditionalOutcome::Refused(_)) => Swapped::Lost,
            Err(ConditionalOutcome::Gated | ConditionalOutcome::Unknown | ConditionalOutcome::Unreached) => {
                return Move::Done(Outcome::Unknown);
            }
        };
        self.deletion = self.deletion.on_swapped(swapped);
        self.advance(None)
    }

    fn on_gate(&mut self, step: Step<Cargo, WriteOutcome>) -> Move {
        let held = match self.on_row(gate_row(self.keys), step) {
            Ok(step) => return step,
            Err(WriteOutcome::Written(_)) => Held::Set,
            Err(WriteOutcome::Gated | WriteOutcome::Unknown) => Held::Newer,
        };
        self.deletion = self.deletion.on_gate(held);
        self.advance(None)
    }

    fn on_pages(&mut self, step: PagesMove) -> Move {
        if let Running::Pages(pages) = &self.running {
            self.round = self.round.max(pages.round());
        }
        let emptiness = match step {
            PagesMove::Move(step) => return step,
            PagesMove::Overtaken => return Move::Done(Outcome::Nothing),
            PagesMove::Live | PagesMove::Gated => Emptiness::Live,
            PagesMove::All(rows) => self.after_repair(&rows),
        };
        self.deletion = self.deletion.on_listed(emptiness);
        self.advance(None)
    }

    /// Every page was judged as it came, unless suspects were read again.
    fn after_repair(&self, rows: &BTreeMap<Key, Accepted<Cargo>>) -> Emptiness {
        let live = rows.values().any(|held| held.content.live().is_some());
        match self.suspects {
            Suspects::ReadAgain if live => Emptiness::Live,
            Suspects::ReadAgain | Suspects::Count => Emptiness::Empty,
        }
    }

    /// What an attempt on one row wants, or how it ended.
    fn on_row<O>(&mut self, key: Key, step: Step<Cargo, O>) -> Result<Move, O> {
        Ok(match step {
            Step::Wait => Move::Wait,
            Step::Ask(ask) => {
                self.round = self.base + ask.round;
                Move::Ask {
                    round: self.round,
                    audience: ask.audience,
                    call: Call::Row(key, ask.request),
                }
            }
            Step::Again { above } => Move::Stamp {
                above,
                why: Why::Competing,
            },
            Step::Done(outcome) => return Err(outcome),
        })
    }
}

impl<R: Rules + Send + Sync + 'static> Coordinator for DropBucket<R> {
    fn start(&mut self, stamp: Stamp) -> Move {
        self.advance(Some(stamp))
    }

    fn stamped(&mut self, stamp: Stamp) -> Move {
        match &mut self.running {
            Running::Nothing => self.advance(Some(stamp)),
            Running::Swap(swap) => {
                let step = swap.again(stamp);
                self.on_swap(step)
            }
            Running::Gate(write) => {
                let step = write.again(stamp);
                self.on_gate(step)
            }
            Running::Pages(pages) => {
                let step = pages.stamped(stamp);
                self.on_pages(step)
            }
        }
    }

    fn on_answer(&mut self, round: u32, from: NodeId, answer: Answer) -> Move {
        match (&mut self.running, answer) {
            (Running::Pages(pages), answer) => {
                let step = pages.on_answer(round, from, answer);
                self.on_pages(step)
            }
            (Running::Swap(swap), Answer::Row(reply)) if round > self.base => {
                let step = swap.on_reply(round - self.base, from, reply);
                self.on_swap(step)
            }
            (Running::Gate(write), Answer::Row(reply)) if round > self.base => {
                let step = write.on_reply(round - self.base, from, reply);
                self.on_gate(step)
            }
            (Running::Nothing | Running::Swap(_) | Running::Gate(_), _) => Move::Wait,
        }
    }

    fn on_patience(&mut self) -> Move {
        match &mut self.running {
            Running::Nothing => Move::Wait,
            Running::Swap(swap) => {
                let step = swap.on_patience();
                self.on_swap(step)
            }
            Running::Gate(write) => {
                let step = write.on_patience();
                self.on_gate(step)
            }
            Running::Pages(pages) => {
                let step = pages.on_patience();
                self.on_pages(step)
            }
        }
    }

    fn on_view(&mut self, raised: &Raised) -> Move {
        self.sets = raised.sets.clone();
        self.deletion = self.deletion.on_view();
        let step = match &mut self.running {
            Running::Nothing => Move::Wait,
            Running::Swap(swap) => {
                let step = swap.on_view(raised.sets.clone());
                self.on_swap(step)
            }
            Running::Gate(write) => {
                let step = write.on_view(raised.sets.clone());
                self.on_gate(step)
            }
            // The replicas that come with the view have to close their gates too.
            Running::Pages(_) => self.advance(None),
        };
        uncontested(step)
    }

    fn on_deadline(&self) -> Told {
        (Outcome::Unknown, Evidence::None)
    }
}
