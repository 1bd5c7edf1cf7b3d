//! Traces: what the machines of a node were told, and what they said.
//!
//! Steps of machines are deterministic, so whoever reads a trace can take each of them again and must come to the same
//! result. What a trace can show beyond that is whether the driver does what it says: that it sends what an attempt
//! asks for, and that the row it gives to a rule is the one that the rule left there before.
//!
//! Nothing here writes or reads files. A trace is a sequence of [`Record`]s; one record is one step of a replica, one
//! attempt from its beginning to its end, a row that a sync took in or that was forgotten, or a change of what the node
//! knows of layouts, so that a record that is left out takes nothing else with it. Inline bodies are left out: the digest in a row's head stands for them. Where whole
//! pages of rows are told, their values are.

mod attempt;
mod blocks;
mod deletion;
mod door;
mod election;
mod layouts;
mod pages;
mod scans;
mod values;

use serde::{Deserialize, Serialize};

pub use attempt::{AttemptRun, Event, Guarded, Input, Made, Outcome, Traced};
pub use blocks::{
    DeleteStep, FateStep, KeepEvent, KeepRun, PlaceRun, Placed, PullEvent, PullRun, Release, ReleaseStep,
};
pub use deletion::{DeletionInput, DeletionRun};
pub use door::{Openness, RefusedStep, Shown, TurnedAway};
pub use election::{Candidate, ElectionRun, ElectorStep, elected};
pub use layouts::{ClearedStep, LayoutsInput, LayoutsNews, LayoutsStep, Standing};
pub use pages::{
    ListingEvent, ListingRun, Omitted, SyncEvent, SyncInput, SyncRun, listing_step, pulled, scanned, sync_step, told,
};
pub use scans::{PageOf, PageStep, Reading};
pub use values::{Borrowed, Mention, Values, accepted, cell, conditional, content, reply, request, step};

use crate::gate::GateState;
use crate::layout::{Admitted, LayoutVersion, Partition, View};
use crate::peer::Stored;
use crate::quorum::NodeId;
use crate::register::{Cell, Reply, Request, Served};
use crate::row::{Row, RowKey};
use crate::stamp::Stamp;

/// How a file of a trace begins. The last byte is the version of what follows.
pub const MAGIC: [u8; 8] = *b"TRELTRC\x06";

/// One entry of a trace. Behind a [`Record::Row`] comes its [`Aftermath`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record<S = RowStep> {
    /// The first of every part of a trace.
    Opened(Opened),
    /// So many records were left out here, because whoever writes them down had fallen behind or could not write.
    Lost(u64),
    /// A replica applied the rule to a row.
    Row(S),
    /// A coordinator ran an attempt.
    Attempt(AttemptRun),
    /// The node stopped in order: nothing is missing at the end.
    Closed,
    /// A sync took a row in that other nodes hold: what it was before says nothing about what it is now.
    Copied {
        /// The partition of the row.
        partition: Partition,
        /// The layout at which the node entered it.
        entered: LayoutVersion,
        /// The row.
        key: RowKey,
    },
    /// A replica forgot the tombstone of a row.
    Forgotten(ForgottenRow),
    /// A coordinator listed a range of rows.
    Listing(ListingRun),
    /// A new owner of a partition synced its rows.
    Sync(SyncRun),
    /// A coordinator stood for election with a layout.
    Election(ElectionRun),
    /// An elector answered.
    Elector(ElectorStep),
    /// A coordinator deleted a bucket.
    Deletion(DeletionRun),
    /// A replica turned a request away.
    Refused(RefusedStep),
    /// What a node knows of layouts.
    Standing(Standing),
    /// A node was told something new of layouts.
    Layouts(LayoutsStep),
    /// A node deletes what it holds of a partition.
    Cleared(ClearedStep),
    /// A replica showed a page of rows.
    Page(PageStep),
    /// A replica was asked to keep a block.
    Kept(KeepRun),
    /// A replica considered to let go of a reference to a block.
    Released(ReleaseStep),
    /// A replica considered to delete a block's data.
    Deleted(DeleteStep),
    /// A coordinator placed a block.
    Placed(PlaceRun),
    /// A new owner of a partition of blocks pulled its references.
    Pulled(PullRun),
    /// A collector judged an upload.
    Fate(FateStep),
}

