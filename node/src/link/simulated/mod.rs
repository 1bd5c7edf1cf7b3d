//! A network inside one process, under a seed: delays, losses, duplicates, cuts and crashes.
//!
//! It behaves as a mesh does where callers can tell: a call to a peer that is known to be away fails at once, one that the
//! network swallowed fails with [`LinkError::Lost`] only when the silence has been noticed. And it is worse than TCP
//! where protocols must not rely on TCP: requests overtake each other, are served twice, and reach the next life of a node.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;

use super::mesh::fits;
use super::{Lane, LinkError, Message, Network, PeerId, Service};
use crate::env::Boxed;
use crate::env::simulated::{SimulatedNode, Simulation};

/// What the network does to messages. Chances are per million messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// The shortest time a message is on its way, unless a distance was set for its path.
    pub delay_min: Duration,
    /// Drawn anew for each message and added to its delay.
    pub jitter_max: Duration,
    /// Messages that are late by far more.
    pub stragglers_per_million: u32,
    /// How late those are at most.
    pub straggler_delay_max: Duration,
    /// Messages that vanish.
    pub losses_per_million: u32,
    /// Requests that are delivered twice.
    pub duplicates_per_million: u32,
    /// How long it takes a node to notice that a peer fell silent.
    pub silence: Duration,
}

impl Faults {
    /// Nothing goes wrong: this is what a network heals to.
    pub fn none() -> Self {
        Self {
            delay_min: Duration::from_millis(1),
            jitter_max: Duration::from_millis(1),
            stragglers_per_million: 0,
            straggler_delay_max: Duration::ZERO,
            losses_per_million: 0,
            duplicates_per_million: 0,
            silence: Duration::from_secs(2),
        }
    }

    /// A bad day: a message in fifty is lost, as many are doubled, and some are seconds late.
    pub fn many() -> Self {
        Self {
            jitter_max: Duration::from_millis(20),
            stragglers_per_million: 10_000,
            straggler_delay_max: Duration::from_secs(5),
            losses_per_million: 20_000,
            duplicates_per_million: 20_000,
            ..Self::none()
        }
    }
}

/// The network between the nodes of a simulation.
#[derive(Clone)]
pub struct SimulatedNetwork {
    simulation: Simulation,
    /// Messages on their way are tasks of the network, which never crashes: they outlive their sender.
    carrier: SimulatedNode,
    state: Arc<Mutex<State>>,
}

struct State {
    faults: Faults,
    nodes: BTreeMap<PeerId, Attached>,
    distances: BTreeMap<Path, Duration>,
    /// By how much more messages of a direction are late.
    lags: BTreeMap<Path, Duration>,
    /// Directions in which nothing passes, and since when.
    cuts: BTreeMap<Path, Duration>,
}

/// From one node to another.
type Path = (PeerId, PeerId);

#[derive(Clone)]
struct Attached {
    node: SimulatedNode,
    service: Arc<dyn Service>,
}

impl SimulatedNetwork {
    /// A network that nobody is attached to.
    pub fn new(simulation: &Simulation, faults: Faults) -> Self {
        let state = Arc::new(Mutex::new(State {
            faults,
            nodes: BTreeMap::new(),
            distances: BTreeMap::new(),
            lags: BTreeMap::new(),
            cuts: BTreeMap::new(),
        }));
        Self {
            simulation: simulation.clone(),
            carrier: simulation.node("network"),
            state,
        }
    }

    /// Attaches this life of a node under its name; requests to `me` go to `service` until the node crashes.
    pub fn attach(&self, node: &SimulatedNode, me: PeerId, service: Arc<dyn Service>) -> Arc<dyn Network> {
        let attached = Attached {
            node: node.clone(),
            service,
        };
        self.state(|state| state.nodes.insert(me, attached.clone()));
        Arc::new(Endpoint {
            network: self.clone(),
            me,
            attached,
        })
    }

