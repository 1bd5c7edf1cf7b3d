//! How the commit log looks on disk.
//!
//! A segment is a header and then groups. A *group* is what one append writes and one `fdatasync` makes durable: a
//! header and a payload of batches, each a list of rows. Because the next group is written only after that, a whole
//! group proves that all before it were durable; at most the last one of the log can be torn. A seal behind the last
//! one gives that proof too when there is nothing more to write.
//!
//! Every segment draws a salt that enters the checksum of its group headers. Bodies are chosen by strangers; without
//! the salt one of them could contain what looks like a group, and a torn tail would be taken for damage.
//!
//! All numbers are little-endian.

use bytes::Bytes;
use crc32fast::Hasher;

use crate::storage::rows::{Batch, Change};

/// The segment format that this program writes, and the newest that it reads.
pub(crate) const SEGMENT_FORMAT: u32 = 1;
pub(crate) const SEGMENT_HEADER_BYTES: usize = 64;
pub(crate) const GROUP_HEADER_BYTES: usize = 36;
/// A row record without key and value.
const ROW_HEADER_BYTES: usize = 12;

const SEGMENT_MAGIC: [u8; 8] = *b"trellisL";
pub(crate) const GROUP_MAGIC: [u8; 4] = *b"TGrp";
/// The value length of a row that says "removed".
const REMOVED: u32 = u32::MAX;

/// The first bytes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) segment: u64,
    pub(crate) salt: [u8; 16],
    /// Starts of the store when the segment was made.
    pub(crate) starts: u64,
    /// Position of the first batch that may be in it.
    pub(crate) first: u64,
}

/// Why the first bytes of a segment are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadHeader {
    /// Not what was written; normal only for a segment that was being made when the power went.
    Torn,
    /// A newer program wrote it.
    Newer(u32),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&SEGMENT_FORMAT.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.segment.to_le_bytes());
        bytes[20..36].copy_from_slice(&self.salt);
        bytes[36..44].copy_from_slice(&self.starts.to_le_bytes());
        bytes[44..52].copy_from_slice(&self.first.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        let mut reader = Reader(bytes.get(..SEGMENT_HEADER_BYTES).ok_or(BadHeader::Torn)?);
        // The format comes before the checksum: a newer program may sum differently.
        let magic = reader.array().ok_or(BadHeader::Torn)?;
        let format = reader.u32().ok_or(BadHeader::Torn)?;
        if magic == SEGMENT_MAGIC && format > SEGMENT_FORMAT {
            return Err(BadHeader::Newer(format));
        }
        let sum = u32::from_le_bytes(bytes[60..64].try_into().map_err(|_| BadHeader::Torn)?);
        if magic != SEGMENT_MAGIC || crc32fast::hash(&bytes[..60]) != sum {
            return Err(BadHeader::Torn);
        }
        Self::read(&mut reader).ok_or(BadHeader::Torn)
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            segment: reader.u64()?,
            salt: reader.array()?,
            starts: reader.u64()?,
            first: reader.u64()?,
        })
    }
}

/// What a group holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GroupKind {
    /// `batches` batches of rows, at consecutive positions.
    Rows {
        /// How many.
        batches: u32,
    },
    /// The store was opened; takes one position and has no payload.
    Start {
        /// For which time.
        starts: u32,
    },
    /// Everything before is on disk. It takes no position, is not synced, and the next group is written over it; so
    /// that the last commit, which no other follows, is not taken for a torn one when it rots.
    Seal,
}

/// What precedes the payload of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupHeader {
    /// Position of its first batch.
    pub(crate) first: u64,
    pub(crate) kind: GroupKind,
    pub(crate) payload_bytes: u32,
    pub(crate) payload_sum: u32,
}

const KIND_ROWS: u32 = 1;
const KIND_START: u32 = 2;
const KIND_SEAL: u32 = 3;

