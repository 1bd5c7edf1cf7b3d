//! Which folders are the node's, and which disks: markers in the block folders, and a record of them in the data folder.
//!
//! An empty folder may be an empty disk or a disk that is not mounted. So a block folder gets a *marker* when it is first
//! taken into use, with the node's disk id and an id of its own, and the data folder's *record* lists those ids. A folder
//! that is on record and has no marker is not there, whatever lies at its path; folders are known by their ids, and may be
//! mounted somewhere else the next time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use trellis_s3api::object::{hex, unhex};

use super::error::BlockFolderError;
use crate::env::Random;
use crate::size::Capacity;
use crate::storage::block_folder::BlockFolder;
use crate::storage::files::{Files, RealFiles, parent, read_file, replace_file};
use crate::storage::packing::{BlocksConfig, Packing};
use crate::storage::rooted::RootedFiles;

pub(super) const MARKER_FILE: &str = "block-folder.json";
/// What [`replace_file`](crate::storage::files::replace_file) writes before it is the marker.
const FRESH_MARKER_FILE: &str = "block-folder.new";
const RECORD_FILE: &str = "block-folders.json";
/// The one that a node has that is not told of others, in its data folder.
const DEFAULT_FOLDER: &str = "blocks";
/// What a new file system has in it.
const LOST_AND_FOUND: &str = "lost+found";

/// The identity of a block folder, minted when it is first taken into use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FolderId(pub [u8; 16]);

/// A block folder as the configuration names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockFolderConfig {
    /// Where it is.
    pub path: PathBuf,
    /// Its share of the node's blocks is in proportion to this; with zero, what it holds is moved to the others.
    pub capacity: Capacity,
}

/// What lies in a block folder to say whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    node: FolderId,
    pub(super) folder: FolderId,
}

/// The block folders of a node, in its data folder.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    /// Those that hold its blocks, and where they were the last time.
    folders: BTreeMap<FolderId, PathBuf>,
    /// Those that were declared lost. Blocks may have been deleted since, so none of them ever comes back.
    given_up: BTreeSet<FolderId>,
}

/// A folder that may be used.
#[derive(Debug, Clone)]
pub(super) struct Claimed {
    pub(super) path: PathBuf,
    /// Nothing: it is the only one, and may fill its file system.
    pub(super) capacity_bytes: Option<u64>,
    pub(super) marker: Marker,
}

/// Makes sure that each folder is the one that it should be, and takes new ones into use.
pub(super) fn claim(
    data: &Path,
    node: [u8; 16],
    configured: &[BlockFolderConfig],
    random: &dyn Random,
) -> Result<Vec<Claimed>, BlockFolderError> {
    let mut record = read::<Record>(&RealFiles, &data.join(RECORD_FILE))?;
    let found = look_at_all(data, node, configured, record.as_ref())?;
    let claims: Vec<Claimed> = found
        .into_iter()
        .map(|found| found.claimed(FolderId(node), random))
        .collect();
    let record = record.get_or_insert_default();
    for claimed in &claims {
        take(claimed)?;
        record.folders.insert(claimed.marker.folder, claimed.path.clone());
    }
    write(&data.join(RECORD_FILE), record)?;
    Ok(claims)
}

/// What may be lost with a folder that is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Losing {
    /// Nothing that is still there.
    Nothing,
    /// Blocks that it holds.
    Blocks,
}

/// Declares the folder lost that was at `path`, and says which one that was.
pub fn give_up(data: &Path, path: &Path, losing: Losing) -> Result<FolderId, BlockFolderError> {
    let file = data.join(RECORD_FILE);
    let (mut record, path) = (read::<Record>(&RealFiles, &file)?.unwrap_or_default(), absolute(path)?);
    let Some(id) = record.at(&path) else {
        let known: Vec<String> = record.folders.values().map(|path| path.display().to_string()).collect();
        let known = known.join(", ");
        return Err(BlockFolderError::NotOnRecord { path, known });
    };
    if losing == Losing::Nothing && may_hold_blocks(&path, id) {
        return Err(BlockFolderError::HoldsBlocks { path });
    }
    record.folders.remove(&id);
    record.given_up.insert(id);
    write(&file, &record)?;
    Ok(id)
}

/// Is the folder there, and not known to be empty?
fn may_hold_blocks(path: &Path, id: FolderId) -> bool {
    let Ok(files) = RootedFiles::open(path) else {
        return false;
    };
    let is_there = matches!(read_marker(&files, path), Ok(Some(marker)) if marker.folder == id);
    let packing = Packing::from(&BlocksConfig::default());
    let folder = is_there.then(|| BlockFolder::open(Arc::new(files), path, 0, packing));
    folder.is_some_and(|opened| match opened {
        Ok(folder) => {
            let names = folder.list(None, 1);
            !names.found.is_empty() || names.unread.is_some()
        }
        Err(_) => true,
    })
}

/// A folder of the configuration, as it was found.
struct Found {
    path: PathBuf,
    capacity_bytes: Option<u64>,
    marker: Option<Marker>,
}

impl Found {
    fn claimed(self, node: FolderId, random: &dyn Random) -> Claimed {
        let mint = || {
            let mut folder = FolderId([0; 16]);
            random.fill(&mut folder.0);
            Marker { node, folder }
        };
        Claimed {
            path: self.path,
            capacity_bytes: self.capacity_bytes,
            marker: self.marker.unwrap_or_else(mint),
        }
    }
}

