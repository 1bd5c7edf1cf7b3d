//! The data folder of a node: its lock, its identity, its disk.
//!
//! A node *is* its key and its disk: a folder that lost its content comes back as another node, because what it had
//! promised is gone.

use std::path::{Path, PathBuf};

use trellis_spec::layout::Member;
use trellis_spec::quorum::NodeId;

use crate::env::Env;
use crate::link::{Identity, PeerId, SecretFileError};
use crate::storage::{DataFolder, OpenError};

const IDENTITY_FILE: &str = "node.key";
const DISK_FILE: &str = "disk-id";
const ROWS_FOLDER: &str = "rows";
const BLOCKS_FOLDER: &str = "blocks";

/// The data folder of a node, locked for this process.
pub struct NodeFolder {
    /// The lock, held until this is dropped.
    pub folder: DataFolder,
    /// The node's key pair.
    pub identity: Identity,
    /// Minted when the folder was initialised.
    pub disk: [u8; 16],
}

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It is locked, damaged, too new or unreadable.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The node's key cannot be used.
    #[error(transparent)]
    Identity(#[from] SecretFileError),
    /// There are rows or a key, but no disk id: this is not the folder that was initialised.
    #[error("{0} holds data of a node but no {DISK_FILE} file; restore the whole folder, or start with an empty one as a new node")]
    NoDiskId(PathBuf),
    /// The disk id is not one.
    #[error("{0} is damaged: it must hold 32 hexadecimal digits")]
    DiskId(PathBuf),
    /// Reading or writing failed.
    #[error("{path}: {source}")]
    Io {
        /// What was read or written.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}

impl NodeFolder {
    /// Opens the folder of a node; initialises an empty one.
    pub fn open(path: &Path, env: &Env) -> Result<Self, FolderError> {
        let folder = DataFolder::open(path)?;
        let is_new = !path.join(IDENTITY_FILE).exists() && !path.join(ROWS_FOLDER).exists();
        let disk = disk_id(path, is_new, env)?;
        let identity = Identity::load_or_create(&path.join(IDENTITY_FILE))?;
        Ok(NodeFolder { folder, identity, disk })
    }

    /// The node's identity on the network.
    pub fn peer_id(&self) -> PeerId {
        self.identity.peer_id()
    }

    /// The node's identity in protocols.
    pub fn node_id(&self) -> NodeId {
        Member::derive_id(&self.peer_id().0, &self.disk)
    }

    /// Where rows are kept.
    pub fn rows(&self) -> PathBuf {
        self.folder.path().join(ROWS_FOLDER)
    }

    /// Where blocks are kept.
    pub fn blocks(&self) -> PathBuf {
        self.folder.path().join(BLOCKS_FOLDER)
    }
}

fn disk_id(folder: &Path, is_new: bool, env: &Env) -> Result<[u8; 16], FolderError> {
    let path = folder.join(DISK_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => trellis_s3api::object::unhex(text.trim()).ok_or(FolderError::DiskId(path)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && is_new => {
            let disk = env.random_id();
            let text = format!("{}\n", trellis_s3api::object::hex(&disk));
            write_durably(folder, &path, &text).map_err(|source| FolderError::Io { path, source })?;
            Ok(disk)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(FolderError::NoDiskId(folder.to_owned())),
        Err(source) => Err(FolderError::Io { path, source }),
    }
}

fn write_durably(folder: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    let partial = path.with_extension("new");
    std::fs::write(&partial, text)?;
    std::fs::File::open(&partial)?.sync_all()?;
    std::fs::rename(&partial, path)?;
    std::fs::File::open(folder)?.sync_all()
}
