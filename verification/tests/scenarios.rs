//! Counterexamples of the model, followed by whole nodes: sound ones part from them, and clients are told nothing wrong.
//!
//! With the feature `seeded-bugs` the nodes can have the very flaw, and then the same steps show it again.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use trellis_model::transcript::Scenario;
use trellis_verification::simulation::scenario::{Played, play};

/// Fewer have been kept before.
const KEPT_MIN: usize = 30;

fn kept() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/scenarios");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

fn played(file: &Path) -> Played {
    let scenario: Scenario = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    play(&scenario, 1).unwrap()
}

#[test]
fn sound_nodes_part_from_every_counterexample() {
    let (files, mut documented) = (kept(), documented());
    assert!(files.len() >= KEPT_MIN);
    for file in files {
        let played = played(&file);
        assert!(played.parted.is_some(), "{}: {played}", file.display());
        assert!(played.is_good(), "{}: {played}", file.display());
        let name = file.file_stem().unwrap().to_str().unwrap();
        assert_eq!(documented.remove(name), Some(played.followed()), "{name}: {played}");
    }
    assert_eq!(documented, BTreeMap::new(), "no such scenarios are kept");
}

/// To which step sound nodes follow each scenario, as users are told.
fn documented() -> BTreeMap<String, usize> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/verification.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, table) = page.split_once("sound nodes follow to step").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let row = |line: &str| {
        let mut cells = line.split('|').map(str::trim);
        let name = cells.nth(1).unwrap().trim_matches('`').to_owned();
        (name, cells.nth(1).unwrap().parse().unwrap())
    };
    rows.map(row).collect()
}

/// Scenarios in which layouts follow each other: the steps that sound nodes take, and what they do instead of the next.
const GUARDS: [(&str, usize, &str); 10] = [
    ("answers-kept-across-views", 7, "is told Found"),
    ("drops-early", 21, "B keeps its rows"),
    ("no-view-on-requests", 7, "says Accept, the node Refused"),
    ("pull-does-not-wedge", 3, "says Accept, the node Refused"),
    (
        "quorum-of-newest",
        5,
        "is told nothing here: on their way are write of row 0 to A",
    ),
    ("retires-early", 13, "D still needs layout 1"),
    ("serves-older-hi", 6, "says Accept, the node Refused"),
    ("serves-older-lo", 7, "says Row(Nothing), the node Refused"),
    ("sync-from-one", 4, "B is not synced for layout 2"),
    ("view-not-adopted", 4, "says Accept, the node Refused"),
];

#[test]
fn sound_nodes_follow_layouts_up_to_the_guard_that_the_mutant_lacks() {
    for (name, steps, instead) in GUARDS {
        let file = format!("{}/../model/scenarios/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let played = played(Path::new(&file));
        assert_eq!(played.followed(), steps, "{name}: {played}");
        let parted = played.parted.unwrap();
        assert!(parted.why.contains(instead), "{name}: {parted:?}");
    }
}

#[test]
fn the_same_scenario_is_played_in_the_same_way() {
    for name in ["no-write-back", "drops-early"] {
        let file = format!("{}/../model/scenarios/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let (one, two) = (played(Path::new(&file)), played(Path::new(&file)));
        assert_eq!((one.parted, one.history), (two.parted, two.history));
    }
}

/// The flaws that the program can have, whose counterexamples are followed to the end and seen by the checkers.
#[cfg(feature = "seeded-bugs")]
const SHOWN: [&str; 20] = [
    "accept-ignores-promise",
    "answers-kept-across-views",
    "drops-early",
    "filter-before-merge",
    "forgets-own-proposal",
    "gate-unchecked",
    "goes-back",
    "listing-from-one",
    "no-view-on-requests",
    "no-write-back",
    "prepare-below-quorum",
    "quorum-of-newest",
    "read-below-quorum",
    "refuses-unsettled",
    "repeats-replaced-proposal",
    "serves-older-hi",
    "sync-from-one",
    "write-back-below-quorum",
    "write-below-quorum",
    "write-ignores-promise",
];

/// What nodes with this flaw do in its counterexample: whether all was well, and what the program said.
#[cfg(feature = "seeded-bugs")]
fn played_with(flaw: &str) -> (bool, String) {
    let file = format!("{}/../model/scenarios/{flaw}.json", env!("CARGO_MANIFEST_DIR"));
    let mut simulate = std::process::Command::new(env!("CARGO_BIN_EXE_simulate"));
    let played = simulate.args(["--scenario", &file]).env("TRELLIS_SEEDED_BUG", flaw);
    let played = played.output().unwrap();
    let said = String::from_utf8_lossy(&played.stdout).into_owned();
    (played.status.success(), said)
}

#[cfg(feature = "seeded-bugs")]
#[test]
fn nodes_with_the_flaw_show_it_again() {
    for flaw in SHOWN {
        let (is_good, said) = played_with(flaw);
        assert!(!is_good && said.contains("FAULT"), "{flaw}: {said}");
        assert!(!said.contains("parted"), "{flaw}: {said}");
    }
}
