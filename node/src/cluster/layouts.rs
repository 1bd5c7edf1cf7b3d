//! What this node knows of layouts, at hand and on disk.
//!
//! It only grows. A change is visible at once and durable later, as with rows; so every answer waits until the newest
//! change is durable ([`Known::written_at`]). That makes a raised view the fence that the protocol asks for: what is
//! answered under it cannot be taken back by a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use bytes::Bytes;
use trellis_spec::layout::{
    Admitted, Announcement, Decree, Heard, Knowledge, Layout, LayoutHash, LayoutVersion, LearnError, Learned,
    Partition, View, serve_elector,
};
use trellis_spec::peer::Peer;
use trellis_spec::quorum::NodeId;
use trellis_spec::register::{Cell, Reply, Request};
use trellis_spec::trace::{ElectorStep, Kept, LayoutsInput, LayoutsNews, LayoutsStep, Record, Standing};

use super::changes::{Changes, Signal};
use super::dates::{Dates, retired};
use super::epochs::Overruled;
use super::wire::{DecodeError, decode, encode};
use crate::env::Env;
use crate::seeded::NodeRules;
use crate::storage::{Batch, Change, Position, Room, Rows, RowsError};
use crate::trace::Recorder;

/// The table of the row store, and its parts.
const LAYOUTS: u8 = b'l';
const CONTENTS: &[u8] = b"lc";
const OLDEST: &[u8] = b"lo";
const SYNCED: &[u8] = b"ls";
const ELECTIONS: &[u8] = b"le";
const DATES: &[u8] = b"ld";

/// Why layouts cannot be read or written. What was known before is still known.
#[derive(Debug, thiserror::Error)]
pub enum LayoutsError {
    /// The row store failed.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// The row store holds something else.
    #[error("the row store holds a layout that cannot be read: {0}")]
    Damaged(#[from] DecodeError),
    /// Somebody's layouts were not elected, or this node's were not: one of the two was forced.
    #[error("layout {} is known with another content: one of the two was forced", .0.0)]
    Conflict(LayoutVersion),
}

/// What is known now.
#[derive(Clone, Debug)]
pub struct Known {
    /// This node, and the layouts that it knows.
    pub peer: Peer,
    /// Of the newest layout: it takes a while to compute.
    pub(super) hash: LayoutHash,
    /// The newest forced layout.
    pub(super) decree: Decree,
    /// Who follows other layouts, under a higher decree, as far as this life has heard.
    pub(super) overruled: Option<Overruled>,
    /// Who said to be synced.
    heard: Heard,
    /// Of the layouts that are known, where something is known of that.
    dates: BTreeMap<LayoutVersion, Dates>,
    /// How far the log must be durable before this may be answered from.
    pub(crate) written_at: Position,
}

/// See the module.
pub struct Layouts {
    env: Env,
    rows: Arc<dyn Rows>,
    now: RwLock<Arc<Known>>,
    /// One change at a time.
    writing: Mutex<()>,
    changes: Signal,
    turns: AtomicUsize,
    /// Who writes down what it is told, if anybody.
    recorder: OnceLock<Arc<Recorder>>,
}

impl Known {
    /// Nothing was heard yet.
    pub(super) fn begin(peer: Peer) -> Self {
        Known {
            hash: peer.knowledge.newest().map(Layout::hash).unwrap_or_default(),
            decree: peer.knowledge.decree(),
            overruled: None,
            peer,
            heard: Heard::default(),
            dates: BTreeMap::new(),
            written_at: Position::default(),
        }
    }

    /// When a layout came and went, for people.
    pub fn dates(&self, version: LayoutVersion) -> Dates {
        self.dates.get(&version).copied().unwrap_or_default()
    }

    /// The newest layout for which a node is known to be synced.
    pub fn synced(&self, partition: Partition, node: NodeId) -> LayoutVersion {
        self.heard.synced(partition, node)
    }

    /// Everything that was heard of syncs.
    pub fn heard(&self) -> &Heard {
        &self.heard
    }

    /// The newest layout's number.
    pub fn newest(&self) -> LayoutVersion {
        self.peer
            .knowledge
            .newest()
            .map(|layout| layout.version)
            .unwrap_or_default()
    }

    /// A layout that was elected is followed, whatever it is worth: that keeps everybody together. But whoever elected one
    /// whose placement is not the best there is did not plan it as this program does.
    fn check(&self, layout: &Layout) {
        if let Err(violation) = layout.check(self.before(layout)) {
            let version = layout.version.0;
            tracing::error!(
                version,
                %violation,
                "the placement of a layout that was decided is not proven to be the best; it is followed, and the next one \
                 will be: stage anything, or the same once more, and look at `trellis layout preview`"
            );
        }
    }

