//! `trellis dev`: a cluster in one process, for trying and for tests.
//!
//! Its rows, blocks and links are the real ones: every node has a data folder, a key and its own sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::TcpListener;
use trellis_s3api::error::StoreError;
use trellis_s3api::object::hex;
use trellis_s3api::store::ObjectStore;
use trellis_spec::layout::assign::AssignError;
use trellis_spec::layout::{Layout, Member, initial};

use crate::config::credentials;
use crate::env::Env;
use crate::folder::{FolderError, NodeFolder};
use crate::link::ClusterSecret;
use crate::membership::Hint;
use crate::node::{Node, Settings, Setup, StartError, listen};
use crate::secret_file::{self, SecretFileError};
use crate::store::{KeyError, NewKey};

/// Most nodes of a cluster in one process.
pub const NODES_MAX: u16 = 32;
/// Partitions of a development cluster.
const PARTITIONS: u32 = 256;
/// Replicas of each, where there are as many nodes.
const REPLICATION_FACTOR: u8 = 3;
/// What the layout says each node offers.
const CAPACITY_BYTES: u64 = 1 << 40;
/// How long the nodes of one process may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const NODES_FILE: &str = "nodes";
const SECRET_FILE: &str = "cluster.secret";
const CREDENTIALS_FILE: &str = "credentials.env";
const ENDPOINTS_FILE: &str = "endpoints.txt";

/// What was asked for on the command line.
#[derive(Debug, Clone)]
pub struct DevOptions {
    /// How many nodes; nothing means as many as there are, or one.
    pub nodes: Option<u16>,
    /// Where everything is kept.
    pub data: PathBuf,
    /// Where the first node serves S3; the others on the ports above.
    pub s3: SocketAddr,
}

