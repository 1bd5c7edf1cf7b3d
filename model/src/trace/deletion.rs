//! Deletions of buckets, taken again. Each is told only of what it asked for.

use trellis_spec::gate::{Deletion, DeletionOutcome, DeletionStep, Emptiness, Fate, Held, Swapped};
use trellis_spec::quorum::NodeId;
use trellis_spec::trace::{DeletionInput, DeletionRun};

use super::words::{self, hex};
use super::{Checked, Wrong};

/// Takes a deletion again, from its beginning to its end.
pub(super) fn deletion(node: NodeId, run: &DeletionRun) -> Result<Checked, Wrong> {
    let wrong = |input: &DeletionInput, expected: String, recorded: String| Wrong {
        machine: format!("the deletion of bucket {} at {}", hex(&run.bucket.0), words::node(node)),
        input: heard(input),
        expected,
        recorded,
    };
    let (mut deletion, mut checked) = (Deletion::default(), Checked::default());
    for (input, recorded) in &run.events {
        let before = deletion.step();
        if !answers(&before, input) {
            let expected = format!("an answer to: {}", said(&before));
            return Err(wrong(input, expected, "it happened".to_owned()));
        }
        deletion = match *input {
            DeletionInput::Swapped(swapped) => deletion.on_swapped(swapped),
            DeletionInput::Gate(held) => deletion.on_gate(held),
            DeletionInput::View => deletion.on_view(),
            DeletionInput::Listed(emptiness) => deletion.on_listed(emptiness),
        };
        if deletion.step() != *recorded {
            return Err(wrong(input, said(&deletion.step()), said(recorded)));
        }
        checked.told += 1;
    }
    Ok(checked)
}

/// May this be heard after that was said?
fn answers(step: &DeletionStep, input: &DeletionInput) -> bool {
    match step {
        DeletionStep::Claim | DeletionStep::Decide(_) => matches!(input, DeletionInput::Swapped(_)),
        DeletionStep::SetGate(_) => matches!(input, DeletionInput::Gate(_)),
        DeletionStep::List(_) => matches!(input, DeletionInput::Listed(_) | DeletionInput::View),
        DeletionStep::Done(_) => false,
    }
}

fn heard(input: &DeletionInput) -> String {
    match input {
        DeletionInput::Swapped(Swapped::Under(ballot)) => format!("swapped under {}", words::stamp(*ballot)),
        DeletionInput::Swapped(Swapped::Lost) => "the bucket was not as expected".to_owned(),
        DeletionInput::Gate(Held::Set) => "the gate is set".to_owned(),
        DeletionInput::Gate(Held::Newer) => "a newer gate stands in the way".to_owned(),
        DeletionInput::View => "the view rose".to_owned(),
        DeletionInput::Listed(Emptiness::Empty) => "nothing is in it".to_owned(),
        DeletionInput::Listed(Emptiness::Live) => "something is in it".to_owned(),
    }
}

fn said(step: &DeletionStep) -> String {
    match step {
        DeletionStep::Claim => "claim the bucket".to_owned(),
        DeletionStep::SetGate(state) => format!("set the gate {:?} under {}", state.gate, words::stamp(state.ballot)),
        DeletionStep::List(ballot) => format!("list what gates closed under {} show", words::stamp(*ballot)),
        DeletionStep::Decide(Fate::Active) => "decide: it stays".to_owned(),
        DeletionStep::Decide(Fate::Deleted) => "decide: it goes".to_owned(),
        DeletionStep::Done(DeletionOutcome::Deleted) => "done: deleted".to_owned(),
        DeletionStep::Done(DeletionOutcome::NotEmpty) => "done: it is not empty".to_owned(),
        DeletionStep::Done(DeletionOutcome::Overtaken) => "done: another one took over".to_owned(),
    }
}
