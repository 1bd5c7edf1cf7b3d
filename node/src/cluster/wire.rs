//! Encoding of messages and rows: a version byte, then postcard.
//!
//! The same types that the model explores travel between nodes and lie on disk. A reader refuses versions that it does
//! not know.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version of everything that this program encodes.
const VERSION: u8 = 1;

/// Bytes that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Nothing at all.
    #[error("an empty record")]
    Empty,
    /// Written by a newer program.
    #[error("a record of version {0}, which this program does not know")]
    Version(u8),
    /// Damaged.
    #[error("a damaged record: {0}")]
    Damaged(postcard::Error),
}

/// The encoding of `value`. Public for those who watch what travels between nodes, and change it to see what comes of it.
pub fn encode<T: Serialize>(value: &T) -> Bytes {
    let encoded = postcard::to_extend(value, vec![VERSION]).expect("writing to a vector cannot fail");
    encoded.into()
}

/// The value that `bytes` encode. Public for those who watch what travels between nodes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match bytes.split_first() {
        None => Err(DecodeError::Empty),
        Some((&VERSION, encoded)) => postcard::from_bytes(encoded).map_err(DecodeError::Damaged),
        Some((version, _)) => Err(DecodeError::Version(*version)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trellis_spec::register::{Accepted, Cell, Content, OpId};
    use trellis_spec::row::{BucketId, BucketName, Row};
    use trellis_spec::stamp::Stamp;

    fn cell() -> Cell<Row> {
        let accepted = Accepted {
            ballot: Stamp::new(300, 2),
            op: OpId([9; 16]),
            base: None,
            content: Content::Value(Row::Name(BucketName {
                bucket: BucketId([1; 16]),
            })),
        };
        Cell {
            promised: Stamp::new(300, 2),
            accepted: Some(accepted),
        }
    }

    /// These bytes lie on disks: if this test fails, old rows have become unreadable.
    #[test]
    fn a_row_has_these_bytes() {
        let expected = [&[1, 172, 2, 2, 1, 172, 2, 2][..], &[9; 16], &[0, 0, 6], &[1; 16]].concat();
        assert_eq!(encode(&cell())[..], expected[..]);
        assert_eq!(decode::<Cell<Row>>(&expected), Ok(cell()));
    }

    #[test]
    fn what_is_not_a_record_is_told_apart() {
        assert_eq!(decode::<Cell<Row>>(&[]), Err(DecodeError::Empty));
        assert_eq!(decode::<Cell<Row>>(&[7, 0]), Err(DecodeError::Version(7)));
        assert!(matches!(decode::<Cell<Row>>(&[1, 172]), Err(DecodeError::Damaged(_))));
    }
}
