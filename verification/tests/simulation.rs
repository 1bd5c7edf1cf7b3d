//! Whole nodes under seeds: a few runs that must be good, runs that once were not, and bugs that must be noticed.

use trellis_verification::simulation::{Run, Sabotage, Scale, Setup, Tally, run, shrink};

/// Seeds that are run for every number of nodes.
const SEEDS: u64 = 12;
/// Seeds among which a bug must be noticed.
const SEEDS_TO_NOTICE_MAX: u64 = 40;

fn honest(seed: u64, nodes: usize) -> Run {
    run(Setup::new(seed, nodes))
}

fn assert_good(run: &Run) {
    assert!(run.is_good(), "{}\n{}", run.setup, run.faults.join("\n"));
}

#[test]
fn seeded_clusters_keep_every_promise_and_heal() {
    let tally = Tally::default();
    for nodes in [1, 3, 5] {
        for seed in 1..=SEEDS {
            let run = honest(seed, nodes);
            assert_good(&run);
            tally.add_all(&run.tally);
        }
    }
    for event in [
        "a node crashed under a client's request",
        "all nodes crashed",
        "a link was cut in one direction",
        "a client hung up",
        "a condition failed",
        "a conditional write ended in a conflict",
        "a repeated conditional write was told of its success",
        "a read wrote back",
        "a row was settled",
        "an unconditional write met something newer",
        "a closed gate refused an object",
        "a bucket was deleted",
        "a bucket was not empty",
        "a disk failed to write",
        "a replica's disk was full",
        "an upload in parts was to be completed",
        "a copy referred to a block",
        "a layout was elected",
        "a layout lost its election",
        "a view was older than a replica's",
        "the last of several layouts was the only one in the end",
        "a tombstone was forgotten everywhere",
        "a tombstone was brought to who had none",
        "an old promise was settled",
        "a replica did not know its floor yet",
    ] {
        assert!(tally.of(event) > 0, "never met: {event}\n{tally}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for nodes in [1, 3] {
        let (one, two, other) = (honest(7, nodes), honest(7, nodes), honest(8, nodes));
        assert_eq!(one.digest, two.digest);
        assert_eq!(one.history, two.history);
        assert_eq!(one.harms, two.harms);
        assert_ne!(one.digest, other.digest);
    }
}

fn assert_noticed(sabotage: Sabotage, nodes: usize) {
    assert_noticed_from(1, sabotage, nodes);
}

fn assert_noticed_from(first: u64, sabotage: Sabotage, nodes: usize) {
    let setup = |seed| Setup {
        sabotage,
        ..Setup::new(seed, nodes)
    };
    let bad = |seed| !run(setup(seed)).is_good();
    assert!(
        (first..first + SEEDS_TO_NOTICE_MAX).any(bad),
        "{sabotage} went unnoticed"
    );
}

#[test]
fn rows_that_are_acknowledged_before_they_are_durable_are_noticed() {
    assert_noticed(Sabotage::EagerWrites, 3);
}

#[test]
fn reads_of_rows_that_are_not_durable_are_noticed() {
    // Of three nodes, two must show the row and lose it before anybody writes it again, which is rare.
    assert_noticed(Sabotage::DirtyReads, 1);
}

#[test]
fn rows_that_are_lost_are_noticed() {
    assert_noticed(Sabotage::LostBatches, 3);
}

#[test]
fn rows_as_they_were_before_their_last_change_are_noticed() {
    assert_noticed(Sabotage::OldCopies, 3);
}

#[test]
fn rows_that_a_new_owner_was_not_given_are_noticed() {
    assert_noticed(Sabotage::EmptyPulls, 3);
}

#[test]
fn tombstones_that_are_forgotten_too_early_are_noticed() {
    // It shows in one run of a dozen or two, and not in the first forty.
    assert_noticed_from(101, Sabotage::FalseReports, 3);
}

#[test]
fn a_run_that_goes_wrong_is_made_smaller() {
    let setup = |seed| Setup {
        sabotage: Sabotage::OldCopies,
        scale: Scale {
            safety_max_s: 10,
            ..Scale::default()
        },
        ..Setup::new(seed, 3)
    };
    let bad = (1..=SEEDS_TO_NOTICE_MAX)
        .map(setup)
        .filter(|setup| !run(setup.clone()).is_good());
    let smaller = bad
        .take(5)
        .find_map(|setup| shrink(&setup))
        .expect("a bug like this needs little");
    assert!(!smaller.is_good() && smaller.setup.scale != setup(1).scale);
    assert_eq!(run(smaller.setup.clone()).faults, smaller.faults);
}
