//! The state of a world.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use trellis_spec::layout::{LayoutVersion, View};
use trellis_spec::register::{Audience, Cell, Request};
use trellis_spec::stamp::Stamp;

use super::Disks;
use crate::coordinator::{Answer, Call, Outcome, Shared};
use crate::value::{Cargo, Key};

/// Everything there is.
#[derive(Clone, PartialEq, Eq)]
pub struct State {
    /// The replicas, with the messages between each of them and the operations.
    pub columns: Vec<Arc<Column>>,
    /// The operations of the script.
    pub ops: Vec<Op>,
    /// The greatest stamp that a client was answered about, where stamps are what is checked.
    pub answered: Stamp,
    /// How many replicas crashed.
    pub crashes: u8,
    /// How many layouts are decided.
    pub decided: u8,
    /// How many disks lost what they held.
    pub lost: u8,
    /// The operations whose outcome a forced layout may have undone, as bits.
    pub forgiven: u16,
    /// What replicas reported about rows with a tombstone: a fact for good, of the view under which it was said.
    pub reports: BTreeMap<(View, Key, u8), Stamp>,
    /// What invariants across layouts are about.
    pub ghost: Ghost,
    /// Did something happen that must not?
    pub verdict: Verdict,
}

/// What came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Nothing wrong so far.
    Fine,
    /// The history satisfies the specification no longer.
    NotLinearizable,
    /// An answer was about an older version than one before it.
    WentBack,
    /// A value without its body was returned or stored.
    Bodiless,
    /// A view, a promise or a ballot fell.
    Fell,
}

/// What happened, as invariants across layouts need to know it. Empty where there is one layout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ghost {
    /// For each row and newest layout of a view: the greatest stamp that was answered about under it.
    pub answered: BTreeMap<(Key, LayoutVersion), Stamp>,
    /// For each row: the greatest ballot that was promised by a quorum and then used.
    pub prepared: BTreeMap<Key, Stamp>,
    /// The tombstones that were forgotten.
    pub forgotten: BTreeSet<(Key, Stamp)>,
}

/// What a node knows of layouts, and where it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seat {
    /// Its view.
    pub view: View,
    /// The layout at which it entered: its rows are stored under it.
    pub entered: LayoutVersion,
    /// The newest layout that it is synced for.
    pub synced: LayoutVersion,
    /// The newest layout when it dropped its rows; zero: it did not.
    pub dropped: LayoutVersion,
    /// The layout of entering for which its floor was raised by a sync.
    pub raised: LayoutVersion,
    /// It may have lost rows.
    pub standing: Disk,
}

/// Is everything there that a node ever answered for?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Disk {
    /// Yes.
    #[default]
    Whole,
    /// Maybe not: it answers nothing.
    Damaged,
}

/// One replica.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Column {
    /// It never answers.
    pub dead: bool,
    /// What it knows of layouts.
    pub seat: Seat,
    /// The same as a crash leaves it, where that differs.
    pub durable_seat: Option<Seat>,
    /// Rows that it read for an answer to come.
    pub snapshot: Option<Vec<Cell<Cargo>>>,
    /// Its rows as requests see them.
    pub rows: Vec<Cell<Cargo>>,
    /// Below it, tombstones were forgotten.
    pub floor: Stamp,
    /// Its rows as a crash leaves them, where that differs.
    pub durable: Vec<Cell<Cargo>>,
    /// Its floor as a crash leaves it, where that differs.
    pub durable_floor: Stamp,
    /// Requests on their way to it that nobody waits for.
    pub late: Vec<(View, Key, Request<Cargo>)>,
    /// For each operation: how its present request stands here.
    pub slots: Vec<Slot>,
}

/// How a request stands at one replica.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// It was not handled.
    Open,
    /// It was handled, and the answer is lost.
    Served,
    /// It was handled, and the answer is on its way.
    Replying(Answer),
    /// The coordinator has the answer.
    Answered(Answer),
}

