//! A second search, small enough to be read at one sitting: every state of a model, nearest first.
//!
//! That a claim holds is no better than the search that says so. This one shares nothing with stateright's checkers but
//! the trait [`Model`], and counts what they count, so that both can be compared number by number:
//!
//! - *Unique states* are told apart by their full value. A hash only says where to look for an equal one; states of one
//!   hash that differ are counted ([`Found::alike`]). Stateright tells states apart by 64 bits of their hash, so fewer
//!   states there would be a hash that forgets something, and more a state with two hashes.
//! - *Transitions* are actions that lead somewhere, also to a state that is known. Stateright's `state_count` is their
//!   number and that of the initial states.
//! - *Depth* is the number of states on the longest of the shortest ways. A search that is depth first takes longer ways,
//!   so its depth is larger; everything else must be the same.
//!
//! Symmetry and the other reductions are no reason for other numbers. They are part of a world's `next_state`, not of
//! the search: what both engines are given is already reduced. Where a property is violated numbers do differ: this
//! search ends at the first state that violates one, stateright's looks at a block of states before it ends, and reports
//! the last way that it found there. Its way may therefore be longer, and never shorter.
//!
//! Properties that must hold *eventually* are not judged; no world has any.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use stateright::{Expectation, Model, Property};

/// What a search found.
#[derive(Clone, Debug)]
pub struct Found<S, A> {
    /// Initial states, counting repeated ones.
    pub starts: usize,
    /// Different states.
    pub unique: usize,
    /// Actions that led to a state, known or not.
    pub transitions: usize,
    /// States on the longest way that was taken.
    pub depth: usize,
    /// Different states whose hash another one has.
    pub alike: usize,
    /// Was every state looked at?
    pub complete: bool,
    /// What should have held somewhere and did not.
    pub never: Vec<&'static str>,
    /// The first state that must not be, nearest first.
    pub violation: Option<Violation<S, A>>,
}

/// A way to a state that must not be: no other is shorter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation<S, A> {
    /// What it violates.
    pub property: &'static str,
    /// Where the way begins.
    pub start: S,
    /// What happens on it.
    pub actions: Vec<A>,
}

/// Looks at every state, or at the nearest `most` of them, until one violates what must always hold.
pub fn search<M>(model: &M, most: usize) -> Found<M::State, M::Action>
where
    M: Model,
    M::State: Clone + PartialEq + Hash,
    M::Action: Clone,
{
    let properties = model.properties();
    let mut held = vec![false; properties.len()];
    let mut seen = Seen::default();
    model.init_states().into_iter().for_each(|state| {
        if model.within_boundary(&state) {
            seen.meet(state, None);
        }
    });
    let (starts, mut depth, mut violation, mut next) = (seen.met, 0, None, 0);
    while violation.is_none() && next < seen.states.len().min(most) {
        depth = depth.max(seen.states[next].depth);
        match judge(model, &properties, &mut held, &seen.states[next].state) {
            Some(property) => violation = Some(seen.way(property, next)),
            None => seen.expand(model, next),
        }
        next += 1;
    }
    let never = properties.iter().zip(held).filter(|(_, held)| !held);
    Found {
        starts,
        unique: seen.states.len(),
        transitions: seen.met - starts,
        depth,
        alike: seen.alike,
        complete: violation.is_none() && next == seen.states.len(),
        never: never.map(|(property, _)| property.name).collect(),
        violation,
    }
}

/// The first property that must always hold and does not hold here; and which hold here, at least.
fn judge<M: Model>(model: &M, properties: &[Property<M>], held: &mut [bool], state: &M::State) -> Option<&'static str> {
    for (property, held) in properties.iter().zip(held) {
        let holds = match property.expectation {
            // What was seen once need not be looked for again.
            Expectation::Sometimes if *held => continue,
            Expectation::Always | Expectation::Sometimes => (property.condition)(model, state),
            Expectation::Eventually => true,
        };
        *held |= holds;
        if property.expectation == Expectation::Always && !holds {
            return Some(property.name);
        }
    }
    None
}

/// The states that were met, in the order in which they are looked at.
struct Seen<S, A> {
    states: Vec<Met<S, A>>,
    /// Where the states of a hash are.
    places: HashMap<u64, Vec<usize>>,
    met: usize,
    alike: usize,
}

struct Met<S, A> {
    state: S,
    depth: usize,
    /// The state before it, and what happened there; nothing: it is an initial one.
    from: Option<(usize, A)>,
}

impl<S, A> Default for Seen<S, A> {
    fn default() -> Self {
        Seen {
            states: Vec::new(),
            places: HashMap::new(),
            met: 0,
            alike: 0,
        }
    }
}

impl<S: Clone + PartialEq + Hash, A: Clone> Seen<S, A> {
    fn meet(&mut self, state: S, from: Option<(usize, A)>) {
        self.met += 1;
        let mut hasher = DefaultHasher::new();
        state.hash(&mut hasher);
        let places = self.places.entry(hasher.finish()).or_default();
        if places.iter().any(|place| self.states[*place].state == state) {
            return;
        }
        self.alike += usize::from(!places.is_empty());
        places.push(self.states.len());
        let before = from.as_ref().map_or(0, |(before, _)| self.states[*before].depth);
        self.states.push(Met {
            state,
            depth: before + 1,
            from,
        });
    }

    fn expand<M: Model<State = S, Action = A>>(&mut self, model: &M, at: usize) {
        let mut actions = Vec::new();
        model.actions(&self.states[at].state, &mut actions);
        for action in actions {
            let next = model.next_state(&self.states[at].state, action.clone());
            if let Some(next) = next.filter(|next| model.within_boundary(next)) {
                self.meet(next, Some((at, action)));
            }
        }
    }

    /// The way on which a state was first met.
    fn way(&self, property: &'static str, mut at: usize) -> Violation<S, A> {
        let mut actions = Vec::new();
        while let Some((before, action)) = &self.states[at].from {
            actions.push(action.clone());
            at = *before;
        }
        actions.reverse();
        Violation {
            property,
            start: self.states[at].state.clone(),
            actions,
        }
    }
}
