//! Calls of one node to others, and to itself.
//!
//! Nodes whose views differ find out here: one that does not know the layout of a request is told, and asked again; one
//! that is ahead says so, and when its refusal arrives at whoever asked, this node has caught up.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use trellis_spec::layout::{Partition, Refusal, View};
use trellis_spec::peer::{Answer, Envelope};
use trellis_spec::quorum::NodeId;

use super::layouts::Layouts;
use super::limits::Limits;
use super::replica::{Answered, Payload, Replica};
use super::standing::Standing;
use super::wire::{decode, encode};
use crate::env::{Boxed, Env};
use crate::link::{Lane, LinkError, Message, Network, PeerId};

/// See the module. Clones are the same.
#[derive(Clone)]
pub(crate) struct Calls {
    pub(super) env: Env,
    pub(super) me: NodeId,
    pub(super) replica: Arc<Replica>,
    network: Arc<dyn Network>,
    /// Nodes that are known, whether or not a layout names them.
    met: Arc<RwLock<BTreeMap<NodeId, PeerId>>>,
    resend_pause: Duration,
    deadline: Duration,
}

impl Calls {
    pub(super) fn new(env: Env, limits: &Limits, replica: Arc<Replica>, network: Arc<dyn Network>) -> Self {
        Calls {
            env,
            me: replica.layouts().now().peer.me,
            replica,
            network,
            met: Arc::default(),
            resend_pause: Duration::from_millis(limits.resend_pause_ms),
            deadline: Duration::from_millis(limits.request_deadline_ms),
        }
    }

    pub(super) fn layouts(&self) -> &Layouts {
        self.replica.layouts()
    }

    /// Calls one node until it answers. The caller drops the future when it has waited long enough.
    pub(super) fn call(
        &self,
        node: NodeId,
        lane: Lane,
        envelope: Envelope,
        payload: Payload,
    ) -> Boxed<'static, Answered> {
        let is_refused = self.replica.standing().is_some_and(Standing::is_refused);
        if is_refused || self.layouts().now().out().is_some() {
            // Nothing would break through the others alone. But its clients shall go where they are served, and be seen to.
            return Box::pin(std::future::ready((Answer::Failed, Bytes::new())));
        }
        let (calls, partition) = (self.clone(), envelope.partition);
        if node == self.me {
            return Box::pin(async move {
                if envelope.call.needs_floor() {
                    calls.until_open(partition).await;
                }
                calls.replica.answer_here(envelope, payload).await
            });
        }
        let message = Message {
            head: encode(&envelope),
            body: payload.into_bytes(),
        };
        Box::pin(async move {
            // The view of the request may rest on what this node said of its own syncs: what raises it elsewhere must not
            // be taken back by a crash here.
            if calls.layouts().durable().await.is_err() {
                return (Answer::Failed, Bytes::new());
            }
            loop {
                let answered = calls.send(node, lane, &message).await;
                match &answered.0 {
                    Answer::Refused(Refusal::NeedLayout(version)) => {
                        let knows = calls.exchange(node).await;
                        if knows.is_none_or(|newest| newest < *version) {
                            calls.env.clock.sleep(calls.resend_pause).await;
                        }
                    }
                    Answer::Refused(Refusal::Entering) => calls.env.clock.sleep(calls.resend_pause).await,
                    Answer::Refused(Refusal::Stale(view) | Refusal::NotOwner(view)) => {
                        calls.catch_up(node, partition, *view).await;
                        return answered;
                    }
                    Answer::Row { .. } | Answer::Scanned(_) | Answer::Stored | Answer::NeedData => return answered,
                    Answer::Block
                    | Answer::NoBlock
                    | Answer::Pulled(_)
                    | Answer::Digest(_)
                    | Answer::Leaves(_)
                    | Answer::References { .. }
                    | Answer::Reported(_)
                    | Answer::Forgotten(_) => return answered,
                    Answer::Full | Answer::Failed => return answered,
                }
            }
        })
    }

    /// Returns when this node knows its floor, as others are asked again until they do.
    async fn until_open(&self, partition: Partition) {
        while self.replica.is_entering(partition) {
            self.env.clock.sleep(self.resend_pause).await;
        }
    }

    /// Sends until there is an answer.
    async fn send(&self, node: NodeId, lane: Lane, message: &Message) -> Answered {
        let Some(peer) = self.peer_of(node) else {
            return (Answer::Failed, Bytes::new());
        };
        loop {
            match self.network.call(peer, lane, message.clone()).await {
                Ok(answer) => return read_answer(answer),
                Err(LinkError::NotConnected | LinkError::Lost) => self.env.clock.sleep(self.resend_pause).await,
                Err(error @ LinkError::TooLarge { .. }) => {
                    tracing::error!(%error, "a request cannot be sent");
                    return (Answer::Failed, Bytes::new());
                }
            }
        }
    }

    /// Sends once, and waits no longer than requests do.
    pub(super) async fn send_once(&self, node: NodeId, message: Message) -> Option<Message> {
        let call = self.network.call(self.peer_of(node)?, Lane::Control, message);
        let answer = self.env.timeout(self.deadline, call).await.ok().and_then(Result::ok);
        self.note_contact(node, answer.is_some());
        answer
    }

    /// Learns what a node knows that refused a request for it.
    async fn catch_up(&self, node: NodeId, partition: Partition, view: View) {
        if self.layouts().now().newest() < view.hi {
            self.exchange(node).await;
        }
        // What cannot be learned may be of layouts that were not forced, or were: their numbers say nothing here.
        if self.layouts().now().newest() < view.hi {
            return;
        }
        if let Err(error) = self.layouts().hear_view(partition, view) {
            tracing::error!(%error, "the view of a peer cannot be adopted");
        }
    }

    /// From now on these are told of layouts as well: a node hears of those that do not name it yet, and of those that
    /// came after everybody left whom it had begun with.
    pub(super) fn meet(&self, nodes: impl Iterator<Item = (NodeId, PeerId)>) {
        let mut met = self.met.write().unwrap_or_else(PoisonError::into_inner);
        *met = nodes.collect();
    }

    pub(super) fn met(&self) -> Vec<NodeId> {
        let met = self.met.read().unwrap_or_else(PoisonError::into_inner);
        met.keys().copied().collect()
    }

    pub(super) fn round_trip_to(&self, node: NodeId) -> Option<Duration> {
        self.network.round_trip(self.peer_of(node)?)
    }

    /// The key of a node that some layout names, or that is known otherwise.
    fn peer_of(&self, node: NodeId) -> Option<PeerId> {
        let known = self.layouts().now();
        let mut layouts = known.peer.knowledge.newest_first();
        if let Some(member) = layouts.find_map(|layout| layout.member(node)) {
            return Some(PeerId(member.key));
        }
        let met = self.met.read().unwrap_or_else(PoisonError::into_inner);
        met.get(&node).copied()
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
