//! C12: deleting a bucket and writing into it.

use stateright::Property;
use trellis_spec::flaw::Flaw;
use trellis_spec::register::WriteMode;

use super::c6_transition::OVERLAP;
use super::{Claim, Mutant, Size, told};
use crate::check::Search;
use crate::coordinator::Outcome;
use crate::invariant::an_open_bucket_has_an_open_gate;
use crate::listing::Suspects;
use crate::world::{Clocks, Faults, World};

pub(super) fn claim() -> Claim {
    Claim {
        name: "C12",
        sentence: "No object is acknowledged in a bucket whose deletion was acknowledged, and none is there that was \
                   acknowledged before.",
        source: "own; a gate in the transaction that accepts",
        sizes: vec![
            Size::small("W|DROP", "available", 46_514, available),
            Size::small("INM|DROP", "clocks in order", 60_315, ordered),
            Size::large("INM|DROP", "every order of clocks", 120_630, available),
            Size::large("W;DEL|DROP", "strict, clocks in order", 159_392, strict),
            Size::large("W|DROP;DROP", "strict, clocks in order", None, strict),
            Size::large("W|DEL|DROP", "strict, clocks in order", None, strict),
            Size::walk("W|DROP", "AB, then BC", 3_000, 86_966, moving),
            Size::long_walk("W|DROP", "ABC, then BCD, many walks", 2_482_164, moving_three),
            Size::five("W|DROP|DROP", "strict", strict),
        ],
        mutants: vec![
            Mutant::rule(
                "gate-unchecked",
                "a replica with a closed gate refuses object writes",
                Flaw::GateUnchecked,
                Size::hunt("W|DROP", "strict, clocks in order", strict),
            ),
            Mutant::rule(
                "list-before-gate",
                "the listing counts only answers of replicas whose gate this deletion closed",
                Flaw::ListBeforeGate,
                Size::hunt("W|DROP", "strict, clocks in order", strict),
            ),
            Mutant::rule(
                "deletion-skips-suspects",
                "a live row that some counted replica shows keeps a bucket from being deleted",
                Flaw::DeletionSkipsSuspects,
                Size::hunt("W|DROP", "strict, clocks in order", strict),
            ),
            Mutant::around(
                "suspects-read-again",
                "a deletion judges what the counted replicas show, and asks nobody else about it",
                Size::hunt("W|DROP", "strict, clocks in order, suspects read again", reading_again),
            ),
            Mutant::rule(
                "gate-settled",
                "a new owner copies gates with their stamps, so that they can be opened again",
                Flaw::GateSettled,
                Size::chase("W|DROP", "AB, then BC", moving),
            ),
            Mutant::around(
                "gate-not-synced",
                "a new owner takes the gates with the rows",
                Size::chase("W|DROP", "A, then B, gates are not pulled", gate_not_pulled),
            ),
            Mutant::rule(
                "deletion-not-owned",
                "a deletion decides only about a bucket that it claimed last",
                Flaw::DeletionNotOwned,
                Size {
                    search: Search::Walks {
                        seed: 12,
                        states: 60_000_000,
                    },
                    ..Size::hunt("DROP|W|DROP;DROP", "strict, clocks in order, delays only", delays)
                },
            ),
        ],
    }
}

fn available(world: &mut World) {
    world.claims = vec![
        Property::sometimes("a bucket was deleted", |_, state| {
            told(state, |outcome| *outcome == Outcome::Dropped)
        }),
        Property::sometimes("a write was acknowledged", |_, state| {
            told(state, |outcome| *outcome == Outcome::Wrote)
        }),
    ];
}

fn ordered(world: &mut World) {
    available(world);
    world.clocks = Clocks::InOrder;
}

fn strict(world: &mut World) {
    ordered(world);
    world.mode = WriteMode::Strict;
}

fn reading_again(world: &mut World) {
    strict(world);
    world.suspects = Suspects::ReadAgain;
}

fn delays(world: &mut World) {
    strict(world);
    world.faults = Faults::Delays;
}

fn moving(world: &mut World) {
    strict(world);
    world.transit(&[&[0, 1], &[1, 2]]);
    world.claims.push(Property::always(
        "an open bucket's gate is open",
        an_open_bucket_has_an_open_gate,
    ));
}

fn moving_three(world: &mut World) {
    moving(world);
    world.transit(&OVERLAP);
}

fn gate_not_pulled(world: &mut World) {
    strict(world);
    world.transit(&[&[0], &[1]]);
    world.gates_are_pulled = false;
}
