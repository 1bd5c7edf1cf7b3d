//! What stands in the way of an attempt, as its driver notices it: replicas that refuse, and disks that are full.

use std::collections::BTreeSet;

use trellis_spec::gate::Gate;
use trellis_spec::peer::Answer;
use trellis_spec::quorum::{NodeId, ReplicaSets, Verdict, Vote};
use trellis_spec::register::{Ask, Reply, Request};
use trellis_spec::row::Row;

/// What the replicas answered besides replies.
#[derive(Default)]
pub(super) struct Trouble {
    round: u32,
    /// Rounds in which a replica may have taken a value.
    proposals: u32,
    refusing: BTreeSet<NodeId>,
    /// Those of them that have no room.
    full: BTreeSet<NodeId>,
    pub(super) gate: Gate,
}

impl Trouble {
    pub(super) fn next_round(&mut self, ask: &Ask<Row>) {
        self.round = ask.round;
        self.proposals += match ask.request {
            Request::Read(_) | Request::Prepare { .. } => 0,
            Request::Write(_) | Request::WriteBack(_) | Request::Accept(_) => 1,
        };
        self.refusing.clear();
        self.full.clear();
    }

    pub(super) fn note(&mut self, round: u32, node: NodeId, answer: Answer) -> Option<Reply<Row>> {
        match answer {
            Answer::Row { reply, gate } => {
                self.gate = self.gate.max(gate);
                return Some(reply);
            }
            Answer::Full if round == self.round => _ = self.full.insert(node),
            Answer::Full => {}
            Answer::Refused(refusal) => tracing::warn!(?node, ?refusal, "a replica refused"),
            Answer::Failed | Answer::Scanned(_) | Answer::Stored => {}
            Answer::NeedData | Answer::Block | Answer::NoBlock => {}
            Answer::Pulled(_) | Answer::References { .. } | Answer::Digest(_) | Answer::Leaves(_) => {}
            Answer::Reported(_) | Answer::Forgotten(_) => {}
        }
        if round == self.round {
            self.refusing.insert(node);
        }
        None
    }

    /// Is it certain that nobody took anything, for want of room?
    pub(super) fn is_full(&self, sets: &ReplicaSets) -> bool {
        self.proposals <= 1 && sets.members().iter().all(|node| self.full.contains(node))
    }

    /// Is nothing more worth waiting for? When all refusals so far are for want of room, the others' answers are: they
    /// make the difference between "no space" and "unknown".
    pub(super) fn is_over(&self, sets: &ReplicaSets) -> bool {
        let may_be_full = self.proposals <= 1 && self.full == self.refusing;
        self.is_hopeless(sets) && (!may_be_full || self.is_full(sets))
    }

    /// Can the round never complete?
    pub(super) fn is_hopeless(&self, sets: &ReplicaSets) -> bool {
        let vote = |node| {
            if self.refusing.contains(&node) {
                Vote::No
            } else {
                Vote::Open
            }
        };
        sets.verdict(vote) == Verdict::Impossible
    }
}
