//! The election of a layout.

use stateright::Property;
use trellis_spec::flaw::Flaw;

use super::{Claim, Mutant, Size, told};
use crate::coordinator::Outcome;
use crate::world::World;

pub(super) fn claim() -> Claim {
    Claim {
        name: "elect",
        sentence: "A layout's number has one content: of several candidates one is told that it is elected, and the others \
                   learn which.",
        source: "Paxos (Lamport 2001)",
        sizes: vec![
            Size::small("ELECT|ELECT", "in every order of clocks", 91_592, candidates),
            Size::near("ELECT|ELECT;R", "in every order of clocks", candidates),
            Size::five("ELECT|ELECT|ELECT", "random walks", candidates),
        ],
        mutants: vec![Mutant::rule(
            "election-overwrites",
            "a candidate gives way to one that may be elected: layouts are not merged, and none is replaced",
            Flaw::ElectionOverwrites,
            Size::hunt("ELECT|ELECT", "in every order of clocks", candidates),
        )],
    }
}

fn candidates(world: &mut World) {
    world.claims = vec![
        Property::sometimes("a candidate was elected", |_, state| {
            told(state, |outcome| *outcome == Outcome::Wrote)
        }),
        Property::sometimes("a candidate lost", |_, state| {
            told(state, |outcome| matches!(outcome, Outcome::Refused(_)))
        }),
    ];
}
