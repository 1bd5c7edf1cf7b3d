//! One disk of a node: its block folder while it is there, and the reason while it is not.
//!
//! A disk goes out of use when something else, or nothing, lies at its path, when its marker is gone, or when reads keep
//! failing. Its blocks are then missing here, and other nodes have them. It comes back by itself when its folder does.
//! After failed reads it must have been gone in between: what the kernel keeps of a file system that met errors is not to
//! be trusted, and only a new mount forgets it. The same goes for writing to a folder that closed itself.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use serde::{Deserialize, Serialize};

use super::claim::{Claimed, read_marker};
use super::order::Entrant;
use crate::storage::OpenError;
use crate::storage::block_files::BlockSetup;
use crate::storage::block_folder::BlockFolder;
use crate::storage::files::Files;
use crate::storage::packing::Packing;

/// Blocks that could not be read, with none between them that could, after which a disk counts as dead.
const UNREADABLE_MAX: usize = 8;

/// Opens the files below a folder; the tests have disks of their own.
pub(super) type OpenFiles = dyn Fn(&Path) -> io::Result<Arc<dyn Files>> + Send + Sync;

/// See the module.
pub(super) struct Disk {
    claimed: Claimed,
    open: Arc<OpenFiles>,
    min_free_bytes: u64,
    packing: Packing,
    state: Mutex<State>,
}

#[derive(Clone)]
enum State {
    InUse(Arc<BlockFolder>),
    Away(Absence),
}

/// Why a disk is not in use.
#[derive(Clone)]
struct Absence {
    why: String,
    /// Requests that were under way may still hold it.
    left: Weak<BlockFolder>,
    /// Whether it may be used as soon as it is seen.
    returns: Returns,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Returns {
    WhenSeen,
    AfterItWasGone,
}

/// Why files are not those of a disk.
enum Unfit {
    /// They are somebody else's, or nobody's.
    Gone(String),
    /// That could not be found out.
    Unknown(String),
}

/// What a look at a disk came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Unchanged,
    Changed,
}

/// How a block folder is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "why")]
pub enum FolderState {
    /// It is read and written.
    InUse,
    /// A write failed: it is read, and written again after a restart, or when it was unmounted and is back.
    ReadOnly(String),
    /// It is not there or cannot be read: what it holds is missing here.
    Away(String),
}

impl Disk {
    /// Opens the folder, which is there.
    pub(super) fn open(claimed: Claimed, open: Arc<OpenFiles>, setup: &BlockSetup) -> Result<Self, OpenError> {
        let files = open(&claimed.path).map_err(OpenError::io(&claimed.path))?;
        // It was looked at by its path; from now on these files are held on to.
        if let Err(Unfit::Gone(why) | Unfit::Unknown(why)) = check(&claimed, &files) {
            return Err(OpenError::io(&claimed.path)(io::Error::other(why)));
        }
        let (min_free_bytes, packing) = (setup.min_free_bytes, Packing::from(&setup.config));
        let folder = BlockFolder::open(files, &claimed.path, min_free_bytes, packing)?;
        Ok(Disk {
            claimed,
            open,
            min_free_bytes,
            packing,
            state: Mutex::new(State::InUse(Arc::new(folder))),
        })
    }

