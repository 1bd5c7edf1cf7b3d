//! What must be true of every state while layouts follow each other.
//!
//! Short histories do not show a copy that is missing: nobody may happen to read where it should be. These invariants
//! look at the rows themselves.

use std::sync::Arc;

use trellis_spec::gate::Gate;
use trellis_spec::layout::LayoutVersion;
use trellis_spec::register::{Accepted, Content};
use trellis_spec::stamp::Stamp;

use crate::coordinator::Outcome;
use crate::operation::{bucket_row, gate_row};
use crate::value::{Bucket, Cargo, Key};
use crate::world::{Column, State, World};

/// I2: who is synced for a layout holds every value that was acknowledged under an older newest layout, or a newer one.
pub fn synced_nodes_hold_what_was_acknowledged(_: &World, state: &State) -> bool {
    let holds = |column: &Arc<Column>| {
        let seat = column.seat;
        let exempt = is_gone(column) || seat.entered > seat.synced;
        exempt || answered_before(state, seat.synced).all(|(key, stamp)| holds(state, column, key) >= stamp)
    };
    state.columns.iter().all(holds)
}

/// I3: every acknowledged value, or a newer one, is on a majority of the oldest active layout.
pub fn a_majority_holds_what_was_acknowledged(world: &World, state: &State) -> bool {
    let mut answered = answered_before(state, LayoutVersion(u64::MAX));
    answered.all(|(key, stamp)| world.on_majority(state, |column| holds(state, column, key) >= stamp))
}

/// I4: once a node dropped its rows, every replica of the layout that it dropped them for holds what was acknowledged
/// under older ones.
pub fn every_new_owner_holds_what_an_old_one_dropped(world: &World, state: &State) -> bool {
    let dropped = state.columns.iter().filter(|column| is_gone(column));
    let mut layouts = dropped.map(|column| column.seat.dropped);
    layouts.all(|layout| {
        let owners = (0..state.columns.len()).filter(|index| world.holds(layout, *index));
        let mut owners = owners.map(|index| &state.columns[index]);
        owners.all(|owner| {
            let exempt = is_gone(owner) || owner.seat.entered > layout;
            exempt || answered_before(state, layout).all(|(key, stamp)| holds(state, owner, key) >= stamp)
        })
    })
}

/// I5: one ballot, one value.
pub fn one_ballot_one_value(_: &World, state: &State) -> bool {
    let rows = 0..state.columns.first().map_or(0, |column| column.rows.len());
    rows.into_iter().all(|row| {
        let mut held: Vec<_> = state
            .columns
            .iter()
            .filter_map(|column| column.rows[row].accepted.as_ref())
            .collect();
        held.sort_by_key(|held| held.ballot);
        held.windows(2).all(|pair| {
            pair[0].ballot != pair[1].ballot || (pair[0].op, &pair[0].content) == (pair[1].op, &pair[1].content)
        })
    })
}

/// I6: a ballot that a quorum promised, and that was used, still bars older ones at a majority of the oldest active
/// layout, by the promise or by what was accepted since.
pub fn promises_are_kept(world: &World, state: &State) -> bool {
    state.ghost.prepared.iter().all(|(key, promised)| {
        world.on_majority(state, |column| {
            let cell = &column.rows[usize::from(key.0)];
            cell.promised.max(holds(state, column, *key)) >= *promised
        })
    })
}

/// Once the only deletion found objects and opened the bucket again, its gate is open at a majority.
pub fn an_open_bucket_has_an_open_gate(world: &World, state: &State) -> bool {
    let keys = world.script.keys();
    let newest = |row: Key| {
        let held = state
            .columns
            .iter()
            .filter_map(move |column| column.rows.get(usize::from(row.0))?.accepted.as_ref());
        held.max_by_key(|held| held.ballot)
    };
    let decided = |held: &Accepted<Cargo>| held.content == Content::Value(Cargo::Bucket(Bucket::Active));
    let told = state.outcomes().any(|outcome| *outcome == Outcome::Nothing);
    if !told || !state.is_over() || !newest(bucket_row(keys)).is_some_and(decided) {
        return true;
    }
    let closed = Content::Value(Cargo::Gate(Gate::Closed));
    world.on_majority(state, |column| {
        let gate = &column.rows[usize::from(gate_row(keys).0)];
        gate.accepted.as_ref().is_none_or(|held| held.content != closed)
    })
}

/// What was answered about under views with an older newest layout than `hi`.
fn answered_before(state: &State, hi: LayoutVersion) -> impl Iterator<Item = (Key, Stamp)> + '_ {
    let answered = state.ghost.answered.iter();
    answered
        .filter(move |((_, under), _)| *under < hi)
        .map(|((key, _), stamp)| (*key, *stamp))
}

fn is_gone(column: &Column) -> bool {
    column.seat.dropped > LayoutVersion::default()
}

/// The ballot of what a replica holds; where it holds nothing, the newest tombstone of the row that was forgotten
/// somewhere and is not above the floor.
fn holds(state: &State, column: &Column, key: Key) -> Stamp {
    let cell = &column.rows[usize::from(key.0)];
    if cell.accepted.is_some() {
        return cell.ballot();
    }
    let forgotten = state.ghost.forgotten.range((key, Stamp::ZERO)..=(key, column.floor));
    forgotten.map(|(_, tombstone)| *tombstone).max().unwrap_or(Stamp::ZERO)
}
