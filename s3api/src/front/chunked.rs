//! The `aws-chunked` coding: chunks with signatures, and trailers behind the last one.
//!
//! [`Decoder`] is fed with what comes off the wire and gives the bytes back without copying them. It keeps nothing of a
//! chunk but its running hash, so the size of a chunk does not matter. Bytes of a chunk are passed on before its signature
//! is checked; that is safe because a wrong signature becomes an error before the end of the body, and a store keeps
//! nothing of a body without an end.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use futures_core::Stream;
use sha2::{Digest as _, Sha256};

use super::auth::{ChunkSigner, Trailer};
use crate::body::{BodyError, ByteSource};

/// The longest line that announces a chunk: a length and a signature.
const CHUNK_LINE_MAX_BYTES: usize = 1024;
/// The most trailers, in bytes.
const TRAILERS_MAX_BYTES: usize = 16 << 10;

/// Trailers by their names in lower case; filled when the body has ended.
pub(super) type Trailers = Arc<Mutex<TrailerList>>;

type TrailerList = Vec<(String, String)>;

/// Takes the coding off a body. The trailers can be read once the source has ended.
pub(super) fn decode(source: ByteSource, signer: Option<ChunkSigner>, trailer: Trailer) -> (ByteSource, Trailers) {
    let trailers = Trailers::default();
    let decoder = Decoder::new(signer, trailer, Arc::clone(&trailers));
    (
        Box::pin(Decoded {
            source,
            decoder: Some(decoder),
            ready: VecDeque::new(),
        }),
        trailers,
    )
}

struct Decoded {
    source: ByteSource,
    /// Gone once the body has ended, well or badly.
    decoder: Option<Decoder>,
    ready: VecDeque<Bytes>,
}

impl Stream for Decoded {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(bytes)));
            }
            let Some(mut decoder) = self.decoder.take() else {
                return Poll::Ready(None);
            };
            match self.source.as_mut().poll_next(cx) {
                Poll::Pending => {
                    self.decoder = Some(decoder);
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(bytes))) => {
                    if let Err(error) = decoder.feed(bytes, &mut self.ready) {
                        self.ready.clear();
                        return Poll::Ready(Some(Err(error)));
                    }
                    self.decoder = Some(decoder);
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => return Poll::Ready(decoder.finish().err().map(Err)),
            }
        }
    }
}

/// Takes the coding off, piece by piece.
pub(super) struct Decoder {
    signer: Option<ChunkSigner>,
    trailer: Trailer,
    trailers: Trailers,
    state: State,
    /// The part of a line, or of the trailers, that has come so far.
    line: Vec<u8>,
}

enum State {
    /// Before or in the line that announces a chunk.
    Announcement,
    /// In the bytes of a chunk.
    Data { left: u64, signature: String, hash: Sha256 },
    /// Before the line end behind the bytes of a chunk.
    LineEnd,
    /// Behind the last chunk.
    Trailers,
}

impl Decoder {
    pub(super) fn new(signer: Option<ChunkSigner>, trailer: Trailer, trailers: Trailers) -> Decoder {
        Decoder {
            signer,
            trailer,
            trailers,
            state: State::Announcement,
            line: Vec::new(),
        }
    }

    /// Takes bytes off the wire and puts the bytes of the body into `out`.
    pub(super) fn feed(&mut self, mut bytes: Bytes, out: &mut VecDeque<Bytes>) -> Result<(), BodyError> {
        while !bytes.is_empty() {
            match &mut self.state {
                State::Announcement => {
                    if let Some(line) = self.take_line(&mut bytes)? {
                        self.announce(&line)?;
                    }
                }
                State::Data { left, hash, .. } => {
                    let len = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    let data = bytes.split_to(len);
                    if self.signer.is_some() {
                        hash.update(&data);
                    }
                    *left -= len as u64;
                    out.push_back(data);
                    self.end_data()?;
                }
                State::LineEnd => {
                    if let Some(line) = self.take_line(&mut bytes)? {
                        if !line.is_empty() {
                            return Err(malformed("a chunk is longer than announced"));
                        }
                        self.state = State::Announcement;
                    }
                }
                State::Trailers => {
                    if self.line.len() + bytes.len() > TRAILERS_MAX_BYTES {
                        return Err(malformed("the trailers are too long"));
                    }
                    self.line.extend_from_slice(&bytes);
                    bytes.clear();
                }
            }
        }
        Ok(())
    }

    /// The rest of the current line, without its end, once it is complete.
    fn take_line(&mut self, bytes: &mut Bytes) -> Result<Option<Vec<u8>>, BodyError> {
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let taken = end.map_or(bytes.len(), |end| end + 1);
        if self.line.len() + taken > CHUNK_LINE_MAX_BYTES {
            return Err(malformed("the announcement of a chunk is too long"));
        }
        self.line.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        bytes.advance(taken);
        if end.is_none() {
            return Ok(None);
        }
        let line = std::mem::take(&mut self.line);
        line.strip_suffix(b"\r\n")
            .map(|line| Some(line.to_vec()))
            .ok_or_else(|| malformed("a line has no proper end"))
    }

