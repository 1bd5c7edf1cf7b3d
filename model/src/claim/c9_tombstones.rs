//! C9: forgetting tombstones.

use stateright::Property;
use trellis_spec::flaw::Flaw;
use trellis_spec::register::WriteMode;
use trellis_spec::stamp::Stamp;

use super::c6_transition::{OVERLAP, transit};
use super::{Claim, Mutant, Size};
use crate::world::{Action, Clocks, Collection, Entrance, Resend, State, World};

pub(super) fn claim() -> Claim {
    Claim {
        name: "C9",
        sentence: "Forgetting tombstones never changes what a read may return: nothing that was deleted comes back, and \
                   no condition is judged on less than was there.",
        source: "own; grace without clocks, from reports of every replica",
        sizes: vec![
            Size::small("W;DEL;R", "strict, clocks in order", 1_635, ordered),
            Size::small("W|DEL;R", "strict", 71_024, strict),
            Size::small("W|R;DEL;R", "strict, clocks in order", 134_904, ordered),
            Size::small("W;DEL|LIST", "strict, clocks in order", 42_266, ordered),
            Size::small("W;DEL;R", "A, then A again", 1_083, same),
            Size::walk("W|R;DEL;R", "AB, A, AB", 3_000, 98_198, back),
            Size::walk("W|DEL;R", "ABC, then BCD", 3_000, 139_472, overlap),
            Size::walk("INM|R;DEL;R", "ABC, then BCD", 3_000, 173_283, overlap),
            Size::walk("W;DEL;R", "AB, then ABC, other rows too", 3_000, 122_427, crowded),
            Size::large("W|DEL;R", "available", 784_847, available),
            Size::large("INM|R;DEL;R", "strict, clocks in order", 921_270, ordered),
            Size::large("W;DEL|R", "A, then B", 670_928, one),
            Size::large("INM|R;DEL;INM", "strict, clocks in order", 1_523_297, ordered),
            Size::large("DEL|INM|W;R", "strict, clocks in order", None, ordered),
            Size::large("INM|R;CDEL|R", "strict, clocks in order", None, ordered),
            Size::large("W;DEL;R", "ABC, then A", None, fewer),
            Size::large("W;DEL;R", "AB, A, AB", None, back),
            Size::large("W;DEL|R", "AB, then BC", None, two),
            Size::long_walk("W|R;DEL;R", "ABC, then BCD, many walks", 2_465_659, overlap),
            Size::long_walk("W|R;DEL;R", "ABC, ABD, ABC, many walks", 3_169_619, there_and_back),
        ],
        mutants: mutants(),
    }
}

/// The write was served and not heard; what it wrote was read, deleted and forgotten.
const FORGOTTEN: [Action; 5] = [
    Action::Serve { op: 0, column: 0 },
    Action::Deliver { op: 1, column: 0 },
    Action::Deliver { op: 2, column: 0 },
    Action::Report { column: 0, row: 0 },
    Action::Forget { column: 0, row: 0 },
];

/// The write is not over; what it wrote was read and deleted, and both reported. Then B left, and is back without rows.
const REPORTED: [Action; 23] = [
    Action::Deliver { op: 0, column: 1 },
    Action::Learn { column: 0 },
    Action::Deliver { op: 1, column: 0 },
    Action::Deliver { op: 0, column: 0 },
    Action::Late { column: 0, index: 0 },
    Action::Deliver { op: 0, column: 0 },
    Action::Deliver { op: 1, column: 1 },
    Action::Deliver { op: 4, column: 1 },
    Action::Deliver { op: 4, column: 0 },
    Action::Deliver { op: 1, column: 0 },
    Action::Inform { op: 2, column: 0 },
    Action::GoOn { op: 4 },
    Action::Deliver { op: 2, column: 0 },
    Action::Deliver { op: 2, column: 1 },
    Action::Report { column: 0, row: 0 },
    Action::Report { column: 1, row: 0 },
    Action::Retire { column: 1, to: 2 },
    Action::Decide,
    Action::Learn { column: 1 },
    Action::Retire { column: 0, to: 2 },
    Action::Learn { column: 0 },
    Action::Deliver { op: 4, column: 0 },
    Action::Deliver { op: 5, column: 0 },
];

/// What both held was deleted and forgotten at A, while B was away.
const AWAY: [Action; 12] = [
    Action::Deliver { op: 0, column: 0 },
    Action::Deliver { op: 0, column: 1 },
    Action::Learn { column: 0 },
    Action::Deliver { op: 3, column: 0 },
    Action::Deliver { op: 3, column: 1 },
    Action::GoOn { op: 3 },
    Action::Retire { column: 0, to: 2 },
    Action::Inform { op: 1, column: 0 },
    Action::Deliver { op: 1, column: 0 },
    Action::Report { column: 0, row: 0 },
    Action::Forget { column: 0, row: 0 },
    Action::Decide,
];

