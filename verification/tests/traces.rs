//! Traces of simulated nodes, taken again: those of sound nodes come out as recorded, and what is not right is named.

use trellis_model::trace::{Replayed, replay};
use trellis_verification::simulation::{Run, Sabotage, Setup, run, run_recorded};

/// Seeds among which a bug must be noticed.
const SEEDS_TO_NOTICE_MAX: u64 = 10;

fn replayed(setup: Setup) -> (Run, Replayed) {
    let (run, parts) = run_recorded(setup);
    (run, replay(parts))
}

#[test]
fn what_sound_nodes_recorded_comes_out_again() {
    let (mut syncs, mut elections, mut electors, mut deletions) = (0, 0, 0, 0);
    let (mut refused, mut layouts) = (0, 0);
    for (seed, nodes) in [(1, 1), (2, 3), (3, 3), (4, 5)] {
        let (run, replayed) = replayed(Setup::new(seed, nodes));
        assert!(replayed.is_good(), "{}\n{replayed}", run.setup);
        let tally = replayed.tally;
        assert_eq!((tally.lost, tally.cut_off, tally.gaps), (0, 0, 0));
        assert!(tally.attempts > 500 && tally.linked > tally.steps / 2, "{tally}");
        assert!(tally.listings > 20 && tally.pages > 20, "{tally}");
        // Of every node it is known at every step what it knew of layouts.
        assert_eq!(tally.doors, tally.steps + tally.refused + tally.pages, "{tally}");
        assert!(tally.lives > nodes as u64, "nobody crashed: {tally}");
        syncs += tally.syncs;
        elections += tally.elections;
        electors += tally.electors;
        deletions += tally.deletions;
        refused += tally.refused;
        layouts += tally.layouts;
    }
    assert!(syncs > 20 && deletions > 0, "{syncs} {deletions}");
    assert!(elections > 0 && electors > elections, "{elections} {electors}");
    assert!(refused > 0 && layouts > 20, "{refused} {layouts}");
}

#[test]
fn recording_changes_nothing() {
    let setup = Setup::new(7, 3);
    assert_eq!(run(setup.clone()).digest, run_recorded(setup).0.digest);
}

#[test]
fn bugs_between_a_node_and_its_disk_are_noticed() {
    for sabotage in [Sabotage::EagerWrites, Sabotage::LostBatches, Sabotage::OldCopies] {
        let setup = |seed| Setup {
            sabotage,
            ..Setup::new(seed, 3)
        };
        let named = (1..=SEEDS_TO_NOTICE_MAX).find_map(|seed| replayed(setup(seed)).1.divergence);
        let wrong = named.unwrap_or_else(|| panic!("{sabotage} went unnoticed")).wrong;
        // A row, or what is known of layouts.
        let is_of_the_disk =
            wrong.expected.starts_with("on the row as it was") || wrong.expected.starts_with("as it was");
        assert!(is_of_the_disk, "{sabotage}: {wrong:?}");
    }
}