/// One operation.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Op {
    /// Where its coordinator's clock stands at the beginning.
    pub clock: u64,
    /// How many stamps earlier runs of it took, where it is run more than once.
    pub spent: u8,
    /// It is the sync of a node, not an operation of the script.
    pub is_sync: bool,
    /// How far it is.
    pub progress: Progress,
}

/// How far an operation is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Progress {
    /// An earlier operation of the client is not over.
    Waiting,
    /// At work.
    Running(Running),
    /// Its client knows.
    Told {
        /// What.
        outcome: Outcome,
        /// The operations that were answered before it began.
        after: u16,
        /// How many stamps it used.
        attempts: u8,
    },
}

/// An operation at work. The answers of its present round are in the columns.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Running {
    /// The attempt as it was when the round began.
    pub coordinator: Shared,
    /// The view under which it asks.
    pub view: View,
    /// The round.
    pub round: u32,
    /// Who is asked.
    pub audience: Audience,
    /// What is asked; nothing: it waits for a stamp.
    pub call: Option<Call>,
    /// The last stamp issued for it.
    pub stamp: Stamp,
    /// How often it got another one.
    pub retries: u8,
    /// The operations that were answered before it began; nothing: it did not begin.
    pub after: Option<u16>,
    /// What it may not be older than, where stamps are what is checked.
    pub floor: Stamp,
    /// It waits for a stamp above this one.
    pub pending: Option<Stamp>,
    /// The sync has raised its node's floor and goes on at any moment.
    pub raised: bool,
}

impl Column {
    pub(super) fn new(rows: usize, ops: usize, dead: bool, seat: Seat, disks: Disks) -> Self {
        let durable = if disks == Disks::Immediate { 0 } else { rows };
        Column {
            dead,
            seat,
            durable_seat: (disks != Disks::Immediate).then_some(seat),
            snapshot: None,
            rows: vec![Cell::default(); rows],
            floor: Stamp::ZERO,
            durable_floor: Stamp::ZERO,
            durable: vec![Cell::default(); durable],
            late: Vec::new(),
            slots: vec![Slot::Open; ops],
        }
    }
}

impl State {
    /// Do all clients know their outcomes?
    pub fn is_over(&self) -> bool {
        let over = |op: &Op| matches!(op.progress, Progress::Told { .. }) || op.is_sync;
        self.ops.iter().all(over)
    }

    /// The outcomes known so far.
    pub fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.ops.iter().filter_map(|op| match &op.progress {
            Progress::Told { outcome, .. } => Some(outcome),
            Progress::Waiting | Progress::Running(_) => None,
        })
    }

    pub(super) fn column(&mut self, column: usize) -> &mut Column {
        Arc::make_mut(&mut self.columns[column])
    }

    pub(super) fn running(&self, op: usize) -> Option<&Running> {
        match &self.ops[op].progress {
            Progress::Running(running) => Some(running),
            Progress::Waiting | Progress::Told { .. } => None,
        }
    }

    pub(super) fn running_mut(&mut self, op: usize) -> Option<&mut Running> {
        match &mut self.ops[op].progress {
            Progress::Running(running) => Some(running),
            Progress::Waiting | Progress::Told { .. } => None,
        }
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let mut packed = Packed(Vec::with_capacity(512));
        self.columns.hash(&mut packed);
        self.ops.hash(&mut packed);
        (self.answered, self.crashes, self.decided, self.lost, self.verdict).hash(&mut packed);
        self.reports.hash(&mut packed);
        self.forgiven.hash(&mut packed);
        self.ghost.hash(&mut packed);
        hasher.write(&packed.0);
    }
}

/// Gathers what is hashed in few bytes, for small numbers are most of it. One write instead of hundreds.
struct Packed(Vec<u8>);

impl Hasher for Packed {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        unreachable!("only gathers")
    }
}
