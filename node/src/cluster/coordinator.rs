//! The coordinator: runs attempts against the replicas of a row.
//!
//! What an attempt asks for is sent to all replicas at once; what they answer is told to the attempt; it says when it
//! is done. The driver adds what attempts cannot know: deadlines, pauses, fresh stamps, which replica is near.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use trellis_spec::flaw::Sound;
use trellis_spec::gate::Gate;
use trellis_spec::layout::{Partition, View};
use trellis_spec::peer::{Answer, Call, Envelope};
use trellis_spec::quorum::{NodeId, ReplicaSets, Verdict, Vote};
use trellis_spec::register::{Ask, Attempt, Audience, Fetch, Reply, Request, Step};
use trellis_spec::row::{Address, Placement, Row, RowKey};
use trellis_spec::stamp::{Incarnation, Issuer, Stamp};

use super::limits::Limits;
use super::replica::{Answered, Payload, Replica};
use super::turns::Turns;
use super::wire::{decode, encode};
use crate::env::{Boxed, Env};
use crate::link::{Lane, LinkError, Message, Network, PeerId};

/// A row, and the gate that writes to it must pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The row.
    pub address: Address,
    /// The gate, for rows that make a bucket non-empty.
    pub gate: Option<RowKey>,
}

/// Where a placement lives under the current view.
pub(crate) struct Place {
    pub(crate) partition: Partition,
    pub(crate) view: View,
    pub(crate) sets: ReplicaSets,
}

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
    network: Arc<dyn Network>,
    issuer: Mutex<Issuer>,
}

type Heard = (u32, NodeId, Answer);

impl Coordinator {
    /// A coordinator in a process that starts now.
    pub fn new(env: Env, limits: Limits, replica: Arc<Replica>, network: Arc<dyn Network>) -> Self {
        let issuer = Mutex::new(Issuer::new(Incarnation(env.random_u64())));
        let memory = |bytes: usize| Arc::new(Semaphore::new(bytes >> 10));
        let upload_memory = memory(limits.blocks_in_flight_bytes);
        let (download_memory, linger_memory) = (memory(limits.download_ahead_bytes), memory(limits.linger_bytes));
        Coordinator {
            env,
            limits,
            turns: Turns::new(),
            upload_memory,
            download_memory,
            linger_memory,
            replica,
            network,
            issuer,
        }
    }

    /// A stamp that was never issued, above `above` and above everything that was accepted on this node.
    pub(crate) fn stamp(&self, above: Stamp) -> Stamp {
        let now = self.env.clock.wall_us().max(self.replica.greatest_us());
        self.issuer().issue(now, above)
    }

    /// Where a placement lives.
    pub(crate) fn place(&self, placement: &Placement) -> Place {
        let knowledge = &self.replica.peer().knowledge;
        let partition = knowledge
            .newest()
            .map_or(Partition(0), |layout| placement.partition(layout));
        let view = knowledge.view(partition);
        Place {
            partition,
            view,
            sets: knowledge.replica_sets::<Sound>(partition, view),
        }
    }

    /// Runs `attempt` on `target` to its end.
    pub(crate) async fn run<A: Attempt<Row>>(
        &self,
        target: &Target,
        place: &Place,
        attempt: &mut A,
        first: Stamp,
        contention: Contention,
    ) -> Ended<A::Outcome> {
        let mut deadline = self
            .env
            .clock
            .sleep(Duration::from_millis(self.limits.request_deadline_ms));
        let mut patience = self.patience(place);
        let mut calls: FuturesUnordered<Boxed<'static, Heard>> = FuturesUnordered::new();
        let mut trouble = Trouble::default();
        let mut tries = Tries::new(self.env.clock.monotonic());
        let mut step = attempt.start(first);
        let outcome = loop {
            match step {
                Step::Done(outcome) => break outcome,
                Step::Ask(ask) => {
                    trouble.next_round(ask.round);
                    patience = self.patience(place);
                    self.send(target, place, &ask, &mut calls);
                }
                Step::Again { above } => {
                    self.pause(&mut tries, contention).await;
                    step = attempt.again(self.stamp(above));
                    continue;
                }
                Step::Wait => {}
            }
            step = tokio::select! {
                biased;
                Some((round, node, answer)) = calls.next() => match trouble.note(round, node, answer) {
                    Some(reply) => attempt.on_reply(round, node, self.observed(reply)),
                    None if trouble.is_hopeless(&place.sets) => break attempt.on_deadline(),
                    None => Step::Wait,
                },
                () = &mut patience => {
                    patience = self.patience(place);
                    attempt.on_patience()
                }
                () = &mut deadline => break attempt.on_deadline(),
            };
        };
        self.linger(calls, self.limits.inline_max_bytes);
        Ended {
            outcome,
            gate: trouble.gate,
            full: trouble.is_full(&place.sets),
        }
    }

