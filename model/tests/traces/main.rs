//! Traces that are right, and traces that are wrong in one place, which must be named.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod blocks;
mod doors;
mod elections;
mod pages;
mod scans;

use trellis_model::trace::{Part, Replayed, replay};
use trellis_spec::flaw::Sound;
use trellis_spec::gate::{Deletion, DeletionStep, Emptiness, Fate, Gate, GateState, Held, Swapped};
use trellis_spec::layout::{
    self, Announcement, Election, Heard, Knowledge, Layout, LayoutMark, LayoutVersion, Nominate, Partition, Refusal,
    Sources, Sync, SyncStep, View, pulled_rows, serve_elector,
};
use trellis_spec::leaves::{Extent, LeafSet};
use trellis_spec::listing::{Counted, Listing, ListingStep, Scanned};
use trellis_spec::peer::{Stored, serve_row};
use trellis_spec::quorum::{NodeId, ReplicaSets};
use trellis_spec::register::{
    Accepted, Attempt, Cell, Conditional, ConditionalOutcome, Content, Fetch, OpId, Purpose, Reply, Request, Step,
    Write, WriteMode,
};
use trellis_spec::row::{BucketId, BucketName, Row, RowKey};
use trellis_spec::stamp::Stamp;
use trellis_spec::trace::{
    self, Aftermath, AttemptRun, Candidate, Circumstances, ClearedStep, DeletionInput, DeletionRun, ElectionRun,
    ElectorStep, Event, Input, Kept, LayoutsInput, LayoutsNews, LayoutsStep, ListingEvent, ListingRun, MAGIC, Mention,
    Omitted, Opened, Openness, Outcome, PageOf, PageStep, Reading, Record, RefusedStep, RowStep, Shown, Standing,
    SyncEvent, SyncInput, SyncRun, Traced, TurnedAway, Values,
};

use doors::{refused, shown, standing};
use elections::{deletion, election, elector, prepare};
use pages::{listing, sync};
use scans::{pull, scan};

const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];
const STANDING: usize = 1;
const STEP_READ: usize = 3;
const ATTEMPT: usize = 4;
const LISTING: usize = 5;
const SYNC: usize = 6;
const ELECTION: usize = 7;
const ELECTOR: usize = 9;
const DELETION: usize = 10;
const STEP_LATER: usize = 11;
const SCAN: usize = 12;
const PULL: usize = 13;
const REFUSED: usize = 14;
const LEARNED: usize = 15;
const ANNOUNCED: usize = 16;
const CLEARED: usize = 17;

/// One frame.
#[derive(Clone)]
enum Entry {
    Record(Record),
    Step(RowStep, Aftermath),
}

impl Entry {
    fn step(&mut self) -> (&mut RowStep, &mut Aftermath) {
        match self {
            Entry::Step(step, aftermath) => (step, aftermath),
            Entry::Record(_) => panic!("a step"),
        }
    }

    fn events(&mut self) -> &mut Vec<Event> {
        match self {
            Entry::Record(Record::Attempt(run)) => &mut run.events,
            Entry::Record(_) | Entry::Step(..) => panic!("an attempt"),
        }
    }
}

fn stamp(time: u64) -> Stamp {
    Stamp::new(time, 7 << 48)
}

fn value(time: u64) -> Accepted<Row> {
    let bucket = BucketId([u8::try_from(time).unwrap(); 16]);
    Accepted {
        ballot: stamp(time),
        op: OpId([9; 16]),
        base: None,
        content: Content::Value(Row::Name(BucketName { bucket })),
    }
}

/// A step as a node records it, and what it leaves.
fn step(cell: &Cell<Row>, request: &Request<Row>, position: u64, durable: u64) -> (Entry, Cell<Row>) {
    let stored = Stored {
        cell: cell.clone(),
        floor: Stamp::ZERO,
        gate: GateState::default(),
    };
    let knowledge = knowledge();
    let shown = shown(&knowledge, knowledge.view(Partition(5)));
    let at = Circumstances {
        admitted: shown.footing.admit::<Sound>(Partition(5), shown.asked).unwrap(),
        shown,
        key: b"nphotos",
        gate_key: None,
        now_us: 1000,
        skew_us: 1000,
    };
    let served = serve_row::<Row, Sound>(&at.admitted, &stored, at.now_us, at.skew_us, request);
    let encoded = postcard::to_allocvec(&RowStep::taken(at, &stored, request, &served)).unwrap();
    let kept = served
        .changed
        .as_ref()
        .map_or(Kept::AsItWas, |_| Kept::Replaced(position));
    let entry = Entry::Step(postcard::from_bytes(&encoded).unwrap(), Aftermath { kept, durable });
    (entry, served.changed.unwrap_or(stored.cell))
}

