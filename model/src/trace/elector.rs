//! Electors, taken again; and what they promised and accepted, from step to step.
//!
//! A step is given what the last one left. After a crash it is given that or something newer, as far as the node knew it to
//! be durable.

use std::collections::BTreeMap;

use trellis_spec::flaw::Sound;
use trellis_spec::layout::{LayoutVersion, serve_elector};
use trellis_spec::quorum::NodeId;
use trellis_spec::register::{Cell, Reply};
use trellis_spec::trace::{Candidate, ElectorStep, Kept};

use super::Wrong;
use super::history::{Certainty, History};
use super::words::{self, Layouts, Words};

type Ballot = Cell<Candidate>;

/// The elections in which one node is an elector.
#[derive(Default)]
pub(super) struct Ballots(BTreeMap<LayoutVersion, History<Ballot>>);

impl Ballots {
    /// The node stopped in order and was started again.
    pub(super) fn reopened(&mut self) {
        self.0.values_mut().for_each(History::reopened);
    }

    /// The node crashed and was started again; every change up to this position was durable.
    pub(super) fn crashed(&mut self, durable: u64) {
        self.0.retain(|_, known| known.crashed(durable));
    }

    /// Takes a step again.
    pub(super) fn step(&mut self, node: NodeId, step: &ElectorStep) -> Result<(), Wrong> {
        let about = About { node, step };
        about.taken_again()?;
        // What is seen for the first time may have been changed before, where records are missing.
        let first = || History::of(u64::MAX, step.cell.clone());
        let known = self.0.entry(step.version).or_insert_with(first);
        match known.certainty() {
            Certainty::Exact => {
                let left = known.last();
                if *left != step.cell {
                    return Err(about.wrong(&format!("as it was left: {}", show(left)), &show(&step.cell)));
                }
            }
            Certainty::AtLeast => {
                let least = known.first();
                if step.cell.promised < least.promised || step.cell.ballot() < least.ballot() {
                    let least = format!("as it was durable before the crash, or newer: {}", show(least));
                    return Err(about.wrong(&least, &show(&step.cell)));
                }
                known.found(step.cell.clone());
            }
        }
        if let (Some(changed), Kept::Replaced(position)) = (&step.changed, step.kept) {
            known.push(position, changed.clone());
        }
        Ok(())
    }
}

/// A step, for those who find fault with it.
struct About<'a> {
    node: NodeId,
    step: &'a ElectorStep,
}

impl About<'_> {
    fn taken_again(&self) -> Result<(), Wrong> {
        let step = self.step;
        let served = serve_elector::<Candidate, Sound>(&step.cell, &step.request);
        if (&served.reply, &served.changed) != (&step.reply, &step.changed) {
            let told = |reply: &Reply<Candidate>, changed: &Option<Ballot>| {
                let then = changed.as_ref().map_or("as it was".to_owned(), show);
                format!("{}; it is then: {then}", Words(&Layouts).reply(reply))
            };
            return Err(self.wrong(&told(&served.reply, &served.changed), &told(&step.reply, &step.changed)));
        }
        match (&step.changed, step.kept) {
            (None, Kept::AsItWas) | (Some(_), Kept::Replaced(_)) => Ok(()),
            (None, Kept::Replaced(_) | Kept::NotTaken) => Err(self.wrong("no change", "one")),
            (Some(changed), Kept::AsItWas | Kept::NotTaken) => {
                Err(self.wrong(&format!("a change to {}", show(changed)), "none"))
            }
        }
    }

    fn wrong(&self, expected: &str, recorded: &str) -> Wrong {
        let (step, node) = (self.step, words::node(self.node));
        let request = Words(&Layouts).request(&step.request);
        Wrong {
            machine: format!("the elector of layout {} at {node}", step.version.0),
            input: format!("{request} when it held {}", show(&step.cell)),
            expected: expected.to_owned(),
            recorded: recorded.to_owned(),
        }
    }
}

fn show(ballot: &Ballot) -> String {
    Words(&Layouts).cell(ballot)
}
