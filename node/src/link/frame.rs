//! Frames: what follows the handshake on a connection.
//!
//! A frame is a header of [`HEADER_BYTES`] (kind, number, length of the head, length of the body; little endian), the head
//! and the body. A request's number is chosen by the side that asks and comes back with the answer, in any order.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Lane, Message};

pub(crate) const HEADER_BYTES: usize = 1 + 8 + 4 + 4;

/// Parts up to this size are copied into the buffer that frames are gathered in; greater ones are sent from where they lie.
const GATHERED_PART_MAX_BYTES: usize = 4 * 1024;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A request.
    Request { number: u64, message: Message },
    /// The answer to a request.
    Reply { number: u64, message: Message },
    /// The answer to a request is over the lane's limit.
    TooLarge { number: u64, bytes: u64 },
    /// No answer to a request will come.
    Failed { number: u64 },
    /// The other side lives; it should return the number.
    Ping { number: u64 },
    /// A ping's number.
    Pong { number: u64 },
}

/// The other side broke the protocol; the connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("a frame of unknown kind {0}")]
    UnknownKind(u8),
    #[error("a frame of {bytes} bytes, over the limit of {limit}")]
    Oversize { bytes: u64, limit: usize },
    #[error("a frame whose parts do not fit its kind")]
    Malformed,
    #[error("more in flight than the lane allows")]
    WindowExceeded,
    #[error("an answer to nothing")]
    UnknownNumber,
    #[error("a frame that does not go in this direction")]
    WrongDirection,
}

/// The first bytes of a frame, checked against the limits of its lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    kind: u8,
    number: u64,
    head_bytes: usize,
    body_bytes: usize,
}

impl Header {
    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES], lane: Lane) -> Result<Self, Violation> {
        let mut bytes = bytes.as_slice();
        let (kind, number, head, body) = (
            bytes.get_u8(),
            bytes.get_u64_le(),
            bytes.get_u32_le(),
            bytes.get_u32_le(),
        );
        if !(REQUEST..=PONG).contains(&kind) {
            return Err(Violation::UnknownKind(kind));
        }
        let (total, limit) = (u64::from(head) + u64::from(body), lane.message_max_bytes());
        if total > limit as u64 {
            return Err(Violation::Oversize { bytes: total, limit });
        }
        Ok(Self {
            kind,
            number,
            head_bytes: head as usize,
            body_bytes: body as usize,
        })
    }

    /// How many bytes follow.
    pub(crate) fn payload_bytes(&self) -> usize {
        self.head_bytes + self.body_bytes
    }

    /// The frame, given the bytes that follow; they are split, not copied.
    pub(crate) fn complete(self, mut payload: Bytes) -> Result<Frame, Violation> {
        let Self {
            kind,
            number,
            head_bytes,
            body_bytes,
        } = self;
        let head = payload.split_to(head_bytes);
        match (kind, head_bytes, body_bytes) {
            (REQUEST, _, _) => Ok(Frame::Request {
                number,
                message: Message { head, body: payload },
            }),
            (REPLY, _, _) => Ok(Frame::Reply {
                number,
                message: Message { head, body: payload },
            }),
            (TOO_LARGE, 8, 0) => Ok(Frame::TooLarge {
                number,
                bytes: (&head[..]).get_u64_le(),
            }),
            (FAILED, 0, 0) => Ok(Frame::Failed { number }),
            (PING, 0, 0) => Ok(Frame::Ping { number }),
            (PONG, 0, 0) => Ok(Frame::Pong { number }),
            (_, _, _) => Err(Violation::Malformed),
        }
    }
}

const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const TOO_LARGE: u8 = 3;
const FAILED: u8 = 4;
const PING: u8 = 5;
const PONG: u8 = 6;

/// Encoded frames on their way to the socket.
#[derive(Default)]
pub(crate) struct Batch {
    chunks: VecDeque<Bytes>,
    gathered: BytesMut,
    bytes: usize,
}

impl Batch {
    /// Adds a frame at the end.
    pub(crate) fn push(&mut self, frame: Frame) {
        match frame {
            Frame::Request { number, message } => self.push_message(REQUEST, number, message),
            Frame::Reply { number, message } => self.push_message(REPLY, number, message),
            Frame::TooLarge { number, bytes } => {
                self.push_header(TOO_LARGE, number, 8, 0);
                self.gathered.put_u64_le(bytes);
                self.bytes += 8;
            }
            Frame::Failed { number } => self.push_header(FAILED, number, 0, 0),
            Frame::Ping { number } => self.push_header(PING, number, 0, 0),
            Frame::Pong { number } => self.push_header(PONG, number, 0, 0),
        }
    }

    /// Nothing can be added after this; everything is in the chunks.
    pub(crate) fn seal(mut self) -> Self {
        self.end_gathered();
        self
    }

