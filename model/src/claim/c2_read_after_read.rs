//! C2: what was read is not unread.

use stateright::Property;
use trellis_spec::flaw::Flaw;
use trellis_spec::register::WriteMode;

use super::{Claim, Mutant, Size};
use crate::coordinator::Outcome;
use crate::world::{State, Witness, World};

pub(super) fn claim() -> Claim {
    Claim {
        name: "C2",
        sentence: "A read that starts after another read was answered returns that value or a later one.",
        source: "the write-back of Attiya, Bar-Noy, Dolev 1995",
        sizes: vec![
            Size::small("W|RR", "strict", 753, strict),
            Size::small("W;RR|W", "strict", 299_215, strict),
            Size::large("W|W|RR", "strict, clocks in order", 2_142_115, ordered),
            Size::large("W|W|RR", "strict", 4_284_230, strict),
            Size::large("W|W|RR", "available, clocks in order", None, ordered_available),
            Size::large("W|INM|RR", "strict, clocks in order", None, ordered),
        ],
        mutants: vec![
            Mutant::rule(
                "no-write-back",
                "a read whose newest value is not on a majority writes it back first",
                Flaw::NoWriteBack,
                Size::hunt("W|RR", "strict", strict),
            ),
            Mutant::rule(
                "write-back-below-quorum",
                "a write-back needs a majority, not one less",
                Flaw::WriteBackBelowQuorum,
                Size::hunt("W|RR", "strict", strict),
            ),
        ],
    }
}

fn strict(world: &mut World) {
    world.mode = WriteMode::Strict;
    world.witness = Witness::AfterReads;
    world.claims = vec![Property::sometimes("both reads found a write", |_, state: &State| {
        state
            .outcomes()
            .filter(|outcome| matches!(outcome, Outcome::Found(Some(_))))
            .count()
            == 2
    })];
}

fn ordered(world: &mut World) {
    strict(world);
    world.clocks = crate::world::Clocks::InOrder;
}

fn ordered_available(world: &mut World) {
    ordered(world);
    world.mode = WriteMode::Available;
}
