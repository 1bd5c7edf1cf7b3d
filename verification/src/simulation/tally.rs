//! How often what happened: a run that met nothing has shown nothing.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts by name. Clones are the same counts.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Tally {
    /// Counts one.
    pub fn count(&self, what: &'static str) {
        self.add(what, 1);
    }

    /// Counts several.
    pub fn add(&self, what: &'static str, times: usize) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(what).or_default() += times as u64;
    }

    /// Adds the counts of another.
    pub fn add_all(&self, other: &Tally) {
        for (what, times) in other.counts() {
            self.add(what, usize::try_from(times).unwrap_or(usize::MAX));
        }
    }

    /// How often this happened.
    pub fn of(&self, what: &str) -> u64 {
        self.counts().get(what).copied().unwrap_or(0)
    }

    /// All of them.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Display for Tally {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.counts()
            .iter()
            .try_for_each(|(what, times)| writeln!(f, "{times:>12}  {what}"))
    }
}
