//! Range reads over the rows of one placement.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use trellis_spec::gate::Gate;
use trellis_spec::listing::{Counted, ListingStep, Page};
use trellis_spec::peer::{Answer, Call};
use trellis_spec::register::Fetch;
use trellis_spec::row::{Address, Placement, Row, RowKey};

use super::coordinator::Coordinator;
use super::operations::ClusterError;
use super::place::{Place, Target};
use super::replica::Payload;
use super::watched::WatchedListing;
use crate::link::Lane;

/// A range of rows to read.
pub struct Span {
    /// Where the rows live.
    pub placement: Placement,
    /// The first key, inclusive.
    pub from: RowKey,
    /// The end, exclusive.
    pub to: RowKey,
    /// At most so many rows.
    pub limit: usize,
    /// The gate of the rows.
    pub gate: Option<RowKey>,
}

/// A page of rows, and whether some replica's gate was closed.
pub struct Listed {
    /// The rows; none is a suspect any more.
    pub page: Page<RowKey, Row>,
    /// The gate as the replicas reported it.
    pub gate: Gate,
}

/// What scanning under one view came to.
enum Scan {
    Listed(Listed),
    Failed(ClusterError),
    Moved(Place),
}

impl Span {
    /// At most so many rows are asked of one replica.
    pub(super) fn limit_of_one(&self) -> u32 {
        u32::try_from(self.limit).unwrap_or(u32::MAX)
    }
}

impl Coordinator {
    /// One page of a range, as a majority holds it; what differs is repaired before it is returned.
    pub async fn list(&self, span: &Span, counted: Counted) -> Result<Listed, ClusterError> {
        let mut listed = self.list_as_it_is(span, counted).await?;
        self.repair(span, &mut listed.page).await?;
        Ok(listed)
    }

    /// One page of a range with its suspects: every row is there that was acknowledged, and perhaps some that were not.
    pub async fn list_as_it_is(&self, span: &Span, counted: Counted) -> Result<Listed, ClusterError> {
        let limit = Duration::from_millis(self.limits.request_deadline_ms);
        let scanned = self.env.timeout(limit, self.scan(span, counted)).await;
        scanned.map_err(|_| ClusterError::Unreached)?
    }

    /// Begins again when the view rises: all answers of a page are given under one.
    async fn scan(&self, span: &Span, counted: Counted) -> Result<Listed, ClusterError> {
        let mut place = self.place(&span.placement);
        loop {
            match self.scan_at(&place, span, counted).await {
                Scan::Listed(listed) => return Ok(listed),
                Scan::Failed(error) => return Err(error),
                Scan::Moved(moved) => place = moved,
            }
        }
    }

    async fn scan_at(&self, place: &Place, span: &Span, counted: Counted) -> Scan {
        let mut listing = WatchedListing::new(self.replica.recorder(), place, span, counted);
        let mut calls = FuturesUnordered::new();
        for node in self.nearest_first(place.sets.members()) {
            listing.asked(node);
            let limit = span.limit_of_one();
            let (from, to, gate) = (span.from.clone(), span.to.clone(), span.gate.clone());
            let call = Call::Scan { from, to, limit, gate };
            let envelope = place.envelope(call);
            let answered = self.call(node, Lane::Control, envelope, Payload::Nothing);
            calls.push(async move { (node, answered.await.0) });
        }
        let mut gate = Gate::Open;
        while let Some((node, answer)) = calls.next().await {
            let Answer::Scanned(scanned) = answer else {
                match self.moved(place) {
                    Some(moved) => return Scan::Moved(moved),
                    None => continue,
                }
            };
            gate = gate.max(scanned.gate.gate);
            match listing.on_scanned(node, scanned) {
                ListingStep::Wait => {}
                ListingStep::Done(page) => return Scan::Listed(Listed { page, gate }),
                ListingStep::Overtaken => return Scan::Failed(ClusterError::Gated),
            }
        }
        Scan::Failed(ClusterError::Unreached)
    }

    /// Reads every suspect, which repairs it, some at a time.
    async fn repair(&self, span: &Span, page: &mut Page<RowKey, Row>) -> Result<(), ClusterError> {
        const REPAIRS_AT_A_TIME: usize = 32;
        let suspects = page.suspects.clone();
        let reads = suspects.into_iter().map(|key| async move {
            let target = Target {
                address: Address {
                    placement: span.placement,
                    key: key.clone(),
                },
                gate: span.gate.clone(),
            };
            (key, self.read(&target, Fetch::Head).await)
        });
        let mut reads = futures_util::stream::iter(reads).buffer_unordered(REPAIRS_AT_A_TIME);
        while let Some((key, found)) = reads.next().await {
            page.repaired(&key, found?.accepted);
        }
        Ok(())
    }
}
