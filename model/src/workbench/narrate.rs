//! Ways through a world of the workbench, for people.

use std::fmt::{Debug, Write as _};

use super::world::{Action, Bench, Hearing};
use super::{Party, Protocol, State};
use crate::value::OpIndex;

impl<P: Protocol> Bench<P> {
    /// One step in a line, and who is told what.
    pub(super) fn narrate(&self, last: &State<P>, action: Action) -> String {
        let told = |state: &State<P>| -> Vec<OpIndex> {
            let ops = (0..state.ops.len() as u8).map(OpIndex);
            ops.filter(|op| state.outcome(*op).is_some()).collect()
        };
        let mut text = match action {
            Action::Begin {
                op,
                epoch,
                nearest,
                first,
                ..
            } => {
                let request = self.request(op);
                let mut began = last.clone();
                let sent = began.begin(&self.protocol, request, epoch, nearest).swap_remove(first);
                format!(
                    "#{} begins: {}. {}",
                    op.0,
                    request.kind,
                    handled(Party::Client(op), sent.to, &sent.message)
                )
            }
            Action::Deliver { message, .. } => {
                let envelope = &last.flight[message];
                handled(envelope.from, envelope.to, &envelope.message)
            }
            Action::Crash(node) => format!("{} crashes", name(Party::Node(node))),
            Action::Remove(node) => format!("the configuration service removes {}", name(Party::Node(node))),
            Action::Inform(node) => format!("{} hears of the newest configuration", name(Party::Node(node))),
        };
        if let Action::Begin {
            hearing: Hearing::Lost, ..
        }
        | Action::Deliver {
            hearing: Hearing::Lost, ..
        } = action
        {
            text += "; the answer is lost";
        }
        let mut next = last.clone();
        self.apply(&mut next, action);
        let before = told(last);
        for op in told(&next).into_iter().filter(|op| !before.contains(op)) {
            if let Some(outcome) = next.outcome(op) {
                // Writing to a string cannot fail.
                let _ = write!(text, "; #{} is told: {outcome:?}", op.0);
            }
        }
        text
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