    /// Bytes that are left to write.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    fn push_message(&mut self, kind: u8, number: u64, message: Message) {
        self.push_header(kind, number, message.head.len(), message.body.len());
        self.push_part(message.head);
        self.push_part(message.body);
    }

    fn push_header(&mut self, kind: u8, number: u64, head_bytes: usize, body_bytes: usize) {
        let length = |bytes| u32::try_from(bytes).expect("messages over the lane's limit were refused before");
        self.gathered.reserve(HEADER_BYTES);
        self.gathered.put_u8(kind);
        self.gathered.put_u64_le(number);
        self.gathered.put_u32_le(length(head_bytes));
        self.gathered.put_u32_le(length(body_bytes));
        self.bytes += HEADER_BYTES;
    }

    fn push_part(&mut self, part: Bytes) {
        self.bytes += part.len();
        if part.len() <= GATHERED_PART_MAX_BYTES {
            self.gathered.extend_from_slice(&part);
        } else {
            self.end_gathered();
            self.chunks.push_back(part);
        }
    }

    fn end_gathered(&mut self) {
        if !self.gathered.is_empty() {
            self.chunks.push_back(self.gathered.split().freeze());
        }
    }
}

impl Buf for Batch {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.chunks.front().map_or(&[], |chunk| chunk)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.len().min(self.chunks.len());
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(chunk);
        }
        filled
    }

    fn advance(&mut self, mut bytes: usize) {
        self.bytes -= bytes;
        while let Some(chunk) = self.chunks.front_mut() {
            if bytes < chunk.len() {
                chunk.advance(bytes);
                return;
            }
            bytes -= chunk.len();
            self.chunks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(head: usize, body: usize) -> Message {
        Message {
            head: vec![1; head].into(),
            body: vec![2; body].into(),
        }
    }

    fn examples() -> Vec<Frame> {
        vec![
            Frame::Request {
                number: 1,
                message: message(10, 0),
            },
            Frame::Reply {
                number: u64::MAX,
                message: message(0, 100_000),
            },
            Frame::Request {
                number: 2,
                message: message(5_000, 3),
            },
            Frame::TooLarge {
                number: 3,
                bytes: 1 << 40,
            },
            Frame::Failed { number: 4 },
            Frame::Ping { number: 5 },
            Frame::Pong { number: 6 },
            Frame::Request {
                number: 7,
                message: message(0, 0),
            },
        ]
    }

    fn encode(frames: Vec<Frame>) -> Batch {
        let mut batch = Batch::default();
        frames.into_iter().for_each(|frame| batch.push(frame));
        batch.seal()
    }

    fn decode(mut bytes: Bytes) -> Vec<Frame> {
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            let header = bytes.split_to(HEADER_BYTES);
            let header = Header::decode(header.as_ref().try_into().unwrap(), Lane::Control).unwrap();
            frames.push(header.complete(bytes.split_to(header.payload_bytes())).unwrap());
        }
        frames
    }

    #[test]
    fn what_is_encoded_is_what_is_decoded_however_it_is_cut() {
        for step in [1, 7, 4096, usize::MAX] {
            let mut batch = encode(examples());
            let mut bytes = BytesMut::new();
            while batch.has_remaining() {
                let piece = step.min(batch.chunk().len());
                bytes.put_slice(&batch.chunk()[..piece]);
                batch.advance(piece);
            }
            assert_eq!(decode(bytes.freeze()), examples());
        }
        assert_eq!(
            decode(encode(examples()).copy_to_bytes(encode(examples()).len())),
            examples()
        );
    }

    #[test]
    fn a_great_body_is_sent_from_where_it_lies_and_small_frames_as_one_piece() {
        let body = Bytes::from(vec![3; 1 << 20]);
        let address = body.as_ptr();
        let request = Frame::Request {
            number: 1,
            message: Message {
                head: Bytes::new(),
                body,
            },
        };
        let batch = encode(vec![
            Frame::Ping { number: 1 },
            Frame::Ping { number: 2 },
            request,
            Frame::Failed { number: 3 },
        ]);
        let mut slices = [IoSlice::new(&[]); 8];
        assert_eq!(batch.chunks_vectored(&mut slices), 3);
        assert_eq!(slices[0].len(), 3 * HEADER_BYTES);
        assert_eq!(slices[1].as_ptr(), address);
    }

    #[test]
    fn what_breaks_the_protocol_is_named() {
        let header = |kind: u8, head: u32, body: u32| {
            let mut bytes = [0; HEADER_BYTES];
            bytes[0] = kind;
            bytes[9..13].copy_from_slice(&head.to_le_bytes());
            bytes[13..].copy_from_slice(&body.to_le_bytes());
            Header::decode(&bytes, Lane::Control)
        };
        assert_eq!(header(0, 0, 0).unwrap_err(), Violation::UnknownKind(0));
        assert_eq!(header(7, 0, 0).unwrap_err(), Violation::UnknownKind(7));
        let limit = Lane::Control.message_max_bytes();
        assert_eq!(
            header(1, 1 << 20, 1).unwrap_err(),
            Violation::Oversize {
                bytes: (1 << 20) + 1,
                limit
            }
        );
        let greatest = 2 * u64::from(u32::MAX);
        assert_eq!(
            header(1, u32::MAX, u32::MAX).unwrap_err(),
            Violation::Oversize { bytes: greatest, limit }
        );
        assert!(header(1, 1 << 19, 1 << 19).is_ok());
        for (kind, head, body) in [
            (TOO_LARGE, 7, 0),
            (TOO_LARGE, 8, 1),
            (FAILED, 1, 0),
            (PING, 0, 1),
            (PONG, 1, 1),
        ] {
            let header = header(kind, head, body).unwrap();
            let payload = Bytes::from(vec![0; header.payload_bytes()]);
            assert_eq!(header.complete(payload), Err(Violation::Malformed));
        }
    }
}
