//! What a world of blocks consists of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use trellis_spec::block::{Data, Dead, Inquiry, Kept, Mark, Placing, Pulling};
use trellis_spec::layout::View;
use trellis_spec::register::{Accepted, Attempt, Cell, Conditional, Content, OpId, Read, Reply, Request, Step, Write};
use trellis_spec::register::{ConditionalOutcome, ReadOutcome, WriteOutcome};
use trellis_spec::row::{Address, BlockName, BlockReference, Completion, Row, Swap, Upload, UploadState, VersionId};
use trellis_spec::stamp::Stamp;

use super::rules::R;

/// The rows: the object's, and the upload's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The one object.
    Object,
    /// The one upload of it.
    Upload,
}

/// One storage node: its rows, the one block, and the messages between it and the processes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    pub(super) object: Cell<Row>,
    pub(super) upload: Cell<Row>,
    pub(super) references: BTreeMap<VersionId, BlockReference>,
    pub(super) mark: Option<Mark>,
    pub(super) data: Data,
    /// Somebody looked, without the lock, and saw that the data may go.
    pub(super) noticed: bool,
    pub(super) view: View,
    pub(super) synced: bool,
    /// For each process: how its present request stands here.
    pub(super) slots: Vec<Slot>,
    /// Requests on their way to it that nobody waits for.
    pub(super) late: BTreeSet<Call>,
}

/// How a process's request stands at one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// There is none.
    #[default]
    Empty,
    /// It was not handled.
    Open,
    /// It was handled, and the answer is lost.
    Served,
    /// The process has this answer.
    Answered(Answer),
}

/// A node's answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// About the block.
    Kept(Kept),
    /// The node has a newer view of the blocks' partition.
    Stale(View),
    /// About a row.
    Row(Reply<Row>),
}

/// Something that one process asks of nodes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// Keep the block, or a reference to it.
    Keep {
        /// The reference.
        reference: BlockReference,
        /// Are the data sent along?
        with_data: bool,
        /// The sender's view of the block's partition.
        view: View,
    },
    /// About a row.
    Row(Key, Request<Row>),
}

/// A client's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Program {
    /// Stores the data, then writes the row. A retry that would need a stamp beyond `until` takes a new version.
    Put,
    /// Refers to data that are there, then writes the row.
    Copy,
    /// Writes a tombstone.
    Delete,
    /// Stores a part, completes the upload, writes the row.
    Upload,
    /// Gives the upload up.
    Abort,
    /// Sleeps with a claim on the upload, which somebody gave up since; wakes up and writes the row.
    Resume,
}

/// An attempt on a row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum OnRow {
    Write(Write<Row, R>),
    Swap(Conditional<Row, Swap, R>),
    Read(Read<Row, R>),
    Inquiry(Inquiry<Row, R>),
}

/// How it ended.
pub(super) enum Ended {
    Write(WriteOutcome),
    Swap(ConditionalOutcome<Row>),
    Read(ReadOutcome<Row>),
    Inquiry(trellis_spec::block::Finding<Row>),
}

/// What a process is doing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// It brings the block to its replicas.
    Placing(Placing<R>),
    /// It works on a row.
    Row(Key, OnRow),
    /// It is over.
    Over,
}

/// A client, or the collector.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// As it was when its present round began: the answers of that round are in the nodes' slots.
    pub(super) stage: Arc<Stage>,
    /// Which of its program's steps it is at.
    pub(super) step: u8,
    /// How many stamps its present operation has used up.
    pub(super) stamps: u8,
    /// How many versions it has used up.
    pub(super) tries: u8,
    /// The version that it writes, or asks about, and until when it may be proposed.
    pub(super) version: VersionId,
    pub(super) until: u64,
    /// The stamp that its operation on a row has.
    pub(super) stamp: Stamp,
    pub(super) view: View,
    pub(super) round: u32,
    pub(super) call: Option<Call>,
    /// The operation that made the upload row as it was last seen.
    pub(super) upload: OpId,
}

/// A state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) nodes: Vec<Arc<Node>>,
    /// The clients, and last the collector.
    pub(super) processes: Vec<Process>,
    /// What was proved dead. Whoever learned it may use it at any time.
    pub(super) dead: BTreeMap<VersionId, Dead>,
    /// What new owners have pulled, and under which view.
    pub(super) pulling: Vec<Option<(View, Pulling<R>)>>,
    /// Versions that were stored under the first layout alone.
    pub(super) stored_before: BTreeSet<VersionId>,
    pub(super) times: Vec<u64>,
    pub(super) inquiries: u8,
    pub(super) crashes: u8,
    pub(super) dropped: bool,
    pub(super) deleted: bool,
}

impl OnRow {
    pub(super) fn start(&mut self, stamp: Stamp) -> Step<Row, Ended> {
        match self {
            OnRow::Write(write) => ended(write.start(stamp), Ended::Write),
            OnRow::Swap(swap) => ended(swap.start(stamp), Ended::Swap),
            OnRow::Read(read) => ended(read.start(stamp), Ended::Read),
            OnRow::Inquiry(inquiry) => ended(inquiry.start(stamp), Ended::Inquiry),
        }
    }

