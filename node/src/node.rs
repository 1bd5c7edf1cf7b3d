//! A whole node: storage, replica, links, coordinator, object store, front door and admin API, put together.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use trellis_s3api::front::{FrontDoor, FrontDoorConfig, Health, WallTime};
use trellis_spec::layout::assign::Role;
use trellis_spec::layout::{Knowledge, Layout, LayoutVersion};
use trellis_spec::peer::Peer;
use trellis_spec::quorum::NodeId;

use crate::admin::{self, AdminServer, MeasuredFolders, Observer, Seen, SocketError};
use crate::advice::advice;
use crate::cluster::{
    Collector, Coordinator, Forgetter, Known, Layouts, LayoutsError, Life, Limits, Memory, Movers, Repairer, Replica,
    ReplicaService, Scrubber, Standing,
};
use crate::env::Env;
use crate::folder::{FolderError, NodeFolder, NodeName};
use crate::link::{ClusterSecret, Mesh, MeshConfig, Network, PeerId, Timing};
use crate::membership::{Hint, Membership, Start};
use crate::seeded;
use crate::storage::{
    BlockFiles, BlockFolderConfig, BlockSetup, BlocksConfig, DiskRows, DiskWatch, OpenError, Opened, Rows, RowsConfig,
    RowsError,
};
use crate::store::{ClusterStore, SecretWrapping};
use crate::trace::{TraceFiles, TraceSettings};

/// A clock that shows an earlier time was never set: 1 January 2025.
const CLOCK_MIN_US: u64 = 1_735_689_600_000_000;

/// How a node behaves, apart from who and where it is.
#[derive(Clone, Default)]
pub struct Settings {
    /// Limits of the driver.
    pub limits: Limits,
    /// Times of links.
    pub timing: Timing,
    /// The row store; blocks keep the same reserve on their disks.
    pub rows: RowsConfig,
    /// Where blocks are kept; none means in the data folder.
    pub block_folders: Vec<BlockFolderConfig>,
    /// How blocks lie in their files.
    pub blocks: BlocksConfig,
    /// The S3 front door; its clock and its health are the node's.
    pub front: FrontDoorConfig,
    /// Whether what it does is written down.
    pub trace: Option<TraceSettings>,
}

/// What a node is made of.
pub struct Setup {
    /// Its data folder.
    pub folder: NodeFolder,
    /// The layout of the cluster.
    pub layout: Layout,
    /// Nodes, this one perhaps among them, and where they may be dialed: where to begin to look for the others.
    pub addresses: Vec<Hint>,
    /// Where others are to dial this node, if that is not what they would think.
    pub advertise: Option<String>,
    /// What all nodes of the cluster know.
    pub cluster_secret: ClusterSecret,
    /// Where peers dial this node.
    pub link: TcpListener,
    /// Where clients do.
    pub s3: TcpListener,
    /// How it behaves.
    pub settings: Settings,
}

