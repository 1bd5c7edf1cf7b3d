//! Bodies off the wire, and what was announced about them.

use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use hyper::header::{CONTENT_LENGTH, HeaderMap};
use tokio::time::{Sleep, sleep};

use super::auth::{Payload, Trailer};
use super::chunked::{self, Trailers};
use super::fault::{Code, Fault};
use super::headers;
use super::intake::Intake;
use crate::body::{Announced, Body, BodyError, ByteSource, Expected};
use crate::checksum::Algorithm;
use crate::object::PUT_MAX_BYTES;

/// The body of a request, not asked for yet.
pub(super) struct Arrival {
    pub(super) intake: Intake,
    pub(super) payload: Payload,
    /// How long the client may send nothing.
    pub(super) idle: Duration,
}

impl Arrival {
    /// A body whose length must be known, for objects and parts.
    pub(super) fn measured(self, headers: &HeaderMap) -> Result<Body, Fault> {
        let body = self.body(headers)?;
        match body.announced_size() {
            None => Err(Code::MissingContentLength.into()),
            Some(size) if size > PUT_MAX_BYTES => {
                let limit = PUT_MAX_BYTES.to_string();
                Err(Fault::new(Code::EntityTooLarge)
                    .field("ProposedSize", size.to_string())
                    .field("MaxSizeAllowed", limit))
            }
            Some(_) => Ok(body),
        }
    }

    /// A short body, read to its end: a document.
    pub(super) async fn document(self, headers: &HeaderMap, limit_bytes: u64) -> Result<Bytes, Fault> {
        let too_large =
            || Fault::new(Code::MaxMessageLengthExceeded).field("MaxMessageLengthBytes", limit_bytes.to_string());
        let body = self.body(headers)?;
        if body.announced_size().is_some_and(|size| size > limit_bytes) {
            return Err(too_large());
        }
        match body.collect(limit_bytes).await {
            Ok((bytes, _)) => Ok(bytes),
            Err(BodyError::TooLarge) => Err(too_large()),
            Err(error) => Err(error.into()),
        }
    }

    fn body(self, headers: &HeaderMap) -> Result<Body, Fault> {
        let wire: ByteSource = Box::pin(Wire {
            intake: self.intake,
            idle: self.idle,
            waiting: None,
        });
        let mut expected = Expected {
            size: number(headers, CONTENT_LENGTH.as_str())?,
            md5: headers::content_md5(headers)?,
            ..Expected::default()
        };
        let (source, trailers) = match self.payload {
            Payload::Unsigned => (wire, None),
            Payload::Hash(hash) => {
                expected.sha256 = Some(hash);
                (wire, None)
            }
            Payload::Chunks(signer, trailer) => {
                let size = number(headers, "x-amz-decoded-content-length")?;
                expected.size = Some(size.ok_or(Code::MissingContentLength)?);
                let (source, trailers) = chunked::decode(wire, signer, trailer);
                (source, (trailer == Trailer::Present).then_some(trailers))
            }
        };
        expected.checksum = announced(headers, trailers)?;
        Ok(Body::new(source, expected))
    }
}

/// The checksum that the client announces, in a header or in a trailer.
fn announced(headers: &HeaderMap, trailers: Option<Trailers>) -> Result<Option<(Algorithm, Announced)>, Fault> {
    if let Some(checksum) = headers::checksum(headers)? {
        return Ok(Some((checksum.algorithm(), Announced::Value(checksum))));
    }
    let named = headers::text(headers, "x-amz-trailer")?;
    let Some(name) = named else {
        return match headers::algorithm(headers, "x-amz-sdk-checksum-algorithm")? {
            Some(_) => Err(Fault::with(
                Code::InvalidRequest,
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers \
                 were found.",
            )),
            None => Ok(None),
        };
    };
    let algorithm = Algorithm::ALL
        .into_iter()
        .find(|algorithm| algorithm.header().eq_ignore_ascii_case(name.trim()));
    let unknown = || {
        Fault::with(
            Code::InvalidRequest,
            "The value specified in the x-amz-trailer header is not supported",
        )
    };
    let algorithm = algorithm.ok_or_else(unknown)?;
    let read = move || {
        let trailers = trailers?;
        let trailers = trailers.lock().unwrap_or_else(PoisonError::into_inner);
        trailers
            .iter()
            .find(|(name, _)| name == algorithm.header())
            .map(|(_, value)| value.clone())
    };
    Ok(Some((algorithm, Announced::Trailer(Box::new(read)))))
}

fn number(headers: &HeaderMap, name: &str) -> Result<Option<u64>, Fault> {
    let Some(text) = headers::text(headers, name)? else {
        return Ok(None);
    };
    let wrong = || Fault::argument(name, text, format!("The header {name} is not a length"));
    text.parse().map(Some).map_err(|_| wrong())
}

/// The bytes of a request, with a limit on silence.
struct Wire {
    intake: Intake,
    idle: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Stream for Wire {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.intake.poll_piece(cx) {
            Poll::Ready(piece) => {
                self.waiting = None;
                Poll::Ready(piece.map(|piece| piece.map_err(|error| broken(&error))))
            }
            Poll::Pending => {
                let idle = self.idle;
                let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(idle)));
                waiting.as_mut().poll(cx).map(|()| Some(Err(BodyError::TimedOut)))
            }
        }
    }
}

fn broken(error: &hyper::Error) -> BodyError {
    if error.is_incomplete_message() {
        BodyError::Incomplete
    } else {
        BodyError::Disconnected(error.to_string())
    }
}
