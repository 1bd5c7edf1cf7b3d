//! On which disk a block belongs: weighted rendezvous, so that it is found without an index.
//!
//! Every disk draws a number for the block, from the block's name and its own id; the larger its capacity, the better its
//! chances. The best number wins, the others follow in order for when a disk is full or away. A disk that joins takes
//! from each of the others what it wins and nothing else moves; of one that goes, only what it had moves.

use super::claim::FolderId;
use crate::storage::BlockName;

/// A disk, as far as its chances are concerned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entrant {
    pub(super) id: FolderId,
    /// Nothing is brought to a disk of weight zero.
    pub(super) weight: u64,
}

/// The positions of the disks, the one where the block belongs first.
pub(super) fn order(name: BlockName, entrants: &[Entrant]) -> Vec<usize> {
    let mut drawn: Vec<(f64, usize)> = entrants
        .iter()
        .enumerate()
        .map(|(position, entrant)| (draw(name, entrant), position))
        .collect();
    drawn.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    drawn.into_iter().map(|(_, position)| position).collect()
}

/// `weight / -ln(u)` for `u` evenly drawn from between 0 and 1: the chance to have the greatest is the share of the weight.
fn draw(name: BlockName, entrant: &Entrant) -> f64 {
    const BITS: u32 = 53;
    let hashed = mix(word(&name.0[24..]) ^ mix(word(&entrant.id.0[..8]) ^ mix(word(&entrant.id.0[8..]))));
    let unit = ((hashed >> (u64::BITS - BITS)) as f64 + 0.5) / (1_u64 << BITS) as f64;
    entrant.weight as f64 / -unit.ln()
}

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// The finaliser of SplitMix64. Names and ids are evenly distributed already; this ties them together.
fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCKS: u32 = 20_000;

    fn name(number: u32) -> BlockName {
        BlockName::of(&number.to_le_bytes())
    }

    fn entrants(weights: &[u64]) -> Vec<Entrant> {
        let entrant = |(number, weight): (u8, &u64)| Entrant {
            id: FolderId([number; 16]),
            weight: *weight,
        };
        (1..).zip(weights).map(entrant).collect()
    }

    fn shares(weights: &[u64]) -> Vec<usize> {
        let entrants = entrants(weights);
        let mut shares = vec![0; weights.len()];
        for number in 0..BLOCKS {
            shares[order(name(number), &entrants)[0]] += 1;
        }
        shares
    }

    #[test]
    fn shares_are_as_large_as_capacities() {
        let shares = shares(&[1_000_000, 2_000_000, 5_000_000, 0]);
        for (share, eighths) in shares.iter().zip([1, 2, 5, 0]) {
            let expected = BLOCKS as usize * eighths / 8;
            assert!(share.abs_diff(expected) < BLOCKS as usize / 60, "{shares:?}");
        }
        assert_eq!(shares[3], 0, "nothing belongs on a disk of capacity zero");
    }

    #[test]
    fn a_new_disk_only_takes() {
        let (before, after) = (entrants(&[3, 3, 3]), entrants(&[3, 3, 3, 3]));
        let mut moved = 0;
        for number in 0..BLOCKS {
            let (old, new) = (order(name(number), &before), order(name(number), &after));
            assert_eq!(old.len(), 3);
            let others: Vec<usize> = new.iter().copied().filter(|position| *position != 3).collect();
            assert_eq!(others, old, "the order of the others stays");
            moved += u32::from(new[0] == 3);
        }
        assert!(moved.abs_diff(BLOCKS / 4) < BLOCKS / 60, "{moved}");
    }
}
