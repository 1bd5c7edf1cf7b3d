//! Pages that replicas show, right and wrong.

use super::*;

impl Entry {
    fn page(&mut self) -> &mut PageStep {
        match self {
            Entry::Record(Record::Page(step)) => step,
            Entry::Record(_) | Entry::Step(..) => panic!("a page"),
        }
    }
}

/// A page with one row, which began to be read when the first write was durable.
fn page(cell: &Cell<Row>, from: &[u8], of: PageOf) -> Entry {
    let knowledge = knowledge();
    let view = knowledge.view(Partition(5));
    let shown = shown(&knowledge, view);
    let at = Reading {
        durable: 10,
        admitted: shown.footing.admit::<Sound>(Partition(5), view).unwrap(),
        shown,
    };
    let cells = [(b"nphotos".to_vec(), cell.clone())];
    Entry::Record(Record::Page(PageStep::read(at, from.to_vec(), 3, &cells, None, of)))
}

/// What a listing is shown.
pub(super) fn scan(cell: &Cell<Row>) -> Entry {
    let of = PageOf::Scan {
        to: b"o".to_vec(),
        gate_key: None,
        gate: GateState::default(),
        told: vec![cell.ballot()],
    };
    page(cell, b"n", of)
}

/// What a node that syncs is told.
pub(super) fn pull(cell: &Cell<Row>) -> Entry {
    let of = PageOf::Pull {
        extent: Extent::Everything,
        floor: stamp(1),
    };
    page(cell, b"", of)
}

#[test]
fn rows_that_a_page_leaves_out_or_shows_as_they_were_long_ago_are_named() {
    let text = forged(|entries| {
        let page = entries[SCAN].page();
        page.cells.clear();
        let PageOf::Scan { told, .. } = &mut page.of else {
            panic!("a scan")
        };
        told.clear();
    });
    assert_says(
        &text,
        &[
            "record 12: what node 0000000000000001 shows of partition 5 to a scan from row `n`",
            "was told  at most 3 rows; found 0 up to the end, gate Open under 0",
            "expected  that row, or newer, where row `nphotos` was: the name of a bucket",
            "recorded  it is not among the rows",
        ],
    );
    let text = forged(|entries| entries[PULL].page().cells.clear());
    assert_says(
        &text,
        &["record 13: what", "to a pull from row ``", "it is not among the rows"],
    );
    let held = |time| {
        let (_, cell) = step(&Cell::default(), &Request::Write(value(time)), 0, 0);
        pull(&cell)
    };
    let text = forged(|entries| entries[PULL] = held(2));
    assert_says(
        &text,
        &["or newer, where row `nphotos` was", "recorded  held under 2.0007"],
    );
    // As it was when the page began to be read, and newer than what is recorded yet.
    for time in [3, 9] {
        let (mut entries, _) = honest();
        entries[PULL] = held(time);
        let replayed = one(&entries);
        assert!(replayed.is_good(), "{replayed}");
    }
    // What was not durable when it began need not be there.
    let (mut entries, _) = honest();
    entries[PULL].page().durable = 9;
    entries[PULL].page().cells.clear();
    let replayed = one(&entries);
    assert!(replayed.is_good(), "{replayed}");
}

#[test]
fn a_tombstone_that_is_not_shown_is_below_the_floor() {
    let deletion = Accepted {
        content: Content::Tombstone,
        ..value(5)
    };
    let shown = |floor| {
        let (mut entries, left) = honest();
        let (deleted, _) = step(&left, &Request::Write(deletion.clone()), 12, 12);
        let mut page = pull(&left);
        page.page().cells.clear();
        page.page().durable = 12;
        page.page().of = PageOf::Pull {
            extent: Extent::Everything,
            floor: stamp(floor),
        };
        entries.splice(SCAN.., [deleted, page]);
        one(&entries)
    };
    assert!(shown(5).is_good());
    assert_says(
        &shown(4).to_string(),
        &[
            "expected  the tombstone, or a floor of at least 5.0007",
            "recorded  the floor 4.0007",
        ],
    );
}

#[test]
fn a_page_that_is_not_what_was_asked_for_or_told_is_named() {
    let text = forged(|entries| entries[SCAN].page().limit = 0);
    assert_says(&text, &["rows in order, of the range that was asked for"]);
    let text = forged(|entries| entries[PULL].page().from = b"o".to_vec());
    assert_says(&text, &["rows in order, of the range that was asked for"]);
    let text = forged(|entries| {
        entries[PULL].page().of = PageOf::Pull {
            extent: Extent::Leaves(LeafSet::default()),
            floor: stamp(1),
        };
    });
    assert_says(
        &text,
        &["rows of the leaves that were asked for", "recorded  row `nphotos`"],
    );
    let text = forged(|entries| {
        let PageOf::Scan { told, .. } = &mut entries[SCAN].page().of else {
            panic!("a scan")
        };
        told.clear();
    });
    assert_says(
        &text,
        &["expected  rows under [4.0007] told", "recorded  rows under [] told"],
    );
    let text = forged(|entries| entries[SCAN].page().shown.asked = View::default());
    assert_says(
        &text,
        &[
            "the door of partition 5",
            "expected  refused: the node has seen view 1-1",
        ],
    );
}

#[test]
fn a_gate_that_a_scan_sees_as_it_was_long_ago_is_named() {
    let gate = |gate, time| Accepted {
        content: Content::Value(Row::Gate(gate)),
        ..value(time)
    };
    let seen = |state: GateState| {
        let (mut entries, _) = honest();
        let (closed, _) = step(&Cell::default(), &Request::Write(gate(Gate::Closed, 6)), 10, 10);
        let mut scan = entries[SCAN].clone();
        if let PageOf::Scan { gate_key, gate, .. } = &mut scan.page().of {
            (*gate_key, *gate) = (Some(b"nphotos".to_vec()), state);
        }
        scan.page().cells.clear();
        scan.page().bound = Some(b"n".to_vec());
        if let PageOf::Scan { told, .. } = &mut scan.page().of {
            told.clear();
        }
        entries.splice(STANDING + 1.., [closed, scan]);
        one(&entries)
    };
    let closed = GateState {
        gate: Gate::Closed,
        ballot: stamp(6),
    };
    assert!(seen(closed).is_good());
    assert_says(
        &seen(GateState::default()).to_string(),
        &["the gate Closed under 6.0007, or newer", "recorded  another gate"],
    );
}

#[test]
fn a_sync_that_is_told_rows_of_other_leaves_is_named() {
    let text = forged(|entries| {
        let Entry::Record(Record::Sync(run)) = &mut entries[SYNC] else {
            panic!("a sync")
        };
        run.extent = Extent::Leaves(LeafSet::default());
    });
    assert_says(&text, &["rows of the leaves that it is about"]);
}
