//! The configuration file of a production node.
//!
//! Every limit and timeout has a name with its unit in it, a default, and a line in `deploy/trellis.example.toml`. A key
//! that is not known is an error that names it and its line: a misspelt limit must not silently be the default.

pub mod credentials;
mod generate;
mod initial_layout;
mod limits;
mod redundancy;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use trellis_s3api::front::FrontDoorConfig;

use crate::advice::advice;
use crate::cluster::Limits;
use crate::link::{ClusterSecret, Timing};
use crate::logging::{self, LogFormat};
use crate::membership::is_address;
use crate::node::Settings;
use crate::secret_file::SecretFileError;
use crate::storage::{BlockFolderConfig, BlocksConfig, RowsConfig};
use crate::store::NewKey;
use crate::trace::{TRACE_MAX_BYTES, TRACE_PERCENT, TraceSettings};
pub use generate::{GenerateError, Generated, Generation, generate, write_cluster_secret};
pub use initial_layout::{InitialLayout, LayoutNode};
pub use redundancy::{NotARedundancy, Redundancy};

/// The environment variable that can hold the cluster secret.
pub const SECRET_VARIABLE: &str = "TRELLIS_CLUSTER_SECRET";

/// The configuration of one node.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the node keeps everything.
    pub data_folder: PathBuf,
    /// The file with what all nodes of the cluster know; may come from the environment instead.
    pub cluster_secret_file: Option<PathBuf>,
    /// A file of credentials for an access key that is created when the cluster runs for the first time.
    pub first_access_key_file: Option<PathBuf>,
    /// The folder of a trace of what this node does; without it, nothing is recorded.
    pub trace: Option<PathBuf>,
    /// What the trace may take.
    #[serde(default = "trace_max_bytes")]
    pub trace_max_bytes: u64,
    /// How many of a hundred rows it is about.
    #[serde(default = "trace_percent")]
    pub trace_percent: u8,
    /// The S3 front door.
    #[serde(default)]
    pub s3: S3Config,
    /// The links between nodes.
    #[serde(default)]
    pub links: LinksConfig,
    /// The log.
    #[serde(default)]
    pub log: LogConfig,
    /// Limits of requests.
    #[serde(default)]
    pub limits: Limits,
    /// The disk.
    #[serde(default)]
    pub storage: RowsConfig,
    /// How blocks lie on disk.
    #[serde(default)]
    pub blocks: BlocksConfig,
    /// Folders for blocks, each on a disk of its own; without any, they are in the data folder.
    #[serde(default)]
    pub block_folder: Vec<BlockFolderConfig>,
    /// The layout that the cluster begins with.
    pub initial_layout: InitialLayout,
}

/// The S3 front door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3Config {
    /// Where clients dial. By default only from this machine, because it speaks plain HTTP.
    pub listen: SocketAddr,
    /// The region that requests must be signed for.
    pub region: String,
    /// The domain in front of which bucket names may stand; path style always works.
    pub domain: Option<String>,
    /// The largest request head.
    pub header_max_bytes: usize,
    /// The largest XML document.
    pub xml_max_bytes: u64,
    /// How long a request head may take to arrive.
    pub header_read_timeout_ms: u64,
    /// How long a client may send nothing in the middle of a body.
    pub body_idle_timeout_ms: u64,
    /// How long open requests may take to end when the node stops.
    pub shutdown_grace_ms: u64,
    /// How many keys of one DeleteObjects request are deleted at the same time.
    pub delete_parallelism: usize,
}

/// The links between nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinksConfig {
    /// Where other nodes dial this one.
    pub listen: SocketAddr,
    /// Where other nodes are to dial this one, host and port, if that differs from what they are told otherwise: its
    /// address in `initial_layout`, then where it listens, or from where they see it come.
    pub advertise: Option<String>,
    /// Their times.
    pub timing: Timing,
}

/// The log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// What is logged.
    pub filter: String,
    /// How its lines look.
    pub format: LogFormat,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}{}", advice(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is no TOML, or has a key that is not known or a value of the wrong kind.
    #[error("{path}: {problem}")]
    Toml {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        problem: String,
    },
    /// A value makes no sense.
    #[error("{path}: {key}: {problem}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// A secret cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// There is no cluster secret, or there are two.
    #[error(
        "{path}: the cluster secret must come from exactly one of cluster_secret_file and the environment variable \
         {SECRET_VARIABLE}, and there {}; `trellis config secret FILE` makes a new one",
        match found { 0 => "is none", _ => "are both" }
    )]
    Secrets {
        /// The configuration.
        path: PathBuf,
        /// How many there are.
        found: u8,
    },
    /// A file that the configuration names is not there.
    #[error("{path}: {key} names {file}, which is not there")]
    NoFile {
        /// The configuration.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// The missing file.
        file: PathBuf,
    },
    /// The environment variable does not hold a secret.
    #[error("{SECRET_VARIABLE} must hold 64 hexadecimal digits")]
    BadVariable,
}

/// A value that makes no sense.
pub(crate) struct BadValue {
    key: String,
    problem: String,
}

