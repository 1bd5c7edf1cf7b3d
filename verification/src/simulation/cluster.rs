//! Nodes that crash and come back, on disks that do not.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use trellis_node::cluster::{
    Collector, Coordinator, ElectError, Elected, Forgetter, Layouts, Limits, Movers, Redundancy, Repairer, Replica,
    ReplicaService, Scrubber,
};
use trellis_node::env::Env;
use trellis_node::env::simulated::{SimulatedNode, Simulation};
use trellis_node::link::PeerId;
use trellis_node::link::simulated::{Faults, SimulatedNetwork};
use trellis_node::storage::{Flush, MemoryBlockDisk, MemoryBlocks, MemoryDisk, MemoryRows, Rows};
use trellis_node::store::{ClusterStore, SecretWrapping};
use trellis_s3api::error::StoreError;
use trellis_spec::layout::{Knowledge, Layout, Member, initial};
use trellis_spec::peer::Peer;
use trellis_spec::quorum::NodeId;

use super::recording::Recording;
use super::sabotage::Sabotage;
use super::scenario::Stage;
use super::shape::Shape;
use super::tally::Tally;
use super::watch::Watched;

/// Names that events of nodes are recorded under.
const NAMES: [&str; 10] = [
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
];
/// The shortest time that a flush takes.
const FLUSH_MIN: Duration = Duration::from_micros(100);
/// How long storing a block takes at least.
const BLOCK_WRITE_TIME: Duration = Duration::from_millis(2);

/// The nodes of a run.
pub(crate) struct SimulatedCluster {
    simulation: Simulation,
    network: SimulatedNetwork,
    layout: Layout,
    flush_max: Duration,
    sabotage: Sabotage,
    recording: Recording,
    tally: Tally,
    sites: Vec<Site>,
    /// Its clock is right.
    reference: SimulatedNode,
    /// Where messages wait for their cue, if they do. Then nothing goes on in the background.
    stage: Option<Stage>,
}

/// One node and what outlives it.
struct Site {
    member: Member,
    limits: Limits,
    rows: MemoryDisk,
    blocks: MemoryBlockDisk,
    life: Mutex<Life>,
}

#[derive(Clone)]
struct Life {
    node: SimulatedNode,
    coordinator: Option<Arc<Coordinator>>,
    store: Option<ClusterStore>,
    table: Option<Arc<dyn Rows>>,
    /// The blocks that somebody who does harm may look at.
    held: Option<Arc<MemoryBlocks>>,
}

/// What a client hears.
pub(crate) enum Told<T> {
    /// The store's answer.
    Answer(Result<T, StoreError>),
    /// Nothing, for the node was down before it was asked.
    NotSent,
    /// Nothing, for the node crashed.
    Crashed,
    /// Nothing, for the client lost its patience and hung up.
    HungUp,
}

impl SimulatedCluster {
    /// A cluster whose nodes are up.
    pub(crate) fn new(
        simulation: &Simulation,
        shape: &Shape,
        sabotage: Sabotage,
        recording: &Recording,
        tally: &Tally,
    ) -> Self {
        let first = |members: &[Member]| {
            initial(members.to_vec(), shape.replicas, shape.partitions).expect("a few nodes in as many zones")
        };
        let mut cluster = Self::of(simulation, shape, tally, first);
        (cluster.sabotage, cluster.recording) = (sabotage, recording.clone());
        (0..shape.nodes).for_each(|at| cluster.start(at, 0));
        cluster
    }

    /// A cluster on a stage, which begins with the layout that `first` makes of its nodes. `limits` are those of each node.
    pub(crate) fn on_stage(
        simulation: &Simulation,
        shape: &Shape,
        first: impl FnOnce(&[Member]) -> Layout,
        limits: Vec<Limits>,
        stage: &Stage,
    ) -> Self {
        let mut cluster = Self::of(simulation, shape, &Tally::default(), first);
        cluster.stage = Some(stage.clone());
        for (site, limits) in cluster.sites.iter_mut().zip(limits) {
            site.limits = limits;
        }
        (0..shape.nodes).for_each(|at| cluster.start(at, 0));
        cluster
    }