    fn announce(&mut self, line: &[u8]) -> Result<(), BodyError> {
        let wrong = || malformed("the announcement of a chunk cannot be read");
        let line = std::str::from_utf8(line).map_err(|_| wrong())?;
        let (len, extension) = line.split_once(';').unwrap_or((line, ""));
        let digits = !len.is_empty() && len.bytes().all(|byte| byte.is_ascii_hexdigit());
        let left = u64::from_str_radix(len, 16).ok().filter(|_| digits).ok_or_else(wrong)?;
        let signature = extension
            .strip_prefix("chunk-signature=")
            .unwrap_or_default()
            .to_owned();
        if self.signer.is_some() && signature.is_empty() {
            return Err(malformed("a chunk has no signature"));
        }
        self.state = State::Data {
            left,
            signature,
            hash: Sha256::new(),
        };
        if left == 0 {
            self.check()?;
            self.state = State::Trailers;
        }
        Ok(())
    }

    fn end_data(&mut self) -> Result<(), BodyError> {
        if matches!(self.state, State::Data { left: 0, .. }) {
            self.check()?;
            self.state = State::LineEnd;
        }
        Ok(())
    }

    /// Checks the signature of the chunk that has just ended.
    fn check(&mut self) -> Result<(), BodyError> {
        match (&mut self.signer, &self.state) {
            (Some(signer), State::Data { signature, hash, .. }) => {
                let good = signer.check_chunk(hash.clone().finalize().into(), signature);
                if good {
                    Ok(())
                } else {
                    Err(BodyError::ChunkSignatureMismatch)
                }
            }
            (None, _) | (_, State::Announcement | State::LineEnd | State::Trailers) => Ok(()),
        }
    }

    /// The wire has ended: reads the trailers and checks that nothing is missing.
    pub(super) fn finish(mut self) -> Result<(), BodyError> {
        if !matches!(self.state, State::Trailers) {
            return Err(BodyError::Incomplete);
        }
        let text = std::str::from_utf8(&self.line).map_err(|_| malformed("the trailers are not text"))?;
        let mut found = Vec::new();
        for line in text
            .split('\n')
            .map(|line| line.trim_end_matches('\r'))
            .filter(|line| !line.is_empty())
        {
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| malformed("a trailer has no value"))?;
            found.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
        if self.trailer == Trailer::Absent && !found.is_empty() {
            return Err(malformed("there are trailers that were not announced"));
        }
        self.check_trailers(&mut found)?;
        *self.trailers.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = found;
        Ok(())
    }

    fn check_trailers(&mut self, found: &mut TrailerList) -> Result<(), BodyError> {
        let Some(signer) = self.signer.as_mut().filter(|_| self.trailer == Trailer::Present) else {
            return Ok(());
        };
        let place = found.iter().position(|(name, _)| name == "x-amz-trailer-signature");
        let (_, signature) = place
            .map(|place| found.remove(place))
            .ok_or_else(|| malformed("the trailers are not signed"))?;
        let canonical: String = found.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        if signer.check_trailer(&canonical, &signature) {
            Ok(())
        } else {
            Err(BodyError::ChunkSignatureMismatch)
        }
    }
}

fn malformed(text: &str) -> BodyError {
    BodyError::Malformed(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `wire`, cut into pieces of `step` bytes.
    fn decode_in_steps(wire: &[u8], step: usize, trailer: Trailer) -> Result<(Vec<u8>, TrailerList), BodyError> {
        let trailers = Trailers::default();
        let mut decoder = Decoder::new(None, trailer, Arc::clone(&trailers));
        let mut out = VecDeque::new();
        for piece in wire.chunks(step) {
            decoder.feed(Bytes::copy_from_slice(piece), &mut out)?;
        }
        decoder.finish()?;
        let trailers = trailers.lock().unwrap().clone();
        Ok((out.into_iter().flatten().collect(), trailers))
    }

    #[test]
    fn chunks_and_trailers_come_apart_however_they_are_cut() {
        let wire = b"5\r\nhello\r\nA;x=y\r\n, trellis!\r\n0\r\nX-Amz-Checksum-Crc32: AAAAAA==\r\n\r\n";
        for step in 1..=wire.len() {
            let (body, trailers) = decode_in_steps(wire, step, Trailer::Present).unwrap();
            assert_eq!(body, b"hello, trellis!");
            assert_eq!(trailers, [("x-amz-checksum-crc32".to_owned(), "AAAAAA==".to_owned())]);
        }
        assert_eq!(
            decode_in_steps(b"0\r\n\r\n", 3, Trailer::Present).unwrap(),
            (vec![], vec![])
        );
    }

    #[test]
    fn truncated_bodies_are_incomplete() {
        let wire = b"5\r\nhello\r\n0\r\n\r\n";
        for len in 0..12 {
            let result = decode_in_steps(&wire[..len], 4, Trailer::Absent);
            assert_eq!(result, Err(BodyError::Incomplete), "first {len} bytes");
        }
    }

    #[test]
    fn odd_chunks_are_malformed() {
        let long = vec![b'1'; 5000];
        let cases: [&[u8]; 11] = [
            b"\r\n",
            b"g\r\n",
            b"-1\r\n",
            b"+5\r\nhello\r\n",
            b"5\nhello\r\n",
            b"5\r\nhello!\r\n",
            b"5 \r\nhello\r\n",
            &long,
            b"ffffffffffffffffff\r\n",
            b"0\r\nx:y\r\n\r\n",
            b"0\r\nnothing\r\n",
        ];
        for wire in cases {
            let result = decode_in_steps(wire, 7, Trailer::Absent);
            assert!(
                matches!(result, Err(BodyError::Malformed(_))),
                "{:?}: {result:?}",
                String::from_utf8_lossy(wire)
            );
        }
    }
}
