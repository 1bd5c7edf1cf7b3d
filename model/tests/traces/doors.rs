//! Doors, and what nodes know of layouts, right and wrong.

use super::*;

const P: Partition = Partition(5);

impl Entry {
    fn standing(&mut self) -> &mut Standing {
        match self {
            Entry::Record(Record::Standing(standing)) => standing,
            Entry::Record(_) | Entry::Step(..) => panic!("what is known of layouts"),
        }
    }

    fn layouts(&mut self) -> &mut LayoutsStep {
        match self {
            Entry::Record(Record::Layouts(step)) => step,
            Entry::Record(_) | Entry::Step(..) => panic!("a change of layouts"),
        }
    }

    fn refused(&mut self) -> &mut RefusedStep {
        match self {
            Entry::Record(Record::Refused(step)) => step,
            Entry::Record(_) | Entry::Step(..) => panic!("a request that is turned away"),
        }
    }
}

fn view(lo: u64, hi: u64) -> View {
    View {
        lo: LayoutVersion(lo),
        hi: LayoutVersion(hi),
    }
}

/// What the door is shown by a request under this view and the node's newest layout.
pub(super) fn shown(knowledge: &Knowledge, asked: View) -> Shown {
    Shown {
        known_at: 0,
        footing: knowledge.footing(NODES[0], P),
        asked,
        newest: LayoutMark::of(&knowledge.newest().unwrap().hash()),
        opened: Some(Openness {
            synced: LayoutVersion(1),
            raised: LayoutVersion::default(),
        }),
    }
}

pub(super) fn standing() -> Entry {
    Entry::Record(Record::Standing(Standing {
        at: 0,
        knowledge: knowledge(),
        heard: Heard::default(),
    }))
}

/// A request under a layout that the node does not know.
pub(super) fn refused() -> Entry {
    let shown = Shown {
        opened: None,
        ..shown(&knowledge(), view(1, 2))
    };
    Entry::Record(Record::Refused(RefusedStep {
        partition: P,
        key: b"nphotos".to_vec(),
        shown,
        said: TurnedAway::Refused(Refusal::NeedLayout(LayoutVersion(2))),
    }))
}

/// The layout in which the node has no part in the partition any more.
fn second() -> Layout {
    let knowledge = knowledge();
    let first = knowledge.newest().unwrap().clone();
    let mut assignment = first.assignment.clone();
    assignment[usize::from(P.0)] = vec![1, 2];
    Layout {
        version: LayoutVersion(2),
        previous: first.hash(),
        assignment,
        ..first
    }
}

fn synced(node: NodeId) -> Announcement {
    Announcement {
        node,
        partition: P,
        version: LayoutVersion(2),
    }
}

/// The layout is learned, the others are synced for it, and the node lets go of its rows.
pub(super) fn left() -> Vec<Entry> {
    let learned = LayoutsStep {
        told: LayoutsInput::Learn(vec![second()]),
        news: LayoutsNews {
            learned: vec![LayoutVersion(2)],
            ..LayoutsNews::default()
        },
        written_at: 21,
    };
    let said = vec![synced(NODES[1]), synced(NODES[2])];
    let announced = LayoutsStep {
        told: LayoutsInput::Announce(said.clone()),
        news: LayoutsNews {
            heard: said,
            raised: vec![(P, LayoutVersion(2))],
            ..LayoutsNews::default()
        },
        written_at: 22,
    };
    let cleared = ClearedStep {
        partition: P,
        entered: Some(LayoutVersion(1)),
        known_at: 22,
    };
    vec![
        Entry::Record(Record::Layouts(learned)),
        Entry::Record(Record::Layouts(announced)),
        Entry::Record(Record::Cleared(cleared)),
    ]
}