    /// The layout before this one, if it is known.
    pub fn before(&self, layout: &Layout) -> Option<&Layout> {
        let before = layout.version.0.checked_sub(1).map(LayoutVersion)?;
        self.peer.knowledge.layout(before)
    }

    fn date(&mut self, version: LayoutVersion, dates: Dates, batch: &mut Batch) {
        self.dates.insert(version, dates);
        batch.push((dates_key(version), Change::Put(encode(&dates))));
    }

    /// For a trace.
    fn standing(&self) -> Standing {
        Standing {
            at: self.written_at.0,
            knowledge: self.peer.knowledge.clone(),
            heard: self.heard.clone(),
        }
    }
}

impl Layouts {
    /// What the row store knows; at the first start, the layout of `peer`.
    pub fn open(env: Env, rows: Arc<dyn Rows>, peer: Peer) -> Result<Self, LayoutsError> {
        let known = match stored(&*rows, peer.me)? {
            Some(known) => known,
            None => begin(&*rows, peer)?,
        };
        Ok(Layouts {
            env,
            rows,
            now: RwLock::new(Arc::new(known)),
            writing: Mutex::new(()),
            changes: Signal::default(),
            turns: AtomicUsize::new(0),
            recorder: OnceLock::new(),
        })
    }

    /// From now on what it is told is recorded, after what it knows already.
    pub(super) fn record_to(self: &Arc<Self>, recorder: &Arc<Recorder>) {
        let _writing = self.lock();
        recorder.record(&Record::Standing(self.now().standing()));
        let layouts = Arc::downgrade(self);
        recorder.go_on_with(move || Some(Record::Standing(layouts.upgrade()?.settled().standing())));
        // There is one in a life.
        let _ = self.recorder.set(recorder.clone());
    }

    /// What is known now.
    pub fn now(&self) -> Arc<Known> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is known when no change is at work: every change that was recorded before is in it.
    fn settled(&self) -> Arc<Known> {
        let _writing = self.lock();
        self.now()
    }

    /// The layouts that are known now.
    pub fn knowledge(&self) -> Knowledge {
        self.now().peer.knowledge.clone()
    }

    /// The newest layout for which a node is known to be synced for a partition.
    pub fn synced(&self, partition: Partition, node: NodeId) -> LayoutVersion {
        self.now().synced(partition, node)
    }

    /// Another number each time.
    pub(super) fn next_turn(&self) -> usize {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }

    /// A signal at every change.
    pub fn changes(&self) -> Changes {
        self.changes.subscribe()
    }

    /// Takes in layouts that were elected, in order, and when, where that is known. Those that do not follow are left for
    /// later.
    pub fn learn(
        &self,
        layouts: &[Layout],
        decided_ms: impl Fn(LayoutVersion) -> Option<u64>,
    ) -> Result<Learned, LayoutsError> {
        // Nearly every exchange between nodes tells of none, or of none that is new.
        let now = self.now();
        let is_known = |layout: &Layout| now.peer.knowledge.layout(layout.version) == Some(layout);
        if layouts.iter().all(is_known) {
            return Ok(Learned::Known);
        }
        let told = |before: &Known| {
            let newer = layouts.iter().filter(|layout| layout.version > before.newest());
            LayoutsInput::Learn(newer.cloned().collect())
        };
        self.change(told, |known, batch, news| {
            let mut learned = Learned::Known;
            for layout in layouts {
                match known.peer.knowledge.learn(layout.clone()) {
                    Ok(Learned::New) => {
                        batch.push((contents_key(layout.version), Change::Put(encode(layout))));
                        let dates = Dates {
                            decided_ms: decided_ms(layout.version),
                            retired_ms: None,
                        };
                        known.date(layout.version, dates, batch);
                        known.check(layout);
                        known.hash = layout.hash();
                        known.decree = known.peer.knowledge.decree();
                        known.note_force(layout);
                        news.learned.push(layout.version);
                        learned = Learned::New;
                    }
                    Ok(Learned::Known) => {}
                    Err(LearnError::Gap(_)) => break,
                    Err(LearnError::Conflict(version)) => return Err(LayoutsError::Conflict(version)),
                }
            }
            Ok(learned)
        })
    }

