//! One node's protocols put together: a dispatch table without a rule of its own.
//!
//! A peer's request names a partition and carries the sender's view. [`Peer::admit`] is the door; behind it,
//! [`serve_row`] answers for one row from what the node has stored, and says what must be durable first.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::block;
use crate::flaw::{Rules, Sound};
use crate::gate::{Gate, GateState};
use crate::layout::{self, Admitted, Knowledge, LayoutMark, Partition, Refusal, View};
use crate::leaves::{Digest, Extent, Tree};
use crate::listing::Scanned;
use crate::quorum::NodeId;
use crate::register::{Cell, Purpose, Reply, Request, Served, Value};
use crate::row::{BlockName, BlockReference, Row, RowKey, VersionId};
use crate::stamp::Stamp;

/// A request from one node to another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Envelope {
    /// The partition it is about.
    pub partition: Partition,
    /// The sender's view of that partition.
    pub view: View,
    /// Which layout the sender takes for the newest of this view: where layouts were forced, a number may be that of two.
    pub newest: LayoutMark,
    /// What is asked.
    pub call: Call,
}

/// What a node asks another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Call {
    /// About one row.
    Row {
        /// The row.
        key: RowKey,
        /// The gate that an object write must pass.
        gate: Option<RowKey>,
        /// What is asked.
        request: Request<Row>,
    },
    /// For the rows of a range.
    Scan {
        /// The first key, inclusive.
        from: RowKey,
        /// The end, exclusive.
        to: RowKey,
        /// At most so many rows.
        limit: u32,
        /// The gate to report.
        gate: Option<RowKey>,
    },
    /// To keep the block that travels behind this message, and this reference to it. Reference first, then data, then
    /// the answer.
    StoreBlock(BlockReference),
    /// To keep this reference to a block, if its data is there and right.
    ReferBlock(BlockReference),
    /// For a block.
    FetchBlock(BlockName),
    /// For the rows of the partition, by a new owner, or by one that may lack some.
    Pull {
        /// Which of them.
        extent: Extent,
        /// The first key; nothing: from the beginning.
        from: Option<RowKey>,
        /// At most so many rows.
        limit: u32,
    },
    /// For the root of the tree of what the node holds of the partition. Tombstones from before this time (microseconds) are
    /// left out: some nodes may have forgotten them.
    Digest {
        /// The time.
        tombstones_since_us: u64,
    },
    /// For the leaves of the tree whose root the node told just now.
    Leaves(Digest),
    /// For the references of the partition, by a new owner, or by one that may lack some.
    PullReferences {
        /// Which of them.
        extent: Extent,
        /// Those after this one; nothing: from the beginning.
        after: Option<(BlockName, VersionId)>,
        /// At most so many.
        limit: u32,
    },
    /// For the ballots of what the node holds of these rows, by one that would forget their tombstones.
    Report(Vec<RowKey>),
    /// To forget these tombstones. Every replica reported under the view of this message that it holds them, or something
    /// newer ([`Reports`](crate::tombstone::Reports)).
    Forget(Vec<(RowKey, Stamp)>),
}

impl Call {
    /// Must a node know its floor before it serves this ([`is_open`](layout::is_open))? Whoever pulls is told what there is;
    /// blocks are told by their names.
    pub fn needs_floor(&self) -> bool {
        match self {
            Call::Row { .. } | Call::Scan { .. } | Call::Report(_) | Call::Forget(_) => true,
            Call::StoreBlock(_) | Call::ReferBlock(_) | Call::FetchBlock(_) | Call::PullReferences { .. } => false,
            Call::Pull { .. } | Call::Digest { .. } | Call::Leaves(_) => false,
        }
    }
}

/// What a node answers. What it tells of is durable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Answer {
    /// To `Row`.
    Row {
        /// What the row's replica says.
        reply: Reply<Row>,
        /// The gate that was named, in the same snapshot. A majority of reads meets it closed once a bucket is deleted,
        /// so that a reader who still takes the bucket for alive finds out.
        gate: Gate,
    },
    /// To `Scan`.
    Scanned(Scanned<RowKey, Row>),
    /// To `StoreBlock` and `ReferBlock`: reference and verified data are on disk.
    Stored,
    /// To `ReferBlock`: the data is not here.
    NeedData,
    /// To `FetchBlock`: it travels behind this message.
    Block,
    /// To `FetchBlock`: it is not here.
    NoBlock,
    /// To `Pull`: heads of rows.
    Pulled(layout::Pulled<RowKey, Row>),
    /// To `Digest`: equal for nodes that hold the same values, or the same references and data.
    Digest(Digest),
    /// To `Leaves`. Nothing: the node remembers no such tree any more.
    Leaves(Option<Tree>),
    /// To `PullReferences`.
    References {
        /// In order.
        found: Vec<block::Pulled>,
        /// Where to go on, if there are more.
        next: Option<(BlockName, VersionId)>,
    },
    /// To `Report`: of each row the ballot, zero for nothing, in the order in which they were asked for. A floor is not
    /// counted for a row: other rows may have raised it, and a copy that is on its way into the node does not ask it.
    Reported(Vec<Stamp>),
    /// To `Forget`: how many were forgotten. The others are something else by now, or have to stay.
    Forgotten(u32),
    /// The request was not looked at.
    Refused(Refusal),
    /// The disk is too full for this. Nothing was changed.
    Full,
    /// This node cannot serve now. Nothing that was asked for is known to have happened.
    Failed,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// Its identity.
    pub me: NodeId,
    /// What it knows of layouts.
    pub knowledge: Knowledge,
}

