//! The links between node processes, led through proxies of our own, so that they can be cut, slowed and torn.
//!
//! Each node advertises the address of its proxy and is dialed there by all others. Which node a connection comes from
//! decides what happens to it, and is found out where the system keeps it: the inode of the dialing socket
//! (`/proc/net/tcp`) is among the open files of that node's process (`/proc/PID/fd`). So the nodes are the very program
//! that people run.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What is read at a time.
const CHUNK_BYTES: usize = 16 << 10;
/// Chunks of one direction of one connection that are on their way.
const CHUNKS_MAX: usize = 256;

/// How bytes get from one node to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// At once.
    #[default]
    Open,
    /// Not at all: they wait, and nobody is told.
    Stalled,
    /// So much later.
    Late(Duration),
}

/// What was done to links so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Pieces of streams that passed.
    pub chunks: u64,
    /// Those of them that had to wait.
    pub held: u64,
    /// Connections that were torn.
    pub reset: u64,
}

/// A proxy before each node.
#[derive(Debug)]
pub(super) struct Links {
    shared: Arc<Shared>,
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    /// The process of each node, and of a guest, who is dialed by nobody here.
    processes: Mutex<Vec<Option<u32>>>,
    /// From each of them to each.
    flows: Vec<Vec<watch::Sender<Flow>>>,
    /// Counts the resets of each node's connections.
    resets: Vec<watch::Sender<u64>>,
    chunks: AtomicU64,
    held: AtomicU64,
    reset: AtomicU64,
}

