//! Pages of rows that a replica shows to listings; and, for whoever records it, what it made of them.

use trellis_spec::layout::Admitted;
use trellis_spec::listing::Scanned;
use trellis_spec::peer::{Answer, scanned_rows};
use trellis_spec::register::Cell;
use trellis_spec::row::{Row, RowKey};
use trellis_spec::trace::{PageOf, PageStep, Reading, Record, Shown};

use super::cells::Shelf;
use super::door::{Door, Refused};
use super::replica::Replica;
use crate::trace::Recorder;

/// A longer page is not recorded.
const RECORDED_ROWS_MAX: usize = 4_096;

/// A page that is to be recorded. It exists from before the rows are read.
pub(super) struct Sight<'a> {
    recorder: &'a Recorder,
    durable: u64,
}

/// What was read, and what is said of it.
pub(super) struct Page<'a> {
    pub(super) from: &'a RowKey,
    pub(super) limit: usize,
    pub(super) cells: &'a [(RowKey, Cell<Row>)],
    pub(super) bound: Option<&'a RowKey>,
}

impl Sight<'_> {
    /// The record of the page, but for what was said.
    pub(super) fn read(&self, admitted: Admitted, shown: Shown, page: &Page<'_>, of: PageOf) -> Option<PageStep> {
        let at = Reading {
            durable: self.durable,
            admitted,
            shown,
        };
        let is_short = page.cells.len() <= RECORDED_ROWS_MAX;
        is_short.then(|| PageStep::read(at, page.from.clone(), page.limit, page.cells, page.bound.cloned(), of))
    }

    /// It was said.
    pub(super) fn told(&self, step: PageStep) {
        self.recorder.record(&Record::Page(step));
    }
}

impl Replica {
    /// A page will be read. It is recorded, if anybody records, where this is among what is recorded.
    pub(super) fn sight(&self, chosen_by: &[u8]) -> Option<Sight<'_>> {
        let recorder = self.recorder().filter(|recorder| recorder.wants(chosen_by))?;
        let durable = recorder.durable_so_far();
        Some(Sight { recorder, durable })
    }

    pub(super) async fn scan(
        &self,
        at: Door,
        from: &RowKey,
        to: &RowKey,
        limit: u32,
        gate_key: Option<&[u8]>,
    ) -> Result<Answer, Refused> {
        let sight = self.sight(from);
        let (_, admitted) = self.enter_for(at, from)?;
        let shelf = Shelf::of(&admitted);
        let limit = self.limits.scan_max_rows.min(limit as usize).max(1);
        // The gate first: when it is closed, everything it ever let through is visible to the scan.
        let gate = self.gate(shelf, gate_key)?;
        let range = self
            .cells
            .scan(shelf, from, Some(to), limit, self.limits.scan_max_bytes)?;
        // What was read after a fence must not be told to those whom it keeps out.
        let (shown, admitted) = self.enter_for(at, from)?;
        let read = sight.as_ref().and_then(|sight| {
            let page = Page {
                from,
                limit,
                cells: &range.value.cells,
                bound: range.value.bound.as_ref(),
            };
            let of = PageOf::Scan {
                to: to.clone(),
                gate_key: gate_key.map(<[u8]>::to_vec),
                gate: gate.value,
                told: Vec::new(),
            };
            sight.read(admitted, shown, &page, of)
        });
        let rows = scanned_rows(range.value.cells);
        if let Some((sight, mut step)) = sight.zip(read) {
            if let PageOf::Scan { told, .. } = &mut step.of {
                told.extend(rows.iter().map(|(_, held)| held.ballot));
            }
            sight.told(step);
        }
        self.durable(range.written_at.max(gate.written_at)).await?;
        Ok(Answer::Scanned(Scanned {
            rows,
            bound: range.value.bound,
            gate: gate.value,
        }))
    }
}
