//! Elections and deletions of buckets, right and wrong.

use super::*;

impl Entry {
    fn election(&mut self) -> &mut Vec<Event<Candidate>> {
        match self {
            Entry::Record(Record::Election(run)) => &mut run.events,
            Entry::Record(_) | Entry::Step(..) => panic!("a candidacy"),
        }
    }

    fn elector(&mut self) -> &mut ElectorStep {
        match self {
            Entry::Record(Record::Elector(step)) => step,
            Entry::Record(_) | Entry::Step(..) => panic!("an elector"),
        }
    }

    fn deletion(&mut self) -> &mut DeletionRun {
        match self {
            Entry::Record(Record::Deletion(run)) => run,
            Entry::Record(_) | Entry::Step(..) => panic!("a deletion"),
        }
    }
}

/// A layout that two of three electors choose.
pub(super) fn election() -> Entry {
    let sets = ReplicaSets::new(vec![NODES.to_vec()]);
    let (op, candidate) = (OpId([7; 16]), Candidate(LayoutMark(7)));
    let mut election: Election<Candidate, Sound> =
        Conditional::new(sets.clone(), op, Nominate::new(candidate), u64::MAX);
    let mut events = Vec::new();
    let mut told = |input: Input<Candidate>, step: Step<Candidate, ConditionalOutcome<Candidate>>| {
        let same = |candidate: &Candidate| *candidate;
        let said = trace::step(&step, &mut { same }, |outcome, _| trace::elected(outcome, same));
        events.push(Event::Told(input, said));
        if let Step::Ask(ask) = &step {
            events.extend(NODES.map(|node| Event::Sent(node, ask.request.clone())));
        }
    };
    told(Input::Start(stamp(3)), election.start(stamp(3)));
    let promise = Reply::Promise {
        accepted: None,
        floor: Stamp::ZERO,
    };
    for (round, reply) in [(1, promise), (2, Reply::Accept)] {
        for node in &NODES[..2] {
            let step = election.on_reply(round, *node, reply.clone());
            told(Input::Reply(round, *node, reply.clone()), step);
        }
    }
    Entry::Record(Record::Election(ElectionRun {
        version: LayoutVersion(2),
        sets,
        op,
        candidate,
        events,
    }))
}

/// A step of an elector as a node records it, and what it leaves.
pub(super) fn elector(cell: &Cell<Candidate>, request: Request<Candidate>, position: u64) -> (Entry, Cell<Candidate>) {
    let served = serve_elector::<Candidate, Sound>(cell, &request);
    let left = served.changed.clone().unwrap_or_else(|| cell.clone());
    let step = ElectorStep {
        version: LayoutVersion(2),
        cell: cell.clone(),
        request,
        reply: served.reply,
        kept: served
            .changed
            .as_ref()
            .map_or(Kept::AsItWas, |_| Kept::Replaced(position)),
        changed: served.changed,
    };
    (Entry::Record(Record::Elector(step)), left)
}

pub(super) fn prepare(time: u64) -> Request<Candidate> {
    Request::Prepare {
        ballot: stamp(time),
        purpose: Purpose::Propose,
    }
}

/// A bucket that is empty goes.
pub(super) fn deletion() -> Entry {
    let mut deletion = Deletion::default();
    let mut events = Vec::new();
    let mut told = |input, then: Deletion| {
        events.push((input, then.step()));
        then
    };
    for input in [
        DeletionInput::Swapped(Swapped::Under(stamp(4))),
        DeletionInput::Gate(Held::Set),
        DeletionInput::Listed(Emptiness::Empty),
        DeletionInput::Swapped(Swapped::Under(stamp(5))),
    ] {
        deletion = match input {
            DeletionInput::Swapped(swapped) => told(input, deletion.on_swapped(swapped)),
            DeletionInput::Gate(held) => told(input, deletion.on_gate(held)),
            DeletionInput::View => told(input, deletion.on_view()),
            DeletionInput::Listed(emptiness) => told(input, deletion.on_listed(emptiness)),
        };
    }
    let bucket = BucketId([3; 16]);
    Entry::Record(Record::Deletion(DeletionRun { bucket, events }))
}

#[test]
fn an_election_that_is_held_otherwise_is_named() {
    let text = forged(|entries| {
        let events = entries[ELECTION].election();
        let last = events.len() - 1;
        let Event::Told(_, said) = &mut events[last] else {
            panic!("the end")
        };
        *said = Step::Done(Outcome::Conditional(ConditionalOutcome::Unknown));
    });
    assert_says(
        &text,
        &[
            "record 7: a candidacy for layout 2 at node 0000000000000001",
            "was told  node 0000000000000002 to round 2: accepted",
            "expected  done: written the layout 0000000000000007 of operation 07070707 under 3.0007",
            "recorded  done: unknown",
        ],
    );
    let text = forged(|entries| _ = entries[ELECTION].election().remove(1));
    assert_says(&text, &["sent to node 0000000000000001", "it was not, before"]);
    let text = forged(|entries| entries[ELECTOR].elector().reply = Reply::Accept);
    assert_says(
        &text,
        &[
            "record 9: the elector of layout 2 at node 0000000000000001",
            "was told  promise 4.0007 to propose when it held nothing, promised 3.0007",
            "recorded  accepted; it is then: nothing, promised 4.0007",
        ],
    );
    let text = forged(|entries| entries[ELECTOR].elector().kept = Kept::AsItWas);
    assert_says(&text, &["expected  a change to nothing, promised 4.0007"]);
    let text = forged(|entries| entries[ELECTOR] = elector(&Cell::default(), prepare(4), 9).0);
    assert_says(&text, &["as it was left: nothing, promised 3.0007"]);
}

#[test]
fn an_elector_may_forget_in_a_crash_what_was_not_durable_and_nothing_else() {
    let (entries, _) = honest();
    let again = |cell: &Cell<Candidate>| {
        let (step, _) = elector(cell, prepare(9), 1);
        replay([part(1, &entries), part(2, &[opened(2, 0), step])])
    };
    let promised = |time| elector(&Cell::default(), prepare(time), 0).1;
    assert!(again(&promised(4)).is_good() && again(&promised(5)).is_good());
    assert_says(
        &again(&promised(3)).to_string(),
        &["as it was durable before the crash, or newer: nothing, promised 4.0007"],
    );
}

#[test]
fn a_deletion_that_goes_on_otherwise_is_named() {
    let text = forged(|entries| entries[DELETION].deletion().events[2].1 = DeletionStep::Decide(Fate::Active));
    assert_says(
        &text,
        &[
            "record 10: the deletion of bucket 03030303030303030303030303030303 at node",
            "was told  nothing is in it",
            "expected  decide: it goes",
            "recorded  decide: it stays",
        ],
    );
    let text = forged(|entries| _ = entries[DELETION].deletion().events.remove(1));
    assert_says(&text, &["an answer to: set the gate Closed under 4.0007"]);
}