    /// Others follow other layouts, under a higher decree: this node must not go on. Not written down, for it will be told
    /// again by whoever it meets.
    pub(super) fn give_way(&self, overruled: Overruled) {
        let _writing = self.lock();
        let known = Known {
            overruled: Some(overruled),
            ..Known::clone(&self.now())
        };
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
    }

    /// Raises a partition's oldest layout to that of an admitted request.
    pub(crate) fn adopt(&self, admitted: &Admitted) -> Result<(), LayoutsError> {
        let told = |_: &Known| LayoutsInput::Adopt(admitted.partition(), admitted.view());
        self.raise(admitted.partition(), told, |knowledge| knowledge.adopt(admitted))
    }

    /// Raises a partition's oldest layout to that of a view that another node has.
    pub fn hear_view(&self, partition: Partition, view: View) -> Result<(), LayoutsError> {
        if self.now().peer.knowledge.view(partition).lo >= view.lo {
            return Ok(());
        }
        let told = |_: &Known| LayoutsInput::Hear(partition, view);
        self.raise(partition, told, |knowledge| knowledge.hear(partition, view))
    }

    fn raise(
        &self,
        partition: Partition,
        told: impl FnOnce(&Known) -> LayoutsInput,
        raise: impl Fn(&mut Knowledge),
    ) -> Result<(), LayoutsError> {
        self.change(told, |known, batch, news| {
            let before = known.peer.knowledge.view(partition).lo;
            raise(&mut known.peer.knowledge);
            let lo = known.peer.knowledge.view(partition).lo;
            if lo > before {
                batch.push((oldest_key(partition), Change::Put(encode(&lo))));
                news.raised.push((partition, lo));
            }
            Ok(())
        })
    }

    /// Takes in what nodes said of their syncs, this one's own included, and retires what may be retired then.
    pub fn announce(&self, said: &[Announcement]) -> Result<(), LayoutsError> {
        // While layouts follow each other, everybody is told of thousands many times a second, and knows nearly all.
        let now = self.now();
        if !said.iter().any(|said| now.heard.is_new(&now.peer.knowledge, said)) {
            return Ok(());
        }
        let told = |before: &Known| {
            let is_newer = |said: &&Announcement| said.version > before.synced(said.partition, said.node);
            LayoutsInput::Announce(said.iter().filter(is_newer).copied().collect())
        };
        self.change(told, |known, batch, news| {
            let Peer { me, knowledge } = &mut known.peer;
            let mut heard = BTreeSet::new();
            for said in said {
                if known.heard.hear(knowledge, said) {
                    let key = synced_key(said.partition, said.node);
                    batch.push((key, Change::Put(encode(&said.version))));
                    heard.insert(said.partition);
                    news.heard.push(*said);
                }
            }
            // Nothing else makes a certificate: a layout that is learned has no node yet that synced for it.
            for partition in heard {
                if let Some(certificate) = known.heard.certificate::<NodeRules>(knowledge, *me, partition) {
                    knowledge.retire(&certificate);
                    let lo = knowledge.view(partition).lo;
                    batch.push((oldest_key(partition), Change::Put(encode(&lo))));
                    news.raised.push((partition, lo));
                }
            }
            Ok(())
        })
    }

    /// As an elector of the layout `version`: answers, and says how far the log must be durable first.
    pub(crate) fn serve_election(
        &self,
        version: LayoutVersion,
        request: &Request<Layout>,
    ) -> Result<(Reply<Layout>, Position), LayoutsError> {
        let _writing = self.lock();
        let key = election_key(version);
        let stored = self.rows.get(&key)?;
        let cell: Cell<Layout> = stored.value.as_deref().map(decode).transpose()?.unwrap_or_default();
        let served = serve_elector::<Layout, NodeRules>(&cell, request);
        let (position, kept) = match &served.changed {
            Some(changed) => {
                let batch = vec![(key, Change::Put(encode(changed)))];
                let position = self.rows.apply_within(batch, Room::Upkeep)?;
                (position, Kept::Replaced(position.0))
            }
            None => (stored.written_at, Kept::AsItWas),
        };
        if let Some(recorder) = self.recorder.get() {
            let step = ElectorStep::taken(version, &cell, request, &served, kept);
            recorder.record(&Record::Elector(step));
        }
        Ok((served.reply, position))
    }

    /// Returns when what is known now is on disk.
    pub(crate) async fn durable(&self) -> Result<(), LayoutsError> {
        let position = self.now().written_at;
        Ok(self.rows.durable(position).await?)
    }

