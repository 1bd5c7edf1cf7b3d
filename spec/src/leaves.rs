//! What a node holds of a partition, as a tree of two levels: every row, or every reference to a block, falls into one of
//! many leaves; a leaf's digest is made of what fell into it, and the root of all leaves.
//!
//! Replicas compare roots. Where these differ they compare leaves, and what is then synced are the leaves that differ. Into
//! which leaf a row falls follows from its key alone, so that all replicas agree on it whatever else they hold; and from
//! the key's hash, so that leaves are of one size although keys are alike, and a root over a thousand of them needs no level
//! between.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt::{self, Debug, Display, Formatter};

use blake2::digest::consts::U8;
use blake2::{Blake2b, Digest as _};
use serde::{Deserialize, Serialize};

/// Leaves of a partition. One row that differs costs a look at a thousandth of the others; all leaves are a message of
/// 8 KiB, and a set of them takes 160 bytes at most.
pub const LEAVES: u16 = 1024;

type Hash = Blake2b<U8>;

/// One leaf of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Leaf(u16);

/// Some leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeafSet([u32; LEAVES as usize / WORD_BITS]);

const WORD_BITS: usize = u32::BITS as usize;

/// How much of a partition somebody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Extent {
    /// All of it.
    Everything,
    /// What falls into these leaves.
    Leaves(LeafSet),
}

/// Equal for equal contents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 8]);

/// The digests of all leaves.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Digest>")]
pub struct Tree(Vec<Digest>);

/// These are not as many digests as there are leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotATree(usize);

impl Leaf {
    /// The leaf into which this key falls; of a reference to a block, that is the block's name.
    pub fn of(key: &[u8]) -> Self {
        let [low, high, ..]: [u8; 8] = Hash::digest(key).into();
        Leaf(u16::from_le_bytes([low, high]) % LEAVES)
    }

    /// Every leaf.
    pub fn all() -> impl Iterator<Item = Leaf> {
        (0..LEAVES).map(Leaf)
    }

    fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl LeafSet {
    /// Adds one.
    pub fn insert(&mut self, leaf: Leaf) {
        self.0[leaf.index() / WORD_BITS] |= 1 << (leaf.index() % WORD_BITS);
    }

    /// Is it among them?
    pub fn has(&self, leaf: Leaf) -> bool {
        self.0[leaf.index() / WORD_BITS] & 1 << (leaf.index() % WORD_BITS) != 0
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        *self == LeafSet::default()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Leaf> {
        Leaf::all().filter(|leaf| self.has(*leaf))
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }
}

impl Extend<Leaf> for LeafSet {
    fn extend<T: IntoIterator<Item = Leaf>>(&mut self, leaves: T) {
        leaves.into_iter().for_each(|leaf| self.insert(leaf));
    }
}

impl FromIterator<Leaf> for LeafSet {
    fn from_iter<T: IntoIterator<Item = Leaf>>(leaves: T) -> Self {
        let mut set = LeafSet::default();
        set.extend(leaves);
        set
    }
}

impl Extent {
    /// Is what has this key part of it?
    pub fn has(&self, key: &[u8]) -> bool {
        match self {
            Extent::Everything => true,
            Extent::Leaves(leaves) => leaves.has(Leaf::of(key)),
        }
    }
}

impl Default for Tree {
    /// Nothing is held.
    fn default() -> Self {
        Tree(vec![Digest::default(); usize::from(LEAVES)])
    }
}

impl Tree {
    /// Takes in what is held under a key. Keys come in their order, and whatever one tree takes in under a key is made of
    /// parts of the same lengths.
    pub fn add(&mut self, key: &[u8], held: &[&[u8]]) {
        let leaf = &mut self.0[Leaf::of(key).index()];
        let mut hash = Hash::new()
            .chain_update(leaf.0)
            .chain_update((key.len() as u64).to_le_bytes())
            .chain_update(key);
        held.iter().for_each(|part| hash.update(part));
        *leaf = Digest(hash.finalize().into());
    }

    /// The digest of everything.
    pub fn root(&self) -> Digest {
        let mut hash = Hash::new();
        self.0.iter().for_each(|leaf| hash.update(leaf.0));
        Digest(hash.finalize().into())
    }

    /// The digest of one leaf.
    pub fn leaf(&self, leaf: Leaf) -> Digest {
        self.0[leaf.index()]
    }
}

impl Debug for Tree {
    /// The root: nobody reads a thousand digests.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tree").field(&self.root()).finish()
    }
}

impl TryFrom<Vec<Digest>> for Tree {
    type Error = NotATree;

