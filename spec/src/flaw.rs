//! Named ways in which the rules could be wrong.
//!
//! Every guard of a protocol that a claim depends on can be switched off by name, so that the model can show that the
//! claim notices. The rules take the choice as a type parameter; the node fixes it to [`Sound`], for which every
//! question below is the constant `false` and no trace of a flaw reaches the binary.

/// One guard left out. The comment of each names the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// A request says under which layouts it was sent.
    NoViewOnRequests,
    /// A replica refuses requests under an older newest layout than its own.
    ServesOlderHi,
    /// A replica looks at its own oldest layout, not at the sender's alone: it refuses requests under an older one.
    ServesOlderLo,
    /// A replica adopts a request's view before it serves it.
    ViewNotAdopted,
    /// A pull makes its source adopt the puller's view.
    PullDoesNotWedge,
    /// A phase needs a majority of every active layout, not of the newest alone.
    QuorumOfNewest,
    /// A phase needs a majority of each active layout, not one of all their nodes.
    QuorumOfUnion,
    /// Answers given under an older view are dropped when a coordinator's view rises.
    AnswersKeptAcrossViews,
    /// A new owner pulls from a majority of each older active layout, not from one node.
    SyncFromOne,
    /// A new owner pulls from every older active layout, not from the one before alone.
    SyncSkipsOlder,
    /// A new owner pulls from a majority of its own layout where no older one is active.
    SyncOfNothing,
    /// A new owner pulls again when its view rises.
    PullsKeptAcrossViews,
    /// A new owner copies only rows that a majority of each older layout agrees on.
    SyncJoins,
    /// A new owner does not copy a row with a promise above its value.
    SyncIgnoresPromises,
    /// A new owner copies gates with their stamps, and settles none.
    GateSettled,
    /// A new owner that a closed gate keeps from settling a row pulls again, for its own gate may be an old one.
    GatedRowNotPulledAgain,
    /// A new owner settles the rows that it may not copy.
    SyncNeverSettles,
    /// A new owner is synced when the whole range was pulled, not the first page of it.
    SyncCutShort,
    /// A layout becomes the oldest active one when a majority of its nodes is synced, not one less.
    RetiresEarly,
    /// A node that is synced itself is no certificate that a majority is.
    RetiresAlone,
    /// A layout becomes the oldest active one without waiting for all of its nodes.
    RetiresWithAll,
    /// A node drops its rows only when every node of the newest layout is synced.
    DropsEarly,
    /// A node drops its rows only when every older layout is retired.
    DropsUnretired,
    /// No node comes back to a partition while a layout from before it left is active.
    ReadmitsAfterGap,
    /// A candidate for a layout gives way to one that somebody may have elected.
    ElectionOverwrites,
    /// A set with lost replicas of which a majority is left needs as many as before, not a majority of those left.
    ForcedMajorityOfLeft,
    /// Where most replicas are lost, every one that is left is asked, not one of them.
    ForcedAsksOne,
    /// Where most replicas are lost, those that are left are asked.
    ForcedSkipsLeft,
    /// Replicas that were declared lost are not waited for.
    ForcedWaitsForLost,
    /// A layout of which most replicas are lost never becomes the oldest active one.
    ForcedRetiresOnFew,
    /// A replica without a row refuses what is not above the floor.
    FloorUnchecked,
    /// A tombstone is forgotten when every replica holds it, not a majority.
    ForgetsAfterMajority,
    /// A tombstone is forgotten when every replica of every active layout holds it, not of the newest alone.
    ForgetsAskingNewest,
    /// A replica reports the rows that it holds, and nothing where it holds none, however high its floor.
    FloorTakenForReport,
    /// What replicas reported under an older view counts for nothing.
    ReportsKeptAcrossViews,
    /// A node forgets nothing while rows that it pulled are on their way into it.
    ForgetsWhilePulling,
    /// A row with a promise above its tombstone is not forgotten.
    PromiseForgotten,
    /// A new owner takes the floors of those it pulls from.
    FloorNotSynced,
    /// A node that enters a partition serves nobody before it has the floors.
    ServesBeforeFloor,
    /// A conditional write takes nothing for "never was" only above the floor.
    ForgottenTakenForNever,
    /// A value that was judged on nothing may have been judged on what was forgotten.
    BaseIgnoresFloor,
    /// A reference to a block is durable before the data are.
    DataBeforeReference,
    /// A replica that was sent no data counts only if verified data are there.
    ReferenceWithoutData,
    /// A row that names a block follows a majority of every active set of the block.
    BlockNewestSetOnly,
    /// No stamp later than a version's `until` carries it.
    ProposedBeyondUntil,
    /// A version is dead only when something else is chosen under a ballot after its `until`.
    DroppedWithoutFence,
    /// Parts of an upload that was given up are dead only when the object's row is settled above every stamp that was
    /// recorded.
    UploadDecidesAlone,
    /// A new owner of blocks pulls references from a majority.
    BlockSyncFromOne,
    /// A new owner of blocks is synced only with the data of the references that it pulled.
    BlockSyncedWithoutData,
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