    pub(super) fn again(&mut self, stamp: Stamp) -> Step<Row, Ended> {
        match self {
            OnRow::Write(write) => ended(write.again(stamp), Ended::Write),
            OnRow::Swap(swap) => ended(swap.again(stamp), Ended::Swap),
            OnRow::Read(read) => ended(read.again(stamp), Ended::Read),
            OnRow::Inquiry(inquiry) => ended(inquiry.again(stamp), Ended::Inquiry),
        }
    }

    pub(super) fn on_reply(
        &mut self,
        round: u32,
        from: trellis_spec::quorum::NodeId,
        reply: Reply<Row>,
    ) -> Step<Row, Ended> {
        match self {
            OnRow::Write(write) => ended(write.on_reply(round, from, reply), Ended::Write),
            OnRow::Swap(swap) => ended(swap.on_reply(round, from, reply), Ended::Swap),
            OnRow::Read(read) => ended(read.on_reply(round, from, reply), Ended::Read),
            OnRow::Inquiry(inquiry) => ended(inquiry.on_reply(round, from, reply), Ended::Inquiry),
        }
    }

    pub(super) fn on_patience(&mut self) -> Step<Row, Ended> {
        match self {
            OnRow::Write(write) => ended(write.on_patience(), Ended::Write),
            OnRow::Swap(swap) => ended(swap.on_patience(), Ended::Swap),
            OnRow::Read(read) => ended(read.on_patience(), Ended::Read),
            OnRow::Inquiry(inquiry) => ended(inquiry.on_patience(), Ended::Inquiry),
        }
    }
}

fn ended<O>(step: Step<Row, O>, wrap: fn(O) -> Ended) -> Step<Row, Ended> {
    match step {
        Step::Wait => Step::Wait,
        Step::Ask(ask) => Step::Ask(ask),
        Step::Again { above } => Step::Again { above },
        Step::Done(outcome) => Step::Done(wrap(outcome)),
    }
}

impl State {
    pub(super) fn node(&mut self, at: u8) -> &mut Node {
        Arc::make_mut(&mut self.nodes[usize::from(at)])
    }

    pub(super) fn process(&mut self, at: u8) -> &mut Process {
        &mut self.processes[usize::from(at)]
    }

    /// The nodes that hold the rows.
    pub(super) fn row_nodes(&self) -> &[Arc<Node>] {
        &self.nodes[..usize::from(super::ROW_REPLICAS)]
    }
}

impl Node {
    pub(super) fn cell(&self, key: Key) -> &Cell<Row> {
        match key {
            Key::Object => &self.object,
            Key::Upload => &self.upload,
        }
    }

    pub(super) fn cell_mut(&mut self, key: Key) -> &mut Cell<Row> {
        match key {
            Key::Object => &mut self.object,
            Key::Upload => &mut self.upload,
        }
    }

    /// Does it hold this version's reference and verified data?
    pub(super) fn has(&self, version: VersionId) -> bool {
        self.data == Data::Verified && self.references.contains_key(&version)
    }
}

/// The row of the one object.
pub(super) fn owner() -> Address {
    Address {
        placement: trellis_spec::row::Placement::System,
        key: Vec::new(),
    }
}

/// A version's reference to the block.
pub(super) fn reference(version: VersionId, until: u64) -> BlockReference {
    BlockReference {
        block: BlockName::default(),
        owner: owner(),
        version,
        until,
    }
}

/// The row's value for a version.
pub(super) fn object(version: VersionId) -> Row {
    Row::Object(trellis_spec::row::Object {
        version,
        modified_ms: 0,
        size: 0,
        etag: String::new(),
        headers: BTreeMap::new(),
        body: trellis_spec::row::Body::Blocks(Vec::new()),
    })
}

/// The upload row, as it stands under this operation.
pub(super) fn upload(state: UploadState, until: u64) -> Row {
    Row::Upload(Upload {
        initiated_ms: 0,
        initiator: String::new(),
        headers: BTreeMap::new(),
        state,
        until,
    })
}

/// What the upload is completed to.
pub(super) fn completion(version: VersionId, stamp: Stamp) -> Completion {
    let Row::Object(object) = object(version) else {
        unreachable!("it is an object");
    };
    Completion {
        op: OpId(version.0),
        asked: [0; 32],
        object,
        stamp,
        until: stamp.time,
    }
}

/// An upload row that was written long ago.
pub(super) fn old_upload(state: UploadState, until: u64) -> Cell<Row> {
    let ballot = Stamp::new(1, 0);
    Cell {
        promised: ballot,
        accepted: Some(Accepted {
            ballot,
            op: OpId::default(),
            base: None,
            content: Content::Value(upload(state, until)),
        }),
    }
}