#[test]
fn a_door_that_judges_otherwise_is_named() {
    let text = forged(|entries| entries[REFUSED].refused().said = TurnedAway::Refused(Refusal::Stale(view(1, 1))));
    assert_says(
        &text,
        &[
            "record 14: the door of partition 5 at node 0000000000000001, for row `nphotos`",
            "was told  a request under view 1-2 and layout",
            "where the node stands: view 1-1, a part from layout 1 to 1",
            "expected  refused: the node does not know layout 2",
            "recorded  refused: the node has seen view 1-1",
        ],
    );
    // A request that had to be turned away was served.
    let text = forged(|entries| entries[STEP_READ].step().0.shown.asked = view(0, 1));
    assert_says(
        &text,
        &[
            "expected  refused: the node has seen view 1-1",
            "recorded  admitted under view 1-1, entered at layout 1",
        ],
    );
    let text = forged(|entries| {
        let opened = &mut entries[STEP_READ].step().0.shown.opened;
        *opened = Some(Openness {
            synced: LayoutVersion::default(),
            raised: LayoutVersion::default(),
        });
        entries.remove(STANDING);
    });
    assert_says(&text, &["expected  refused: the node does not know its floor"]);
    let text = forged(|entries| entries[STEP_READ].step().0.shown.newest = LayoutMark(7));
    assert_says(
        &text,
        &[
            "and layout 0000000000000007",
            "expected  refused: the layout is known with another content",
        ],
    );
}

#[test]
fn a_door_that_knows_something_else_than_its_node_is_named() {
    let mut newer = knowledge();
    newer.learn(second()).unwrap();
    let text = forged(|entries| {
        let step = &mut entries[STEP_READ].step().0;
        (step.shown.footing, step.shown.asked, step.view) = (newer.footing(NODES[0], P), view(1, 2), view(1, 2));
    });
    assert_says(
        &text,
        &[
            "expected  as its layouts say: view 1-1, a part from layout 1 to 1",
            "recorded  view 1-2, a part from layout 1 to 1",
        ],
    );
    let text = forged(|entries| {
        let opened = &mut entries[STEP_READ].step().0.shown.opened;
        opened.as_mut().unwrap().synced = LayoutVersion(2);
    });
    assert_says(
        &text,
        &["as it was heard: synced for layout 1", "recorded  synced for layout 2"],
    );
}

#[test]
fn layouts_that_are_taken_otherwise_are_named() {
    let text = forged(|entries| entries[LEARNED].layouts().news.learned.clear());
    assert_says(
        &text,
        &[
            "record 15: what node 0000000000000001 knows of layouts",
            "was told  layouts 2",
            "expected  layout 2 is new",
            "recorded  nothing new",
        ],
    );
    let text = forged(|entries| entries[ANNOUNCED].layouts().news.raised.clear());
    assert_says(
        &text,
        &[
            "was told  2 syncs",
            "partition 5 needs layout 2 and newer",
            "recorded  new: node 0000000000000002 is synced for partition 5 of layout 2",
        ],
    );
    // One of two is no majority.
    let text = forged(|entries| {
        let step = entries[ANNOUNCED].layouts();
        step.told = LayoutsInput::Announce(vec![synced(NODES[1])]);
        step.news.heard.pop();
    });
    assert_says(&text, &["recorded  new:", "partition 5 needs layout 2 and newer"]);
    let text = forged(|entries| {
        let again = entries[ANNOUNCED].clone();
        entries.insert(CLEARED, again);
        *entries[CLEARED].layouts() = LayoutsStep {
            news: LayoutsNews::default(),
            written_at: 23,
            ..entries[CLEARED].layouts().clone()
        };
    });
    assert_says(
        &text,
        &["was told  2 syncs", "expected  a change", "recorded  nothing new"],
    );
    let text = forged(|entries| entries[ANNOUNCED].layouts().written_at = 20);
    assert_says(&text, &["a place behind the last change"]);
}

#[test]
fn rows_that_are_let_go_too_early_are_named() {
    let text = forged(|entries| {
        let Entry::Record(Record::Cleared(step)) = &mut entries[CLEARED] else {
            panic!("a partition that is let go");
        };
        step.known_at = 21;
    });
    assert_says(
        &text,
        &[
            "record 17: what node 0000000000000001 holds of partition 5",
            "may the rows that it holds since layout 1 go?",
            "expected  no: they stay",
        ],
    );
}

