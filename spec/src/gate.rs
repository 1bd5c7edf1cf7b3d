//! The gate of a bucket: how deleting a bucket and writing into it are kept apart (claim C12).
//!
//! Every shard of a bucket's index has a *gate* row in the partition of its objects. A replica looks at it in the very
//! transaction that accepts an object, and refuses live values while it is closed. A deletion claims the bucket row by
//! compare-and-swap, closes the gate at a majority, lists the bucket counting only answers of replicas whose gate *this*
//! deletion closed (and nothing that others say later about what these show), and decides by compare-and-swap on the bucket row. Any acknowledged object is on a majority, so one
//! of the replicas that are listed accepted it before its gate closed and shows it.
//!
//! A gate is written under the ballot of the bucket row's state that it follows. Ballots of that row rise with every
//! change, so a late message of an overtaken deletion can neither open nor close what a newer one decided.

use serde::{Deserialize, Serialize};

use crate::flaw::{Flaw, Rules};
use crate::register::{Accepted, OpId, Request, Value};
use crate::stamp::Stamp;

/// May objects be written?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Gate {
    /// Yes. A gate that was never written is open.
    #[default]
    Open,
    /// No: the bucket is being deleted, or is.
    Closed,
}

/// A gate as one replica holds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GateState {
    /// Open or closed.
    pub gate: Gate,
    /// The ballot of the bucket row's state that it follows.
    pub ballot: Stamp,
}

impl Gate {
    /// Is the request one that a gate in this state refuses? Only those that would make a live value held.
    pub fn refuses<V: Value, R: Rules>(self, request: &Request<V>) -> bool {
        let live = |new: &Accepted<V>| new.content.live().is_some();
        match (self, request) {
            (Gate::Closed, Request::Write(new) | Request::WriteBack(new) | Request::Accept(new)) => {
                live(new) && !R::lacks(Flaw::GateUnchecked)
            }
            (Gate::Closed, Request::Read(_) | Request::Prepare { .. }) | (Gate::Open, _) => false,
        }
    }
}

impl GateState {
    /// Does an answer of a replica with this gate count for the listing of the deletion that closed it under `ballot`?
    pub fn counts_for<R: Rules>(self, ballot: Stamp) -> bool {
        (self.gate == Gate::Closed && self.ballot == ballot) || R::lacks(Flaw::ListBeforeGate)
    }
}

/// What a deletion does next. The driver runs each as an operation on the registers named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DeletionStep {
    /// Compare-and-swap the bucket row from active to deleting, in the name of this deletion. A deletion that finds
    /// another one there takes over from it.
    Claim,
    /// Write the gate under this ballot, once: a replica that holds a newer one refuses.
    SetGate(GateState),
    /// List the bucket for a live row, counting only answers whose gate was closed under this ballot. Suspects are not
    /// read again: [`Page::emptiness`](crate::listing::Page::emptiness) judges what was counted.
    List(Stamp),
    /// Compare-and-swap the bucket row from deleting in the name of this deletion to this.
    Decide(Fate),
    /// Nothing more.
    Done(DeletionOutcome),
}

/// What becomes of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Fate {
    /// It holds objects: active again.
    Active,
    /// It is empty: gone for good.
    Deleted,
}

/// How a deletion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DeletionOutcome {
    /// The bucket is deleted; its name may be removed.
    Deleted,
    /// It holds objects and is open again.
    NotEmpty,
    /// Another deletion took over. Nothing was decided here.
    Overtaken,
}

/// What came of a compare-and-swap on the bucket row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Swapped {
    /// It is done, under this ballot.
    Under(Stamp),
    /// The row was not as expected.
    Lost,
}

/// What a listing of the bucket showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Emptiness {
    /// No live row.
    Empty,
    /// At least one.
    Live,
}

/// The deletion of one bucket, as its coordinator sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Deletion {
    /// The bucket row is being claimed.
    #[default]
    Claiming,
    /// The gate is being closed under the claim's ballot.
    Closing(Stamp),
    /// The bucket is being listed.
    Listing(Stamp),
    /// The bucket row is being decided.
    Deciding(Fate),
    /// The gate is being opened again under the decision's ballot.
    Opening(Stamp),
    /// It is over.
    Over(DeletionOutcome),
}

impl Deletion {
    /// What to do now.
    pub const fn step(&self) -> DeletionStep {
        match *self {
            Deletion::Claiming => DeletionStep::Claim,
            Deletion::Closing(ballot) => DeletionStep::SetGate(GateState {
                gate: Gate::Closed,
                ballot,
            }),
            Deletion::Listing(ballot) => DeletionStep::List(ballot),
            Deletion::Deciding(fate) => DeletionStep::Decide(fate),
            Deletion::Opening(ballot) => DeletionStep::SetGate(GateState {
                gate: Gate::Open,
                ballot,
            }),
            Deletion::Over(outcome) => DeletionStep::Done(outcome),
        }
    }

    /// A claim or a decision was tried on the bucket row.
    pub fn on_swapped(self, swapped: Swapped) -> Self {
        match (self, swapped) {
            (_, Swapped::Lost) => Deletion::Over(DeletionOutcome::Overtaken),
            (Deletion::Claiming, Swapped::Under(ballot)) => Deletion::Closing(ballot),
            (Deletion::Deciding(Fate::Active), Swapped::Under(ballot)) => Deletion::Opening(ballot),
            (Deletion::Deciding(Fate::Deleted), Swapped::Under(_)) => Deletion::Over(DeletionOutcome::Deleted),
            (Deletion::Closing(_) | Deletion::Listing(_) | Deletion::Opening(_) | Deletion::Over(_), _) => self,
        }
    }

    /// A majority holds the gate as it was to be, or a newer one stood in the way.
    pub fn on_gate(self, held: Held) -> Self {
        match (self, held) {
            (Deletion::Closing(_), Held::Newer) => Deletion::Over(DeletionOutcome::Overtaken),
            (Deletion::Closing(ballot), Held::Set) => Deletion::Listing(ballot),
            // Opened here or by somebody newer: either way this deletion has decided.
            (Deletion::Opening(_), _) => Deletion::Over(DeletionOutcome::NotEmpty),
            (Deletion::Claiming | Deletion::Listing(_) | Deletion::Deciding(_) | Deletion::Over(_), _) => self,
        }
    }

    /// The view rose: replicas that came with it must close their gates before they can be counted, so the gate is
    /// closed once more, by the same write.
    pub fn on_view(self) -> Self {
        match self {
            Deletion::Listing(ballot) => Deletion::Closing(ballot),
            Deletion::Claiming | Deletion::Closing(_) | Deletion::Deciding(_) => self,
            Deletion::Opening(_) | Deletion::Over(_) => self,
        }
    }

    /// The listing is complete.
    pub fn on_listed(self, emptiness: Emptiness) -> Self {
        match (self, emptiness) {
            (Deletion::Listing(_), Emptiness::Empty) => Deletion::Deciding(Fate::Deleted),
            (Deletion::Listing(_), Emptiness::Live) => Deletion::Deciding(Fate::Active),
            (Deletion::Claiming | Deletion::Closing(_) | Deletion::Deciding(_) | Deletion::Opening(_), _) => self,
            (Deletion::Over(_), _) => self,
        }
    }
}

/// May the deletion `me` decide about a bucket that the deletion `owner` claimed last?
pub fn may_decide<R: Rules>(owner: OpId, me: OpId) -> bool {
    owner == me || R::lacks(Flaw::DeletionNotOwned)
}

/// What became of writing a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Held {
    /// A majority holds it.
    Set,
    /// Some replica holds a newer one.
    Newer,
}
