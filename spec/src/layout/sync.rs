//! How a new owner of a partition gets what is there: settled-row sync.
//!
//! The owner pulls the rows from a majority of every older active layout, all under one view; where none is active any
//! more, from a majority of its own. Each source adopts the view before it answers, so that no operation under an older
//! one completes behind the puller's back. A row that the answers of each majority agree on, without a promise above it,
//! is *settled*: it is copied. Any other row is in flight or half-finished, and joining what was found would be wrong: a
//! value below an outstanding promise would come to a majority that the promise's owner relies on being without it. The
//! new owner settles such a row itself, as any coordinator would, with a ballot of its own, and counts only what it
//! accepted itself. That also ends the promises of coordinators that died.
//!
//! Tombstones that sources have forgotten ([`crate::tombstone`]) are told by their floors, which come with every page. The
//! owner raises its own floor by them before it copies anything, and before it serves anybody ([`is_open`]): a late
//! message may carry what was deleted.
//!
//! When the view rises in the middle, everything begins again: an answer given under an older view may be outdated by an
//! operation that needed fewer majorities.
//!
//! A node whose disk is damaged answers nothing for the partition until it has synced from majorities counted without
//! itself ([`Standing::Damaged`]), for a promise that it lost makes even accepting unsafe.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::marker::PhantomData;

use serde::{Deserialize, Serialize};

use super::retire::Announcement;
use super::sync_sources::{Sources, Standing};
use super::table::LayoutVersion;
use crate::flaw::{Flaw, Rules};
use crate::quorum::{NodeId, Verdict, Vote};
use crate::register::{Accepted, Ask, Attempt, Cell, Reply, Settle, SettleOutcome, Step, Value};
use crate::stamp::Stamp;

/// The rows of a range as one source holds them, promises included, each as it was at some moment after the source had
/// adopted the view of the pull. They need not be of one snapshot, as pages are not of one either: each row is judged by
/// itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pulled<K, V> {
    /// In key order.
    pub rows: Vec<(K, Cell<V>)>,
    /// The rows below this key are all there; nothing: the range was scanned to its end.
    pub bound: Option<K>,
    /// No tombstone above it was forgotten.
    pub floor: Stamp,
}

/// The sync of one partition at one new owner. Lives in memory, and may begin again at any moment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sync<K, V, R> {
    sources: Sources,
    round: u32,
    from: Option<K>,
    /// What the own floor was raised to; nothing: it was not yet.
    floor: Option<Stamp>,
    phase: Phase<K, V, R>,
    rules: PhantomData<R>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Phase<K, V, R> {
    /// Asking for a page of rows.
    Pulling(BTreeMap<NodeId, Pulled<K, V>>),
    /// The settled rows of the page are being copied.
    Copying(Page<K>),
    /// The others are settled, one after the other.
    Settling {
        page: Page<K>,
        key: K,
        settle: Settle<V, R>,
    },
    /// It is over.
    Done,
}

/// What is left of a page.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Page<K> {
    /// To be settled, above these stamps.
    unsettled: Vec<(K, Stamp)>,
    bound: Option<K>,
}

/// What a sync wants next. Records of it have the announcement in the place of the proof.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SyncStep<K, V, D = Synced> {
    /// More answers.
    Wait,
    /// The rows from this key on, of every node that [`Sources::pulled`] names, itself included.
    Pull {
        /// Comes back with the answers.
        round: u32,
        /// The first key; nothing: from the beginning.
        from: Option<K>,
    },
    /// The own floor raised to this one, unless it is higher, and made durable, then a call of [`Sync::on_raised`]. From
    /// then on the node is open ([`is_open`]).
    Raise(Stamp),
    /// These rows taken into the own ones by [`Cell::copy`] and made durable, then a call of [`Sync::on_copied`].
    Copy(Vec<(K, Accepted<V>)>),
    /// This request sent to every node that [`Sources::settled`] names, itself included.
    Ask(K, Ask<V>),
    /// A call of [`Sync::again`] with a fresh stamp above this one, after a pause if others compete.
    Again {
        /// The newest stamp seen.
        above: Stamp,
    },
    /// A live row may not be settled, for its bucket is being deleted, or is: a call of [`Sync::on_gated`], after a pause
    /// if the bucket is there. A deletion that was abandoned has to be taken over, or this waits for ever.
    Gated(K),
    /// This made durable, then announced.
    Done(D),
}

