//! Progress: the space of what is dead comes back, with any one node down.
//!
//! From a state, every client is taken to have died and every late message to be lost. Then collectors that nobody
//! disturbs go through the references of the nodes that are up. When they are done, each reference left is to the
//! version that the row names (or of an upload that nobody ended), and no data are there without one.

use std::sync::Arc;

use trellis_spec::block::Data;
use trellis_spec::row::{Row, UploadState, VersionId};

use super::check::version;
use super::node::held;
use super::state::{Slot, Stage, State};
use super::{Action, BlockWorld, ROW_REPLICAS};

/// More steps than one undisturbed inquiry needs.
const STEPS_MAX: usize = 60;

impl BlockWorld {
    pub(super) fn drains(&self, state: &State) -> bool {
        (0..ROW_REPLICAS).all(|down| self.drains_without(state, down))
    }

    fn drains_without(&self, state: &State, down: u8) -> bool {
        super::rules::enter(self.lacks);
        let mut state = state.clone();
        for process in &mut state.processes {
            (process.stage, process.call) = (Arc::new(Stage::Over), None);
        }
        for node in (0..).take(state.nodes.len()) {
            let node = state.node(node);
            node.late.clear();
            node.slots.fill(Slot::Empty);
        }
        let up = || (0..ROW_REPLICAS).filter(move |node| *node != down);
        let mut versions: Vec<VersionId> = up()
            .flat_map(|at| state.nodes[usize::from(at)].references.keys().copied())
            .collect();
        versions.sort();
        versions.dedup();
        for version in versions {
            if !self.settle_inquiry(&mut state, version, down) {
                return false;
            }
            if state.dead.contains_key(&version) {
                up().for_each(|at| self.act(&mut state, Action::Drop(at, version)));
            }
        }
        for at in up() {
            if trellis_spec::block::removable(held(&state.nodes[usize::from(at)]), 0, 0) {
                self.act(&mut state, Action::Delete(at));
            }
        }
        up().all(|at| Self::is_clean(&state, at, down))
    }

    /// Runs one inquiry with nobody else about; did it end?
    fn settle_inquiry(&self, state: &mut State, version: VersionId, down: u8) -> bool {
        let at = self.collector();
        let plan = super::Plan { stamps: 8, ..self.plan };
        let alone = BlockWorld { plan, ..*self };
        alone.inquire(state, version);
        for _ in 0..STEPS_MAX {
            if *state.process(at).stage == Stage::Over {
                return true;
            }
            let open = |node: &u8| state.nodes[usize::from(*node)].slots[usize::from(at)] == Slot::Open;
            let next = (0..ROW_REPLICAS).filter(|node| *node != down).find(open);
            match next {
                Some(node) => alone.act(state, Action::Deliver(at, node)),
                None => alone.act(state, Action::Patience(at)),
            }
        }
        false
    }

    fn is_clean(state: &State, at: u8, down: u8) -> bool {
        let node = &state.nodes[usize::from(at)];
        let up = (0..).zip(state.row_nodes()).filter(|(number, _)| *number != down);
        let current = up
            .filter_map(|(_, node)| node.object.accepted.as_ref())
            .max_by_key(|accepted| accepted.ballot)
            .and_then(version);
        let needed = |reference: &VersionId| Some(*reference) == current || Self::is_upload_open(state, *reference);
        let data_accounted = node.data == Data::Absent || !node.references.is_empty();
        data_accounted && node.mark.is_none() && node.references.keys().all(needed)
    }

    /// Is it an upload's version, and may the upload go on?
    fn is_upload_open(state: &State, version: VersionId) -> bool {
        let uploads = state.nodes.iter().filter_map(|node| node.upload.accepted.as_ref());
        let newest = uploads.max_by_key(|accepted| accepted.ballot);
        let open = newest
            .and_then(|accepted| accepted.content.live())
            .is_some_and(|row| match row {
                Row::Upload(upload) => matches!(upload.state, UploadState::Open | UploadState::Completing(_)),
                Row::Object(_) | Row::Part(_) | Row::Manifest(_) | Row::Gate(_) => false,
                Row::Bucket(_) | Row::Name(_) | Row::AccessKey(_) => false,
            });
        // An upload's references carry no time of their own.
        let of_upload = |node: &Arc<super::Node>| {
            node.references
                .get(&version)
                .is_some_and(|reference| reference.until == 0)
        };
        open && state.nodes.iter().any(of_upload)
    }
}