    /// Its folder, if it is in use.
    pub(super) fn folder(&self) -> Option<Arc<BlockFolder>> {
        match &*self.state() {
            State::InUse(folder) => Some(folder.clone()),
            State::Away(_) => None,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.claimed.path
    }

    pub(super) fn capacity_bytes(&self) -> Option<u64> {
        self.claimed.capacity_bytes
    }

    pub(super) fn entrant(&self) -> Entrant {
        Entrant {
            id: self.claimed.marker.folder,
            weight: self.claimed.capacity_bytes.unwrap_or(1),
        }
    }

    pub(super) fn how(&self) -> FolderState {
        match &*self.state() {
            State::InUse(folder) => match folder.closed() {
                Some(why) => FolderState::ReadOnly(why),
                None => FolderState::InUse,
            },
            State::Away(absence) => FolderState::Away(absence.why.clone()),
        }
    }

    /// Finds out whether the disk went away or came back. Only one thread looks; nobody waits for it.
    pub(super) fn look(&self) -> Look {
        let before = self.state().clone();
        let after = match &before {
            State::InUse(folder) => self.absence(folder).map(State::Away),
            State::Away(absence) => self.come_back(absence),
        };
        let Some(after) = after else { return Look::Unchanged };
        let is_change = matches!(
            (&before, &after),
            (State::InUse(_), State::Away(_)) | (State::Away(_), State::InUse(_))
        );
        *self.state() = after;
        if is_change { Look::Changed } else { Look::Unchanged }
    }

    /// Why a folder that is in use cannot be any more; nothing if it can.
    fn absence(&self, folder: &Arc<BlockFolder>) -> Option<Absence> {
        let path = self.path().display();
        // Where that cannot be found out, reads will tell.
        let (why, returns) = if let Err(Unfit::Gone(why)) = check(&self.claimed, folder.files()) {
            (why, Returns::WhenSeen)
        } else if folder.unreadable_in_a_row() >= UNREADABLE_MAX {
            let why = format!("{UNREADABLE_MAX} blocks in a row could not be read; look at the kernel's log");
            (why, Returns::AfterItWasGone)
        } else {
            return None;
        };
        tracing::error!(%path, %why, "a block folder is out of use; its blocks are missing here");
        Some(Absence {
            why,
            left: Arc::downgrade(folder),
            returns,
        })
    }

    /// What becomes of a disk that was away; nothing if that is as before.
    fn come_back(&self, absence: &Absence) -> Option<State> {
        let opened = (self.open)(self.path()).map_err(|error| {
            let is_gone = error.kind() == io::ErrorKind::NotFound;
            let unfit = if is_gone { Unfit::Gone } else { Unfit::Unknown };
            unfit(error.to_string())
        });
        let files = match opened.and_then(|files| check(&self.claimed, &files).map(|()| files)) {
            Ok(files) => files,
            Err(Unfit::Unknown(_)) => return None,
            Err(Unfit::Gone(_)) => {
                let seen_gone = Absence {
                    returns: Returns::WhenSeen,
                    ..absence.clone()
                };
                return Some(State::Away(seen_gone));
            }
        };
        if absence.returns == Returns::AfterItWasGone || absence.left.strong_count() > 0 {
            return None;
        }
        let path = self.path().display();
        match BlockFolder::open(files, self.path(), self.min_free_bytes, self.packing) {
            Ok(folder) => {
                tracing::info!(%path, "a block folder is back in use");
                Some(State::InUse(Arc::new(folder)))
            }
            Err(error) => {
                tracing::debug!(%path, %error, "a block folder cannot be used yet");
                None
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Are these the files of the folder that was claimed, and at its path?
fn check(claimed: &Claimed, files: &Arc<dyn Files>) -> Result<(), Unfit> {
    let is_at_its_path = files.is_at_its_path();
    if !is_at_its_path.map_err(|error| Unfit::Unknown(error.to_string()))? {
        return Err(Unfit::Gone(
            "something else, or nothing, is mounted at its path".to_owned(),
        ));
    }
    match read_marker(files.as_ref(), &claimed.path) {
        Ok(Some(marker)) if marker == claimed.marker => Ok(()),
        Ok(Some(_)) => Err(Unfit::Gone("another block folder lies at its path".to_owned())),
        Ok(None) => Err(Unfit::Gone(
            "its marker is not there; it is not mounted, or was emptied".to_owned(),
        )),
        Err(error) => Err(Unfit::Unknown(error.to_string())),
    }
}

impl fmt::Display for FolderState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FolderState::InUse => f.write_str("in use"),
            FolderState::ReadOnly(why) => write!(f, "READ ONLY: {why}"),
            FolderState::Away(why) => write!(f, "AWAY: {why}"),
        }
    }
}

/// A block folder as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderSeen {
    /// Where it is.
    pub path: PathBuf,
    /// What the configuration says that it is for, if it says so.
    pub capacity_bytes: Option<u64>,
    /// What may still be written to its file system, but for the reserve; nothing if it is away.
    pub free_bytes: Option<u64>,
    /// How it is.
    pub how: FolderState,
}
