//! What a link allows: sizes, numbers in flight, times.
//!
//! The limits of a lane are part of the protocol: the side that asks keeps within them by letting callers wait, the side
//! that answers ends a connection on which they are broken. So a slow peer costs a bounded amount of memory here, and a
//! hostile member costs a bounded amount there.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use super::{Lane, Message};

/// Head and body together: a row with an inline body of 64 KiB, or a page of a listing.
const CONTROL_MESSAGE_MAX_BYTES: usize = 1 << 20;
/// A block of 4 MiB and what is said about it.
const BULK_MESSAGE_MAX_BYTES: usize = (4 << 20) + (64 << 10);

/// Requests without an answer, on one connection.
const CONTROL_CALLS_MAX: u32 = 4096;
const BULK_CALLS_MAX: u32 = 64;

/// Bytes of requests without an answer, on one connection: 300 MB/s over a round trip of 100 ms.
const CONTROL_CALL_MAX_BYTES: u32 = 16 << 20;
const BULK_CALL_MAX_BYTES: u32 = 32 << 20;

/// Requests that are worked on, or whose answer waits to be sent, on one connection. The others wait their turn as
/// requests, which for the reads of blocks is some bytes in place of megabytes.
const CONTROL_SERVED_AT_ONCE_MAX: usize = 512;
const BULK_SERVED_AT_ONCE_MAX: usize = 32;

impl Lane {
    /// The greatest message of the lane, head and body together.
    pub const fn message_max_bytes(self) -> usize {
        match self {
            Lane::Control => CONTROL_MESSAGE_MAX_BYTES,
            Lane::Bulk => BULK_MESSAGE_MAX_BYTES,
        }
    }

    pub(super) const fn served_at_once_max(self) -> usize {
        match self {
            Lane::Control => CONTROL_SERVED_AT_ONCE_MAX,
            Lane::Bulk => BULK_SERVED_AT_ONCE_MAX,
        }
    }

    const fn calls_max(self) -> u32 {
        match self {
            Lane::Control => CONTROL_CALLS_MAX,
            Lane::Bulk => BULK_CALLS_MAX,
        }
    }

    const fn call_max_bytes(self) -> u32 {
        match self {
            Lane::Control => CONTROL_CALL_MAX_BYTES,
            Lane::Bulk => BULK_CALL_MAX_BYTES,
        }
    }
}

impl Message {
    /// Head and body together.
    pub fn size_bytes(&self) -> usize {
        self.head.len() + self.body.len()
    }
}

/// The times of a node's links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timing {
    /// A connection on which no byte arrived for so long is over. Counted in whole beats, at least two.
    pub peer_silence_ms: u64,
    /// How often each side says that it lives; a fraction of `peer_silence_ms`.
    pub beat_interval_ms: u64,
    /// From the first byte of TCP to the second hello.
    pub handshake_timeout_ms: u64,
    /// The shortest pause between two attempts to reach a peer.
    pub reconnect_min_ms: u64,
    /// The longest pause between two attempts to reach a peer.
    pub reconnect_max_ms: u64,
    /// How long closing waits for answers that are being made.
    pub close_grace_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            peer_silence_ms: 2_000,
            beat_interval_ms: 400,
            handshake_timeout_ms: 5_000,
            reconnect_min_ms: 20,
            reconnect_max_ms: 2_000,
            close_grace_ms: 1_000,
        }
    }
}

impl Timing {
    /// How many beats may pass without a byte from the peer.
    pub(super) fn unheard_beats_max(&self) -> u64 {
        (self.peer_silence_ms / self.beat_interval_ms.max(1)).max(2)
    }

    /// The pause before attempt number `attempt` (from 0), stretched by a `draw` from all of `u64`.
    pub(super) fn pause(&self, attempt: u32, draw: u64) -> Duration {
        let doubled = self.reconnect_min_ms.saturating_mul(1 << attempt.min(16));
        let longest = doubled.clamp(self.reconnect_min_ms, self.reconnect_max_ms.max(self.reconnect_min_ms));
        let stretch = draw % (longest - self.reconnect_min_ms + 1);
        Duration::from_millis(self.reconnect_min_ms + stretch)
    }
}

/// What may be in flight on one connection.
pub(super) struct Window {
    calls: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    calls_max: u32,
}

/// One request's part of a window, given back when dropped.
pub(super) struct Credit {
    _call: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// A request's part of the window and its place among those served at once, given back when dropped.
pub(super) struct Turn {
    pub(super) _credit: Credit,
    pub(super) _place: OwnedSemaphorePermit,
}

impl Window {
    pub(super) fn new(lane: Lane) -> Self {
        let semaphore = |permits: u32| Arc::new(Semaphore::new(permits as usize));
        let calls_max = lane.calls_max();
        Self {
            calls: semaphore(calls_max),
            bytes: semaphore(lane.call_max_bytes()),
            calls_max,
        }
    }

    /// Waits for room; none comes on a connection that is over.
    pub(super) async fn enter(&self, message: &Message) -> Option<Credit> {
        let call = Arc::clone(&self.calls).acquire_owned().await.ok()?;
        let bytes = Arc::clone(&self.bytes)
            .acquire_many_owned(permits(message))
            .await
            .ok()?;
        Some(Credit {
            _call: call,
            _bytes: bytes,
        })
    }

    /// Room that the other side should have left.
    pub(super) fn claim(&self, message: &Message) -> Result<Credit, TryAcquireError> {
        let call = Arc::clone(&self.calls).try_acquire_owned()?;
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(permits(message))?;
        Ok(Credit {
            _call: call,
            _bytes: bytes,
        })
    }

    /// Waits until nothing is in flight.
    pub(super) async fn empty(&self) {
        // A window that is closed has nobody left to wait for.
        let _ = self.calls.acquire_many(self.calls_max).await;
    }

    /// Sends away whoever waits.
    pub(super) fn close(&self) {
        self.calls.close();
        self.bytes.close();
    }
}

fn permits(message: &Message) -> u32 {
    u32::try_from(message.size_bytes()).expect("messages over the lane's limit were refused before")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_any_allowed_size_fits_into_its_window() {
        for lane in [Lane::Control, Lane::Bulk] {
            assert!(lane.message_max_bytes() <= lane.call_max_bytes() as usize);
        }
    }

    #[test]
    fn pauses_grow_and_stay_within_their_bounds() {
        let timing = Timing::default();
        let (min, max) = (Duration::from_millis(20), Duration::from_millis(2_000));
        assert_eq!(timing.pause(0, u64::MAX), min);
        for attempt in 0..100 {
            let pauses = (0..3_000).map(|draw| timing.pause(attempt, draw));
            assert!(
                pauses.clone().all(|pause| (min..=max).contains(&pause)),
                "attempt {attempt}"
            );
            assert!(attempt < 10 || pauses.max() == Some(max), "attempt {attempt}");
        }
        let odd = Timing {
            reconnect_min_ms: 5,
            reconnect_max_ms: 1,
            ..timing
        };
        assert_eq!(odd.pause(9, 1234), Duration::from_millis(5));
    }

    #[test]
    fn silence_is_a_number_of_beats() {
        let beats = |peer_silence_ms, beat_interval_ms| {
            Timing {
                peer_silence_ms,
                beat_interval_ms,
                ..Timing::default()
            }
            .unheard_beats_max()
        };
        assert_eq!((beats(2_000, 400), beats(100, 400), beats(100, 0)), (5, 2, 100));
    }
}
