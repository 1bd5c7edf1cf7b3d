//! Writes the files of a cluster whose nodes run in processes of their own on one machine.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use trellis_s3api::bucket::{AccessKey, Secret};
use trellis_s3api::object::hex;

use super::credentials;
use crate::env::Env;
use crate::folder::{FolderError, NodeFolder, NodeName};
use crate::secret_file::{self, SecretFileError};
use crate::store::NewKey;

const SECRET_FILE: &str = "cluster.secret";
const CREDENTIALS_FILE: &str = "credentials.env";
const ENDPOINTS_FILE: &str = "endpoints.txt";
const REPLICATION_FACTOR: u16 = 3;
const REGION: &str = "us-east-1";

/// A cluster to be.
#[derive(Debug, Clone)]
pub struct Generation {
    /// How many nodes.
    pub nodes: u16,
    /// Where their files go.
    pub folder: PathBuf,
    /// Where the first node serves S3; the others on the ports above.
    pub s3: SocketAddr,
    /// Where the first node listens for the others, which listen on the ports above; nothing means above those for S3.
    pub links: Option<SocketAddr>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// One configuration for each node.
    pub configs: Vec<PathBuf>,
    /// One S3 URL for each node.
    pub endpoints: Vec<String>,
    /// An access key that the cluster creates at its first start.
    pub credentials: PathBuf,
}

