//! Attempts that are told whole pages of rows.
//!
//! Pages are long, and the rules that take them look at ballots and operations, not into values. So a record of theirs
//! leaves the values out: the machine itself runs over [`Omitted`] when it is taken again. Drivers bound the rows of one
//! record; the events beyond are left out, for an attempt may be watched for as long as one likes.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::values::{accepted, cell, reply, request};
use crate::layout::{Announcement, GatedRow, Partition, Pulled, Sources, SyncStep, View};
use crate::leaves::Extent;
use crate::listing::{Counted, ListingStep, Page, Scanned};
use crate::quorum::{NodeId, ReplicaSets};
use crate::register::{Accepted, Ask, Cell, Reply, Value};
use crate::row::{Row, RowKey};
use crate::stamp::Stamp;

/// A value of which a record has only what rules ask about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Omitted {
    /// Its inline body was not there.
    Head,
    /// Its inline body was there.
    WithBody,
    /// It has no inline body.
    Whole,
    /// It is a gate.
    Gate,
}

/// One page of a listing, from its beginning to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingRun {
    /// The partition of the rows.
    pub partition: Partition,
    /// The view under which it ran.
    pub view: View,
    /// The replicas under that view.
    pub sets: ReplicaSets,
    /// Which answers counted.
    pub counted: Counted,
    /// The first key, inclusive.
    pub from: RowKey,
    /// The end, exclusive.
    pub to: RowKey,
    /// At most so many rows were asked for.
    pub limit: u32,
    /// What happened, in order. It may stop anywhere.
    pub events: Vec<ListingEvent>,
}

/// What happened to a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListingEvent {
    /// This replica was asked.
    Asked(NodeId),
    /// It answered, and the listing said what to do next.
    Scanned(NodeId, Scanned<RowKey, Omitted>, ListingStep<RowKey, Omitted>),
    /// What came then is left out: it has too many rows.
    LeftOut,
}

/// The sync of a partition's rows at a new owner, or of some of them at one that may lack them, from its beginning to its
/// end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncRun {
    /// Whom it pulled from, and under which view.
    pub sources: Sources,
    /// How much of the partition it is about.
    pub extent: Extent,
    /// What happened, in order. It may stop anywhere.
    pub events: Vec<SyncEvent>,
}

/// What happened to a sync.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyncEvent {
    /// It was told something, and said what to do next.
    Told(SyncInput, SyncStep<RowKey, Omitted, Announcement>),
    /// What came then is left out: it has too many rows.
    LeftOut,
}

/// What a sync was told: its methods, as values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyncInput {
    /// Begin.
    Start,
    /// What a source holds, in answer to the pull of this round.
    Pulled(u32, NodeId, Pulled<RowKey, Omitted>),
    /// The own floor is raised.
    Raised,
    /// The rows are copied, but for those that a promise above this stamp kept out.
    Copied(Vec<(RowKey, Stamp)>),
    /// Go on under this stamp.
    Again(Stamp),
    /// A reply to the request of this round.
    Reply(u32, NodeId, Reply<Omitted>),
    /// Nodes had ample time.
    Patience,
    /// What became of the bucket of the row that is settled.
    Gated(GatedRow),
}

impl Omitted {
    /// What rules ask about this value.
    pub fn of(row: &Row) -> Self {
        match (row.keeps_stamp(), row.is_whole(), row.has_body()) {
            (true, _, _) => Omitted::Gate,
            (false, false, _) => Omitted::Head,
            (false, true, true) => Omitted::WithBody,
            (false, true, false) => Omitted::Whole,
        }
    }
}

impl Value for Omitted {
    fn head(&self) -> Self {
        match self {
            Omitted::Head | Omitted::WithBody => Omitted::Head,
            Omitted::Whole => Omitted::Whole,
            Omitted::Gate => Omitted::Gate,
        }
    }

    fn is_whole(&self) -> bool {
        *self != Omitted::Head
    }

    fn keeps_stamp(&self) -> bool {
        *self == Omitted::Gate
    }
}

/// An answer to a scan without its values.
pub fn scanned(of: &Scanned<RowKey, Row>) -> Scanned<RowKey, Omitted> {
    Scanned {
        rows: of.rows.iter().map(row).collect(),
        bound: of.bound.clone(),
        gate: of.gate,
    }
}

/// What a listing said, without its values.
pub fn listing_step(of: &ListingStep<RowKey, Row>) -> ListingStep<RowKey, Omitted> {
    match of {
        ListingStep::Wait => ListingStep::Wait,
        ListingStep::Overtaken => ListingStep::Overtaken,
        ListingStep::Done(page) => ListingStep::Done(Page {
            rows: page
                .rows
                .iter()
                .map(|(key, held)| (key.clone(), omitted(held)))
                .collect(),
            suspects: page.suspects.clone(),
            bound: page.bound.clone(),
        }),
    }
}

/// An answer to a pull without its values.
pub fn pulled(of: &Pulled<RowKey, Row>) -> Pulled<RowKey, Omitted> {
    let row = |(key, held): &(RowKey, Cell<Row>)| (key.clone(), cell(held, &mut Omitted::of));
    Pulled {
        rows: of.rows.iter().map(row).collect(),
        bound: of.bound.clone(),
        floor: of.floor,
    }
}

/// A reply to a sync without its value.
pub fn told(of: &Reply<Row>) -> Reply<Omitted> {
    reply(of, &mut Omitted::of)
}

/// What a sync said, without values.
pub fn sync_step<V: Value>(
    of: &SyncStep<RowKey, V>,
    mut replace: impl FnMut(&V) -> Omitted,
) -> SyncStep<RowKey, Omitted, Announcement> {
    match of {
        SyncStep::Wait => SyncStep::Wait,
        SyncStep::Pull { round, from } => SyncStep::Pull {
            round: *round,
            from: from.clone(),
        },
        SyncStep::Raise(floor) => SyncStep::Raise(*floor),
        SyncStep::Copy(rows) => {
            let row = |(key, held): &(RowKey, Accepted<V>)| (key.clone(), accepted(held, &mut replace));
            SyncStep::Copy(rows.iter().map(row).collect())
        }
        SyncStep::Ask(key, ask) => {
            let ask = Ask {
                round: ask.round,
                audience: ask.audience,
                request: request(&ask.request, &mut replace),
            };
            SyncStep::Ask(key.clone(), ask)
        }
        SyncStep::Again { above } => SyncStep::Again { above: *above },
        SyncStep::Gated(key) => SyncStep::Gated(key.clone()),
        SyncStep::Done(synced) => SyncStep::Done(synced.announcement()),
    }
}

fn row((key, held): &(RowKey, Accepted<Row>)) -> (RowKey, Accepted<Omitted>) {
    (key.clone(), omitted(held))
}

fn omitted(held: &Accepted<Row>) -> Accepted<Omitted> {
    accepted(held, &mut Omitted::of)
}
