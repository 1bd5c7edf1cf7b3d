//! A TCP proxy that stalls when it is told to, without closing anything.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What the proxy lets through.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Everything,
    Nothing,
    /// So many bytes in each direction of each connection.
    First(usize),
}

pub(super) struct Proxy {
    pub(super) address: String,
    pub(super) flow: watch::Sender<Flow>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(super) async fn before(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let flow = watch::Sender::new(Flow::Everything);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::from(target), flow.clone()));
        Self {
            address,
            flow,
            _tasks: tasks,
        }
    }
}

async fn accept(listener: TcpListener, target: Arc<str>, flow: watch::Sender<Flow>) {
    let mut pumps = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        let Ok(far) = TcpStream::connect(&*target).await else {
            continue;
        };
        let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
        pumps.spawn(pump(near_in, far_out, flow.subscribe()));
        pumps.spawn(pump(far_in, near_out, flow.subscribe()));
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut flow: watch::Receiver<Flow>) {
    let mut buffer = vec![0; 16 * 1024];
    let mut passed = 0;
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        let open = |flow: &Flow| match flow {
            Flow::Everything => true,
            Flow::Nothing => false,
            Flow::First(bytes) => passed < *bytes,
        };
        if flow.wait_for(open).await.is_err() || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
        passed += read;
    }
}
