//! The history checkers against forged histories: each bad one is rejected by its name, each good one accepted; and
//! against random ones, where the brute-force twin knows the truth.

use proptest::prelude::*;
use trellis_verification::history::anomaly::Kind;
use trellis_verification::history::report::Report;
use trellis_verification::history::{
    Action, Condition, Entry, Operation, Outcome, brute, check, conflict, file, key, linear,
};

fn at(call: u64, answer: u64, action: Action, outcome: Outcome) -> Operation {
    Operation {
        client: 1,
        call,
        answer: Some(answer),
        action,
        outcome,
    }
}

fn put(call: u64, answer: u64, value: &str) -> Operation {
    put_if(call, answer, value, Condition::Always, Outcome::Done)
}

fn put_if(call: u64, answer: u64, value: &str, condition: Condition, outcome: Outcome) -> Operation {
    at(
        call,
        answer,
        Action::Put {
            key: "k".to_owned(),
            value: value.to_owned(),
            condition,
        },
        outcome,
    )
}

fn delete(call: u64, answer: u64) -> Operation {
    delete_if(call, answer, Condition::Always, Outcome::Done)
}

fn delete_if(call: u64, answer: u64, condition: Condition, outcome: Outcome) -> Operation {
    at(
        call,
        answer,
        Action::Delete {
            key: "k".to_owned(),
            condition,
        },
        outcome,
    )
}

fn get(call: u64, answer: u64, value: Option<&str>) -> Operation {
    let outcome = value.map_or(Outcome::NotFound, |value| Outcome::Found {
        value: value.to_owned(),
    });
    at(
        call,
        answer,
        Action::Get {
            key: "k".to_owned(),
            condition: Condition::Always,
        },
        outcome,
    )
}

fn page(call: u64, answer: u64, entries: &[(&str, &str)], until: Option<&str>) -> Operation {
    let entry = |(key, value): &(&str, &str)| Entry {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
    };
    let action = Action::List {
        prefix: String::new(),
        after: String::new(),
    };
    let outcome = Outcome::Page {
        entries: entries.iter().map(entry).collect(),
        until: until.map(str::to_owned),
    };
    at(call, answer, action, outcome)
}

fn unknown() -> Outcome {
    Outcome::Unknown { why: "503".to_owned() }
}

fn is(value: &str) -> Condition {
    Condition::Is(value.to_owned())
}

#[track_caller]
fn assert_bad(kind: Kind, history: &[Operation]) {
    let verdict = check(history);
    let kinds: Vec<Kind> = verdict.findings.iter().map(|finding| finding.kind).collect();
    let report = Report {
        verdict: &verdict,
        history,
    }
    .to_string();
    assert!(kinds.contains(&kind), "expected {kind:?} of\n{report}");
    assert!(report.contains(kind.sentence()), "{report}");
    let steps = &key::split(history)["k"].steps;
    let is_page_rule = matches!(
        kind,
        Kind::PageOutOfOrder | Kind::PageOutsideRange | Kind::AnsweredAgainstCondition
    );
    assert_eq!(
        brute::is_linearizable(steps),
        is_page_rule,
        "the twin disagrees about\n{report}"
    );
}

#[track_caller]
fn assert_good(history: &[Operation]) {
    let verdict = check(history);
    assert!(
        verdict.is_good(),
        "{}",
        Report {
            verdict: &verdict,
            history
        }
    );
}

#[test]
fn lost_writes_are_named() {
    assert_bad(
        Kind::LostWrite,
        &[put(0, 10, "a"), put(20, 30, "b"), get(40, 50, Some("a"))],
    );
    assert_bad(Kind::LostWrite, &[put(0, 10, "a"), get(20, 30, None)]);
    assert_bad(
        Kind::WentBack,
        &[
            put(0, 10, "a"),
            put_if(20, 90, "b", is("a"), Outcome::Done),
            get(30, 40, Some("b")),
            get(50, 60, Some("a")),
        ],
    );
}

#[test]
fn what_comes_back_is_named() {
    assert_bad(
        Kind::DeletedReturned,
        &[put(0, 10, "a"), delete(20, 30), get(40, 50, Some("a"))],
    );
    assert_bad(
        Kind::WentBack,
        &[
            put(0, 10, "a"),
            delete(20, 90),
            get(30, 40, None),
            get(50, 60, Some("a")),
        ],
    );
}

#[test]
fn values_from_nowhere_are_named() {
    assert_bad(Kind::UnwrittenValue, &[put(0, 10, "a"), get(20, 30, Some("x"))]);
    assert_bad(Kind::FutureValue, &[get(0, 10, Some("a")), put(20, 30, "a")]);
    let failed = Outcome::Failed {
        why: "400 InvalidDigest".to_owned(),
    };
    assert_bad(
        Kind::FailedWriteSeen,
        &[put_if(0, 10, "a", Condition::Always, failed), get(20, 30, Some("a"))],
    );
}

