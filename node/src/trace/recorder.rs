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
    /// What a part begins with that is not the first: what came before it may be gone.
    preamble: OnceLock<Preamble>,
}

type Preamble = Box<dyn Fn() -> Option<Record> + Send + Sync>;

#[derive(Default)]
struct Waiting {
    /// Whole frames.
    frames: Vec<u8>,
    /// Records that found no room since the last that did.
    lost: u64,
    is_over: bool,
}

/// What a recorder hands over.
pub(super) struct Handed {
    pub(super) frames: Vec<u8>,
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
        let opening = frame(MAGIC.to_vec(), &Record::Opened(opened));
        let preamble = self.preamble.get().filter(|_| part > 0).and_then(|preamble| preamble());
        preamble.iter().fold(opening, frame)
    }

    /// Parts but the first begin with what this says then.
    pub(crate) fn begin_parts_with(&self, preamble: impl Fn() -> Option<Record> + Send + Sync + 'static) {
        // There is one in a life.
        let _ = self.preamble.set(Box::new(preamble));
    }

    /// What was recorded and not yet taken, in whole frames.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.waiting().frames)
    }

    /// The same, once there is enough to be worth a write or this much time has passed.
    /// `room` takes what comes next.
    pub(super) fn take_after(&self, most: Duration, room: Vec<u8>) -> Handed {
        let is_little = |waiting: &mut Waiting| waiting.frames.len() < WAKE_BYTES && !waiting.is_over;
        let waited = self.woken.wait_timeout_while(self.waiting(), most, is_little);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        Handed {
            frames: std::mem::replace(&mut waiting.frames, room),
            is_last: waiting.is_over,
        }
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

    /// These frames could not be written. What was recorded since must not seem to follow what came before them.
    pub(super) fn lost(&self, frames: &[u8]) {
        let lost = frame(Vec::new(), &Record::Lost(count(frames)));
        self.waiting().frames.splice(0..0, lost);
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
        let mut frames = std::mem::take(&mut waiting.frames);
        if waiting.lost > 0 {
            frames = frame(frames, &Record::Lost(std::mem::take(&mut waiting.lost)));
        }
        frames.extend_from_slice(framed);
        waiting.frames = frames;
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
fn count(mut frames: &[u8]) -> u64 {
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
        assert_eq!(count(&recorder.take()), fit as u64 + 1);
        recorder.record(&Record::Closed);
        let expected = [framed(&Record::Lost(5)), framed(&Record::Closed)].concat();
        assert_eq!(recorder.take(), expected);
        recorder.close();
        recorder.record(&Record::Lost(1));
        assert_eq!(recorder.take(), framed(&Record::Closed));
    }

    #[test]
    fn later_parts_begin_with_what_is_known() {
        let recorder = Recorder::new(NodeId(1), 7, 0, 100);
        let (first, second) = (recorder.opening(0), recorder.opening(1));
        recorder.begin_parts_with(|| Some(Record::Lost(3)));
        assert_eq!(recorder.opening(0), first);
        assert_eq!(recorder.opening(1), [second, framed(&Record::Lost(3))].concat());
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

    #[test]
    fn what_could_not_be_written_is_missing_before_what_was_recorded_since() {
        let recorder = Recorder::new(NodeId(1), 7, 1 << 10, 100);
        recorder.record(&Record::Closed);
        recorder.lost(&[framed(&Record::Closed), framed(&Record::Closed)].concat());
        let expected = [framed(&Record::Lost(2)), framed(&Record::Closed)].concat();
        assert_eq!(recorder.take(), expected);
    }
}
