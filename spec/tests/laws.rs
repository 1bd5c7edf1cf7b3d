//! What joins, merges and rows owe to those who use them in any order: laws that no transcript shows.

use proptest::collection::{btree_map, vec as vectors};
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, proptest};
use trellis_spec::flaw::Sound;
use trellis_spec::gate::GateState;
use trellis_spec::layout::{Knowledge, LayoutVersion, Member, Partition, View, initial, successor};
use trellis_spec::listing::{Counted, Listing, ListingStep, Page, Scanned};
use trellis_spec::quorum::{NodeId, ReplicaSets};
use trellis_spec::register::{Accepted, Cell, Content, Copied, OpId, Purpose, Request};
use trellis_spec::row::{BucketId, BucketName, Row};
use trellis_spec::stamp::{Incarnation, Issuer, Stamp};

fn views() -> impl Strategy<Value = View> {
    (0..5_u64, 0..5_u64).prop_map(|(lo, hi)| View {
        lo: LayoutVersion(lo),
        hi: LayoutVersion(hi),
    })
}

/// A value is told by its ballot: nobody uses one twice.
fn held(time: u64) -> Accepted<Row> {
    let bucket = BucketId([time as u8; 16]);
    let content = if time.is_multiple_of(4) {
        Content::Tombstone
    } else {
        Content::Value(Row::Name(BucketName { bucket }))
    };
    Accepted {
        ballot: Stamp::new(time, 1),
        op: OpId([time as u8; 16]),
        base: None,
        content,
    }
}

fn requests() -> impl Strategy<Value = Request<Row>> {
    (0..4_u8, 1..20_u64).prop_map(|(kind, time)| match kind {
        0 => Request::Write(held(time)),
        1 => Request::WriteBack(held(time)),
        2 => Request::Accept(held(time)),
        _ => Request::Prepare {
            ballot: Stamp::new(time, 1),
            purpose: Purpose::Propose,
        },
    })
}

/// A node that knows four layouts.
fn knowledge() -> Knowledge {
    let members = |nodes: std::ops::Range<u8>| {
        let member = |node: u8| Member::storage([node; 32], [node; 16], format!("zone {node}"), 1 << 40);
        nodes.map(member).collect::<Vec<_>>()
    };
    let mut newest = initial(members(0..3), 3, 2).expect("three nodes hold three replicas");
    let mut knowledge = Knowledge::of(newest.clone());
    for first in 1..4 {
        let wanted = trellis_spec::layout::Wanted {
            members: members(first..first + 3),
            ..newest.wanted()
        };
        newest = successor(&newest, wanted, Default::default()).expect("three nodes hold three replicas");
        knowledge.learn(newest.clone()).expect("it follows");
    }
    knowledge
}

fn scanned() -> impl Strategy<Value = Scanned<u8, Row>> {
    let bounds = proptest::option::of(0..8_u8);
    (btree_map(0..8_u8, 1..9_u64, 0..8), bounds).prop_map(|(rows, bound)| {
        let shown = rows
            .into_iter()
            .filter(|(key, _)| bound.is_none_or(|bound| *key < bound));
        Scanned {
            rows: shown.map(|(key, time)| (key, held(time))).collect(),
            bound,
            gate: GateState::default(),
        }
    })
}

fn page(answers: &[(u64, &Scanned<u8, Row>)]) -> Page<u8, Row> {
    let sets = ReplicaSets::new(vec![vec![NodeId(1), NodeId(2), NodeId(3)]]);
    let mut listing: Listing<u8, Row, Sound> = Listing::new(sets, Counted::All);
    let mut last = ListingStep::Wait;
    for (node, answer) in answers {
        last = listing.on_scanned(NodeId(*node), (*answer).clone());
    }
    match last {
        ListingStep::Done(page) => page,
        ListingStep::Wait | ListingStep::Overtaken => panic!("a majority has answered"),
    }
}

