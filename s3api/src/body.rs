//! The incoming body of a write: a stream that is hashed as it passes and ends in a proof or an error.
//!
//! The front door wraps what arrives on the wire in a [`Body`]. A store pulls it piece by piece, at its own speed:
//! nothing is read from the socket that nobody asked for. Length, MD5, checksums, payload hash and chunk signatures are
//! verified *before* the end is reported: a body that is cut short or altered yields an error in place of
//! [`Piece::End`]. A store that commits only on [`Piece::End`] therefore stores nothing that was not sent, and it
//! has no other way to come by the [`Digests`] that a commit needs.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use md5::Digest as _;

use crate::checksum::{Algorithm, Checksum, Digests, Hasher};
use crate::error::StoreError;
use crate::store::ByteStream;

/// Bytes as they come off the wire, with the framing of the transfer removed.
pub type ByteSource = Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>;

/// The incoming body of a write.
pub struct Body {
    source: ByteSource,
    expected: Expected,
    received: u64,
    md5: md5::Md5,
    sha256: Option<sha2::Sha256>,
    hashers: Vec<Hasher>,
}

/// What the client announced about its body.
#[derive(Default)]
pub struct Expected {
    /// `Content-Length`, or `x-amz-decoded-content-length`.
    pub size: Option<u64>,
    /// `Content-MD5`.
    pub md5: Option<[u8; 16]>,
    /// The signed SHA-256, `x-amz-content-sha256`.
    pub sha256: Option<[u8; 32]>,
    /// The checksum algorithm and where its value is found.
    pub checksum: Option<(Algorithm, Announced)>,
}

/// Where the value of the announced checksum is found.
pub enum Announced {
    /// Nowhere: the client asks for the algorithm and leaves the computation to us.
    Nothing,
    /// In a header.
    Value(Checksum),
    /// In a trailer, which can be read once the source has ended.
    Trailer(TrailerReader),
}

/// Reads the text of the announced trailer after the end of the source; `None` if it did not come.
pub type TrailerReader = Box<dyn FnOnce() -> Option<String> + Send>;

/// What [`Body::next`] yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// The next bytes, at least one.
    Data(Bytes),
    /// The clean end: everything announced was verified.
    End(Digests),
}

/// Why a body did not end cleanly. In every case the store keeps nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It ended before its announced length.
    #[error("the body ended before its announced length")]
    Incomplete,
    /// It is longer than announced.
    #[error("the body is longer than announced")]
    TooLong,
    /// It is larger than one request may be.
    #[error("the body is larger than allowed")]
    TooLarge,
    /// Its MD5 is not the announced one.
    #[error("the Content-MD5 you specified did not match what we received")]
    Md5Mismatch,
    /// Its checksum is not the announced one.
    #[error("the {name} you specified did not match the calculated checksum", name = .0.name())]
    ChecksumMismatch(Algorithm),
    /// Its SHA-256 is not the signed one.
    #[error("the provided 'x-amz-content-sha256' header does not match what was computed")]
    PayloadHashMismatch,
    /// A chunk does not bear the right signature.
    #[error("the signature of a chunk does not match")]
    ChunkSignatureMismatch,
    /// The chunk framing or the trailers cannot be read.
    #[error("the chunked body is malformed: {0}")]
    Malformed(String),
    /// The client went silent for too long.
    #[error("the client sent nothing for too long")]
    TimedOut,
    /// The object that is copied cannot be read to its end.
    #[error("the source of the copy cannot be read: {0}")]
    Source(String),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Disconnected(String),
}

impl Body {
    /// A body from the wire.
    pub fn new(source: ByteSource, expected: Expected) -> Body {
        let algorithm = expected
            .checksum
            .as_ref()
            .map_or(Algorithm::Crc64Nvme, |(algorithm, _)| *algorithm);
        let sha256 = expected.sha256.map(|_| sha2::Sha256::new());
        Body {
            source,
            expected,
            received: 0,
            md5: md5::Md5::new(),
            sha256,
            hashers: vec![algorithm.hasher()],
        }
    }

