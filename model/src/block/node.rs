//! What nodes do: answer, drop, notice, delete.

use std::sync::Arc;

use trellis_spec::block::{Brought, Data, Held, Kept, StoreStep, Storing, removable};
use trellis_spec::peer::{Stored as StoredRow, serve_row};
use trellis_spec::register::{Request, Served};
use trellis_spec::row::{BlockReference, Row};
use trellis_spec::stamp::Stamp;

use super::check::admitted;
use super::rules::R;
use super::state::{Answer, Call, Key, Node, State};
use super::{Action, BlockWorld, Lock, Moves};

impl BlockWorld {
    pub(super) fn node_actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (at, node) in (0_u8..).zip(&state.nodes) {
            let dead = node
                .references
                .keys()
                .filter(|version| state.dead.contains_key(version));
            actions.extend(dead.map(|version| Action::Drop(at, *version)));
            let may = removable(held(node), 0, 0);
            match self.plan.lock {
                Lock::Held if may => actions.push(Action::Delete(at)),
                Lock::NotHeld if may && !node.noticed => actions.push(Action::Notice(at)),
                Lock::NotHeld if node.noticed => actions.push(Action::Delete(at)),
                Lock::Held | Lock::NotHeld => {}
            }
        }
    }

    /// A node handles a request; `cut` lets it crash after its first step of storing.
    pub(super) fn handle(&self, node: &mut Node, call: &Call, cut: bool) -> Option<Answer> {
        match call {
            Call::Row(key, request) => {
                let served = self.serve(node, *key, request);
                if let Some(changed) = served.changed {
                    *node.cell_mut(*key) = changed;
                }
                Some(Answer::Row(served.reply))
            }
            Call::Keep {
                reference,
                with_data,
                view,
            } => {
                if self.plan.moves != Moves::Unchecked && (node.view.hi > view.hi || node.view.lo > view.lo) {
                    return Some(Answer::Stale(node.view));
                }
                node.view = node.view.join(*view);
                let brought = if *with_data { Brought::Data } else { Brought::Nothing };
                self.keep(node, reference, brought, cut).map(Answer::Kept)
            }
        }
    }

    fn keep(&self, node: &mut Node, reference: &BlockReference, brought: Brought, cut: bool) -> Option<Kept> {
        let mut storing: Storing<R> = Storing::new(brought);
        loop {
            storing = match storing.step() {
                StoreStep::Refer => {
                    node.references.insert(reference.version, reference.clone());
                    node.mark = None;
                    storing.on_done()
                }
                StoreStep::Fill => {
                    node.data = Data::Verified;
                    storing.on_done()
                }
                StoreStep::Look => storing.on_look(node.data),
                StoreStep::Answer(kept) => return Some(kept),
            };
            if cut {
                return None;
            }
        }
    }

    fn serve(&self, node: &Node, key: Key, request: &Request<Row>) -> Served<Row> {
        // Rows stay where they are: every request is admitted.
        let cell = node.cell(key).clone();
        let stored = StoredRow {
            cell,
            floor: Stamp::ZERO,
            gate: Default::default(),
        };
        serve_row::<Row, R>(&admitted(), &stored, u64::MAX, 0, request)
    }

    /// Forgets what is on its way and would change nothing any more; sorts what is alike.
    pub(super) fn tidy(&self, state: &mut State) {
        for node in &mut state.nodes {
            let matters = |call: &Call| match call {
                Call::Row(key, request) => self.serve(node, *key, request).changed.is_some(),
                Call::Keep { view, .. } => {
                    self.plan.moves == Moves::Unchecked || (node.view.hi <= view.hi && node.view.lo <= view.lo)
                }
            };
            if node.late.iter().any(|call| !matters(call)) {
                let late = node.late.iter().filter(|call| matters(call)).cloned().collect();
                Arc::make_mut(node).late = late;
            }
        }
        if !self.moves() {
            state.nodes.sort();
        }
    }
}

/// The references of a node, as its deletion looks at them.
pub(super) fn held(node: &Node) -> Held {
    match (node.references.is_empty(), node.mark) {
        (false, _) => Held::Referenced,
        (true, Some(mark)) => Held::Marked(mark),
        (true, None) => Held::Unknown,
    }
}
