//! Connections: accepting them, their limits, and their orderly end.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{FrontDoor, FrontDoorConfig};
use crate::store::ObjectStore;

/// The most headers of a request.
const HEADERS_MAX: usize = 200;
/// How long to wait when the system has no file handles left.
const ACCEPT_RETRY_MS: u64 = 100;

impl<S: ObjectStore> FrontDoor<S> {
    /// Serves the listeners until `shutdown` ends; then no connection is accepted, idle ones are closed, and open requests
    /// have [`FrontDoorConfig::shutdown_grace_ms`] to end. Dropping the future ends everything at once.
    pub async fn serve(&self, listeners: Vec<TcpListener>, shutdown: impl Future<Output = ()>) {
        let (stop, stopped) = watch::channel(());
        let mut loops = JoinSet::new();
        for listener in listeners {
            let (door, stopped) = (self.clone(), stopped.clone());
            loops.spawn(async move { door.accept(listener, stopped).await });
        }
        shutdown.await;
        drop(stop);
        while loops.join_next().await.is_some() {}
    }

    /// Serves one connection, over TCP or anything like it, until it ends or `shutdown` does.
    pub async fn serve_connection<C>(&self, connection: C, shutdown: impl Future<Output = ()>)
    where
        C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request: Request<Incoming>| {
            let door = self.clone();
            async move { Ok::<_, Infallible>(door.handle(request).await) }
        });
        let builder = builder(&self.door.config);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(connection), service));
        tokio::select! {
            // What goes wrong on a connection concerns its client alone, who knows.
            _ = connection.as_mut() => return,
            () = shutdown => connection.as_mut().graceful_shutdown(),
        }
        let grace = Duration::from_millis(self.door.config.shutdown_grace_ms);
        let _ = timeout(grace, connection).await;
    }

    async fn accept(self, listener: TcpListener, mut stopped: watch::Receiver<()>) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                // Nothing is ever sent: the only change is the end.
                _ = stopped.changed() => break,
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept(), if connections.len() < self.door.config.connections_max => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    // Small answers must not wait for the acknowledgement of earlier ones.
                    let _ = stream.set_nodelay(true);
                    let (door, mut stopped) = (self.clone(), stopped.clone());
                    connections.spawn(async move {
                        door.serve_connection(stream, async { while stopped.changed().await.is_ok() {} })
                            .await;
                    });
                }
                Err(error) if is_of_one_client(&error) => {}
                Err(_) => sleep(Duration::from_millis(ACCEPT_RETRY_MS)).await,
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }
}

fn builder(config: &FrontDoorConfig) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(config.header_read_timeout_ms))
        // The library insists on 8 KiB.
        .max_buf_size(config.header_max_bytes.max(8192))
        .max_headers(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(config.header_max_bytes).unwrap_or(u32::MAX));
    builder
}

fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    [ConnectionAborted, ConnectionReset, Interrupted].contains(&error.kind())
}