/// Why a node did not start. What it had stored is as it was.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The rows or blocks cannot be served from.
    #[error(transparent)]
    Storage(#[from] OpenError),
    /// What the row store knows of layouts cannot be used.
    #[error(transparent)]
    Layouts(#[from] LayoutsError),
    /// The admin API cannot be served.
    #[error(transparent)]
    Admin(#[from] SocketError),
    /// The layout names the key of this node with another disk.
    #[error(
        "the layout names the key of this node with another disk than that of its data folder ({0}): the data are not \
         those that the node had. A node that lost its data cannot take its old place. If the disk is not mounted, mount \
         it; if the data are lost, make a new node with `trellis node init` in an empty folder"
    )]
    OtherDisk(Box<NodeName>),
    /// Where to dial this node is not known.
    #[error("the address that the listener for links has cannot be found out: {0}")]
    Address(std::io::Error),
    /// The trace cannot be written.
    #[error("cannot write a trace to {folder}: {source}{}", advice(source))]
    Trace {
        /// Its folder.
        folder: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The disks with blocks cannot be watched.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// The clock was never set.
    #[error("the clock of this machine shows a time before 2025; set it, or wait until time synchronisation has")]
    Clock,
    /// An address cannot be listened on.
    #[error("cannot listen on {address} for {purpose}: {source}; stop what uses that address, or choose another")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Whom it is for.
        purpose: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
}

/// A running node. Dropping it stops it as a crash would.
pub struct Node {
    observer: Observer,
    mesh: Arc<Mesh>,
    rows: Arc<DiskRows>,
    door: JoinHandle<()>,
    stop: DropGuard,
    admin: AdminServer,
    trace: Option<TraceFiles>,
    _watch: DiskWatch,
    /// The lock on the data folder goes last.
    folder: NodeFolder,
}

impl Node {
    /// Starts a node: opens its storage, then listens. It is unwell until [`Node::serving`].
    pub fn start(env: &Env, setup: Setup) -> Result<Self, StartError> {
        let Setup {
            folder,
            layout,
            addresses,
            advertise,
            cluster_secret,
            link,
            s3,
            settings,
        } = setup;
        seeded::announce();
        let name = check(env, &folder, &layout)?;
        let data = &folder.folder;
        folder.check_rows()?;
        let (rows, opened) = DiskRows::open(data, settings.rows.clone(), env.random.clone())?;
        folder.rows_began()?;
        let rows = Arc::new(rows);
        let blocks = BlockSetup {
            node: name.disk,
            folders: settings.block_folders,
            min_free_bytes: settings.rows.min_free_bytes,
            config: settings.blocks,
        };
        let blocks = Arc::new(BlockFiles::open(data, &blocks, env.random.as_ref())?);
        tracing::info!(id = %name, start = opened.start_counter, commits = opened.commit_counter, "storage is open");
        let peer = Peer {
            me: name.id(),
            knowledge: Knowledge::of(layout.clone()),
        };
        let standing = standing(env, &folder, &layout, opened, &settings.limits)?;
        let replica = Replica::new(env.clone(), peer, rows.clone(), blocks.clone(), settings.limits.clone())?;
        let trace = start_trace(env, name.id(), settings.trace.as_ref())?;
        let recorder = trace.as_ref().map(TraceFiles::recorder);
        let replica = Arc::new(replica.with_standing(standing.clone()).with_recorder(recorder));
        let wrapping = SecretWrapping::new(cluster_secret.bytes());
        let start = Start {
            name,
            listen: link.local_addr().map_err(StartError::Address)?,
            advertise,
            configured: addresses,
            file: folder.contacts(),
        };
        let membership = Membership::open(env.clone(), start);
        let mesh = Mesh::start(MeshConfig {
            env: env.clone(),
            identity: folder.identity.clone(),
            secret: cluster_secret,
            cluster: layout.hash(),
            listener: link,
            peers: membership.peers(),
            service: membership.reception(Arc::new(ReplicaService::new(replica.clone()))),
            timing: settings.timing,
        });
        greet(&standing, &mesh, &rows, settings.limits.greet_interval_ms);
        let every = Duration::from_millis(settings.limits.greet_interval_ms);
        let coordinator = Coordinator::new(env.clone(), settings.limits, replica, mesh.clone());
        let coordinator = Arc::new(coordinator);
        let watch = watch(&blocks, &coordinator)?;
        let stop = CancellationToken::new();
        work(env, "collector", &stop, Collector::new(coordinator.clone()).run());
        work(env, "forgetter", &stop, Forgetter::new(coordinator.clone()).run());
        work(env, "tidings", &stop, coordinator.clone().spread_tidings());
        let depending = depend_on_active_layouts(standing.clone(), coordinator.layouts().clone(), name.key);
        work(env, "standing", &stop, depending);
        let meeting = meet(standing.clone(), coordinator.clone());
        let needed = needed_by_layouts(coordinator.layouts().clone());
        work(
            env,
            "membership",
            &stop,
            membership.clone().run(mesh.clone(), every, needed, meeting),
        );
        let store = ClusterStore::new(coordinator.clone(), wrapping);
        let movers = Movers::new(coordinator.clone(), Arc::new(store.clone()));
        work(
            env,
            "repairer",
            &stop,
            Repairer::new(coordinator.clone(), &movers).run(),
        );
        work(env, "movers", &stop, movers.run());
        work(env, "scrubber", &stop, Scrubber::new(coordinator.clone()).run());
        let observer = Observer::new(Seen {
            env: env.clone(),
            store: store.clone(),
            mesh: mesh.clone(),
            rows: rows.clone(),
            blocks,
            standing,
            opened,
            coordinator,
            membership,
            name,
            folders: measured(&folder),
            data_folder: data.path().to_owned(),
            min_free_bytes: settings.rows.min_free_bytes,
        });
        let admin = admin::serve(env, data.path(), observer.clone())?;
        let front = front_config(settings.front, env, &observer);
        let door = open_door(store, front, s3, stop.clone());
        Ok(Node {
            observer,
            mesh,
            rows,
            door,
            stop: stop.drop_guard(),
            admin,
            trace,
            _watch: watch,
            folder,
        })
    }

    /// The node's object store.
    pub fn store(&self) -> &ClusterStore {
        self.observer.store()
    }

    /// The node as its operators see it.
    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    /// Nothing that clients need is missing any more: from now on `/health` tells how the cluster is.
    pub fn serving(&self) {
        self.observer.enter_serving();
    }

    /// Takes no more requests, lets those at work end, and closes the storage.
    pub async fn stop(self) {
        self.observer.enter_stopping();
        drop(self.stop);
        if let Err(error) = self.door.await {
            tracing::error!(%error, "the front door ended badly");
        }
        drop(self.admin);
        self.mesh.close().await;
        let (rows, trace) = (self.rows, self.trace);
        let close = move || {
            let closed = rows.close();
            // Only now: no row can change any more. And only if all are on disk: else the next life may know less.
            if closed.is_ok() {
                trace.into_iter().for_each(TraceFiles::close);
            }
            closed
        };
        match tokio::task::spawn_blocking(close).await {
            Ok(Ok(())) => tracing::info!("stopped"),
            Ok(Err(error)) => not_in_order(&error),
            Err(error) => tracing::error!(%error, "closing the row store ended badly"),
        }
        drop(self.folder);
    }
}

/// Begins to write a trace, if the node is to.
fn start_trace(env: &Env, node: NodeId, settings: Option<&TraceSettings>) -> Result<Option<TraceFiles>, StartError> {
    let Some(settings) = settings else { return Ok(None) };
    let files = TraceFiles::start(node, env.random_u64(), settings);
    files.map(Some).map_err(|source| StartError::Trace {
        folder: settings.folder.clone(),
        source,
    })
}

/// Works in the background until the node stops.
fn work(env: &Env, name: &'static str, stop: &CancellationToken, work: impl Future<Output = ()> + Send + 'static) {
    let stop = stop.clone();
    let task = async move {
        // Nothing is lost wherever it ends.
        let _ = stop.run_until_cancelled(work).await;
    };
    env.spawner.spawn(name, Box::pin(task));
}

fn not_in_order(error: &RowsError) {
    tracing::error!(%error, "the row store did not close in order; it will recover at the next start");
}

/// Whether this node may run with this layout.
fn check(env: &Env, folder: &NodeFolder, layout: &Layout) -> Result<NodeName, StartError> {
    let name = folder.name();
    if env.clock.wall_us() < CLOCK_MIN_US {
        return Err(StartError::Clock);
    }
    match layout.members.iter().find(|member| member.key == name.key.0) {
        Some(member) if member.disk != name.disk => return Err(StartError::OtherDisk(Box::new(name))),
        Some(_) => {}
        None => tracing::info!(id = %name, "the layout that the cluster began with does not name this node"),
    }
    folder.begin_with(&layout.hash())?;
    Ok(name)
}

/// The peers have not heard of this life of the node yet.
fn standing(
    env: &Env,
    folder: &NodeFolder,
    layout: &Layout,
    opened: Opened,
    limits: &Limits,
) -> Result<Arc<Standing>, FolderError> {
    let me = folder.name().key;
    let keys = layout.members.iter().map(|member| PeerId(member.key));
    let life = Life {
        opened_at: opened.commit_counter,
        peers: keys.filter(|key| *key != me).collect(),
        memory: Arc::new(Mutex::new(Memory::load(folder.peers())?)),
    };
    Ok(Standing::new(env.clone(), life, limits))
}

/// Keeps the standing up to date on whom it depends.
async fn depend_on_active_layouts(standing: Arc<Standing>, layouts: Arc<Layouts>, me: PeerId) {
    let (mut changes, mut before) = (layouts.changes(), Vec::new());
    loop {
        let sets = others_of_active_layouts(&layouts.now(), me);
        if sets != before {
            standing.depend_on(sets.clone());
            before = sets;
        }
        changes.changed().await;
    }
}

/// Who is known is greeted, and told of layouts, with or without a role.
fn meet(standing: Arc<Standing>, coordinator: Arc<Coordinator>) -> impl Fn(&[NodeName]) {
    move |names| {
        standing.meet(names.iter().map(|name| name.key));
        coordinator.meet(names.iter().map(|name| (name.id(), name.key)));
    }
}

/// Does a layout name the node that is newest, or still active for some partition?
fn needed_by_layouts(layouts: Arc<Layouts>) -> impl Fn(PeerId) -> bool {
    move |peer| {
        let known = layouts.now();
        let mut needed = active_layouts(&known).chain(known.peer.knowledge.newest());
        needed.any(|layout| layout.members.iter().any(|member| member.key == peer.0))
    }
}

/// The storage nodes, but for `me`, of each layout that is active for some partition.
fn others_of_active_layouts(known: &Known, me: PeerId) -> Vec<Vec<PeerId>> {
    let others = active_layouts(known).map(|layout| {
        let storage = layout.members.iter().filter(|member| member.role != Role::Gateway);
        let lost = known.peer.knowledge.lost();
        storage
            .filter(|member| !lost.contains(&member.id))
            .map(|member| PeerId(member.key))
            .filter(|peer| *peer != me)
            .collect()
    });
    others.collect()
}

/// The layouts that some partition needs.
fn active_layouts(known: &Known) -> impl Iterator<Item = &Layout> {
    let knowledge = &known.peer.knowledge;
    let partitions = knowledge.newest().into_iter().flat_map(Layout::partitions);
    let active = partitions.flat_map(|partition| {
        let view = knowledge.view(partition);
        view.lo.0..=view.hi.0
    });
    let active: BTreeSet<u64> = active.collect();
    active
        .into_iter()
        .filter_map(|version| knowledge.layout(LayoutVersion(version)))
}

fn greet(standing: &Arc<Standing>, mesh: &Arc<Mesh>, rows: &Arc<DiskRows>, interval_ms: u64) {
    let network: Arc<dyn Network> = mesh.clone();
    // Whoever greets must not keep the store open.
    let rows = Arc::downgrade(rows);
    let commits = move || rows.upgrade().map_or(0, |rows| rows.durable_so_far().0);
    standing.greet(&network, Arc::new(commits), Duration::from_millis(interval_ms));
}

/// When a disk goes away, what it held is missing here, and other nodes have it.
fn watch(blocks: &BlockFiles, coordinator: &Arc<Coordinator>) -> Result<DiskWatch, StartError> {
    let coordinator = Arc::downgrade(coordinator);
    let changed = move || {
        if let Some(coordinator) = coordinator.upgrade() {
            coordinator.doubt_blocks();
        }
    };
    blocks.watch(changed).map_err(StartError::Thread)
}

fn measured(folder: &NodeFolder) -> MeasuredFolders {
    MeasuredFolders {
        log: folder.log(),
        index: folder.rows().join("index"),
    }
}

fn front_config(front: FrontDoorConfig, env: &Env, observer: &Observer) -> FrontDoorConfig {
    let (clock, observer) = (env.clock.clone(), observer.clone());
    FrontDoorConfig {
        clock: Arc::new(move || WallTime::from_seconds((clock.wall_us() / 1_000_000).cast_signed())),
        health: Arc::new(move || Box::pin(health(observer.clone()))),
        ..front
    }
}

async fn health(observer: Observer) -> Health {
    let report = observer.health_report().await;
    let mut json = serde_json::to_string(&report).expect("what /health says has only texts as keys");
    json.push('\n');
    match report.serving {
        true => Health::Well(json),
        false => Health::Unwell(json),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the front door serves real sockets and is no part of a simulation"
)]
fn open_door(
    store: ClusterStore,
    config: FrontDoorConfig,
    listener: TcpListener,
    stop: CancellationToken,
) -> JoinHandle<()> {
    let door = FrontDoor::new(store, config);
    tokio::spawn(async move { door.serve(vec![listener], stop.cancelled_owned()).await })
}

/// Listens on an address; `purpose` is for the error.
pub async fn listen(address: SocketAddr, purpose: &'static str) -> Result<TcpListener, StartError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| StartError::Listen {
        address,
        purpose,
        source,
    })
}
