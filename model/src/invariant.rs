//! What must be true of every state while layouts follow each other.
//!
//! Short histories do not show a copy that is missing: nobody may happen to read where it should be. These invariants
//! look at the rows themselves.

use std::sync::Arc;

use trellis_spec::layout::LayoutVersion;
use trellis_spec::quorum::majority;
use trellis_spec::stamp::Stamp;

use crate::value::Key;
use crate::world::{Column, State, World, oldest_needed};

/// I2: who is synced for a layout holds every value that was acknowledged under an older newest layout, or a newer one.
pub fn synced_nodes_hold_what_was_acknowledged(_: &World, state: &State) -> bool {
    let holds = |column: &Arc<Column>| {
        let seat = column.seat;
        let exempt = is_gone(column) || seat.entered > seat.synced;
        exempt || answered_before(state, seat.synced).all(|(key, stamp)| ballot(column, key) >= stamp)
    };
    state.columns.iter().all(holds)
}

/// I3: every acknowledged value, or a newer one, is on a majority of the oldest active layout.
pub fn a_majority_holds_what_was_acknowledged(world: &World, state: &State) -> bool {
    let lo = oldest_needed(state);
    let mut answered = answered_before(state, LayoutVersion(u64::MAX));
    answered.all(|(key, stamp)| on_majority(world, state, lo, |column| ballot(column, key) >= stamp))
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
            exempt || answered_before(state, layout).all(|(key, stamp)| ballot(owner, key) >= stamp)
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
    let lo = oldest_needed(state);
    state.ghost.prepared.iter().all(|(key, promised)| {
        on_majority(world, state, lo, |column| {
            let cell = &column.rows[usize::from(key.0)];
            cell.promised.max(cell.ballot()) >= *promised
        })
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

fn ballot(column: &Column, key: Key) -> Stamp {
    column.rows[usize::from(key.0)].ballot()
}

fn on_majority(world: &World, state: &State, layout: LayoutVersion, holds: impl Fn(&Column) -> bool) -> bool {
    let owners: Vec<usize> = (0..state.columns.len())
        .filter(|index| world.holds(layout, *index))
        .collect();
    let holding = owners.iter().filter(|index| holds(&state.columns[**index])).count();
    holding >= majority(owners.len())
}
