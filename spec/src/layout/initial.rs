//! The first layout: replicas spread over zones by rendezvous hashing.
//!
//! Deterministic in its members, so that every node of a new cluster computes the same table from the same
//! configuration. Zones are ranked per partition by hash and taken in turn; within a zone nodes are ranked by hash
//! weighted with capacity (Thaler and Ravishankar 1998; the weights as in Resch's weighted rendezvous hashing).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use blake2::{Blake2b, Digest, digest::consts::U32};

use super::table::{Layout, LayoutVersion, Member, leading_u64};
use crate::quorum::NodeId;

/// Why members and numbers make no layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialError {
    /// The number of partitions is not a power of two between 1 and 32,768.
    Partitions(u32),
    /// There are fewer nodes than replicas, or no replicas at all.
    TooFewNodes {
        /// Storage nodes named.
        nodes: usize,
        /// Replicas wanted.
        replication_factor: u8,
    },
    /// Two members have one id, or there are more than 65,535.
    Members,
}

/// Layout 1 over `members`.
pub fn initial(mut members: Vec<Member>, replication_factor: u8, partitions: u32) -> Result<Layout, InitialError> {
    if !partitions.is_power_of_two() || partitions > 32_768 {
        return Err(InitialError::Partitions(partitions));
    }
    if replication_factor == 0 || members.len() < usize::from(replication_factor) {
        return Err(InitialError::TooFewNodes {
            nodes: members.len(),
            replication_factor,
        });
    }
    members.sort_by_key(|member| member.id);
    if members.windows(2).any(|pair| pair[0].id == pair[1].id) || members.len() > usize::from(u16::MAX) {
        return Err(InitialError::Members);
    }
    let assignment = (0..partitions)
        .map(|partition| choose(&members, replication_factor, partition))
        .collect();
    Ok(Layout {
        version: LayoutVersion(1),
        previous: [0; 32],
        replication_factor,
        members,
        assignment,
    })
}

/// The replicas of one partition: best node of the best zone, of the next zone, … and round again.
fn choose(members: &[Member], replication_factor: u8, partition: u32) -> Vec<u16> {
    let mut zones: BTreeMap<&str, Vec<(u64, u16)>> = BTreeMap::new();
    for (place, member) in (0_u16..).zip(members) {
        zones
            .entry(&member.zone)
            .or_default()
            .push((score(partition, member.id, member.capacity_bytes), place));
    }
    let mut ranked: Vec<(u64, Vec<(u64, u16)>)> = zones
        .into_iter()
        .map(|(zone, nodes)| (draw(partition, zone.as_bytes()), nodes))
        .collect();
    ranked.sort();
    for (_, nodes) in &mut ranked {
        nodes.sort();
    }
    let deepest = ranked.iter().map(|(_, nodes)| nodes.len()).max().unwrap_or(0);
    let in_turn = (0..deepest).flat_map(|rank| ranked.iter().filter_map(move |(_, nodes)| nodes.get(rank)));
    let mut chosen: Vec<u16> = in_turn
        .map(|(_, place)| *place)
        .take(usize::from(replication_factor))
        .collect();
    chosen.sort();
    chosen
}

/// Lower is better: an exponentially distributed draw divided by the capacity, in integers.
pub(super) fn score(partition: u32, node: NodeId, capacity_bytes: u64) -> u64 {
    let uniform = draw(partition, &node.0.to_le_bytes());
    let capacity = (capacity_bytes >> 20).max(1);
    minus_log2(uniform) / capacity
}

/// -log2(draw / 2^64) in fixed point with 48 fractional bits: leading zeros, then a linear mantissa.
fn minus_log2(uniform: u64) -> u64 {
    let uniform = uniform.max(1);
    let zeros = u64::from(uniform.leading_zeros());
    let mantissa = (uniform << zeros) >> 15;
    ((zeros + 1) << 48) - (mantissa - (1 << 48)).min((1 << 48) - 1)
}

fn draw(partition: u32, name: &[u8]) -> u64 {
    let mut hash = Blake2b::<U32>::new();
    hash.update(b"trellis placement");
    hash.update(partition.to_le_bytes());
    hash.update(name);
    leading_u64(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Partition;
    use alloc::string::ToString;

    fn member(id: u64, zone: &str, capacity_bytes: u64) -> Member {
        Member {
            id: NodeId(id),
            key: [0; 32],
            disk: [0; 16],
            zone: zone.to_string(),
            capacity_bytes,
        }
    }

    fn cluster() -> Vec<Member> {
        let zones = ["a", "a", "b", "b", "c", "c"];
        (1..).zip(zones).map(|(id, zone)| member(id, zone, 1 << 40)).collect()
    }

    #[test]
    fn every_partition_spans_three_zones_and_nobody_is_left_out() {
        let layout = initial(cluster(), 3, 256).unwrap();
        let mut load: BTreeMap<NodeId, u32> = BTreeMap::new();
        for partition in 0..256 {
            let replicas = layout.replicas(Partition(partition));
            let mut zones: Vec<_> = replicas
                .iter()
                .map(|node| &layout.member(*node).unwrap().zone)
                .collect();
            zones.dedup();
            assert_eq!(zones.len(), 3);
            replicas.iter().for_each(|node| *load.entry(*node).or_default() += 1);
        }
        assert!(
            load.len() == 6 && load.values().all(|partitions| (96..160).contains(partitions)),
            "{load:?}"
        );
    }

    #[test]
    fn capacity_weighs() {
        let members = alloc::vec![member(1, "a", 1 << 40), member(2, "a", 3 << 40)];
        let layout = initial(members, 1, 1024).unwrap();
        let large = (0..1024)
            .filter(|partition| layout.holds(NodeId(2), Partition(*partition)))
            .count();
        assert!((700..840).contains(&large), "{large}");
    }

    #[test]
    fn the_order_of_members_does_not_matter() {
        let mut reversed = cluster();
        reversed.reverse();
        assert_eq!(
            initial(cluster(), 3, 64).unwrap().hash(),
            initial(reversed, 3, 64).unwrap().hash()
        );
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(initial(cluster(), 3, 100), Err(InitialError::Partitions(100)));
        assert_eq!(
            initial(cluster(), 7, 64),
            Err(InitialError::TooFewNodes {
                nodes: 6,
                replication_factor: 7
            })
        );
        assert_eq!(
            initial(alloc::vec![member(1, "a", 1), member(1, "b", 1)], 1, 64),
            Err(InitialError::Members)
        );
    }
}