    /// A cluster whose nodes are not up.
    fn of(simulation: &Simulation, shape: &Shape, tally: &Tally, first: impl FnOnce(&[Member]) -> Layout) -> Self {
        let members: Vec<Member> = (1..=shape.nodes).map(member).collect();
        let layout = first(&members);
        let site = |(member, name)| Site::new(member, simulation.node(name), shape.limits.clone());
        SimulatedCluster {
            simulation: simulation.clone(),
            network: SimulatedNetwork::new(simulation, Faults::none()),
            layout,
            flush_max: shape.flush,
            sabotage: Sabotage::None,
            recording: Recording::off(),
            tally: tally.clone(),
            sites: members.into_iter().zip(NAMES).map(site).collect(),
            reference: simulation.node("reference"),
            stage: None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.sites.len()
    }

    pub(crate) fn network(&self) -> &SimulatedNetwork {
        &self.network
    }

    pub(crate) fn peer(&self, at: usize) -> PeerId {
        PeerId(self.sites[at].member.key)
    }

    pub(crate) fn id(&self, at: usize) -> NodeId {
        self.sites[at].member.id
    }

    pub(crate) fn is_up(&self, at: usize) -> bool {
        self.sites[at].life().node.is_up()
    }

    pub(crate) fn node(&self, at: usize) -> SimulatedNode {
        self.sites[at].life().node.clone()
    }

    pub(crate) fn rows(&self, at: usize) -> &MemoryDisk {
        &self.sites[at].rows
    }

    pub(crate) fn block_disk(&self, at: usize) -> &MemoryBlockDisk {
        &self.sites[at].blocks
    }

    pub(crate) fn blocks(&self, at: usize) -> Option<Arc<MemoryBlocks>> {
        self.sites[at].life().held.clone()
    }

    /// All that may become members of a layout, in order of id.
    pub(crate) fn members(&self) -> Vec<Member> {
        let mut members: Vec<Member> = self.sites.iter().map(|site| site.member.clone()).collect();
        members.sort_by_key(|member| member.id);
        members
    }

    /// What a node that is up knows of layouts.
    pub(crate) fn layouts(&self, at: usize) -> Option<Arc<Layouts>> {
        let life = self.sites[at].life();
        let coordinator = life.coordinator.as_ref().filter(|_| life.node.is_up())?;
        Some(coordinator.layouts().clone())
    }

    /// The layout that all nodes began with.
    pub(crate) fn first_layout(&self) -> &Layout {
        &self.layout
    }

    /// The hands with which a node that is up syncs its partitions.
    pub(crate) fn movers(&self, at: usize) -> Option<Movers> {
        let life = self.sites[at].life();
        let coordinator = life.coordinator.clone().filter(|_| life.node.is_up())?;
        Some(Movers::new(coordinator, Arc::new(life.store.clone()?)))
    }

    /// What a node that is up keeps its rows in.
    pub(crate) fn table(&self, at: usize) -> Option<Arc<dyn Rows>> {
        let life = self.sites[at].life();
        life.table.clone().filter(|_| life.node.is_up())
    }

    /// A node on a stage that is up is left to itself, as far as layouts are concerned.
    pub(crate) fn let_move(&self, at: usize) {
        let Some(movers) = self.movers(at) else { return };
        let life = self.sites[at].life();
        let (spawner, coordinator) = (life.node.env().spawner, life.coordinator.clone());
        spawner.spawn("movers", Box::pin(movers.run()));
        if let Some(coordinator) = coordinator {
            spawner.spawn("tidings", Box::pin(coordinator.spread_tidings()));
        }
    }

    /// Asks a node to have a layout elected; nothing if it is down or crashes.
    pub(crate) async fn elect(&self, at: usize, next: Layout) -> Option<Result<Elected, ElectError>> {
        let (node, coordinator) = {
            let life = self.sites[at].life();
            (life.node.clone(), life.coordinator.clone()?)
        };
        if !node.is_up() {
            return None;
        }
        node.run(async move { coordinator.elect(next).await }).await.ok()
    }

    /// What a node that is up finds out about how whole all copies are.
    pub(crate) async fn redundancy(&self, at: usize) -> Option<Redundancy> {
        let (node, coordinator) = {
            let life = self.sites[at].life();
            (life.node.clone(), life.coordinator.clone()?)
        };
        node.run(async move { coordinator.redundancy().await }).await.ok()
    }

    /// Which node this is.
    pub(crate) fn at(&self, id: NodeId) -> Option<usize> {
        self.sites.iter().position(|site| site.member.id == id)
    }

    /// The right time.
    pub(crate) fn right_us(&self) -> u64 {
        self.reference.env().clock.wall_us()
    }

    /// What the clock of a node shows.
    pub(crate) fn wall_us(&self, at: usize) -> u64 {
        self.node(at).env().clock.wall_us()
    }

    /// Rounds of collection without end, and what came of them.
    fn collect(
        &self,
        pause: Duration,
        coordinator: Arc<Coordinator>,
        env: Env,
    ) -> impl Future<Output = ()> + Send + 'static {
        let tally = self.tally.clone();
        async move {
            let mut collector = Collector::new(coordinator);
            loop {
                env.clock.sleep(pause).await;
                let collected = collector.round().await;
                for (what, times) in [
                    ("a part of an upload became a tombstone", collected.parts),
                    ("a reference was given up", collected.references),
                    ("a block was deleted", collected.blocks),
                ] {
                    tally.add(what, usize::try_from(times).unwrap_or(usize::MAX));
                }
            }
        }
    }

