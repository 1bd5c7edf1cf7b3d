//! What is decided about blocks, written down while it is.

use std::collections::BTreeSet;

use trellis_spec::block::{Brought, Data, Kept, Placing, Pulled, Pulling, StoreStep, Stored, Storing};
use trellis_spec::layout::Partition;
use trellis_spec::quorum::{NodeId, ReplicaSets, Verdict};
use trellis_spec::row::{Block, BlockName, BlockReference};
use trellis_spec::trace::{KeepEvent, KeepRun, PlaceRun, Placed, PullEvent, PullRun, Record};

use super::pages::{Log, Run};
use crate::cluster::place::Place;
use crate::seeded::NodeRules;
use crate::trace::Recorder;

/// The storing of a block at a replica, with its methods. It is recorded when this is dropped, which must be under the lock
/// of the block.
pub(crate) struct WatchedStoring<'a> {
    storing: Storing<NodeRules>,
    log: Option<(&'a Recorder, KeepRun)>,
}

impl<'a> WatchedStoring<'a> {
    pub(crate) fn new(
        recorder: Option<&'a Recorder>,
        partition: Partition,
        reference: &BlockReference,
        brought: Brought,
    ) -> Self {
        let recorder = recorder.filter(|recorder| recorder.wants(&reference.block.0));
        let run = || KeepRun {
            partition,
            block: reference.block,
            version: reference.version,
            brought,
            events: Vec::new(),
        };
        WatchedStoring {
            storing: Storing::new(brought),
            log: recorder.map(|recorder| (recorder, run())),
        }
    }

    pub(crate) fn step(&self) -> StoreStep {
        self.storing.step()
    }

    pub(crate) fn on_done(&mut self) {
        self.note(KeepEvent::Done(self.storing.step()));
        self.storing = self.storing.on_done();
    }

    pub(crate) fn on_look(&mut self, data: Data) {
        self.note(KeepEvent::Looked(data));
        self.storing = self.storing.on_look(data);
    }

    /// This is what the replica says.
    pub(crate) fn answered(&mut self, kept: Kept) {
        self.note(KeepEvent::Answered(kept));
    }

    fn note(&mut self, event: KeepEvent) {
        if let Some((_, run)) = &mut self.log {
            run.events.push(event);
        }
    }
}

impl Drop for WatchedStoring<'_> {
    fn drop(&mut self) {
        if let Some((recorder, run)) = self.log.take() {
            recorder.record(&Record::Kept(run));
        }
    }
}

/// The placing of a block, with its methods.
pub(crate) struct WatchedPlacing<'a> {
    placing: Placing<NodeRules>,
    log: Option<(&'a Recorder, PlaceRun)>,
}

impl<'a> WatchedPlacing<'a> {
    pub(crate) fn new(recorder: Option<&'a Recorder>, block: Block, place: &Place) -> Self {
        let recorder = recorder.filter(|recorder| recorder.wants(&block.name.0));
        let run = || PlaceRun {
            partition: place.partition,
            view: place.view,
            block,
            sets: place.sets.clone(),
            events: Vec::new(),
        };
        WatchedPlacing {
            placing: Placing::new(block, place.sets.clone()),
            log: recorder.map(|recorder| (recorder, run())),
        }
    }

    pub(crate) fn on_kept(&mut self, from: NodeId, kept: Kept) {
        self.placing.on_kept(from, kept);
        if let Some((_, run)) = &mut self.log {
            let placed = Placed {
                verdict: self.placing.verdict(),
                needs_data: self.placing.needs_data(),
            };
            run.events.push((from, kept, placed));
        }
    }

    pub(crate) fn stored(&self) -> Option<Stored> {
        self.placing.stored()
    }

    pub(crate) fn verdict(&self) -> Verdict {
        self.placing.verdict()
    }

    pub(crate) fn needs_data(&self) -> bool {
        self.placing.needs_data()
    }
}

impl Drop for WatchedPlacing<'_> {
    fn drop(&mut self) {
        if let Some((recorder, run)) = self.log.take() {
            recorder.record(&Record::Placed(run));
        }
    }
}

impl Run for PullRun {
    fn leave_out(&mut self) {
        self.events.push(PullEvent::LeftOut);
    }

    fn record(self) -> Record {
        Record::Pulled(self)
    }
}

/// A pull of references, with its methods. Of a hundred partitions, as many are recorded as of a hundred rows.
pub(crate) struct WatchedPulling<'a> {
    pulling: Pulling<NodeRules>,
    log: Option<Log<'a, PullRun>>,
}

impl<'a> WatchedPulling<'a> {
    pub(crate) fn new(recorder: Option<&'a Recorder>, place: &Place, sources: &ReplicaSets) -> Self {
        let recorder = recorder.filter(|recorder| recorder.wants(&place.partition.0.to_be_bytes()));
        let run = || PullRun {
            partition: place.partition,
            view: place.view,
            sources: sources.clone(),
            events: Vec::new(),
        };
        WatchedPulling {
            pulling: Pulling::new(sources.clone()),
            log: recorder.map(|recorder| Log::begin(recorder, run())),
        }
    }

    pub(crate) fn on_pulled(&mut self, from: NodeId, references: Vec<Pulled>) {
        let told = |Pulled { reference, data }: &Pulled| (reference.block, reference.version, *data);
        let heard = Log::with(&mut self.log, references.len()).map(|_| references.iter().map(told).collect());
        self.pulling.on_pulled(from, references);
        if let Some((heard, run)) = heard.zip(Log::with(&mut self.log, 0)) {
            run.events
                .push(PullEvent::Pulled(from, heard, self.pulling.is_complete()));
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.pulling.is_complete()
    }

    /// Is everything here, but for these data?
    pub(crate) fn is_synced(&mut self, missing: &BTreeSet<BlockName>) -> bool {
        let data = |reference: &BlockReference| match missing.contains(&reference.block) {
            true => Data::Absent,
            false => Data::Verified,
        };
        let is_synced = self.pulling.is_synced(data);
        if let Some(run) = Log::with(&mut self.log, missing.len()) {
            let missing = missing.iter().copied().collect();
            run.events.push(PullEvent::Judged(missing, is_synced));
        }
        is_synced
    }
}
