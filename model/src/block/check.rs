//! What must be true of a world of blocks, and the search for where it is not.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use stateright::Path;
use trellis_spec::block::Data;
use trellis_spec::flaw::{Flaw, Sound};
use trellis_spec::layout::{Admitted, Knowledge, Member, Partition, initial};
use trellis_spec::quorum::NodeId;
use trellis_spec::register::Accepted;
use trellis_spec::row::{Row, VersionId};

use super::state::State;
use super::{BlockWorld, Plan};
use crate::check::{Report, Search, Way, explore};

/// C10. More than it says: what counts is each version that a read may return, acknowledged or not.
pub(super) fn covered(state: &State) -> bool {
    readable(state).into_iter().all(|version| is_covered(state, version))
}

/// The versions that a read of some majority would find.
fn readable(state: &State) -> Vec<VersionId> {
    let replicas = state.row_nodes();
    let newest_without = |left_out: usize| {
        let others = replicas.iter().enumerate().filter(|(at, _)| *at != left_out);
        let held = others.filter_map(|(_, node)| node.object.accepted.as_ref());
        held.max_by_key(|accepted| accepted.ballot).and_then(version)
    };
    (0..replicas.len()).filter_map(newest_without).collect()
}

pub(super) fn version(accepted: &Accepted<Row>) -> Option<VersionId> {
    match accepted.content.live()? {
        Row::Object(object) => Some(object.version),
        Row::Upload(_) | Row::Part(_) | Row::Manifest(_) | Row::Gate(_) => None,
        Row::Bucket(_) | Row::Name(_) | Row::AccessKey(_) => None,
    }
}

/// On a majority of the oldest active set, and on every owner that was synced after it was stored.
fn is_covered(state: &State, version: VersionId) -> bool {
    let oldest = state.nodes.iter().map(|node| node.view.lo.0).max().unwrap_or(1);
    let first = usize::try_from(oldest - 1).unwrap_or(0);
    let holders = state.nodes[first..first + 3].iter().filter(|node| node.has(version));
    let mut synced = state.nodes.iter().filter(|node| node.synced);
    holders.count() >= 2 && (!state.stored_before.contains(&version) || synced.all(|node| node.has(version)))
}

/// Nothing lies on a disk that the disk does not tell what to do with.
pub(super) fn accounted(state: &State) -> bool {
    let known = |node: &Arc<super::Node>| !node.references.is_empty() || node.mark.is_some();
    state.nodes.iter().all(|node| node.data == Data::Absent || known(node))
}

/// Proof that a request on a row that never moves may be served.
pub(super) fn admitted() -> Admitted {
    static ADMITTED: OnceLock<Admitted> = OnceLock::new();
    let member = |id| Member {
        id: NodeId(id),
        ..Member::storage([0; 32], [0; 16], "", 1)
    };
    *ADMITTED.get_or_init(|| {
        let layout = initial(vec![member(0), member(1), member(2)], 3, 1).expect("three nodes make a layout");
        let knowledge = Knowledge::of(layout);
        let view = knowledge.view(Partition(0));
        let admitted = knowledge.admit::<Sound>(NodeId(0), Partition(0), view);
        admitted.expect("a member is admitted under the only view")
    })
}

/// Searches a plan, under sound rules or without one guard.
pub fn search(plan: Plan, search: Search, lacks: Option<Flaw>) -> Report {
    explore(BlockWorld::new(plan, lacks), search, |path| Way::Told(told(path)))
}

fn told(path: Path<State, super::Action>) -> String {
    let mut text = String::new();
    let last = path.last_state().clone();
    for (number, action) in (1..).zip(path.into_actions()) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{number:>3}. {action:?}");
    }
    let _ = writeln!(text, "\n{last:#?}");
    text
}
