//! The program, and the scenarios that were saved with it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use trellis_model::transcript::{ReplayError, Scenario};
use trellis_model::world::{Action, Verdict};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trellis-model"))
        .args(arguments)
        .output()
        .expect("the program was built")
}

fn scenario(name: &str) -> Scenario {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(name);
    let bytes = fs::read(file).expect("the scenario is kept");
    serde_json::from_slice(&bytes).expect("it is a scenario")
}

#[test]
fn a_claim_is_checked_and_listed() {
    let listed = run(&["list"]);
    assert!(listed.status.success() && String::from_utf8_lossy(&listed.stdout).contains("C12: "));
    let checked = run(&["check", "C1", "--size", "W|R (strict)"]);
    assert!(checked.status.success());
    assert!(String::from_utf8_lossy(&checked.stdout).contains("holds  W|R (strict)"));
    assert!(!run(&["check", "C99"]).status.success());
}

#[test]
fn what_a_protocol_is_known_not_to_keep_is_shown() {
    let checked = run(&["check", "quorums", "--size", "reads follow reads"]);
    assert!(checked.status.success());
    let text = String::from_utf8_lossy(&checked.stdout);
    let new = text.find("#1 is told: Found(Some(OpIndex(0)))");
    let old = text.find("#2 is told: Found(None)");
    assert!(
        text.contains("violated, as known") && new.is_some() && new < old,
        "{text}"
    );
}

#[test]
fn a_mutant_is_caught_saved_and_replayed() {
    let file = std::env::temp_dir().join(format!("trellis-model-{}.json", std::process::id()));
    let name = file.to_str().unwrap();
    let caught = run(&["mutants", "no-write-back", "--save", name]);
    assert!(caught.status.success());
    assert!(String::from_utf8_lossy(&caught.stdout).ends_with("1 of 1 caught\n"));
    let replayed = run(&["replay", name]);
    fs::remove_file(&file).unwrap();
    assert!(replayed.status.success());
    assert!(String::from_utf8_lossy(&replayed.stdout).contains("WentBack"));
    assert!(!run(&["mutants", "no-such-mutant"]).status.success());
}

#[test]
fn an_object_that_only_a_suspect_shows_is_not_lost_with_its_bucket() {
    let walk = scenario("suspects-read-again.json").replay().unwrap();
    assert_eq!(walk.verdict, Verdict::NotLinearizable);
    let mut sound = scenario("suspects-read-again.json");
    sound.world = "W|DROP (strict, clocks in order)".to_owned();
    let walked = sound.replay();
    assert!(walked.is_err() || walked.is_ok_and(|walk| walk.verdict == Verdict::Fine));
}

#[test]
fn a_gate_that_a_new_owner_settles_cannot_be_opened_again() {
    let walk = scenario("gate-settled.json").replay().unwrap();
    let last = walk.text.lines().rev().find(|line| line.contains("write gate Open"));
    assert!(last.is_some_and(|line| line.contains("refused for") && line.contains("is told: no result")));
    let mut sound = scenario("gate-settled.json");
    sound.world = "W|DROP (AB, then BC)".to_owned();
    assert!(matches!(sound.replay(), Err(ReplayError::Impossible(_))));
}

#[test]
fn what_is_forgotten_too_early_comes_back() {
    for (name, size) in [
        ("forgets-while-pulling.json", "W;DEL;R (A, then A again)"),
        (
            "forgotten-taken-for-never.json",
            "INM|R;DEL;R (strict, clocks in order)",
        ),
        ("floor-is-a-report.json", "W;DEL;R (AB, then ABC, other rows too)"),
        ("base-ignores-floor.json", "INM|R;DEL;INM (strict, clocks in order)"),
    ] {
        let walk = scenario(name).replay().unwrap();
        assert_eq!(walk.verdict, Verdict::NotLinearizable, "{name}");
        let mut sound = scenario(name);
        sound.world = size.to_owned();
        let walked = sound.replay();
        let is_fine = match walked {
            Ok(walk) => walk.verdict == Verdict::Fine,
            Err(error) => matches!(error, ReplayError::Impossible(_)),
        };
        assert!(is_fine, "{name}");
    }
}

#[test]
fn what_cannot_happen_is_not_replayed() {
    let mut forged = scenario("suspects-read-again.json");
    forged.steps.insert(0, Action::Crash { column: 2 });
    assert_eq!(
        forged.replay().map(|walk| walk.verdict),
        Err(ReplayError::Impossible(0))
    );
}

#[test]
fn a_folder_is_replayed_as_traces() {
    let folder = std::env::temp_dir().join(format!("trellis-model-traces-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let nothing = run(&["replay", folder.to_str().unwrap()]);
    fs::write(folder.join("0-1.trace"), "no trace").unwrap();
    let other = run(&["replay", folder.to_str().unwrap()]);
    fs::remove_dir_all(&folder).unwrap();
    assert!(!nothing.status.success() && !other.status.success());
    assert!(String::from_utf8_lossy(&nothing.stdout).contains("nothing to check"));
    assert!(String::from_utf8_lossy(&other.stdout).contains("0-1.trace, record 0"));
}

#[test]
fn the_page_of_comparisons_says_what_the_program_prints() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocols/comparison.md");
    let page = fs::read_to_string(file).expect("there is a page");
    let (_, rest) = page.split_once("<!-- compare -->\n").expect("it has a beginning");
    let (tables, _) = rest.split_once("<!-- /compare -->\n").expect("it has an end");
    let compared = run(&["compare"]);
    assert!(compared.status.success());
    let printed = String::from_utf8_lossy(&compared.stdout);
    assert_eq!(
        tables.trim(),
        printed.trim(),
        "`cargo model compare` prints what stands there"
    );
}
