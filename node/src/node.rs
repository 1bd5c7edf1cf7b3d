//! A whole node: storage, replica, links, coordinator, object store and front door, put together.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use trellis_s3api::front::{FrontDoor, FrontDoorConfig};
use trellis_spec::layout::{Knowledge, Layout};
use trellis_spec::peer::Peer;

use crate::cluster::{Coordinator, Limits, Replica, ReplicaService};
use crate::env::Env;
use crate::folder::NodeFolder;
use crate::link::{ClusterSecret, Mesh, MeshConfig, PeerId, Timing};
use crate::storage::{BlocksConfig, DiskBlocks, DiskRows, OpenError, RowsConfig};
use crate::store::{ClusterStore, SecretWrapping};

/// How a node behaves, apart from who and where it is.
#[derive(Clone, Default)]
pub struct Settings {
    /// Limits of the driver.
    pub limits: Limits,
    /// Times of links.
    pub timing: Timing,
    /// The row store.
    pub rows: RowsConfig,
    /// The block store.
    pub blocks: BlocksConfig,
    /// The S3 front door.
    pub front: FrontDoorConfig,
}

/// What a node is made of.
pub struct Setup {
    /// Its data folder.
    pub folder: NodeFolder,
    /// The layout of the cluster.
    pub layout: Layout,
    /// The other nodes and their addresses.
    pub peers: Vec<(PeerId, String)>,
    /// What all nodes of the cluster know.
    pub cluster_secret: [u8; 32],
    /// Where peers dial this node.
    pub link: TcpListener,
    /// Where clients do.
    pub s3: TcpListener,
    /// How it behaves.
    pub settings: Settings,
}

/// Why a node did not start. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be served from.
    #[error(transparent)]
    Storage(#[from] OpenError),
    /// The layout does not name this node.
    #[error(
        "the layout does not name this node ({0}): its key or its disk is not the one that was configured; \
         a node that lost its data comes back under its new id through a layout change"
    )]
    NotAMember(String),
}

/// A running node.
pub struct Node {
    store: ClusterStore,
    mesh: Arc<Mesh>,
    rows: Arc<DiskRows>,
    door: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
    /// The lock on the data folder goes last.
    folder: NodeFolder,
}

impl Node {
    /// Starts a node: opens its storage, then listens.
    pub async fn start(env: Env, setup: Setup) -> Result<Self, StartError> {
        let Setup { folder, layout, peers, cluster_secret, link, s3, settings } = setup;
        let me = folder.node_id();
        if layout.member(me).is_none() {
            return Err(StartError::NotAMember(format!("{:016x}", me.0)));
        }
        let (rows, opened) = DiskRows::open(&folder.folder, settings.rows.clone(), env.random.clone())?;
        let blocks = Arc::new(DiskBlocks::open(&folder.blocks(), settings.blocks.clone(), &env)?);
        let rows = Arc::new(rows);
        tracing::info!(start = opened.start_counter, commits = opened.commit_counter, "storage is open");
        let cluster = layout.hash();
        let peer = Peer { me, knowledge: Knowledge::of(layout) };
        let replica = Replica::new(env.clone(), peer, rows.clone(), blocks, settings.limits.clone());
        let replica = Arc::new(replica);
        let mesh = Mesh::start(MeshConfig {
            env: env.clone(),
            identity: folder.identity.clone(),
            secret: ClusterSecret::new(cluster_secret),
            cluster,
            listener: link,
            peers,
            service: Arc::new(ReplicaService::new(replica.clone())),
            timing: settings.timing,
        });
        let coordinator = Coordinator::new(env.clone(), settings.limits, replica, mesh.clone());
        let store = ClusterStore::new(Arc::new(coordinator), SecretWrapping::new(&cluster_secret));
        let stop = CancellationToken::new();
        let door = serve(store.clone(), settings.front, s3, stop.clone());
        Ok(Node { store, mesh, rows, door, stop, folder })
    }

    /// The node's object store.
    pub fn store(&self) -> &ClusterStore {
        &self.store
    }

    /// The node's links.
    pub fn mesh(&self) -> &Arc<Mesh> {
        &self.mesh
    }

    /// The node's data folder.
    pub fn folder(&self) -> &NodeFolder {
        &self.folder
    }

    /// Takes no more requests, lets those at work end, and closes the storage.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.door.await {
            tracing::error!(%error, "the front door ended badly");
        }
        self.mesh.close().await;
        if let Err(error) = self.rows.close() {
            tracing::error!(%error, "the row store did not close in order; it will recover at the next start");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the front door serves real sockets and is no part of a simulation")]
fn serve(
    store: ClusterStore,
    config: FrontDoorConfig,
    listener: TcpListener,
    stop: CancellationToken,
) -> tokio::task::JoinHandle<()> {
    let door = FrontDoor::new(store, config);
    tokio::spawn(async move { door.serve(vec![listener], stop.cancelled_owned()).await })
}
