//! C6: operations across layouts.

use stateright::Property;
use trellis_spec::flaw::Flaw;
use trellis_spec::register::WriteMode;

use super::{Claim, Mutant, Size, told};
use crate::coordinator::Outcome;
use crate::invariant;
use crate::world::{Clocks, Entropy, Settlers, State, World};

/// Where nodes stay, and where all but one go.
pub(super) const OVERLAP: [&[u8]; 2] = [&[0, 1, 2], &[1, 2, 3]];
pub(super) const EXCHANGE: [&[u8]; 2] = [&[0, 1, 2], &[0, 3, 4]];

pub(super) fn claim() -> Claim {
    Claim {
        name: "C6",
        sentence: "C1 to C5 hold across any number of layouts that follow each other, overlap, and come back.",
        source: "own; RAMBO (Lynch, Shvartsman 2002), elastic replication (Abu-Libdeh, van Renesse, Vigfusson 2013)",
        sizes: vec![
            Size::small("W;R", "A, then B", 1_374, one),
            Size::small("W|R", "A, then B", 7_831, one),
            Size::small("W|INM", "A, then B", 232_923, one),
            Size::walk("W|R", "AB, then BC", 6_000, 126_937, two),
            Size::walk("W|INM|R", "ABC, then BCD", 3_000, 137_187, overlap),
            Size::walk("W|INM|R", "ABC, then BCD, three stamps each", 3_000, 179_586, contended),
            Size::walk("W|INM|RR", "ABC, then ADE", 3_000, 187_706, exchange),
            Size::walk("W|INM|R", "ABC, then DEF", 1_500, 94_138, all_new),
            Size::walk("INM|IM|R", "AB, then BCD", 3_000, 136_815, more_copies),
            Size::walk("W|INM|R", "ABC, BCD, CDE", 3_000, 199_456, three),
            Size::walk("W|INM|R", "ABC, ABD, ABC", 3_000, 148_543, there_and_back),
            Size::large("W;R", "AB, then BC", 1_560_455, two),
            Size::near("W|INM", "ABC, then BCD", overlap),
            Size::long_walk("W|INM|R", "available, ABC, then BCD, many walks", 2_381_849, available),
            Size::long_walk("W|INM|RR", "ABC, then ADE, many walks", 3_123_136, exchange),
            Size::long_walk("INM|IM|R", "ABC, BCD, CDE, many walks", 3_363_592, three),
            Size::long_walk("W|INM|R", "ABC, ABD, ABC, many walks", 2_485_163, there_and_back),
        ],
        mutants: vec![
            Mutant::rule(
                "serves-older-lo",
                "a replica refuses requests under an older oldest layout than its own",
                Flaw::ServesOlderLo,
                Size::hunt("W|R", "A, then B", plain),
            ),
            Mutant::rule(
                "answers-kept-across-views",
                "answers given under an older view are dropped when a coordinator's view rises",
                Flaw::AnswersKeptAcrossViews,
                Size::hunt("W|R", "A, then B", plain),
            ),
            Mutant::rule(
                "sync-joins",
                "a new owner copies only rows that a majority of each older layout agrees on",
                Flaw::SyncJoins,
                Size::chase("W|INM|R", "ABC, then BCD", overlap),
            ),
            Mutant::rule(
                "sync-ignores-promises",
                "a new owner does not copy a row with a promise above its value",
                Flaw::SyncIgnoresPromises,
                Size::chase("W|INM|RR", "ABC, then BCD", overlap),
            ),
            Mutant::around(
                "departed-node-pushes",
                "who left pushes rows only through the door and with the guards of a write-back",
                Size::chase("W|INM;R", "ABC, then BCD, replicas join rows", raw),
            ),
        ],
    }
}

/// A world in which these layouts follow each other, with the invariants of layouts.
pub(super) fn transit(world: &mut World, layouts: &[&[u8]]) {
    world.mode = WriteMode::Strict;
    world.clocks = Clocks::InOrder;
    world.transit(layouts);
    world.claims = vec![
        Property::always("I2", invariant::synced_nodes_hold_what_was_acknowledged),
        Property::always("I3", invariant::a_majority_holds_what_was_acknowledged),
        Property::always("I4", invariant::every_new_owner_holds_what_an_old_one_dropped),
        Property::always("I5", invariant::one_ballot_one_value),
        Property::always("I6", invariant::promises_are_kept),
        Property::sometimes("the last layout alone is active", last_alone),
        Property::sometimes("a write was acknowledged", |_, state| {
            told(state, |outcome| *outcome == Outcome::Wrote)
        }),
    ];
}

fn last_alone(world: &World, state: &State) -> bool {
    let last = world.layouts.len() as u64;
    state.columns.iter().any(|column| column.seat.view.lo.0 == last)
}

pub(super) fn one(world: &mut World) {
    transit(world, &[&[0], &[1]]);
}

pub(super) fn two(world: &mut World) {
    transit(world, &[&[0, 1], &[1, 2]]);
    world.settlers = Settlers::OneAtATime;
}

pub(super) fn overlap(world: &mut World) {
    transit(world, &OVERLAP);
}

/// Only what clients are told.
fn plain(world: &mut World) {
    one(world);
    world.claims.clear();
}

pub(super) fn exchange(world: &mut World) {
    transit(world, &EXCHANGE);
}

fn all_new(world: &mut World) {
    transit(world, &[&[0, 1, 2], &[3, 4, 5]]);
}

fn more_copies(world: &mut World) {
    transit(world, &[&[0, 1], &[1, 2, 3]]);
}

pub(super) fn three(world: &mut World) {
    transit(world, &[&[0, 1, 2], &[1, 2, 3], &[2, 3, 4]]);
}

pub(super) fn there_and_back(world: &mut World) {
    transit(world, &[&[0, 1, 2], &[0, 1, 3], &[0, 1, 2]]);
}

fn contended(world: &mut World) {
    overlap(world);
    world.retries = 2;
}

fn available(world: &mut World) {
    overlap(world);
    world.mode = WriteMode::Available;
}

fn raw(world: &mut World) {
    overlap(world);
    world.entropy = Entropy::Raw;
}