#[test]
fn what_was_known_durably_of_layouts_is_known_in_the_next_life() {
    let (entries, _) = honest();
    let knows = |knowledge: Knowledge, heard: &[Announcement]| {
        let standing = Standing {
            at: 0,
            knowledge,
            heard: heard.iter().copied().collect(),
        };
        Entry::Record(Record::Standing(standing))
    };
    let mut newer = knowledge();
    newer.learn(second()).unwrap();
    let again = |known: Entry, end: &[Entry]| {
        let before: Vec<Entry> = entries.iter().chain(end).cloned().collect();
        replay([part(1, &before), part(2, &[opened(2, 0), known])])
    };
    // Nothing of the change was durable before the crash: it may be gone, or not.
    for known in [knows(knowledge(), &[]), knows(newer.clone(), &[synced(NODES[1])])] {
        let replayed = again(known, &[]);
        assert!(replayed.is_good(), "{replayed}");
    }
    let text = again(knows(Knowledge::default(), &[]), &[]).to_string();
    assert_says(
        &text,
        &[
            "0000000002.trace, record 1",
            "as it was durable before the crash, or newer: layouts up to 1",
        ],
    );
    // After an orderly end all of it is there.
    let closed = [Entry::Record(Record::Closed)];
    let text = again(knows(newer, &[synced(NODES[1])]), &closed).to_string();
    assert_says(
        &text,
        &[
            "as it was when the node stopped: layouts up to 2",
            "recorded  layouts up to 2",
        ],
    );
    assert!(
        entries[STANDING]
            .clone()
            .standing()
            .heard
            .announcements()
            .next()
            .is_none()
    );
}

#[test]
fn a_later_part_alone_says_what_is_known() {
    let (entries, _) = honest();
    let mut later = vec![opened(1, 1), entries[STANDING].clone()];
    later.extend(entries[STANDING + 1..].iter().cloned());
    let replayed = replay([part(2, &later)]);
    assert!(replayed.is_good() && replayed.tally.doors == 6, "{replayed}");
    // What was recorded before it was told is behind it.
    let mut newer = knowledge();
    newer.learn(second()).unwrap();
    *later[1].standing() = Standing {
        at: 21,
        knowledge: newer,
        heard: Heard::default(),
    };
    let replayed = replay([part(2, &later)]);
    assert!(replayed.is_good() && replayed.tally.doors == 0, "{replayed}");
    // Where both parts are there, it is what the changes made of it.
    *later[1].standing() = Standing {
        heard: [synced(NODES[1])].into_iter().collect(),
        ..later[1].standing().clone()
    };
    later.truncate(2);
    let replayed = replay([part(1, &entries), part(2, &later)]);
    assert_says(
        &replayed.to_string(),
        &["expected  as its changes left it: layouts up to 2"],
    );
}

#[test]
fn behind_a_gap_the_trace_says_what_is_known() {
    let (mut entries, _) = honest();
    let lost = Entry::Record(Record::Lost(4));
    entries.insert(STANDING + 1, lost);
    let replayed = one(&entries);
    assert!(replayed.is_good() && replayed.tally.doors == 0, "{replayed}");
    assert_says(
        &replayed.to_string(),
        &["6 of all with nothing known of the node's layouts"],
    );
    // Told before it, it is of no use any more; behind it, it is.
    let known = entries.remove(STANDING);
    entries.insert(STANDING + 1, known);
    let replayed = one(&entries);
    assert!(replayed.is_good() && replayed.tally.doors == 6, "{replayed}");
    assert_says(
        &replayed.to_string(),
        &["0 of all with nothing known of the node's layouts"],
    );
    // A change from before it is in it, and one from after it is not.
    let mut newer = knowledge();
    newer.learn(second()).unwrap();
    let known = entries[STANDING + 1].standing();
    (known.at, known.knowledge) = (21, newer);
    let replayed = one(&entries);
    assert!(replayed.is_good() && replayed.tally.layouts == 3, "{replayed}");
    entries[ANNOUNCED + 1].layouts().news.raised.clear();
    assert_says(&one(&entries).to_string(), &["partition 5 needs layout 2 and newer"]);
}
