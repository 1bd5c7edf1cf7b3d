//! The peers of a node: who they are, where they should be, and how the connections to them fare.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::asking::Asking;
use super::handshake::HandshakeError;
use super::{Lane, PeerId};

/// All peers, and a signal that something about them changed.
pub(super) struct Roster {
    peers: RwLock<BTreeMap<PeerId, Arc<Peer>>>,
    changes: watch::Sender<u64>,
}

/// One peer.
pub(super) struct Peer {
    pub(super) id: PeerId,
    addresses: Mutex<Addresses>,
    /// Ends everything that has to do with the peer.
    pub(super) stop: CancellationToken,
    /// Counts the connections that the peer dialed, and news of its addresses. Each is a sign that it can be reached again.
    pub(super) arrivals: watch::Sender<u64>,
    control: Mutex<Line>,
    bulk: Mutex<Line>,
}

/// Where a peer may be.
struct Addresses {
    likeliest_first: Vec<String>,
    /// The one that was dialed last.
    last: String,
}

/// The connection of one lane, or why there is none.
struct Line {
    state: LineState,
    connections: u64,
}

enum LineState {
    Connecting,
    Connected(Arc<Asking>),
    Waiting(HandshakeError),
    Lost,
}

/// How the connections to one peer fare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// Who.
    pub peer: PeerId,
    /// Where it is, or was looked for last.
    pub address: String,
    /// An estimate of the round trip time on the control lane, once there is one.
    pub round_trip: Option<Duration>,
    /// The connection for small messages.
    pub control: LaneStatus,
    /// The connection for blocks.
    pub bulk: LaneStatus,
}

/// How one connection fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneStatus {
    /// Whether calls go through.
    pub state: LaneState,
    /// Connections made so far: one, and one for each time that it was lost.
    pub connections: u64,
}

/// Whether calls go through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaneState {
    /// The first attempt is under way.
    Connecting,
    /// They do.
    Connected {
        /// Time since the last byte from the peer.
        silence: Duration,
    },
    /// The connection was lost and will be made again.
    Lost,
    /// The last attempt failed; others follow.
    Failing(HandshakeError),
}

impl PeerStatus {
    /// Whether both lanes are connected.
    pub fn is_connected(&self) -> bool {
        [&self.control, &self.bulk]
            .into_iter()
            .all(|lane| matches!(lane.state, LaneState::Connected { .. }))
    }
}

impl Roster {
    pub(super) fn new() -> Self {
        Self {
            peers: RwLock::new(BTreeMap::new()),
            changes: watch::Sender::new(0),
        }
    }

    pub(super) fn get(&self, id: PeerId) -> Option<Arc<Peer>> {
        self.peers.read().expect("no holder panics").get(&id).cloned()
    }

    /// Makes `wanted` the peers. Those that stay keep their connections; the new ones are returned.
    pub(super) fn replace(&self, wanted: BTreeMap<PeerId, Vec<String>>, stop: &CancellationToken) -> Vec<Arc<Peer>> {
        let mut peers = self.peers.write().expect("no holder panics");
        let mut before = std::mem::take(&mut *peers);
        let mut added = Vec::new();
        for (id, addresses) in wanted {
            match before.remove(&id) {
                Some(peer) => {
                    peer.may_be_at(addresses);
                    peers.insert(id, peer);
                }
                None => added.push(Arc::new(Peer::new(id, addresses, stop.child_token()))),
            }
        }
        peers.extend(added.iter().map(|peer| (peer.id, Arc::clone(peer))));
        before.into_values().for_each(|peer| peer.stop.cancel());
        drop(peers);
        self.changed();
        added
    }

    pub(super) fn status(&self) -> Vec<PeerStatus> {
        self.peers
            .read()
            .expect("no holder panics")
            .values()
            .map(|peer| peer.status())
            .collect()
    }

