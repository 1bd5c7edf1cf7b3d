use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::flaw::Sound;
use crate::gate::Emptiness;
use crate::register::{Content, OpId};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Number(u8);

impl Value for Number {
    fn head(&self) -> Self {
        self.clone()
    }
    fn is_whole(&self) -> bool {
        true
    }
}

fn live(time: u64, value: u8) -> Accepted<Number> {
    Accepted {
        ballot: Stamp::new(time, 1),
        op: OpId([value; 16]),
        base: None,
        content: Content::Value(Number(value)),
    }
}

fn dead(time: u64) -> Accepted<Number> {
    Accepted {
        content: Content::Tombstone,
        ..live(time, 0)
    }
}

fn scanned(rows: Vec<(u8, Accepted<Number>)>, bound: Option<u8>) -> Scanned<u8, Number> {
    Scanned {
        rows,
        bound,
        gate: GateState::default(),
    }
}

fn page(first: Scanned<u8, Number>, second: Scanned<u8, Number>) -> Page<u8, Number> {
    let sets = ReplicaSets::new(vec![vec![NodeId(1), NodeId(2), NodeId(3)]]);
    let mut listing: Listing<u8, Number, Sound> = Listing::new(sets, Counted::All);
    assert_eq!(listing.on_scanned(NodeId(1), first), ListingStep::Wait);
    match listing.on_scanned(NodeId(3), second) {
        ListingStep::Done(page) => page,
        step @ (ListingStep::Wait | ListingStep::Overtaken) => panic!("{step:?}"),
    }
}

#[test]
fn what_a_majority_reports_alike_is_no_suspect() {
    let page = page(
        scanned(vec![(1, live(5, 1)), (2, dead(6))], None),
        scanned(vec![(1, live(5, 1)), (2, dead(6))], None),
    );
    assert!(page.suspects.is_empty() && page.bound.is_none());
    assert_eq!(page.live().collect::<Vec<_>>(), vec![(&1, &Number(1))]);
}

#[test]
fn the_newest_wins_and_is_repaired_tombstones_too() {
    let mut page = page(
        scanned(vec![(1, live(5, 1)), (2, dead(6))], None),
        scanned(vec![(1, live(7, 2)), (2, live(3, 9))], None),
    );
    assert_eq!(page.suspects, vec![1, 2]);
    page.repaired(&1, Some(live(7, 2)));
    page.repaired(&2, Some(dead(6)));
    assert_eq!(page.live().collect::<Vec<_>>(), vec![(&1, &Number(2))]);
}

#[test]
fn the_page_ends_where_the_shortest_answer_ends() {
    let page = page(
        scanned(vec![(1, live(5, 1))], Some(2)),
        scanned(vec![(1, live(5, 1)), (2, live(6, 2))], None),
    );
    assert_eq!((page.bound, page.rows.len()), (Some(2), 1));
}

#[test]
fn a_live_row_that_somebody_lacks_is_a_suspect() {
    // Whether its tombstone was forgotten there, or it was never there: reading the row finds out.
    let lacks = scanned(vec![], None);
    assert_eq!(page(scanned(vec![(1, live(5, 1))], None), lacks).suspects, vec![1]);
}

#[test]
fn a_deletion_counts_a_live_row_that_one_replica_shows() {
    let seen = page(scanned(vec![(1, live(5, 1))], None), scanned(vec![], None));
    assert_eq!(
        (seen.suspects.as_slice(), seen.emptiness::<Sound>()),
        (&[1][..], Emptiness::Live)
    );
    let deleted = page(scanned(vec![(1, live(5, 1))], None), scanned(vec![(1, dead(6))], None));
    assert_eq!(deleted.emptiness::<Sound>(), Emptiness::Empty);
}

#[test]
fn a_deletion_counts_only_gates_that_it_closed() {
    let sets = ReplicaSets::new(vec![vec![NodeId(1), NodeId(2), NodeId(3)]]);
    let closed = |time| Scanned {
        gate: GateState {
            gate: crate::gate::Gate::Closed,
            ballot: Stamp::new(time, 1),
        },
        ..scanned(vec![], None)
    };
    let mut listing: Listing<u8, Number, Sound> = Listing::new(sets, Counted::GateClosedUnder(Stamp::new(4, 1)));
    assert_eq!(listing.on_scanned(NodeId(1), closed(4)), ListingStep::Wait);
    assert_eq!(listing.on_scanned(NodeId(2), closed(8)), ListingStep::Wait);
    assert_eq!(
        listing.on_scanned(NodeId(3), scanned(vec![], None)),
        ListingStep::Overtaken
    );
}
