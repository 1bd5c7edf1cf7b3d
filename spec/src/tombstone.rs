//! Forgetting what was deleted (claim C9).
//!
//! A deletion leaves a tombstone, for a late message may carry what was deleted, and must lose against something. Once
//! every replica holds the tombstone or something newer, they may forget the row if they keep one stamp for all that
//! they forgot in a partition, the *floor*: where there is no row, whatever is not above the floor is refused. The floor
//! takes over the tombstone's part, and one stamp does for any number of rows.
//!
//! What has to be true at the moment of forgetting, all of it found by checking that less will not do:
//!
//! - Every member of *every* active layout reported under the forgetter's very view that it holds the tombstone or
//!   something newer ([`report`], [`Reports`]). A majority is not enough: what is not there
//!   can be filled by what was deleted. When the view changes reports are void, for a node that left and came back has
//!   lost what it reported.
//! - The forgetter is a replica of the newest layout, and has promised nothing above the tombstone: the promise would be
//!   forgotten with the row. A row with such a promise, or with a promise alone, is settled first ([`is_unsettled`]).
//! - No sync is under way at the forgetter ([`Inward`]). What a majority agreed on when it was pulled may have been deleted
//!   and forgotten since, and a copy asks no floor: a new owner's rows are older than the floors that it was told.
//!
//! Reports that are true of one view stay true while that view is anybody's, so it does not matter who gathered them: a
//! message that says what may go passes the same door as any other, under the view of the reports.
//!
//! The price is paid by old rows that are live and missing at a replica whose floor was raised by others: they cannot be
//! written back there. Reads see the floor and settle such a row.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::flaw::{Flaw, Rules};
use crate::layout::{Knowledge, Partition, View};
use crate::quorum::{NodeId, ReplicaSets, Verdict, Vote};
use crate::register::{Cell, Content, Value};
use crate::stamp::Stamp;

/// What a replica reports of a row: the ballot of what it holds, zero for nothing.
///
/// Where it holds nothing its floor may be as high as the tombstone, and that is no report. With one row in a partition such a
/// replica would have forgotten the tombstone itself; with several, others of its rows may have raised the floor, and a copy
/// of what was deleted may be on its way into it, for a copy asks no floor (found by review; mutant `floor-is-a-report`).
pub fn report<V: Value>(cell: &Cell<V>) -> Stamp {
    cell.ballot()
}

/// What the replicas of a partition reported about one row, all under one view.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reports {
    sets: ReplicaSets,
    reported: BTreeMap<NodeId, Stamp>,
}

/// Are pulled rows of the partition on their way into a node?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inward {
    /// No.
    Quiet,
    /// A sync has begun to pull, and has not copied everything.
    Pulling,
}

impl Reports {
    /// None yet, of the replicas of every layout of a view.
    pub fn new(sets: ReplicaSets) -> Self {
        Reports {
            sets,
            reported: BTreeMap::new(),
        }
    }

    /// Who has to report.
    pub fn wanted(&self) -> Vec<NodeId> {
        self.sets.members()
    }

    /// What `from` holds, by [`report`].
    pub fn insert(&mut self, from: NodeId, held: Stamp) {
        let known = self.reported.entry(from).or_default();
        *known = held.max(*known);
    }

    /// Does every replica hold the tombstone of this ballot, or something newer?
    pub fn allow<R: Rules>(&self, tombstone: Stamp) -> bool {
        let holds = |node: &NodeId| self.reported.get(node).is_some_and(|held| *held >= tombstone);
        if R::lacks(Flaw::ForgetsAfterMajority) {
            let vote = |node| if holds(&node) { Vote::Yes } else { Vote::No };
            return self.sets.verdict(vote) == Verdict::Reached;
        }
        let sets = self.sets.clone();
        let asked = if R::lacks(Flaw::ForgetsAskingNewest) {
            sets.newest_only()
        } else {
            sets
        };
        let members = asked.members();
        !members.is_empty() && members.iter().all(holds)
    }
}

/// May `me` forget rows on reports that were made under `view`?
pub fn may_forget<R: Rules>(
    knowledge: &Knowledge,
    me: NodeId,
    partition: Partition,
    view: View,
    inward: Inward,
) -> bool {
    let is_replica = knowledge.newest().is_some_and(|newest| newest.holds(me, partition));
    let is_quiet = inward == Inward::Quiet || R::lacks(Flaw::ForgetsWhilePulling);
    is_replica && is_quiet && (knowledge.view(partition) == view || R::lacks(Flaw::ReportsKeptAcrossViews))
}