fn mutants() -> Vec<Mutant> {
    vec![
        Mutant::rule(
            "floor-unchecked",
            "a replica without a row refuses what is not above the floor",
            Flaw::FloorUnchecked,
            Size::hunt("W;DEL;R", "strict, clocks in order", ordered),
        ),
        Mutant::rule(
            "forgets-after-majority",
            "a tombstone is forgotten when every replica holds it, not a majority",
            Flaw::ForgetsAfterMajority,
            Size::hunt("W;DEL;R", "strict, clocks in order", ordered),
        ),
        Mutant::rule(
            "promise-forgotten",
            "a row with a promise above its tombstone is not forgotten",
            Flaw::PromiseForgotten,
            Size::chase("DEL|INM|W;R", "strict, clocks in order", ordered),
        ),
        Mutant::rule(
            "forgotten-taken-for-never",
            "who proposed before takes nothing for \"never was\" only above the floor",
            Flaw::ForgottenTakenForNever,
            Size::chase("INM|R;DEL;R", "strict, clocks in order", ordered),
        ),
        Mutant::rule(
            "base-ignores-floor",
            "a value that was judged on nothing may have been judged on what was forgotten",
            Flaw::BaseIgnoresFloor,
            Size::chase("INM|R;DEL;INM", "strict, clocks in order", ordered),
        ),
        Mutant::rule(
            "forgets-while-pulling",
            "a node forgets nothing while rows that it pulled are on their way into it",
            Flaw::ForgetsWhilePulling,
            Size::hunt("W;DEL;R", "A, then A again", same),
        ),
        Mutant::rule(
            "forgets-asking-newest",
            "every replica of every active layout has to hold the tombstone, not of the newest alone",
            Flaw::ForgetsAskingNewest,
            Size::chase("W;DEL;R", "ABC, then A", fewer),
        ),
        Mutant::rule(
            "floor-not-synced",
            "a new owner takes the floors of those it pulls from",
            Flaw::FloorNotSynced,
            Size::chase("W|R;DEL;R", "A, then B, once forgotten", repeating),
        ),
        Mutant::rule(
            "serves-before-floor",
            "a node that enters serves nobody before it has the floors",
            Flaw::ServesBeforeFloor,
            Size::chase("W|R;DEL;R", "A, then B, once forgotten", repeating),
        ),
        Mutant::rule(
            "floor-is-a-report",
            "a replica reports the rows that it holds, not a floor that other rows raised",
            Flaw::FloorTakenForReport,
            Size::chase("W;DEL;R", "AB, then ABC, other rows too", crowded),
        ),
        Mutant::rule(
            "reports-kept-across-views",
            "what replicas reported under an older view counts for nothing",
            Flaw::ReportsKeptAcrossViews,
            Size::chase("W|R;DEL;R", "AB, A, AB, once reported", reported),
        ),
        Mutant::around(
            "enters-with-rows",
            "a node that enters a partition again starts without rows",
            Size::chase("W;DEL;R", "AB, A, AB, once forgotten, rows are kept", keeps_rows),
        ),
    ]
}

fn available(world: &mut World) {
    world.collection = Collection::On;
    world.claims = vec![Property::sometimes("a tombstone was forgotten", forgot)];
}

fn strict(world: &mut World) {
    available(world);
    world.mode = WriteMode::Strict;
}

fn ordered(world: &mut World) {
    strict(world);
    world.clocks = Clocks::InOrder;
}

fn forgot(_: &World, state: &State) -> bool {
    state.columns.iter().any(|column| column.floor > Stamp::ZERO)
}

fn moving(world: &mut World, layouts: &[&[u8]]) {
    transit(world, layouts);
    world.collection = Collection::On;
    world
        .claims
        .push(Property::sometimes("a tombstone was forgotten", forgot));
}

/// A new layout with the same replica, which syncs from itself.
fn same(world: &mut World) {
    moving(world, &[&[0], &[0]]);
}

fn one(world: &mut World) {
    moving(world, &[&[0], &[1]]);
}

fn repeating(world: &mut World) {
    one(world);
    world.resend = Resend::Allowed;
    world.claims.clear();
    world.prelude = &FORGOTTEN;
}

fn fewer(world: &mut World) {
    moving(world, &[&[0, 1, 2], &[0]]);
}

fn two(world: &mut World) {
    moving(world, &[&[0, 1], &[1, 2]]);
}

fn back(world: &mut World) {
    moving(world, &[&[0, 1], &[0], &[0, 1]]);
}

fn reported(world: &mut World) {
    back(world);
    world.claims.clear();
    world.prelude = &REPORTED;
}

fn keeps_rows(world: &mut World) {
    back(world);
    world.claims.clear();
    world.entrance = Entrance::KeepsRows;
    world.prelude = &AWAY;
}

/// A third replica; other rows of the partition are forgotten as well.
fn crowded(world: &mut World) {
    moving(world, &[&[0, 1], &[0, 1, 2]]);
    world.collection = Collection::OthersToo;
}

fn overlap(world: &mut World) {
    moving(world, &OVERLAP);
}

fn there_and_back(world: &mut World) {
    moving(world, &[&[0, 1, 2], &[0, 1, 3], &[0, 1, 2]]);
}
