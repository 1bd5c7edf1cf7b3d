//! The data folder of a node: its lock, its identity, its disk, the layout it began with.
//!
//! A node *is* its key and its disk: a folder that lost its content comes back as another node, because what it had
//! promised is gone. So a production node never initialises a folder by itself: a disk that is not mounted must not
//! look like a new node.

use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use trellis_s3api::object::{hex, unhex};
use trellis_spec::layout::{LayoutHash, Member};
use trellis_spec::quorum::NodeId;

use crate::env::Env;
use crate::link::{Identity, PeerId};
use crate::secret_file::{self, SecretFileError};
use crate::storage::{DataFolder, OpenError};

const IDENTITY_FILE: &str = "node.key";
const DISK_FILE: &str = "disk-id";
const LAYOUT_FILE: &str = "first-layout";
/// There since rows were kept for the first time.
const ROWS_BEGAN_FILE: &str = "rows-began";
const LOG_FOLDER: &str = "log";
const PEERS_FILE: &str = "peers";
const CONTACTS_FILE: &str = "contacts.json";
const ROWS_FOLDER: &str = "rows";
/// Objects lie in the folder as they are: only the node's user may look.
const FOLDER_MODE: u32 = 0o700;

/// What a configuration calls a node: its public key and the id of its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName {
    /// Its identity on the network.
    pub key: PeerId,
    /// Minted when its data folder was initialised.
    pub disk: [u8; 16],
}

/// A text that names no node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a node id has 64 hexadecimal digits, a hyphen and 32 more, as `trellis node id` prints it")]
pub struct NotANodeName;

/// The data folder of a node, locked for this process.
#[derive(Debug)]
pub struct NodeFolder {
    /// The lock, held until this is dropped.
    pub folder: DataFolder,
    /// The node's key pair.
    pub identity: Identity,
    /// Minted when the folder was initialised.
    pub disk: [u8; 16],
}

/// Why a data folder cannot be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It is locked, damaged, too new or unreadable.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A small file in it cannot be used.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// There is no node in the folder.
    #[error(
        "{0} is not the data folder of a node; is its disk mounted? \
         To make a new node there, run `trellis node init --data {0}`"
    )]
    NotInitialised(PathBuf),
    /// There are rows, but not all of what makes a node.
    #[error(
        "{0} holds rows of a node, but {IDENTITY_FILE} or {DISK_FILE} is missing; restore the whole folder, \
         or start with an empty one as a new node"
    )]
    Incomplete(PathBuf),
    /// Rows were kept here, and are gone.
    #[error(
        "the rows that the node in {folder} kept are gone: there is nothing in {rows}. What it had promised to other nodes \
         went with them, so it cannot go on as the node that it was. If a disk is not mounted there, mount it. If the rows \
         are lost, make a new node with `trellis node init` in an empty folder, start it, and have it take this one's place: \
         `trellis node replace OLD NEW` on a node of the cluster"
    )]
    RowsGone {
        /// The data folder.
        folder: PathBuf,
        /// Where rows are kept.
        rows: PathBuf,
    },
    /// The first layout of the configuration is not the one that the node began with.
    #[error(
        "the first layout of the configuration is not the one that the node in {folder} began with, which says to which \
         cluster it belongs. Undo the change to nodes, zones, capacities, replication_factor, zone_redundancy or partitions \
         (addresses may change); a cluster that has run is changed with `trellis layout`"
    )]
    OtherLayout {
        /// The data folder.
        folder: PathBuf,
    },
}

