//! Elections of layouts: what a candidacy and its electors were told, and what they said.
//!
//! No rule of an election looks into a layout but its candidate's own number, so a record names layouts by their marks.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::Kept;
use super::attempt::{Event, Outcome};
use super::values::{self, cell, reply, request};
use crate::layout::{Layout, LayoutMark, LayoutVersion};
use crate::quorum::ReplicaSets;
use crate::register::{Cell, ConditionalOutcome, OpId, Reply, Request, Served, Value};

/// A layout that somebody stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Candidate(pub LayoutMark);

/// A candidacy, from its beginning to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElectionRun {
    /// The number of the layout that is elected.
    pub version: LayoutVersion,
    /// The electors.
    pub sets: ReplicaSets,
    /// The operation.
    pub op: OpId,
    /// Who stands.
    pub candidate: Candidate,
    /// What happened, in order. It may stop anywhere.
    pub events: Vec<Event<Candidate>>,
}

/// One step of [`serve_elector`](crate::layout::serve_elector).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElectorStep {
    /// The number of the layout that is elected.
    pub version: LayoutVersion,
    /// What was stored.
    pub cell: Cell<Candidate>,
    /// What was asked.
    pub request: Request<Candidate>,
    /// What the rule said.
    pub reply: Reply<Candidate>,
    /// The election as it is to be, if it changes.
    pub changed: Option<Cell<Candidate>>,
    /// What became of it.
    pub kept: Kept,
}

impl Candidate {
    /// This one.
    pub fn of(layout: &Layout) -> Self {
        Candidate(LayoutMark::of(&layout.hash()))
    }
}

impl Value for Candidate {
    fn head(&self) -> Self {
        *self
    }

    fn is_whole(&self) -> bool {
        true
    }
}

impl ElectorStep {
    /// A step that was just taken.
    pub fn taken(
        version: LayoutVersion,
        stored: &Cell<Layout>,
        asked: &Request<Layout>,
        served: &Served<Layout>,
        kept: Kept,
    ) -> Self {
        let mut name = Candidate::of;
        ElectorStep {
            version,
            cell: cell(stored, &mut name),
            request: request(asked, &mut name),
            reply: reply(&served.reply, &mut name),
            changed: served.changed.as_ref().map(|changed| cell(changed, &mut name)),
            kept,
        }
    }
}

/// How a candidacy ended, in the terms of a record.
pub fn elected<V>(outcome: &ConditionalOutcome<V>, mut name: impl FnMut(&V) -> Candidate) -> Outcome<Candidate> {
    Outcome::Conditional(values::conditional(outcome, &mut name))
}
