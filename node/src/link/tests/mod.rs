//! Meshes on loopback, with real sockets.

mod calls;
mod faults;
mod proxy;
mod refusals;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;

use super::{
    ClusterSecret, HandshakeError, Identity, Lane, LaneState, LinkError, Mesh, MeshConfig, Message, Network, PeerId,
    PeerStatus, Service, Timing,
};
use crate::env::{Boxed, Env};

/// No test takes so long unless it hangs.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// Ends a test that hangs.
async fn within<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANGS_AFTER, test).await.expect("the test hangs")
}

/// A service made of a function.
struct Answering<F>(F);

impl<F, A> Service for Answering<F>
where
    F: Fn(PeerId, Message) -> A + Send + Sync + 'static,
    A: Future<Output = Message> + Send + 'static,
{
    fn serve(&self, from: PeerId, message: Message) -> Boxed<'static, Message> {
        Box::pin((self.0)(from, message))
    }
}

fn echo() -> Arc<dyn Service> {
    Arc::new(Answering(|_, message| async { message }))
}

fn message(head: impl Into<Bytes>, body: impl Into<Bytes>) -> Message {
    Message {
        head: head.into(),
        body: body.into(),
    }
}

/// A node that can be started, again and again, under the same name at the same address.
#[derive(Clone)]
struct Node {
    identity: Identity,
    address: String,
    secret: ClusterSecret,
    cluster: [u8; 32],
    timing: Timing,
}

impl Node {
    /// A node and the listener that it starts with.
    async fn new() -> (Self, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let timing = Timing {
            reconnect_max_ms: 50,
            ..Timing::default()
        };
        let (identity, secret) = (Identity::generate(), ClusterSecret::new([1; 32]));
        (
            Self {
                identity,
                address,
                secret,
                cluster: [2; 32],
                timing,
            },
            listener,
        )
    }

    fn id(&self) -> PeerId {
        self.identity.peer_id()
    }

    fn here(&self) -> (PeerId, String) {
        (self.id(), self.address.clone())
    }

    fn start(&self, listener: TcpListener, peers: Vec<(PeerId, String)>, service: Arc<dyn Service>) -> Arc<Mesh> {
        Mesh::start(MeshConfig {
            env: Env::real(),
            identity: self.identity.clone(),
            secret: self.secret.clone(),
            cluster: self.cluster,
            listener,
            peers: peers.into_iter().map(|(id, address)| (id, vec![address])).collect(),
            service,
            timing: self.timing,
        })
    }

    /// The address again, as soon as the life before has given it up.
    async fn listen_again(&self) -> TcpListener {
        loop {
            match TcpListener::bind(&self.address).await {
                Ok(listener) => return listener,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }
}

/// Two nodes that are connected; `service` is the second one's.
async fn pair(service: Arc<dyn Service>) -> (Arc<Mesh>, Arc<Mesh>) {
    let ((one, one_listens), (two, two_listens)) = (Node::new().await, Node::new().await);
    let first = one.start(one_listens, vec![two.here()], echo());
    let second = two.start(two_listens, vec![one.here()], service);
    connected(&first).await;
    connected(&second).await;
    (first, second)
}

async fn connected(mesh: &Mesh) {
    mesh.until(|peers| peers.iter().all(PeerStatus::is_connected)).await;
}

/// Waits until the control lane to the only peer failed for a reason, and gives it.
async fn failure(mesh: &Mesh) -> HandshakeError {
    let mut found = None;
    mesh.until(|peers| {
        found = match &peers[0].control.state {
            LaneState::Failing(failure) => Some(failure.clone()),
            LaneState::Connecting | LaneState::Connected { .. } | LaneState::Lost => None,
        };
        found.is_some()
    })
    .await;
    found.unwrap()
}
