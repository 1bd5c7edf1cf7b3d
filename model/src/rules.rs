//! The rules in force in a world: sound ones, or sound but for one guard.
//!
//! Each flaw is a type of its own ([`Without`]), as the specification wants it; [`Protocol`] hides which one, so that
//! worlds, checkers and claims are compiled once.

use std::marker::PhantomData;

use trellis_spec::flaw::{Flaw, Rules, Sound};
use trellis_spec::layout::Admitted;
use trellis_spec::peer::{Stored, serve_row};
use trellis_spec::quorum::ReplicaSets;
use trellis_spec::register::{Request, Served};

use crate::coordinator::Coordinator;
use crate::operation::{self, Order};
use crate::value::Cargo;

/// The rules without one guard. The number is the flaw's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Without<const FLAW: u8>;

impl<const FLAW: u8> Rules for Without<FLAW> {
    fn lacks(flaw: Flaw) -> bool {
        flaw as u8 == FLAW
    }
}

/// A replica and its coordinators, under some rules.
pub trait Protocol: Sync {
    /// A replica answers a request about one row.
    fn serve(&self, admitted: &Admitted, stored: &Stored<Cargo>, request: &Request<Cargo>) -> Served<Cargo>;
    /// An operation, not yet started.
    fn coordinator(&self, order: &Order, sets: ReplicaSets) -> Box<dyn Coordinator>;
}

struct Run<R>(PhantomData<R>);

impl<R: Rules + Send + Sync + 'static> Protocol for Run<R> {
    fn serve(&self, admitted: &Admitted, stored: &Stored<Cargo>, request: &Request<Cargo>) -> Served<Cargo> {
        serve_row::<Cargo, R>(admitted, stored, u64::MAX, 0, request)
    }

    fn coordinator(&self, order: &Order, sets: ReplicaSets) -> Box<dyn Coordinator> {
        operation::coordinator::<R>(order, sets)
    }
}

/// The rules as they are meant.
pub fn sound() -> &'static dyn Protocol {
    &Run(PhantomData::<Sound>)
}

fn run<const FLAW: u8>() -> &'static dyn Protocol {
    &Run(PhantomData::<Without<FLAW>>)
}

/// Every flaw, in the order of the specification.
pub const FLAWS: [Flaw; 25] = [
    Flaw::WriteBelowQuorum,
    Flaw::ReadBelowQuorum,
    Flaw::NoWriteBack,
    Flaw::WriteBackBelowQuorum,
    Flaw::HeadTakenForWhole,
    Flaw::WriteIgnoresPromise,
    Flaw::WriteBackIgnoresPromise,
    Flaw::AcceptIgnoresPromise,
    Flaw::PrepareBelowQuorum,
    Flaw::RefusesUnsettled,
    Flaw::StrictWriteRetries,
    Flaw::EarlierMajorityCounts,
    Flaw::ForgetsOwnProposal,
    Flaw::RepeatsReplacedProposal,
    Flaw::SettleRenames,
    Flaw::GoesBack,
    Flaw::FilterBeforeMerge,
    Flaw::ListingWithoutRepair,
    Flaw::RepairLiveRowsOnly,
    Flaw::MergeBeyondBound,
    Flaw::ListingFromOne,
    Flaw::GateUnchecked,
    Flaw::ListBeforeGate,
    Flaw::DeletionSkipsSuspects,
    Flaw::DeletionNotOwned,
];

/// The rules without the guard that `flaw` names.
pub fn without(flaw: Flaw) -> &'static dyn Protocol {
    match flaw {
        Flaw::WriteBelowQuorum => run::<{ Flaw::WriteBelowQuorum as u8 }>(),
        Flaw::ReadBelowQuorum => run::<{ Flaw::ReadBelowQuorum as u8 }>(),
        Flaw::NoWriteBack => run::<{ Flaw::NoWriteBack as u8 }>(),
        Flaw::WriteBackBelowQuorum => run::<{ Flaw::WriteBackBelowQuorum as u8 }>(),
        Flaw::HeadTakenForWhole => run::<{ Flaw::HeadTakenForWhole as u8 }>(),
        Flaw::WriteIgnoresPromise => run::<{ Flaw::WriteIgnoresPromise as u8 }>(),
        Flaw::WriteBackIgnoresPromise => run::<{ Flaw::WriteBackIgnoresPromise as u8 }>(),
        Flaw::AcceptIgnoresPromise => run::<{ Flaw::AcceptIgnoresPromise as u8 }>(),
        Flaw::PrepareBelowQuorum => run::<{ Flaw::PrepareBelowQuorum as u8 }>(),
        Flaw::RefusesUnsettled => run::<{ Flaw::RefusesUnsettled as u8 }>(),
        Flaw::StrictWriteRetries => run::<{ Flaw::StrictWriteRetries as u8 }>(),
        Flaw::EarlierMajorityCounts => run::<{ Flaw::EarlierMajorityCounts as u8 }>(),
        Flaw::ForgetsOwnProposal => run::<{ Flaw::ForgetsOwnProposal as u8 }>(),
        Flaw::RepeatsReplacedProposal => run::<{ Flaw::RepeatsReplacedProposal as u8 }>(),
        Flaw::SettleRenames => run::<{ Flaw::SettleRenames as u8 }>(),
        Flaw::GoesBack => run::<{ Flaw::GoesBack as u8 }>(),
        Flaw::FilterBeforeMerge => run::<{ Flaw::FilterBeforeMerge as u8 }>(),
        Flaw::ListingWithoutRepair => run::<{ Flaw::ListingWithoutRepair as u8 }>(),
        Flaw::RepairLiveRowsOnly => run::<{ Flaw::RepairLiveRowsOnly as u8 }>(),
        Flaw::MergeBeyondBound => run::<{ Flaw::MergeBeyondBound as u8 }>(),
        Flaw::ListingFromOne => run::<{ Flaw::ListingFromOne as u8 }>(),
        Flaw::GateUnchecked => run::<{ Flaw::GateUnchecked as u8 }>(),
        Flaw::ListBeforeGate => run::<{ Flaw::ListBeforeGate as u8 }>(),
        Flaw::DeletionSkipsSuspects => run::<{ Flaw::DeletionSkipsSuspects as u8 }>(),
        Flaw::DeletionNotOwned => run::<{ Flaw::DeletionNotOwned as u8 }>(),
    }
}
