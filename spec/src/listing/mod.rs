//! Listing: a range of rows as a majority holds them.
//!
//! Replicas send raw rows in key order, tombstones included, from one snapshot, with the bound up to which they
//! scanned. The coordinator merges a majority's answers row by row, *before* it leaves anything out; the merge ends at
//! the smallest bound among them. A row that a majority does not report alike, tombstones too, is a suspect: it is read
//! with [`Read`](crate::register::Read), which repairs it, before the page is returned. Only then are tombstones left
//! out and prefixes folded (claim C11).

mod merge;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::marker::PhantomData;

use serde::{Deserialize, Serialize};

use crate::flaw::{Flaw, Rules};
use crate::gate::{Emptiness, GateState};
use crate::quorum::{NodeId, ReplicaSets, Verdict, Vote};
use crate::register::{Accepted, Value};
use crate::stamp::Stamp;

/// One replica's answer to a range read. Everything it tells is durable when it is sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Scanned<K, V> {
    /// Heads of the rows that hold something, in key order.
    pub rows: Vec<(K, Accepted<V>)>,
    /// The rows below this key are all there; nothing: the range was scanned to its end.
    pub bound: Option<K>,
    /// The gate, in the same snapshot.
    pub gate: GateState,
}

/// A merged page.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(bound(deserialize = "K: Ord + Deserialize<'de>, V: Deserialize<'de>"))]
pub struct Page<K, V> {
    /// The newest version of every row below the bound, tombstones included.
    pub rows: BTreeMap<K, Accepted<V>>,
    /// Rows that must be read one by one before the page is used.
    pub suspects: Vec<K>,
    /// The page ends below this key; nothing: it reaches the end of the range.
    pub bound: Option<K>,
}

/// Which answers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Counted {
    /// All.
    All,
    /// Those of replicas whose gate a deletion closed under this ballot.
    GateClosedUnder(Stamp),
}

/// A range read in flight.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listing<K, V, R> {
    sets: ReplicaSets,
    counted: Counted,
    answers: BTreeMap<NodeId, Scanned<K, V>>,
    rules: PhantomData<R>,
}

/// How a listing stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(bound(deserialize = "K: Ord + Deserialize<'de>, V: Deserialize<'de>"))]
pub enum ListingStep<K, V> {
    /// More answers are needed.
    Wait,
    /// Here is the page.
    Done(Page<K, V>),
    /// Too many replicas' gates are not as they must be: another deletion took over.
    Overtaken,
}

impl<K: Ord + Clone, V: Value, R: Rules> Listing<K, V, R> {
    /// A listing that asked every replica of `sets`.
    pub fn new(sets: ReplicaSets, counted: Counted) -> Self {
        Listing {
            sets,
            counted,
            answers: BTreeMap::new(),
            rules: PhantomData,
        }
    }

    /// One replica's answer.
    pub fn on_scanned(&mut self, from: NodeId, scanned: Scanned<K, V>) -> ListingStep<K, V> {
        self.answers.entry(from).or_insert(scanned);
        let missing = usize::from(R::lacks(Flaw::ListingFromOne));
        match self.sets.verdict_short_of(missing, |node| self.vote(node)) {
            Verdict::Pending => ListingStep::Wait,
            Verdict::Impossible => ListingStep::Overtaken,
            Verdict::Reached => {
                let counted = self.answers.iter().filter(|(_, scanned)| self.counts(scanned));
                let counted = counted.map(|(node, scanned)| (*node, scanned)).collect();
                ListingStep::Done(merge::merge::<K, V, R>(&self.sets, &counted))
            }
        }
    }

    fn counts(&self, scanned: &Scanned<K, V>) -> bool {
        match self.counted {
            Counted::All => true,
            Counted::GateClosedUnder(ballot) => scanned.gate.counts_for::<R>(ballot),
        }
    }

    fn vote(&self, node: NodeId) -> Vote {
        match self.answers.get(&node) {
            Some(scanned) if self.counts(scanned) => Vote::Yes,
            Some(_) => Vote::No,
            None => Vote::Open,
        }
    }
}

impl<K: Ord + Clone, V: Value> Page<K, V> {
    /// Takes the result of reading a suspect.
    pub fn repaired(&mut self, key: &K, found: Option<Accepted<V>>) {
        self.suspects.retain(|suspect| suspect != key);
        match found {
            Some(found) => self.rows.insert(key.clone(), found),
            None => self.rows.remove(key),
        };
    }

    /// What the page says to a deletion, which reads no suspect again: a live row counts, whoever shows it. The read
    /// could be answered by replicas whose gate is still open, miss the row there, and one of them accept it right
    /// after, which makes it a majority (found by checking).
    pub fn emptiness<R: Rules>(&self) -> Emptiness {
        let skipped = |key: &K| R::lacks(Flaw::DeletionSkipsSuspects) && self.suspects.contains(key);
        let live = |(key, held): (&K, &Accepted<V>)| held.content.live().is_some() && !skipped(key);
        if self.rows.iter().any(live) {
            Emptiness::Live
        } else {
            Emptiness::Empty
        }
    }

    /// The live rows, in key order. Meaningful once no suspect is left.
    pub fn live(&self) -> impl Iterator<Item = (&K, &V)> {
        self.rows
            .iter()
            .filter_map(|(key, accepted)| Some((key, accepted.content.live()?)))
    }
}

#[cfg(test)]
mod tests;