impl NodeFolder {
    /// Opens the folder of a node.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        read_name(path)?;
        let folder = DataFolder::open(path)?;
        let not_initialised = || FolderError::NotInitialised(path.to_owned());
        let disk = read_disk(path)?.ok_or_else(not_initialised)?;
        let identity = Identity::load(&path.join(IDENTITY_FILE))?.ok_or_else(not_initialised)?;
        let opened = NodeFolder { folder, identity, disk };
        Ok(opened)
    }

    /// Opens the folder of a node; makes a new node in an empty one.
    pub fn open_or_create(path: &Path, env: &Env) -> Result<Self, FolderError> {
        let is_new = !path.exists();
        let folder = DataFolder::open(path)?;
        if is_new {
            let private = fs::set_permissions(path, Permissions::from_mode(FOLDER_MODE));
            private.map_err(secret_file::failed(path))?;
        }
        let (found, key) = (read_disk(path)?, path.join(IDENTITY_FILE));
        let is_whole = found.is_some() && key.exists();
        if path.join(ROWS_FOLDER).exists() && !is_whole {
            return Err(FolderError::Incomplete(path.to_owned()));
        }
        let disk = match found {
            Some(disk) => disk,
            None => create_disk(path, env)?,
        };
        let identity = Identity::load_or_create(&key)?;
        let opened = NodeFolder { folder, identity, disk };
        Ok(opened)
    }

    /// What a configuration calls the node.
    pub fn name(&self) -> NodeName {
        NodeName {
            key: self.identity.peer_id(),
            disk: self.disk,
        }
    }

    /// Remembers the layout that the node begins with; refuses another one ever after.
    pub fn begin_with(&self, layout: &LayoutHash) -> Result<(), FolderError> {
        let path = self.folder.path().join(LAYOUT_FILE);
        match read_public(&path)? {
            None => Ok(secret_file::write_public(&path, &format!("{}\n", hex(layout)))?),
            Some(text) if unhex(text.trim()) == Some(*layout) => Ok(()),
            Some(_) => Err(FolderError::OtherLayout {
                folder: self.folder.path().to_owned(),
            }),
        }
    }

    /// Refuses to begin anew where rows were kept: an emptied row store must not look like that of a new node.
    pub fn check_rows(&self) -> Result<(), FolderError> {
        let log = self.log();
        let is_empty = match fs::read_dir(&log) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            // The row store will say why.
            Err(_) => false,
        };
        match is_empty && self.folder.path().join(ROWS_BEGAN_FILE).exists() {
            true => Err(FolderError::RowsGone {
                folder: self.folder.path().to_owned(),
                rows: log,
            }),
            false => Ok(()),
        }
    }

    /// From now on rows are kept here.
    pub fn rows_began(&self) -> Result<(), FolderError> {
        let path = self.folder.path().join(ROWS_BEGAN_FILE);
        match path.exists() {
            true => Ok(()),
            false => Ok(secret_file::write_public(
                &path,
                "rows are kept here; see docs/operate.md\n",
            )?),
        }
    }

    /// Where rows are kept.
    pub fn rows(&self) -> PathBuf {
        self.folder.path().join(ROWS_FOLDER)
    }

    /// Where the log of the rows is.
    pub fn log(&self) -> PathBuf {
        self.rows().join(LOG_FOLDER)
    }

    /// Where it is written down how far peers were.
    pub fn peers(&self) -> PathBuf {
        self.folder.path().join(PEERS_FILE)
    }

    /// Where it is written down where other nodes are.
    pub fn contacts(&self) -> PathBuf {
        self.folder.path().join(CONTACTS_FILE)
    }
}

impl NodeName {
    /// What a configuration calls a member of a layout.
    pub fn of(member: &Member) -> Self {
        NodeName {
            key: PeerId(member.key),
            disk: member.disk,
        }
    }

    /// Its identity in protocols.
    pub fn id(&self) -> NodeId {
        Member::derive_id(&self.key.0, &self.disk)
    }
}

/// The name of the node in a folder, whether it runs or not.
pub fn read_name(path: &Path) -> Result<NodeName, FolderError> {
    let disk = read_disk(path)?;
    let identity = Identity::load(&path.join(IDENTITY_FILE))?;
    match disk.zip(identity) {
        Some((disk, identity)) => Ok(NodeName {
            key: identity.peer_id(),
            disk,
        }),
        None if path.join(ROWS_FOLDER).exists() => Err(FolderError::Incomplete(path.to_owned())),
        None => Err(FolderError::NotInitialised(path.to_owned())),
    }
}