    /// Makes a change visible with all that belongs to it. It is recorded before anybody acts on it; where nothing changes,
    /// nothing is.
    fn change<T>(
        &self,
        told: impl FnOnce(&Known) -> LayoutsInput,
        change: impl FnOnce(&mut Known, &mut Batch, &mut LayoutsNews) -> Result<T, LayoutsError>,
    ) -> Result<T, LayoutsError> {
        let _writing = self.lock();
        let before = self.now();
        let mut known = Known::clone(&before);
        let (mut batch, mut news) = (Batch::new(), LayoutsNews::default());
        let done = change(&mut known, &mut batch, &mut news)?;
        if batch.is_empty() {
            return Ok(done);
        }
        let now_ms = self.env.clock.wall_us() / 1000;
        for (version, dates) in retired(&known.peer, &known.dates, now_ms) {
            known.date(version, dates, &mut batch);
        }
        known.written_at = self.rows.apply_within(batch, Room::Upkeep)?;
        if let Some(recorder) = self.recorder.get() {
            let (told, written_at) = (told(&before), known.written_at.0);
            recorder.record(&Record::Layouts(LayoutsStep { told, news, written_at }));
        }
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
        self.changes.changed();
        Ok(done)
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        // It guards no data of its own.
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the row store holds of layouts; nothing at the first start.
fn stored(rows: &dyn Rows, me: NodeId) -> Result<Option<Known>, LayoutsError> {
    let mut knowledge: Option<Knowledge> = None;
    for (_, content) in table(rows, CONTENTS)? {
        let layout: Layout = decode(&content)?;
        match &mut knowledge {
            None => knowledge = Some(Knowledge::of(layout)),
            Some(knowledge) => {
                let version = layout.version;
                knowledge.learn(layout).map_err(|_| LayoutsError::Conflict(version))?;
            }
        }
    }
    let Some(mut knowledge) = knowledge else {
        return Ok(None);
    };
    for (key, lo) in table(rows, OLDEST)? {
        if let Some(partition) = number_at(&key, OLDEST.len()) {
            let (lo, hi) = (decode(&lo)?, LayoutVersion::default());
            knowledge.hear(Partition(partition), View { lo, hi });
        }
    }
    let mut heard = Vec::new();
    for (key, version) in table(rows, SYNCED)? {
        let node = key.get(SYNCED.len() + 2..).and_then(|node| node.try_into().ok());
        if let (Some(partition), Some(node)) = (number_at(&key, SYNCED.len()), node) {
            heard.push(Announcement {
                node: NodeId(u64::from_be_bytes(node)),
                partition: Partition(partition),
                version: decode(&version)?,
            });
        }
    }
    let mut dates = BTreeMap::new();
    for (key, date) in table(rows, DATES)? {
        let version = key.get(DATES.len()..).and_then(|version| version.try_into().ok());
        if let Some(version) = version {
            dates.insert(LayoutVersion(u64::from_be_bytes(version)), decode(&date)?);
        }
    }
    Ok(Some(Known {
        heard: heard.into_iter().collect(),
        dates,
        ..Known::begin(Peer { me, knowledge })
    }))
}

fn begin(rows: &dyn Rows, peer: Peer) -> Result<Known, LayoutsError> {
    let contents = peer.knowledge.since(LayoutVersion::default());
    let batch: Batch = contents
        .map(|layout| (contents_key(layout.version), Change::Put(encode(layout))))
        .collect();
    let written_at = rows.apply_within(batch, Room::Upkeep)?;
    Ok(Known {
        written_at,
        ..Known::begin(peer)
    })
}

fn table(rows: &dyn Rows, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, RowsError> {
    let end = [LAYOUTS, prefix[1] + 1];
    Ok(rows.scan(prefix, &end, usize::MAX)?.value)
}

fn number_at(key: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(key.get(at..at + 2)?.try_into().ok()?))
}

fn contents_key(version: LayoutVersion) -> Bytes {
    [CONTENTS, &version.0.to_be_bytes()].concat().into()
}

fn oldest_key(partition: Partition) -> Bytes {
    [OLDEST, &partition.0.to_be_bytes()].concat().into()
}

fn synced_key(partition: Partition, node: NodeId) -> Bytes {
    [SYNCED, &partition.0.to_be_bytes(), &node.0.to_be_bytes()]
        .concat()
        .into()
}

fn dates_key(version: LayoutVersion) -> Bytes {
    [DATES, &version.0.to_be_bytes()].concat().into()
}

fn election_key(version: LayoutVersion) -> Bytes {
    [ELECTIONS, &version.0.to_be_bytes()].concat().into()
}