/// The floor of a partition after the tombstone of this ballot was forgotten, on [`Reports`] that allow it. The row goes
/// in the same durable change. Nothing: the row is something else by now, or has promised more, and stays.
pub fn forgotten<V: Value, R: Rules>(cell: &Cell<V>, floor: Stamp, tombstone: Stamp) -> Option<Stamp> {
    let is_there = deleted(cell) == Some(tombstone);
    let is_quiet = cell.promised <= tombstone || R::lacks(Flaw::PromiseForgotten);
    (is_there && is_quiet).then(|| floor.max(tombstone))
}

/// The ballot of the tombstone that the row is.
pub fn deleted<V: Value>(cell: &Cell<V>) -> Option<Stamp> {
    let held = cell.accepted.as_ref()?;
    match held.content {
        Content::Value(_) => None,
        Content::Tombstone => Some(held.ballot),
    }
}

/// Has the row to be settled before it may be forgotten? It is nothing but a promise, or a tombstone with a promise above
/// it: whoever promised is dead or slow, and settling overtakes it.
pub fn is_unsettled<V: Value>(cell: &Cell<V>) -> bool {
    let gone = cell
        .accepted
        .as_ref()
        .is_none_or(|held| held.content == Content::Tombstone);
    gone && cell.promised > cell.ballot()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flaw::Sound;
    use crate::register::tests::Text;
    use crate::register::{Accepted, Fetch, OpId, Reply, Request};
    use alloc::vec;

    fn stamp(time: u64) -> Stamp {
        Stamp::new(time, 1)
    }

    fn cell(promised: u64, ballot: u64, content: Content<Text>) -> Cell<Text> {
        let accepted = Accepted {
            ballot: stamp(ballot),
            op: OpId::default(),
            base: None,
            content,
        };
        Cell {
            promised: stamp(promised),
            accepted: Some(accepted),
        }
    }

    #[test]
    fn every_replica_of_every_active_layout_has_to_report() {
        let sets = ReplicaSets::new(vec![[1, 2].map(NodeId).to_vec(), [2, 3].map(NodeId).to_vec()]);
        let mut reports = Reports::new(sets);
        for node in reports.wanted() {
            assert!(!reports.allow::<Sound>(stamp(5)), "{node:?} did not report");
            reports.insert(node, stamp(5));
        }
        assert!(reports.allow::<Sound>(stamp(5)) && !reports.allow::<Sound>(stamp(6)));
        assert!(!Reports::new(ReplicaSets::new(Vec::new())).allow::<Sound>(stamp(5)));
    }

    #[test]
    fn only_the_very_tombstone_goes_and_no_promise_with_it() {
        let tombstone = |promised| cell(promised, 5, Content::Tombstone);
        let floor = |cell: &Cell<Text>, ballot| forgotten::<Text, Sound>(cell, stamp(3), stamp(ballot));
        assert_eq!(floor(&tombstone(5), 5), Some(stamp(5)));
        assert_eq!(floor(&tombstone(5), 4), None, "another one");
        assert_eq!(floor(&tombstone(6), 5), None, "a promise");
        assert_eq!(floor(&cell(5, 5, Content::Value(Text("a"))), 5), None, "live");
        assert_eq!(
            forgotten::<Text, Sound>(&tombstone(5), stamp(9), stamp(5)),
            Some(stamp(9))
        );
        assert!(is_unsettled(&tombstone(6)) && !is_unsettled(&tombstone(5)));
        let promise = Cell::<Text> {
            promised: stamp(1),
            accepted: None,
        };
        assert!(is_unsettled(&promise) && !is_unsettled(&Cell::<Text>::default()));
    }

    #[test]
    fn what_is_not_above_the_floor_is_refused_where_there_is_no_row() {
        let gone = Cell::<Text>::default();
        let late = cell(0, 5, Content::Value(Text("a"))).accepted.unwrap();
        let refused = Reply::Nack { seen: stamp(5) };
        for request in [
            Request::Write(late.clone()),
            Request::WriteBack(late.clone()),
            Request::Accept(late.clone()),
        ] {
            assert_eq!(gone.serve::<Sound>(stamp(5), &request).reply, refused);
            assert_eq!(gone.serve::<Sound>(stamp(4), &request).reply, Reply::Accept);
        }
        let read = gone.serve::<Sound>(stamp(5), &Request::Read(Fetch::Full)).reply;
        assert_eq!(read, Reply::Row { accepted: None });
    }
}
