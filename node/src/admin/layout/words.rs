//! Refusals as operators read them: who is meant, and what to do next.

use std::collections::BTreeSet;
use std::fmt;

use trellis_spec::layout::Unfit;
use trellis_spec::quorum::NodeId;

use super::draft::DraftError;
use crate::folder::NodeName;

/// Enough of an id to tell nodes apart.
const SHORT_DIGITS: usize = 16;

/// The beginning of a node's id.
pub(super) fn short(name: &NodeName) -> impl fmt::Display {
    let mut text = name.to_string();
    text.truncate(SHORT_DIGITS);
    text
}

pub(super) fn listed(names: &[NodeName]) -> String {
    let names: Vec<String> = names.iter().map(|name| short(name).to_string()).collect();
    names.join(", ")
}

/// Why there is no draft.
pub(super) fn explain(error: &DraftError, known: &BTreeSet<NodeName>) -> String {
    match error {
        DraftError::NothingStaged => {
            "nothing is staged on this node; `trellis layout assign`, `remove` and `config` stage \
                                      changes, on the node that they are given to"
                .to_owned()
        }
        DraftError::SameAgain => "what is staged is how it is already; `trellis layout revert` forgets it".to_owned(),
        DraftError::Assign(error) => format!("no layout can do what is staged: {}", with_names(error, known)),
        DraftError::NotProven(violation) => format!(
            "the layout that was found for what is staged is not the best there is ({}): that is a bug of this program. \
             Nothing was changed",
            with_names(violation, known)
        ),
        DraftError::Unfit(unfit) => explain_unfit(unfit, known),
    }
}

/// The planner knows nodes by number; people know them by their ids.
fn with_names(error: &impl ToString, known: &BTreeSet<NodeName>) -> String {
    known.iter().fold(error.to_string(), |text, name| {
        text.replace(&format!("{:016x}", name.id().0), &short(name).to_string())
    })
}

/// Why a layout may not follow, and when it will.
pub(super) fn explain_unfit(unfit: &Unfit, known: &BTreeSet<NodeName>) -> String {
    const WAIT: &str = "Wait until less moves (`trellis layout history` shows how far it is), and apply again: your staged \
                        changes are still there";
    match unfit {
        Unfit::Number(_) | Unfit::Previous => {
            "a newer layout was decided meanwhile. Your staged changes are still there: \
                                               look at `trellis layout preview` again, and apply them on top of it"
                .to_owned()
        }
        Unfit::Partitions => "the number of partitions cannot change".to_owned(),
        Unfit::Replicas(partition) => format!(
            "partition {} cannot get its new number of replicas while the running transition lasts. {WAIT}",
            partition.0
        ),
        Unfit::TooManyActive(_) => {
            format!("as many layouts are being moved between as may be at a time. {WAIT}")
        }
        Unfit::Lost(node) => format!(
            "{} was declared lost when a layout was forced, and is for good; it comes back as a new node, with an empty \
             folder (`trellis node init`). `trellis layout revert` forgets what is staged",
            node_name(*node, known)
        ),
        Unfit::Epoch(epoch) => format!(
            "a forced layout needs an epoch above every one before: {} at least. Nothing was changed",
            epoch.0.saturating_add(1)
        ),
        Unfit::ComesBack(node, partition) => format!(
            "{} left partition {} in a transition that is still running, and may come back to it afterwards. {WAIT}",
            node_name(*node, known),
            partition.0
        ),
    }
}

fn node_name(node: NodeId, known: &BTreeSet<NodeName>) -> String {
    let name = known.iter().find(|name| name.id() == node);
    name.map_or_else(|| "a node".to_owned(), |name| format!("node {}", short(name)))
}
