//! What a node holds of a partition, as a tree of digests ([`Tree`]): equal for nodes that hold the same.
//!
//! It is made by reading the partition, at the moment in which it is asked for. Nothing is kept up to date beside the
//! rows, so nothing can lag behind them. How much is here is counted on the way.
//!
//! Who asks is told the root, and asks for the leaves when it is not its own. So that the partition is not read again for
//! that, the last trees whose roots were told are remembered for a while, under these roots: what is told of them is what
//! was read after the first question.
//!
//! Who asks says which tombstones are too old to be compared, so that all replicas leave out the same ones.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use trellis_spec::layout::Partition;
use trellis_spec::leaves::{Digest, Extent, Leaf, LeafSet, Tree};
use trellis_spec::peer::Answer;
use trellis_spec::quorum::NodeId;
use trellis_spec::register::{Accepted, Cell, Content};
use trellis_spec::row::{BlockName, Row, VersionId};

use super::amount::{Amount, Count};
use super::cells::Shelf;
use super::door::{Door, Refused};
use super::keeper::{KeeperError, Own};
use super::replica::Replica;
use crate::storage::Position;

/// Rows or references read at a time; others have their turn in between.
const STEP: usize = 500;
const BETWEEN_STEPS: Duration = Duration::from_millis(1);

/// Trees that are remembered, of 8 KiB each: one for each partition, as a rule. A large one takes a minute to read at one
/// replica, while another goes on through hundreds that are small. What is forgotten too soon is compared again some seconds
/// later.
const REMEMBERED_TREES: usize = 1_024;

/// Trees whose roots were told lately, the last one at the end.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<VecDeque<(Partition, Digest, Tree)>>);

impl Told {
    /// Remembers a tree; what is told of it is the root.
    fn tell(&self, partition: Partition, tree: Tree) -> Digest {
        let (root, mut trees) = (tree.root(), self.trees());
        trees.retain(|(of, told, _)| (*of, *told) != (partition, root));
        trees.push_back((partition, root, tree));
        if trees.len() > REMEMBERED_TREES {
            trees.pop_front();
        }
        root
    }

    /// The tree of this root, if it is remembered.
    fn recall(&self, partition: Partition, root: Digest) -> Option<Tree> {
        let trees = self.trees();
        let mut found = trees.iter().filter(|(of, told, _)| (*of, *told) == (partition, root));
        found.next().map(|(_, _, tree)| tree.clone())
    }

    fn trees(&self) -> MutexGuard<'_, VecDeque<(Partition, Digest, Tree)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Replica {
    /// Tells the root of what is here of a partition.
    pub(super) async fn digest(&self, at: Door, tombstones_since_us: u64) -> Result<Answer, Refused> {
        let tree = self.tree(at, tombstones_since_us).await?;
        Ok(Answer::Digest(self.repairs().told.tell(at.partition, tree)))
    }

    /// Tells the leaves below a root.
    pub(super) async fn leaves(&self, at: Door, root: Digest) -> Result<Answer, Refused> {
        self.enter(at)?;
        // What the tree tells of was durable when its root was told.
        self.durable(Position::default()).await?;
        Ok(Answer::Leaves(self.repairs().told.recall(at.partition, root)))
    }

    /// The tree of a partition under a view. Of rows, tombstones from before that time are left out.
    pub(super) async fn tree(&self, at: Door, tombstones_since_us: u64) -> Result<Tree, Refused> {
        let shelf = Shelf::of(&self.enter(at)?);
        let tree = if self.is_of_blocks(at.partition) {
            self.tree_of_references(at.partition).await?
        } else {
            self.tree_of_rows(shelf, tombstones_since_us).await?
        };
        self.enter(at)?;
        Ok(tree)
    }

    /// Is it a partition of blocks?
    pub(super) fn is_of_blocks(&self, partition: Partition) -> bool {
        let known = self.layouts().now();
        let newest = known.peer.knowledge.newest();
        newest.is_some_and(|newest| newest.block_partitions().any(|of_blocks| of_blocks == partition))
    }

    async fn tree_of_rows(&self, shelf: Shelf, tombstones_since_us: u64) -> Result<Tree, Refused> {
        let (mut tree, mut from, mut written_at) = (Tree::default(), Vec::new(), Position::default());
        let mut held = self.count();
        loop {
            let range = self.cells().scan(shelf, &from, None, STEP, usize::MAX)?;
            written_at = written_at.max(range.written_at);
            for (key, cell) in &range.value.cells {
                if let Some(row) = compared(cell, tombstones_since_us) {
                    add_row(&mut tree, key, row);
                    held.amount = held.amount.plus(amount(key, row));
                }
            }
            match range.value.bound {
                Some(bound) => from = bound,
                None => break,
            }
            self.rest(BETWEEN_STEPS).await;
        }
        self.durable(written_at).await?;
        self.repairs().note_held(shelf.partition, held);
        Ok(tree)
    }

