//! Doors for those who feed arbitrary bytes to this crate's readers (`verification/src/fuzz`).
//!
//! Whatever the bytes are, a reader gives a value or an error, and a value that is written again is read as the same. A
//! door panics if that is not so. The doors are in every build: behind a feature, the whole node would be compiled once more
//! for the tests that go through them.

use std::fmt::Debug;
use std::path::Path;

use bytes::{Buf, Bytes};
use clap::Parser;
use serde::Serialize;
use serde::de::DeserializeOwned;
use trellis_spec::peer::{Answer, Envelope};

use crate::cli::Cli;
use crate::cluster::tidings::{Question, Told};
use crate::cluster::{decode, encode};
use crate::config::Config;
use crate::link::Lane;
use crate::link::frame::{Batch, Frame, HEADER_BYTES, Header};
use crate::storage::Change;
use crate::storage::log::format::{
    GROUP_HEADER_BYTES, GroupHeader, GroupKind, SegmentHeader, decode_payload, encode_batch,
};

/// Bytes as they come off a connection: one frame behind the other. The first byte chooses the lane.
pub fn frames(data: &[u8]) {
    let Some((lane, data)) = data.split_first() else {
        return;
    };
    let lane = if lane % 2 == 0 { Lane::Control } else { Lane::Bulk };
    let mut rest = Bytes::copy_from_slice(data);
    while let Some((frame, taken)) = next_frame(&rest, lane) {
        let mut batch = Batch::default();
        batch.push(frame);
        let mut batch = batch.seal();
        assert_eq!(batch.copy_to_bytes(batch.len()), rest.split_to(taken));
    }
}

fn next_frame(bytes: &Bytes, lane: Lane) -> Option<(Frame, usize)> {
    let header = Header::decode(bytes.first_chunk::<HEADER_BYTES>()?, lane).ok()?;
    let taken = HEADER_BYTES + header.payload_bytes();
    let payload = bytes.get(HEADER_BYTES..taken)?;
    Some((header.complete(bytes.slice_ref(payload)).ok()?, taken))
}

/// What a peer asks: about rows and blocks, or about layouts.
pub fn questions(data: &[u8]) {
    comes_back::<Envelope>(data);
    comes_back::<Question>(data);
}

/// What a peer answers to either.
pub fn answers(data: &[u8]) {
    comes_back::<Answer>(data);
    comes_back::<Told>(data);
}

/// A value of the wire or of a row.
pub fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(data: &[u8]) {
    if let Ok(value) = decode::<T>(data) {
        assert_eq!(decode::<T>(&encode(&value)).as_ref(), Ok(&value));
    }
}

/// A piece of a commit log: the header of a segment, of a group, and a payload. The first byte is the number of batches.
pub fn log(data: &[u8]) {
    if let Ok(header) = SegmentHeader::decode(data) {
        assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
    }
    let salt = data.first_chunk().copied().unwrap_or_default();
    for group in data.windows(GROUP_HEADER_BYTES) {
        if let Some(header) = GroupHeader::decode(group, &salt) {
            assert!(header.last() >= header.first.saturating_sub(1));
            assert_eq!(GroupHeader::decode(&header.encode(&salt), &salt), Some(header));
        }
    }
    let Some((batches, payload)) = data.split_first() else {
        return;
    };
    if let Some(rows) = decode_payload(&Bytes::copy_from_slice(payload), (*batches).into()) {
        let batch = rows.into_iter().map(|row| (row.key, row.change)).collect();
        let mut again = Vec::new();
        encode_batch(&batch, &mut again);
        let read = decode_payload(&again.into(), 1).expect("what was just written is read");
        assert_eq!(
            batch,
            read.into_iter().map(|row| (row.key, row.change)).collect::<Vec<_>>()
        );
    }
}

/// A configuration file.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match Config::parse(&text, Path::new("trellis.toml")) {
        Ok(config) => {
            let layout = config.initial_layout.layout().ok();
            assert!(layout.is_some_and(|layout| layout.check(None).is_ok()));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A command line, one word in each line.
pub fn arguments(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Err(error) = Cli::try_parse_from(std::iter::once("trellis").chain(text.lines())) {
        assert!(!error.to_string().is_empty());
    }
}

/// Pieces of logs as they are written.
pub fn logs() -> Vec<Vec<u8>> {
    let salt = [7; 16];
    let header = SegmentHeader {
        segment: 3,
        salt,
        starts: 2,
        first: 9,
    };
    let put = |key: &'static [u8], value: Vec<u8>| (Bytes::from_static(key), Change::Put(value.into()));
    let batch = vec![
        put(b"a", vec![1; 3]),
        (Bytes::from_static(b"b"), Change::Remove),
        put(b"", vec![2; 300]),
    ];
    let mut payload = Vec::new();
    encode_batch(&batch, &mut payload);
    let group = GroupHeader {
        first: 9,
        kind: GroupKind::Rows { batches: 1 },
        payload_bytes: payload.len() as u32,
        payload_sum: 0,
    };
    let group = [salt.as_slice(), &group.encode(&salt), &payload].concat();
    vec![header.encode().to_vec(), group, [&[1], payload.as_slice()].concat()]
}