fn knowledge() -> Knowledge {
    let member = |id: NodeId| layout::Member {
        id,
        ..layout::Member::storage([0; 32], [0; 16], String::new(), 1 << 40)
    };
    Knowledge::of(layout::initial(NODES.map(member).to_vec(), 3, 8).unwrap())
}

/// A write that two of three replicas accept.
fn attempt() -> Entry {
    let view = knowledge().view(Partition(5));
    let sets = knowledge().replica_sets::<Sound>(Partition(5), view);
    let content = value(3).content;
    let mut write: Write<Row, Sound> = Write::new(WriteMode::Available, sets.clone(), OpId([9; 16]), content, 100);
    let mut values = Values::default();
    let (mut events, made) = (Vec::new(), write.made(&mut values));
    let mut told = |events: &mut Vec<Event>, input: Input, step: Step<Row, _>| {
        let mut mention = |row: &Row| values.mention(row);
        let said = trace::step(&step, &mut mention, |outcome, mention| {
            <Write<Row, Sound> as Traced>::outcome(outcome, mention)
        });
        events.push(Event::Told(input, said.clone()));
        said
    };
    let asked = told(&mut events, Input::Start(stamp(3)), write.start(stamp(3)));
    let Step::Ask(ask) = asked else { panic!("a write asks") };
    for node in NODES {
        events.push(Event::Sent(node, ask.request.clone()));
    }
    for node in &NODES[..2] {
        let step = write.on_reply(ask.round, *node, Reply::Accept);
        told(&mut events, Input::Reply(ask.round, *node, Reply::Accept), step);
    }
    Entry::Record(Record::Attempt(AttemptRun {
        key: b"nphotos".to_vec(),
        gate_key: None,
        partition: Partition(5),
        view,
        sets,
        made,
        events,
        values,
    }))
}

fn opened(life: u64, part: u32) -> Entry {
    Entry::Record(Record::Opened(Opened {
        node: NODES[0],
        life,
        part,
    }))
}

/// A write of 3, a read, one attempt of each kind, an elector that promises twice, a write of 4.
fn honest() -> (Vec<Entry>, Cell<Row>) {
    let (write, left) = step(&Cell::default(), &Request::Write(value(3)), 10, 0);
    let (read, left) = step(&left, &Request::Read(Fetch::Head), 0, 10);
    let (later, left) = step(&left, &Request::Write(value(4)), 11, 10);
    let (first, promised) = elector(&Cell::default(), prepare(3), 8);
    let (second, _) = elector(&promised, prepare(4), 9);
    let mut entries = vec![opened(1, 0), standing(), write, read, attempt(), listing(), sync()];
    entries.extend([election(), first, second, deletion(), later]);
    entries.extend([scan(&left), pull(&left), refused()]);
    entries.extend(doors::left());
    (entries, left)
}

fn part(number: u64, entries: &[Entry]) -> Part {
    let mut bytes = MAGIC.to_vec();
    for entry in entries {
        let frame = match entry {
            Entry::Record(record) => postcard::to_allocvec(record).unwrap(),
            Entry::Step(step, aftermath) => {
                let record: Record = Record::Row(step.clone());
                [
                    postcard::to_allocvec(&record).unwrap(),
                    postcard::to_allocvec(aftermath).unwrap(),
                ]
                .concat()
            }
        };
        bytes.extend(u32::try_from(frame.len()).unwrap().to_le_bytes());
        bytes.extend(frame);
    }
    Part::named(format!("0000000000000001-{number:010}.trace"), bytes)
}

fn one(entries: &[Entry]) -> Replayed {
    replay([part(1, entries)])
}

/// What is said of the honest trace once `forge` has had its way with it.
fn forged(forge: impl FnOnce(&mut Vec<Entry>)) -> String {
    let (mut entries, _) = honest();
    forge(&mut entries);
    let replayed = one(&entries);
    assert!(!replayed.is_good(), "{replayed}");
    replayed.to_string()
}

fn assert_says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
}

