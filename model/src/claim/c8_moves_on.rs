//! C8: transitions finish.

use stateright::Property;
use trellis_spec::flaw::Flaw;
use trellis_spec::register::WriteMode;

use super::c6_transition::{EXCHANGE, OVERLAP, transit};
use super::{Claim, Mutant, Size};
use crate::drain::it_moves_on;
use crate::world::{Collection, World};

pub(super) fn claim() -> Claim {
    Claim {
        name: "C8",
        sentence: "While a minority of each layout is dead: from every state the live nodes alone make the newest layout \
                   the only active one, and every operation finishes.",
        source: "own; obstruction freedom, as for the register",
        sizes: vec![
            Size::small("INM;R@1", "A, then B", 41_959, alive),
            Size::walk("W|INM", "ABC, then BCD, B dead", 400, 11_847, overlap),
            Size::walk("W|INM", "ABC, then ADE, C and E dead", 400, 11_923, exchange),
            Size::walk("W|DROP", "ABC, then BCD", 150, 7_226, deleting),
            Size::walk(
                "W;DEL|INM",
                "ABC, then ADE, C and E dead, tombstones are forgotten",
                400,
                16_984,
                forgetting,
            ),
            Size::long_walk("INM;R@1", "ABC, then BCD, B dead, many walks", None, overlap),
        ],
        mutants: vec![
            Mutant::rule(
                "sync-never-settles",
                "a new owner settles the rows that it may not copy: a promise left by the dead does not block it",
                Flaw::SyncNeverSettles,
                Size::chase("INM;R@1", "ABC, then BCD, B dead", overlap),
            ),
            Mutant::rule(
                "gated-row-not-pulled-again",
                "a new owner that a closed gate keeps from settling a row pulls again: its own gate may be an old one",
                Flaw::GatedRowNotPulledAgain,
                Size::chase("W|DROP", "ABC, then BCD", deleting),
            ),
            Mutant::around(
                "row-of-gone-bucket-waits",
                "a row that a closed gate keeps from being settled is left alone once its bucket is gone",
                Size::chase("W|DROP", "ABC, then BCD, fates are not known", unknown_fates),
            ),
            Mutant::rule(
                "retires-with-all",
                "a layout is retired without waiting for all nodes of the next: a dead one blocks nothing",
                Flaw::RetiresWithAll,
                Size::chase("W", "ABC, then BCD, B dead", overlap),
            ),
        ],
    }
}

fn live(world: &mut World, layouts: &[&[u8]]) {
    transit(world, layouts);
    world.mode = WriteMode::Available;
    world.claims.push(Property::always("it moves on", it_moves_on));
}

fn alive(world: &mut World) {
    live(world, &[&[0], &[1]]);
}

fn overlap(world: &mut World) {
    live(world, &OVERLAP);
    world.dead = vec![1];
}

fn exchange(world: &mut World) {
    live(world, &EXCHANGE);
    world.dead = vec![2, 4];
}

fn forgetting(world: &mut World) {
    exchange(world);
    world.collection = Collection::On;
}

fn deleting(world: &mut World) {
    live(world, &OVERLAP);
}

fn unknown_fates(world: &mut World) {
    deleting(world);
    world.fates_are_known = false;
}
