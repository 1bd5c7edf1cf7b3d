//! Blocks, right and wrong.

use trellis_spec::block::{self, Brought, Data, Dropped, Kept, Mark, StoreStep, Subject, UploadFate};
use trellis_spec::quorum::Verdict;
use trellis_spec::row::{Address, Block, BlockName, BlockReference, Placement, Upload, UploadState, VersionId};
use trellis_spec::trace::{
    DeleteStep, FateStep, KeepEvent, KeepRun, PlaceRun, Placed, PullEvent, PullRun, Release, ReleaseStep,
};

use super::*;

const P: Partition = Partition(9);
const NAME: BlockName = BlockName([0xab; 32]);

impl Entry {
    fn kept(&mut self) -> &mut Vec<KeepEvent> {
        match self {
            Entry::Record(Record::Kept(run)) => &mut run.events,
            Entry::Record(_) | Entry::Step(..) => panic!("a block that is kept"),
        }
    }

    fn placed(&mut self) -> &mut Vec<(NodeId, Kept, Placed)> {
        match self {
            Entry::Record(Record::Placed(run)) => &mut run.events,
            Entry::Record(_) | Entry::Step(..) => panic!("a block that is placed"),
        }
    }

    fn released(&mut self) -> &mut ReleaseStep {
        match self {
            Entry::Record(Record::Released(step)) => step,
            Entry::Record(_) | Entry::Step(..) => panic!("a reference that goes"),
        }
    }

    fn deleted(&mut self) -> &mut DeleteStep {
        match self {
            Entry::Record(Record::Deleted(step)) => step,
            Entry::Record(_) | Entry::Step(..) => panic!("a block that is deleted"),
        }
    }

    fn pulled(&mut self) -> &mut Vec<PullEvent> {
        match self {
            Entry::Record(Record::Pulled(run)) => &mut run.events,
            Entry::Record(_) | Entry::Step(..) => panic!("a pull of references"),
        }
    }
}

fn version(number: u8) -> VersionId {
    VersionId([number; 16])
}

fn reference(number: u8) -> BlockReference {
    BlockReference {
        block: NAME,
        owner: owner(),
        version: version(number),
        until: 50,
    }
}

fn owner() -> Address {
    Address {
        placement: Placement::System,
        key: b"nphotos".to_vec(),
    }
}

fn kept(number: u8, brought: Brought) -> Entry {
    let first = KeepEvent::Done(StoreStep::Refer);
    let second = match brought {
        Brought::Data => KeepEvent::Done(StoreStep::Fill),
        Brought::Nothing => KeepEvent::Looked(Data::Verified),
    };
    Entry::Record(Record::Kept(KeepRun {
        partition: P,
        block: NAME,
        version: version(number),
        brought,
        events: vec![first, second, KeepEvent::Answered(Kept::Both)],
    }))
}

fn released(number: u8, others: bool, dropped: Dropped) -> Entry {
    Entry::Record(Record::Released(ReleaseStep {
        partition: P,
        reference: reference(number),
        why: Release::Dead(Subject {
            owner: owner(),
            version: version(number),
            until: 50,
        }),
        others,
        now_us: 1000,
        dropped,
    }))
}

fn deleted(now_us: u64, held: block::Held, may_go: bool) -> Entry {
    Entry::Record(Record::Deleted(DeleteStep {
        partition: P,
        block: NAME,
        held,
        now_us,
        grace_us: 500,
        may_go,
    }))
}

fn placed() -> Entry {
    let placed = |verdict| Placed {
        verdict,
        needs_data: false,
    };
    Entry::Record(Record::Placed(PlaceRun {
        partition: P,
        view: View::default(),
        block: Block { name: NAME, length: 7 },
        sets: ReplicaSets::new(vec![NODES.to_vec()]),
        events: vec![
            (NODES[1], Kept::Both, placed(Verdict::Pending)),
            (NODES[0], Kept::Both, placed(Verdict::Reached)),
        ],
    }))
}

fn pulled() -> Entry {
    let reported = |data| vec![(NAME, version(1), data)];
    Entry::Record(Record::Pulled(PullRun {
        partition: P,
        view: View::default(),
        sources: ReplicaSets::new(vec![NODES.to_vec()]),
        events: vec![
            PullEvent::Pulled(NODES[1], reported(Data::Absent), false),
            PullEvent::Pulled(NODES[2], reported(Data::Verified), true),
            PullEvent::Judged(Vec::new(), true),
        ],
    }))
}

const FIRST: usize = 1;
const SECOND: usize = 2;
const LET_GO: usize = 4;
const LAST: usize = 5;
const DELETED: usize = 6;
const PULLED: usize = 7;
const FATE: usize = 8;

/// A block that two versions refer to, from its beginning to its end; a pull; an upload that was aborted.
fn life() -> Vec<Entry> {
    let mark = Mark { since_us: 1000 };
    let upload = Upload {
        initiated_ms: 0,
        initiator: String::new(),
        headers: Default::default(),
        state: UploadState::Aborted,
        until: 50,
    };
    let fate = FateStep {
        key: b"u".to_vec(),
        upload,
        fate: UploadFate::UpToObject(50),
    };
    vec![
        opened(1, 0),
        kept(1, Brought::Data),
        kept(2, Brought::Nothing),
        placed(),
        released(1, true, Dropped::Gone),
        released(2, false, Dropped::Replaced(mark)),
        deleted(1500, block::Held::Marked(mark), true),
        pulled(),
        Entry::Record(Record::Fate(fate)),
    ]
}

