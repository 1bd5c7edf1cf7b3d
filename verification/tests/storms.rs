//! Storms: a few seconds in which layouts follow each other over links that are late, with an eye on every disk.

use trellis_verification::simulation::{Run, Sabotage, Setup, Tally, run};

/// Seeds that are run for every number of nodes.
const SEEDS: u64 = 6;
/// Seeds among which a bug must be noticed.
const SEEDS_TO_NOTICE_MAX: u64 = 10;

fn assert_good(run: &Run) {
    assert!(run.is_good(), "{}\n{}", run.setup, run.faults.join("\n"));
}

#[test]
fn sound_clusters_weather_storms() {
    let tally = Tally::default();
    for nodes in [3, 4, 5] {
        for seed in 1..=SEEDS {
            let run = run(Setup::storm(seed, nodes));
            assert_good(&run);
            tally.add_all(&run.tally);
        }
    }
    for event in [
        "each link was late in its own way",
        "a node heard late",
        "a node spoke late",
        "a layout was elected",
        "a view was older than a replica's",
        "a read wrote back",
        "a copy referred to a block",
        "a row was dropped by who had left",
        "a node said in a storm that everything is whole",
        "a node said that something is missing",
        "the last of several layouts was the only one in the end",
    ] {
        assert!(tally.of(event) > 0, "never met: {event}\n{tally}");
    }
}

#[test]
fn the_same_seed_gives_the_same_storm() {
    let (one, two, other) = (
        run(Setup::storm(7, 5)),
        run(Setup::storm(7, 5)),
        run(Setup::storm(8, 5)),
    );
    assert_eq!(one.digest, two.digest);
    assert_eq!(one.history, two.history);
    assert_eq!(one.harms, two.harms);
    assert_ne!(one.digest, other.digest);
}

#[test]
fn a_copy_that_a_new_owner_was_not_given_is_missed_on_its_disk() {
    let setup = |seed| Setup {
        sabotage: Sabotage::EmptyPulls,
        ..Setup::storm(seed, 5)
    };
    let lacks = |run: Run| run.faults.iter().any(|fault| fault.contains("says that it is synced"));
    assert!((1..=SEEDS_TO_NOTICE_MAX).any(|seed| lacks(run(setup(seed)))));
}

/// Bugs that show in few storms, and seldom or late in runs on real processes.
#[cfg(feature = "seeded-bugs")]
const SHOWN: [&str; 6] = [
    "drops-early",
    "full-unseen",
    "no-view-on-requests",
    "no-write-back",
    "serves-older-hi",
    "sync-from-one",
];

#[cfg(feature = "seeded-bugs")]
#[test]
fn storms_show_what_real_time_seldom_does() {
    use std::process::Command;
    for bug in SHOWN {
        let mut simulate = Command::new(env!("CARGO_BIN_EXE_simulate"));
        let storms = simulate.args(["--weather", "storm", "--nodes", "0", "--seeds", "200"]);
        let shown = storms
            .env("TRELLIS_SEEDED_BUG", bug)
            .output()
            .expect("it can be started");
        let said = String::from_utf8_lossy(&shown.stdout);
        assert!(!shown.status.success() && said.contains("FAULT"), "{bug}: {said}");
    }
}
