//! A new owner of a block partition: when it has everything.
//!
//! It pulls the references of a majority of every older active set, each of which refuses older views before it
//! answers, and fetches what it lacks. It is synced when it holds every pulled reference, and the data of each that
//! some source has. Data that no source of a majority has were never acknowledged, and cannot be any more: the upload
//! was cut short, and waiting for them would hold up the partition until its references are dead.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::marker::PhantomData;

use serde::{Deserialize, Serialize};

use super::storing::Data;
use crate::flaw::{Flaw, Rules};
use crate::quorum::{NodeId, ReplicaSets, Verdict, Vote};
use crate::row::BlockReference;

/// A reference as a source reports it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pulled {
    /// The reference.
    pub reference: BlockReference,
    /// Has the source its data?
    pub data: Data,
}

/// Pulling the references of one block partition, under one view.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pulling<R> {
    sources: ReplicaSets,
    answers: BTreeMap<NodeId, Vec<Pulled>>,
    rules: PhantomData<R>,
}

impl<R: Rules> Pulling<R> {
    /// From the sets of every active layout before the newest.
    pub fn new(sources: ReplicaSets) -> Self {
        Pulling {
            sources,
            answers: BTreeMap::new(),
            rules: PhantomData,
        }
    }

    /// A source that has adopted the view reported its references.
    pub fn on_pulled(&mut self, from: NodeId, references: Vec<Pulled>) {
        self.answers.insert(from, references);
    }

    /// Have enough sources answered?
    pub fn is_complete(&self) -> bool {
        let answered = |node| match self.answers.contains_key(&node) {
            true => Vote::Yes,
            false => Vote::Open,
        };
        let one_of_a_majority = R::lacks(Flaw::BlockSyncFromOne) && !self.answers.is_empty();
        self.sources.verdict(answered) == Verdict::Reached || one_of_a_majority
    }

    /// The references to adopt. A dead one does no harm: it will be dropped again.
    pub fn references(&self) -> impl Iterator<Item = &BlockReference> {
        self.answers.values().flatten().map(|pulled| &pulled.reference)
    }

    /// Is everything here? `data` tells what this node has of a block itself.
    pub fn is_synced(&self, data: impl Fn(&BlockReference) -> Data) -> bool {
        let needed = |pulled: &&Pulled| pulled.data == Data::Verified && !R::lacks(Flaw::BlockSyncedWithoutData);
        let mut wanted = self.answers.values().flatten().filter(needed);
        self.is_complete() && wanted.all(|pulled| data(&pulled.reference) == Data::Verified)
    }
}
