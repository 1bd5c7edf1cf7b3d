//! Pages of rows that a replica shows: to a listing, or to a node that syncs.
//!
//! As with those who take such pages, values are left out; keys, ballots, promises and operations are there.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::door::Shown;
use super::pages::Omitted;
use super::values::cell;
use crate::gate::GateState;
use crate::layout::{Admitted, LayoutVersion, Partition, View};
use crate::leaves::Extent;
use crate::register::Cell;
use crate::row::{Row, RowKey};
use crate::stamp::Stamp;

/// One page of rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageStep {
    /// The partition of the rows.
    pub partition: Partition,
    /// The layout at which the node entered it.
    pub entered: LayoutVersion,
    /// The view under which the request was admitted, when the rows had been read.
    pub view: View,
    /// What the door was shown then.
    pub shown: Shown,
    /// Every change up to this position of the node's log was durable before the rows were read, by what the log had told.
    pub durable: u64,
    /// The first key.
    pub from: RowKey,
    /// At most so many rows.
    pub limit: u32,
    /// What was asked, and what was said beside the rows.
    pub of: PageOf,
    /// The rows that were read.
    pub cells: Vec<(RowKey, Cell<Omitted>)>,
    /// The first key that was not looked at, if the range goes on.
    pub bound: Option<RowKey>,
}

/// For whom a page is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PageOf {
    /// For a listing.
    Scan {
        /// The end, exclusive.
        to: RowKey,
        /// The gate that the request named.
        gate_key: Option<RowKey>,
        /// The gate as it was stored.
        gate: GateState,
        /// The ballots of the rows that were shown, in their order.
        told: Vec<Stamp>,
    },
    /// For a node that syncs: it is told all that was read.
    Pull {
        /// How much of the partition.
        extent: Extent,
        /// The partition's floor.
        floor: Stamp,
    },
}

/// When a page was read, and by what right it is shown.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Every change up to this position was durable before.
    pub durable: u64,
    /// What the door said afterwards.
    pub admitted: Admitted,
    /// What it was shown.
    pub shown: Shown,
}

impl PageStep {
    /// A page that was just read.
    pub fn read<'a>(
        at: Reading,
        from: RowKey,
        limit: usize,
        cells: impl IntoIterator<Item = &'a (RowKey, Cell<Row>)>,
        bound: Option<RowKey>,
        of: PageOf,
    ) -> Self {
        let row = |(key, held): &'a (RowKey, Cell<Row>)| (key.clone(), cell(held, &mut Omitted::of));
        PageStep {
            partition: at.admitted.partition(),
            entered: at.admitted.entered(),
            view: at.admitted.view(),
            shown: at.shown,
            durable: at.durable,
            from,
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            of,
            cells: cells.into_iter().map(row).collect(),
            bound,
        }
    }
}