/// A row whose tombstone was forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgottenRow {
    /// The partition of the row.
    pub partition: Partition,
    /// The layout at which the node entered it.
    pub entered: LayoutVersion,
    /// The row.
    pub key: RowKey,
    /// The ballot of the tombstone.
    pub tombstone: Stamp,
    /// The partition's floor from then on.
    pub floor: Stamp,
    /// The change is durable once the log is up to this position.
    pub position: u64,
}

/// Whose trace it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The node.
    pub node: NodeId,
    /// Drawn at every start of the node's process.
    pub life: u64,
    /// Parts of one life are numbered from zero.
    pub part: u32,
}

/// One step of [`serve_row`](crate::peer::serve_row). It is written down before the driver goes on, while keys and values
/// can be borrowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowStep<K = RowKey, T = Values> {
    /// The partition of the row.
    pub partition: Partition,
    /// The layout at which the node entered it.
    pub entered: LayoutVersion,
    /// The view under which the request was admitted.
    pub view: View,
    /// What the door was shown.
    pub shown: Shown,
    /// The row.
    pub key: K,
    /// The gate that the request named.
    pub gate_key: Option<K>,
    /// What was stored.
    pub cell: Cell<Mention>,
    /// The partition's floor.
    pub floor: Stamp,
    /// The gate as it was stored.
    pub gate: GateState,
    /// The replica's clock.
    pub now_us: u64,
    /// How far ahead of it a new stamp may be.
    pub skew_us: u64,
    /// What was asked.
    pub request: Request<Mention>,
    /// What the rule said.
    pub reply: Reply<Mention>,
    /// The row as it is to be, if it changes.
    pub changed: Option<Cell<Mention>>,
    /// The values that the record mentions.
    pub values: T,
}

/// What followed a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aftermath {
    /// What became of the row.
    pub kept: Kept,
    /// Every change up to this position of the node's log was durable, by what the log had told.
    pub durable: u64,
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kept {
    /// The rule left it as it was.
    AsItWas,
    /// The store took the change, which is durable once the log is up to this position.
    Replaced(u64),
    /// The store did not take the change, and no reply was sent.
    NotTaken,
}

/// Where a step was taken, and when.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// What the door said.
    pub admitted: Admitted,
    /// What it was shown.
    pub shown: Shown,
    /// The row.
    pub key: &'a [u8],
    /// The gate that the request named.
    pub gate_key: Option<&'a [u8]>,
    /// The replica's clock.
    pub now_us: u64,
    /// How far ahead of it a new stamp may be.
    pub skew_us: u64,
}

impl<'a> RowStep<&'a [u8], Borrowed<'a>> {
    /// A step that was just taken.
    pub fn taken(
        at: Circumstances<'a>,
        stored: &'a Stored<Row>,
        asked: &'a Request<Row>,
        served: &'a Served<Row>,
    ) -> Self {
        let mut values = Borrowed::default();
        let mut mention = |row: &'a Row| values.mention(row);
        let changed = served.changed.as_ref();
        RowStep {
            partition: at.admitted.partition(),
            entered: at.admitted.entered(),
            view: at.admitted.view(),
            shown: at.shown,
            key: at.key,
            gate_key: at.gate_key,
            cell: cell(&stored.cell, &mut mention),
            floor: stored.floor,
            gate: stored.gate,
            now_us: at.now_us,
            skew_us: at.skew_us,
            request: request(asked, &mut mention),
            reply: reply(&served.reply, &mut mention),
            changed: changed.map(|changed| cell(changed, &mut mention)),
            values,
        }
    }
}