    /// Rounds of forgetting without end, and what came of them.
    fn forget(&self, coordinator: Arc<Coordinator>, env: Env) -> impl Future<Output = ()> + Send + 'static {
        let tally = self.tally.clone();
        async move {
            let mut forgetter = Forgetter::new(coordinator);
            loop {
                env.clock.sleep(forgetter.pause()).await;
                let forgot = forgetter.round().await;
                for (what, times) in [
                    ("a tombstone was forgotten everywhere", forgot.tombstones),
                    ("a tombstone was brought to who had none", forgot.brought),
                    ("an old promise was settled", forgot.settled),
                ] {
                    tally.add(what, usize::try_from(times).unwrap_or(usize::MAX));
                }
            }
        }
    }

    /// From now on the clock of a node is off by `off_us`, and goes wrong by `drift_ppm`.
    pub(crate) fn set_clock(&self, at: usize, off_us: i64, drift_ppm: i64) {
        let node = self.node(at);
        let is_off = node.env().clock.wall_us().cast_signed() - self.reference.env().clock.wall_us().cast_signed();
        node.jump_clock(off_us - is_off);
        node.set_clock_drift(drift_ppm);
    }

    /// The next life of a node. Of what was not durable, the oldest `survivors` batches happen to be on the disk.
    pub(crate) fn start(&self, at: usize, survivors: usize) {
        let site = &self.sites[at];
        let node = site.node_restarted();
        site.rows.crash(survivors);
        let env = node.env();
        let flush = Flush::After {
            least: FLUSH_MIN,
            most: FLUSH_MIN + self.simulation.draw_duration(self.flush_max),
        };
        let (rows, _) = MemoryRows::open(&site.rows, env.clone(), flush).expect("nobody damages this disk");
        let rows: Arc<dyn Rows> = self.sabotage.between(Arc::new(rows), &env);
        let blocks = Arc::new(MemoryBlocks::open(&site.blocks, env.clone(), BLOCK_WRITE_TIME));
        let peer = Peer {
            me: site.member.id,
            knowledge: Knowledge::of(self.layout.clone()),
        };
        let replica = Replica::new(env.clone(), peer, rows.clone(), blocks.clone(), site.limits.clone())
            .expect("layouts can be read and written at a start");
        let replica = Arc::new(replica.with_recorder(self.recording.begin(site.member.id)));
        let service = ReplicaService::new(replica.clone());
        let service = Arc::new(Watched {
            service,
            tally: self.tally.clone(),
            sabotage: self.sabotage,
        });
        let network = self.network.attach(&node, self.peer(at), service);
        let network = match &self.stage {
            Some(stage) => stage.before(at, network),
            None => network,
        };
        let coordinator = Arc::new(Coordinator::new(env.clone(), site.limits.clone(), replica, network));
        let store = ClusterStore::new(coordinator.clone(), SecretWrapping::new(&[7; 32]));
        if self.stage.is_none() {
            let pause = Duration::from_millis(site.limits.collect_pause_ms);
            self.start_workers(&coordinator, &store, &env, pause);
        }
        *site.life() = Life {
            node,
            coordinator: Some(coordinator),
            store: Some(store),
            table: Some(rows),
            held: Some(blocks),
        };
    }

    fn start_workers(&self, coordinator: &Arc<Coordinator>, store: &ClusterStore, env: &Env, pause: Duration) {
        let movers = Movers::new(coordinator.clone(), Arc::new(store.clone()));
        let repairer = Repairer::new(coordinator.clone(), &movers);
        let spawn = |name, task| env.spawner.spawn(name, task);
        spawn("movers", Box::pin(movers.run()));
        spawn("repairer", Box::pin(repairer.run()));
        spawn("scrubber", Box::pin(Scrubber::new(coordinator.clone()).run()));
        spawn(
            "collector",
            Box::pin(self.collect(pause, coordinator.clone(), env.clone())),
        );
        spawn("forgetter", Box::pin(self.forget(coordinator.clone(), env.clone())));
        spawn("tidings", Box::pin(coordinator.clone().spread_tidings()));
    }

    /// Asks a node to work for a client, who hangs up after `patience`.
    pub(crate) async fn ask<T, F>(
        &self,
        at: usize,
        patience: Option<Duration>,
        work: impl FnOnce(ClusterStore) -> F,
    ) -> Told<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let (node, store) = {
            let life = self.sites[at].life();
            (life.node.clone(), life.store.clone())
        };
        let Some(store) = store.filter(|_| node.is_up()) else {
            return Told::NotSent;
        };
        let (env, work) = (node.env(), work(store));
        let answered = node.run(async move {
            match patience {
                Some(patience) => env.timeout(patience, work).await.ok(),
                None => Some(work.await),
            }
        });
        match answered.await {
            Ok(Some(answer)) => Told::Answer(answer),
            Ok(None) => {
                self.tally.count("a client hung up");
                Told::HungUp
            }
            Err(_) => {
                self.tally.count("a node crashed under a client's request");
                Told::Crashed
            }
        }
    }
}

impl Site {
    fn new(member: Member, node: SimulatedNode, limits: Limits) -> Self {
        let life = Life {
            node,
            coordinator: None,
            store: None,
            table: None,
            held: None,
        };
        Site {
            member,
            limits,
            rows: MemoryDisk::new(),
            blocks: MemoryBlockDisk::new(),
            life: Mutex::new(life),
        }
    }

    fn node_restarted(&self) -> SimulatedNode {
        let node = self.life().node.clone();
        node.restart()
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn member(number: usize) -> Member {
    let byte = u8::try_from(number).expect("a handful of nodes");
    Member::storage([byte; 32], [byte; 16], format!("zone-{number}"), 1 << 40)
}