/// Why not everything was written.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// Something lies where a file should go; nothing was changed.
    #[error("{0} is there already; nothing is overwritten, so choose another file or folder")]
    Exists(PathBuf),
    /// The ports would be too high; nothing was changed.
    #[error("there are no {count} neighbouring ports from {first} on; choose another first one")]
    Ports {
        /// How many are needed.
        count: u16,
        /// The first port.
        first: u16,
    },
    /// The folder cannot be made; nothing was changed.
    #[error("cannot make {folder}: {source}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A data folder cannot be made; other files may have been.
    #[error(transparent)]
    Node(#[from] FolderError),
    /// A file cannot be written; others may have been.
    #[error(transparent)]
    File(#[from] SecretFileError),
}

/// One node to be.
struct Planned {
    name: String,
    id: NodeName,
    s3: SocketAddr,
    links: SocketAddr,
}

/// Writes everything that the nodes need, and makes their data folders.
pub fn generate(env: &Env, wanted: &Generation) -> Result<Generated, GenerateError> {
    let folder = &wanted.folder;
    let s3 = neighbours(wanted.s3, wanted.nodes)?;
    let links = match wanted.links {
        Some(first) => neighbours(first, wanted.nodes)?,
        None => neighbours(wanted.s3, wanted.nodes.saturating_mul(2))?.split_off(s3.len()),
    };
    std::fs::create_dir_all(folder).map_err(|source| GenerateError::Folder {
        folder: folder.clone(),
        source,
    })?;
    write_cluster_secret(env, &folder.join(SECRET_FILE))?;
    let endpoints: Vec<String> = s3.iter().map(|address| format!("http://{address}")).collect();
    let credentials = folder.join(CREDENTIALS_FILE);
    let first = endpoints.first().map_or("", String::as_str);
    credentials::write(&credentials, &random_key(env), first, REGION)?;
    secret_file::write_public(&folder.join(ENDPOINTS_FILE), &format!("{}\n", endpoints.join("\n")))?;
    let mut nodes = Vec::new();
    for (number, (s3, links)) in (1..).zip(s3.into_iter().zip(links)) {
        let name = format!("node-{number}");
        let id = NodeFolder::open_or_create(&folder.join(&name), env)?.name();
        nodes.push(Planned { name, id, s3, links });
    }
    let mut configs = Vec::new();
    for node in &nodes {
        let path = folder.join(format!("{}.toml", node.name));
        secret_file::write_public(&path, &config_text(node, &nodes))?;
        configs.push(path);
    }
    Ok(Generated {
        configs,
        endpoints,
        credentials,
    })
}

/// Writes a new cluster secret; never over an old one.
pub fn write_cluster_secret(env: &Env, path: &Path) -> Result<(), GenerateError> {
    if path.exists() {
        return Err(GenerateError::Exists(path.to_owned()));
    }
    let mut secret = [0; 32];
    env.random.fill(&mut secret);
    Ok(secret_file::write(path, format!("{}\n", hex(&secret)).as_bytes())?)
}

fn random_key(env: &Env) -> NewKey {
    let (mut id, mut secret) = ([0; 9], [0; 20]);
    env.random.fill(&mut id);
    env.random.fill(&mut secret);
    NewKey {
        id: AccessKey(format!("TK{}", hex(&id).to_uppercase())),
        secret: Secret(hex(&secret)),
    }
}

/// So many addresses with neighbouring ports.
fn neighbours(first: SocketAddr, count: u16) -> Result<Vec<SocketAddr>, GenerateError> {
    let port = |above| first.port().checked_add(above).filter(|_| first.port() > 0);
    let ports: Option<Vec<u16>> = (0..count).map(port).collect();
    let ports = ports.ok_or(GenerateError::Ports {
        count,
        first: first.port(),
    })?;
    let address = |port| SocketAddr::new(first.ip(), port);
    Ok(ports.into_iter().map(address).collect())
}

/// Only what differs from the defaults.
fn config_text(node: &Planned, all: &[Planned]) -> String {
    let count = u16::try_from(all.len()).unwrap_or(u16::MAX);
    let replication_factor = count.min(REPLICATION_FACTOR);
    let entry = |(number, node): (usize, &Planned)| {
        format!(
            "\n[[initial_layout.nodes]]\nid = \"{}\"\nzone = \"zone-{number}\"\ncapacity_bytes = 1_000_000_000_000\n\
             address = \"{}\"\n",
            node.id, node.links
        )
    };
    let entries: String = (1..).zip(all).map(entry).collect();
    format!(
        "# Written by `trellis config generate`; deploy/trellis.example.toml explains every key.
data_folder = \"{name}\"
cluster_secret_file = \"{SECRET_FILE}\"
first_access_key_file = \"{CREDENTIALS_FILE}\"

[s3]
listen = \"{s3}\"
region = \"{REGION}\"

[links]
listen = \"{links}\"

# The same on all nodes.
[initial_layout]
replication_factor = {replication_factor}
{entries}",
        name = node.name,
        s3 = node.s3,
        links = node.links,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[tokio::test]
    async fn what_is_generated_can_be_loaded_and_is_never_overwritten() {
        let (home, env) = (tempfile::tempdir().unwrap(), Env::real());
        let wanted = Generation {
            nodes: 4,
            folder: home.path().join("cluster"),
            s3: "127.0.0.1:3900".parse().unwrap(),
            links: None,
        };
        let generated = generate(&env, &wanted).unwrap();
        assert_eq!(generated.endpoints[3], "http://127.0.0.1:3903");
        let configs: Vec<Config> = generated
            .configs
            .iter()
            .map(|path| Config::load(path).unwrap())
            .collect();
        for (config, path) in configs.iter().zip(&generated.configs) {
            assert_eq!(config.initial_layout, configs[0].initial_layout);
            let name = NodeFolder::open(&config.data_folder).unwrap().name();
            assert!(config.initial_layout.nodes.iter().any(|node| node.id == name));
            config.cluster_secret(path).unwrap();
        }
        assert_eq!(configs[0].links.listen, "127.0.0.1:3904".parse().unwrap());
        assert!(matches!(generate(&env, &wanted), Err(GenerateError::Exists(_))));
        let high = Generation {
            s3: "127.0.0.1:65533".parse().unwrap(),
            folder: home.path().join("high"),
            ..wanted
        };
        assert!(matches!(generate(&env, &high), Err(GenerateError::Ports { .. })));
        assert!(!home.path().join("high").exists());
    }
}
