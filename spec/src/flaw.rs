//! Named ways in which the rules could be wrong.
//!
//! Every guard of a protocol that a claim depends on can be switched off by name, so that the model can show that the
//! claim notices. The rules take the choice as a type parameter; the node fixes it to [`Sound`], for which every
//! question below is the constant `false` and no trace of a flaw reaches the binary.

/// One guard left out. The comment of each names the guard.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// A write is acknowledged by a majority of replicas, not by one less.
    WriteBelowQuorum,
    /// A read asks a majority of replicas, not one less.
    ReadBelowQuorum,
    /// A read whose newest value is not on a majority writes it back first.
    NoWriteBack,
    /// A write-back needs a majority, not one less.
    WriteBackBelowQuorum,
    /// A value is written back or returned only with its inline body.
    HeadTakenForWhole,
    /// A blind write with a stamp below a promise is refused.
    WriteIgnoresPromise,
    /// A write-back with a stamp below a promise is refused.
    WriteBackIgnoresPromise,
    /// A proposal below a promise is refused.
    AcceptIgnoresPromise,
    /// A proposal follows promises of a majority, not of one less.
    PrepareBelowQuorum,
    /// A failed condition is answered only when the value it failed on is on a majority.
    RefusesUnsettled,
    /// In strict mode a blind write never gets a second stamp.
    StrictWriteRetries,
    /// In available mode accepts of an earlier attempt do not count for a later one.
    EarlierMajorityCounts,
    /// A conditional write that proposed once looks for its own value before it judges again.
    ForgetsOwnProposal,
    /// Proposing an operation's value again after somebody may have read and replaced it.
    RepeatsReplacedProposal,
    /// A settled value keeps the identity of the operation that made it.
    SettleRenames,
    /// A replica never goes back to an older value. Two guards, each enough by itself: what is accepted raises the
    /// promise too, and every stamp is compared with what is held.
    GoesBack,
    /// Pages of a listing are merged before tombstones are left out.
    FilterBeforeMerge,
    /// Rows that differ are repaired before a page is returned.
    ListingWithoutRepair,
    /// Tombstones that differ are repaired too.
    RepairLiveRowsOnly,
    /// The merge ends at the smallest bound that an answer was scanned to.
    MergeBeyondBound,
    /// A page comes from a majority of replicas.
    ListingFromOne,
    /// A replica with a closed gate refuses object writes.
    GateUnchecked,
    /// The listing before a bucket is deleted counts only answers of replicas whose gate is closed.
    ListBeforeGate,
    /// A live row that some counted replica shows keeps a bucket from being deleted, on a majority or not.
    DeletionSkipsSuspects,
    /// Two deletions of one bucket do not both decide.
    DeletionNotOwned,
}

/// Which guards are left out.
pub trait Rules:
    Clone + Copy + core::fmt::Debug + Default + PartialEq + Eq + PartialOrd + Ord + core::hash::Hash
{
    /// Is the guard that `flaw` names left out?
    fn lacks(flaw: Flaw) -> bool;
}

/// The rules as they are meant, and as the node runs them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sound;

impl Rules for Sound {
    #[inline(always)]
    fn lacks(_: Flaw) -> bool {
        false
    }
}
