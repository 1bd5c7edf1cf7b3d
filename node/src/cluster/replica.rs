//! The replica: answers requests of coordinators, its own node's included.
//!
//! Every answer, also a refusal or a read, waits until each row version that it tells of is on disk: group commit makes
//! rows visible before they are durable, and an answer about such a row would promise what a crash can take back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use trellis_spec::block::Held;
use trellis_spec::gate::{Gate, GateState};
use trellis_spec::layout::Partition;
use trellis_spec::peer::{Answer, Call, Envelope, Peer, Stored, newest_stamp, serve_row};
use trellis_spec::register::{Cell, Fetch, Request};
use trellis_spec::row::{BlockName, BlockReference, Row};
use trellis_spec::stamp::Stamp;
use trellis_spec::trace::Circumstances;

use super::cells::{Cells, CellsError, Shelf};
use super::door::{Door, Refused};
use super::floors::Inflows;
use super::keeper::Keeper;
use super::layouts::{Layouts, LayoutsError};
use super::limits::Limits;
use super::repair::Repairs;
use super::standing::Standing;
use super::wire::{decode, encode};
use crate::env::{Boxed, Env};
use crate::link::{Message, PeerId, Service};
use crate::seeded::{NodeRules, Slip, slips};
use crate::storage::{Block, Blocks, BlocksError, Position, Room, Rows};
use crate::trace::Recorder;

/// An answer and the block that travels behind it.
pub(crate) type Answered = (Answer, Bytes);

/// What comes with a request.
pub(crate) enum Payload {
    /// Nothing.
    Nothing,
    /// A block that this node named.
    Named(Block),
    /// Data that a peer sent: whether they are the block that they are said to be is to be checked.
    Received(Bytes),
}

impl Payload {
    /// The block of this name.
    fn into_block(self, name: BlockName) -> Block {
        match self {
            Payload::Named(block) => block,
            Payload::Received(data) => Block::received(name, data),
            Payload::Nothing => Block::received(name, Bytes::new()),
        }
    }

    /// The bytes that travel behind the request.
    pub(crate) fn into_bytes(self) -> Bytes {
        match self {
            Payload::Named(block) => block.into_data(),
            Payload::Received(data) => data,
            Payload::Nothing => Bytes::new(),
        }
    }
}

/// One node's rows and blocks, as its peers see them.
pub struct Replica {
    pub(super) env: Env,
    pub(super) layouts: Arc<Layouts>,
    pub(super) cells: Cells,
    pub(super) keeper: Keeper,
    repairs: Repairs,
    /// Syncs that pull rows into this node.
    pub(super) inflows: Inflows,
    pub(super) limits: Limits,
    /// Rows of one partition are read and changed one request at a time, so that an object's row and the gate it must
    /// pass are seen together.
    partitions: Vec<Mutex<()>>,
    /// The time of the greatest stamp that was accepted here.
    greatest_us: AtomicU64,
    /// How far the log must be durable for all rows that syncs took in.
    pub(super) copied: AtomicU64,
    /// Whether the peers trust this node; nothing where nobody asks them.
    standing: Option<Arc<Standing>>,
    /// Who writes down what this node does, if anybody.
    recorder: Option<Arc<Recorder>>,
}

impl Replica {
    /// A replica over what a node has on disk. `peer` is who it is, and the layout that its cluster began with.
    pub fn new(
        env: Env,
        peer: Peer,
        rows: Arc<dyn Rows>,
        blocks: Arc<dyn Blocks>,
        limits: Limits,
    ) -> Result<Self, LayoutsError> {
        const PARTITION_LOCKS: usize = 256;
        let layouts = Arc::new(Layouts::open(env.clone(), rows.clone(), peer)?);
        let partitions = (0..PARTITION_LOCKS).map(|_| Mutex::new(())).collect();
        let greatest_us = AtomicU64::new(0);
        Ok(Replica {
            keeper: Keeper::new(env.clone(), rows.clone(), blocks),
            env,
            layouts,
            cells: Cells::new(rows),
            repairs: Repairs::default(),
            inflows: Inflows::default(),
            limits,
            partitions,
            greatest_us,
            copied: AtomicU64::new(0),
            standing: None,
            recorder: None,
        })
    }

