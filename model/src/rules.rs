//! The rules in force in a world: sound ones, or sound but for one guard.
//!
//! The specification takes the choice as a type. [`Protocol`] hides it, so that worlds, checkers and claims are compiled
//! once.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;

use trellis_spec::flaw::{Flaw, Rules, Sound};
use trellis_spec::layout::{
    self, Admitted, Certificate, Droppable, Knowledge, LayoutVersion, Partition, Refusal, Sources, Standing, View,
};
use trellis_spec::peer::{Stored, serve_row};
use trellis_spec::quorum::{NodeId, ReplicaSets};
use trellis_spec::register::{self, Accepted, Copied, Request, Served};
use trellis_spec::stamp::Stamp;
use trellis_spec::tombstone::{self, Inward, Reports};

use crate::coordinator::Coordinator;
use crate::operation::{self, Order};
use crate::sync::Syncer;
use crate::value::Cargo;

/// The rules without the one guard that this thread is told to leave out. One type for all flaws, or the specification
/// would be compiled once for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LessOne;

thread_local! {
    static LEFT_OUT: Cell<Option<Flaw>> = const { Cell::new(None) };
}

impl Rules for LessOne {
    fn lacks(flaw: Flaw) -> bool {
        LEFT_OUT.get() == Some(flaw)
    }
}

/// A replica and its coordinators, under some rules.
pub trait Protocol: Send + Sync {
    /// Makes this thread follow these rules from now on. Worlds call it before anything else.
    fn take_effect(&self);
    /// A replica answers a request about one row.
    fn serve(&self, admitted: &Admitted, stored: &Stored<Cargo>, request: &Request<Cargo>) -> Served<Cargo>;
    /// An elector of the next layout answers.
    fn serve_elector(&self, cell: &register::Cell<Cargo>, request: &Request<Cargo>) -> Served<Cargo>;
    /// An operation, not yet started.
    fn coordinator(&self, order: &Order, sets: ReplicaSets) -> Box<dyn Coordinator>;
    /// A new owner's sync, not yet started.
    fn syncer(&self, sources: Sources) -> Box<dyn Coordinator>;
    /// The door of a replica.
    fn admit(&self, knowledge: &Knowledge, me: NodeId, asked: View) -> Result<Admitted, Refusal>;
    /// What a phase needs majorities of under the view of this knowledge.
    fn sets(&self, knowledge: &Knowledge) -> ReplicaSets;
    /// Where a new owner pulls from.
    fn sources(&self, knowledge: &Knowledge, me: NodeId, standing: Standing) -> Sources;
    /// A settled value is copied into a row.
    fn copy(&self, cell: &register::Cell<Cargo>, held: &Accepted<Cargo>) -> Copied<Cargo>;
    /// May a node take this layout for the oldest active one?
    fn certificate(
        &self,
        knowledge: &Knowledge,
        me: NodeId,
        lo: LayoutVersion,
        synced: &dyn Fn(NodeId) -> LayoutVersion,
    ) -> Option<Certificate>;
    /// May a node drop its rows?
    fn droppable(
        &self,
        knowledge: &Knowledge,
        me: NodeId,
        synced: &dyn Fn(NodeId) -> LayoutVersion,
    ) -> Option<Droppable>;
    /// May a node be in the next layout?
    fn may_enter(&self, knowledge: &Knowledge, me: NodeId, lo: LayoutVersion) -> bool;
    /// Does a node serve the partition that it entered?
    fn is_open(&self, entered: LayoutVersion, synced: LayoutVersion, raised: LayoutVersion) -> bool;
    /// May a node forget rows on reports under a view?
    fn may_forget(&self, knowledge: &Knowledge, me: NodeId, view: View, inward: Inward) -> bool;
    /// Do reports allow to forget a tombstone?
    fn allow(&self, reports: &Reports, tombstone: Stamp) -> bool;
    /// The floor after a tombstone was forgotten.
    fn forgotten(&self, cell: &register::Cell<Cargo>, floor: Stamp, tombstone: Stamp) -> Option<Stamp>;
    /// Is this guard of the driver's left out?
    fn lacks(&self, flaw: Flaw) -> bool;
}

/// The one partition of every world.
pub const PARTITION: Partition = Partition(0);

struct Run<R> {
    left_out: Option<Flaw>,
    rules: PhantomData<R>,
}

