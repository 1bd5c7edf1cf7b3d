//! Keeps the connections to one peer: dials, uses, dials again.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::Lane;
use super::asking::Asking;
use super::connection::Connection;
use super::handshake::{HandshakeError, Stream};
use super::mesh::Shared;
use super::roster::{News, Peer};

/// Keeps the connection of one lane until the peer is removed or the node closes.
pub(super) async fn keep_connected(shared: Arc<Shared>, peer: Arc<Peer>, lane: Lane) {
    let mut arrivals = peer.arrivals.subscribe();
    let (mut attempt, mut turn) = (0, 0);
    loop {
        arrivals.mark_unchanged();
        let address = peer.address(turn);
        let dialed = tokio::select! {
            biased;
            () = dismissed(&shared, &peer) => return,
            dialed = dial(&shared, &peer, &address, lane) => dialed,
        };
        match dialed {
            Ok(stream) => {
                let began = shared.env.clock.monotonic();
                use_connection(&shared, &peer, &address, lane, stream).await;
                // One that did not last is not much better than one that did not come about.
                let lasted = shared.env.clock.monotonic() - began;
                attempt = if lasted.as_millis() < shared.timing.reconnect_max_ms.into() {
                    attempt
                } else {
                    0
                };
            }
            Err(failure) => {
                note_failure(&peer, &address, lane, failure);
                turn += 1;
            }
        }
        shared.roster.changed();
        let pause = shared.timing.pause(attempt, shared.env.random_u64());
        attempt += 1;
        tokio::select! {
            biased;
            () = dismissed(&shared, &peer) => return,
            // Whoever reaches us can most likely be reached. The sender lives as long as the peer.
            _ = arrivals.changed() => {}
            () = shared.env.clock.sleep(pause) => {}
        }
    }
}

/// No further connection is wanted.
async fn dismissed(shared: &Shared, peer: &Peer) {
    tokio::select! {
        biased;
        () = shared.finish.cancelled() => {}
        () = peer.stop.cancelled() => {}
    }
}

async fn dial(shared: &Shared, peer: &Peer, address: &str, lane: Lane) -> Result<Stream, HandshakeError> {
    let dialing = async {
        let socket = TcpStream::connect(address).await?;
        shared.handshaker.dial(socket, peer.id, lane).await
    };
    let limit = Duration::from_millis(shared.timing.handshake_timeout_ms);
    shared
        .env
        .timeout(limit, dialing)
        .await
        .unwrap_or(Err(HandshakeError::TimedOut))
}

async fn use_connection(shared: &Shared, peer: &Peer, address: &str, lane: Lane, stream: Stream) {
    let asking = Arc::new(Asking::new(Connection::new(shared.env.clone(), lane, shared.timing)));
    peer.connected(lane, Arc::clone(&asking));
    shared.roster.changed();
    tracing::info!(peer = %peer.id, address, ?lane, "connected");
    // A node that closes gives up its own calls at the very end, when nothing it still answers can need them.
    let ending = asking
        .connection
        .run(stream, &*asking, &peer.stop, std::future::pending())
        .await;
    peer.lost(lane);
    asking.close();
    tracing::info!(peer = %peer.id, ?lane, %ending, "connection ended");
}

fn note_failure(peer: &Peer, address: &str, lane: Lane, failure: HandshakeError) {
    let text = failure.to_string();
    match peer.failed(lane, failure) {
        News::New => tracing::warn!(peer = %peer.id, address, ?lane, reason = text, "cannot connect"),
        News::Old => tracing::debug!(peer = %peer.id, ?lane, reason = text, "still cannot connect"),
    }
}