/// What a node has stored that bears on a request about one row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stored<V> {
    /// The row.
    pub cell: Cell<V>,
    /// Its partition's floor; no answer to a read depends on it.
    pub floor: Stamp,
    /// The gate that the request names.
    pub gate: GateState,
}

impl Peer {
    /// May the request be looked at?
    pub fn admit(&self, envelope: &Envelope) -> Result<Admitted, Refusal> {
        self.knowledge
            .admit::<Sound>(self.me, envelope.partition, envelope.view)
    }
}

/// Answers a request about one row. `now_us` is the replica's clock; a new stamp may be `skew_us` ahead of it.
pub fn serve_row<V: Value, R: Rules>(
    _: &Admitted,
    stored: &Stored<V>,
    now_us: u64,
    skew_us: u64,
    request: &Request<V>,
) -> Served<V> {
    if stored.gate.gate.refuses::<V, R>(request) {
        return Served {
            reply: Reply::Gated,
            changed: None,
        };
    }
    // Going on above what this very row holds, or held until it was forgotten, is never refused, whatever the clock says
    // after a restart.
    let held = stored.cell.promised.max(stored.cell.reports(stored.floor)).time;
    let latest_us = now_us.max(held).saturating_add(skew_us);
    if new_stamp(request).is_some_and(|stamp| stamp.time > latest_us) {
        return Served {
            reply: Reply::TooFarAhead,
            changed: None,
        };
    }
    stored.cell.serve::<R>(stored.floor, request)
}

/// The stamp of a request that brings a new one into the world. Carrying on what is there is never refused.
fn new_stamp<V>(request: &Request<V>) -> Option<Stamp> {
    match request {
        Request::Write(new) => Some(new.ballot),
        Request::Prepare {
            ballot,
            purpose: Purpose::Propose,
        } => Some(*ballot),
        Request::Prepare {
            purpose: Purpose::Settle,
            ..
        } => None,
        Request::Read(_) | Request::WriteBack(_) | Request::Accept(_) => None,
    }
}

/// The stamps that a message carries, so that the clocks of stamps can be raised by them.
pub fn newest_stamp(request: &Request<Row>) -> Option<Stamp> {
    match request {
        Request::Write(new) | Request::WriteBack(new) | Request::Accept(new) => Some(new.ballot),
        Request::Prepare { ballot, .. } => Some(*ballot),
        Request::Read(_) => None,
    }
}

/// The rows of a scan as they are sent: promise-only rows left out, heads only.
pub fn scanned_rows<V: Value>(
    cells: impl IntoIterator<Item = (RowKey, Cell<V>)>,
) -> Vec<(RowKey, crate::register::Accepted<V>)> {
    let held = |(key, cell): (RowKey, Cell<V>)| cell.accepted.map(|accepted| (key, accepted.head()));
    cells.into_iter().filter_map(held).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{LayoutVersion, Member, initial};
    use crate::register::{Accepted, Content, OpId};

    const SKEW_US: u64 = 10;

    /// What a replica says to a deletion under a stamp of this time when its clock shows 100.
    fn answer(stored: &Stored<Row>, time: u64) -> Reply<Row> {
        let alone = Member::test(1, "z");
        let layout = initial(alloc::vec![alone], 1, 1).unwrap();
        let view = View {
            lo: LayoutVersion(1),
            hi: LayoutVersion(1),
        };
        let admitted = Knowledge::of(layout).admit::<Sound>(NodeId(1), Partition(0), view);
        let deletion = Request::Write(Accepted {
            ballot: Stamp::new(time, 1),
            op: OpId::default(),
            base: None,
            content: Content::Tombstone,
        });
        serve_row::<Row, Sound>(&admitted.unwrap(), stored, 100, SKEW_US, &deletion).reply
    }

    #[test]
    fn a_floor_from_a_clock_that_was_ahead_keeps_nobody_from_writing_above_it() {
        let stored = |floor| Stored {
            cell: Cell::default(),
            floor: Stamp::new(floor, 1),
            gate: GateState::default(),
        };
        assert_eq!(answer(&stored(90), 110), Reply::Accept);
        assert_eq!(answer(&stored(90), 111), Reply::TooFarAhead);
        let seen = Stamp::new(900, 1);
        assert_eq!(answer(&stored(900), 110), Reply::Nack { seen });
        assert_eq!(answer(&stored(900), 901), Reply::Accept);
        assert_eq!(answer(&stored(900), 911), Reply::TooFarAhead);
    }
}
