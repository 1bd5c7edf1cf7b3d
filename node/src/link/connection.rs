//! One connection after its handshake, the same for the side that dialed and the side that listened.
//!
//! A connection is one task that reads, writes and watches. Frames to send wait in a queue; the writer takes what is there
//! as one batch, writes it and flushes once, so that under load many small frames share a TLS record and a system call.
//! Both sides send a ping every now and then whatever else they do: hearing nothing for long then means that the path
//! is cut or the peer is stuck, even while a block fills the other direction.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Lane;
use super::frame::{Batch, Frame, HEADER_BYTES, Header, Violation};
use super::handshake::Stream;
use super::limits::{Timing, Turn, Window};
use crate::env::Env;

/// A batch takes no further frame once it has this size.
const BATCH_FULL_BYTES: usize = 256 * 1024;

/// A new round trip time counts for one part in so many of the estimate.
const ROUND_TRIP_WEIGHT: u64 = 8;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ending {
    #[error("closed by the peer")]
    Closed,
    #[error("closed by this node")]
    Stopped,
    #[error("no byte from the peer for {0:?}")]
    Silent(Duration),
    #[error("the peer sent {0}")]
    Violated(#[from] Violation),
    #[error("{0}")]
    Io(io::Error),
}

/// What to do with requests or answers that arrive.
pub(super) trait Receive: Send + Sync {
    /// Takes a frame that is neither ping nor pong.
    fn receive(&self, frame: Frame) -> Result<(), Violation>;
}

/// The part of a connection that outlives no one: queue, window and what is known of the peer.
pub(super) struct Connection {
    pub(super) env: Env,
    pub(super) lane: Lane,
    pub(super) window: Window,
    timing: Timing,
    queue: Queue,
    heard_us: AtomicU64,
    /// Zero until the first pong.
    round_trip_us: AtomicU64,
}

impl Connection {
    pub(super) fn new(env: Env, lane: Lane, timing: Timing) -> Self {
        let connection = Self {
            env,
            lane,
            window: Window::new(lane),
            timing,
            queue: Queue::default(),
            heard_us: AtomicU64::new(0),
            round_trip_us: AtomicU64::new(0),
        };
        connection.heard();
        connection
    }

    /// Works until the connection ends. Once `finish` is over, nothing more is read, what is in flight is answered,
    /// and it ends.
    pub(super) async fn run(
        &self,
        stream: Stream,
        receiver: &impl Receive,
        stop: &CancellationToken,
        finish: impl Future<Output = ()>,
    ) -> Ending {
        let (reader, writer) = tokio::io::split(stream);
        let ending = tokio::select! {
            biased;
            () = stop.cancelled() => Ending::Stopped,
            ending = self.read_until(reader, receiver, finish) => ending,
            ending = self.write(writer) => ending,
            ending = self.watch() => ending,
        };
        self.window.close();
        self.queue.close();
        ending
    }

    /// Queues a frame. What it `holds` is given back when the frame is on its way. On a connection that is over, the frame is gone.
    pub(super) fn send(&self, frame: Frame, holds: Option<Turn>) {
        self.queue.push(|waiting| waiting.frames.push_back((frame, holds)));
    }

    /// Time since the peer was heard.
    pub(super) fn silence(&self) -> Duration {
        Duration::from_micros(self.now_us().saturating_sub(self.heard_us.load(Ordering::Relaxed)))
    }

    /// An estimate of the round trip time, once there is one.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        match self.round_trip_us.load(Ordering::Relaxed) {
            0 => None,
            estimate => Some(Duration::from_micros(estimate)),
        }
    }

    async fn read_until(
        &self,
        reader: ReadHalf<Stream>,
        receiver: &impl Receive,
        finish: impl Future<Output = ()>,
    ) -> Ending {
        tokio::select! {
            biased;
            () = finish => {
                self.window.empty().await;
                self.queue.finish();
                // The writer ends the connection once it has written what is queued.
                std::future::pending().await
            }
            Err(ending) = self.read(reader, receiver) => ending,
        }
    }

    async fn read(&self, mut reader: ReadHalf<Stream>, receiver: &impl Receive) -> Result<(), Ending> {
        loop {
            match self.read_frame(&mut reader).await? {
                Frame::Ping { number } => self.queue.push(|waiting| waiting.pong = Some(number)),
                Frame::Pong { number } => self.measured(number),
                frame @ (Frame::Request { .. }
                | Frame::Reply { .. }
                | Frame::TooLarge { .. }
                | Frame::Failed { .. }) => {
                    receiver.receive(frame)?;
                }
            }
        }
    }

    async fn read_frame(&self, reader: &mut ReadHalf<Stream>) -> Result<Frame, Ending> {
        let mut header = [0; HEADER_BYTES];
        self.fill(reader, &mut header.as_mut_slice()).await?;
        let header = Header::decode(&header, self.lane)?;
        let mut payload = BytesMut::with_capacity(header.payload_bytes()).limit(header.payload_bytes());
        self.fill(reader, &mut payload).await?;
        Ok(header.complete(payload.into_inner().freeze())?)
    }

    /// Reads until the buffer is full, straight into it.
    async fn fill(&self, reader: &mut ReadHalf<Stream>, buffer: &mut impl BufMut) -> Result<(), Ending> {
        while buffer.has_remaining_mut() {
            match reader.read_buf(buffer).await {
                Ok(0) => return Err(Ending::Closed),
                Ok(_) => self.heard(),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(Ending::Closed),
                Err(error) => return Err(Ending::Io(error)),
            }
        }
        Ok(())
    }

    async fn write(&self, mut writer: WriteHalf<Stream>) -> Ending {
        loop {
            let written = match self.queue.next().await {
                Some(batch) => write_batch(&mut writer, batch).await,
                None => return writer.shutdown().await.map_or_else(Ending::Io, |()| Ending::Stopped),
            };
            if let Err(error) = written {
                return Ending::Io(error);
            }
        }
    }

    /// Counts beats, not time: when this node itself stood still for a while, that is no silence of the peer.
    async fn watch(&self) -> Ending {
        let mut unheard = 0;
        loop {
            let heard_us = self.heard_us.load(Ordering::Relaxed);
            let number = self.now_us();
            self.queue.push(|waiting| waiting.ping = Some(number));
            self.env
                .clock
                .sleep(Duration::from_millis(self.timing.beat_interval_ms))
                .await;
            unheard = if self.heard_us.load(Ordering::Relaxed) == heard_us {
                unheard + 1
            } else {
                0
            };
            if unheard >= self.timing.unheard_beats_max() {
                return Ending::Silent(self.silence());
            }
        }
    }

    fn heard(&self) {
        self.heard_us.store(self.now_us(), Ordering::Relaxed);
    }

    /// A pong came back: its number is the time at which the ping was queued.
    fn measured(&self, number: u64) {
        let sample = self.now_us().saturating_sub(number).max(1);
        let estimate = match self.round_trip_us.load(Ordering::Relaxed) {
            0 => sample,
            before => (before * (ROUND_TRIP_WEIGHT - 1) + sample) / ROUND_TRIP_WEIGHT,
        };
        self.round_trip_us.store(estimate.max(1), Ordering::Relaxed);
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.env.clock.monotonic().as_micros()).unwrap_or(u64::MAX)
    }
}

