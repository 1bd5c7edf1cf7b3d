//! C5: what the client of a conditional write is told.

use stateright::Property;
use trellis_spec::flaw::Flaw;
use trellis_spec::register::WriteMode;

use super::{Claim, Mutant, Size, told};
use crate::coordinator::Outcome;
use crate::world::{Clocks, Restamp, State, World};

pub(super) fn claim() -> Claim {
    Claim {
        name: "C5",
        sentence: "A success of a conditional write means that its condition held when it took effect, a refusal that it \
                   failed, on the value told, at a moment inside the call; of racing creators exactly one is told that \
                   it created, or its outcome is unknown; a request sent again to another coordinator is told of success \
                   if either took effect.",
        source: "Rystsov, CASPaxos 2018; the own-operation rule was found by checking",
        sizes: vec![
            Size::small("INM|INM", "one retry", 91_592, retrying),
            Size::small("INM|IM", "one retry", 25_999, retrying),
            Size::small(
                "INM|AGAIN0",
                "one retry, one operation at two coordinators",
                54_916,
                twin,
            ),
            Size::large("INM|INM", "two retries", 1_666_616, twice),
            Size::large("INM|INM", "one retry, close or far", 353_642, leaping),
            Size::large("INM|INM|R", "clocks in order", None, ordered),
            Size::large("INM|IM|R", "clocks in order", None, ordered),
            Size::large("INM|AGAIN0|R", "clocks in order", None, twin_ordered),
            Size::large("INM|AGAIN0|DEL", "clocks in order", None, ordered),
            Size::large("W|INM|CDEL", "strict, clocks in order", None, strict),
            Size::five("INM|INM|R", "one retry", retrying),
            Size::five("INM|INM|INM", "one retry", retrying),
        ],
        mutants: vec![
            Mutant::rule(
                "accept-ignores-promise",
                "a proposal below a promise is refused",
                Flaw::AcceptIgnoresPromise,
                Size::hunt("INM|INM", "one retry", retrying),
            ),
            Mutant::rule(
                "prepare-below-quorum",
                "a proposal follows promises of a majority, not of one less",
                Flaw::PrepareBelowQuorum,
                Size::hunt("INM|INM", "one retry", retrying),
            ),
            Mutant::rule(
                "refuses-unsettled",
                "a failed condition is answered only when the value it failed on is on a majority",
                Flaw::RefusesUnsettled,
                Size::hunt("W|INM|R", "strict, clocks in order", strict),
            ),
            Mutant::rule(
                "forgets-own-proposal",
                "a conditional write that proposed once looks for its own value before it judges again",
                Flaw::ForgetsOwnProposal,
                Size::hunt("INM|INM", "one retry", retrying),
            ),
            Mutant::rule(
                "repeats-replaced-proposal",
                "a proposal that somebody may have read and replaced is not made again",
                Flaw::RepeatsReplacedProposal,
                Size::hunt("INM|IM", "one retry", retrying),
            ),
            Mutant::rule(
                "settle-renames",
                "a settled value keeps the identity of the operation that made it",
                Flaw::SettleRenames,
                Size::hunt("INM|INM", "one retry", retrying),
            ),
        ],
    }
}

fn retrying(world: &mut World) {
    world.claims = vec![Property::sometimes("a condition failed", |_, state| {
        told(state, |outcome| matches!(outcome, Outcome::Refused(_)))
    })];
}

fn twin(world: &mut World) {
    world.claims = vec![Property::sometimes("both were told of success", |_, state: &State| {
        state.outcomes().filter(|outcome| **outcome == Outcome::Wrote).count() == 2
    })];
}

fn twin_ordered(world: &mut World) {
    twin(world);
    world.clocks = Clocks::InOrder;
}

fn twice(world: &mut World) {
    retrying(world);
    world.retries = 2;
}

fn leaping(world: &mut World) {
    retrying(world);
    world.restamp = Restamp::CloseOrFar;
}

fn ordered(world: &mut World) {
    retrying(world);
    world.clocks = Clocks::InOrder;
}

fn strict(world: &mut World) {
    ordered(world);
    world.mode = WriteMode::Strict;
}
