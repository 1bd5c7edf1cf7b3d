//! What a protocol may promise to its clients.
//!
//! Guarantees differ in one thing only: *which* facts of the form "this operation was answered before that one began"
//! count. A history keeps a guarantee if its operations can be put in one order that respects the facts that count, and
//! in which each read finds what the writes before it left. [`crate::history`] looks for that order.

use trellis_spec::register::WriteMode;

use super::state::Progress;
use super::{Protocol, State};
use crate::history::{self, Entry};
use crate::script::{Deed, Kind, Script};
use crate::value::{Key, OpIndex};

/// What is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guarantee {
    /// All facts count.
    Linearizable,
    /// Facts about what one client did count: nobody notices who does not talk to others.
    Sequential,
    /// What began after a write was answered does not miss it.
    ReadAfterWrite,
    /// What began after a read was answered finds nothing older.
    MonotonicReads,
    /// Where nothing is under way, all live members of the newest configuration hold the same.
    Converges,
    /// What the protocol itself says of every state, in these words.
    Invariant(&'static str),
}

impl Guarantee {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Guarantee::Linearizable => "linearizable",
            Guarantee::Sequential => "sequentially consistent",
            Guarantee::ReadAfterWrite => "reads follow writes",
            Guarantee::MonotonicReads => "reads follow reads",
            Guarantee::Converges => "copies converge",
            Guarantee::Invariant(sentence) => sentence,
        }
    }

    /// Does a state keep it?
    pub fn holds<P: Protocol>(self, protocol: &P, script: &Script, state: &State<P>) -> bool {
        match self {
            Guarantee::Converges => converged(state),
            Guarantee::Invariant(_) => protocol.invariant(state),
            Guarantee::Linearizable | Guarantee::Sequential | Guarantee::ReadAfterWrite | Guarantee::MonotonicReads => {
                history::holds(&self.entries(script, state), 1, WriteMode::Strict)
            }
        }
    }

    fn counts(self, earlier: &Deed, later: &Deed) -> bool {
        match self {
            Guarantee::Linearizable => true,
            Guarantee::Sequential => earlier.client == later.client,
            Guarantee::ReadAfterWrite => !is_read(earlier),
            Guarantee::MonotonicReads => is_read(earlier) == is_read(later),
            Guarantee::Converges | Guarantee::Invariant(_) => false,
        }
    }

    fn entries<P: Protocol>(self, script: &Script, state: &State<P>) -> Vec<Entry> {
        let numbered = (0_u8..).zip(script.deeds.iter().zip(&state.ops));
        let entry = |(op, (deed, progress)): (u8, (&Deed, &Progress<P::Client>))| {
            let (outcome, after) = match progress {
                Progress::Waiting => return None,
                Progress::Running { after, .. } => (None, *after),
                Progress::Told { outcome, after } => (Some(outcome.clone()), *after),
            };
            Some(Entry {
                op: OpIndex(op),
                kind: deed.kind,
                key: Key(0),
                author: OpIndex(op),
                outcome,
                after: after & self.facts(script, deed),
                attempts: 1,
            })
        };
        numbered.filter_map(entry).collect()
    }

    /// The operations whose being earlier counts, as bits.
    fn facts(self, script: &Script, later: &Deed) -> u16 {
        let earlier = script.deeds.iter().enumerate();
        let counted = earlier.filter(|(_, earlier)| self.counts(earlier, later));
        counted.map(|(op, _)| 1 << op).sum()
    }
}

fn is_read(deed: &Deed) -> bool {
    matches!(deed.kind, Kind::Read | Kind::Head)
}

fn converged<P: Protocol>(state: &State<P>) -> bool {
    let all_there = state.members().count() == state.newest().members.len()
        && state.members().all(|member| member.epoch == state.newest().epoch);
    let mut values = state.members().map(|member| P::value(&member.kept));
    let first = values.next();
    !all_there || !state.flight.is_empty() || values.all(|value| Some(value) == first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::Outcome;
    use crate::workbench::quorum::{ABD, Quorum};

    /// A history of `script` in which each operation began after those of the mask and was told this.
    fn kept(guarantee: Guarantee, script: &str, told: &[(u16, Outcome)]) -> bool {
        let script = Script::parse(script).unwrap();
        let mut state = State::<Quorum>::new(1, told.len());
        for (progress, (after, outcome)) in state.ops.iter_mut().zip(told) {
            let outcome = outcome.clone();
            *progress = Progress::Told { outcome, after: *after };
        }
        guarantee.holds(&ABD, &script, &state)
    }

    fn found(op: impl Into<Option<u8>>) -> Outcome {
        Outcome::Found(op.into().map(OpIndex))
    }

    #[test]
    fn guarantees_differ_in_what_counts() {
        let missed = [(0, Outcome::Wrote), (0b1, found(None))];
        let back = [(0, Outcome::Wrote), (0, found(0)), (0b10, found(None))];
        let judged = |script, told: &[_]| {
            use Guarantee::{Linearizable, MonotonicReads, ReadAfterWrite, Sequential};
            [Linearizable, ReadAfterWrite, MonotonicReads, Sequential].map(|guarantee| kept(guarantee, script, told))
        };
        assert_eq!(judged("W|R", &missed), [false, false, true, true]);
        assert_eq!(judged("W;R", &missed), [false, false, true, false]);
        assert_eq!(judged("W|R|R", &back), [false, true, false, true]);
        assert_eq!(judged("W|RR", &back), [false, true, false, false]);
    }

    #[test]
    fn what_nobody_wrote_keeps_no_guarantee() {
        let forged = [(0, found(3))];
        for guarantee in [
            Guarantee::Sequential,
            Guarantee::MonotonicReads,
            Guarantee::ReadAfterWrite,
        ] {
            assert!(!kept(guarantee, "R", &forged));
        }
    }
}