    /// Nothing was counted yet.
    fn count(&self) -> Count {
        Count {
            amount: Amount::default(),
            at_us: self.env.clock.wall_us(),
            layout: self.layouts().now().newest(),
        }
    }

    async fn tree_of_references(&self, partition: Partition) -> Result<Tree, KeeperError> {
        let (mut tree, mut after): (Tree, Option<(BlockName, VersionId)>) = (Tree::default(), None);
        let (mut lacking, mut held, mut last) = (LeafSet::default(), self.count(), None);
        let me = self.layouts().now().peer.me;
        loop {
            let (found, next) = self.keeper().own(partition, after, STEP, &Extent::Everything).await?;
            for own in &found {
                let bytes = own.bytes();
                add_reference(&mut tree, own, me);
                if bytes.is_none() {
                    lacking.insert(Leaf::of(&own.reference.block.0));
                }
                // References to one block follow each other.
                let is_another = last.replace(own.reference.block) != Some(own.reference.block);
                if let Some(bytes) = bytes.filter(|_| is_another) {
                    held.amount = held.amount.plus(Amount::block(bytes));
                }
            }
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
            self.rest(BETWEEN_STEPS).await;
        }
        self.repairs().note_lacking(partition, lacking);
        self.repairs().note_held(partition, held);
        Ok(tree)
    }
}

impl Replica {
    /// A glance at some blocks that were here: if one is gone, so may be others, a whole folder perhaps. Whoever asks how
    /// whole the copies are is not to wait for the next comparison to hear of that.
    pub(super) async fn glance(&self) {
        const GLANCES: usize = 256;
        let complete = self.repairs().complete(&self.layouts().now());
        let step = (complete.len() / GLANCES).max(1);
        for partition in complete.iter().step_by(step) {
            // What cannot be read is for the comparison to find out.
            let Ok((found, _)) = self.keeper().own(*partition, None, 1, &Extent::Everything).await else {
                continue;
            };
            if found.iter().any(|own| own.bytes().is_none()) {
                tracing::warn!(?partition, "a block is gone that was here; everything is compared");
                return self.repairs().doubt(&complete);
            }
        }
    }
}

/// What is compared of a row. Promises are left out: which nodes gave one differs, and a row with a promise is no less
/// there. So are old tombstones: replicas forget them one after the other, and nothing that was deleted shows where one is
/// missing.
fn compared(cell: &Cell<Row>, tombstones_since_us: u64) -> Option<&Accepted<Row>> {
    let held = cell.accepted.as_ref()?;
    match held.content {
        Content::Tombstone if held.ballot.time < tombstones_since_us => None,
        Content::Tombstone | Content::Value(_) => Some(held),
    }
}

/// How much a row is.
fn amount(key: &[u8], held: &Accepted<Row>) -> Amount {
    Amount::row(key, held.content.live().map_or(0, Row::inline_bytes))
}

fn add_row(tree: &mut Tree, key: &[u8], held: &Accepted<Row>) {
    tree.add(key, &[&held.ballot.time.to_le_bytes(), &held.op.0]);
}

/// How much data take on its disk is each node's own business. Two that lack the same data do not prove to each other that
/// nobody has them: what one lacks looks like nobody else's.
fn add_reference(tree: &mut Tree, own: &Own, me: NodeId) {
    let lacks = match own.bytes() {
        Some(_) => NodeId::default(),
        None => me,
    };
    let version = &own.reference.version.0;
    tree.add(&own.reference.block.0, &[version, &lacks.0.to_le_bytes()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_trees_are_remembered_each_for_its_partition() {
        let tree = |held: usize| {
            let mut tree = Tree::default();
            tree.add(b"key", &[&held.to_le_bytes()]);
            tree
        };
        let (told, here) = (Told::default(), Partition(1));
        let first = told.tell(here, tree(0));
        assert_eq!(told.recall(here, first), Some(tree(0)));
        assert_eq!(told.recall(Partition(2), first), None);
        for number in 1..REMEMBERED_TREES {
            told.tell(here, tree(number));
        }
        // The same again is no other one, and the last now.
        told.tell(here, tree(0));
        let second = told.recall(here, tree(1).root());
        assert_eq!(second, Some(tree(1)));
        told.tell(here, tree(REMEMBERED_TREES));
        assert_eq!(told.recall(here, tree(1).root()), None);
        assert_eq!(told.recall(here, first), Some(tree(0)));
    }
}