#[test]
fn an_honest_trace_comes_out_as_it_was_recorded() {
    let (entries, _) = honest();
    let replayed = one(&entries);
    assert!(replayed.is_good(), "{replayed}");
    let tally = replayed.tally;
    assert_eq!(
        (tally.steps, tally.linked, tally.attempts, tally.listings),
        (3, 2, 1, 1)
    );
    assert_eq!(
        (tally.syncs, tally.elections, tally.electors, tally.deletions),
        (1, 1, 2, 1)
    );
    assert_eq!((tally.refused, tally.doors, tally.layouts), (1, 6, 3));
    assert_eq!(tally.pages, 2);
    assert_eq!((tally.told, tally.sent), (19, 12));
    assert_eq!((tally.cut_off, tally.gaps, tally.lost), (0, 0, 0));
    assert!(!replay([]).is_good(), "nothing is no proof");
}

#[test]
fn a_forged_reply_is_named_with_its_place_and_in_words() {
    let text = forged(|entries| entries[STEP_READ].step().0.reply = Reply::Accept);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "0000000000000001-0000000001.trace, record 3: the replica of row `nphotos` in partition 5 at node 0000000000000001"
    );
    assert_says(
        lines[1],
        &[
            "was told  read (Head) when it held the name of a bucket",
            "under 3.0007",
        ],
    );
    assert_says(
        lines[2],
        &["expected  holds the name of a bucket of operation 09090909 under 3.0007"],
    );
    assert_eq!(lines[3], "  recorded  accepted; the row then: as it was");
}

#[test]
fn a_row_that_changed_between_two_steps_is_noticed() {
    let (other, _) = step(&Cell::default(), &Request::Read(Fetch::Head), 0, 10);
    let text = forged(|entries| entries[STEP_READ] = other);
    assert_says(
        &text,
        &["expected  on the row as it was left", "recorded  on this row: nothing"],
    );
}

#[test]
fn a_change_that_was_not_stored_or_not_made_is_noticed() {
    let text = forged(|entries| entries[STEP_LATER].step().1.kept = Kept::AsItWas);
    assert_says(
        &text,
        &[
            "expected  a change of the row to the name of a bucket",
            "recorded  none",
        ],
    );
    let text = forged(|entries| entries[STEP_READ].step().1.kept = Kept::Replaced(12));
    assert_says(&text, &["expected  no change of the row"]);
}

#[test]
fn an_attempt_whose_driver_does_something_else_is_named() {
    let text = forged(|entries| _ = entries[ATTEMPT].events().remove(2));
    assert_says(
        &text,
        &[
            "a write of row `nphotos`",
            "sent to node 0000000000000002",
            "it was not, before",
        ],
    );
    let text = forged(|entries| entries[ATTEMPT].events()[2] = Event::Sent(NODES[0], Request::Read(Fetch::Head)));
    assert_says(
        &text,
        &[
            "expected  write the name",
            "recorded  read (Head) to node 0000000000000001",
        ],
    );
    let text = forged(|entries| entries[ATTEMPT].events()[3] = Event::Sent(NodeId(8), Request::Read(Fetch::Head)));
    assert_says(&text, &["once", "to node 0000000000000008"]);
    let text = forged(|entries| {
        let events = entries[ATTEMPT].events();
        events[5] = events[4].clone();
    });
    assert_says(&text, &["a reply only to a request of that round"]);
    let text = forged(|entries| {
        let events = entries[ATTEMPT].events();
        events.push(Event::Told(Input::Patience, Step::Wait));
    });
    assert_says(&text, &["there was ample time", "nothing after the end"]);
}

#[test]
fn an_attempt_that_asks_for_other_quorums_than_those_of_its_view_is_named() {
    let text = forged(|entries| {
        let Entry::Record(Record::Attempt(run)) = &mut entries[ATTEMPT] else {
            panic!("an attempt")
        };
        run.sets = ReplicaSets::new(vec![vec![NODES[0]]]);
    });
    assert_says(
        &text,
        &[
            "record 4: a coordinator at node 0000000000000001",
            "was told  partition 5 under view 1-1",
            "expected  quorums of node 0000000000000001, node 0000000000000002, node 0000000000000003",
            "recorded  quorums of node 0000000000000001\n",
        ],
    );
}

#[test]
fn a_stamp_that_does_not_rise_and_a_step_that_is_not_the_attempts_are_named() {
    let text = forged(|entries| {
        let events = entries[ATTEMPT].events();
        events.truncate(5);
        let nack = Reply::Nack { seen: stamp(8) };
        events.push(Event::Told(Input::Reply(1, NODES[1], nack.clone()), Step::Wait));
        events[4] = Event::Told(Input::Reply(1, NODES[0], nack), Step::Wait);
    });
    assert_says(
        &text,
        &[
            "refused for 8.0007",
            "expected  try again above 8.0007",
            "recorded  wait",
        ],
    );
    let text = forged(|entries| {
        let events = entries[ATTEMPT].events();
        events.truncate(4);
        let nack = Reply::Nack { seen: stamp(8) };
        events.push(Event::Told(Input::Reply(1, NODES[0], nack), Step::Wait));
        events.push(Event::Told(Input::Patience, Step::Again { above: stamp(8) }));
        events.push(Event::Told(Input::Again(stamp(8)), Step::Wait));
    });
    assert_says(&text, &["go on under 8.0007", "a stamp above 8.0007"]);
}

