//! C11: listings.

use stateright::Property;
use trellis_spec::flaw::Flaw;
use trellis_spec::register::WriteMode;

use super::c6_transition::OVERLAP;
use super::{Claim, Mutant, Size, told};
use crate::coordinator::Outcome;
use crate::world::{Clocks, World};

pub(super) fn claim() -> Claim {
    Claim {
        name: "C11",
        sentence: "A listing shows of every key nothing older than any operation that completed before it started, and \
                   listings that follow each other do not go back. A page is not a snapshot of several keys.",
        source: "own; a range read of Attiya, Bar-Noy, Dolev 1995",
        sizes: vec![
            Size::small("W|LIST;LIST", "strict", 1_037, strict),
            Size::small("W;DEL|LIST", "strict", 17_963, strict),
            Size::small("W;W@1|LIST", "strict, one row a page", 20_800, paged),
            Size::small("W|W@1|LIST", "strict, one row a page", 73_636, paged),
            Size::walk("W;DEL|LIST;LIST", "strict, ABC, then BCD", 2_000, 83_380, moving),
            Size::long_walk(
                "W;DEL|W@1|LIST;R",
                "strict, ABC, then BCD, many walks",
                2_500_654,
                moving,
            ),
            Size::large("W;DEL|LIST;LIST", "strict", 629_663, strict),
            Size::large("W|W|LIST;LIST", "strict", None, strict),
            Size::large("W;DEL|W@1|LIST;R", "strict, one row a page", None, paged),
            Size::large("W|INM|LIST", "strict", 2_168_885, strict),
        ],
        mutants: vec![
            Mutant::rule(
                "filter-before-merge",
                "pages are merged before tombstones are left out",
                Flaw::FilterBeforeMerge,
                Size::hunt("W;DEL|LIST;LIST", "strict", strict),
            ),
            Mutant::rule(
                "listing-without-repair",
                "rows that differ are repaired before a page is returned",
                Flaw::ListingWithoutRepair,
                Size::hunt("W|LIST;LIST", "strict", strict),
            ),
            Mutant::rule(
                "repair-live-rows-only",
                "tombstones that differ are repaired too",
                Flaw::RepairLiveRowsOnly,
                Size::hunt("W;DEL|LIST;LIST", "strict", strict),
            ),
            Mutant::rule(
                "merge-beyond-bound",
                "the merge ends at the smallest bound that an answer was scanned to",
                Flaw::MergeBeyondBound,
                Size::hunt("W;W@1|LIST", "strict, one row a page", paged),
            ),
            Mutant::rule(
                "listing-from-one",
                "a page comes from a majority of replicas",
                Flaw::ListingFromOne,
                Size::hunt("W|LIST", "strict", strict),
            ),
        ],
    }
}

fn strict(world: &mut World) {
    world.mode = WriteMode::Strict;
    world.claims = vec![Property::sometimes("a listing showed something", |_, state| {
        told(
            state,
            |outcome| matches!(outcome, Outcome::Listed(rows) if !rows.is_empty()),
        )
    })];
}

fn paged(world: &mut World) {
    strict(world);
    world.page_limit = 1;
}

fn moving(world: &mut World) {
    strict(world);
    world.clocks = Clocks::InOrder;
    world.transit(&OVERLAP);
}