impl GroupHeader {
    pub(crate) fn encode(&self, salt: &[u8; 16]) -> [u8; GROUP_HEADER_BYTES] {
        let (kind, number) = match self.kind {
            GroupKind::Rows { batches } => (KIND_ROWS, batches),
            GroupKind::Start { starts } => (KIND_START, starts),
            GroupKind::Seal => (KIND_SEAL, 0),
        };
        let mut bytes = [0; GROUP_HEADER_BYTES];
        bytes[..4].copy_from_slice(&GROUP_MAGIC);
        bytes[4..12].copy_from_slice(&self.first.to_le_bytes());
        bytes[12..16].copy_from_slice(&kind.to_le_bytes());
        bytes[16..20].copy_from_slice(&number.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.payload_sum.to_le_bytes());
        let sum = salted_sum(salt, &bytes[..32]);
        bytes[32..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// The header, or nothing when these are not the bytes of one that belongs to the segment with this salt.
    pub(crate) fn decode(bytes: &[u8], salt: &[u8; 16]) -> Option<Self> {
        let bytes = bytes.get(..GROUP_HEADER_BYTES)?;
        let sum = u32::from_le_bytes(bytes[32..].try_into().ok()?);
        if bytes[..4] != GROUP_MAGIC || salted_sum(salt, &bytes[..32]) != sum {
            return None;
        }
        let mut reader = Reader(&bytes[4..]);
        let first = reader.u64()?;
        let kind = match (reader.u32()?, reader.u32()?) {
            (KIND_ROWS, batches) => GroupKind::Rows { batches },
            (KIND_START, starts) => GroupKind::Start { starts },
            (KIND_SEAL, _) => GroupKind::Seal,
            (_, _) => return None,
        };
        Some(Self {
            first,
            kind,
            payload_bytes: reader.u32()?,
            payload_sum: reader.u32()?,
        })
    }

    /// Position of its last batch.
    pub(crate) fn last(&self) -> u64 {
        match self.kind {
            GroupKind::Rows { batches } => self.first.saturating_add(u64::from(batches)).saturating_sub(1),
            GroupKind::Start { .. } => self.first,
            GroupKind::Seal => self.first.saturating_sub(1),
        }
    }
}

fn salted_sum(salt: &[u8; 16], bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(salt);
    hasher.update(bytes);
    hasher.finalize()
}

/// Appends the batch to `out` and tells where in `out` each of its rows begins, and how many bytes it takes.
pub(crate) fn encode_batch(batch: &Batch, out: &mut Vec<u8>) -> Vec<(usize, u32)> {
    out.extend_from_slice(&length(batch.len()).to_le_bytes());
    batch.iter().map(|(key, change)| encode_row(key, change, out)).collect()
}

fn encode_row(key: &Bytes, change: &Change, out: &mut Vec<u8>) -> (usize, u32) {
    let start = out.len();
    let (value_bytes, value): (u32, &[u8]) = match change {
        Change::Put(value) => (length(value.len()), value),
        Change::Remove => (REMOVED, &[]),
    };
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&length(key.len()).to_le_bytes());
    out.extend_from_slice(&value_bytes.to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(value);
    let sum = crc32fast::hash(&out[start + 4..]);
    out[start..start + 4].copy_from_slice(&sum.to_le_bytes());
    (start, length(out.len() - start))
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("batches over BATCH_MAX_BYTES are refused before they come here")
}

/// One row as it lies in a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RowRecord {
    pub(crate) key: Bytes,
    pub(crate) change: Change,
    /// Where in the decoded bytes it begins.
    pub(crate) offset: usize,
    /// Bytes of the record.
    pub(crate) bytes: u32,
}

/// The row that begins at `offset`, or nothing when these bytes are not what was written.
pub(crate) fn decode_row(data: &Bytes, offset: usize) -> Option<RowRecord> {
    let mut reader = Reader(data.get(offset..)?);
    let (sum, key_bytes, value_bytes) = (reader.u32()?, reader.u32()? as usize, reader.u32()?);
    let key_start = offset + ROW_HEADER_BYTES;
    let value_start = key_start.checked_add(key_bytes)?;
    let end = value_start.checked_add(if value_bytes == REMOVED {
        0
    } else {
        value_bytes as usize
    })?;
    if crc32fast::hash(data.get(offset + 4..end)?) != sum {
        return None;
    }
    let change = if value_bytes == REMOVED {
        Change::Remove
    } else {
        Change::Put(data.slice(value_start..end))
    };
    let bytes = u32::try_from(end - offset).ok()?;
    Some(RowRecord {
        key: data.slice(key_start..value_start),
        change,
        offset,
        bytes,
    })
}

/// All rows of a payload with that many batches, or nothing when it is not what was written.
pub(crate) fn decode_payload(payload: &Bytes, batches: u32) -> Option<Vec<RowRecord>> {
    let mut rows = Vec::new();
    let mut offset = 0;
    for _ in 0..batches {
        let count = Reader(payload.get(offset..)?).u32()?;
        offset += 4;
        for _ in 0..count {
            let row = decode_row(payload, offset)?;
            offset += row.bytes as usize;
            rows.push(row);
        }
    }
    (offset == payload.len()).then_some(rows)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: [u8; 16] = [7; 16];

    fn sample() -> Batch {
        vec![
            (Bytes::from_static(b"a"), Change::Put(Bytes::from_static(b"one"))),
            (Bytes::from_static(b"b"), Change::Remove),
            (Bytes::from_static(b""), Change::Put(Bytes::new())),
        ]
    }

    #[test]
    fn the_bytes_on_disk_are_golden() {
        let header = SegmentHeader {
            segment: 3,
            salt: SALT,
            starts: 2,
            first: 9,
        }
        .encode();
        assert_eq!(&header[..20], b"trellisL\x01\0\0\0\x03\0\0\0\0\0\0\0");
        assert_eq!(header[60..], [203, 191, 137, 153]);
        let group = GroupHeader {
            first: 9,
            kind: GroupKind::Rows { batches: 1 },
            payload_bytes: 5,
            payload_sum: 6,
        }
        .encode(&SALT);
        assert_eq!(
            &group[..28],
            b"TGrp\x09\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0\x05\0\0\0\x06\0\0\0"
        );
        let mut out = Vec::new();
        encode_batch(
            &vec![(Bytes::from_static(b"k"), Change::Put(Bytes::from_static(b"v")))],
            &mut out,
        );
        assert_eq!(
            out,
            [1, 0, 0, 0, 136, 182, 123, 248, 1, 0, 0, 0, 1, 0, 0, 0, b'k', b'v']
        );
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let header = SegmentHeader {
            segment: 3,
            salt: SALT,
            starts: 2,
            first: 9,
        };
        assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
        for kind in [
            GroupKind::Rows { batches: 4 },
            GroupKind::Start { starts: 5 },
            GroupKind::Seal,
        ] {
            let group = GroupHeader {
                first: 9,
                kind,
                payload_bytes: 5,
                payload_sum: 6,
            };
            assert_eq!(GroupHeader::decode(&group.encode(&SALT), &SALT), Some(group));
            assert_eq!(
                GroupHeader::decode(&group.encode(&SALT), &[8; 16]),
                None,
                "another segment's salt"
            );
        }
        let mut out = Vec::new();
        let places = encode_batch(&sample(), &mut out);
        let rows = decode_payload(&Bytes::from(out), 1).unwrap();
        assert_eq!(
            rows.iter().map(|row| (row.offset, row.bytes)).collect::<Vec<_>>(),
            places
        );
        assert_eq!(
            rows.into_iter().map(|row| (row.key, row.change)).collect::<Batch>(),
            sample()
        );
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut out = Vec::new();
        encode_batch(&sample(), &mut out);
        let header = SegmentHeader {
            segment: 3,
            salt: SALT,
            starts: 2,
            first: 9,
        }
        .encode();
        for bit in 0..out.len() * 8 {
            let mut bad = out.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_payload(&Bytes::from(bad), 1), None, "bit {bit}");
        }
        for bit in 0..header.len() * 8 {
            let mut bad = header;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_segment_is_told_from_a_torn_one() {
        let mut header = SegmentHeader {
            segment: 3,
            salt: SALT,
            starts: 2,
            first: 9,
        }
        .encode();
        header[8] = 2;
        assert_eq!(SegmentHeader::decode(&header), Err(BadHeader::Newer(2)));
        assert_eq!(SegmentHeader::decode(&header[..40]), Err(BadHeader::Torn));
    }
}
