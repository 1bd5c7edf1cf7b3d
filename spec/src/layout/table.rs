//! One layout: an immutable table from partitions to replicas.

use alloc::string::String;
use alloc::vec::Vec;

use blake2::{Blake2b, Digest, digest::consts::U32};
use serde::{Deserialize, Serialize};

use crate::quorum::NodeId;

/// The number of a layout. Each number has one content, ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LayoutVersion(pub u64);

impl LayoutVersion {
    /// The number after this one.
    pub const fn next(self) -> Self {
        LayoutVersion(self.0.saturating_add(1))
    }
}

/// BLAKE2b-256 of a layout's encoding.
pub type LayoutHash = [u8; 32];

/// A share of all rows, or of all blocks, that lives on the same replicas.
///
/// The table of a layout has one line for a partition of rows and one of blocks: with P lines, partitions 0 to P-1 are of
/// rows and P to 2P-1 of blocks. Each has a view of its own, for rows and blocks are synced at different times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Partition(pub u16);

/// A storage node as a layout names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    /// Its identity in protocols: derived from key and disk.
    pub id: NodeId,
    /// Its ed25519 public key.
    pub key: [u8; 32],
    /// Minted when its data folder was initialised: the same key with another disk is another node.
    pub disk: [u8; 16],
    /// Nodes of one zone fail together.
    pub zone: String,
    /// Bytes that it offers.
    pub capacity_bytes: u64,
}

/// Which nodes hold which partition, and how often each row is held.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Layout {
    /// Its number.
    pub version: LayoutVersion,
    /// The hash of the layout before; zeros for the first.
    pub previous: LayoutHash,
    /// Replicas per partition.
    pub replication_factor: u8,
    /// The nodes, in order of id.
    pub members: Vec<Member>,
    /// For each pair of partitions its replicas, as places in `members`, in ascending order. A power of two of them.
    pub assignment: Vec<Vec<u16>>,
}

impl Member {
    /// The identity that key and disk make.
    pub fn derive_id(key: &[u8; 32], disk: &[u8; 16]) -> NodeId {
        let mut hash = Blake2b::<U32>::new();
        hash.update(b"trellis node");
        hash.update(key);
        hash.update(disk);
        NodeId(leading_u64(&hash.finalize()))
    }
}

impl Layout {
    /// Which partition of rows a placement key falls in.
    pub fn partition_of(&self, placement: &[u8]) -> Partition {
        let mut hash = Blake2b::<U32>::new();
        hash.update(placement);
        Partition(self.line_of(&hash.finalize().into()))
    }

    /// Which partition of blocks something falls in that is named by a uniform hash.
    pub fn block_partition_of(&self, hash: &[u8; 32]) -> Partition {
        Partition(self.lines() + self.line_of(hash))
    }

    /// All partitions of rows.
    pub fn row_partitions(&self) -> impl Iterator<Item = Partition> + use<> {
        (0..self.lines()).map(Partition)
    }

    /// All partitions of blocks.
    pub fn block_partitions(&self) -> impl Iterator<Item = Partition> + use<> {
        let lines = self.lines();
        (0..lines).map(move |line| Partition(lines + line))
    }

    /// All partitions.
    pub fn partitions(&self) -> impl Iterator<Item = Partition> + use<> {
        self.row_partitions().chain(self.block_partitions())
    }

    fn line_of(&self, hash: &[u8; 32]) -> u16 {
        // A u16 holds it, for the divisor is one.
        (leading_u64(hash) % u64::from(self.lines().max(1))) as u16
    }

    /// At most 32,768: twice as many partitions have a number.
    fn lines(&self) -> u16 {
        u16::try_from(self.assignment.len()).unwrap_or(u16::MAX)
    }

    fn places(&self, partition: Partition) -> &[u16] {
        let line = usize::from(partition.0) % self.assignment.len().max(1);
        self.assignment.get(line).map_or(&[], Vec::as_slice)
    }

    /// The replicas of a partition, in order of id.
    pub fn replicas(&self, partition: Partition) -> Vec<NodeId> {
        let members = self.places(partition).iter();
        let members = members.filter_map(|place| self.members.get(usize::from(*place)));
        members.map(|member| member.id).collect()
    }

    /// Does the node hold the partition?
    pub fn holds(&self, node: NodeId, partition: Partition) -> bool {
        let mut members = self.places(partition).iter();
        members.any(|place| {
            self.members
                .get(usize::from(*place))
                .is_some_and(|member| member.id == node)
        })
    }

    /// The member with this id.
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == node)
    }

    /// What links compare before they let anything pass: the hash over every field, each with its length in front.
    pub fn hash(&self) -> LayoutHash {
        let mut hash = Blake2b::<U32>::new();
        let mut put = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        put(b"trellis layout 1");
        put(&self.version.0.to_le_bytes());
        put(&self.previous);
        put(&[self.replication_factor]);
        for member in &self.members {
            put(&member.id.0.to_le_bytes());
            put(&member.key);
            put(&member.disk);
            put(member.zone.as_bytes());
            put(&member.capacity_bytes.to_le_bytes());
        }
        for replicas in &self.assignment {
            let places: Vec<u8> = replicas.iter().flat_map(|place| place.to_le_bytes()).collect();
            put(&places);
        }
        hash.finalize().into()
    }
}

pub(super) fn leading_u64(hash: &[u8]) -> u64 {
    hash.iter()
        .take(8)
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
