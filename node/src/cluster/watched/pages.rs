//! Attempts over whole pages of rows that are written down while they run.

use trellis_spec::layout::{GatedRow, Pulled, Sources, Sync, SyncStep};
use trellis_spec::leaves::Extent;
use trellis_spec::listing::{Counted, Listing, ListingStep, Scanned};
use trellis_spec::quorum::NodeId;
use trellis_spec::register::Reply;
use trellis_spec::row::{Row, RowKey};
use trellis_spec::stamp::Stamp;
use trellis_spec::trace::{self, ListingEvent, ListingRun, Omitted, Record, SyncEvent, SyncInput, SyncRun};

use crate::cluster::listing::Span;
use crate::cluster::place::Place;
use crate::seeded::NodeRules;
use crate::trace::Recorder;

/// Rows that one record tells of: two answers of a thousand each and what is made of them are some 200 KiB. Of a longer
/// sync only the beginning is recorded.
const ROWS_MAX: usize = 4_096;

/// What a record of an attempt over pages has in common with others.
pub(super) trait Run {
    /// Says that what comes now is left out.
    fn leave_out(&mut self);
    /// The record.
    fn record(self) -> Record;
}

/// A record that is being made, and is made when this is dropped.
pub(super) struct Log<'a, T: Run> {
    recorder: &'a Recorder,
    run: Option<Box<T>>,
    rows: usize,
}

impl<'a, T: Run> Log<'a, T> {
    pub(super) fn begin(recorder: &'a Recorder, run: T) -> Self {
        Log {
            recorder,
            run: Some(Box::new(run)),
            rows: 0,
        }
    }

    /// The record as far as it is, if this many rows have room in it; if not, it ends here.
    pub(super) fn with(log: &mut Option<Self>, rows: usize) -> Option<&mut T> {
        let has_room = log.as_ref().is_some_and(|log| log.rows + rows <= ROWS_MAX);
        if has_room {
            let log = log.as_mut()?;
            log.rows += rows;
            return log.run.as_deref_mut();
        }
        if let Some(run) = log.take().as_mut().and_then(|log| log.run.as_mut()) {
            run.leave_out();
        }
        None
    }
}

impl<T: Run> Drop for Log<'_, T> {
    fn drop(&mut self) {
        if let Some(run) = self.run.take() {
            self.recorder.record(&run.record());
        }
    }
}

impl Run for ListingRun {
    fn leave_out(&mut self) {
        self.events.push(ListingEvent::LeftOut);
    }

    fn record(self) -> Record {
        Record::Listing(self)
    }
}

impl Run for SyncRun {
    fn leave_out(&mut self) {
        self.events.push(SyncEvent::LeftOut);
    }

    fn record(self) -> Record {
        Record::Sync(self)
    }
}

/// A listing, with its methods. Of a hundred first keys of pages, as many are recorded as of a hundred rows.
pub(crate) struct WatchedListing<'a> {
    listing: Listing<RowKey, Row, NodeRules>,
    log: Option<Log<'a, ListingRun>>,
}

impl<'a> WatchedListing<'a> {
    pub(crate) fn new(recorder: Option<&'a Recorder>, place: &Place, span: &Span, counted: Counted) -> Self {
        let recorder = recorder.filter(|recorder| recorder.wants(&span.from));
        let run = || ListingRun {
            partition: place.partition,
            view: place.view,
            sets: place.sets.clone(),
            counted,
            from: span.from.clone(),
            to: span.to.clone(),
            limit: span.limit_of_one(),
            events: Vec::new(),
        };
        WatchedListing {
            listing: Listing::new(place.sets.clone(), counted),
            log: recorder.map(|recorder| Log::begin(recorder, run())),
        }
    }

    /// This replica is being asked.
    pub(crate) fn asked(&mut self, node: NodeId) {
        if let Some(run) = Log::with(&mut self.log, 0) {
            run.events.push(ListingEvent::Asked(node));
        }
    }

