//! The blocks' partition moves from nodes 0, 1, 2 to nodes 1, 2, 3.
//!
//! Only the new owner learns of the layout by itself; the others do by requests and pulls, which hides nothing.

use std::collections::BTreeMap;

use trellis_spec::block::{Data, Pulled, Pulling};
use trellis_spec::layout::{LayoutVersion, View};
use trellis_spec::quorum::{NodeId, ReplicaSets};

use super::rules::R;
use super::state::State;
use super::{Action, BlockWorld, Moves};

const OLD: [u8; 3] = [0, 1, 2];
const NEW: [u8; 3] = [1, 2, 3];
const NEWEST: LayoutVersion = LayoutVersion(2);

impl BlockWorld {
    pub(super) fn transition_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let node = |at: u8| &*state.nodes[usize::from(at)];
        if node(3).view.hi < NEWEST {
            actions.push(Action::Learn);
        }
        for at in NEW.into_iter().filter(|at| self.syncs(*at)) {
            if node(at).view.hi < NEWEST || node(at).synced {
                continue;
            }
            let complete = Self::pulling(state, at).is_some_and(Pulling::is_complete);
            if complete && self.is_synced(state, at) {
                actions.push(Action::Synced(at));
            }
            if !complete {
                actions.extend(
                    sources(node(at).view)
                        .into_iter()
                        .map(|source| Action::Pull(at, source)),
                );
            }
            let lacks = node(at).data == Data::Absent && !node(at).references.is_empty();
            if lacks && state.nodes.iter().any(|other| other.data == Data::Verified) {
                actions.push(Action::Fetch(at));
            }
        }
        let synced = NEW.into_iter().filter(|at| node(*at).synced).count();
        let needed = if self.plan.moves == Moves::RetiredAtOne { 1 } else { 2 };
        if synced >= needed {
            let behind = (0..4).filter(|at| node(*at).view.hi == NEWEST && node(*at).view.lo < NEWEST);
            actions.extend(behind.map(Action::Retire));
        }
        let gone = node(0).references.is_empty() && node(0).data == Data::Absent && node(0).mark.is_none();
        if synced == NEW.len() && node(0).view.lo == NEWEST && !gone {
            actions.push(Action::Leave);
        }
    }

    fn syncs(&self, at: u8) -> bool {
        const SLOW: u8 = 2;
        self.plan.moves != Moves::WithoutOne || at != SLOW
    }

    fn is_synced(&self, state: &State, at: u8) -> bool {
        let node = &state.nodes[usize::from(at)];
        let dropped = |version| state.dead.contains_key(&version) && !node.references.contains_key(&version);
        Self::pulling(state, at).is_some_and(|pulling| {
            pulling.is_synced(|reference| {
                if dropped(reference.version) {
                    Data::Verified
                } else {
                    node.data
                }
            })
        })
    }

    pub(super) fn move_on(&self, state: &mut State, action: &Action) {
        match action {
            Action::Learn => state.node(3).view.hi = NEWEST,
            Action::Pull(at, source) => self.pull(state, *at, *source),
            Action::Fetch(at) => state.node(*at).data = Data::Verified,
            Action::Synced(at) => state.node(*at).synced = true,
            Action::Retire(at) => state.node(*at).view.lo = NEWEST,
            Action::Leave => {
                let node = state.node(0);
                (node.references, node.mark, node.data) = (BTreeMap::new(), None, Data::Absent);
            }
            Action::Inquire(_) | Action::Deliver(..) | Action::Lose(..) | Action::Cut(..) => {}
            Action::Patience(_) | Action::Late(..) | Action::Drop(..) | Action::Notice(_) | Action::Delete(_) => {}
        }
    }

    /// What a new owner has pulled under the view that it has now.
    fn pulling(state: &State, at: u8) -> Option<&Pulling<R>> {
        let view = state.nodes[usize::from(at)].view;
        let (under, pulling) = state.pulling[usize::from(at)].as_ref()?;
        (*under == view).then_some(pulling)
    }

    fn pull(&self, state: &mut State, at: u8, source: u8) {
        let view = state.nodes[usize::from(at)].view;
        let from = state.node(source);
        if from.view.lo > view.lo {
            // The old set is retired, and who pulls learns of it.
            let lo = from.view.lo;
            state.node(at).view.lo = lo;
            return;
        }
        if self.plan.moves != Moves::Unwedged {
            from.view = from.view.join(view);
        }
        let data = from.data;
        let reported = from.references.values().map(|reference| Pulled {
            reference: reference.clone(),
            data,
        });
        let reported: Vec<Pulled> = reported.collect();
        let node = state.node(at);
        for pulled in &reported {
            node.references
                .insert(pulled.reference.version, pulled.reference.clone());
            node.mark = None;
        }
        let fresh = || {
            (
                view,
                Pulling::new(ReplicaSets::new(vec![
                    sources(view).map(u64::from).map(NodeId).to_vec(),
                ])),
            )
        };
        let slot = &mut state.pulling[usize::from(at)];
        if slot.as_ref().is_none_or(|(under, _)| *under != view) {
            *slot = Some(fresh());
        }
        if let Some((_, pulling)) = slot {
            pulling.on_pulled(NodeId(u64::from(source)), reported);
        }
    }
}

/// Where a new owner pulls from: the older set, or its own where that is retired.
fn sources(view: View) -> [u8; 3] {
    if view.lo < NEWEST { OLD } else { NEW }
}
