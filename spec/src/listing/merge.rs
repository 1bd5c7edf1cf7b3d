//! Merging one page from the answers of a quorum.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::{Page, Scanned};
use crate::flaw::{Flaw, Rules};
use crate::quorum::{NodeId, ReplicaSets, Verdict, Vote};
use crate::register::{Accepted, Value};

type Answers<'a, K, V> = BTreeMap<NodeId, &'a Scanned<K, V>>;

/// The page that the answers make together.
pub(super) fn merge<K: Ord + Clone, V: Value, R: Rules>(sets: &ReplicaSets, answers: &Answers<'_, K, V>) -> Page<K, V> {
    let bound = common_bound::<K, V, R>(answers);
    let by_replica: BTreeMap<NodeId, BTreeMap<&K, &Accepted<V>>> = answers
        .iter()
        .map(|(node, scanned)| (*node, rows_below::<K, V, R>(scanned, bound.as_ref())))
        .collect();
    let keys: BTreeSet<&K> = by_replica.values().flat_map(|rows| rows.keys().copied()).collect();
    let mut page = Page {
        rows: BTreeMap::new(),
        suspects: Vec::new(),
        bound,
    };
    for key in keys {
        let held = |node: &NodeId| by_replica.get(node).and_then(|rows| rows.get(key)).copied();
        let Some(newest) = answers.keys().filter_map(held).max_by_key(|accepted| accepted.ballot) else {
            continue;
        };
        if is_suspect::<K, V, R>(sets, answers, newest, held) {
            page.suspects.push(key.clone());
        }
        page.rows.insert(key.clone(), newest.clone());
    }
    page
}

/// Beyond the smallest bound some answer says nothing: a row seen there by others alone proves nothing.
fn common_bound<K: Ord + Clone, V, R: Rules>(answers: &Answers<'_, K, V>) -> Option<K> {
    let bounds = answers.values().filter_map(|scanned| scanned.bound.clone());
    if R::lacks(Flaw::MergeBeyondBound) {
        let to_the_end = answers.values().any(|scanned| scanned.bound.is_none());
        return bounds.max().filter(|_| !to_the_end);
    }
    bounds.min()
}

fn rows_below<'a, K: Ord, V: Value, R: Rules>(
    scanned: &'a Scanned<K, V>,
    bound: Option<&K>,
) -> BTreeMap<&'a K, &'a Accepted<V>> {
    let below = |key: &K| bound.is_none_or(|bound| key < bound);
    let kept = |accepted: &Accepted<V>| accepted.content.live().is_some() || !R::lacks(Flaw::FilterBeforeMerge);
    scanned
        .rows
        .iter()
        .filter(|(key, row)| below(key) && kept(row))
        .map(|(key, row)| (key, row))
        .collect()
}

fn is_suspect<'a, K, V: Value + 'a, R: Rules>(
    sets: &ReplicaSets,
    answers: &Answers<'_, K, V>,
    newest: &Accepted<V>,
    held: impl Fn(&NodeId) -> Option<&'a Accepted<V>>,
) -> bool {
    let live = newest.content.live().is_some();
    if R::lacks(Flaw::ListingWithoutRepair) || (!live && R::lacks(Flaw::RepairLiveRowsOnly)) {
        return false;
    }
    let alike = |node| match (answers.contains_key(&node), held(&node)) {
        (true, Some(row)) if row.ballot == newest.ballot => Vote::Yes,
        (true, _) => Vote::No,
        (false, _) => Vote::Open,
    };
    sets.verdict(alike) != Verdict::Reached
}
