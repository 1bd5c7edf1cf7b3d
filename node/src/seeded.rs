//! Which guards this node leaves out: none.
//!
//! A build with the feature `seeded-bugs`, which is for tests alone, runs with the one bug that the environment variable
//! `TRELLIS_SEEDED_BUG` names, so that `trellis-nemesis seeded` can show which bugs its checkers notice. In every other
//! build the rules are [`Sound`](trellis_spec::flaw::Sound), every question below is the constant `false`, and no bug's
//! name is in the program (`node/tests/sound_rules.rs`).

pub(crate) use chosen::{NodeRules, announce, slips};

/// A guard of the driver. Those of the protocols are [`trellis_spec::flaw::Flaw`]s.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slip {
    /// What an answer tells of is on disk before it leaves.
    AnswersBeforeDurable,
    /// A promise is stored.
    PromisesForgotten,
    /// What a rule changes is stored, every time.
    ChangesLost,
    /// Every process issues its own stamps.
    StampsShared,
    /// Whoever pulls rows is told all of them.
    EmptyPulls,
    /// A block is at a majority before it counts as stored.
    BlocksAtOneNode,
    /// A row of which too little was heard is not called absent.
    UnreachedIsAbsent,
    /// A write of unknown outcome is not acknowledged.
    UnknownIsDone,
    /// Who comes back with less than it had is told so.
    OldCopyUnnoticed,
    /// What nobody has seen to be whole is not called full.
    FullUnseen,
}

#[cfg(not(feature = "seeded-bugs"))]
mod chosen {
    use super::Slip;

    /// The rules of the protocols, as this node runs them.
    pub(crate) type NodeRules = trellis_spec::flaw::Sound;

    /// Is this guard left out?
    #[inline(always)]
    pub(crate) const fn slips(_: Slip) -> bool {
        false
    }

    /// Says which bug there is.
    pub(crate) const fn announce() {}
}

#[cfg(feature = "seeded-bugs")]
mod chosen {
    use std::sync::OnceLock;

    use trellis_spec::flaw::{Flaw, Rules};

    use super::Slip;

    const VARIABLE: &str = "TRELLIS_SEEDED_BUG";

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Bug {
        Flaw(Flaw),
        Slip(Slip),
    }

    const BUGS: [(&str, Bug); 33] = [
        ("write-below-quorum", Bug::Flaw(Flaw::WriteBelowQuorum)),
        ("read-below-quorum", Bug::Flaw(Flaw::ReadBelowQuorum)),
        ("no-write-back", Bug::Flaw(Flaw::NoWriteBack)),
        ("write-back-below-quorum", Bug::Flaw(Flaw::WriteBackBelowQuorum)),
        ("write-ignores-promise", Bug::Flaw(Flaw::WriteIgnoresPromise)),
        ("accept-ignores-promise", Bug::Flaw(Flaw::AcceptIgnoresPromise)),
        ("prepare-below-quorum", Bug::Flaw(Flaw::PrepareBelowQuorum)),
        ("refuses-unsettled", Bug::Flaw(Flaw::RefusesUnsettled)),
        ("forgets-own-proposal", Bug::Flaw(Flaw::ForgetsOwnProposal)),
        ("repeats-replaced-proposal", Bug::Flaw(Flaw::RepeatsReplacedProposal)),
        ("goes-back", Bug::Flaw(Flaw::GoesBack)),
        ("filter-before-merge", Bug::Flaw(Flaw::FilterBeforeMerge)),
        ("listing-from-one", Bug::Flaw(Flaw::ListingFromOne)),
        ("gate-unchecked", Bug::Flaw(Flaw::GateUnchecked)),
        ("no-view-on-requests", Bug::Flaw(Flaw::NoViewOnRequests)),
        ("serves-older-hi", Bug::Flaw(Flaw::ServesOlderHi)),
        ("quorum-of-newest", Bug::Flaw(Flaw::QuorumOfNewest)),
        ("answers-kept-across-views", Bug::Flaw(Flaw::AnswersKeptAcrossViews)),
        ("sync-from-one", Bug::Flaw(Flaw::SyncFromOne)),
        ("retires-early", Bug::Flaw(Flaw::RetiresEarly)),
        ("drops-early", Bug::Flaw(Flaw::DropsEarly)),
        ("reference-without-data", Bug::Flaw(Flaw::ReferenceWithoutData)),
        ("block-synced-without-data", Bug::Flaw(Flaw::BlockSyncedWithoutData)),
        ("answers-before-durable", Bug::Slip(Slip::AnswersBeforeDurable)),
        ("promises-forgotten", Bug::Slip(Slip::PromisesForgotten)),
        ("changes-lost", Bug::Slip(Slip::ChangesLost)),
        ("stamps-shared", Bug::Slip(Slip::StampsShared)),
        ("empty-pulls", Bug::Slip(Slip::EmptyPulls)),
        ("blocks-at-one-node", Bug::Slip(Slip::BlocksAtOneNode)),
        ("unreached-is-absent", Bug::Slip(Slip::UnreachedIsAbsent)),
        ("unknown-is-done", Bug::Slip(Slip::UnknownIsDone)),
        ("old-copy-unnoticed", Bug::Slip(Slip::OldCopyUnnoticed)),
        ("full-unseen", Bug::Slip(Slip::FullUnseen)),
    ];

    static CHOSEN: OnceLock<Option<Bug>> = OnceLock::new();

    /// The rules of the protocols with the chosen bug.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub(crate) struct NodeRules;

    impl Rules for NodeRules {
        fn lacks(flaw: Flaw) -> bool {
            chosen() == Some(Bug::Flaw(flaw))
        }
    }

    /// Is this guard left out?
    pub(crate) fn slips(slip: Slip) -> bool {
        chosen() == Some(Bug::Slip(slip))
    }

    /// Says which bug there is.
    pub(crate) fn announce() {
        if chosen().is_some() {
            tracing::error!(
                bug = std::env::var(VARIABLE).ok(),
                "this node has a bug, and is for tests alone"
            );
        }
    }

    fn chosen() -> Option<Bug> {
        *CHOSEN.get_or_init(|| {
            let name = std::env::var(VARIABLE).ok()?;
            let found = BUGS.iter().find(|(known, _)| *known == name);
            Some(found.expect("TRELLIS_SEEDED_BUG names a bug that there is").1)
        })
    }
}