    /// A body from memory, for tests and for what a store writes on its own.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Body {
        let bytes = bytes.into();
        let size = bytes.len() as u64;
        Body::from_stream(stream_of([bytes]), size)
    }

    /// A body from an object of a store, `size` bytes long.
    pub fn from_stream(stream: ByteStream, size: u64) -> Body {
        let expected = Expected {
            size: Some(size),
            ..Expected::default()
        };
        Body::new(Box::pin(FromStore(stream)), expected)
    }

    /// The same body with a checksum that nobody announced a value for.
    #[must_use]
    pub fn asking_for(self, algorithm: Option<Algorithm>) -> Body {
        let checksum = algorithm.map(|algorithm| (algorithm, Announced::Nothing));
        Body::new(
            self.source,
            Expected {
                checksum,
                ..self.expected
            },
        )
    }

    /// The length that the client announced. A store may refuse early by it; the end verifies it.
    pub fn announced_size(&self) -> Option<u64> {
        self.expected.size
    }

    /// The algorithm that the client named, if it named one.
    pub fn announced_algorithm(&self) -> Option<Algorithm> {
        self.expected.checksum.as_ref().map(|(algorithm, _)| *algorithm)
    }

    /// Asks for one more checksum; only sensible before the first piece.
    pub fn also_compute(&mut self, algorithm: Algorithm) {
        if self.hashers.iter().all(|hasher| hasher.algorithm() != algorithm) {
            self.hashers.push(algorithm.hasher());
        }
    }

    /// The next piece. After [`Piece::End`] or an error the body is used up.
    pub async fn next(&mut self) -> Result<Piece, BodyError> {
        loop {
            match poll_fn(|cx| self.source.as_mut().poll_next(cx)).await {
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) => return self.take(bytes).map(Piece::Data),
                Some(Err(error)) => return Err(error),
                None => return self.finish().map(Piece::End),
            }
        }
    }

    /// Reads the whole body into memory, at most `limit_bytes`.
    pub async fn collect(mut self, limit_bytes: u64) -> Result<(Bytes, Digests), BodyError> {
        let mut pieces = Vec::new();
        loop {
            match self.next().await? {
                Piece::Data(_) if self.received > limit_bytes => return Err(BodyError::TooLarge),
                Piece::Data(bytes) => pieces.push(bytes),
                Piece::End(digests) => return Ok((concat(pieces), digests)),
            }
        }
    }

    fn take(&mut self, bytes: Bytes) -> Result<Bytes, BodyError> {
        self.received += bytes.len() as u64;
        if self.expected.size.is_some_and(|size| self.received > size) {
            return Err(BodyError::TooLong);
        }
        self.md5.update(&bytes);
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(&bytes);
        }
        self.hashers.iter_mut().for_each(|hasher| hasher.update(&bytes));
        Ok(bytes)
    }

    fn finish(&mut self) -> Result<Digests, BodyError> {
        let size = self.received;
        if self.expected.size.is_some_and(|expected| expected != size) {
            return Err(BodyError::Incomplete);
        }
        let sha256 = self.sha256.take().map(|sha256| sha256.finalize().into());
        if self.expected.sha256 != sha256 {
            return Err(BodyError::PayloadHashMismatch);
        }
        let md5: [u8; 16] = std::mem::take(&mut self.md5).finalize().into();
        if self.expected.md5.is_some_and(|expected| expected != md5) {
            return Err(BodyError::Md5Mismatch);
        }
        let checksums = std::mem::take(&mut self.hashers)
            .into_iter()
            .map(Hasher::finish)
            .collect();
        let digests = Digests { size, md5, checksums };
        self.verify_checksum(&digests)?;
        Ok(digests)
    }

    fn verify_checksum(&mut self, digests: &Digests) -> Result<(), BodyError> {
        let Some((algorithm, announced)) = self.expected.checksum.take() else {
            return Ok(());
        };
        let expected = match announced {
            Announced::Nothing => return Ok(()),
            Announced::Value(value) => value,
            Announced::Trailer(read) => read_trailer(algorithm, read)?,
        };
        if digests.checksum(algorithm) == Some(expected) {
            Ok(())
        } else {
            Err(BodyError::ChecksumMismatch(algorithm))
        }
    }
}

