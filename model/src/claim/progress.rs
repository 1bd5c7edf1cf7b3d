//! Operations finish.

use stateright::Property;

use super::{Claim, Mutant, Size};
use crate::drain::{it_drains, nothing_is_stuck};
use crate::world::{Clocks, Resend, World};

pub(super) fn claim() -> Claim {
    Claim {
        name: "progress",
        sentence: "While a majority answers, and what was lost is sent again: where nothing can happen any more every client was answered, and from every \
                   state all operations finish if they go on one after another with stamps above all others.",
        source: "own; obstruction freedom as in Paxos (Lamport 2001), with back-off for the rest",
        sizes: vec![
            Size::small("W|INM", "available", 26_988, live),
            Size::small("INM|INM", "one dead replica, clocks in order", 13_826, dead),
            Size::small("W|RR", "one dead replica", 256, dead),
            Size::large("INM|INM|INM", "one dead replica, clocks in order", None, dead),
            Size::large("W|INM|R", "one dead replica, clocks in order", None, dead),
        ],
        mutants: vec![
            Mutant::around(
                "two-dead",
                "a majority answers",
                Size::hunt("W|R", "two dead replicas", two_dead),
            ),
            Mutant::around(
                "lost-for-good",
                "a request whose answer was lost is sent again",
                Size::hunt("W|RR", "one dead replica, nothing sent again", lossy),
            ),
        ],
    }
}

fn live(world: &mut World) {
    world.resend = Resend::Allowed;
    world.claims = vec![
        Property::always("nothing is stuck", nothing_is_stuck),
        Property::always("it drains", it_drains),
    ];
}

fn dead(world: &mut World) {
    live(world);
    world.clocks = Clocks::InOrder;
    world.dead = vec![0];
}

fn two_dead(world: &mut World) {
    dead(world);
    world.dead = vec![0, 1];
}

fn lossy(world: &mut World) {
    dead(world);
    world.resend = Resend::Never;
}
