//! `trellis dev`: a cluster in one process, for trying and for tests.
//!
//! Its rows, blocks and links are the real ones: every node has a data folder, a key and its own sockets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use tokio::net::TcpListener;
use trellis_s3api::bucket::{AccessKey, Secret};
use trellis_s3api::object::{hex, unhex};
use trellis_spec::layout::{InitialError, Layout, Member, initial};

use crate::env::Env;
use crate::folder::{FolderError, NodeFolder};
use crate::node::{Node, Settings, Setup, StartError};
use crate::secret_file::{self, SecretFile};
use crate::store::{KeyError, NewKey};

/// Partitions of a development cluster.
const PARTITIONS: u32 = 256;
/// What the layout says each node offers.
const CAPACITY_BYTES: u64 = 1 << 40;

/// What was asked for on the command line.
#[derive(Debug, Clone)]
pub struct DevOptions {
    /// How many nodes.
    pub nodes: u16,
    /// Where everything is kept.
    pub data: PathBuf,
    /// Where the first node serves S3; the others on the ports above.
    pub s3: SocketAddr,
}

/// Why the cluster did not start.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// A data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A node did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}; stop what uses it, or choose another with --s3")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The folder was made with another number of nodes.
    #[error("{folder} holds a cluster of {found} nodes; start it with --nodes {found}, or choose another folder with --data")]
    Nodes {
        /// The data folder.
        folder: PathBuf,
        /// How many nodes it has.
        found: u16,
    },
    /// There is no layout for so many nodes.
    #[error("no layout for {nodes} nodes: {error:?}; --nodes takes 1 to 32")]
    Layout {
        /// How many were asked for.
        nodes: u16,
        /// Why.
        error: InitialError,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] secret_file::SecretError),
    /// The first access key could not be created.
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
    pub async fn start(env: Env, options: &DevOptions, settings: &Settings) -> Result<Self, DevError> {
        let folders = open_folders(&env, options)?;
        let secret = cluster_secret(&env, &options.data)?;
        let layout = layout(&folders)?;
        let mut links = Vec::new();
        let mut listeners = Vec::new();
        for place in 0..options.nodes {
            links.push(listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).await?);
            listeners.push(listen(SocketAddr::new(options.s3.ip(), options.s3.port().saturating_add(place))).await?);
        }
        let peers = peers(&folders, &links)?;
        let endpoints = endpoints(&listeners)?;
        let mut nodes = Vec::new();
        for ((folder, link), s3) in folders.into_iter().zip(links).zip(listeners) {
            let (layout, peers, settings) = (layout.clone(), peers.clone(), settings.clone());
            let setup = Setup { folder, layout, peers, cluster_secret: secret, link, s3, settings };
            nodes.push(Node::start(env.clone(), setup).await?);
        }
        let credentials = options.data.join("credentials.env");
        let cluster = DevCluster { nodes, endpoints, credentials };
        cluster.publish(&options.data, &settings.front.region).await?;
        Ok(cluster)
    }

    /// The first node.
    pub fn first(&self) -> &Node {
        &self.nodes[0]
    }

    /// Stops all nodes in order.
    pub async fn stop(self) {
        for node in self.nodes {
            node.stop().await;
        }
    }

    /// Writes what a client needs: credentials and endpoints.
    async fn publish(&self, data: &Path, region: &str) -> Result<(), DevError> {
        let key = match stored_key(&self.credentials)? {
            Some(key) => key,
            None => self.first().store().create_key("dev").await?,
        };
        let text = format!(
            "AWS_ACCESS_KEY_ID={}\nAWS_SECRET_ACCESS_KEY={}\nAWS_ENDPOINT_URL={}\nAWS_REGION={region}\n",
            key.id, key.secret.0, self.endpoints[0]
        );
        secret_file::write(&self.credentials, &text)?;
        secret_file::write_public(&data.join("endpoints.txt"), &format!("{}\n", self.endpoints.join("\n")))?;
        Ok(())
    }
}

fn open_folders(env: &Env, options: &DevOptions) -> Result<Vec<NodeFolder>, DevError> {
    let folder = |number: u16| options.data.join(format!("node-{number}"));
    let found = (1..=u16::MAX).take_while(|number| folder(*number).exists()).last().unwrap_or(0);
    if found != 0 && found != options.nodes {
        return Err(DevError::Nodes { folder: options.data.clone(), found });
    }
    (1..=options.nodes).map(|number| Ok(NodeFolder::open(&folder(number), env)?)).collect()
}

fn cluster_secret(env: &Env, data: &Path) -> Result<[u8; 32], DevError> {
    let path = data.join("cluster.secret");
    if let SecretFile::Found(text) = secret_file::read(&path)? {
        return Ok(unhex(text.trim()).ok_or(secret_file::SecretError::Malformed { path })?);
    }
    let mut secret = [0; 32];
    env.random.fill(&mut secret);
    secret_file::write(&path, &format!("{}\n", hex(&secret)))?;
    Ok(secret)
}

/// Every node is a zone of its own.
fn layout(folders: &[NodeFolder]) -> Result<Layout, DevError> {
    let nodes = u16::try_from(folders.len()).unwrap_or(u16::MAX);
    let replication_factor = u8::try_from(nodes.min(3)).unwrap_or(3);
    let member = |(number, folder): (usize, &NodeFolder)| Member {
        id: folder.node_id(),
        key: folder.peer_id().0,
        disk: folder.disk,
        zone: format!("zone-{}", number + 1),
        capacity_bytes: CAPACITY_BYTES,
    };
    let members = folders.iter().enumerate().map(member).collect();
    initial(members, replication_factor, PARTITIONS).map_err(|error| DevError::Layout { nodes, error })
}

fn peers(folders: &[NodeFolder], links: &[TcpListener]) -> Result<Vec<(crate::link::PeerId, String)>, DevError> {
    let peer = |(folder, link): (&NodeFolder, &TcpListener)| Ok((folder.peer_id(), bound(link)?.to_string()));
    folders.iter().zip(links).map(peer).collect()
}

fn endpoints(listeners: &[TcpListener]) -> Result<Vec<String>, DevError> {
    listeners.iter().map(|listener| Ok(format!("http://{}", bound(listener)?))).collect()
}

fn bound(listener: &TcpListener) -> Result<SocketAddr, DevError> {
    let unspecified = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    listener.local_addr().map_err(|source| DevError::Listen { address: unspecified, source })
}

async fn listen(address: SocketAddr) -> Result<TcpListener, DevError> {
    TcpListener::bind(address).await.map_err(|source| DevError::Listen { address, source })
}

/// The key that an earlier start wrote down.
fn stored_key(path: &Path) -> Result<Option<NewKey>, DevError> {
    let SecretFile::Found(text) = secret_file::read(path)? else { return Ok(None) };
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let key = value("AWS_ACCESS_KEY_ID").zip(value("AWS_SECRET_ACCESS_KEY"));
    Ok(key.map(|(id, secret)| NewKey { id: AccessKey(id.to_owned()), secret: Secret(secret.to_owned()) }))
}