/// What became of the bucket of a row that the gate keeps from being settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GatedRow {
    /// It is there, or its deletion is not decided.
    BucketThere,
    /// It is gone for good: nobody will ask for the row.
    BucketGone,
}

/// Proof that a node holds, of a partition, everything that was acknowledged under older layouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Synced(Announcement);

/// What the answers say about one row.
enum Found<V> {
    Settled(Option<Accepted<V>>),
    Unsettled(Stamp),
}

impl Synced {
    /// What is made durable and told to everybody.
    pub fn announcement(&self) -> Announcement {
        self.0
    }
}

impl<K: Ord + Clone, V: Value, R: Rules> Sync<K, V, R> {
    /// A sync from these sources.
    pub fn new(sources: Sources) -> Self {
        Sync {
            sources,
            round: 0,
            from: None,
            floor: None,
            phase: Phase::Pulling(BTreeMap::new()),
            rules: PhantomData,
        }
    }

    /// The sources.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// The row that is being settled.
    pub fn settling(&self) -> Option<&K> {
        match &self.phase {
            Phase::Settling { key, .. } => Some(key),
            Phase::Pulling(_) | Phase::Copying(_) | Phase::Done => None,
        }
    }

    /// Begins.
    pub fn start(&mut self) -> SyncStep<K, V> {
        if R::lacks(Flaw::SyncOfNothing) && self.sources.pulled().is_empty() {
            return self.done();
        }
        self.pull()
    }

