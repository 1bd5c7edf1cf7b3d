//! The coordinator: runs attempts against the replicas of a row.
//!
//! What an attempt asks for is sent to all replicas at once; what they answer is told to the attempt; it says when it
//! is done. The driver adds what attempts cannot know: deadlines, pauses, fresh stamps, which replica is near.

use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::FusedFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::Semaphore;
use trellis_spec::gate::Gate;
use trellis_spec::peer::{Answer, Call, Envelope};
use trellis_spec::quorum::NodeId;
use trellis_spec::register::{Ask, Audience, Fetch, Reply, Request, Step};
use trellis_spec::row::Row;
use trellis_spec::stamp::{Incarnation, Issuer, Stamp};
use trellis_spec::trace::Traced;

use super::calls::Calls;
use super::layouts::Layouts;
use super::limits::Limits;
use super::place::{Place, Subject};
use super::replica::{Answered, Payload, Replica};
use super::tries::Tries;
use super::trouble::Trouble;
use super::turns::Turns;
use super::watched::Watched;
use crate::env::{Boxed, Env};
use crate::link::{Lane, Network, PeerId};
use crate::seeded::{Slip, slips};

/// What an attempt came to, and what its driver noticed on the way.
pub(crate) struct Ended<O> {
    pub(crate) outcome: O,
    /// The gate as the replicas reported it: closed if any did.
    pub(crate) gate: Gate,
    /// Every replica answered that it has no room, and that was all they were asked.
    pub(crate) full: bool,
}

/// Do others compete for the row, so that trying again at once would be rude?
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contention {
    Expected,
    Unlikely,
}

/// Runs the operations of one node on the rows of the cluster.
pub struct Coordinator {
    pub(crate) env: Env,
    pub(crate) limits: Limits,
    pub(crate) turns: Turns,
    /// Memory for blocks on their way in, in KiB.
    pub(crate) upload_memory: Arc<Semaphore>,
    /// Memory for blocks fetched ahead of readers, in KiB.
    pub(crate) download_memory: Arc<Semaphore>,
    /// Memory for messages to replicas that were not needed any more, in KiB.
    linger_memory: Arc<Semaphore>,
    pub(crate) replica: Arc<Replica>,
    pub(crate) calls: Calls,
    issuer: Mutex<Issuer>,
    /// Blocks and rows that clients asked for since this node started.
    operations: AtomicU64,
}

type Heard = (u32, NodeId, Answer);

impl Coordinator {
    /// A coordinator in a process that starts now.
    pub fn new(env: Env, limits: Limits, replica: Arc<Replica>, network: Arc<dyn Network>) -> Self {
        let issuer = Mutex::new(Issuer::new(new_incarnation(&env)));
        let memory = |bytes: usize| Arc::new(Semaphore::new(bytes >> 10));
        let upload_memory = memory(limits.blocks_in_flight_bytes);
        let (download_memory, linger_memory) = (memory(limits.download_ahead_bytes), memory(limits.linger_bytes));
        let calls = Calls::new(env.clone(), &limits, replica.clone(), network);
        Coordinator {
            env,
            limits,
            turns: Turns::new(),
            upload_memory,
            download_memory,
            linger_memory,
            calls,
            replica,
            issuer,
            operations: AtomicU64::new(0),
        }
    }

    /// How many operations of clients there were; only that it changes means something.
    pub(crate) fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    /// A client asks for something.
    pub(crate) fn note_operation(&self) {
        self.operations.fetch_add(1, Ordering::Relaxed);
    }

    /// A stamp that was never issued, above `above`, and where clocks agree above everything that was accepted here.
    ///
    /// An issuer whose time ran ahead of the clock by more than replicas accept is replaced by a new incarnation, as a
    /// restart would: one row with a stamp from a clock that was wrong by hours, or a clock that was set right, must not
    /// keep this node from writing all others.
    pub(crate) fn stamp(&self, above: Stamp) -> Stamp {
        let now_us = self.env.clock.wall_us();
        let latest_us = self.latest_us();
        let mut issuer = self.issuer();
        if issuer.last_us() >= latest_us && above.time < latest_us {
            *issuer = Issuer::new(new_incarnation(&self.env));
        }
        issuer.issue(now_us.max(self.replica.greatest_us().min(latest_us)), above)
    }

    /// Who issues this node's stamps now. An operation must not be tried again under another one, whose stamps may be
    /// lower than what it left behind.
    pub(crate) fn incarnation(&self) -> Incarnation {
        self.issuer().incarnation()
    }

    /// The latest time of a stamp that says something about the time.
    pub(crate) fn latest_us(&self) -> u64 {
        // Half of what replicas accept, so that they still do when this clock is ahead of theirs.
        let ahead_us = self.limits.clock_skew_max_ms.saturating_mul(1000) / 2;
        self.env.clock.wall_us().saturating_add(ahead_us)
    }