#[test]
fn broken_conditions_are_named() {
    let create = |call, value| put_if(call, call + 10, value, Condition::Absent, Outcome::Done);
    assert_bad(Kind::TwoWinners, &[create(0, "a"), create(5, "b")]);
    let from_a = |call, value| put_if(call, call + 10, value, is("a"), Outcome::Done);
    assert_bad(Kind::TwoWinners, &[put(0, 3, "a"), from_a(5, "b"), from_a(6, "c")]);
    assert_bad(
        Kind::WroteOnOldState,
        &[put(0, 3, "a"), put(5, 8, "b"), from_a(20, "c")],
    );
    assert_bad(Kind::ImpossibleSuccess, &[from_a(20, "c")]);
    let refused = |call, condition| put_if(call, call + 10, "z", condition, Outcome::Refused);
    assert_bad(Kind::ImpossibleRefusal, &[refused(0, Condition::Absent)]);
    assert_bad(Kind::ImpossibleRefusal, &[put(0, 3, "a"), refused(5, is("a"))]);
    assert_bad(
        Kind::ImpossibleRefusal,
        &[put(0, 3, "a"), delete_if(5, 9, is("a"), Outcome::Refused)],
    );
    let read = Action::Get {
        key: "k".to_owned(),
        condition: is("b"),
    };
    let found = Outcome::Found { value: "a".to_owned() };
    assert_bad(Kind::AnsweredAgainstCondition, &[put(0, 3, "a"), at(5, 9, read, found)]);
}

/// A conditional write of unknown outcome takes effect once at most: it takes all five operations to see the second time.
#[test]
fn entangled_violations_are_found_and_cut_to_the_conflict() {
    let once = put_if(10, 20, "a", Condition::Absent, unknown());
    let mut history = vec![
        once,
        get(30, 40, Some("a")),
        delete(50, 60),
        get(70, 80, None),
        get(90, 95, Some("a")),
    ];
    assert_good(&history[..4]);
    assert_bad(Kind::NotLinearizable, &history);
    for time in (1000..9000).step_by(100) {
        history.push(put(time, time + 10, &format!("noise {time}")));
        history.push(get(time + 20, time + 30, Some(&format!("noise {time}"))));
    }
    history.insert(0, put(0, 5, "noise"));
    history.insert(1, delete(6, 8));
    let verdict = check(&history);
    assert_eq!(verdict.findings.len(), 1);
    let blamed = &verdict.findings[0].operations;
    assert!(
        blamed.iter().all(|index| (2..7).contains(index)) && blamed.len() >= 4,
        "{blamed:?}"
    );
}

#[test]
fn pages_are_reads_of_every_key_in_their_range() {
    let mut history = vec![put(0, 10, "a"), page(20, 30, &[], None)];
    assert_bad(Kind::MissingFromPage, &history);
    history[1] = page(20, 30, &[], Some("j"));
    assert_good(&history);
    history[1] = page(20, 30, &[("k", "a")], Some("k"));
    assert_good(&history);
    history.extend([delete(40, 50), page(60, 70, &[("k", "a")], None)]);
    assert_bad(Kind::DeletedInPage, &history);
    history[3] = page(45, 70, &[("k", "a")], None);
    assert_good(&history);
    history.push(page(80, 90, &[("k", "a")], Some("j")));
    assert_bad(
        Kind::PageOutsideRange,
        &[put(0, 10, "a"), page(20, 30, &[("k", "a")], Some("j"))],
    );
    assert_bad(
        Kind::PageOutOfOrder,
        &[put(0, 10, "a"), page(20, 30, &[("k", "a"), ("k", "a")], None)],
    );
}

#[test]
fn what_the_specification_allows_is_accepted() {
    // An unconditional write may take effect several times inside its interval, even around a conditional one.
    assert_good(&[
        put(0, 100, "a"),
        get(10, 20, Some("a")),
        put_if(30, 40, "b", is("a"), Outcome::Done),
        get(50, 60, Some("b")),
        get(70, 80, Some("a")),
        get(110, 120, Some("a")),
    ]);
    // A write of unknown outcome may take effect at any later time, or never.
    let lost = put_if(0, 10, "a", Condition::Always, unknown());
    assert_good(&[
        lost.clone(),
        get(20, 30, None),
        get(40, 50, Some("a")),
        put(60, 70, "b"),
        get(80, 90, Some("a")),
    ]);
    assert_good(&[lost, get(20, 30, None)]);
    // Of racing creators one is told 200, or its outcome is unknown.
    let create = |value, outcome| put_if(0, 10, value, Condition::Absent, outcome);
    assert_good(&[
        create("a", Outcome::Refused),
        create("b", unknown()),
        get(20, 30, Some("b")),
    ]);
}

