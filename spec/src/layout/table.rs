//! One layout: an immutable table from partitions to replicas.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use blake2::{Blake2b, Digest, digest::consts::U32};
use serde::{Deserialize, Serialize};

use super::assign::{Proof, Role, ZoneRedundancy};
use super::force::Forced;
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

/// The beginning of a layout's hash, enough to tell apart the few layouts that may have the same number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LayoutMark(pub u64);

impl LayoutMark {
    /// Of a layout with this hash.
    pub fn of(hash: &LayoutHash) -> Self {
        LayoutMark(leading_u64(hash))
    }
}

/// A share of all rows, or of all blocks, that lives on the same replicas.
///
/// The table of a layout has one line for a partition of rows and one of blocks: with P lines, partitions 0 to P-1 are of
/// rows and P to 2P-1 of blocks. Each has a view of its own, for rows and blocks are synced at different times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Partition(pub u16);

/// A node as a layout names it.
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
    /// What it does.
    pub role: Role,
    /// Words for people; nothing depends on them.
    pub tags: Vec<String>,
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
    /// Zones per partition.
    pub redundancy: ZoneRedundancy,
    /// The nodes, in order of id.
    pub members: Vec<Member>,
    /// For each pair of partitions its replicas, as places in `members`, in ascending order. A power of two of them.
    pub assignment: Vec<Vec<u16>>,
    /// The nodes that might not get a partition of rows, nor its partition of blocks, when this was made.
    pub barred: BTreeMap<Partition, BTreeSet<NodeId>>,
    /// Why no assignment is better.
    pub proof: Proof,
    /// Nobody elected it: it was forced, and this is what that may have cost.
    pub forced: Option<Forced>,
}

impl Member {
    /// A storage node without tags.
    pub fn storage(key: [u8; 32], disk: [u8; 16], zone: impl Into<String>, capacity_bytes: u64) -> Self {
        Member {
            id: Member::derive_id(&key, &disk),
            key,
            disk,
            zone: zone.into(),
            role: Role::Storage { capacity_bytes },
            tags: Vec::new(),
        }
    }

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
        const LINES_MAX: u16 = 1 << 15;
        u16::try_from(self.assignment.len()).map_or(LINES_MAX, |lines| lines.min(LINES_MAX))
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

    /// What links compare before they let anything pass: the hash over every field, each list and text with its length
    /// in front.
    pub fn hash(&self) -> LayoutHash {
        let mut hash = Fields::new(b"trellis layout 3");
        hash.number(self.version.0);
        hash.bytes(&self.previous);
        hash.number(u64::from(self.replication_factor));
        hash.number(match self.redundancy {
            ZoneRedundancy::Maximum => 0,
            ZoneRedundancy::AtLeast(zones) => 1 + u64::from(zones),
        });
        hash.list(&self.members, Fields::member);
        hash.list(&self.assignment, |hash, places| {
            hash.list(places, |hash, place| hash.number(u64::from(*place)));
        });
        hash.list(&self.barred, |hash, (partition, nodes)| {
            hash.number(u64::from(partition.0));
            hash.list(nodes, Fields::node);
        });
        hash.proof(&self.proof);
        hash.list(&self.forced, Fields::forced);
        hash.0.finalize().into()
    }
}

/// A hash over one field after the other.
struct Fields(Blake2b<U32>);

impl Fields {
    fn new(what: &[u8]) -> Self {
        let mut fields = Fields(Blake2b::new());
        fields.bytes(what);
        fields
    }

    fn number(&mut self, number: u64) {
        self.0.update(number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn list<T>(&mut self, items: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>, put: impl Fn(&mut Self, T)) {
        let items = items.into_iter();
        self.number(items.len() as u64);
        items.for_each(|item| put(self, item));
    }

    fn node(&mut self, node: &NodeId) {
        self.number(node.0);
    }

    fn member(&mut self, member: &Member) {
        self.node(&member.id);
        self.bytes(&member.key);
        self.bytes(&member.disk);
        self.bytes(member.zone.as_bytes());
        match member.role {
            Role::Gateway => self.number(0),
            Role::Storage { capacity_bytes } => {
                self.number(1);
                self.number(capacity_bytes);
            }
        }
        self.list(&member.tags, |hash, tag| hash.bytes(tag.as_bytes()));
    }

    fn proof(&mut self, proof: &Proof) {
        self.list(&proof.left, |hash, partition| hash.number(u64::from(partition.0)));
        self.number(proof.partition_bytes);
        self.list(&proof.bottleneck, Fields::node);
        self.list(&proof.prices, |hash, (node, price)| {
            hash.node(node);
            hash.number(u64::from(*price));
        });
    }

    fn forced(&mut self, forced: &Forced) {
        self.number(forced.epoch.0);
        self.list(&forced.lost, Fields::node);
        for partitions in [&forced.doubtful, &forced.gone] {
            self.list(partitions, |hash, partition| hash.number(u64::from(partition.0)));
        }
    }
}

#[cfg(test)]
impl Member {
    /// A storage node of a TiB, for tests.
    pub(crate) fn test(id: u64, zone: &str) -> Self {
        Member {
            id: NodeId(id),
            ..Member::storage([0; 32], [0; 16], zone, 1 << 40)
        }
    }
}

#[cfg(test)]
impl Layout {
    /// A first layout of so many nodes, numbered from 1; each partition is held by the members at these places. For tests.
    pub(crate) fn test(nodes: u64, partitions: u32, replicas: &[u16]) -> Self {
        let members = (1..=nodes).map(|id| Member::test(id, "z")).collect();
        let any = super::initial(members, 3, partitions).expect("enough nodes for three replicas");
        Layout {
            assignment: alloc::vec![replicas.to_vec(); any.assignment.len()],
            ..any
        }
    }

    /// The one after it, with other replicas.
    pub(crate) fn then(&self, replicas: &[u16]) -> Self {
        Layout {
            version: self.version.next(),
            previous: self.hash(),
            assignment: alloc::vec![replicas.to_vec(); self.assignment.len()],
            ..self.clone()
        }
    }
}

pub(super) fn leading_u64(hash: &[u8]) -> u64 {
    hash.iter()
        .take(8)
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
