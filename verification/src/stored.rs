//! Where a node keeps what in its row store, as `trellis_node::cluster` lays it out: for those who look at its disk behind
//! its back.

use trellis_spec::layout::{LayoutVersion, Partition};
use trellis_spec::register::Cell;
use trellis_spec::row::{Block, BlockName, Body, Row, VersionId};

/// The table of the rows,
pub(crate) const ROWS: u8 = b'h';
/// that of the floors,
const FLOORS: u8 = b'f';
/// and that of the references to blocks, which lie under the first layout, whenever their node entered.
const REFERENCES: u8 = b'r';
const REFERENCES_UNDER: LayoutVersion = LayoutVersion(1);
/// What stands before a row's own key: the table's letter, the partition, the layout at which the node entered it.
const PARTITION: std::ops::Range<usize> = 1..3;
const ENTERED: std::ops::Range<usize> = 3..11;

/// The key of a row.
pub(crate) fn row(partition: Partition, entered: LayoutVersion, key: &[u8]) -> Vec<u8> {
    physical(ROWS, partition, entered, key)
}

/// The key of a partition's floor.
pub(crate) fn floor(partition: Partition, entered: LayoutVersion) -> Vec<u8> {
    physical(FLOORS, partition, entered, &[])
}

/// The key of a reference to a block.
pub(crate) fn reference(partition: Partition, block: BlockName, version: VersionId) -> Vec<u8> {
    let key = [&block.0[..], &version.0].concat();
    physical(REFERENCES, partition, REFERENCES_UNDER, &key)
}

fn physical(table: u8, partition: Partition, entered: LayoutVersion, key: &[u8]) -> Vec<u8> {
    [&[table][..], &partition.0.to_be_bytes(), &entered.0.to_be_bytes(), key].concat()
}

/// What the key of a row tells.
pub(crate) fn parse(physical: &[u8]) -> Option<(Partition, LayoutVersion, Vec<u8>)> {
    let partition = u16::from_be_bytes(physical.get(PARTITION)?.try_into().ok()?);
    let entered = u64::from_be_bytes(physical.get(ENTERED)?.try_into().ok()?);
    Some((
        Partition(partition),
        LayoutVersion(entered),
        physical[ENTERED.end..].to_vec(),
    ))
}

/// The blocks that the object of a row is cut into.
pub(crate) fn blocks_of(cell: &Cell<Row>) -> Vec<Block> {
    match cell.accepted.as_ref().and_then(|held| held.content.live()) {
        Some(Row::Object(object)) => match &object.body {
            Body::Blocks(blocks) => blocks.clone(),
            Body::Inline(_) | Body::Paged(_) => Vec::new(),
        },
        Some(_) | None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_physical_key_is_taken_apart() {
        let physical = [&b"h\x01\x02"[..], &7_u64.to_be_bytes(), b"key"].concat();
        let (partition, entered) = (Partition(0x102), LayoutVersion(7));
        assert_eq!(parse(&physical), Some((partition, entered, b"key".to_vec())));
        assert_eq!(row(partition, entered, b"key"), physical);
        assert_eq!(parse(b"h"), None);
    }
}