fn read_trailer(algorithm: Algorithm, read: TrailerReader) -> Result<Checksum, BodyError> {
    let text = read().ok_or_else(|| BodyError::Malformed(format!("the trailer {} is missing", algorithm.header())))?;
    Checksum::from_base64(algorithm, text.trim())
        .ok_or_else(|| BodyError::Malformed(format!("the trailer {} is not a checksum", algorithm.header())))
}

fn concat(pieces: Vec<Bytes>) -> Bytes {
    match <[Bytes; 1]>::try_from(pieces) {
        Ok([only]) => only,
        Err(pieces) => pieces.concat().into(),
    }
}

/// A stream of pieces that are in memory.
pub fn stream_of(pieces: impl IntoIterator<Item = Bytes>) -> ByteStream {
    Box::pin(Pieces(pieces.into_iter().collect()))
}

struct Pieces(VecDeque<Bytes>);

impl Stream for Pieces {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

struct FromStore(ByteStream);

impl Stream for FromStore {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0
            .as_mut()
            .poll_next(cx)
            .map_err(|error| BodyError::Source(error.to_string()))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("announced", &self.expected.size)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn drain(expected: Expected, bytes: &'static [u8]) -> Result<Digests, BodyError> {
        let source = Box::pin(FromStore(stream_of([Bytes::from_static(bytes)])));
        let body = Body::new(source, expected);
        body.collect(1 << 20).await.map(|(_, digests)| digests)
    }

    #[tokio::test]
    async fn a_clean_end_gives_digests() {
        let digests = drain(Expected::default(), b"hello").await.unwrap();
        assert_eq!(digests.size, 5);
        assert_eq!(digests.etag().as_str(), "5d41402abc4b2a76b9719d911017c592");
        let crc = Checksum::of(Algorithm::Crc64Nvme, b"hello");
        assert_eq!(digests.object_checksum().map(|checksum| checksum.value), Some(crc));
    }

    #[tokio::test]
    async fn what_was_announced_must_be_true() {
        let size = |size| Expected {
            size: Some(size),
            ..Expected::default()
        };
        let checksum = |announced| Expected {
            checksum: Some((Algorithm::Sha1, announced)),
            ..Expected::default()
        };
        let good = Checksum::of(Algorithm::Sha1, b"hello");
        let bad = Checksum::of(Algorithm::Sha1, b"hallo");
        let trailer = |text: Option<String>| Announced::Trailer(Box::new(move || text));
        assert_eq!(drain(size(6), b"hello").await, Err(BodyError::Incomplete));
        assert_eq!(drain(size(4), b"hello").await, Err(BodyError::TooLong));
        let md5 = Expected {
            md5: Some([0; 16]),
            ..Expected::default()
        };
        assert_eq!(drain(md5, b"hello").await, Err(BodyError::Md5Mismatch));
        assert!(drain(checksum(Announced::Nothing), b"hello").await.is_ok());
        assert!(drain(checksum(Announced::Value(good)), b"hello").await.is_ok());
        assert!(drain(checksum(trailer(Some(good.to_base64()))), b"hello").await.is_ok());
        let mismatch = Err(BodyError::ChecksumMismatch(Algorithm::Sha1));
        assert_eq!(drain(checksum(Announced::Value(bad)), b"hello").await, mismatch);
        assert_eq!(
            drain(checksum(trailer(Some(bad.to_base64()))), b"hello").await,
            mismatch
        );
        let missing = drain(checksum(trailer(None)), b"hello").await;
        assert!(matches!(missing, Err(BodyError::Malformed(_))), "{missing:?}");
    }
}