    /// From now on it answers only those who trust the node.
    pub fn with_standing(self, standing: Arc<Standing>) -> Self {
        Replica {
            standing: Some(standing),
            ..self
        }
    }

    /// Its steps, and those of the coordinator beside it, are recorded if anybody does.
    pub fn with_recorder(self, recorder: Option<Arc<Recorder>>) -> Self {
        if let Some(recorder) = &recorder {
            self.layouts.record_to(recorder);
            self.keeper.record_to(recorder);
        }
        Replica { recorder, ..self }
    }

    /// Who writes down what this node does, if anybody.
    pub(crate) fn recorder(&self) -> Option<&Recorder> {
        self.recorder.as_deref()
    }

    /// Whether the peers trust this node, where they are asked.
    pub(crate) fn standing(&self) -> Option<&Standing> {
        self.standing.as_deref()
    }

    /// Answers a request of this very node.
    pub(crate) async fn answer_here(&self, envelope: Envelope, payload: Payload) -> Answered {
        if self.layouts.now().out().is_some() {
            return (Answer::Failed, Bytes::new());
        }
        match &self.standing {
            Some(standing) if !standing.is_welcome().await => (Answer::Failed, Bytes::new()),
            Some(_) | None => self.answer(envelope, payload).await,
        }
    }

    /// Answers a request of a peer.
    async fn answer_peer(&self, from: PeerId, message: Message) -> Message {
        if let Some(answer) = self
            .standing
            .as_ref()
            .and_then(|standing| standing.answer(from, &message))
        {
            return answer;
        }
        if let Some(answer) = self.answer_tidings(&message).await {
            return answer;
        }
        let is_welcome = match &self.standing {
            Some(standing) => standing.is_welcome_at(from).await,
            None => true,
        };
        let known = self.layouts.now();
        if !is_welcome || known.out().is_some() || known.is_lost(from) {
            return Message {
                head: encode(&Answer::Failed),
                body: Bytes::new(),
            };
        }
        let (answer, body) = match decode::<Envelope>(&message.head) {
            Ok(envelope) => self.answer(envelope, Payload::Received(message.body)).await,
            Err(error) => {
                tracing::warn!(?from, %error, "a peer sent a request that cannot be read");
                (Answer::Failed, Bytes::new())
            }
        };
        Message {
            head: encode(&answer),
            body,
        }
    }

    /// What this node knows of layouts, and who it is.
    pub fn layouts(&self) -> &Arc<Layouts> {
        &self.layouts
    }

    /// Where the rows of a partition lie here, if this node has a part in it.
    pub(crate) fn shelf(&self, partition: Partition) -> Option<Shelf> {
        let peer = &self.layouts.now().peer;
        let entered = peer.knowledge.entered(peer.me, partition)?;
        Some(Shelf { partition, entered })
    }

    /// Lets others have their turn.
    pub(super) async fn rest(&self, pause: Duration) {
        self.env.clock.sleep(pause).await;
    }

    /// A row with this stamp was taken in.
    pub(super) fn note_stamp(&self, stamp: Stamp) {
        self.greatest_us.fetch_max(stamp.time, Ordering::Relaxed);
    }

    /// The time of the greatest stamp that was accepted here.
    pub(crate) fn greatest_us(&self) -> u64 {
        self.greatest_us.load(Ordering::Relaxed)
    }

    /// The keeper of this node's blocks.
    pub(crate) fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// What is known of how whole this node's copies are.
    pub fn repairs(&self) -> &Repairs {
        &self.repairs
    }

    /// This node's rows.
    pub(crate) fn cells(&self) -> &Cells {
        &self.cells
    }