    /// Changes what happens to messages sent from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state(|state| state.faults = faults);
    }

    /// Sets the shortest time a message takes between two nodes, in either direction.
    pub fn set_distance(&self, one: PeerId, other: PeerId, delay_min: Duration) {
        self.state(|state| {
            state
                .distances
                .extend([((one, other), delay_min), ((other, one), delay_min)])
        });
    }

    /// From now on messages from one node to another are late by this, which nobody expects: unlike a distance it is no
    /// part of what nodes know of their round trips.
    pub fn lag(&self, from: PeerId, to: PeerId, by: Duration) {
        self.state(|state| state.lags.insert((from, to), by));
    }

    /// Lets nothing pass from one node to another. The other direction stays as it is.
    pub fn cut(&self, from: PeerId, to: PeerId) {
        let now = self.simulation.now();
        self.state(|state| *state.cuts.entry((from, to)).or_insert(now));
    }

    /// Ends a cut of one direction.
    pub fn mend(&self, from: PeerId, to: PeerId) {
        self.state(|state| state.cuts.remove(&(from, to)));
    }

    /// Ends all cuts, all lags and all faults.
    pub fn heal(&self) {
        self.state(|state| {
            state.cuts.clear();
            state.lags.clear();
            state.faults = Faults::none();
        });
    }

    fn state<T>(&self, step: impl FnOnce(&mut State) -> T) -> T {
        step(&mut self.state.lock().expect("no step panics while it holds the lock"))
    }

    fn faults(&self) -> Faults {
        self.state(|state| state.faults)
    }

    /// Whoever answers for `id` now.
    fn attached(&self, id: PeerId) -> Option<Attached> {
        self.state(|state| state.nodes.get(&id).cloned())
            .filter(|attached| attached.node.is_up())
    }

    /// Whether `from` believes to be connected to `to`: connections need both directions, and cuts are noticed late.
    fn is_connected(&self, from: PeerId, to: PeerId) -> bool {
        let now = self.simulation.now();
        let cut = self.state(|state| {
            let noticed = |since: &Duration| now >= *since + state.faults.silence;
            [(from, to), (to, from)]
                .iter()
                .any(|path| state.cuts.get(path).is_some_and(noticed))
        });
        !cut && self.attached(to).is_some()
    }

    fn distance(&self, path: Path) -> Duration {
        self.state(|state| state.distances.get(&path).copied().unwrap_or(state.faults.delay_min))
    }

    /// Takes a message to the other end of its path, or reports that it did not arrive once that can be noticed.
    async fn travel(&self, path: Path) -> Result<(), LinkError> {
        let faults = self.faults();
        let lag = self.state(|state| state.lags.get(&path).copied()).unwrap_or_default();
        let mut delay = self.distance(path) + lag + self.simulation.draw_duration(faults.jitter_max);
        if self.simulation.chance(faults.stragglers_per_million) {
            delay += self.simulation.draw_duration(faults.straggler_delay_max);
        }
        let lost = self.simulation.chance(faults.losses_per_million);
        self.simulation.sleep(delay).await;
        if lost || self.state(|state| state.cuts.contains_key(&path)) {
            self.simulation.record(("lost", path));
            self.simulation.sleep(faults.silence).await;
            return Err(LinkError::Lost);
        }
        Ok(())
    }

    /// Takes a request to its peer and the answer back.
    async fn carry(self, (from, to): Path, lane: Lane, message: Message) -> Result<Message, LinkError> {
        self.travel((from, to)).await?;
        let reply = match self.attached(to) {
            Some(Attached { node, service }) => {
                self.simulation
                    .record(("deliver", from, to, lane, message.head.as_ref(), message.body.len()));
                node.run(async move { service.serve(from, message).await })
                    .await
                    .map_err(|_| LinkError::Lost)
            }
            None => Err(LinkError::Lost),
        };
        self.travel((to, from)).await?;
        let reply = reply?;
        self.simulation
            .record(("answer", from, to, lane, reply.head.as_ref(), reply.body.len()));
        fits(lane, &reply).map(|()| reply)
    }
}

/// A node's end of the network.
struct Endpoint {
    network: SimulatedNetwork,
    me: PeerId,
    attached: Attached,
}

impl Network for Endpoint {
    fn call(&self, to: PeerId, lane: Lane, message: Message) -> Boxed<'static, Result<Message, LinkError>> {
        let (network, me, attached) = (self.network.clone(), self.me, self.attached.clone());
        Box::pin(async move {
            fits(lane, &message)?;
            if to == me {
                let Attached { node, service } = attached;
                let served = node.run(async move { service.serve(me, message).await }).await;
                return served.map_err(|_| LinkError::Lost);
            }
            network.call((me, to), lane, message).await
        })
    }

    fn round_trip(&self, to: PeerId) -> Option<Duration> {
        let connected = to != self.me && self.network.is_connected(self.me, to);
        connected.then(|| 2 * self.network.distance((self.me, to)))
    }
}

impl SimulatedNetwork {
    async fn call(self, path: Path, lane: Lane, message: Message) -> Result<Message, LinkError> {
        if !self.is_connected(path.0, path.1) {
            return Err(LinkError::NotConnected);
        }
        let spawner = self.carrier.env().spawner;
        if self.simulation.chance(self.faults().duplicates_per_million) {
            let twin = self.clone().carry(path, lane, message.clone());
            spawner.spawn("twin", Box::pin(async move { drop(twin.await) }));
        }
        let (answer, answered) = oneshot::channel();
        let carrying = self.carry(path, lane, message);
        let task = async move {
            // A caller that gave up, or crashed, does not wait for this.
            let _ = answer.send(carrying.await);
        };
        spawner.spawn("message", Box::pin(task));
        answered.await.unwrap_or(Err(LinkError::Lost))
    }
}
