//! Records on their way from the driver to a file.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use trellis_spec::peer::Stored;
use trellis_spec::quorum::NodeId;
use trellis_spec::register::{Request, Served};
use trellis_spec::row::Row;
use trellis_spec::trace::{Aftermath, Circumstances, Kept, MAGIC, Opened, Record, RowStep};

use serde::Serialize;

use crate::storage::Position;

/// When so much waits, the thread is woken before its time.
const WAKE_BYTES: usize = 64 << 10;
/// What a record takes as a rule.
const RECORD_BYTES: usize = 768;

/// Takes the records of one life of a node.
pub struct Recorder {
    node: NodeId,
    life: u64,
    waiting_max_bytes: usize,
    /// How many of a hundred rows are recorded.
    percent: u8,
    waiting: Mutex<Waiting>,
    woken: Condvar,
    /// Every change up to this position is durable, by what the log told those who waited.
    durable: AtomicU64,
    /// What a trace goes on with where it has a gap, and at the beginning of each later part: what came before it may be
    /// gone.
    preamble: OnceLock<Preamble>,
}

type Preamble = Box<dyn Fn() -> Option<Record> + Send + Sync>;

#[derive(Default)]
struct Waiting {
    /// Whole frames.
    frames: Vec<u8>,
    /// Records that found no room behind these; there is none until they are taken.
    lost: u64,
    is_over: bool,
}

/// What a recorder hands over.
pub(super) struct Handed {
    pub(super) frames: Vec<u8>,
    /// So many records are missing behind them.
    pub(super) lost: u64,
    /// Nothing will come after it.
    pub(super) is_last: bool,
}

impl Recorder {
    /// The recorder of a node in a life of this number, which no other life of it has. Records that nobody has taken yet
    /// may wait up to this length; what comes on top of that is left out. Of a hundred rows, `percent` are recorded.
    pub fn new(node: NodeId, life: u64, waiting_max_bytes: usize, percent: u8) -> Arc<Self> {
        Arc::new(Recorder {
            node,
            life,
            waiting_max_bytes,
            percent,
            waiting: Mutex::default(),
            woken: Condvar::new(),
            durable: AtomicU64::new(0),
            preamble: OnceLock::new(),
        })
    }

    /// Whose records these are.
    pub(super) fn node(&self) -> NodeId {
        self.node
    }

    /// How the file of a part begins.
    pub fn opening(&self, part: u32) -> Vec<u8> {
        let opened = Opened {
            node: self.node,
            life: self.life,
            part,
        };
        frame(MAGIC.to_vec(), &Record::Opened(opened))
    }

    /// `frames`, behind which so many records are missing or nothing is known of what came before, with that and with what
    /// a trace goes on with then. It may wait for a change of layouts, so the driver does not call it.
    pub(super) fn going_on(&self, frames: Vec<u8>, lost: u64) -> Vec<u8> {
        let preamble = self.preamble.get().and_then(|preamble| preamble());
        preamble.iter().fold(told_of_loss(frames, lost), frame)
    }

    /// Behind a gap, and in parts but the first, a trace goes on with what this says then.
    pub(crate) fn go_on_with(&self, preamble: impl Fn() -> Option<Record> + Send + Sync + 'static) {
        // There is one in a life.
        let _ = self.preamble.set(Box::new(preamble));
    }

    /// What was recorded and not yet taken, in whole frames.
    pub fn take(&self) -> Vec<u8> {
        let handed = hand_over(&mut self.waiting(), Vec::new());
        told_of_loss(handed.frames, handed.lost)
    }

    /// The same, once there is enough to be worth a write or this much time has passed.
    /// `room` takes what comes next.
    pub(super) fn take_after(&self, most: Duration, room: Vec<u8>) -> Handed {
        let is_little = |waiting: &mut Waiting| waiting.frames.len() < WAKE_BYTES && !waiting.is_over;
        let waited = self.woken.wait_timeout_while(self.waiting(), most, is_little);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        hand_over(&mut waiting, room)
    }

    /// Is this one of the rows that are recorded? All nodes agree on which those are.
    pub(crate) fn wants(&self, key: &[u8]) -> bool {
        self.percent >= 100 || crc32fast::hash(key) % 100 < u32::from(self.percent)
    }