fn forged_life(forge: impl FnOnce(&mut Vec<Entry>)) -> String {
    let mut entries = life();
    forge(&mut entries);
    let replayed = one(&entries);
    assert!(!replayed.is_good(), "{replayed}");
    replayed.to_string()
}

#[test]
fn the_life_of_a_block_comes_out_as_it_was_recorded() {
    let replayed = one(&life());
    assert!(replayed.is_good(), "{replayed}");
    assert_eq!((replayed.tally.blocks, replayed.tally.told), (8, 6 + 2 + 3));
}

#[test]
fn a_block_that_is_kept_or_placed_otherwise_is_named() {
    let text = forged_life(|entries| entries[FIRST].kept().swap(0, 1));
    assert_says(
        &text,
        &[
            "record 1: the keeper of block abababababababab in partition 9 at node 0000000000000001",
            "was told  keep the data that came along",
            "expected  first the reference",
            "recorded  the data were written",
        ],
    );
    let text = forged_life(|entries| _ = entries[SECOND].kept().remove(1));
    assert_says(
        &text,
        &["expected  first a look at the data", "recorded  both are on disk"],
    );
    let text = forged_life(|entries| entries[3].placed()[0].2.verdict = Verdict::Reached);
    assert_says(
        &text,
        &[
            "the placing of block abababababababab",
            "was told  node 0000000000000002 answers: both are on disk",
            "expected  more answers are needed",
            "recorded  it is stored",
        ],
    );
    let text = forged_life(|entries| entries[3].placed()[1].0 = NODES[1]);
    assert_says(&text, &["an answer of each replica, once"]);
}

#[test]
fn a_reference_that_goes_too_early_is_named() {
    let text = forged_life(|entries| entries[LET_GO] = released(1, false, Dropped::Replaced(Mark { since_us: 1000 })));
    assert_says(
        &text,
        &[
            "let go of the reference of 01010101? version 01010101, proposed until 50, is dead; no others",
            "expected  another reference: that of 02020202",
        ],
    );
    let text = forged_life(|entries| entries[LET_GO].released().reference.until = 51);
    assert_says(&text, &["expected  it stays", "recorded  it goes"]);
    let text = forged_life(|entries| entries[LAST].released().dropped = Dropped::Gone);
    assert_says(&text, &["expected  it goes, and a mark of 1000 µs takes its place"]);
    let mut left = life();
    left[LAST].released().why = Release::Left;
    assert!(one(&left).is_good(), "whoever leaves needs no proof");
}

#[test]
fn data_that_go_too_early_are_named() {
    let text = forged_life(|entries| entries[DELETED].deleted().now_us = 1499);
    assert_says(
        &text,
        &[
            "may the data go at 1499 µs, 500 µs after the mark? nothing refers to it since 1000 µs",
            "expected  they stay",
            "recorded  they may go",
        ],
    );
    let text = forged_life(|entries| _ = entries.remove(LAST));
    assert_says(
        &text,
        &[
            "expected  it is referred to",
            "recorded  nothing refers to it since 1000 µs",
        ],
    );
    let older = Mark { since_us: 1 };
    let text = forged_life(|entries| entries[DELETED].deleted().held = block::Held::Marked(older));
    assert_says(
        &text,
        &[
            "expected  nothing refers to it since 1000 µs",
            "recorded  nothing refers to it since 1 µs",
        ],
    );
    // What a crash may have taken back is not known.
    let mut entries = life();
    entries.truncate(LAST + 1);
    let next = [opened(2, 0), deleted(1500, block::Held::Referenced, false)];
    let replayed = replay([part(1, &entries), part(2, &next)]);
    assert!(replayed.is_good(), "{replayed}");
    entries.push(Entry::Record(Record::Closed));
    let replayed = replay([part(1, &entries), part(2, &next)]);
    assert_says(&replayed.to_string(), &["expected  nothing refers to it since 1000 µs"]);
}

#[test]
fn a_pull_and_an_upload_that_are_judged_otherwise_are_named() {
    let text = forged_life(|entries| {
        entries[PULLED].pulled()[0] = PullEvent::Pulled(NODES[1], Vec::new(), true);
    });
    assert_says(
        &text,
        &[
            "a pull of the references of partition 9 at node 0000000000000001",
            "was told  node 0000000000000002 reports 0 references",
            "expected  more are needed",
            "recorded  enough have answered",
        ],
    );
    let text = forged_life(|entries| entries[PULLED].pulled()[2] = PullEvent::Judged(vec![NAME], true));
    assert_says(
        &text,
        &["all was fetched but for 1 blocks", "expected  something is missing"],
    );
    let text = forged_life(|entries| {
        let Entry::Record(Record::Fate(step)) = &mut entries[FATE] else {
            panic!("an upload")
        };
        step.fate = UploadFate::UpToObject(0);
    });
    assert_says(
        &text,
        &[
            "the collector at node",
            "expected  UpToObject(50)",
            "recorded  UpToObject(0)",
        ],
    );
}
