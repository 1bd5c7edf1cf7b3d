//! The real network of a node.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::handshake::Handshaker;
use super::limits::Timing;
use super::listening::{self, Guests};
use super::roster::{PeerStatus, Roster};
use super::tls::Credentials;
use super::{ClusterSecret, Identity, Lane, LinkError, Message, Network, PeerId, Service, dialing};
use crate::env::{Boxed, Env};

/// What a mesh is made of.
pub struct MeshConfig {
    /// Clock, randomness and tasks.
    pub env: Env,
    /// This node's key pair.
    pub identity: Identity,
    /// What all nodes of the cluster know.
    pub secret: ClusterSecret,
    /// What all nodes of the cluster agree on: the hash of the layout it began with.
    pub cluster: [u8; 32],
    /// Where peers dial this node.
    pub listener: TcpListener,
    /// The other nodes that are known, each with the addresses (`host:port`) where it may be, likeliest first.
    pub peers: Vec<(PeerId, Vec<String>)>,
    /// Answers the requests of peers.
    pub service: Arc<dyn Service>,
    /// The times of the links.
    pub timing: Timing,
}

/// Encrypted connections to all peers. Dropping it ends them at once; [`Mesh::close`] lets answers out first.
pub struct Mesh {
    shared: Arc<Shared>,
}

/// What the tasks of a mesh share.
pub(super) struct Shared {
    pub(super) env: Env,
    pub(super) handshaker: Handshaker,
    pub(super) timing: Timing,
    pub(super) service: Arc<dyn Service>,
    pub(super) roster: Arc<Roster>,
    pub(super) guests: Guests,
    /// No new connections; those of peers end once what they asked is answered.
    pub(super) finish: CancellationToken,
    /// Everything ends.
    pub(super) stop: CancellationToken,
    me: PeerId,
}

impl Mesh {
    /// Starts listening and dialing.
    pub fn start(config: MeshConfig) -> Arc<Self> {
        let MeshConfig {
            env,
            identity,
            secret,
            cluster,
            listener,
            peers,
            service,
            timing,
        } = config;
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            env,
            handshaker: Handshaker {
                credentials: Credentials::new(&identity),
                secret,
                cluster,
            },
            timing,
            service,
            roster: Arc::new(Roster::new()),
            guests: Guests::default(),
            finish: stop.child_token(),
            stop,
            me: identity.peer_id(),
        });
        let listening = listening::listen(Arc::clone(&shared), listener);
        shared.env.spawner.spawn("listen", Box::pin(listening));
        let mesh = Self { shared };
        mesh.set_peers(peers);
        Arc::new(mesh)
    }

    /// This node.
    pub fn me(&self) -> PeerId {
        self.shared.me
    }

    /// Makes `peers` the peers that are dialed; one whose addresses are others now is looked for there as soon as it is
    /// not connected. Connections to nodes that are not among them end. Connections from them do not: who belongs to
    /// the cluster is answered, known or not.
    pub fn set_peers(&self, peers: Vec<(PeerId, Vec<String>)>) {
        let others = peers.into_iter().filter(|(id, _)| *id != self.shared.me).collect();
        for peer in self.shared.roster.replace(others, &self.shared.stop) {
            for lane in [Lane::Control, Lane::Bulk] {
                let keeping = dialing::keep_connected(Arc::clone(&self.shared), Arc::clone(&peer), lane);
                self.shared.env.spawner.spawn("dial", Box::pin(keeping));
            }
        }
    }

    /// From where a peer dialed this node, if it has.
    pub fn seen_at(&self, peer: PeerId) -> Option<IpAddr> {
        self.shared.guests.seen_at(peer)
    }

    /// How the connections to all peers fare.
    pub fn status(&self) -> Vec<PeerStatus> {
        self.shared.roster.status()
    }

    /// Waits until `reached` holds of the status. It is asked again whenever a connection comes or goes or fails to come.
    pub async fn until(&self, mut reached: impl FnMut(&[PeerStatus]) -> bool) {
        self.shared.roster.until(|| reached(&self.status())).await;
    }

    /// Takes no more requests, sends the answers that are being made, for at most the time of grace, and ends all
    /// connections. Calls in flight fail with [`LinkError::Lost`].
    pub async fn close(&self) {
        self.shared.finish.cancel();
        let served = self.shared.roster.until(|| self.shared.guests.are_gone());
        let grace = Duration::from_millis(self.shared.timing.close_grace_ms);
        if self.shared.env.timeout(grace, served).await.is_err() {
            tracing::warn!("closing with requests of peers unanswered");
        }
        self.shared.stop.cancel();
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl Network for Mesh {
    fn call(&self, to: PeerId, lane: Lane, message: Message) -> Boxed<'static, Result<Message, LinkError>> {
        if let Err(too_large) = fits(lane, &message) {
            return Box::pin(std::future::ready(Err(too_large)));
        }
        if to == self.shared.me {
            return Box::pin(call_self(Arc::clone(&self.shared), lane, message));
        }
        match self.shared.roster.get(to).and_then(|peer| peer.asking(lane)) {
            Some(asking) => Box::pin(asking.call(message)),
            None => Box::pin(std::future::ready(Err(LinkError::NotConnected))),
        }
    }

    fn round_trip(&self, to: PeerId) -> Option<Duration> {
        self.shared
            .roster
            .get(to)?
            .asking(Lane::Control)?
            .connection
            .round_trip()
    }
}

/// The service runs as a task of its own, as it would for a peer: dropping the call must not stop it half way.
async fn call_self(shared: Arc<Shared>, lane: Lane, message: Message) -> Result<Message, LinkError> {
    let (answer, answered) = oneshot::channel();
    let (service, me) = (Arc::clone(&shared.service), shared.me);
    let serving = async move {
        // A caller that gave up does not wait for this.
        let _ = answer.send(service.serve(me, message).await);
    };
    shared.env.spawner.spawn("serve", Box::pin(serving));
    let reply = answered.await.map_err(|_| LinkError::Lost)?;
    fits(lane, &reply).map(|()| reply)
}

pub(super) fn fits(lane: Lane, message: &Message) -> Result<(), LinkError> {
    let (bytes, limit) = (message.size_bytes(), lane.message_max_bytes());
    if bytes > limit {
        Err(LinkError::TooLarge { bytes, limit })
    } else {
        Ok(())
    }
}
