//! Counterexamples of the model, followed by whole nodes: sound ones part from them, and clients are told nothing wrong.
//!
//! With the feature `seeded-bugs` the nodes can have the very flaw, and then the same steps show it again.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::fs;
use std::path::{Path, PathBuf};

use trellis_model::transcript::Scenario;
use trellis_verification::simulation::scenario::{Played, play};

/// Fewer have been kept before.
const KEPT_MIN: usize = 19;

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
    let files = kept();
    assert!(files.len() >= KEPT_MIN);
    let mut followed = 0;
    for file in files {
        let played = played(&file);
        assert!(played.parted.is_some(), "{}: {played}", file.display());
        assert!(played.is_good(), "{}: {played}", file.display());
        followed += played.followed();
    }
    assert!(followed > 0, "nobody took a single step");
}

#[test]
fn the_same_scenario_is_played_in_the_same_way() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/scenarios/no-write-back.json");
    let (one, two) = (played(&file), played(&file));
    assert_eq!((one.parted, one.history), (two.parted, two.history));
}

/// The flaws that the program can have, whose counterexamples are followed to the end and seen by the checkers.
#[cfg(feature = "seeded-bugs")]
const SHOWN: [&str; 14] = [
    "accept-ignores-promise",
    "filter-before-merge",
    "forgets-own-proposal",
    "gate-unchecked",
    "goes-back",
    "listing-from-one",
    "no-write-back",
    "prepare-below-quorum",
    "read-below-quorum",
    "refuses-unsettled",
    "repeats-replaced-proposal",
    "write-back-below-quorum",
    "write-below-quorum",
    "write-ignores-promise",
];

#[cfg(feature = "seeded-bugs")]
#[test]
fn nodes_with_the_flaw_show_it_again() {
    use std::process::Command;
    for flaw in SHOWN {
        let file = format!("{}/../model/scenarios/{flaw}.json", env!("CARGO_MANIFEST_DIR"));
        let mut simulate = Command::new(env!("CARGO_BIN_EXE_simulate"));
        let shown = simulate
            .args(["--scenario", &file])
            .env("TRELLIS_SEEDED_BUG", flaw)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&shown.stdout);
        assert!(!shown.status.success() && said.contains("FAULT"), "{flaw}: {said}");
        assert!(!said.contains("parted"), "{flaw}: {said}");
    }
}
