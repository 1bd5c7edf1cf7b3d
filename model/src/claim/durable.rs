//! No dirty answers: group commit and crashes.

use stateright::Property;
use trellis_spec::register::WriteMode;

use super::{Claim, Mutant, Size};
use crate::world::{Disks, State, World};

pub(super) fn claim() -> Claim {
    Claim {
        name: "durable",
        sentence: "With group commit, histories satisfy the specification although replicas crash and lose what they did \
                   not flush, because every answer waits for the flush of all that it looked at.",
        source: "own; found to be easy to miss in reads",
        sizes: vec![
            Size::small("W|RR", "strict, one crash", 4_012, grouped),
            Size::small("INM|R", "one crash", 2_324, grouped),
            Size::large("W|W|R", "strict, one crash", 2_487_702, grouped),
            Size::large("W|INM|R", "strict, one crash, clocks in order", None, grouped_ordered),
        ],
        mutants: vec![Mutant::around(
            "dirty-read",
            "the answer to a read waits for the flush of what it tells",
            Size::hunt("W|RR", "strict, one crash", dirty),
        )],
    }
}

fn grouped(world: &mut World) {
    world.mode = WriteMode::Strict;
    world.disks = Disks::Grouped { crashes: 1 };
    world.claims = vec![Property::sometimes("a replica crashed", |_, state: &State| {
        state.crashes > 0
    })];
}

fn grouped_ordered(world: &mut World) {
    grouped(world);
    world.clocks = crate::world::Clocks::InOrder;
}

fn dirty(world: &mut World) {
    grouped(world);
    world.disks = Disks::Dirty { crashes: 1 };
}