    /// Runs `attempt` on a row to its end.
    pub(crate) async fn run<A: Traced>(
        &self,
        row: impl Into<Subject<'_>>,
        place: Place,
        attempt: &mut A,
        first: Stamp,
        contention: Contention,
    ) -> Ended<A::Outcome> {
        let ready = std::future::ready(ControlFlow::Continue(()));
        self.run_when(row, place, attempt, first, contention, ready).await
    }

    /// The same, but answers are looked at only once `ready` says so: to the attempt, the network is slow until then.
    /// If it says that there is nothing to be done any more, the attempt ends as at a deadline.
    pub(crate) async fn run_when<A: Traced>(
        &self,
        row: impl Into<Subject<'_>>,
        mut place: Place,
        attempt: &mut A,
        first: Stamp,
        contention: Contention,
        ready: impl Future<Output = ControlFlow<()>>,
    ) -> Ended<A::Outcome> {
        let row = row.into();
        let attempt = &mut Watched::new(attempt, self.replica.recorder(), row, &place);
        let mut ready = pin!(ready.fuse());
        let mut deadline = self.deadline();
        let mut patience = self.patience(&place);
        let mut calls: FuturesUnordered<Boxed<'static, Heard>> = FuturesUnordered::new();
        let mut early = Vec::new();
        let mut trouble = Trouble::default();
        let mut tries = Tries::new(self.env.clock.monotonic());
        let (mut stamp, mut step) = (first, attempt.start(first));
        let outcome = loop {
            match step {
                Step::Done(outcome) => break outcome,
                Step::Ask(ask) => {
                    trouble.next_round(&ask);
                    patience = self.patience(&place);
                    self.send(row, &place, &ask, attempt, &mut calls);
                }
                Step::Again { above } => {
                    self.pause(&mut tries, contention).await;
                    // Never below what it used before, whatever became of the clock: an earlier value that a minority
                    // took would come back over what is acknowledged now.
                    stamp = self.stamp(above.max(stamp));
                    step = attempt.again(stamp);
                    continue;
                }
                Step::Wait => {}
            }
            let is_ready = ready.is_terminated();
            step = tokio::select! {
                biased;
                flow = &mut ready => {
                    if flow.is_break() {
                        break attempt.on_deadline();
                    }
                    deadline = self.deadline();
                    Step::Wait
                }
                Some(heard) = next(is_ready, &mut early, &mut calls) => if is_ready {
                    let (round, node, answer) = heard;
                    if let Answer::Refused(_) = answer && let Some(moved) = self.moved(&place) {
                        place = moved;
                        step = attempt.on_view(place.sets.clone());
                        continue;
                    }
                    match trouble.note(round, node, answer) {
                        Some(reply) => attempt.on_reply(round, node, self.observed(reply)),
                        None if trouble.is_over(&place.sets) => break attempt.on_deadline(),
                        None => Step::Wait,
                    }
                } else {
                    early.push(heard);
                    Step::Wait
                },
                () = &mut patience => {
                    if trouble.is_hopeless(&place.sets) {
                        break attempt.on_deadline();
                    }
                    patience = self.patience(&place);
                    attempt.on_patience()
                }
                () = &mut deadline, if is_ready => break attempt.on_deadline(),
            };
        };
        self.linger(calls, self.limits.inline_max_bytes);
        Ended {
            outcome,
            gate: trouble.gate,
            full: trouble.is_full(&place.sets),
        }
    }