#[test]
fn files_keep_histories_and_refuse_nonsense() {
    let history = vec![
        put_if(1, 2, "a", Condition::Absent, Outcome::Done),
        get(3, 4, None),
        page(5, 6, &[("k", "a")], Some("k")),
    ];
    let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    file::write(&path, &history).unwrap();
    assert_eq!(file::read(&path).unwrap(), history);
    for bad in [
        put(5, 4, "a"),
        put_if(1, 2, "a", Condition::Always, Outcome::Refused),
        put_if(1, 2, "a", Condition::Always, Outcome::NotFound),
    ] {
        file::write(&path, &[bad]).unwrap();
        assert!(matches!(
            file::read(&path),
            Err(file::ReadError::Nonsense { line: 1, .. })
        ));
    }
    assert!(matches!(
        file::parse("\n{}".as_bytes()),
        Err(file::ReadError::Syntax { line: 2, .. })
    ));
}

#[test]
fn the_examples_of_the_readme_are_histories() {
    let readme = include_str!("../README.md");
    let lines: Vec<&str> = readme.lines().filter(|line| line.starts_with('{')).collect();
    let history = file::parse(lines.join("\n").as_bytes()).unwrap();
    assert_eq!(history.len(), 2);
    assert_good(&history);
}

/// The same after a long chain of conditional writes: found quickly, and still blamed on few.
#[test]
fn conflicts_are_cut_out_of_long_histories() {
    let mut history = vec![put(0, 1, "step 0")];
    for step in 1..4000 {
        let condition = is(&format!("step {}", step - 1));
        history.push(put_if(
            step * 10,
            step * 10 + 5,
            &format!("step {step}"),
            condition,
            Outcome::Done,
        ));
        history.push(get(step * 10 + 6, step * 10 + 8, Some(&format!("step {step}"))));
    }
    let (length, end) = (history.len(), 100_000);
    history.extend([
        delete(end, end + 1),
        put_if(end + 2, end + 3, "a", Condition::Absent, unknown()),
    ]);
    history.extend([
        get(end + 4, end + 5, Some("a")),
        delete(end + 6, end + 7),
        get(end + 8, end + 9, None),
    ]);
    history.push(get(end + 10, end + 11, Some("a")));
    let verdict = check(&history);
    let blamed = &verdict.findings[0].operations;
    assert!(
        blamed.iter().all(|index| *index >= length) && blamed.len() >= 4,
        "{blamed:?}"
    );
}

/// One operation of a small vocabulary; many of them contradict each other.
fn operation() -> impl Strategy<Value = Operation> {
    let value = prop_oneof![Just("a"), Just("b"), Just("c"), Just("d")];
    let condition = prop_oneof![
        4 => Just(Condition::Always),
        2 => Just(Condition::Absent),
        3 => value.clone().prop_map(is),
        1 => Just(Condition::Present),
    ];
    (0_u64..30, 0_u64..10, 0..8, value, condition, 0..6).prop_map(|(call, length, kind, value, condition, fate)| {
        let outcome = match (fate, condition.is_always()) {
            (0, _) => unknown(),
            (1, false) => Outcome::Refused,
            (1.., _) | (_, _) => Outcome::Done,
        };
        match kind {
            0..=2 => put_if(call, call + length, value, condition, outcome),
            3 => delete_if(call, call + length, condition, outcome),
            4 => get(call, call + length, None),
            5 => page(call, call + length, &[("k", value)], None),
            _ => get(call, call + length, Some(value)),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Named rules are sound, the whole is exact, and what is blamed is a conflict by itself.
    #[test]
    fn the_verdict_is_the_twins_verdict(history in proptest::collection::vec(operation(), 0..8)) {
        let keys = key::split(&history);
        let is_good = keys.values().all(|key| brute::is_linearizable(&key.steps));
        prop_assert_eq!(check(&history).is_good(), is_good, "{:#?}", history);
        if let Some(key) = keys.get("k")
            && let linear::Verdict::Violated { step } = linear::check(&key.steps)
        {
            let conflict = conflict::shrink(&key.steps, step);
            let blamed: Vec<usize> = conflict.steps.iter().map(|&index| key.steps[index].operation).collect();
            let is_kept = |index, operation: &Operation| {
                blamed.contains(&index) || operation.answer.is_some_and(|answer| answer < conflict.since)
            };
            let relaxed = history.iter().enumerate().map(|(index, operation)| relax(operation, is_kept(index, operation)));
            let relaxed: Vec<Operation> = relaxed.collect();
            let relaxed = &key::split(&relaxed)["k"].steps;
            prop_assert!(!brute::is_linearizable(relaxed), "{conflict:?} is blamed in {history:#?}");
        }
    }
}

fn relax(operation: &Operation, keep: bool) -> Operation {
    let outcome = if keep || operation.outcome == Outcome::Refused {
        operation.outcome.clone()
    } else {
        unknown()
    };
    Operation {
        outcome,
        ..operation.clone()
    }
}