#[test]
fn a_crash_may_take_what_was_not_durable_and_nothing_else() {
    let (mut entries, _) = honest();
    entries.truncate(SCAN);
    let again = |cell: &Cell<Row>| {
        let (read, _) = step(cell, &Request::Read(Fetch::Head), 0, 0);
        replay([part(1, &entries), part(2, &[opened(2, 0), read])])
    };
    let (_, durable) = step(&Cell::default(), &Request::Write(value(3)), 10, 0);
    let (_, newer) = step(&durable, &Request::Write(value(6)), 10, 0);
    assert!(again(&durable).is_good() && again(&newer).is_good());
    let text = again(&Cell::default()).to_string();
    assert_says(
        &text,
        &[
            "as it was durable before the crash, or newer",
            "0000000002.trace, record 1",
        ],
    );
    // A node that stopped in order has everything.
    let closed: Vec<Entry> = entries.iter().cloned().chain([Entry::Record(Record::Closed)]).collect();
    let (read, _) = step(&durable, &Request::Read(Fetch::Head), 0, 0);
    let replayed = replay([part(1, &closed), part(2, &[opened(2, 0), read])]);
    assert_says(&replayed.to_string(), &["as it was left"]);
}

#[test]
fn gaps_are_counted_and_nothing_is_concluded_across_them() {
    let (mut entries, _) = honest();
    entries.truncate(SCAN);
    let (read, _) = step(&Cell::default(), &Request::Read(Fetch::Head), 0, 0);
    let mut with_loss = entries.clone();
    with_loss.extend([Entry::Record(Record::Lost(4)), read.clone()]);
    let replayed = one(&with_loss);
    assert!(replayed.is_good() && replayed.tally.lost == 4, "{replayed}");
    // A part is missing, and then a whole life.
    for (number, next) in [(2, opened(1, 2)), (3, opened(3, 0))] {
        let replayed = replay([part(1, &entries), part(number, &[next, read.clone()])]);
        assert!(replayed.is_good() && replayed.tally.gaps == 1, "{replayed}");
    }
    // What was durable in a life before the gap says nothing of the lives behind it.
    let (write, _) = step(&Cell::default(), &Request::Write(value(3)), 3, 0);
    let lives = [
        part(1, &entries),
        part(3, &[opened(3, 0), write]),
        part(4, &[opened(4, 0), read.clone()]),
    ];
    let replayed = replay(lives);
    assert!(replayed.is_good() && replayed.tally.gaps == 1, "{replayed}");
    // Of a part there is a name and no more.
    for length in 0..=MAGIC.len() {
        let mut begun = part(2, &[]);
        begun.bytes.truncate(length);
        let replayed = replay([part(1, &entries), begun]);
        assert!(replayed.is_good() && replayed.tally.gaps == 1, "{replayed}");
    }
    let mut cut = part(1, &entries);
    cut.bytes.pop();
    let replayed = replay([cut]);
    assert!(
        replayed.is_good() && replayed.tally.gaps == 1 && replayed.tally.steps == 2,
        "{replayed}"
    );
}

#[test]
fn what_is_no_trace_is_not_taken_for_one() {
    let (entries, _) = honest();
    let whole = part(1, &entries);
    for at in (0..whole.bytes.len()).step_by(3) {
        let mut damaged = whole.clone();
        damaged.bytes[at] ^= 0x55;
        // Whatever it says, it says it in peace.
        let _ = replay([damaged]).to_string();
    }
    assert_says(
        &one(&entries[1..]).to_string(),
        &["the first record must say whose trace it is"],
    );
    let text = Part::named("a.trace".to_owned(), b"{}".to_vec());
    assert_says(
        &replay([text]).to_string(),
        &["a.trace, record 0", "must begin as traces of this version do"],
    );
    let text = forged(|entries| {
        let far = Mention { value: 9, whole: true };
        let held = value(3);
        entries[STEP_READ].step().0.request = Request::Write(trace::accepted(&held, &mut |_| far));
    });
    assert_says(&text, &["every value that a record mentions must be in it"]);
}
