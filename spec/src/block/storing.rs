//! Storing a block: at one replica, and at enough of them.

use alloc::collections::BTreeMap;
use core::marker::PhantomData;

use serde::{Deserialize, Serialize};

use crate::flaw::{Flaw, Rules};
use crate::quorum::{NodeId, ReplicaSets, Verdict, Vote};
use crate::row::Block;

/// The data of a block at one replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Data {
    /// Not here, or not what the name says.
    #[default]
    Absent,
    /// On disk, and it was seen that the name is theirs.
    Verified,
}

/// Does the request bring the data along?
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Brought {
    /// Yes.
    Data,
    /// No: only a reference to data that are thought to be here.
    Nothing,
}

/// A replica's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kept {
    /// Reference and verified data are on disk.
    Both,
    /// The reference is on disk and the data are not.
    NeedData,
    /// Nothing that counts: no room, or no answer that can be used.
    Neither,
}

/// What a replica does next. Each step is durable before the following one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StoreStep {
    /// Write the reference, and take away the block's mark.
    Refer,
    /// Write the data.
    Fill,
    /// Read the data that are here, and tell [`Storing::on_look`] whether they are what the name says.
    Look,
    /// Say so to who asked.
    Answer(Kept),
}

/// A request to keep a block, at a replica. The block's lock is held from the first step to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Storing<R> {
    brought: Brought,
    next: StoreStep,
    rules: PhantomData<R>,
}

impl<R: Rules> Storing<R> {
    /// A request that nothing was done about yet.
    pub fn new(brought: Brought) -> Self {
        let next = match brought {
            Brought::Data if R::lacks(Flaw::DataBeforeReference) => StoreStep::Fill,
            Brought::Data | Brought::Nothing => StoreStep::Refer,
        };
        Storing {
            brought,
            next,
            rules: PhantomData,
        }
    }

    /// What to do now.
    pub fn step(&self) -> StoreStep {
        self.next
    }

    /// The step is done and durable.
    pub fn on_done(self) -> Self {
        let first = Self::new(self.brought).next;
        let next = match (self.next, self.brought) {
            (StoreStep::Refer, Brought::Data) if first == StoreStep::Refer => StoreStep::Fill,
            (StoreStep::Fill, _) if first == StoreStep::Fill => StoreStep::Refer,
            (StoreStep::Refer, Brought::Nothing) if R::lacks(Flaw::ReferenceWithoutData) => {
                StoreStep::Answer(Kept::Both)
            }
            (StoreStep::Refer, Brought::Nothing) => StoreStep::Look,
            (StoreStep::Refer | StoreStep::Fill, _) => StoreStep::Answer(Kept::Both),
            (StoreStep::Look | StoreStep::Answer(_), _) => self.next,
        };
        Storing { next, ..self }
    }

    /// The data that are here were read and compared with the name.
    pub fn on_look(self, data: Data) -> Self {
        let kept = match data {
            Data::Verified => Kept::Both,
            Data::Absent => Kept::NeedData,
        };
        Storing {
            next: StoreStep::Answer(kept),
            ..self
        }
    }
}

/// Proof that a block and its reference are on a majority of disks of every active set. Without one no row names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored(Block);

impl Stored {
    /// The block.
    pub fn block(self) -> Block {
        self.0
    }
}

/// A block on its way to its replicas, as its coordinator sees it. All answers are to requests under one view.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Placing<R> {
    block: Block,
    sets: ReplicaSets,
    answers: BTreeMap<NodeId, Kept>,
    rules: PhantomData<R>,
}

impl<R: Rules> Placing<R> {
    /// The block, to be sent to all members of `sets`.
    pub fn new(block: Block, sets: ReplicaSets) -> Self {
        let sets = if R::lacks(Flaw::BlockNewestSetOnly) {
            sets.newest_only()
        } else {
            sets
        };
        Placing {
            block,
            sets,
            answers: BTreeMap::new(),
            rules: PhantomData,
        }
    }

    /// A replica answered.
    pub fn on_kept(&mut self, from: NodeId, kept: Kept) {
        self.answers.entry(from).or_insert(kept);
    }

    /// Is it stored?
    pub fn verdict(&self) -> Verdict {
        self.sets.verdict(|node| match self.answers.get(&node) {
            Some(Kept::Both) => Vote::Yes,
            Some(Kept::NeedData | Kept::Neither) => Vote::No,
            None => Vote::Open,
        })
    }

    /// The proof, once it is.
    pub fn stored(&self) -> Option<Stored> {
        (self.verdict() == Verdict::Reached).then_some(Stored(self.block))
    }

    /// Did some replica have the reference but not the data?
    pub fn needs_data(&self) -> bool {
        self.answers.values().any(|kept| *kept == Kept::NeedData)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flaw::Sound;
    use alloc::vec;

    fn steps(mut storing: Storing<Sound>, data: Data) -> vec::Vec<StoreStep> {
        let mut steps = vec![];
        loop {
            steps.push(storing.step());
            storing = match storing.step() {
                StoreStep::Refer | StoreStep::Fill => storing.on_done(),
                StoreStep::Look => storing.on_look(data),
                StoreStep::Answer(_) => return steps,
            };
        }
    }

    #[test]
    fn the_reference_comes_first_and_the_answer_last() {
        let all = [StoreStep::Refer, StoreStep::Fill, StoreStep::Answer(Kept::Both)];
        assert_eq!(steps(Storing::new(Brought::Data), Data::Absent), all);
        let look = |data| steps(Storing::new(Brought::Nothing), data);
        let kept = |kept| vec![StoreStep::Refer, StoreStep::Look, StoreStep::Answer(kept)];
        assert_eq!(look(Data::Verified), kept(Kept::Both));
        assert_eq!(look(Data::Absent), kept(Kept::NeedData));
    }

    #[test]
    fn every_active_set_needs_a_majority() {
        let set = |ids: [u64; 3]| ids.map(NodeId).to_vec();
        let sets = ReplicaSets::new(vec![set([1, 2, 3]), set([3, 4, 5])]);
        let mut placing: Placing<Sound> = Placing::new(Block::default(), sets);
        for node in [3, 4, 5] {
            assert_eq!(placing.stored(), None);
            placing.on_kept(NodeId(node), Kept::Both);
        }
        placing.on_kept(NodeId(1), Kept::NeedData);
        assert_eq!((placing.verdict(), placing.needs_data()), (Verdict::Pending, true));
        placing.on_kept(NodeId(2), Kept::Both);
        assert_eq!(placing.stored(), Some(Stored(Block::default())));
    }
}
