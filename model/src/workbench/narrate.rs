//! Ways through a world of the workbench, for people.

use std::fmt::{Debug, Write as _};

use super::world::{Action, Bench};
use super::{Party, Protocol, State};
use crate::value::OpIndex;

impl<P: Protocol> Bench<P> {
    /// One step in a line, and who is told what.
    pub(super) fn narrate(&self, last: &State<P>, action: Action) -> String {
        let mut text = self.happening(last, action);
        if action.loses_answer() {
            text += "; the answer is lost";
        }
        let mut next = last.clone();
        self.apply(&mut next, action);
        let ops = (0..next.ops.len() as u8).map(OpIndex);
        for op in ops.filter(|op| last.outcome(*op).is_none()) {
            if let Some(outcome) = next.outcome(op) {
                // Writing to a string cannot fail.
                let _ = write!(text, "; #{} is told: {outcome:?}", op.0);
            }
        }
        text
    }

    fn happening(&self, last: &State<P>, action: Action) -> String {
        match action {
            Action::Begin(start, _) => {
                let me = Party::Client(start.op);
                let sent = self.start(&mut last.clone(), start).swap_remove(start.first);
                let kind = self.request(start.op).kind;
                format!("{} begins: {kind}. {}", name(me), handled(me, sent.to, &sent.message))
            }
            Action::Deliver(place, _) => {
                let envelope = &last.flight[place];
                handled(envelope.from, envelope.to, &envelope.message)
            }
            Action::Crash(node) => format!("{} crashes", name(Party::Node(node))),
            Action::Remove(node) => format!("the configuration service removes {}", name(Party::Node(node))),
            Action::Inform(node) => format!("{} hears of the newest configuration", name(Party::Node(node))),
        }
    }
}

fn handled(from: Party, to: Party, message: &impl Debug) -> String {
    format!("{} handles {message:?} from {}", name(to), name(from))
}

fn name(party: Party) -> String {
    match party {
        Party::Node(node) => format!("node {node}"),
        Party::Client(op) => format!("#{}", op.0),
    }
}
