//! C13: layouts that are forced because nodes are lost.

use stateright::Property;
use trellis_spec::flaw::Flaw;

use super::c6_transition::transit;
use super::{Claim, Mutant, Size};
use crate::drain::it_moves_on;
use crate::world::{State, World};

pub(super) fn claim() -> Claim {
    Claim {
        name: "C13",
        sentence: "A layout is forced when nodes are gone for good. Where a majority of the oldest active layout is left, C6, \
                   C7 and C8 hold as they are. Where less is left, the newest value that any of those left holds stays, \
                   what was acknowledged before may be lost but comes back no later, what begins afterwards is \
                   linearizable, and nothing waits for the lost.",
        source: "own; Vertical Paxos (Lamport, Malkhi, Zhou 2009) for decreed configurations",
        sizes: vec![
            Size::small("W;R", "ABC, then A, B and C lost", 1_382, alone),
            Size::small("W|INM", "A, then B, A lost", 947, nothing_left),
            Size::walk("W|INM|R", "ABCD, then AB, C and D lost", 3_000, 84_658, half),
            Size::walk("W|INM|R", "ABC, then ADE, B and C lost", 3_000, 79_762, replaced),
            Size::walk("W;R|INM;R", "ABCD, then ABE, C and D lost", 3_000, 120_189, two_left),
            Size::walk("W|INM|R", "ABC, then ABD, C lost", 3_000, 96_462, minority),
            Size::walk("W|INM|R", "ABCDE, then ABC, D and E lost", 3_000, 126_737, five),
            Size::walk(
                "W|INM|R",
                "ABC, then ADE, then DEF, B and C lost",
                3_000,
                131_899,
                goes_on,
            ),
            Size::walk(
                "W|INM|R",
                "A, then BCD, then E, C and D lost",
                3_000,
                93_723,
                mid_transition,
            ),
            Size::walk("W|INM", "ABC, then ADE, B and C lost, it moves on", 400, 9_570, moving),
            Size::large("W|R", "ABCD, then AB, C and D lost", None, half),
            Size::long_walk("W|INM|RR", "ABC, then ADE, B and C lost, many walks", None, replaced),
            Size::long_walk("W|INM|RR", "ABCD, then ABE, C and D lost, many walks", None, two_left),
            Size::long_walk("W|INM|RR", "ABCDE, then ABC, D and E lost, many walks", None, five),
        ],
        mutants: vec![
            Mutant::rule(
                "forced-majority-of-left",
                "a set of which a majority is left needs as many as before, not a majority of those left",
                Flaw::ForcedMajorityOfLeft,
                Size::chase("W", "ABCDE, then ABF, D and E lost", five_new),
            ),
            Mutant::rule(
                "forced-asks-one",
                "where most replicas are lost, every one that is left is asked, not one of them",
                Flaw::ForcedAsksOne,
                Size::chase("W", "ABCD, then ABE, C and D lost", two_left),
            ),
            Mutant::rule(
                "forced-skips-left",
                "where most replicas are lost, those that are left are asked",
                Flaw::ForcedSkipsLeft,
                Size::chase("W", "ABC, then ADE, B and C lost", replaced),
            ),
            Mutant::rule(
                "forced-waits-for-lost",
                "replicas that were declared lost are not waited for",
                Flaw::ForcedWaitsForLost,
                Size::chase("W", "ABC, then ADE, B and C lost, it moves on", moving),
            ),
            Mutant::rule(
                "forced-retires-on-few",
                "a layout of which most replicas are lost never becomes the oldest active one",
                Flaw::ForcedRetiresOnFew,
                Size::chase("W", "A, then BCD, then E, C and D lost", mid_transition),
            ),
            Mutant::rule(
                "forced-does-not-wedge",
                "those that are left adopt the view of the forced layout before they answer, so that nothing older is \
                 completed by them",
                Flaw::PullDoesNotWedge,
                Size::chase("W", "ABC, then ABD, C lost", minority),
            ),
        ],
    }
}

fn force(world: &mut World, layouts: &[&[u8]], lost: &[u8]) {
    force_at(world, layouts, 2, lost);
}

fn force_at(world: &mut World, layouts: &[&[u8]], layout: u8, lost: &[u8]) {
    transit(world, layouts);
    world.force(layouts, layout, lost);
    world.claims.push(Property::sometimes("a layout was forced", is_forced));
}

fn is_forced(world: &World, state: &State) -> bool {
    world.force.as_ref().is_some_and(|force| state.decided >= force.layout)
}

fn alone(world: &mut World) {
    force(world, &[&[0, 1, 2], &[0]], &[1, 2]);
}

fn half(world: &mut World) {
    force(world, &[&[0, 1, 2, 3], &[0, 1]], &[2, 3]);
}

fn nothing_left(world: &mut World) {
    force(world, &[&[0], &[1]], &[0]);
}

fn replaced(world: &mut World) {
    force(world, &[&[0, 1, 2], &[0, 3, 4]], &[1, 2]);
}

fn two_left(world: &mut World) {
    force(world, &[&[0, 1, 2, 3], &[0, 1, 4]], &[2, 3]);
}

fn minority(world: &mut World) {
    force(world, &[&[0, 1, 2], &[0, 1, 3]], &[2]);
}

fn five(world: &mut World) {
    force(world, &[&[0, 1, 2, 3, 4], &[0, 1, 2]], &[3, 4]);
}

fn five_new(world: &mut World) {
    force(world, &[&[0, 1, 2, 3, 4], &[0, 1, 5]], &[3, 4]);
}

fn goes_on(world: &mut World) {
    force(world, &[&[0, 1, 2], &[0, 3, 4], &[3, 4, 5]], &[1, 2]);
}

fn mid_transition(world: &mut World) {
    force_at(world, &[&[0], &[1, 2, 3], &[4]], 3, &[2, 3]);
}

fn moving(world: &mut World) {
    replaced(world);
    world.mode = trellis_spec::register::WriteMode::Available;
    world.claims.push(Property::always("it moves on", it_moves_on));
}