    /// This node's view rose, or somebody said that it is behind: everything from the beginning.
    pub fn on_view(&mut self, sources: Sources) -> SyncStep<K, V> {
        self.sources = sources;
        self.floor = None;
        if !R::lacks(Flaw::PullsKeptAcrossViews) {
            self.from = None;
            return self.start();
        }
        let kept = match core::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Pulling(answers) => answers,
            Phase::Copying(_) | Phase::Settling { .. } | Phase::Done => BTreeMap::new(),
        };
        let step = self.start();
        self.phase = Phase::Pulling(kept);
        let judged = self.on_page();
        if judged == SyncStep::Wait { step } else { judged }
    }

    /// What `from` holds.
    pub fn on_pulled(&mut self, round: u32, from: NodeId, pulled: Pulled<K, V>) -> SyncStep<K, V> {
        let counts = round == self.round && self.sources.counts(from);
        let Phase::Pulling(answers) = &mut self.phase else {
            return SyncStep::Wait;
        };
        if !counts {
            return SyncStep::Wait;
        }
        answers.entry(from).or_insert(pulled);
        self.on_page()
    }

    /// The own floor is what [`SyncStep::Raise`] asked for.
    pub fn on_raised(&mut self) -> SyncStep<K, V> {
        self.judge()
    }

    /// The rows of [`SyncStep::Copy`] were taken, but for those that an own promise above this stamp kept out.
    pub fn on_copied(&mut self, blocked: Vec<(K, Stamp)>) -> SyncStep<K, V> {
        let Phase::Copying(page) = &mut self.phase else {
            return SyncStep::Wait;
        };
        page.unsettled.extend(blocked);
        self.next_row()
    }

    /// Goes on after [`SyncStep::Again`], with a fresh stamp.
    pub fn again(&mut self, stamp: Stamp) -> SyncStep<K, V> {
        let Phase::Settling { settle, .. } = &mut self.phase else {
            return SyncStep::Wait;
        };
        let step = settle.again(stamp);
        self.on_settle(step)
    }

    /// A reply to a request of [`SyncStep::Ask`].
    pub fn on_reply(&mut self, round: u32, from: NodeId, reply: Reply<V>) -> SyncStep<K, V> {
        let counts = self.sources.counts(from);
        let Phase::Settling { settle, .. } = &mut self.phase else {
            return SyncStep::Wait;
        };
        if !counts {
            return SyncStep::Wait;
        }
        let step = settle.on_reply(round, from, reply);
        self.on_settle(step)
    }

    /// Nodes had ample time to answer.
    pub fn on_patience(&mut self) -> SyncStep<K, V> {
        let Phase::Settling { settle, .. } = &mut self.phase else {
            return SyncStep::Wait;
        };
        let step = settle.on_patience();
        self.on_settle(step)
    }

    /// What became of the bucket of the row of [`SyncStep::Gated`].
    pub fn on_gated(&mut self, row: GatedRow) -> SyncStep<K, V> {
        match row {
            GatedRow::BucketThere if R::lacks(Flaw::GatedRowNotPulledAgain) => SyncStep::Again { above: Stamp::ZERO },
            // The own gate may be an old one, and its newer state not pulled yet.
            GatedRow::BucketThere => {
                self.from = None;
                self.pull()
            }
            GatedRow::BucketGone => self.next_row(),
        }
    }

    fn pull(&mut self) -> SyncStep<K, V> {
        self.round += 1;
        self.phase = Phase::Pulling(BTreeMap::new());
        SyncStep::Pull {
            round: self.round,
            from: self.from.clone(),
        }
    }

    /// Takes the floors once there are enough answers, then judges the page.
    fn on_page(&mut self) -> SyncStep<K, V> {
        let Phase::Pulling(answers) = &self.phase else {
            return SyncStep::Wait;
        };
        let missing = if R::lacks(Flaw::SyncFromOne) { usize::MAX } else { 0 };
        let vote = |node| {
            if answers.contains_key(&node) {
                Vote::Yes
            } else {
                Vote::Open
            }
        };
        if self.sources.pulled.verdict_short_of(missing, vote) != Verdict::Reached {
            return SyncStep::Wait;
        }
        let floors = answers.values().map(|pulled| pulled.floor);
        let floor = floors.filter(|_| !R::lacks(Flaw::FloorNotSynced)).max();
        let floor = floor.unwrap_or(Stamp::ZERO);
        if self.floor.is_none_or(|raised| raised < floor) {
            self.floor = Some(floor);
            return SyncStep::Raise(floor);
        }
        self.judge()
    }

    fn judge(&mut self) -> SyncStep<K, V> {
        let Phase::Pulling(answers) = &self.phase else {
            return SyncStep::Wait;
        };
        let bound = answers.values().filter_map(|pulled| pulled.bound.clone()).min();
        let (mut copies, mut unsettled) = (Vec::new(), Vec::new());
        for key in keys(answers, bound.as_ref()) {
            match self.found(answers, &key) {
                Found::Settled(Some(value)) => copies.push((key, value)),
                Found::Settled(None) => {}
                Found::Unsettled(_) if R::lacks(Flaw::SyncNeverSettles) => return self.pull(),
                Found::Unsettled(above) => unsettled.push((key, above)),
            }
        }
        self.phase = Phase::Copying(Page { unsettled, bound });
        if copies.is_empty() {
            self.next_row()
        } else {
            SyncStep::Copy(copies)
        }
    }

    fn found(&self, answers: &BTreeMap<NodeId, Pulled<K, V>>, key: &K) -> Found<V> {
        let cells: BTreeMap<NodeId, Cell<V>> = answers
            .iter()
            .map(|(node, pulled)| (*node, cell(pulled, key)))
            .collect();
        let newest = cells
            .values()
            .filter_map(|cell| cell.accepted.clone())
            .max_by_key(|held| held.ballot);
        let in_set = |set: &[NodeId]| {
            cells
                .iter()
                .filter(|(node, _)| set.contains(node))
                .map(|(_, cell)| cell)
                .collect()
        };
        let live = newest.as_ref().and_then(|held| held.content.live());
        if live.is_some_and(Value::keeps_stamp) && !R::lacks(Flaw::GateSettled) {
            return Found::Settled(newest);
        }
        let mut sets = self.sources.pulled.iter();
        let settled = sets.all(|set| agree::<V, R>(&in_set(set.nodes())));
        if settled || R::lacks(Flaw::SyncJoins) {
            return Found::Settled(newest);
        }
        let above = cells.values().map(|cell| cell.promised.max(cell.ballot())).max();
        Found::Unsettled(above.unwrap_or(Stamp::ZERO))
    }

    fn next_row(&mut self) -> SyncStep<K, V> {
        let page = match core::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Copying(page) | Phase::Settling { page, .. } => page,
            Phase::Pulling(_) | Phase::Done => return SyncStep::Wait,
        };
        let mut page = page;
        if let Some((key, above)) = page.unsettled.pop() {
            let settle = Settle::new(self.sources.settled.clone(), self.round);
            self.phase = Phase::Settling { page, key, settle };
            return SyncStep::Again { above };
        }
        match page.bound {
            Some(bound) if !R::lacks(Flaw::SyncCutShort) => {
                self.from = Some(bound);
                self.pull()
            }
            Some(_) | None => self.done(),
        }
    }

    fn on_settle(&mut self, step: Step<V, SettleOutcome<V>>) -> SyncStep<K, V> {
        let Phase::Settling { page, key, settle } = &self.phase else {
            return SyncStep::Wait;
        };
        self.round = self.round.max(settle.rounds());
        match step {
            Step::Wait => SyncStep::Wait,
            Step::Ask(ask) => SyncStep::Ask(key.clone(), ask),
            Step::Again { above } => SyncStep::Again { above },
            Step::Done(SettleOutcome::Gated) => SyncStep::Gated(key.clone()),
            Step::Done(SettleOutcome::Settled(value)) => match self.sources.standing {
                Standing::Whole => self.next_row(),
                Standing::Damaged => {
                    let copy = SyncStep::Copy(alloc::vec![(key.clone(), value)]);
                    self.phase = Phase::Copying(page.clone());
                    copy
                }
            },
            Step::Done(SettleOutcome::Unreached) => SyncStep::Wait,
        }
    }

    fn done(&mut self) -> SyncStep<K, V> {
        self.phase = Phase::Done;
        SyncStep::Done(Synced(Announcement {
            node: self.sources.me,
            partition: self.sources.partition,
            version: self.sources.view.hi,
        }))
    }
}