    /// Names data, so that they can be stored as a block.
    pub(crate) async fn name_block(&self, data: Bytes) -> Result<Block, BlocksError> {
        self.keeper.name(data).await
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, envelope: Envelope, payload: Payload) -> Answered {
        let (at, call) = (Door::of(&envelope), envelope.call);
        let answered = match call {
            Call::Row { key, gate, request } => self.row(at, &key, gate.as_deref(), &request).await,
            Call::Scan { from, to, limit, gate } => self.scan(at, &from, &to, limit, gate.as_deref()).await,
            Call::StoreBlock(reference) => {
                let block = payload.into_block(reference.block);
                self.keep_block(at, reference, Some(block)).await
            }
            Call::ReferBlock(reference) => self.keep_block(at, reference, None).await,
            Call::FetchBlock(name) => match self.enter(at) {
                Ok(admitted) => return self.fetch_block(admitted.partition(), name).await,
                Err(refused) => Err(refused),
            },
            Call::Pull { extent, from, limit } => self.pull(at, &extent, from.unwrap_or_default(), limit).await,
            Call::Digest { tombstones_since_us } => self.digest(at, tombstones_since_us).await,
            Call::Leaves(root) => self.leaves(at, root).await,
            Call::PullReferences { extent, after, limit } => self.pull_references(at, &extent, after, limit).await,
            Call::Report(keys) => self.report(at, &keys).await,
            Call::Forget(tombstones) => self.forget(at, &tombstones).await,
        };
        let answer = match answered {
            Ok(answer) => answer,
            Err(refused) => self.refuse(refused).await,
        };
        (answer, Bytes::new())
    }

    async fn row(&self, at: Door, key: &[u8], gate: Option<&[u8]>, request: &Request<Row>) -> Result<Answer, Refused> {
        match request {
            Request::Read(_) => {}
            Request::Write(_) | Request::WriteBack(_) | Request::Prepare { .. } | Request::Accept(_) => {
                self.cells.ready().await?;
            }
        }
        let (answer, position) = self.serve(at, key, gate, request)?;
        self.durable(position).await?;
        if let Some(recorder) = &self.recorder {
            recorder.durable(position);
        }
        Ok(answer)
    }

    /// The transaction: the view is compared, row and gate are read, the rule is applied, the change is made visible.
    fn serve(
        &self,
        at: Door,
        key: &[u8],
        gate: Option<&[u8]>,
        request: &Request<Row>,
    ) -> Result<(Answer, Position), Refused> {
        // The view is compared under the lock: who pulls rows under a newer one waits for it, and misses nothing.
        let _partition = self.lock(at.partition);
        let (shown, admitted) = self.enter_for(at, key)?;
        let shelf = Shelf::of(&admitted);
        let gate_key = gate;
        let gate = self.gate(shelf, gate_key)?;
        let cell = self.cells.load(shelf, key, needed(request))?;
        let floor = self.floor_under(shelf, key, &cell.value, request)?;
        let before = cell.value.clone();
        let stored = Stored {
            cell: cell.value,
            floor: floor.value,
            gate: gate.value,
        };
        let (now_us, skew_us) = (self.now_us(), self.skew_us());
        let served = serve_row::<Row, NodeRules>(&admitted, &stored, now_us, skew_us, request);
        let at = Circumstances {
            admitted,
            shown,
            key,
            gate_key,
            now_us,
            skew_us,
        };
        let recorder = self.recorder.as_ref();
        let mut step = recorder.and_then(|recorder| recorder.stepped(at, &stored, request, &served));
        let mut position = cell.written_at.max(gate.written_at).max(floor.written_at);
        if let Some(changed) = served.changed.filter(|_| !self.slips(request)) {
            let room = room(request, &before);
            let replaced = self.cells.replace(shelf, key, &before, changed, room)?;
            step.iter_mut().for_each(|step| step.stored(replaced));
            position = position.max(replaced);
            self.note_stamp(newest_stamp(request).unwrap_or_default());
        }
        Ok((
            Answer::Row {
                reply: served.reply,
                gate: gate.value.gate,
            },
            position,
        ))
    }

    /// Is this change not to be stored? In builds for tests alone.
    fn slips(&self, request: &Request<Row>) -> bool {
        let forgotten = matches!(request, Request::Prepare { .. }) && slips(Slip::PromisesForgotten);
        forgotten || slips(Slip::ChangesLost) && self.env.random_u64().is_multiple_of(50)
    }