/// Why the cluster did not start.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// A node did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// The folder was made with another number of nodes.
    #[error(
        "{folder} holds a cluster of {found} nodes; start it without --nodes, or choose another folder with --data"
    )]
    Nodes {
        /// The data folder.
        folder: PathBuf,
        /// How many nodes it has.
        found: u16,
    },
    /// There is no layout for so many nodes.
    #[error("no cluster of {nodes} nodes can be made: {error}; --nodes takes 1 to {NODES_MAX}")]
    Layout {
        /// How many were asked for.
        nodes: u16,
        /// Why.
        error: AssignError,
    },
    /// The ports would be too high.
    #[error("{nodes} nodes need {nodes} ports from {first} on; choose a lower one with --s3")]
    Ports {
        /// How many were asked for.
        nodes: u16,
        /// The first port.
        first: u16,
    },
    /// The nodes do not find each other.
    #[error("the nodes did not connect to each other over the loopback interface within {CONNECT_TIMEOUT:?}")]
    NotConnected,
    /// The access key could not be looked up.
    #[error("the access key could not be looked up: {0}")]
    Lookup(#[from] StoreError),
    /// The access key could not be created.
    #[error("the access key could not be created: {0}")]
    Key(#[from] KeyError),
}

/// A running development cluster.
pub struct DevCluster {
    nodes: Vec<Node>,
    /// One S3 URL per node.
    pub endpoints: Vec<String>,
    /// Where the credentials are.
    pub credentials: PathBuf,
}

impl DevCluster {
    /// Starts all nodes; makes keys, secrets and an access key at the first start.
    pub async fn start(env: &Env, options: &DevOptions, settings: &Settings) -> Result<Self, DevError> {
        let folders = open_folders(env, options)?;
        let cluster_secret = cluster_secret(env, &options.data)?;
        let layout = layout(&folders)?;
        let (links, listeners) = listen_all(options.s3, folders.len()).await?;
        let hint = |(folder, link): (&NodeFolder, &TcpListener)| Hint {
            name: folder.name(),
            address: bound(link).to_string(),
        };
        let addresses: Vec<Hint> = folders.iter().zip(&links).map(hint).collect();
        let endpoints = listeners.iter().map(url).collect();
        let mut nodes = Vec::new();
        for ((folder, link), s3) in folders.into_iter().zip(links).zip(listeners) {
            let setup = Setup {
                folder,
                layout: layout.clone(),
                addresses: addresses.clone(),
                advertise: None,
                cluster_secret: cluster_secret.clone(),
                link,
                s3,
                settings: settings.clone(),
            };
            nodes.push(Node::start(env, setup)?);
        }
        let cluster = DevCluster {
            nodes,
            endpoints,
            credentials: options.data.join(CREDENTIALS_FILE),
        };
        cluster.become_ready(env, options, &settings.front.region).await?;
        Ok(cluster)
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Stops all nodes in order.
    pub async fn stop(self) {
        for node in self.nodes {
            node.stop().await;
        }
    }

    /// Clients are let in once the nodes see each other and the credentials that are written down are valid.
    async fn become_ready(&self, env: &Env, options: &DevOptions, region: &str) -> Result<(), DevError> {
        for node in &self.nodes {
            let connected = env.timeout(CONNECT_TIMEOUT, node.observer().until_connected()).await;
            connected.map_err(|_| DevError::NotConnected)?;
        }
        let key = self.access_key().await?;
        credentials::write(&self.credentials, &key, &self.endpoints[0], region)?;
        let endpoints = format!("{}\n", self.endpoints.join("\n"));
        secret_file::write_public(&options.data.join(ENDPOINTS_FILE), &endpoints)?;
        self.nodes.iter().for_each(Node::serving);
        Ok(())
    }

    /// The key that an earlier start wrote down, unless somebody deleted it since.
    async fn access_key(&self) -> Result<NewKey, DevError> {
        let store = self.nodes[0].store();
        if let Some(key) = credentials::read(&self.credentials)? {
            let found = store.credential(&key.id).await?;
            if found.is_some_and(|found| found.secret == key.secret) {
                return Ok(key);
            }
        }
        Ok(store.create_key("dev").await?)
    }
}

fn open_folders(env: &Env, options: &DevOptions) -> Result<Vec<NodeFolder>, DevError> {
    let path = options.data.join(NODES_FILE);
    let found = std::fs::read_to_string(&path).ok();
    let found: Option<u16> = found.and_then(|text| text.trim().parse().ok());
    let nodes = options.nodes.or(found).unwrap_or(1);
    if let Some(found) = found.filter(|found| *found != nodes) {
        let folder = options.data.clone();
        return Err(DevError::Nodes { folder, found });
    }
    let folder = |number: u16| NodeFolder::open_or_create(&options.data.join(format!("node-{number}")), env);
    let folders: Result<Vec<NodeFolder>, FolderError> = (1..=nodes).map(folder).collect();
    let folders = folders.map_err(StartError::from)?;
    // Only now: a start that was cut short before can be followed by one with another number.
    if found.is_none() {
        secret_file::write_public(&path, &format!("{nodes}\n"))?;
    }
    Ok(folders)
}

fn cluster_secret(env: &Env, data: &Path) -> Result<ClusterSecret, DevError> {
    let path = data.join(SECRET_FILE);
    if let Some(secret) = ClusterSecret::load(&path)? {
        return Ok(secret);
    }
    let mut secret = [0; 32];
    env.random.fill(&mut secret);
    secret_file::write(&path, format!("{}\n", hex(&secret)).as_bytes())?;
    Ok(ClusterSecret::new(secret))
}

/// Every node is a zone of its own.
fn layout(folders: &[NodeFolder]) -> Result<Layout, DevError> {
    let nodes = u16::try_from(folders.len()).unwrap_or(u16::MAX);
    let replication_factor = u8::try_from(nodes).map_or(REPLICATION_FACTOR, |nodes| nodes.min(REPLICATION_FACTOR));
    let member = |(number, folder): (usize, &NodeFolder)| {
        let name = folder.name();
        Member::storage(name.key.0, name.disk, format!("zone-{number}"), CAPACITY_BYTES)
    };
    let members = (1..).zip(folders).map(member).collect();
    initial(members, replication_factor, PARTITIONS).map_err(|error| DevError::Layout { nodes, error })
}

/// For each node a port for links, whichever is free, and one for S3, next to each other.
async fn listen_all(s3: SocketAddr, nodes: usize) -> Result<(Vec<TcpListener>, Vec<TcpListener>), DevError> {
    let nodes = u16::try_from(nodes).unwrap_or(u16::MAX);
    let first = s3.port();
    let ports = || DevError::Ports { nodes, first };
    let (mut links, mut listeners) = (Vec::new(), Vec::new());
    for place in 0..nodes {
        // Port 0 is any free one, for each node.
        let port = if first == 0 {
            0
        } else {
            first.checked_add(place).ok_or_else(ports)?
        };
        listeners.push(listen(SocketAddr::new(s3.ip(), port), "S3").await?);
        links.push(
            listen(
                SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
                "links between nodes",
            )
            .await?,
        );
    }
    Ok((links, listeners))
}

/// Where clients on this machine find a listener.
fn url(listener: &TcpListener) -> String {
    let mut address = bound(listener);
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    format!("http://{address}")
}

fn bound(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().expect("a socket that listens has an address")
}
