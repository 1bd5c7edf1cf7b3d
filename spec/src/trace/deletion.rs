//! The deletion of a bucket: what it was told, and what it said.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::gate::{DeletionStep, Emptiness, Held, Swapped};
use crate::row::BucketId;

/// A deletion, from its beginning to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletionRun {
    /// The bucket.
    pub bucket: BucketId,
    /// What it was told, and what it said to do next. It may stop anywhere.
    pub events: Vec<(DeletionInput, DeletionStep)>,
}

/// What a deletion was told: its methods, as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeletionInput {
    /// What came of the compare-and-swap.
    Swapped(Swapped),
    /// What became of writing the gate.
    Gate(Held),
    /// The view rose.
    View,
    /// What the listing showed.
    Listed(Emptiness),
}
