//! What is known of something that a node keeps on disk, from record to record and from life to life.
//!
//! Nothing changes it but what is recorded. After a crash it may be an older state: but none older than what was durable,
//! by what the node itself knew when it recorded; nor need it be one of those in the trace, for what was recorded last may
//! not have come to a file.

/// What something was.
pub(super) struct History<S> {
    /// What it may be, with the position of each change in the log: the newest that was durable, and what came after.
    /// Never empty.
    states: Vec<(u64, S)>,
    certainty: Certainty,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Certainty {
    /// It is the last state.
    Exact,
    /// It is the first state or a newer one.
    AtLeast,
}

impl<S> History<S> {
    /// It is this now, by a change at this position of the log.
    pub(super) fn of(position: u64, state: S) -> Self {
        History {
            states: vec![(position, state)],
            certainty: Certainty::Exact,
        }
    }

    pub(super) fn certainty(&self) -> Certainty {
        self.certainty
    }

    /// The oldest that it may be after a crash.
    pub(super) fn first(&self) -> &S {
        &self.states.first().expect("it was something").1
    }

    /// What it is, if that is certain.
    pub(super) fn last(&self) -> &S {
        &self.states.last().expect("it was something").1
    }

    pub(super) fn last_mut(&mut self) -> &mut S {
        &mut self.states.last_mut().expect("it was something").1
    }

    /// All that it may be, oldest first.
    pub(super) fn states(&self) -> &[(u64, S)] {
        &self.states
    }

    /// It was changed.
    pub(super) fn push(&mut self, position: u64, state: S) {
        self.states.push((position, state));
        self.certainty = Certainty::Exact;
    }

    /// After all, it is this.
    pub(super) fn found(&mut self, state: S) {
        *self = History::of(0, state);
    }

    /// Leaves out states that were followed by one that is durable.
    pub(super) fn leave_out_before(&mut self, durable: u64) {
        let newest = self.states.iter().rposition(|(position, _)| *position <= durable);
        self.states.drain(..newest.unwrap_or(0));
    }

    /// Leaves out all but the newest so many.
    pub(super) fn leave_out_all_but(&mut self, count: usize) {
        let surplus = self.states.len().saturating_sub(count.max(1));
        self.states.drain(..surplus);
    }

    /// The node stopped in order and was started again.
    pub(super) fn reopened(&mut self) {
        self.leave_out_all_but(1);
        self.states[0].0 = 0;
    }

    /// The node crashed and was started again, when every change up to this position was durable. Says whether anything is
    /// known still.
    pub(super) fn crashed(&mut self, durable: u64) -> bool {
        self.leave_out_before(durable);
        self.states.truncate(1);
        let is_durable = self.states[0].0 <= durable;
        self.states[0].0 = 0;
        self.certainty = Certainty::AtLeast;
        is_durable
    }
}