    fn try_from(leaves: Vec<Digest>) -> Result<Self, NotATree> {
        match leaves.len() {
            count if count == usize::from(LEAVES) => Ok(Tree(leaves)),
            count => Err(NotATree(count)),
        }
    }
}

impl Display for NotATree {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} leaves instead of {LEAVES}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use proptest::collection::{btree_map, vec as vectors};
    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};
    use proptest::sample::Index;

    use super::*;

    type Rows = BTreeMap<Vec<u8>, u8>;

    fn rows() -> impl Strategy<Value = Rows> {
        btree_map(vectors(any::<u8>(), 0..6), any::<u8>(), 1..60)
    }

    fn tree<'a>(rows: impl IntoIterator<Item = (&'a Vec<u8>, &'a u8)>) -> Tree {
        let mut tree = Tree::default();
        rows.into_iter().for_each(|(key, held)| tree.add(key, &[&[*held]]));
        tree
    }

    fn differing(one: &Tree, other: &Tree) -> Vec<Leaf> {
        Leaf::all()
            .filter(|leaf| one.leaf(*leaf) != other.leaf(*leaf))
            .collect()
    }

    proptest! {
        #[test]
        fn one_row_that_differs_shows_in_the_root_and_in_its_leaf_alone(rows in rows(), at in any::<Index>(), by in 1_u8..) {
            let (key, held) = rows.iter().nth(at.index(rows.len())).unwrap();
            let (mut lost, mut changed) = (rows.clone(), rows.clone());
            lost.remove(key);
            changed.insert(key.clone(), held.wrapping_add(by));
            let whole = tree(&rows);
            for other in [tree(&lost), tree(&changed)] {
                prop_assert_eq!(differing(&whole, &other), [Leaf::of(key)]);
                prop_assert!(whole.root() != other.root());
            }
            prop_assert_eq!(tree(&rows).root(), whole.root());
        }

        #[test]
        fn what_is_asked_for_leaf_by_leaf_is_everything_once(rows in rows(), border in 0..=LEAVES) {
            let (some, others): (Vec<Leaf>, Vec<Leaf>) = Leaf::all().partition(|leaf| leaf.0 < border);
            let halves = [some, others].map(|leaves| Extent::Leaves(leaves.into_iter().collect()));
            for key in rows.keys() {
                prop_assert_eq!(halves.iter().filter(|half| half.has(key)).count(), 1);
                prop_assert!(Extent::Everything.has(key));
            }
            // What a leaf's digest says, it says of the rows of that leaf alone.
            let of_halves = halves.map(|half| tree(rows.iter().filter(|(key, _)| half.has(key))));
            let (whole, empty) = (tree(&rows), Tree::default());
            for leaf in Leaf::all() {
                let told: Vec<Digest> = of_halves.iter().map(|half| half.leaf(leaf)).collect();
                prop_assert!(told.contains(&whole.leaf(leaf)) && told.contains(&empty.leaf(leaf)));
            }
        }
    }

    #[test]
    fn keys_that_are_alike_are_spread_over_all_leaves() {
        let keys = (0..20_000_u32).map(|number| [&[b'o'; 17][..], &number.to_be_bytes()].concat());
        let mut counts = BTreeMap::<Leaf, usize>::new();
        keys.for_each(|key| *counts.entry(Leaf::of(&key)).or_default() += 1);
        assert_eq!(counts.len(), usize::from(LEAVES));
        assert!(counts.values().all(|count| *count < 60), "about twenty in each");
    }

    #[test]
    fn a_set_has_what_was_put_into_it() {
        let chosen = |leaf: &Leaf| leaf.0.is_multiple_of(7) || leaf.0 == LEAVES - 1;
        let set: LeafSet = Leaf::all().filter(chosen).collect();
        assert!(Leaf::all().all(|leaf| set.has(leaf) == chosen(&leaf)));
        assert_eq!(set.count() as usize, Leaf::all().filter(chosen).count());
        assert!(LeafSet::default().is_empty() && !set.is_empty());
    }

    #[test]
    fn too_few_digests_are_no_tree() {
        assert_eq!(Tree::try_from(vec![Digest::default(); 3]), Err(NotATree(3)));
        assert_eq!(Tree::try_from(Tree::default().0), Ok(Tree::default()));
    }
}
