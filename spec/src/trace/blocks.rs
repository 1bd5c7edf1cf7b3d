//! Blocks: what was kept at a replica and let go again, and where coordinators placed them.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::block::{Brought, Data, Dropped, Held, Kept, StoreStep, Subject, UploadFate};
use crate::layout::{Partition, View};
use crate::quorum::{NodeId, ReplicaSets, Verdict};
use crate::row::{Block, BlockName, BlockReference, RowKey, Upload, VersionId};

/// A replica was asked to keep a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeepRun {
    /// The partition of the block.
    pub partition: Partition,
    /// The block.
    pub block: BlockName,
    /// The version that refers to it.
    pub version: VersionId,
    /// Whether the data came along.
    pub brought: Brought,
    /// What was done, in order. It may stop anywhere.
    pub events: Vec<KeepEvent>,
}

/// What was done about a block that is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeepEvent {
    /// This, durably.
    Done(StoreStep),
    /// The data that are here were read.
    Looked(Data),
    /// This was said.
    Answered(Kept),
}

/// A replica considered to let go of a reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseStep {
    /// The partition of the block.
    pub partition: Partition,
    /// The reference.
    pub reference: BlockReference,
    /// Why it is needed no more.
    pub why: Release,
    /// Whether there were more references to the block.
    pub others: bool,
    /// The replica's clock.
    pub now_us: u64,
    /// What took its place.
    pub dropped: Dropped,
}

/// Why a reference is needed no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Release {
    /// This was proved to be dead.
    Dead(Subject),
    /// The node left the partition.
    Left,
}

/// A replica considered to delete a block's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteStep {
    /// The partition of the block.
    pub partition: Partition,
    /// The block.
    pub block: BlockName,
    /// What kept it there.
    pub held: Held,
    /// The replica's clock.
    pub now_us: u64,
    /// How long a mark has to stand.
    pub grace_us: u64,
    /// What the rule said.
    pub may_go: bool,
}

/// A coordinator placed a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceRun {
    /// The partition of the block.
    pub partition: Partition,
    /// The view of the requests.
    pub view: View,
    /// The block.
    pub block: Block,
    /// The replicas under that view.
    pub sets: ReplicaSets,
    /// Who answered what, and what was concluded then. It may stop anywhere.
    pub events: Vec<(NodeId, Kept, Placed)>,
}

/// What is concluded about a block that is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// Is it stored?
    pub verdict: Verdict,
    /// Did some replica lack the data?
    pub needs_data: bool,
}

/// A new owner of a partition of blocks, or one that may lack some, pulled its references.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRun {
    /// The partition.
    pub partition: Partition,
    /// The view of the requests.
    pub view: View,
    /// From majorities of these.
    pub sources: ReplicaSets,
    /// What happened, in order. It may stop anywhere.
    pub events: Vec<PullEvent>,
}

/// What happened to a pull of references.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PullEvent {
    /// This source reported these references, and whether it has their data; have enough answered?
    Pulled(NodeId, Vec<(BlockName, VersionId, Data)>, bool),
    /// These data were not to be had; is everything here?
    Judged(Vec<BlockName>, bool),
    /// What came then is left out: it has too many references.
    LeftOut,
}

/// A collector judged an upload by its row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FateStep {
    /// The row's key.
    pub key: RowKey,
    /// The row.
    pub upload: Upload,
    /// What it says about the upload's parts.
    pub fate: UploadFate,
}
