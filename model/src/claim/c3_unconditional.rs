//! C3: unconditional writes and reads.

use stateright::Property;
use trellis_spec::flaw::Flaw;
use trellis_spec::register::WriteMode;

use super::{Claim, Mutant, Size, told};
use crate::coordinator::Outcome;
use crate::world::{Clocks, Deadlines, Resend, Stamps, World};

pub(super) fn claim() -> Claim {
    Claim {
        name: "C3",
        sentence: "Unconditional writes, deletes and reads satisfy the specification: in strict mode they are \
                   linearizable; in available mode a write may act once for each of its attempts, all before its answer.",
        source: "Attiya, Bar-Noy, Dolev 1995; the two modes were found by checking",
        sizes: vec![
            Size::small("W|W|R", "strict", 96_592, strict),
            Size::small("W|DEL|R", "strict", 96_073, strict),
            Size::small("W|RR", "available, answers repeated", 757, resent),
            Size::small("W;R|W", "available", 83_706, available),
            Size::small("W;W|R", "available", 29_561, available),
            Size::large("W|W|R", "available", 1_391_713, available),
            Size::large("W|W|RR", "strict", 4_276_552, strict),
            Size::large("W|W|RR", "available, clocks in order", None, ordered_available),
            Size::five("W|W|RR", "available", available),
        ],
        mutants: vec![
            Mutant::rule(
                "strict-write-retries",
                "in strict mode a blind write never gets a second stamp",
                Flaw::StrictWriteRetries,
                Size::hunt("W|R;W;R", "strict, clocks in order", ordered),
            ),
            Mutant::rule(
                "goes-back",
                "a replica never goes back to an older value: what it accepts raises its promise, and is compared with both",
                Flaw::GoesBack,
                Size::hunt("W|W|R", "strict", strict),
            ),
            Mutant::around(
                "stamp-reused",
                "a stamp is never used for two attempts, even if a process starts again",
                Size::hunt("W;W|RR", "strict", reused),
            ),
        ],
    }
}

fn available(world: &mut World) {
    world.claims = vec![Property::sometimes("a read found a write", |_, state| {
        told(state, |outcome| matches!(outcome, Outcome::Found(Some(_))))
    })];
}

fn strict(world: &mut World) {
    available(world);
    world.mode = WriteMode::Strict;
}

fn ordered(world: &mut World) {
    strict(world);
    world.clocks = Clocks::InOrder;
}

fn ordered_available(world: &mut World) {
    available(world);
    world.clocks = Clocks::InOrder;
}

fn resent(world: &mut World) {
    available(world);
    world.resend = Resend::Allowed;
}

fn reused(world: &mut World) {
    strict(world);
    world.stamps = Stamps::Reused;
    world.deadlines = Deadlines::BeforeNext;
}