    pub(crate) fn on_scanned(&mut self, from: NodeId, answer: Scanned<RowKey, Row>) -> ListingStep<RowKey, Row> {
        // The listing keeps the answer, so it is written down first.
        let heard = Log::with(&mut self.log, answer.rows.len()).map(|_| trace::scanned(&answer));
        let step = self.listing.on_scanned(from, answer);
        if let Some((heard, run)) = heard.zip(Log::with(&mut self.log, 0)) {
            let said = trace::listing_step(&step);
            run.events.push(ListingEvent::Scanned(from, heard, said));
        }
        step
    }
}

type Step = SyncStep<RowKey, Row>;

/// A sync, with its methods. Of a hundred partitions, as many are recorded as of a hundred rows.
pub(crate) struct WatchedSync<'a> {
    sync: Sync<RowKey, Row, NodeRules>,
    log: Option<Log<'a, SyncRun>>,
}

impl<'a> WatchedSync<'a> {
    pub(crate) fn new(recorder: Option<&'a Recorder>, sources: &Sources, extent: Extent) -> Self {
        let recorder = recorder.filter(|recorder| recorder.wants(&sources.partition().0.to_be_bytes()));
        let run = || SyncRun {
            sources: sources.clone(),
            extent,
            events: Vec::new(),
        };
        WatchedSync {
            sync: Sync::new(sources.clone()),
            log: recorder.map(|recorder| Log::begin(recorder, run())),
        }
    }

    pub(crate) fn settling(&self) -> Option<&RowKey> {
        self.sync.settling()
    }

    pub(crate) fn start(&mut self) -> Step {
        let step = self.sync.start();
        self.told(Some(SyncInput::Start), step)
    }

    pub(crate) fn on_pulled(&mut self, round: u32, from: NodeId, pulled: Pulled<RowKey, Row>) -> Step {
        // The sync keeps the answer, so it is written down first.
        let log = Log::with(&mut self.log, pulled.rows.len());
        let heard = log.map(|_| SyncInput::Pulled(round, from, trace::pulled(&pulled)));
        let step = self.sync.on_pulled(round, from, pulled);
        self.told(heard, step)
    }

    pub(crate) fn on_raised(&mut self) -> Step {
        let step = self.sync.on_raised();
        self.told(Some(SyncInput::Raised), step)
    }

    pub(crate) fn on_copied(&mut self, blocked: Vec<(RowKey, Stamp)>) -> Step {
        let heard = self.log.as_ref().map(|_| SyncInput::Copied(blocked.clone()));
        let step = self.sync.on_copied(blocked);
        self.told(heard, step)
    }

    pub(crate) fn again(&mut self, stamp: Stamp) -> Step {
        let step = self.sync.again(stamp);
        self.told(Some(SyncInput::Again(stamp)), step)
    }

    pub(crate) fn on_reply(&mut self, round: u32, from: NodeId, reply: Reply<Row>) -> Step {
        let log = Log::with(&mut self.log, 1);
        let heard = log.map(|_| SyncInput::Reply(round, from, trace::told(&reply)));
        let step = self.sync.on_reply(round, from, reply);
        self.told(heard, step)
    }

    pub(crate) fn on_patience(&mut self) -> Step {
        let step = self.sync.on_patience();
        self.told(Some(SyncInput::Patience), step)
    }

    pub(crate) fn on_gated(&mut self, row: GatedRow) -> Step {
        let step = self.sync.on_gated(row);
        self.told(Some(SyncInput::Gated(row)), step)
    }

    fn told(&mut self, heard: Option<SyncInput>, step: Step) -> Step {
        if let Some((heard, run)) = heard.zip(Log::with(&mut self.log, 1)) {
            run.events
                .push(SyncEvent::Told(heard, trace::sync_step(&step, Omitted::of)));
        }
        step
    }
}
