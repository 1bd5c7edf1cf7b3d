//! Heads and bodies.

use stateright::Property;
use trellis_spec::flaw::Flaw;
use trellis_spec::register::WriteMode;

use super::{Claim, Mutant, Size, told};
use crate::coordinator::Outcome;
use crate::value::Body;
use crate::world::{Clocks, World};

pub(super) fn claim() -> Claim {
    Claim {
        name: "whole",
        sentence: "Where one replica is asked for the body and the others for heads, no replica comes to hold a value \
                   without its body, and no read of the whole returns one.",
        source: "own",
        sizes: vec![
            Size::small("W|RR", "at most five rounds", 4_585, strict),
            Size::small("W|H;R", "at most five rounds", 4_485, strict),
            Size::small("INM|R", "at most five rounds", 1_226, strict),
            Size::large("W|W|R", "clocks in order, at most five rounds", 406_594, ordered),
            Size::large("W|INM|R", "clocks in order, at most five rounds", None, ordered),
        ],
        mutants: vec![Mutant::rule(
            "head-taken-for-whole",
            "a value is written back or returned only with its inline body",
            Flaw::HeadTakenForWhole,
            Size::hunt("W|R", "at most five rounds", strict),
        )],
    }
}

fn strict(world: &mut World) {
    world.mode = WriteMode::Strict;
    world.body = Body::Here;
    world.sorted = false;
    world.rounds = 5;
    world.claims = vec![Property::sometimes("a read found a write", |_, state| {
        told(state, |outcome| matches!(outcome, Outcome::Found(Some(_))))
    })];
}

fn ordered(world: &mut World) {
    strict(world);
    world.clocks = Clocks::InOrder;
}
