//! When layouts came and went, for people: nothing is decided by it.
//!
//! The node that has a layout elected writes down when, and whoever is told of the layout is told that as well. That a
//! layout is not needed any more every node finds out by itself, and writes down when it did.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trellis_spec::layout::LayoutVersion;
use trellis_spec::peer::Peer;

/// Milliseconds since the Unix epoch; nothing where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dates {
    /// When the layout was decided, by the clock of a node that had it elected.
    pub decided_ms: Option<u64>,
    /// When this node saw that no partition needs it any more.
    pub retired_ms: Option<u64>,
}

/// The layouts that no partition needs and that have no date for it yet, with how they are dated now.
pub(super) fn retired(peer: &Peer, dates: &BTreeMap<LayoutVersion, Dates>, now_ms: u64) -> Vec<(LayoutVersion, Dates)> {
    let Some(newest) = peer.knowledge.newest() else {
        return Vec::new();
    };
    let oldest = newest.partitions().map(|partition| peer.knowledge.view(partition).lo);
    let oldest = oldest.min().unwrap_or_default();
    let over = peer.knowledge.newest_first().map(|layout| layout.version);
    let over = over.filter(|version| *version < oldest);
    let dated = over.filter_map(|version| {
        let before = dates.get(&version).copied().unwrap_or_default();
        let retired_ms = Some(now_ms);
        before
            .retired_ms
            .is_none()
            .then_some((version, Dates { retired_ms, ..before }))
    });
    dated.collect()
}