fn read_disk(folder: &Path) -> Result<Option<[u8; 16]>, FolderError> {
    let path = folder.join(DISK_FILE);
    let Some(text) = read_public(&path)? else {
        return Ok(None);
    };
    let malformed = || secret_file::malformed(&path, "32 hexadecimal digits");
    Ok(Some(unhex(text.trim()).ok_or_else(malformed)?))
}

fn create_disk(folder: &Path, env: &Env) -> Result<[u8; 16], FolderError> {
    let disk = env.random_id();
    secret_file::write_public(&folder.join(DISK_FILE), &format!("{}\n", hex(&disk)))?;
    Ok(disk)
}

fn read_public(path: &Path) -> Result<Option<String>, SecretFileError> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some).map_err(secret_file::failed(path)),
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.key, hex(&self.disk))
    }
}

impl FromStr for NodeName {
    type Err = NotANodeName;

    fn from_str(text: &str) -> Result<Self, NotANodeName> {
        let (key, disk) = text.split_once('-').ok_or(NotANodeName)?;
        let key = key.parse().map_err(|_| NotANodeName)?;
        let disk = unhex(disk).ok_or(NotANodeName)?;
        Ok(NodeName { key, disk })
    }
}

impl TryFrom<String> for NodeName {
    type Error = NotANodeName;

    fn try_from(text: String) -> Result<Self, NotANodeName> {
        text.parse()
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> String {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_keeps_its_node() {
        let (home, env) = (tempfile::tempdir().unwrap(), Env::real());
        let path = home.path().join("data");
        assert!(matches!(NodeFolder::open(&path), Err(FolderError::NotInitialised(_))));
        assert!(!path.exists(), "looking makes no folder");
        let made = NodeFolder::open_or_create(&path, &env).unwrap().name();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, FOLDER_MODE);
        assert_eq!(read_name(&path).unwrap(), made);
        assert_eq!(NodeFolder::open(&path).unwrap().name(), made);
        assert_eq!(made.to_string().parse(), Ok(made));
        assert_eq!("ab-cd".parse::<NodeName>(), Err(NotANodeName));
    }

    #[tokio::test]
    async fn rows_without_their_node_are_refused() {
        let (home, env) = (tempfile::tempdir().unwrap(), Env::real());
        drop(NodeFolder::open_or_create(home.path(), &env).unwrap());
        fs::create_dir(home.path().join(ROWS_FOLDER)).unwrap();
        fs::remove_file(home.path().join(IDENTITY_FILE)).unwrap();
        let opened = NodeFolder::open_or_create(home.path(), &env);
        assert!(matches!(opened, Err(FolderError::Incomplete(_))));
        assert!(matches!(NodeFolder::open(home.path()), Err(FolderError::Incomplete(_))));
    }

    #[tokio::test]
    async fn rows_that_are_gone_are_missed_and_those_that_never_were_are_not() {
        let (home, env) = (tempfile::tempdir().unwrap(), Env::real());
        let folder = NodeFolder::open_or_create(home.path(), &env).unwrap();
        folder.check_rows().unwrap();
        folder.rows_began().unwrap();
        assert!(matches!(folder.check_rows(), Err(FolderError::RowsGone { .. })));
        fs::create_dir_all(folder.rows().join(LOG_FOLDER)).unwrap();
        assert!(matches!(folder.check_rows(), Err(FolderError::RowsGone { .. })));
        fs::write(folder.rows().join(LOG_FOLDER).join("segment"), "rows").unwrap();
        folder.check_rows().unwrap();
        folder.rows_began().unwrap();
    }

    #[tokio::test]
    async fn another_first_layout_is_refused() {
        let (home, env) = (tempfile::tempdir().unwrap(), Env::real());
        let folder = NodeFolder::open_or_create(home.path(), &env).unwrap();
        folder.begin_with(&[1; 32]).unwrap();
        folder.begin_with(&[1; 32]).unwrap();
        let refused = folder.begin_with(&[2; 32]);
        assert!(matches!(refused, Err(FolderError::OtherLayout { .. })));
    }
}
