//! Weighted rendezvous hashing: which node would a partition like best, if all had room? (Thaler and Ravishankar 1998;
//! the weights as in Resch's weighted rendezvous hashing.)

use blake2::{Blake2b, Digest, digest::consts::U32};

use crate::layout::table::leading_u64;
use crate::quorum::NodeId;

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