proptest! {
    #[test]
    fn views_are_joined_in_any_order(a in views(), b in views(), c in views()) {
        prop_assert_eq!(a.join(b), b.join(a));
        prop_assert_eq!(a.join(b).join(c), a.join(b.join(c)));
        prop_assert_eq!(a.join(a), a);
        prop_assert_eq!(a.is_behind(b), a.join(b) != a);
        prop_assert!(!a.join(b).is_behind(a) && !a.join(b).is_behind(b));
    }

    #[test]
    fn what_is_heard_of_views_comes_to_the_same_in_any_order(
        (said, shuffled) in vectors((0..4_u16, views()), 0..12).prop_flat_map(|said| (Just(said.clone()), Just(said).prop_shuffle())),
    ) {
        let (mut one, mut other) = (knowledge(), knowledge());
        for (partition, view) in said {
            let before = one.view(Partition(partition));
            one.hear(Partition(partition), view);
            prop_assert!(!one.view(Partition(partition)).is_behind(before), "a view fell");
        }
        for (partition, view) in shuffled.iter().chain(&shuffled) {
            other.hear(Partition(*partition), *view);
        }
        prop_assert_eq!(one, other);
    }

    #[test]
    fn a_row_never_goes_back_and_repeats_change_nothing(requests in vectors(requests(), 0..30)) {
        let mut cell = Cell::default();
        for request in requests {
            let before: Cell<Row> = cell.clone();
            if let Some(changed) = cell.serve::<Sound>(Stamp::ZERO, &request).changed {
                cell = changed;
            }
            prop_assert!(cell.promised >= before.promised && cell.ballot() >= before.ballot());
            prop_assert!(cell.ballot() <= cell.promised);
            prop_assert_eq!(cell.serve::<Sound>(Stamp::ZERO, &request).changed, None, "again {:?}", request);
        }
    }

    #[test]
    fn values_are_copied_in_any_order(times in vectors(1..30_u64, 0..8).prop_shuffle()) {
        let mut cell: Cell<Row> = Cell::default();
        for time in &times {
            if let Copied::Taken(taken) = cell.copy::<Sound>(&held(*time)) {
                cell = taken;
            }
        }
        let newest = times.iter().max().map(|time| held(*time));
        prop_assert_eq!(cell.accepted, newest);
    }

    #[test]
    fn a_page_is_the_same_whoever_answers_first(a in scanned(), b in scanned()) {
        let merged = page(&[(1, &a), (2, &b)]);
        prop_assert_eq!(&merged, &page(&[(2, &b), (1, &a)]));
        prop_assert_eq!(&merged, &page(&[(1, &a), (1, &b), (2, &b)]), "who answers twice is heard once");
        let ends = [a.bound, b.bound].into_iter().flatten().min();
        prop_assert_eq!(merged.bound, ends);
        let within = |key: &u8| ends.is_none_or(|end| *key < end);
        for (key, newest) in &merged.rows {
            prop_assert!(within(key));
            let shown = |answer: &Scanned<u8, Row>| answer.rows.iter().find(|(found, _)| found == key).cloned();
            let (left, right) = (shown(&a), shown(&b));
            let alike = left == right;
            let best = left.into_iter().chain(right).map(|(_, held)| held).max_by_key(|held| held.ballot);
            prop_assert_eq!(best.as_ref(), Some(newest));
            prop_assert_eq!(merged.suspects.contains(key), !alike);
        }
        let all = a.rows.iter().chain(&b.rows).filter(|(key, _)| within(key));
        for (key, _) in all {
            prop_assert!(merged.rows.contains_key(key), "{} is missing", key);
        }
    }

    #[test]
    fn stamps_rise_above_what_was_met(steps in vectors((any::<u32>(), any::<u32>()), 1..20)) {
        let mut issuer = Issuer::new(Incarnation(7));
        let mut last = Stamp::ZERO;
        for (clock, met) in steps {
            let above = Stamp::new(met.into(), 9);
            let stamp = issuer.issue(clock.into(), above);
            prop_assert!(stamp > last && stamp > above);
            last = stamp;
        }
    }
}

/// A peer may say anything: a table that is longer than partitions have numbers is looked at without harm.
#[test]
fn tables_of_any_length_can_be_looked_at() {
    let knowledge = knowledge();
    let mut layout = knowledge.newest().expect("there are some").clone();
    for lines in [0, 1, 32_768, 32_769, 70_000] {
        layout.assignment.resize(lines, vec![0, 1, 2]);
        assert_eq!(layout.partitions().count(), 2 * lines.min(32_768));
        let rows = layout.partition_of(b"a placement");
        let blocks = layout.block_partition_of(&[0xff; 32]);
        assert!(lines == 0 || layout.replicas(rows) == layout.replicas(blocks));
    }
}
