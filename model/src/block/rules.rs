//! The rules in force in a world of blocks, chosen when it runs: the world is compiled once, not once for each guard.

use std::cell::Cell;

use trellis_spec::flaw::{Flaw, Rules};

/// The rules of the world that is at work on this thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct R;

thread_local! {
    static LACKS: Cell<Option<Flaw>> = const { Cell::new(None) };
}

/// A world is at work on this thread from now on whose rules lack this guard.
pub(super) fn enter(lacks: Option<Flaw>) {
    LACKS.set(lacks);
}

impl Rules for R {
    fn lacks(flaw: Flaw) -> bool {
        LACKS.get() == Some(flaw)
    }
}
