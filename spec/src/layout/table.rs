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

/// A share of all keys that lives on the same replicas.
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
    /// For each partition its replicas, as places in `members`, in ascending order. A power of two of them.
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
    /// Which partition a placement key falls in.
    pub fn partition_of(&self, placement: &[u8]) -> Partition {
        let mut hash = Blake2b::<U32>::new();
        hash.update(placement);
        self.partition_of_hash(&hash.finalize().into())
    }

    /// Which partition something falls in that is named by a uniform hash.
    pub fn partition_of_hash(&self, hash: &[u8; 32]) -> Partition {
        let partitions = self.assignment.len().max(1) as u64;
        // A u16 holds it: an assignment has at most 65,536 partitions.
        Partition((leading_u64(hash) % partitions) as u16)
    }

    /// The replicas of a partition, in order of id.
    pub fn replicas(&self, partition: Partition) -> Vec<NodeId> {
        let places = self
            .assignment
            .get(usize::from(partition.0))
            .map_or(&[][..], Vec::as_slice);
        places
            .iter()
            .filter_map(|place| self.members.get(usize::from(*place)))
            .map(|member| member.id)
            .collect()
    }

    /// Does the node hold the partition?
    pub fn holds(&self, node: NodeId, partition: Partition) -> bool {
        let places = self.assignment.get(usize::from(partition.0));
        let mut places = places.into_iter().flatten();
        places.any(|place| {
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
