//! Listings and syncs, right and wrong.

use super::*;

impl Entry {
    fn listing(&mut self) -> &mut ListingRun {
        match self {
            Entry::Record(Record::Listing(run)) => run,
            Entry::Record(_) | Entry::Step(..) => panic!("a listing"),
        }
    }

    fn sync(&mut self) -> &mut Vec<SyncEvent> {
        match self {
            Entry::Record(Record::Sync(run)) => &mut run.events,
            Entry::Record(_) | Entry::Step(..) => panic!("a sync"),
        }
    }
}

/// A page of two rows, of which one replica lacks the second.
pub(super) fn listing() -> Entry {
    let view = knowledge().view(Partition(5));
    let sets = knowledge().replica_sets::<Sound>(Partition(5), view);
    let shown = |keys: &[&[u8]]| Scanned {
        rows: keys.iter().map(|key| (key.to_vec(), value(3))).collect(),
        bound: None,
        gate: GateState::default(),
    };
    let mut listing: Listing<RowKey, Row, Sound> = Listing::new(sets.clone(), Counted::All);
    let mut events: Vec<ListingEvent> = NODES.map(ListingEvent::Asked).to_vec();
    for (node, keys) in [(NODES[0], &[&b"na"[..], b"nb"][..]), (NODES[1], &[b"na"])] {
        let page = trace::scanned(&shown(keys));
        let step = listing.on_scanned(node, shown(keys));
        events.push(ListingEvent::Scanned(node, page, trace::listing_step(&step)));
    }
    Entry::Record(Record::Listing(ListingRun {
        partition: Partition(5),
        view,
        sets,
        counted: Counted::All,
        from: b"n".to_vec(),
        to: b"o".to_vec(),
        limit: 2,
        events,
    }))
}

/// A sync that finds one row, on which all agree.
pub(super) fn sync() -> Entry {
    let sources = Sources::of::<Sound>(&knowledge(), NODES[0], Partition(5), layout::Standing::Whole);
    let cell = Cell {
        promised: stamp(3),
        accepted: Some(value(3)),
    };
    let page = trace::pulled(&pulled_rows([(b"na".to_vec(), cell)], stamp(1), 9));
    let mut sync: Sync<RowKey, Omitted, Sound> = Sync::new(sources.clone());
    let mut events = Vec::new();
    let mut told = |input: SyncInput, step: SyncStep<RowKey, Omitted>| {
        events.push(SyncEvent::Told(input, trace::sync_step(&step, |value| *value)));
    };
    told(SyncInput::Start, sync.start());
    for node in &NODES[1..] {
        let step = sync.on_pulled(1, *node, page.clone());
        told(SyncInput::Pulled(1, *node, page.clone()), step);
    }
    told(SyncInput::Raised, sync.on_raised());
    told(SyncInput::Copied(Vec::new()), sync.on_copied(Vec::new()));
    Entry::Record(Record::Sync(SyncRun {
        sources,
        extent: Extent::Everything,
        events,
    }))
}

#[test]
fn a_listing_that_is_merged_or_asked_for_otherwise_is_named() {
    let text = forged(|entries| {
        let ListingEvent::Scanned(_, _, ListingStep::Done(page)) = &mut entries[LISTING].listing().events[4] else {
            panic!("the second answer makes the page");
        };
        page.suspects.clear();
    });
    assert_says(
        &text,
        &[
            "record 5: a listing from row `n` in partition 5 at node 0000000000000001",
            "was told  node 0000000000000002 shows 1 rows",
            "expected  a page of 2 rows up to the end, 1 of them to be read again; row `nb` is a value of operation 09090909",
            "recorded  a page of 2 rows up to the end, 0 of them",
        ],
    );
    let text = forged(|entries| _ = entries[LISTING].listing().events.remove(1));
    assert_says(&text, &["node 0000000000000002 asked as well"]);
    let text = forged(|entries| {
        let events = &mut entries[LISTING].listing().events;
        events[4] = events[3].clone();
    });
    assert_says(&text, &["an answer only of who was asked, and one of each"]);
    let text = forged(|entries| {
        let ListingEvent::Scanned(_, page, _) = &mut entries[LISTING].listing().events[3] else {
            panic!("the first answer");
        };
        page.rows.reverse();
    });
    assert_says(&text, &["rows in order, of the range"]);
    let (mut entries, _) = honest();
    entries[LISTING].listing().events[4] = ListingEvent::LeftOut;
    let replayed = one(&entries);
    assert!(replayed.is_good() && replayed.tally.cut_off == 1, "{replayed}");
}

#[test]
fn a_sync_that_copies_or_goes_on_otherwise_is_named() {
    let text = forged(|entries| {
        let SyncEvent::Told(_, SyncStep::Copy(rows)) = &mut entries[SYNC].sync()[3] else {
            panic!("what was pulled is copied");
        };
        rows[0].1.ballot = stamp(2);
    });
    assert_says(
        &text,
        &[
            "record 6: a sync of partition 5 at node 0000000000000001",
            "was told  the floor is raised",
            "expected  copy 1 rows; row `na` is a value of operation 09090909 under 3.0007",
            "recorded  copy 1 rows; row `na` is a value of operation 09090909 under 2.0007",
        ],
    );
    let text = forged(|entries| _ = entries[SYNC].sync().remove(3));
    assert_says(
        &text,
        &["was told  the rows are copied, but for 0", "the floor raised first"],
    );
    let text = forged(|entries| {
        let events = entries[SYNC].sync();
        events[2] = events[1].clone();
    });
    assert_says(&text, &["hands out 1 rows in round 1, floor 1.0007", "and one of each"]);
    let text = forged(|entries| {
        entries[SYNC]
            .sync()
            .push(SyncEvent::Told(SyncInput::Patience, SyncStep::Wait))
    });
    assert_says(&text, &["nothing after the end"]);
}