    pub(super) fn gate(
        &self,
        shelf: Shelf,
        key: Option<&[u8]>,
    ) -> Result<crate::storage::Versioned<GateState>, CellsError> {
        let Some(key) = key else {
            return Ok(crate::storage::Versioned {
                value: GateState::default(),
                written_at: Position::default(),
            });
        };
        let cell = self.cells.load(shelf, key, Fetch::Head)?;
        let ballot = cell.value.ballot();
        let gate = cell.value.accepted.and_then(|accepted| match accepted.content.live() {
            Some(Row::Gate(gate)) => Some(*gate),
            Some(_) | None => None,
        });
        let value = GateState {
            gate: gate.unwrap_or(Gate::Open),
            ballot,
        };
        Ok(crate::storage::Versioned {
            value,
            written_at: cell.written_at,
        })
    }

    /// The view is compared once more at the end: a new owner that pulled the references meanwhile may have missed this
    /// one, and then nobody may count on it.
    async fn keep_block(&self, at: Door, reference: BlockReference, block: Option<Block>) -> Result<Answer, Refused> {
        self.enter(at)?;
        let kept = self.keeper.keep(at.partition, reference, block).await?;
        self.enter(at)?;
        self.durable(Position::default()).await?;
        Ok(kept)
    }

    async fn fetch_block(&self, partition: Partition, name: BlockName) -> Answered {
        match self.keeper.fetch(name).await {
            Ok(Some(data)) => return (Answer::Block, data),
            Ok(None) => {
                // Where it is referred to, somebody took it away.
                let held = self.keeper.references().held(partition, name);
                if held.is_ok_and(|held| held.value == Held::Referenced) {
                    self.repairs.repair_now([partition]);
                }
            }
            Err(error @ BlocksError::Damaged { .. }) => {
                tracing::error!(%error, "a block is served from other replicas");
                self.repairs.repair_now([partition]);
            }
            // It may be here for all that.
            Err(error) => {
                tracing::error!(%error, "a block is served from other replicas");
                self.repairs.repair_now([partition]);
                return (Answer::Failed, Bytes::new());
            }
        }
        (Answer::NoBlock, Bytes::new())
    }

    /// The clock that new stamps are compared with: this node's, or the greatest stamp accepted here.
    fn now_us(&self) -> u64 {
        self.env.clock.wall_us().max(self.greatest_us())
    }

    fn skew_us(&self) -> u64 {
        self.limits.clock_skew_max_ms.saturating_mul(1000)
    }

    pub(super) fn lock(&self, partition: Partition) -> MutexGuard<'_, ()> {
        let lock = &self.partitions[usize::from(partition.0) % self.partitions.len()];
        // The lock guards no data of its own: what a panicking request left is whole, for batches are atomic.
        lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which part of the stored row the rule looks at or hands out.
fn needed(request: &Request<Row>) -> Fetch {
    match request {
        Request::Read(fetch) => *fetch,
        Request::Prepare { .. } => Fetch::Full,
        Request::Write(_) | Request::WriteBack(_) | Request::Accept(_) => Fetch::Head,
    }
}

/// On a disk that is nearly full, new objects, parts and manifests are refused. What may use the reserve: promises and
/// what readers write back, lest what is there cannot be read; deletes, gates and the small rows of buckets, uploads and
/// keys, so that it can be emptied; and the same value under a higher ballot.
fn room(request: &Request<Row>, before: &Cell<Row>) -> Room {
    let new = match request {
        Request::Read(_) | Request::Prepare { .. } | Request::WriteBack(_) => return Room::Upkeep,
        Request::Write(new) | Request::Accept(new) => new,
    };
    let is_held = before.accepted.as_ref().is_some_and(|held| held.op == new.op);
    match new.content.live() {
        Some(Row::Object(_) | Row::Part(_) | Row::Manifest(_)) if !is_held => Room::New,
        Some(Row::Object(_) | Row::Part(_) | Row::Manifest(_)) | None => Room::Upkeep,
        Some(Row::Upload(_) | Row::Gate(_) | Row::Bucket(_) | Row::Name(_) | Row::AccessKey(_)) => Room::Upkeep,
    }
}

/// Answers peers over links.
pub struct ReplicaService(Arc<Replica>);

impl ReplicaService {
    /// The service of a node.
    pub fn new(replica: Arc<Replica>) -> Self {
        ReplicaService(replica)
    }
}

impl Service for ReplicaService {
    fn serve(&self, from: PeerId, message: Message) -> Boxed<'static, Message> {
        let replica = self.0.clone();
        Box::pin(async move { replica.answer_peer(from, message).await })
    }
}
