//! The body of a request as it comes off the wire, and what becomes of the rest when an answer is given before its end.
//!
//! A connection can carry another request only behind the end of the body. Clients keep connections in pools and find a
//! broken one when they use it next, so the door reads a small rest and throws it away, or else tells the client with
//! `Connection: close` that this answer is the last.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::Version;
use hyper::body::{Body as _, Incoming};
use hyper::header::{EXPECT, HeaderMap};
use tokio::time::timeout;

/// The largest rest that is read to keep a connection; for more, a new connection is cheaper.
const DRAIN_MAX_BYTES: usize = 256 << 10;
/// How long the answer may wait for the rest.
const DRAIN_TIMEOUT_MS: u64 = 500;

/// The body of a request, shared by the operation that reads it and the door that sees to the rest.
#[derive(Clone)]
pub(super) struct Intake(Arc<Mutex<Inner>>);

struct Inner {
    incoming: Incoming,
    progress: Progress,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Nobody has asked for the body, and the client sends it only when it is asked for.
    Held,
    /// It is on its way.
    Flowing,
    /// All of it was read.
    Ended,
}

/// What the connection is good for once the answer is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prospect {
    /// The next request.
    Reuse,
    /// Nothing: the rest of a body is in the way.
    Close,
}

impl Intake {
    /// Takes the body of a request with these headers. Nothing is read before somebody asks: the client may be waiting
    /// for `100 Continue`, which asking sends.
    pub(super) fn new(incoming: Incoming, headers: &HeaderMap) -> Intake {
        let progress = if headers.contains_key(EXPECT) {
            Progress::Held
        } else {
            Progress::Flowing
        };
        Intake(Arc::new(Mutex::new(Inner { incoming, progress })))
    }

    /// The next piece. Trailers of HTTP carry nothing that S3 knows; they count as an empty piece.
    pub(super) fn poll_piece(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, hyper::Error>>> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let polled = Pin::new(&mut inner.incoming).poll_frame(cx);
        inner.progress = match &polled {
            Poll::Ready(None) => Progress::Ended,
            Poll::Ready(Some(_)) | Poll::Pending => Progress::Flowing,
        };
        polled.map(|frame| frame.map(|frame| frame.map(|frame| frame.into_data().unwrap_or_default())))
    }

    /// Reads a small rest that nobody wanted, and tells what the connection is good for.
    pub(super) async fn settle(&self, version: Version) -> Prospect {
        // Later versions end the one stream and keep the connection.
        if version >= Version::HTTP_2 {
            return Prospect::Reuse;
        }
        match self.progress() {
            Progress::Ended => Prospect::Reuse,
            Progress::Held => Prospect::Close,
            Progress::Flowing => {
                let limit = Duration::from_millis(DRAIN_TIMEOUT_MS);
                timeout(limit, self.drain()).await.unwrap_or(Prospect::Close)
            }
        }
    }

    async fn drain(&self) -> Prospect {
        let mut drained = 0;
        while drained <= DRAIN_MAX_BYTES {
            match std::future::poll_fn(|cx| self.poll_piece(cx)).await {
                Some(Ok(piece)) => drained += piece.len(),
                Some(Err(_)) => return Prospect::Close,
                None => return Prospect::Reuse,
            }
        }
        Prospect::Close
    }

    fn progress(&self) -> Progress {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A body of known length may have been read to its end without anybody having asked for more.
        if inner.incoming.is_end_stream() {
            Progress::Ended
        } else {
            inner.progress
        }
    }
}
