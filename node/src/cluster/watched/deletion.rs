//! The deletion of a bucket that is written down while it runs. There are so few that all are.

use trellis_spec::gate::{Deletion, DeletionStep, Emptiness, Held, Swapped};
use trellis_spec::row::BucketId;
use trellis_spec::trace::{DeletionInput, DeletionRun, Record};

use crate::trace::Recorder;

/// A deletion, with its methods.
pub(crate) struct WatchedDeletion<'a> {
    deletion: Deletion,
    log: Option<(&'a Recorder, DeletionRun)>,
}

impl<'a> WatchedDeletion<'a> {
    pub(crate) fn new(recorder: Option<&'a Recorder>, bucket: BucketId) -> Self {
        let run = || DeletionRun {
            bucket,
            events: Vec::new(),
        };
        WatchedDeletion {
            deletion: Deletion::default(),
            log: recorder.map(|recorder| (recorder, run())),
        }
    }

    pub(crate) fn step(&self) -> DeletionStep {
        self.deletion.step()
    }

    pub(crate) fn on_swapped(&mut self, swapped: Swapped) {
        self.told(DeletionInput::Swapped(swapped), self.deletion.on_swapped(swapped));
    }

    pub(crate) fn on_gate(&mut self, held: Held) {
        self.told(DeletionInput::Gate(held), self.deletion.on_gate(held));
    }

    pub(crate) fn on_view(&mut self) {
        self.told(DeletionInput::View, self.deletion.on_view());
    }

    pub(crate) fn on_listed(&mut self, emptiness: Emptiness) {
        self.told(DeletionInput::Listed(emptiness), self.deletion.on_listed(emptiness));
    }

    fn told(&mut self, input: DeletionInput, then: Deletion) {
        self.deletion = then;
        if let Some((_, run)) = &mut self.log {
            run.events.push((input, then.step()));
        }
    }
}

impl Drop for WatchedDeletion<'_> {
    fn drop(&mut self) {
        if let Some((recorder, run)) = self.log.take() {
            recorder.record(&Record::Deletion(run));
        }
    }
}