async fn write_batch(writer: &mut WriteHalf<Stream>, mut batch: Batch) -> io::Result<()> {
    writer.write_all_buf(&mut batch).await?;
    writer.flush().await
}

/// Frames that wait for the socket. Bounded by what may be in flight: requests and answers hold credit of a window.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Default)]
struct Waiting {
    frames: VecDeque<(Frame, Option<Turn>)>,
    /// At most one of each, the newest, and ahead of the frames.
    ping: Option<u64>,
    pong: Option<u64>,
    phase: Phase,
}

#[derive(Default, Clone, Copy)]
enum Phase {
    #[default]
    Open,
    /// What is queued is still written.
    Finishing,
    Closed,
}

impl Queue {
    fn push(&self, add: impl FnOnce(&mut Waiting)) {
        let mut waiting = self.waiting.lock().expect("no holder panics");
        match waiting.phase {
            Phase::Open | Phase::Finishing => add(&mut waiting),
            Phase::Closed => return,
        }
        drop(waiting);
        self.wake.notify_one();
    }

    /// The frames to write next, as soon as there are any; nothing after the last.
    async fn next(&self) -> Option<Batch> {
        loop {
            match self.take() {
                Taken::Batch(batch) => return Some(batch),
                Taken::Nothing => self.wake.notified().await,
                Taken::End => return None,
            }
        }
    }

    fn take(&self) -> Taken {
        let mut waiting = self.waiting.lock().expect("no holder panics");
        let mut batch = Batch::default();
        if let Some(number) = waiting.ping.take() {
            batch.push(Frame::Ping { number });
        }
        if let Some(number) = waiting.pong.take() {
            batch.push(Frame::Pong { number });
        }
        while batch.len() < BATCH_FULL_BYTES {
            // What the frame holds is dropped here, before it is written: when the peer reads the frame, it is free.
            let Some((frame, _holds)) = waiting.frames.pop_front() else {
                break;
            };
            batch.push(frame);
        }
        match (batch.len(), waiting.phase) {
            (0, Phase::Open) => Taken::Nothing,
            (0, Phase::Finishing | Phase::Closed) => Taken::End,
            (_, Phase::Open | Phase::Finishing | Phase::Closed) => Taken::Batch(batch.seal()),
        }
    }

    fn finish(&self) {
        self.waiting.lock().expect("no holder panics").phase = Phase::Finishing;
        self.wake.notify_one();
    }

    fn close(&self) {
        let mut waiting = self.waiting.lock().expect("no holder panics");
        let gone = std::mem::take(&mut *waiting);
        waiting.phase = Phase::Closed;
        drop(waiting);
        drop(gone);
    }
}

enum Taken {
    Batch(Batch),
    Nothing,
    End,
}