    pub(super) fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Waits until `reached` holds; it is asked again after every change.
    pub(super) async fn until(&self, mut reached: impl FnMut() -> bool) {
        let mut changes = self.changes.subscribe();
        while !reached() {
            changes.changed().await.expect("the roster holds the sender");
        }
    }
}

impl Peer {
    fn new(id: PeerId, addresses: Vec<String>, stop: CancellationToken) -> Self {
        let line = || {
            Mutex::new(Line {
                state: LineState::Connecting,
                connections: 0,
            })
        };
        Self {
            id,
            addresses: Mutex::new(Addresses {
                last: addresses.first().cloned().unwrap_or_default(),
                likeliest_first: addresses,
            }),
            stop,
            arrivals: watch::Sender::new(0),
            control: line(),
            bulk: line(),
        }
    }

    /// It is looked for at these addresses from now on; at once, if they are news.
    fn may_be_at(&self, addresses: Vec<String>) {
        let mut held = self.addresses();
        if held.likeliest_first != addresses {
            held.likeliest_first = addresses;
            drop(held);
            self.arrivals.send_modify(|arrivals| *arrivals += 1);
        }
    }

    /// Where to dial it this time: its addresses take turns.
    pub(super) fn address(&self, attempt: u32) -> String {
        let mut held = self.addresses();
        let turn = attempt as usize % held.likeliest_first.len().max(1);
        let address = held.likeliest_first.get(turn).cloned().unwrap_or_default();
        held.last.clone_from(&address);
        address
    }

    fn addresses(&self) -> MutexGuard<'_, Addresses> {
        self.addresses.lock().expect("no holder panics")
    }

    /// The connection for calls, if there is one.
    pub(super) fn asking(&self, lane: Lane) -> Option<Arc<Asking>> {
        match &self.line(lane).state {
            LineState::Connected(asking) => Some(Arc::clone(asking)),
            LineState::Connecting | LineState::Waiting(_) | LineState::Lost => None,
        }
    }

    pub(super) fn connected(&self, lane: Lane, asking: Arc<Asking>) {
        let mut line = self.line(lane);
        line.connections += 1;
        line.state = LineState::Connected(asking);
    }

    pub(super) fn lost(&self, lane: Lane) {
        self.line(lane).state = LineState::Lost;
    }

    /// Returns whether this is news: the attempt before did not fail in the same way.
    pub(super) fn failed(&self, lane: Lane, failure: HandshakeError) -> News {
        let mut line = self.line(lane);
        let news = match &line.state {
            LineState::Waiting(before) if *before == failure => News::Old,
            LineState::Waiting(_) | LineState::Connecting | LineState::Connected(_) | LineState::Lost => News::New,
        };
        line.state = LineState::Waiting(failure);
        news
    }

    fn status(&self) -> PeerStatus {
        let round_trip = self
            .asking(Lane::Control)
            .and_then(|asking| asking.connection.round_trip());
        let (control, bulk) = (self.line(Lane::Control).status(), self.line(Lane::Bulk).status());
        PeerStatus {
            peer: self.id,
            address: self.addresses().last.clone(),
            round_trip,
            control,
            bulk,
        }
    }

    fn line(&self, lane: Lane) -> MutexGuard<'_, Line> {
        let line = match lane {
            Lane::Control => &self.control,
            Lane::Bulk => &self.bulk,
        };
        line.lock().expect("no holder panics")
    }
}

impl Line {
    fn status(&self) -> LaneStatus {
        let state = match &self.state {
            LineState::Connecting => LaneState::Connecting,
            LineState::Connected(asking) => LaneState::Connected {
                silence: asking.connection.silence(),
            },
            LineState::Waiting(failure) => LaneState::Failing(failure.clone()),
            LineState::Lost => LaneState::Lost,
        };
        LaneStatus {
            state,
            connections: self.connections,
        }
    }
}

/// Whether something is worth a line in the log.
pub(super) enum News {
    New,
    Old,
}
