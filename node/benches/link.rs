//! Links on loopback, beside a bare TCP echo of the same sizes in the same run.
//!
//! Absolute numbers move with the machine; the ratio to the bare echo is what a change should be judged by.
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the real clock and runs outside a node"
)]

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use trellis_node::env::{Boxed, Env};
use trellis_node::link::{
    ClusterSecret, Identity, Lane, Mesh, MeshConfig, Message, Network, PeerId, PeerStatus, Service, Timing,
};

/// How long each figure is measured.
const MEASURE: Duration = Duration::from_secs(2);
const ROW_BYTES: usize = 1 << 10;
const BLOCK_BYTES: usize = 1 << 20;

#[tokio::main(flavor = "multi_thread")]
async fn main() {
    let meshes = pair().await;
    let (mesh, peer) = (&meshes[0], meshes[1].me());
    println!(
        "{:<52} {:>12} {:>12}",
        "on loopback, both ends in this process", "bare TCP", "link"
    );
    for callers in [1, 64] {
        let bare = calls_per_second(bare_callers(callers, ROW_BYTES, ROW_BYTES).await).await;
        let linked = calls_per_second(link_callers(callers, mesh, peer, Lane::Control, &row())).await;
        println!(
            "{:<52} {bare:>12.0} {linked:>12.0}",
            format!("rows of 1 KiB and back, c={callers}, calls/s")
        );
    }
    for callers in [1, 8] {
        let bare = calls_per_second(bare_callers(callers, BLOCK_BYTES, 1).await).await;
        let linked = calls_per_second(link_callers(callers, mesh, peer, Lane::Bulk, &block())).await;
        println!(
            "{:<52} {bare:>12.0} {linked:>12.0}",
            format!("blocks of 1 MiB one way, c={callers}, MiB/s")
        );
    }
    let bulk = tokio::spawn(calls_per_second(link_callers(8, mesh, peer, Lane::Bulk, &block())));
    let rows = calls_per_second(link_callers(1, mesh, peer, Lane::Control, &row())).await;
    let blocks = bulk.await.expect("the measurement does not panic");
    println!("rows beside blocks, c=1 and c=8: {rows:.0} calls/s, {blocks:.0} MiB/s");
}

fn row() -> Message {
    Message {
        head: Bytes::from(vec![1; ROW_BYTES]),
        body: Bytes::new(),
    }
}

fn block() -> Message {
    Message {
        head: Bytes::from_static(b"block"),
        body: Bytes::from(vec![2; BLOCK_BYTES]),
    }
}

/// Sends a row back and swallows a block.
struct Store;

impl Service for Store {
    fn serve(&self, _from: PeerId, message: Message) -> Boxed<'static, Message> {
        Box::pin(async move {
            Message {
                head: message.head,
                body: Bytes::new(),
            }
        })
    }
}

async fn pair() -> Vec<Arc<Mesh>> {
    let identities = [Identity::generate(), Identity::generate()];
    let listeners = [listener().await, listener().await];
    let address = |listener: &TcpListener| listener.local_addr().expect("it is bound").to_string();
    let peers: Vec<_> = identities
        .iter()
        .map(Identity::peer_id)
        .zip(listeners.iter().map(|listener| vec![address(listener)]))
        .collect();
    let meshes: Vec<_> = identities
        .into_iter()
        .zip(listeners)
        .map(|(identity, listener)| {
            Mesh::start(MeshConfig {
                env: Env::real(),
                identity,
                secret: ClusterSecret::new([1; 32]),
                cluster: [2; 32],
                listener,
                peers: peers.clone(),
                service: Arc::new(Store),
                timing: Timing::default(),
            })
        })
        .collect();
    for mesh in &meshes {
        mesh.until(|peers| peers.iter().all(PeerStatus::is_connected)).await;
    }
    meshes
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports")
}

/// Something that can make calls one after the other.
trait Caller: Send + 'static {
    fn call(&mut self) -> impl Future<Output = ()> + Send;
}

async fn calls_per_second<C: Caller>(callers: Vec<C>) -> f64 {
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    for mut caller in callers {
        tasks.spawn(async move {
            let mut calls = 0_u32;
            while start.elapsed() < MEASURE {
                caller.call().await;
                calls += 1;
            }
            calls
        });
    }
    let calls: u32 = tasks.join_all().await.into_iter().sum();
    f64::from(calls) / start.elapsed().as_secs_f64()
}

/// One message over a mesh.
struct LinkCaller {
    mesh: Arc<Mesh>,
    peer: PeerId,
    lane: Lane,
    message: Message,
}

fn link_callers(number: usize, mesh: &Arc<Mesh>, peer: PeerId, lane: Lane, message: &Message) -> Vec<LinkCaller> {
    let caller = || LinkCaller {
        mesh: Arc::clone(mesh),
        peer,
        lane,
        message: message.clone(),
    };
    std::iter::repeat_with(caller).take(number).collect()
}

impl Caller for LinkCaller {
    async fn call(&mut self) {
        self.mesh
            .call(self.peer, self.lane, self.message.clone())
            .await
            .expect("the link stays up");
    }
}

/// The same bytes over a connection of its own, in the clear.
struct BareCaller {
    socket: TcpStream,
    request: Vec<u8>,
    reply: Vec<u8>,
}

async fn bare_callers(number: usize, request_bytes: usize, reply_bytes: usize) -> Vec<BareCaller> {
    let mut callers = Vec::new();
    for _ in 0..number {
        let listener = listener().await;
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(bare_echo(listener, request_bytes, reply_bytes));
        let socket = TcpStream::connect(address).await.expect("loopback is there");
        socket.set_nodelay(true).expect("TCP knows this option");
        callers.push(BareCaller {
            socket,
            request: vec![0; request_bytes],
            reply: vec![0; reply_bytes],
        });
    }
    callers
}

async fn bare_echo(listener: TcpListener, request_bytes: usize, reply_bytes: usize) {
    let (mut socket, _) = listener.accept().await.expect("the caller dials");
    socket.set_nodelay(true).expect("TCP knows this option");
    let (mut request, reply) = (vec![0; request_bytes], vec![0; reply_bytes]);
    while socket.read_exact(&mut request).await.is_ok() && socket.write_all(&reply).await.is_ok() {}
}

impl Caller for BareCaller {
    async fn call(&mut self) {
        self.socket.write_all(&self.request).await.expect("the echo reads");
        self.socket.read_exact(&mut self.reply).await.expect("the echo writes");
    }
}