impl Record {
    fn at(&self, path: &Path) -> Option<FolderId> {
        let mut folders = self.folders.iter();
        folders.find(|(_, known)| *known == path).map(|(id, _)| *id)
    }
}

/// Finds every reason to refuse before anything is changed.
fn look_at_all(
    data: &Path,
    node: [u8; 16],
    configured: &[BlockFolderConfig],
    record: Option<&Record>,
) -> Result<Vec<Found>, BlockFolderError> {
    let none = Record::default();
    let (own, known) = (absolute(&data.join(DEFAULT_FOLDER))?, record.unwrap_or(&none));
    let mut found = Vec::new();
    if configured.is_empty() {
        found.push(look_at(own.clone(), None)?);
    }
    for folder in configured {
        found.push(look_at(absolute(&folder.path)?, Some(folder.capacity.0))?);
    }
    let here: BTreeSet<FolderId> = found
        .iter()
        .filter_map(|found| found.marker)
        .map(|marker| marker.folder)
        .collect();
    let data = || data.to_owned();
    for (position, Found { path, marker, .. }) in found.iter().enumerate() {
        let is_same = |other: &&Found| other.path == *path || marker.is_some() && other.marker == *marker;
        let (path, other) = (path.clone(), found[..position].iter().find(is_same));
        if let Some(other) = other.map(|other| other.path.clone()) {
            return Err(BlockFolderError::Twice { path, other });
        }
        match *marker {
            Some(marker) if marker.node.0 != node => return Err(BlockFolderError::Foreign { path }),
            Some(marker) if known.given_up.contains(&marker.folder) => return Err(BlockFolderError::GivenUp { path }),
            Some(_) => {}
            None => match known.at(&path).filter(|id| !here.contains(id)) {
                Some(id) => return Err(BlockFolderError::NotMounted { path, id, data: data() }),
                // A node of before there were markers has its blocks where they always were.
                None if path == own && record.is_none() => {}
                None => check_new(path, &own)?,
            },
        }
    }
    let missing = known.folders.iter().find(|(id, _)| !here.contains(id));
    match missing.map(|(id, path)| (*id, path.clone())) {
        Some((id, path)) => Err(BlockFolderError::NotConfigured { path, id, data: data() }),
        None => Ok(found),
    }
}

fn look_at(path: PathBuf, capacity_bytes: Option<u64>) -> Result<Found, BlockFolderError> {
    let marker = match RootedFiles::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(BlockFolderError::Io { path, error }),
        Ok(files) => read_marker(&files, &path)?,
    };
    Ok(Found {
        path,
        capacity_bytes,
        marker,
    })
}

/// Only the node's own folder in its data folder is made here: any other says by being there that its disk is mounted.
fn check_new(path: PathBuf, own: &Path) -> Result<(), BlockFolderError> {
    match RealFiles.list(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && path == own => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(BlockFolderError::NotThere { path }),
        Err(error) => Err(BlockFolderError::Io { path, error }),
        // Of a marker that a power cut left half written there is a file.
        Ok(names)
            if names
                .iter()
                .all(|name| name == LOST_AND_FOUND || name == FRESH_MARKER_FILE) =>
        {
            Ok(())
        }
        Ok(_) => Err(BlockFolderError::NotEmpty { path }),
    }
}

/// Puts the marker where it is not yet, before the folder goes on record: should the power go in between, the marker is
/// enough.
fn take(claimed: &Claimed) -> Result<(), BlockFolderError> {
    let path = &claimed.path;
    if !path.exists() {
        let made = RealFiles
            .create_folder(path)
            .and_then(|()| RealFiles.sync_folder(parent(path)));
        made.map_err(io_error(path))?;
    }
    let file = path.join(MARKER_FILE);
    match read::<Marker>(&RealFiles, &file)? {
        Some(found) if found == claimed.marker => Ok(()),
        // It was made a moment ago, under another name of the same folder.
        Some(_) => Err(BlockFolderError::Twice {
            path: path.clone(),
            other: path.clone(),
        }),
        None => write(&file, &claimed.marker),
    }
}

/// Whose folder it is, if it is anybody's.
pub(super) fn read_marker(files: &dyn Files, folder: &Path) -> Result<Option<Marker>, BlockFolderError> {
    read(files, &folder.join(MARKER_FILE))
}

fn read<T: for<'de> Deserialize<'de>>(files: &dyn Files, path: &Path) -> Result<Option<T>, BlockFolderError> {
    let found = read_file(files, path).map_err(io_error(path))?;
    let parsed = found.map(|text| serde_json::from_slice(&text)).transpose();
    parsed.map_err(|_| BlockFolderError::Damaged { path: path.to_owned() })
}

fn write(path: &Path, value: &impl Serialize) -> Result<(), BlockFolderError> {
    let written = serde_json::to_string_pretty(value)
        .map_err(io::Error::from)
        .and_then(|text| replace_file(&RealFiles, path, format!("{text}\n").as_bytes()));
    written.map_err(io_error(path))
}

fn absolute(path: &Path) -> Result<PathBuf, BlockFolderError> {
    std::path::absolute(path).map_err(io_error(path))
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> BlockFolderError {
    let path = path.to_owned();
    move |error| BlockFolderError::Io { path, error }
}

impl fmt::Display for FolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl From<FolderId> for String {
    fn from(id: FolderId) -> String {
        id.to_string()
    }
}

impl TryFrom<String> for FolderId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        unhex(&text).map(FolderId).ok_or("an id has 32 hexadecimal digits")
    }
}