impl Links {
    /// Proxies that listen, and connect to nobody yet.
    pub(super) fn bind(nodes: usize) -> io::Result<Self> {
        let bind = |_| {
            let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        let listeners: Vec<TcpListener> = (0..nodes).map(bind).collect::<io::Result<_>>()?;
        let addresses = listeners
            .iter()
            .map(TcpListener::local_addr)
            .collect::<io::Result<_>>()?;
        let parties = nodes + 1;
        let row = || (0..parties).map(|_| watch::Sender::default()).collect();
        let shared = Shared {
            processes: Mutex::new(vec![None; parties]),
            flows: (0..parties).map(|_| row()).collect(),
            resets: (0..parties).map(|_| watch::Sender::default()).collect(),
            chunks: AtomicU64::default(),
            held: AtomicU64::default(),
            reset: AtomicU64::default(),
        };
        Ok(Links {
            shared: Arc::new(shared),
            listeners,
            addresses,
            tasks: JoinSet::new(),
        })
    }

    /// Where each node is to be dialed.
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Begins to lead connections to where the nodes listen.
    pub(super) fn lead(&mut self, nodes: &[SocketAddr]) {
        for (to, (listener, target)) in self.listeners.drain(..).zip(nodes).enumerate() {
            self.tasks.spawn(accept(self.shared.clone(), listener, to, *target));
        }
    }

    /// The process of a node, if it runs.
    pub(super) fn is_process(&self, node: usize, process: Option<u32>) {
        self.shared.processes()[node] = process;
    }

    /// The process of somebody who is no node any more, and whose messages nobody holds up.
    pub(super) fn is_guest(&self, process: Option<u32>) {
        self.is_process(self.addresses.len(), process);
    }

    /// From now on bytes get from one node to another in this way.
    pub(super) fn set(&self, from: usize, to: usize, flow: Flow) {
        self.shared.flows[from][to].send_replace(flow);
    }

    /// Tears every connection of a node.
    pub(super) fn reset(&self, node: usize) {
        self.shared.resets[node].send_modify(|resets| *resets += 1);
    }

    /// What was done so far.
    pub(super) fn passed(&self) -> Passed {
        let Shared {
            chunks, held, reset, ..
        } = &*self.shared;
        let [chunks, held, reset] = [chunks, held, reset].map(|counter| counter.load(Ordering::Relaxed));
        Passed { chunks, held, reset }
    }
}

impl Shared {
    fn processes(&self) -> MutexGuard<'_, Vec<Option<u32>>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener, to: usize, target: SocketAddr) {
    let mut connections = JoinSet::new();
    while let Ok((near, dialer)) = listener.accept().await {
        let processes = shared.processes().clone();
        let at = near.local_addr();
        let Some(from) = at.ok().and_then(|at| owner(dialer.port(), at.port(), &processes)) else {
            continue; // Whoever it was has ended.
        };
        connections.spawn(connect(shared.clone(), near, (from, to), target));
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(shared: Arc<Shared>, near: TcpStream, (from, to): (usize, usize), target: SocketAddr) {
    let Ok(far) = TcpStream::connect(target).await else {
        return;
    };
    for stream in [&near, &far] {
        // Ends are told at once, and by a reset.
        let _ = stream.set_nodelay(true);
        let _ = stream.set_zero_linger();
    }
    let mut torn = [from, to].map(|node| shared.resets[node].subscribe());
    torn.iter_mut().for_each(watch::Receiver::mark_unchanged);
    let [from_torn, to_torn] = &mut torn;
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let mut ways = JoinSet::new();
    ways.spawn(pass(
        shared.clone(),
        near_in,
        far_out,
        shared.flows[from][to].subscribe(),
    ));
    ways.spawn(pass(
        shared.clone(),
        far_in,
        near_out,
        shared.flows[to][from].subscribe(),
    ));
    let is_torn = tokio::select! {
        _ = ways.join_next() => false,
        _ = from_torn.changed() => true,
        _ = to_torn.changed() => true,
    };
    shared.reset.fetch_add(u64::from(is_torn), Ordering::Relaxed);
}

/// One direction of one connection. Reading goes on while what was read waits for its time.
async fn pass(shared: Arc<Shared>, from: OwnedReadHalf, to: OwnedWriteHalf, flow: watch::Receiver<Flow>) {
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    tokio::join!(read(from, sender), write(&shared, to, receiver, flow));
}

async fn read(mut from: OwnedReadHalf, sender: mpsc::Sender<(Instant, Bytes)>) {
    let mut buffer = vec![0; CHUNK_BYTES];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let chunk = (now(), Bytes::copy_from_slice(&buffer[..read]));
        if sender.send(chunk).await.is_err() {
            return;
        }
    }
}

async fn write(
    shared: &Shared,
    mut to: OwnedWriteHalf,
    mut receiver: mpsc::Receiver<(Instant, Bytes)>,
    mut flow: watch::Receiver<Flow>,
) {
    while let Some((read_at, chunk)) = receiver.recv().await {
        shared.chunks.fetch_add(1, Ordering::Relaxed);
        if *flow.borrow_and_update() != Flow::Open {
            shared.held.fetch_add(1, Ordering::Relaxed);
            hold(read_at, &mut flow).await;
        }
        if to.write_all(&chunk).await.is_err() {
            return;
        }
    }
}

/// Returns when the bytes that came at `read_at` may go on, by what the flow is meanwhile.
async fn hold(read_at: Instant, flow: &mut watch::Receiver<Flow>) {
    loop {
        let now = *flow.borrow_and_update();
        let changed = flow.changed();
        match now {
            Flow::Open => return,
            Flow::Late(late) => {
                if tokio::time::timeout_at(read_at + late, changed).await.is_err() {
                    return;
                }
            }
            // The sender lives as long as the proxy.
            Flow::Stalled => _ = changed.await,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "real connections are held in real time")]
fn now() -> Instant {
    Instant::now()
}

/// Which of these processes dialed `to` from `from`, two ports of this machine.
fn owner(from: u16, to: u16, processes: &[Option<u32>]) -> Option<usize> {
    let sockets = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let inode = sockets.lines().find_map(|line| inode_of(line, from, to))?;
    let socket = format!("socket:[{inode}]");
    let holds = |process: u32| {
        let files = std::fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten();
        files
            .flatten()
            .any(|file| std::fs::read_link(file.path()).is_ok_and(|target| target.to_str() == Some(&*socket)))
    };
    processes.iter().position(|process| process.is_some_and(holds))
}

/// The inode in a line of `/proc/net/tcp`, if it is of this connection.
fn inode_of(line: &str, from: u16, to: u16) -> Option<&str> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let port = |address: &str| u16::from_str_radix(address.split_once(':')?.1, 16).ok();
    let is_it = port(fields.next()?)? == from && port(fields.next()?)? == to;
    fields.nth(6).filter(|_| is_it)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two "nodes" in this process: the one that dials is told apart by where it dials from.
    async fn pair() -> (Links, TcpStream, TcpStream) {
        let node = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut links = Links::bind(2).unwrap();
        links.is_process(0, Some(std::process::id()));
        let at = links.addresses()[1];
        links.lead(&[node.local_addr().unwrap(); 2]);
        let near = TcpStream::connect(at).await.unwrap();
        let (far, _) = node.accept().await.unwrap();
        (links, near, far)
    }

    async fn says(from: &mut TcpStream, to: &mut TcpStream) {
        from.write_all(b"x").await.unwrap();
        to.read_exact(&mut [0; 1]).await.unwrap();
    }

    #[tokio::test]
    async fn one_direction_stalls_and_nothing_is_lost() {
        let (links, mut near, mut far) = pair().await;
        says(&mut near, &mut far).await;
        says(&mut far, &mut near).await;
        links.set(0, 1, Flow::Stalled);
        near.write_all(b"x").await.unwrap();
        says(&mut far, &mut near).await;
        let mut buffer = [0; 1];
        let cut = tokio::time::timeout(Duration::from_millis(100), far.read_exact(&mut buffer));
        assert!(cut.await.is_err(), "only the other direction is open");
        links.set(0, 1, Flow::Open);
        far.read_exact(&mut buffer).await.unwrap();
        assert_eq!(links.passed().held, 1);
    }

    #[tokio::test]
    async fn what_is_late_comes_late_and_what_is_torn_ends() {
        let (links, mut near, mut far) = pair().await;
        links.set(1, 0, Flow::Late(Duration::from_millis(200)));
        let begun = now();
        far.write_all(b"x").await.unwrap();
        let mut buffer = [0; 1];
        near.read_exact(&mut buffer).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(200));
        links.reset(1);
        let ended = near.read(&mut buffer).await;
        assert!(ended.is_err() || ended.is_ok_and(|read| read == 0));
        assert_eq!(links.passed().reset, 1);
    }

    #[test]
    fn a_stranger_has_no_connection_here() {
        let line = "   3: 0100007F:9C40 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 4711 1";
        assert_eq!(inode_of(line, 0x9c40, 0x1f90), Some("4711"));
        assert_eq!(inode_of(line, 0x1f90, 0x9c40), None);
        assert_eq!(owner(1, 2, &[Some(std::process::id())]), None);
    }
}