    /// A step of the rule of rows was taken. Whoever took it says of the returned whether the store has the change.
    pub(crate) fn stepped(
        &self,
        at: Circumstances<'_>,
        stored: &Stored<Row>,
        request: &Request<Row>,
        served: &Served<Row>,
    ) -> Option<SteppedOn<'_>> {
        if !self.wants(at.key) {
            return None;
        }
        let step = RowStep::taken(at, stored, request, served);
        Some(SteppedOn {
            recorder: self,
            frame: behind_length(Vec::with_capacity(RECORD_BYTES), &Record::Row(step)),
            kept: served.changed.as_ref().map_or(Kept::AsItWas, |_| Kept::NotTaken),
        })
    }

    /// The log is durable up to here.
    pub(crate) fn durable(&self, position: Position) {
        self.durable.fetch_max(position.0, Ordering::Relaxed);
    }

    /// How far the log is durable, by what it told.
    pub(crate) fn durable_so_far(&self) -> u64 {
        self.durable.load(Ordering::Relaxed)
    }

    /// Nothing is recorded from now on, and nothing is missing: the node stopped in order.
    pub(super) fn close(&self) {
        self.record(&Record::Closed);
        self.end();
    }

    /// Nothing is recorded from now on.
    pub(super) fn end(&self) {
        self.waiting().is_over = true;
        self.woken.notify_all();
    }

    /// Takes a record, or counts it if there is no room.
    pub(crate) fn record(&self, record: &Record) {
        // Before the lock: those who hold the lock of a partition wait for it, and some records are large.
        self.append(&frame(Vec::new(), record));
    }

    fn append(&self, framed: &[u8]) {
        let mut waiting = self.waiting();
        if waiting.is_over {
            return;
        }
        let before = waiting.frames.len();
        if before > self.waiting_max_bytes {
            waiting.lost += 1;
            return;
        }
        waiting.frames.extend_from_slice(framed);
        if before < WAKE_BYTES && waiting.frames.len() >= WAKE_BYTES {
            self.woken.notify_all();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in it can be half done.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A step that was taken. It is recorded when this is dropped, which must be before the row can be seen by others.
pub(crate) struct SteppedOn<'a> {
    recorder: &'a Recorder,
    frame: Vec<u8>,
    kept: Kept,
}

impl SteppedOn<'_> {
    /// The store has the change.
    pub(crate) fn stored(&mut self, at: Position) {
        self.kept = Kept::Replaced(at.0);
    }
}

impl Drop for SteppedOn<'_> {
    fn drop(&mut self) {
        let aftermath = Aftermath {
            kept: self.kept,
            durable: self.recorder.durable_so_far(),
        };
        let step = with_length(encode(std::mem::take(&mut self.frame), &aftermath), 0);
        self.recorder.append(&step);
    }
}

fn hand_over(waiting: &mut Waiting, room: Vec<u8>) -> Handed {
    Handed {
        frames: std::mem::replace(&mut waiting.frames, room),
        lost: std::mem::take(&mut waiting.lost),
        is_last: waiting.is_over,
    }
}

/// `frames`, and that so many are missing behind them.
fn told_of_loss(frames: Vec<u8>, lost: u64) -> Vec<u8> {
    if lost == 0 {
        return frames;
    }
    frame(frames, &Record::Lost(lost))
}

/// `frames` with a record behind its length.
fn frame(frames: Vec<u8>, record: &Record) -> Vec<u8> {
    let at = frames.len();
    with_length(behind_length(frames, record), at)
}

/// `frames` with room for a length, and what it will be the length of.
fn behind_length(mut frames: Vec<u8>, first: &impl Serialize) -> Vec<u8> {
    frames.extend([0; 4]);
    encode(frames, first)
}

/// `frames` with the length of what lies behind `at` written there.
fn with_length(mut frames: Vec<u8>, at: usize) -> Vec<u8> {
    let length = frames.len().saturating_sub(at + 4);
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    if let Some(room) = frames.get_mut(at..at + 4) {
        room.copy_from_slice(&length);
    }
    frames
}

fn encode(behind: Vec<u8>, what: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(what, behind).expect("writing to a vector cannot fail")
}

/// How many frames these are.
pub(super) fn count(mut frames: &[u8]) -> u64 {
    let mut count = 0;
    while let Some((length, rest)) = frames.split_first_chunk() {
        frames = rest.get(u32::from_le_bytes(*length) as usize..).unwrap_or_default();
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(record: &Record) -> Vec<u8> {
        frame(Vec::new(), record)
    }

    #[test]
    fn what_finds_no_room_is_counted_and_told() {
        let (each, fit) = (framed(&Record::Lost(1)).len(), 100);
        let recorder = Recorder::new(NodeId(1), 7, fit * each, 100);
        for _ in 0..=fit + 5 {
            recorder.record(&Record::Lost(1));
        }
        let fitting = framed(&Record::Lost(1)).repeat(fit + 1);
        assert_eq!(recorder.take(), [fitting, framed(&Record::Lost(5))].concat());
        recorder.close();
        recorder.record(&Record::Lost(1));
        assert_eq!(recorder.take(), framed(&Record::Closed));
    }

    #[test]
    fn a_trace_goes_on_with_what_is_known_behind_what_is_missing() {
        let recorder = Recorder::new(NodeId(1), 7, 0, 100);
        assert_eq!(recorder.going_on(vec![9], 0), vec![9]);
        recorder.go_on_with(|| Some(Record::Closed));
        assert_eq!(
            recorder.going_on(vec![9], 0),
            [vec![9], framed(&Record::Closed)].concat()
        );
        let both = [framed(&Record::Lost(3)), framed(&Record::Closed)].concat();
        assert_eq!(recorder.going_on(Vec::new(), 3), both);
    }

    #[test]
    fn the_share_of_rows_is_about_what_was_said() {
        let wanted = |percent| {
            let recorder = Recorder::new(NodeId(1), 7, 0, percent);
            (0..10_000_u32).filter(|key| recorder.wants(&key.to_be_bytes())).count()
        };
        assert!((1_800..2_200).contains(&wanted(20)), "{}", wanted(20));
        assert_eq!(wanted(100), 10_000);
    }
}
