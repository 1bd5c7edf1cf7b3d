//! Drives [`trellis_spec::layout::Sync`] for one partition of rows.
//!
//! Sources send heads. A row that this node already holds costs no more than that; the body of one that it lacks is
//! fetched when it is copied.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use trellis_spec::layout::{GatedRow, SyncStep};
use trellis_spec::peer::{Answer, Call};
use trellis_spec::quorum::NodeId;
use trellis_spec::register::{Accepted, Ask, Audience, Fetch, Reply, Request};
use trellis_spec::row::{Row, RowKey, bucket_of, gate_of};
use trellis_spec::stamp::Stamp;

use super::{Interrupted, Scope, Syncing};
use crate::cluster::amount::Amount;
use crate::cluster::coordinator::Contention;
use crate::cluster::door::Door;
use crate::cluster::handing::RowCopied;
use crate::cluster::replica::Payload;
use crate::cluster::tries::Tries;
use crate::cluster::watched::WatchedSync;
use crate::env::Boxed;
use crate::link::Lane;

type Step = SyncStep<RowKey, Row>;
type Heard = (u32, NodeId, Answer);

/// Bodies fetched at a time.
const BODIES_AT_A_TIME: usize = 8;

impl<S: Scope> Syncing<'_, S> {
    /// From the first page to what follows.
    pub(super) async fn rows(&self) -> Result<S::Outcome, Interrupted> {
        let mut protocol = self.watched();
        let mut calls: FuturesUnordered<Boxed<'static, Heard>> = FuturesUnordered::new();
        let mut tries = Tries::new(self.coordinator.env.clock.monotonic());
        let (mut stamp, mut settled) = (Stamp::ZERO, None);
        let mut step = protocol.start();
        loop {
            self.check_view()?;
            step = match step {
                SyncStep::Done(synced) => return Ok(self.scope.outcome(synced.announcement())),
                SyncStep::Pull { round, from } => {
                    calls = self.pull_from_all(round, from.as_ref(), self.page_limit());
                    SyncStep::Wait
                }
                SyncStep::Ask(key, ask) => {
                    calls.extend(self.settle_at_all(&key, &ask));
                    SyncStep::Wait
                }
                SyncStep::Raise(floor) => {
                    self.raise(floor).await?;
                    protocol.on_raised()
                }
                SyncStep::Copy(rows) => protocol.on_copied(self.copy_all(rows).await?),
                SyncStep::Again { above } => {
                    let settling = protocol.settling().cloned();
                    if settling == settled {
                        self.coordinator.pause(&mut tries, Contention::Expected).await;
                    } else {
                        // Another row: nobody is known to compete for it.
                        tries = Tries::new(self.coordinator.env.clock.monotonic());
                        settled = settling;
                    }
                    stamp = self.coordinator.stamp(above.max(stamp));
                    protocol.again(stamp)
                }
                SyncStep::Gated(key) => match self.fate(&key).await {
                    GatedRow::BucketGone => protocol.on_gated(GatedRow::BucketGone),
                    // Until then there is other work to do.
                    GatedRow::BucketThere => return Err(Interrupted::Gated),
                },
                SyncStep::Wait => self.hear(&mut protocol, &mut calls).await?,
            };
        }
    }

    fn watched(&self) -> WatchedSync<'_> {
        WatchedSync::new(self.coordinator.replica.recorder(), &self.sources, self.scope.extent())
    }

    /// Listens until there is something to do.
    async fn hear(
        &self,
        protocol: &mut WatchedSync<'_>,
        calls: &mut FuturesUnordered<Boxed<'static, Heard>>,
    ) -> Result<Step, Interrupted> {
        let mut deadline = self.coordinator.env.clock.sleep(self.step_limit());
        let mut patience = self.coordinator.patience(&self.place);
        loop {
            let step = tokio::select! {
                biased;
                Some((round, node, answer)) = calls.next() => self.on_answer(protocol, round, node, answer),
                () = &mut patience => {
                    patience = self.coordinator.patience(&self.place);
                    protocol.on_patience()
                }
                () = &mut deadline => return Err(Interrupted::Unreached),
            };
            self.check_view()?;
            if step != SyncStep::Wait {
                return Ok(step);
            }
        }
    }

    fn on_answer(&self, protocol: &mut WatchedSync<'_>, round: u32, node: NodeId, answer: Answer) -> Step {
        match answer {
            Answer::Pulled(pulled) => protocol.on_pulled(round, node, pulled),
            Answer::Row { reply, .. } => protocol.on_reply(round, node, self.coordinator.observed(reply)),
            Answer::Refused(_) | Answer::Scanned(_) | Answer::Stored | Answer::NeedData => SyncStep::Wait,
            Answer::Block | Answer::NoBlock | Answer::References { .. } => SyncStep::Wait,
            Answer::Digest(_) | Answer::Leaves(_) => SyncStep::Wait,
            Answer::Reported(_) | Answer::Forgotten(_) | Answer::Full | Answer::Failed => SyncStep::Wait,
        }
    }

    /// Takes the floors of those it would pull from, so that this node may serve. A sync follows, and begins anew.
    pub(super) async fn open(&self) -> Result<(), Interrupted> {
        let mut protocol = self.watched();
        let SyncStep::Pull { round, from } = protocol.start() else {
            return Ok(());
        };
        let mut calls = self.pull_from_all(round, from.as_ref(), 1);
        match self.hear(&mut protocol, &mut calls).await? {
            SyncStep::Raise(floor) => self.raise(floor).await,
            SyncStep::Wait | SyncStep::Pull { .. } | SyncStep::Copy(_) | SyncStep::Ask(..) => Ok(()),
            SyncStep::Again { .. } | SyncStep::Gated(_) | SyncStep::Done(_) => Ok(()),
        }
    }

    async fn raise(&self, floor: Stamp) -> Result<(), Interrupted> {
        let at = Door::of_sync(&self.place);
        Ok(self.coordinator.replica.raise_floor(at, floor).await?)
    }

    fn page_limit(&self) -> u32 {
        u32::try_from(self.coordinator.limits.scan_max_rows).unwrap_or(u32::MAX)
    }

    fn pull_from_all(&self, round: u32, from: Option<&RowKey>, limit: u32) -> FuturesUnordered<Boxed<'static, Heard>> {
        let pull = |node: NodeId| {
            let (extent, from) = (self.scope.extent(), from.cloned());
            let called = self.call(round, node, Lane::Bulk, Call::Pull { extent, from, limit });
            if node != self.coordinator.me() {
                return called;
            }
            // What this node lacks is copied where the others agree on it. Its own answer makes it a row in flight, to be
            // settled, and is needed only where too few others answer.
            let patience = self.coordinator.patience(&self.place);
            let last: Boxed<'static, Heard> = Box::pin(async move {
                patience.await;
                called.await
            });
            last
        };
        self.sources.pulled().into_iter().map(pull).collect()
    }

    fn settle_at_all(&self, key: &RowKey, ask: &Ask<Row>) -> Vec<Boxed<'static, Heard>> {
        let nodes = match ask.audience {
            Audience::All => self.sources.settled(),
            Audience::One(node) => vec![node],
        };
        let settle = |node: NodeId| {
            let call = Call::Row {
                key: key.clone(),
                gate: gate_of(key),
                request: ask.request.clone(),
            };
            self.call(ask.round, node, Lane::Control, call)
        };
        nodes.into_iter().map(settle).collect()
    }

    fn call(&self, round: u32, node: NodeId, lane: Lane, call: Call) -> Boxed<'static, Heard> {
        let envelope = self.place.envelope(call);
        let answered = self.coordinator.call(node, lane, envelope, Payload::Nothing);
        Box::pin(async move { (round, node, answered.await.0) })
    }

    /// Takes settled rows into the own ones; those that a promise keeps out are to be settled above it.
    async fn copy_all(&self, rows: Vec<(RowKey, Accepted<Row>)>) -> Result<Vec<(RowKey, Stamp)>, Interrupted> {
        let copies = rows.into_iter().map(|(key, held)| self.copy(key, held));
        let mut copied = futures_util::stream::iter(copies).buffer_unordered(BODIES_AT_A_TIME);
        let mut blocked = Vec::new();
        while let Some(kept_out) = copied.next().await {
            blocked.extend(kept_out?);
        }
        // What was copied is durable before anything follows from it.
        self.coordinator.replica.settle_down().await?;
        Ok(blocked)
    }

    async fn copy(&self, key: RowKey, held: Accepted<Row>) -> Result<Option<(RowKey, Stamp)>, Interrupted> {
        match self.take(&key, &held).await? {
            RowCopied::Held => Ok(None),
            RowCopied::Taken => {
                self.copied(amount(&key, &held));
                Ok(None)
            }
            RowCopied::Promised(above) => Ok(Some((key, above))),
            RowCopied::NeedsBody => match self.whole(&key, &held).await {
                Some(whole) => match self.take(&key, &whole).await? {
                    RowCopied::Held | RowCopied::NeedsBody => Ok(None),
                    RowCopied::Taken => {
                        self.copied(amount(&key, &whole));
                        Ok(None)
                    }
                    RowCopied::Promised(above) => Ok(Some((key, above))),
                },
                // It was replaced meanwhile: what is there now is settled like any row in flight.
                None => Ok(Some((key, held.ballot))),
            },
        }
    }

    async fn take(&self, key: &RowKey, held: &Accepted<Row>) -> Result<RowCopied, Interrupted> {
        let copied = self.coordinator.replica.copy(Door::of_sync(&self.place), key, held);
        Ok(copied.await?)
    }

    /// The same value with its body, from whoever still has it.
    async fn whole(&self, key: &RowKey, held: &Accepted<Row>) -> Option<Accepted<Row>> {
        for node in self.coordinator.nearest_first(self.sources.pulled()) {
            if node == self.coordinator.me() {
                continue;
            }
            let call = Call::Row {
                key: key.clone(),
                gate: None,
                request: Request::Read(Fetch::Full),
            };
            let called = self.call(0, node, Lane::Bulk, call);
            let Ok((_, _, Answer::Row { reply, .. })) = self.coordinator.env.timeout(self.step_limit(), called).await
            else {
                continue;
            };
            if let Reply::Row {
                accepted: Some(found), ..
            } = reply
                && found.ballot == held.ballot
                && found.op == held.op
                && found.content.is_whole()
            {
                return Some(found);
            }
        }
        None
    }

    /// What became of the bucket of a row that its gate keeps from being settled.
    async fn fate(&self, key: &RowKey) -> GatedRow {
        match bucket_of(key) {
            Some(bucket) => self.gatekeeper.behind_gate(bucket).await,
            None => GatedRow::BucketThere,
        }
    }
}

/// How much a row is.
fn amount(key: &[u8], held: &Accepted<Row>) -> Amount {
    Amount::row(key, held.content.live().map_or(0, Row::inline_bytes))
}
