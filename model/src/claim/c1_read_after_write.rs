//! C1: what was acknowledged is read.

use stateright::Property;
use trellis_spec::flaw::Flaw;
use trellis_spec::register::WriteMode;

use super::{Claim, Mutant, Size, told};
use crate::coordinator::Outcome;
use crate::world::{Witness, World};

pub(super) fn claim() -> Claim {
    Claim {
        name: "C1",
        sentence: "A read that starts after a write was acknowledged returns that write or a later one.",
        source: "Attiya, Bar-Noy, Dolev 1995; stamps as in Lynch, Shvartsman 2002",
        sizes: vec![
            Size::small("W|R", "strict", 128, strict),
            Size::small("W|W|R", "strict", 96_592, strict),
            Size::small("W;R|W", "strict", 11_400, strict),
            Size::small("W;R|W", "available", 83_706, available),
            Size::large("W|W|R", "available", 1_391_818, available),
            Size::large("W;R|W;R", "strict", 453_052, strict),
            Size::large("W;R|W;R", "available", 6_191_059, available),
            Size::five("W|W|RR", "available", available),
        ],
        mutants: vec![
            Mutant::rule(
                "write-below-quorum",
                "a write is acknowledged by a majority, not by one less",
                Flaw::WriteBelowQuorum,
                Size::hunt("W|R", "strict", strict),
            ),
            Mutant::rule(
                "read-below-quorum",
                "a read asks a majority, not one less",
                Flaw::ReadBelowQuorum,
                Size::hunt("W|R", "strict", strict),
            ),
        ],
    }
}

fn strict(world: &mut World) {
    available(world);
    world.mode = WriteMode::Strict;
}

fn available(world: &mut World) {
    world.witness = Witness::AfterWrites;
    world.claims = vec![Property::sometimes("a read found a write", |_, state| {
        told(state, |outcome| matches!(outcome, Outcome::Found(Some(_))))
    })];
}
