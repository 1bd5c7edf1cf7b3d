//! A forced layout: nodes are gone for good, and the next layout is decreed without them.
//!
//! The lost are dead from the moment of the decree; what they answered before was answered. Where less than a majority of
//! the oldest layout that is needed is left, what was acknowledged may be lost, and is from then on taken for something
//! whose outcome is unknown: it may have happened, but not after what began after its answer. What has to stay is the
//! newest value that any of those left holds.

use trellis_spec::layout::{LayoutVersion, View};
use trellis_spec::quorum::{Left, NodeId};
use trellis_spec::stamp::Stamp;

use super::layouts::oldest_needed;
use super::state::Running;
use super::{Column, State, World};
use crate::coordinator::Outcome;
use crate::script::Kind;
use crate::value::Key;

/// A layout that nobody elects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Force {
    /// Its number.
    pub layout: u8,
    /// Those who are lost by then.
    pub lost: Vec<u8>,
}

impl Force {
    pub(super) fn lost_nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.lost.iter().map(|column| World::node(usize::from(*column)))
    }
}

impl World {
    /// The same clients where these layouts follow each other, of which this one is forced when these are lost, and those
    /// before it are decided from the beginning.
    pub fn force(&mut self, layouts: &[&[u8]], layout: u8, lost: &[u8]) {
        self.force = Some(Force {
            layout,
            lost: lost.to_vec(),
        });
        self.transit(layouts);
        self.decided = layout - 1;
    }

    /// Is anybody left of the layouts before the newest of this view?
    pub(super) fn has_older(&self, view: View) -> bool {
        let lost = self.knowledge(view).lost();
        let is_left = |version| {
            (0..usize::from(self.replicas))
                .any(|column| self.holds(version, column) && !lost.contains(&World::node(column)))
        };
        (view.lo.0..view.hi.0).map(LayoutVersion).any(is_left)
    }

    /// Does an operation under an older view wait for nodes that are lost by now? Its deadline will pass.
    pub(super) fn is_stranded(&self, state: &State, running: &Running) -> bool {
        let force = self.force.as_ref().filter(|force| state.decided >= force.layout);
        running.after.is_some() && force.is_some_and(|force| running.view.hi.0 < u64::from(force.layout))
    }

    /// Has an operation under an older view lost most replicas of a layout that it needs? No phase of it completes then.
    pub(super) fn is_futile(&self, state: &State, running: &Running) -> bool {
        let mut needed = (running.view.lo.0..=running.view.hi.0).map(LayoutVersion);
        self.is_stranded(state, running) && needed.any(|version| self.left(state, version) != Left::Enough)
    }

    /// How much is left of a layout's replicas.
    pub(super) fn left(&self, state: &State, version: LayoutVersion) -> Left {
        let owners = (0..state.columns.len()).filter(|index| self.holds(version, *index));
        let owners: Vec<usize> = owners.collect();
        let is_lost = |index: &&usize| {
            let force = self.force.as_ref().filter(|force| state.decided >= force.layout);
            force.is_some_and(|force| force.lost.contains(&(**index as u8)))
        };
        let lost = owners.iter().filter(is_lost).count();
        Left::of(owners.len() - lost, owners.len())
    }

    /// The next layout is decided; if it is forced, the lost are gone.
    pub(super) fn decide(&self, state: &mut State) {
        state.decided += 1;
        let Some(force) = self.force.as_ref().filter(|force| force.layout == state.decided) else {
            return;
        };
        for column in &force.lost {
            let at = state.column(usize::from(*column));
            at.dead = true;
            at.late.clear();
        }
        let lo = self.oldest_certified(state);
        if self.left(state, lo) != Left::Enough {
            self.forgive(state, lo);
        }
    }

    /// The oldest layout that is needed when everything is known that anybody said of syncs, as it is where a layout is
    /// decreed: those who are left are asked first.
    fn oldest_certified(&self, state: &State) -> LayoutVersion {
        let lo = oldest_needed(state);
        let hi = LayoutVersion(u64::from(state.decided) - 1);
        let (knowledge, synced) = (self.knowledge(View { lo, hi }), Self::synced(state));
        let anybody = World::node(0);
        let is_certified = |lo: &LayoutVersion| self.protocol.certificate(knowledge, anybody, *lo, &synced).is_some();
        let mut newer = (lo.0 + 1..=hi.0).rev().map(LayoutVersion);
        newer.find(is_certified).unwrap_or(lo)
    }

    /// What was acknowledged may be lost, but nothing that is newest among those left of the oldest layout needed.
    fn forgive(&self, state: &mut State, lo: LayoutVersion) {
        let left = state.columns.iter().enumerate();
        let left = left.filter(|(index, at)| !at.dead && self.holds(lo, *index));
        let left: Vec<_> = left.map(|(_, at)| at.clone()).collect();
        let kept = |key: Key| {
            let held = left
                .iter()
                .map(|at: &std::sync::Arc<Column>| at.rows[usize::from(key.0)].ballot());
            held.max().unwrap_or(Stamp::ZERO)
        };
        state.ghost.prepared.clear();
        for ((key, _), answered) in &mut state.ghost.answered {
            *answered = kept(*key).min(*answered);
        }
        state.forgiven = self.known(state);
    }

    /// What is known of an operation's outcome; nothing: it need not be looked at any more.
    pub(super) fn after_force(&self, state: &State, op: usize, kind: Kind, told: &Outcome) -> Option<Option<Outcome>> {
        if state.forgiven & 1 << op == 0 {
            return Some(Some(told.clone()));
        }
        let writes = match kind {
            Kind::Write | Kind::Delete | Kind::Put(_) | Kind::Remove(_) => *told == Outcome::Wrote,
            Kind::DropBucket | Kind::Elect => true,
            Kind::Read | Kind::Head | Kind::List | Kind::Again(_) => false,
        };
        writes.then_some(None)
    }
}