/// May a node serve the partition that it entered at the layout `entered`? `synced` is the newest layout that it is synced
/// for, and `raised` the layout of entering for which its floor was raised by a sync.
pub fn is_open<R: Rules>(entered: LayoutVersion, synced: LayoutVersion, raised: LayoutVersion) -> bool {
    synced.max(raised) >= entered || R::lacks(Flaw::ServesBeforeFloor)
}

/// Every key that some answer tells of, below the bound.
fn keys<K: Ord + Clone, V>(answers: &BTreeMap<NodeId, Pulled<K, V>>, bound: Option<&K>) -> Vec<K> {
    let told = answers
        .values()
        .flat_map(|pulled| pulled.rows.iter().map(|(key, _)| key));
    let mut keys: Vec<K> = told
        .filter(|key| bound.is_none_or(|bound| *key < bound))
        .cloned()
        .collect();
    keys.sort();
    keys.dedup();
    keys
}

fn cell<K: Ord, V: Value>(pulled: &Pulled<K, V>, key: &K) -> Cell<V> {
    let found = pulled.rows.iter().find(|(of, _)| of == key);
    found.map_or_else(Cell::default, |(_, cell)| cell.clone())
}

/// Do all hold the same, with no promise above it?
fn agree<V: Value, R: Rules>(cells: &Vec<&Cell<V>>) -> bool {
    let name = |cell: &Cell<V>| cell.accepted.as_ref().map(|held| (held.ballot, held.op));
    let promised = |cell: &&Cell<V>| cell.promised > cell.ballot() && !R::lacks(Flaw::SyncIgnoresPromises);
    let alike = cells.windows(2).all(|pair| name(pair[0]) == name(pair[1]));
    alike && !cells.iter().any(promised)
}

/// The rows of a pull as they are sent: those that hold or promise something, at most `limit` of them.
pub fn pulled_rows<K: Clone, V: Value>(
    cells: impl IntoIterator<Item = (K, Cell<V>)>,
    floor: Stamp,
    limit: usize,
) -> Pulled<K, V> {
    let mut rows: Vec<(K, Cell<V>)> = cells.into_iter().filter(|(_, cell)| *cell != Cell::default()).collect();
    let bound = rows.get(limit).map(|(key, _)| key.clone());
    rows.truncate(limit);
    Pulled { rows, bound, floor }
}
