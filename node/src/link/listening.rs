//! Answers those who dial: strangers are turned away; who proves the cluster's secret is served, known or not.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Ending};
use super::handshake::{HandshakeError, Stream};
use super::mesh::Shared;
use super::serving::Serving;
use super::{Lane, PeerId};

/// Handshakes under way. Whoever comes when there are more is turned away at once.
const HANDSHAKES_MAX: usize = 256;

/// Connections that are served. Whoever knows the secret could make a key for each.
const GUESTS_MAX: usize = 4_096;

/// Pause after the operating system refused a connection, most likely for want of file descriptors.
const ACCEPT_RETRY_MS: u64 = 100;

/// At most one line about strangers in so much time.
const REFUSAL_LOG_INTERVAL_MS: u64 = 1_000;

/// The connections that peers dialed: one per peer and lane, the newest.
#[derive(Default)]
pub(super) struct Guests {
    present: Mutex<BTreeMap<(PeerId, Lane), Arc<Guest>>>,
    refusals: Mutex<Refusals>,
}

/// One connection that a peer dialed.
struct Guest {
    stop: CancellationToken,
    from: IpAddr,
}

/// Keeps a flood of strangers out of the log.
#[derive(Default)]
struct Refusals {
    quiet_until: Duration,
    unsaid: u64,
}

/// Accepts connections until the node closes.
pub(super) async fn listen(shared: Arc<Shared>, listener: TcpListener) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.finish.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match (accepted, Arc::clone(&handshakes).try_acquire_owned()) {
            (Ok((socket, from)), Ok(place)) => {
                shared
                    .env
                    .spawner
                    .spawn("answer", Box::pin(answer(Arc::clone(&shared), socket, from, place)));
            }
            (Ok((_, from)), Err(_)) => shared.guests.refused(&shared, from, "too many handshakes under way"),
            (Err(error), _) => {
                tracing::warn!(%error, "cannot accept a connection");
                shared.env.clock.sleep(Duration::from_millis(ACCEPT_RETRY_MS)).await;
            }
        }
    }
}

async fn answer(shared: Arc<Shared>, socket: TcpStream, from: SocketAddr, place: OwnedSemaphorePermit) {
    let limit = Duration::from_millis(shared.timing.handshake_timeout_ms);
    let handshake = shared.handshaker.answer(socket);
    let answered = tokio::select! {
        biased;
        () = shared.stop.cancelled() => return,
        answered = shared.env.timeout(limit, handshake) => answered.unwrap_or(Err(HandshakeError::TimedOut)),
    };
    drop(place);
    match answered {
        Ok((id, lane, stream)) => match shared.guests.enter(&shared, id, lane, from.ip()) {
            Some(guest) => serve(&shared, id, &guest, lane, stream).await,
            None => shared.guests.refused(&shared, from, "too many connections are served"),
        },
        Err(failure) => shared.guests.refused(&shared, from, &failure.to_string()),
    }
}

async fn serve(shared: &Shared, peer: PeerId, guest: &Arc<Guest>, lane: Lane, stream: Stream) {
    let connection = Arc::new(Connection::new(shared.env.clone(), lane, shared.timing));
    let serving = Serving::new(Arc::clone(&connection), peer, Arc::clone(&shared.service));
    let ending = connection
        .run(stream, &serving, &guest.stop, shared.finish.cancelled())
        .await;
    serving.close();
    shared.guests.leave(peer, lane, guest);
    shared.roster.changed();
    match ending {
        Ending::Violated(violation) => tracing::warn!(%peer, ?lane, %violation, "connection of a peer ended"),
        Ending::Closed | Ending::Stopped | Ending::Silent(_) | Ending::Io(_) => {
            tracing::debug!(%peer, ?lane, %ending, "connection of a peer ended");
        }
    }
}

impl Guests {
    /// Whether no peer is served.
    pub(super) fn are_gone(&self) -> bool {
        self.present.lock().expect("no holder panics").is_empty()
    }

    /// A peer that dials again has given up the connection it had, even if the news of that is still on its way.
    fn enter(&self, shared: &Shared, id: PeerId, lane: Lane, from: IpAddr) -> Option<Arc<Guest>> {
        let stop = shared.stop.child_token();
        let guest = Arc::new(Guest { stop, from });
        let mut present = self.present.lock().expect("no holder panics");
        if present.len() >= GUESTS_MAX && !present.contains_key(&(id, lane)) {
            return None;
        }
        if let Some(before) = present.insert((id, lane), Arc::clone(&guest)) {
            before.stop.cancel();
        }
        drop(present);
        if let Some(peer) = shared.roster.get(id) {
            peer.arrivals.send_modify(|arrivals| *arrivals += 1);
        }
        Some(guest)
    }

    /// From where a peer dialed, if it has.
    pub(super) fn seen_at(&self, peer: PeerId) -> Option<IpAddr> {
        let present = self.present.lock().expect("no holder panics");
        present.get(&(peer, Lane::Control)).map(|guest| guest.from)
    }

    fn leave(&self, peer: PeerId, lane: Lane, guest: &Arc<Guest>) {
        let mut present = self.present.lock().expect("no holder panics");
        if present
            .get(&(peer, lane))
            .is_some_and(|newest| Arc::ptr_eq(newest, guest))
        {
            present.remove(&(peer, lane));
        }
    }

    fn refused(&self, shared: &Shared, from: SocketAddr, reason: &str) {
        let now = shared.env.clock.monotonic();
        if let Some(unsaid) = self.refusals.lock().expect("no holder panics").speak(now) {
            tracing::warn!(%from, reason, unsaid, "refused a connection");
        }
    }
}

impl Refusals {
    /// How many refusals went unsaid, if it is time to say something.
    fn speak(&mut self, now: Duration) -> Option<u64> {
        if now < self.quiet_until {
            self.unsaid += 1;
            return None;
        }
        self.quiet_until = now + Duration::from_millis(REFUSAL_LOG_INTERVAL_MS);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_one_line_per_interval() {
        let mut refusals = Refusals::default();
        let said: Vec<_> = (0..25)
            .filter_map(|tenth| refusals.speak(Duration::from_millis(100 * tenth)))
            .collect();
        assert_eq!(said, [0, 9, 9]);
    }
}
