//! C4: conditional and unconditional writes on one row.

use stateright::Property;
use trellis_spec::flaw::Flaw;
use trellis_spec::register::WriteMode;

use super::{Claim, Mutant, Size, told};
use crate::coordinator::Outcome;
use crate::world::{Clocks, Entropy, Restamp, World};

pub(super) fn claim() -> Claim {
    Claim {
        name: "C4",
        sentence: "So do they together with conditional writes.",
        source: "Rystsov, CASPaxos 2018, with blind writes below promises refused; own argument in \
                 docs/protocols/register.md",
        sizes: vec![
            Size::small("W|INM", "available", 11_337, available),
            Size::small("W|INM", "available, stamps of retries close or far", 41_891, leaping),
            Size::small("INM|R", "answers repeated", 734, resent),
            Size::small("W|IM|R", "strict, clocks in order", 736_203, ordered),
            Size::small("W;R|IM", "available, clocks in order", 276_619, ordered_available),
            Size::large("W;RR|IM", "available, clocks in order", 7_741_012, ordered_available),
            Size::large("W|INM|R", "strict", None, strict),
            Size::large("W|IM|R", "strict", None, strict),
            Size::large("W|IM|R", "available, clocks in order", None, ordered_available),
            Size::large("W|INM|R", "available, clocks in order", None, ordered_available),
            Size::large("W|INM|RR", "strict, clocks in order", None, ordered),
            Size::large(
                "W|INM|R",
                "strict, clocks in order, replicas repair each other",
                None,
                guarded,
            ),
            Size::large("DEL|INM|R", "strict", None, strict),
            Size::five("W|INM|RR", "available", available),
        ],
        mutants: vec![
            Mutant::rule(
                "write-ignores-promise",
                "a blind write with a stamp below a promise is refused",
                Flaw::WriteIgnoresPromise,
                Size::hunt("W|INM|R", "strict, clocks in order", ordered),
            ),
            Mutant::rule(
                "write-back-ignores-promise",
                "a write-back with a stamp below a promise is refused",
                Flaw::WriteBackIgnoresPromise,
                Size::hunt("W|INM|RR", "strict, clocks in order", ordered),
            ),
            Mutant::rule(
                "earlier-majority-counts",
                "accepts of an earlier attempt do not count for a later one",
                Flaw::EarlierMajorityCounts,
                Size::hunt("W;RR|IM", "available, replicas not sorted", unsorted),
            ),
            Mutant::around(
                "raw-join",
                "replicas repair each other under the guard of every write-back",
                Size::hunt("W|INM|R", "strict, clocks in order, raw join", raw),
            ),
        ],
    }
}

fn available(world: &mut World) {
    world.claims = vec![Property::sometimes("a conditional write took effect", |_, state| {
        told(state, |outcome| *outcome == Outcome::Wrote)
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

fn unsorted(world: &mut World) {
    ordered_available(world);
    world.sorted = false;
}

fn leaping(world: &mut World) {
    available(world);
    world.restamp = Restamp::CloseOrFar;
}

fn resent(world: &mut World) {
    available(world);
    world.resend = crate::world::Resend::Allowed;
}

fn guarded(world: &mut World) {
    ordered(world);
    world.entropy = Entropy::Guarded;
}

fn raw(world: &mut World) {
    ordered(world);
    world.entropy = Entropy::Raw;
}