impl<R: Rules + Send + Sync + 'static> Protocol for Run<R> {
    fn take_effect(&self) {
        LEFT_OUT.set(self.left_out);
    }

    fn serve(&self, admitted: &Admitted, stored: &Stored<Cargo>, request: &Request<Cargo>) -> Served<Cargo> {
        serve_row::<Cargo, R>(admitted, stored, u64::MAX, 0, request)
    }

    fn serve_elector(&self, cell: &register::Cell<Cargo>, request: &Request<Cargo>) -> Served<Cargo> {
        layout::serve_elector::<Cargo, R>(cell, request)
    }

    fn coordinator(&self, order: &Order, sets: ReplicaSets) -> Box<dyn Coordinator> {
        operation::coordinator::<R>(order, sets)
    }

    fn syncer(&self, sources: Sources) -> Box<dyn Coordinator> {
        Box::new(Syncer::<R>::new(sources))
    }

    fn admit(&self, knowledge: &Knowledge, me: NodeId, asked: View) -> Result<Admitted, Refusal> {
        knowledge.admit::<R>(me, PARTITION, asked)
    }

    fn sets(&self, knowledge: &Knowledge) -> ReplicaSets {
        knowledge.replica_sets::<R>(PARTITION, knowledge.view(PARTITION))
    }

    fn sources(&self, knowledge: &Knowledge, me: NodeId, standing: Standing) -> Sources {
        Sources::of::<R>(knowledge, me, PARTITION, standing)
    }

    fn copy(&self, cell: &register::Cell<Cargo>, held: &Accepted<Cargo>) -> Copied<Cargo> {
        cell.copy::<R>(held)
    }

    fn certificate(
        &self,
        knowledge: &Knowledge,
        me: NodeId,
        lo: LayoutVersion,
        synced: &dyn Fn(NodeId) -> LayoutVersion,
    ) -> Option<Certificate> {
        Certificate::of::<R>(knowledge, me, PARTITION, lo, synced)
    }

    fn droppable(
        &self,
        knowledge: &Knowledge,
        me: NodeId,
        synced: &dyn Fn(NodeId) -> LayoutVersion,
    ) -> Option<Droppable> {
        Droppable::of::<R>(knowledge, me, PARTITION, synced)
    }

    fn may_enter(&self, knowledge: &Knowledge, me: NodeId, lo: LayoutVersion) -> bool {
        layout::may_enter::<R>(knowledge, me, PARTITION, lo)
    }

    fn is_open(&self, entered: LayoutVersion, synced: LayoutVersion, raised: LayoutVersion) -> bool {
        layout::is_open::<R>(entered, synced, raised)
    }

    fn may_forget(&self, knowledge: &Knowledge, me: NodeId, view: View, inward: Inward) -> bool {
        tombstone::may_forget::<R>(knowledge, me, PARTITION, view, inward)
    }

    fn allow(&self, reports: &Reports, ballot: Stamp) -> bool {
        reports.allow::<R>(ballot)
    }

    fn forgotten(&self, cell: &register::Cell<Cargo>, floor: Stamp, ballot: Stamp) -> Option<Stamp> {
        tombstone::forgotten::<Cargo, R>(cell, floor, ballot)
    }

    fn lacks(&self, flaw: Flaw) -> bool {
        R::lacks(flaw)
    }
}

/// The rules as they are meant.
pub fn sound() -> Arc<dyn Protocol> {
    Arc::new(Run {
        left_out: None,
        rules: PhantomData::<Sound>,
    })
}

/// The rules without the guard that `flaw` names.
pub fn without(flaw: Flaw) -> Arc<dyn Protocol> {
    Arc::new(Run {
        left_out: Some(flaw),
        rules: PhantomData::<LessOne>,
    })
}

/// Every flaw, in the order of the specification.
pub const FLAWS: &[Flaw] = &[
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
    Flaw::NoViewOnRequests,
    Flaw::ServesOlderHi,
    Flaw::ServesOlderLo,
    Flaw::ViewNotAdopted,
    Flaw::PullDoesNotWedge,
    Flaw::QuorumOfNewest,
    Flaw::QuorumOfUnion,
    Flaw::AnswersKeptAcrossViews,
    Flaw::SyncFromOne,
    Flaw::SyncSkipsOlder,
    Flaw::SyncOfNothing,
    Flaw::PullsKeptAcrossViews,
    Flaw::SyncJoins,
    Flaw::SyncIgnoresPromises,
    Flaw::GateSettled,
    Flaw::GatedRowNotPulledAgain,
    Flaw::SyncNeverSettles,
    Flaw::SyncCutShort,
    Flaw::RetiresEarly,
    Flaw::RetiresAlone,
    Flaw::RetiresWithAll,
    Flaw::DropsEarly,
    Flaw::DropsUnretired,
    Flaw::ReadmitsAfterGap,
    Flaw::ElectionOverwrites,
    Flaw::ForcedMajorityOfLeft,
    Flaw::ForcedAsksOne,
    Flaw::ForcedSkipsLeft,
    Flaw::ForcedWaitsForLost,
    Flaw::ForcedRetiresOnFew,
    Flaw::FloorUnchecked,
    Flaw::ForgetsAfterMajority,
    Flaw::ForgetsAskingNewest,
    Flaw::FloorTakenForReport,
    Flaw::ReportsKeptAcrossViews,
    Flaw::ForgetsWhilePulling,
    Flaw::PromiseForgotten,
    Flaw::FloorNotSynced,
    Flaw::ServesBeforeFloor,
    Flaw::ForgottenTakenForNever,
    Flaw::BaseIgnoresFloor,
    Flaw::DataBeforeReference,
    Flaw::ReferenceWithoutData,
    Flaw::BlockNewestSetOnly,
    Flaw::ProposedBeyondUntil,
    Flaw::DroppedWithoutFence,
    Flaw::UploadDecidesAlone,
    Flaw::BlockSyncFromOne,
    Flaw::BlockSyncedWithoutData,
];
