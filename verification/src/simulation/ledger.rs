//! What clients were told of, row by row: whoever holds less has lost something.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trellis_spec::layout::LayoutVersion;
use trellis_spec::row::{RowKey, VersionId};
use trellis_spec::stamp::Stamp;

/// A value that a client was told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    /// Its entity tag.
    pub(crate) tag: String,
    /// Which write of it, if only one is known.
    pub(crate) version: Option<VersionId>,
    /// The lowest ballot under which it was seen on some disk: what settles it gives it higher ones, of which the client was
    /// not told.
    pub(crate) stamp: Stamp,
    /// The newest layout that any node knew by then: it was acknowledged under this one or an older one.
    pub(crate) under: LayoutVersion,
    /// When, by a clock that is right.
    pub(crate) at_us: u64,
}

/// The ledger of a run. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    rows: BTreeMap<RowKey, Vec<Acknowledged>>,
    /// By row and entity tag.
    lowest: BTreeMap<(RowKey, String), Stamp>,
    changes: u64,
}

impl Ledger {
    /// Writes down what a client was told of a row, unless something newer was acknowledged before.
    pub(crate) fn note(&self, row: RowKey, told: Acknowledged) {
        let mut entries = self.entries();
        let known = entries.rows.entry(row).or_default();
        if known.last().is_none_or(|last| last.stamp < told.stamp) {
            known.push(told);
            entries.changes += 1;
        }
    }

    /// Whoever told a client of this value knew no newer layout than this one.
    pub(crate) fn told_under(&self, tag: &str, newest: LayoutVersion) {
        let mut entries = self.entries();
        let told = entries.rows.values_mut().flatten().filter(|told| told.tag == tag);
        told.for_each(|told| told.under = newest.min(told.under));
    }

    /// A value of a row was seen on a disk under this ballot; the lowest of all these is returned.
    pub(crate) fn lowest(&self, row: &RowKey, tag: &str, stamp: Stamp) -> Stamp {
        let mut entries = self.entries();
        let lowest = entries.lowest.entry((row.clone(), tag.to_owned())).or_insert(stamp);
        *lowest = stamp.min(*lowest);
        *lowest
    }

    /// Every row with what was told of it, oldest first.
    pub(crate) fn rows(&self) -> Vec<(RowKey, Vec<Acknowledged>)> {
        let entries = self.entries();
        entries
            .rows
            .iter()
            .map(|(row, told)| (row.clone(), told.clone()))
            .collect()
    }

    /// How often it has changed.
    pub(crate) fn changes(&self) -> u64 {
        self.entries().changes
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
