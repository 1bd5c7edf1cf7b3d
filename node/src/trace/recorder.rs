//! Records on their way from the driver to a file.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use trellis_spec::peer::Stored;
use trellis_spec::quorum::NodeId;
use trellis_spec::register::{Request, Served};
use trellis_spec::row::Row;
use trellis_spec::trace::{Circumstances, MAGIC, Opened, Record, RowStep};

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
    waiting: Mutex<Waiting>,
    woken: Condvar,
    /// Every change up to this position is durable, by what the log told those who waited.
    durable: AtomicU64,
}

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
    /// may wait up to this length; what comes on top of that is left out.
    pub fn new(node: NodeId, life: u64, waiting_max_bytes: usize) -> Arc<Self> {
        Arc::new(Recorder {
            node,
            life,
            waiting_max_bytes,
            waiting: Mutex::default(),
            woken: Condvar::new(),
            durable: AtomicU64::new(0),
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
        [&MAGIC[..], &frame(&Record::Opened(opened))].concat()
    }

    /// What was recorded and not yet taken, in whole frames.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.waiting().frames)
    }

    /// The same, once there is enough to be worth a write or this much time has passed.
    pub(super) fn take_after(&self, most: Duration) -> Handed {
        let is_little = |waiting: &mut Waiting| waiting.frames.len() < WAKE_BYTES && !waiting.is_over;
        let waited = self.woken.wait_timeout_while(self.waiting(), most, is_little);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        Handed {
            frames: std::mem::take(&mut waiting.frames),
            is_last: waiting.is_over,
        }
    }

    /// A step of the rule of rows was taken. Whoever took it says of the returned whether the store has the change.
    pub(crate) fn stepped(
        &self,
        at: Circumstances<'_>,
        stored: &Stored<Row>,
        request: &Request<Row>,
        served: &Served<Row>,
    ) -> SteppedOn<'_> {
        let step = RowStep::taken(at, stored, request, served);
        SteppedOn {
            recorder: self,
            step: Some(step),
        }
    }

    /// The log is durable up to here.
    pub(crate) fn durable(&self, position: Position) {
        self.durable.fetch_max(position.0, Ordering::Relaxed);
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
        let lost = frame(&Record::Lost(count(frames)));
        self.waiting().frames.splice(0..0, lost);
    }

    /// Takes a record, or counts it if there is no room.
    pub(super) fn record(&self, record: &Record) {
        let frame = frame(record);
        let mut waiting = self.waiting();
        if waiting.is_over {
            return;
        }
        let before = waiting.frames.len();
        if before + frame.len() > self.waiting_max_bytes {
            waiting.lost += 1;
            return;
        }
        if waiting.lost > 0 {
            let lost = std::mem::take(&mut waiting.lost);
            waiting.frames.extend(self::frame(&Record::Lost(lost)));
        }
        waiting.frames.extend(frame);
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
    step: Option<RowStep>,
}

impl SteppedOn<'_> {
    /// The store has the change.
    pub(crate) fn stored(&mut self, at: Position) {
        if let Some(step) = &mut self.step {
            step.stored(at.0);
        }
    }
}

impl Drop for SteppedOn<'_> {
    fn drop(&mut self) {
        if let Some(mut step) = self.step.take() {
            step.durable = self.recorder.durable.load(Ordering::Relaxed);
            self.recorder.record(&Record::Row(step));
        }
    }
}

/// A record behind its length.
fn frame(record: &Record) -> Vec<u8> {
    let mut room = Vec::with_capacity(RECORD_BYTES);
    room.extend([0; 4]);
    let mut frame = postcard::to_extend(record, room).expect("writing to a vector cannot fail");
    let length = u32::try_from(frame.len() - 4).unwrap_or(u32::MAX);
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame
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

    #[test]
    fn what_finds_no_room_is_counted_and_told() {
        let (each, fit) = (frame(&Record::Lost(1)).len(), 100);
        let recorder = Recorder::new(NodeId(1), 7, fit * each);
        for _ in 0..fit + 5 {
            recorder.record(&Record::Lost(1));
        }
        assert_eq!(count(&recorder.take()), fit as u64);
        recorder.record(&Record::Closed);
        let expected = [frame(&Record::Lost(5)), frame(&Record::Closed)].concat();
        assert_eq!(recorder.take(), expected);
        recorder.close();
        recorder.record(&Record::Lost(1));
        assert_eq!(recorder.take(), frame(&Record::Closed));
    }
}
