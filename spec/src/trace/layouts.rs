//! What a node knows of layouts, and what changes it.
//!
//! There are few changes, so each is recorded, and replay knows at every step what the node knew.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::layout::{Announcement, Heard, Knowledge, Layout, LayoutVersion, Partition, View};

/// All that a node knows of layouts: at the beginning of its life and of each later part of its trace, and behind each
/// gap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The newest change was written at this position of the log; zero: before this life.
    pub at: u64,
    /// The layouts, and which of them are active.
    pub knowledge: Knowledge,
    /// Who is synced.
    pub heard: Heard,
}

/// A node was told something of layouts that it did not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayoutsStep {
    /// What it was told, but for what it had heard before.
    pub told: LayoutsInput,
    /// What is new by that.
    pub news: LayoutsNews,
    /// It was written at this position of the log.
    pub written_at: u64,
}

/// What a node was told of layouts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LayoutsInput {
    /// Layouts, in order, that were elected.
    Learn(Vec<Layout>),
    /// The view of a request that it admitted on a partition.
    Adopt(Partition, View),
    /// The view of another node.
    Hear(Partition, View),
    /// Who says to be synced.
    Announce(Vec<Announcement>),
}

/// What was new to a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayoutsNews {
    /// These layouts.
    pub learned: Vec<LayoutVersion>,
    /// These syncs.
    pub heard: Vec<Announcement>,
    /// The oldest active layouts of these partitions.
    pub raised: Vec<(Partition, LayoutVersion)>,
}

/// A node decided to delete what it holds of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClearedStep {
    /// The partition.
    pub partition: Partition,
    /// The rows that it stored when it had entered at this layout; nothing: the references to blocks.
    pub entered: Option<LayoutVersion>,
    /// On what it knew of layouts by the change at this position of the log.
    pub known_at: u64,
}