impl Config {
    /// Reads and checks a configuration. Relative paths in it start at its folder.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Io {
            path: path.to_owned(),
            source,
        })?;
        let mut config = Self::parse(&text, path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        config.data_folder = folder.join(&config.data_folder);
        config.cluster_secret_file = config.cluster_secret_file.map(|file| folder.join(file));
        config.first_access_key_file = config.first_access_key_file.map(|file| folder.join(file));
        config.trace = config.trace.map(|trace| folder.join(trace));
        for block_folder in &mut config.block_folder {
            block_folder.path = folder.join(&block_folder.path);
        }
        Ok(config)
    }

    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let path = || path.to_owned();
        let config: Config = toml::from_str(text).map_err(|error| ConfigError::Toml {
            path: path(),
            problem: error.to_string(),
        })?;
        config.check().map_err(|value| value.into_error(&path()))?;
        Ok(config)
    }

    fn check(&self) -> Result<(), BadValue> {
        limits::check(self)?;
        logging::check(&self.log.filter).map_err(|error| bad("log.filter", error))?;
        let offers_room = |folder: &BlockFolderConfig| folder.capacity.0 > 0;
        if !self.block_folder.is_empty() && !self.block_folder.iter().any(offers_room) {
            return Err(bad(
                "block_folder.capacity",
                "is zero everywhere; some folder must take blocks",
            ));
        }
        if self.s3.region.is_empty() {
            return Err(bad(
                "s3.region",
                "must not be empty; us-east-1 is what most clients expect",
            ));
        }
        let advertised = self.links.advertise.as_deref();
        if let Some(address) = advertised.filter(|address| !is_address(address)) {
            let problem = format!("{address:?} is not host:port, such as \"garden.example.org:3901\"");
            return Err(bad("links.advertise", problem));
        }
        self.initial_layout.layout().map(|_| ())
    }

    /// What all nodes of the cluster know; `path` is the configuration's, for errors.
    pub fn cluster_secret(&self, path: &Path) -> Result<ClusterSecret, ConfigError> {
        let path = path.to_owned();
        let variable = std::env::var(SECRET_VARIABLE).ok();
        match (&self.cluster_secret_file, variable) {
            (Some(_), Some(_)) => Err(ConfigError::Secrets { path, found: 2 }),
            (None, None) => Err(ConfigError::Secrets { path, found: 0 }),
            (None, Some(text)) => ClusterSecret::parse(&text).ok_or(ConfigError::BadVariable),
            (Some(file), None) => ClusterSecret::load(file)?.ok_or_else(|| ConfigError::NoFile {
                path,
                key: "cluster_secret_file",
                file: file.clone(),
            }),
        }
    }

    /// The access key that is created when the cluster runs for the first time, if there is to be one.
    pub fn first_access_key(&self, path: &Path) -> Result<Option<NewKey>, ConfigError> {
        let Some(file) = &self.first_access_key_file else {
            return Ok(None);
        };
        let missing = || ConfigError::NoFile {
            path: path.to_owned(),
            key: "first_access_key_file",
            file: file.clone(),
        };
        Ok(Some(credentials::read(file)?.ok_or_else(missing)?))
    }

    /// How the node behaves.
    pub fn settings(&self) -> Settings {
        let s3 = &self.s3;
        Settings {
            limits: self.limits.clone(),
            timing: self.links.timing,
            rows: self.storage.clone(),
            block_folders: self.block_folder.clone(),
            blocks: self.blocks.clone(),
            front: FrontDoorConfig {
                region: s3.region.clone(),
                domain: s3.domain.clone(),
                header_max_bytes: s3.header_max_bytes,
                xml_max_bytes: s3.xml_max_bytes,
                header_read_timeout_ms: s3.header_read_timeout_ms,
                body_idle_timeout_ms: s3.body_idle_timeout_ms,
                shutdown_grace_ms: s3.shutdown_grace_ms,
                delete_parallelism: s3.delete_parallelism,
                ..FrontDoorConfig::default()
            },
            trace: self.trace.clone().map(|folder| TraceSettings {
                folder,
                max_bytes: self.trace_max_bytes,
                percent: self.trace_percent,
            }),
        }
    }
}

impl BadValue {
    /// The error, once it is known where the value stands.
    pub(crate) fn into_error(self, path: &Path) -> ConfigError {
        ConfigError::Value {
            path: path.to_owned(),
            key: self.key,
            problem: self.problem,
        }
    }
}

pub(crate) fn bad(key: impl Into<String>, problem: impl ToString) -> BadValue {
    BadValue {
        key: key.into(),
        problem: problem.to_string(),
    }
}

fn trace_percent() -> u8 {
    TRACE_PERCENT
}

fn trace_max_bytes() -> u64 {
    TRACE_MAX_BYTES
}

impl Default for S3Config {
    fn default() -> Self {
        let front = FrontDoorConfig::default();
        S3Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 3900)),
            region: front.region,
            domain: front.domain,
            header_max_bytes: front.header_max_bytes,
            xml_max_bytes: front.xml_max_bytes,
            header_read_timeout_ms: front.header_read_timeout_ms,
            body_idle_timeout_ms: front.body_idle_timeout_ms,
            shutdown_grace_ms: front.shutdown_grace_ms,
            delete_parallelism: front.delete_parallelism,
        }
    }
}

impl Default for LinksConfig {
    fn default() -> Self {
        LinksConfig {
            listen: SocketAddr::from(([0, 0, 0, 0], 3901)),
            advertise: None,
            timing: Timing::default(),
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig {
            filter: logging::DEFAULT_FILTER.to_owned(),
            format: LogFormat::default(),
        }
    }
}

#[cfg(test)]
mod tests;
