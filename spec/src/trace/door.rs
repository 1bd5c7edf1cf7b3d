//! The door of a replica: what it was shown, on what ground the node stood, and what it said.

use serde::{Deserialize, Serialize};

use crate::layout::{Footing, LayoutMark, LayoutVersion, Partition, Refusal, View};
use crate::row::RowKey;

/// What the door was shown, and what it knew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The newest change of what the node knew of layouts was written at this position of its log; zero: before its life.
    pub known_at: u64,
    /// Where the node stood.
    pub footing: Footing,
    /// The view of the request.
    pub asked: View,
    /// The newest layout of the request.
    pub newest: LayoutMark,
    /// What tells whether the node serves from its rows, if that was wanted and looked at.
    pub opened: Option<Openness>,
}

/// What [`is_open`](crate::layout::is_open) asks, beside the layout at which the node entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Openness {
    /// The newest layout for which the node is synced.
    pub synced: LayoutVersion,
    /// The layout of entering for which its floor was raised.
    pub raised: LayoutVersion,
}

/// A request that was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TurnedAway {
    /// By the door's rule.
    Refused(Refusal),
    /// Its newest layout has the number of the node's own, and another content.
    OtherLayouts,
}

/// A request about a row that was turned away at the door.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedStep {
    /// The partition of the row.
    pub partition: Partition,
    /// The row, or the first that was asked for.
    pub key: RowKey,
    /// What the door was shown.
    pub shown: Shown,
    /// What it said.
    pub said: TurnedAway,
}