    fn deadline(&self) -> Boxed<'static, ()> {
        let limit = Duration::from_millis(self.limits.request_deadline_ms);
        self.env.clock.sleep(limit)
    }

    fn send<A: Traced>(
        &self,
        row: Subject<'_>,
        place: &Place,
        ask: &Ask<Row>,
        attempt: &mut Watched<'_, A>,
        calls: &mut FuturesUnordered<Boxed<'static, Heard>>,
    ) {
        let nodes = match ask.audience {
            Audience::All => self.nearest_first(place.sets.members()),
            Audience::One(node) => vec![node],
        };
        // Whole bodies are asked of the nearest replicas only; one suffices when it is this node.
        let whole = if nodes.first() == Some(&self.me()) { 1 } else { 2 };
        for (rank, node) in nodes.into_iter().enumerate() {
            let request = match &ask.request {
                Request::Read(Fetch::Full) if rank >= whole => Request::Read(Fetch::Head),
                Request::Read(_) | Request::Prepare { .. } => ask.request.clone(),
                Request::Write(_) | Request::WriteBack(_) | Request::Accept(_) => ask.request.clone(),
            };
            attempt.sent(node, &request);
            let call = Call::Row {
                key: row.key.clone(),
                gate: row.gate.cloned(),
                request,
            };
            let answered = self.call(node, Lane::Control, place.envelope(call), Payload::Nothing);
            let round = ask.round;
            calls.push(Box::pin(async move { (round, node, answered.await.0) }));
        }
    }

    /// Calls one node until it answers. The caller drops the future when it has waited long enough.
    pub(crate) fn call(
        &self,
        node: NodeId,
        lane: Lane,
        envelope: Envelope,
        payload: Payload,
    ) -> Boxed<'static, Answered> {
        self.calls.call(node, lane, envelope, payload)
    }

    /// This node first, then the others by how long their answers take.
    pub(crate) fn nearest_first(&self, mut nodes: Vec<NodeId>) -> Vec<NodeId> {
        let distance = |node: &NodeId| match self.round_trip_to(*node) {
            _ if *node == self.me() => Duration::ZERO,
            round_trip => round_trip.unwrap_or(Duration::MAX),
        };
        nodes.sort_by_cached_key(|node| (distance(node), *node));
        nodes
    }

    /// Gives replicas that were not needed for the answer some more time to hear of the operation, as far as there is
    /// memory for what they have not taken yet; `bytes` is about what each call holds.
    pub(crate) fn linger<T: Send + 'static>(&self, calls: FuturesUnordered<Boxed<'static, T>>, bytes: usize) {
        // However small the message, a call that waits has a task and timers.
        const LEAST_BYTES: usize = 32 << 10;
        let kib = u32::try_from(bytes.max(LEAST_BYTES) >> 10).unwrap_or(u32::MAX);
        if calls.is_empty() {
            return;
        }
        let Ok(room) = self.linger_memory.clone().try_acquire_many_owned(kib) else {
            return;
        };
        let env = self.env.clone();
        let limit = Duration::from_millis(self.limits.linger_ms);
        let rest = async move {
            let _ = env.timeout(limit, calls.for_each(|_| std::future::ready(()))).await;
            drop(room);
        };
        self.env.spawner.spawn("linger", Box::pin(rest));
    }

    /// A pause of a random part of what the last try took, longer with every try.
    pub(super) async fn pause(&self, tries: &mut Tries, contention: Contention) {
        let took = tries.again(self.env.clock.monotonic());
        if contention == Contention::Unlikely && tries.count <= 2 {
            return;
        }
        let longest = took.max(Duration::from_millis(2)) * (1 << tries.count.min(5));
        let longest = longest.min(Duration::from_millis(self.limits.contention_pause_max_ms));
        let share = u32::try_from(self.env.random_u64() % 1024).unwrap_or(0);
        self.env.clock.sleep(longest * share / 1024).await;
        tries.begun = self.env.clock.monotonic();
    }

    /// Lets clients go first: so many steps of work in the background take their share of a second.
    pub(super) async fn rest(&self, steps: u64) {
        let micros = 1_000_000 * steps / self.limits.collect_steps_per_s.max(1);
        self.env.clock.sleep(Duration::from_micros(micros)).await;
    }

    pub(super) fn observed(&self, reply: Reply<Row>) -> Reply<Row> {
        let seen = match &reply {
            Reply::Nack { seen } => Some(*seen),
            Reply::Row {
                accepted: Some(held), ..
            }
            | Reply::Promise {
                accepted: Some(held), ..
            } => Some(held.ballot),
            Reply::Row { accepted: None, .. } | Reply::Promise { accepted: None, .. } => None,
            Reply::Accept | Reply::Gated | Reply::TooFarAhead => None,
        };
        // A stamp from a clock that is far ahead concerns its own row, not everything that this node writes.
        let skew_us = self.limits.clock_skew_max_ms.saturating_mul(1000);
        let latest_us = self.env.clock.wall_us().saturating_add(skew_us);
        if let Some(seen) = seen.filter(|seen| seen.time <= latest_us) {
            self.issuer().observe(seen);
        }
        reply
    }

    /// Ends when replicas had time for two round trips to the farthest of them, or for what the limits say.
    pub(super) fn patience(&self, place: &Place) -> Boxed<'static, ()> {
        let members = place.sets.members();
        let farthest = members.iter().filter_map(|node| self.round_trip_to(*node)).max();
        let least = Duration::from_millis(self.limits.patience_ms);
        self.env.clock.sleep(least.max(farthest.unwrap_or_default() * 2))
    }

    /// How long a small message takes to a node and back, as far as that is known.
    pub(crate) fn round_trip_to(&self, node: NodeId) -> Option<Duration> {
        self.calls.round_trip_to(node)
    }

    pub(crate) fn me(&self) -> NodeId {
        self.calls.me
    }

    /// These nodes are known, with or without a role: they are told of layouts.
    pub fn meet(&self, nodes: impl Iterator<Item = (NodeId, PeerId)>) {
        self.calls.meet(nodes);
    }

    /// What is known of layouts.
    pub fn layouts(&self) -> &Arc<Layouts> {
        self.replica.layouts()
    }

    fn issuer(&self) -> std::sync::MutexGuard<'_, Issuer> {
        self.issuer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was heard before it could be looked at, then what is heard now.
async fn next(
    is_ready: bool,
    early: &mut Vec<Heard>,
    calls: &mut FuturesUnordered<Boxed<'static, Heard>>,
) -> Option<Heard> {
    match early.pop_if(|_| is_ready) {
        Some(heard) => Some(heard),
        None => calls.next().await,
    }
}

/// Who issues stamps from now on: nobody did before.
fn new_incarnation(env: &Env) -> Incarnation {
    match slips(Slip::StampsShared) {
        true => Incarnation(1),
        false => Incarnation(env.random_u64()),
    }
}