    fn send(
        &self,
        target: &Target,
        place: &Place,
        ask: &Ask<Row>,
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
            let call = Call::Row {
                key: target.address.key.clone(),
                gate: target.gate.clone(),
                request,
            };
            let envelope = Envelope {
                partition: place.partition,
                view: place.view,
                call,
            };
            let answered = self.call(node, Lane::Control, envelope, Payload::Nothing);
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
        if node == self.me() {
            let replica = self.replica.clone();
            return Box::pin(async move { replica.answer(envelope, payload).await });
        }
        let Some(peer) = self.peer_of(node) else {
            return Box::pin(std::future::ready((Answer::Failed, Bytes::new())));
        };
        let (network, env) = (self.network.clone(), self.env.clone());
        let pause = Duration::from_millis(self.limits.resend_pause_ms);
        let message = Message {
            head: encode(&envelope),
            body: payload.into_bytes(),
        };
        Box::pin(async move {
            loop {
                match network.call(peer, lane, message.clone()).await {
                    Ok(answer) => return read_answer(answer),
                    Err(LinkError::NotConnected | LinkError::Lost) => env.clock.sleep(pause).await,
                    Err(error @ LinkError::TooLarge { .. }) => {
                        tracing::error!(%error, "a request cannot be sent");
                        return (Answer::Failed, Bytes::new());
                    }
                }
            }
        })
    }

    /// This node first, then the others by how long their answers take.
    pub(crate) fn nearest_first(&self, mut nodes: Vec<NodeId>) -> Vec<NodeId> {
        let distance = |node: &NodeId| match self.peer_of(*node) {
            _ if *node == self.me() => Duration::ZERO,
            Some(peer) => self.network.round_trip(peer).unwrap_or(Duration::MAX),
            None => Duration::MAX,
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
    async fn pause(&self, tries: &mut Tries, contention: Contention) {
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

    fn observed(&self, reply: Reply<Row>) -> Reply<Row> {
        let seen = match &reply {
            Reply::Nack { seen } => Some(*seen),
            Reply::Row {
                accepted: Some(held), ..
            }
            | Reply::Promise(Some(held)) => Some(held.ballot),
            Reply::Row { accepted: None, .. } | Reply::Promise(None) => None,
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
    fn patience(&self, place: &Place) -> Boxed<'static, ()> {
        let members = place.sets.members();
        let farthest = members.iter().filter_map(|node| self.round_trip_to(*node)).max();
        let least = Duration::from_millis(self.limits.patience_ms);
        self.env.clock.sleep(least.max(farthest.unwrap_or_default() * 2))
    }

    /// How long a small message takes to a node and back, as far as that is known.
    pub(crate) fn round_trip_to(&self, node: NodeId) -> Option<Duration> {
        self.network.round_trip(self.peer_of(node)?)
    }

    pub(crate) fn me(&self) -> NodeId {
        self.replica.peer().me
    }

    fn peer_of(&self, node: NodeId) -> Option<PeerId> {
        Some(PeerId(self.replica.peer().knowledge.newest()?.member(node)?.key))
    }

    fn issuer(&self) -> std::sync::MutexGuard<'_, Issuer> {
        self.issuer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_answer(answer: Message) -> Answered {
    match decode(&answer.head) {
        Ok(decoded) => (decoded, answer.body),
        Err(error) => {
            tracing::warn!(%error, "a peer's answer cannot be read");
            (Answer::Failed, Bytes::new())
        }
    }
}

/// What the replicas answered besides replies.
#[derive(Default)]
struct Trouble {
    round: u32,
    rounds: u32,
    refusing: BTreeSet<NodeId>,
    full: BTreeSet<NodeId>,
    gate: Gate,
}

impl Trouble {
    fn next_round(&mut self, round: u32) {
        self.round = round;
        self.rounds += 1;
        self.refusing.clear();
    }

    fn note(&mut self, round: u32, node: NodeId, answer: Answer) -> Option<Reply<Row>> {
        match answer {
            Answer::Row { reply, gate } => {
                self.gate = self.gate.max(gate);
                return Some(reply);
            }
            Answer::Full => _ = self.full.insert(node),
            Answer::Refused(refusal) => tracing::warn!(?node, ?refusal, "a replica refused"),
            Answer::Failed | Answer::Scanned(_) | Answer::Stored => {}
            Answer::NeedData | Answer::Block | Answer::NoBlock => {}
        }
        if round == self.round {
            self.refusing.insert(node);
        }
        None
    }

    /// Is it certain that nobody took anything, for want of room?
    fn is_full(&self, sets: &ReplicaSets) -> bool {
        self.rounds == 1 && sets.members().iter().all(|node| self.full.contains(node))
    }

    /// Can the round never complete?
    fn is_hopeless(&self, sets: &ReplicaSets) -> bool {
        let vote = |node| {
            if self.refusing.contains(&node) {
                Vote::No
            } else {
                Vote::Open
            }
        };
        sets.verdict(vote) == Verdict::Impossible
    }
}

/// How often an operation was tried, and since when the last try runs.
struct Tries {
    count: u32,
    begun: Duration,
}

impl Tries {
    fn new(now: Duration) -> Self {
        Tries { count: 0, begun: now }
    }

    /// Counts one more and tells how long the last one took.
    fn again(&mut self, now: Duration) -> Duration {
        self.count += 1;
        let took = now.saturating_sub(self.begun);
        self.begun = now;
        took
    }
}
