//! Blocks as files: `ab/c/abc…`, 256 folders of 16.
//!
//! A file is the block's data and nothing else: its name says what must be in it, its length is the file system's to
//! know, and `b2sum -l 256` checks it on any machine. Should blocks ever be stored differently, the data folder's format
//! says so.
//!
//! A new block is written to `incoming/`, synced, renamed, and its folder synced. So a name is never there without all
//! of its data, and what a crash leaves behind is in `incoming/` alone, where the next start removes it. Everything here
//! blocks; [`super::BlockFiles`] calls it from a pool.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;

use super::blocks::{BLOCK_MAX_BYTES, Block, BlockName, BlocksError};
use super::files::{Files, OpenFor, is_full, parent};
use super::folder::OpenError;

const INCOMING_FOLDER: &str = "incoming";
const DAMAGED_FOLDER: &str = "damaged";
/// The second level has one hexadecimal digit.
const LEAVES: [&str; 16] = [
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b", "c", "d", "e", "f",
];

/// See the module.
pub(super) struct BlockFolder {
    files: Arc<dyn Files>,
    folder: PathBuf,
    min_free_bytes: u64,
    /// First-level folders that are known to be on disk, with all folders in them.
    ready: Mutex<BTreeSet<u8>>,
    syncs: FolderSyncs,
    /// For names that were never used in this process.
    counter: AtomicU64,
    /// Reads that failed since the last one that did not.
    failed_reads: AtomicU32,
    /// Why nothing is written any more.
    closed: OnceLock<String>,
}

impl BlockFolder {
    /// Opens the blocks in `folder`, which exists, and removes what a crash left half written.
    pub(super) fn open(files: Arc<dyn Files>, folder: &Path, min_free_bytes: u64) -> Result<Self, OpenError> {
        let opened = Self {
            files,
            folder: folder.to_owned(),
            min_free_bytes,
            ready: Mutex::default(),
            syncs: FolderSyncs::default(),
            counter: AtomicU64::new(0),
            failed_reads: AtomicU32::new(0),
            closed: OnceLock::new(),
        };
        opened.prepare().map_err(OpenError::io(folder))?;
        Ok(opened)
    }

    fn prepare(&self) -> io::Result<()> {
        let incoming = self.folder.join(INCOMING_FOLDER);
        self.files.create_folder(&incoming)?;
        self.files.create_folder(&self.folder.join(DAMAGED_FOLDER))?;
        self.files.sync_folder(&self.folder)?;
        for name in self.files.list(&incoming)? {
            self.files.remove(&incoming.join(name))?;
        }
        Ok(())
    }

    /// The files that it lies in.
    pub(super) fn files(&self) -> &Arc<dyn Files> {
        &self.files
    }

    /// How many reads failed since the last one that did not.
    pub(super) fn failed_reads(&self) -> u32 {
        self.failed_reads.load(Ordering::Relaxed)
    }

    /// Why nothing is written any more; nothing while it is.
    pub(super) fn closed(&self) -> Option<String> {
        self.closed.get().cloned()
    }

    /// Stores a block that was checked.
    pub(super) fn put(&self, block: &Block) -> Result<(), BlocksError> {
        self.check_open()?;
        match self.ready_folder(block.name()) {
            Err(error) if is_full(&error) => return Err(self.full()),
            ready => ready.map_err(|error| self.close(error))?,
        }
        let path = self.path(block.name());
        if self.is_whole(block, &path)? {
            // Another put may have renamed it a moment ago and not be done yet.
            return self.sync(parent(&path));
        }
        if self.files.free_bytes(&self.folder).map_err(unreadable)? < self.min_free_bytes {
            return Err(self.full());
        }
        self.write(block, &path)?;
        self.sync(parent(&path))
    }

    /// Whether the very data of the block are on disk. What has its name and is something else is put aside, so that the
    /// next one who stores a block heals what rotted; what cannot be read is written again.
    fn is_whole(&self, block: &Block, path: &Path) -> Result<bool, BlocksError> {
        let Some(bytes) = self.files.size(path).map_err(unreadable)? else {
            return Ok(false);
        };
        let is_long_enough = bytes == block.data().len() as u64;
        let found = match is_long_enough.then(|| self.read(path, block.data().len())).transpose() {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => {
                tracing::error!(name = %block.name(), %error, "a block cannot be read and is written again");
                return Ok(false);
            }
        };
        if found.as_deref() == Some(block.data()) {
            return Ok(true);
        }
        match self.put_aside(block.name()) {
            Ok(_) | Err(BlocksError::Damaged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn read(&self, path: &Path, bytes: usize) -> io::Result<Vec<u8>> {
        self.files.open(path, OpenFor::Read)?.read_at(0, bytes)
    }

    fn write(&self, block: &Block, path: &Path) -> Result<(), BlocksError> {
        let incoming = self.fresh_path(INCOMING_FOLDER, block.name());
        let written = self.files.open(&incoming, OpenFor::Create).and_then(|file| {
            file.write_at(0, block.data())?;
            file.sync_data()?;
            self.files.rename(&incoming, path)
        });
        match written {
            Ok(()) => Ok(()),
            // Somebody else took the reserve; the next attempt is a new file, so nothing is in doubt.
            Err(error) if is_full(&error) => match self.files.remove(&incoming) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.close(error)),
                Ok(()) | Err(_) => Err(self.full()),
            },
            Err(error) => Err(self.close(error)),
        }
    }

    pub(super) fn get(&self, name: BlockName) -> Result<Option<Bytes>, BlocksError> {
        let found = self.load(name);
        match &found {
            Ok(Some(_)) => self.failed_reads.store(0, Ordering::Relaxed),
            Err(BlocksError::Unreadable(_)) => _ = self.failed_reads.fetch_add(1, Ordering::Relaxed),
            Ok(None) | Err(_) => {}
        }
        found
    }

    fn load(&self, name: BlockName) -> Result<Option<Bytes>, BlocksError> {
        let file = match self.files.open(&self.path(name), OpenFor::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        let bytes = usize::try_from(file.size().map_err(unreadable)?).unwrap_or(usize::MAX);
        if bytes > BLOCK_MAX_BYTES {
            return self.put_aside(name);
        }
        let data = file.read_at(0, bytes).map_err(unreadable)?;
        if BlockName::of(&data) != name {
            return self.put_aside(name);
        }
        Ok(Some(Bytes::from(data)))
    }

    /// Moves a damaged file to where nobody serves from.
    fn put_aside(&self, name: BlockName) -> Result<Option<Bytes>, BlocksError> {
        self.check_open()?;
        let (path, kept) = (self.path(name), self.fresh_path(DAMAGED_FOLDER, name));
        match self.files.rename(&path, &kept) {
            // Another reader was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.close(error)),
            Ok(()) => {}
        }
        self.sync(parent(&kept))?;
        self.sync(parent(&path))?;
        tracing::error!(%name, kept = %kept.display(), "a block is damaged on disk");
        Err(BlocksError::Damaged { name, kept })
    }

    pub(super) fn has(&self, name: BlockName) -> Result<bool, BlocksError> {
        Ok(self.size(name)?.is_some())
    }

    pub(super) fn size(&self, name: BlockName) -> Result<Option<u64>, BlocksError> {
        self.files.size(&self.path(name)).map_err(unreadable)
    }

    pub(super) fn remove(&self, name: BlockName) -> Result<(), BlocksError> {
        self.check_open()?;
        // An earlier process may have removed the file and died before that was on disk, so it is synced anyway.
        self.ready_folder(name).map_err(|error| self.close(error))?;
        let path = self.path(name);
        match self.files.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.close(error)),
            Ok(()) | Err(_) => self.sync(parent(&path)),
        }
    }

    pub(super) fn list(&self, after: Option<BlockName>, limit: usize) -> Result<Vec<BlockName>, BlocksError> {
        let mut found = Vec::new();
        let first = after.map_or(0, |name| name.0[0]);
        for (byte, leaf) in (first..=u8::MAX).flat_map(|byte| LEAVES.iter().map(move |leaf| (byte, leaf))) {
            if found.len() >= limit {
                break;
            }
            let names = match self.files.list(&self.folder.join(format!("{byte:02x}")).join(leaf)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(unreadable)?,
            };
            let names = names.iter().filter_map(|name| BlockName::parse(name));
            found.extend(names.filter(|name| after.is_none_or(|after| *name > after)));
        }
        found.truncate(limit);
        Ok(found)
    }

    pub(super) fn free_bytes(&self) -> Result<u64, BlocksError> {
        Ok(self
            .files
            .free_bytes(&self.folder)
            .map_err(unreadable)?
            .saturating_sub(self.min_free_bytes))
    }

    fn path(&self, name: BlockName) -> PathBuf {
        let text = name.to_string();
        [
            self.folder.as_path(),
            Path::new(&text[..2]),
            Path::new(&text[2..3]),
            Path::new(&text),
        ]
        .iter()
        .collect()
    }

    fn fresh_path(&self, folder: &str, name: BlockName) -> PathBuf {
        let kind = self.folder.join(folder);
        loop {
            let path = kind.join(format!("{name}-{}", self.counter.fetch_add(1, Ordering::Relaxed)));
            // Those put aside by earlier processes are still there.
            if !matches!(self.files.size(&path), Ok(Some(_))) {
                return path;
            }
        }
    }

    /// Makes sure, once in the life of a process, that the block's folder and its fifteen sisters are on disk.
    fn ready_folder(&self, name: BlockName) -> io::Result<()> {
        let mut ready = locked(&self.ready);
        if ready.contains(&name.0[0]) {
            return Ok(());
        }
        let folder = self.folder.join(format!("{:02x}", name.0[0]));
        self.files.create_folder(&folder)?;
        for leaf in LEAVES {
            self.files.create_folder(&folder.join(leaf))?;
        }
        self.files.sync_folder(&folder)?;
        self.files.sync_folder(&self.folder)?;
        ready.insert(name.0[0]);
        Ok(())
    }

    fn sync(&self, folder: &Path) -> Result<(), BlocksError> {
        self.syncs
            .sync(self.files.as_ref(), folder)
            .map_err(|error| self.close(error))
    }

    fn check_open(&self) -> Result<(), BlocksError> {
        match self.closed.get() {
            Some(why) => Err(BlocksError::Closed(why.clone())),
            None => Ok(()),
        }
    }

    fn close(&self, error: impl ToString) -> BlocksError {
        let why = self.closed.get_or_init(|| {
            let why = format!("{}: {}", self.folder.display(), error.to_string());
            tracing::error!(%why, "the block store is closed for writing");
            why
        });
        BlocksError::Closed(why.clone())
    }

    fn full(&self) -> BlocksError {
        BlocksError::Full {
            folder: self.folder.clone(),
            min_free_bytes: self.min_free_bytes,
        }
    }
}

fn unreadable(error: io::Error) -> BlocksError {
    BlocksError::Unreadable(error.to_string())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Syncs of folders, those that wait together in one round.
///
/// On a journaling file system the first sync of a round commits every rename before it, and the others find nothing to
/// do; one after the other is therefore cheaper than all at once.
#[derive(Default)]
struct FolderSyncs {
    rounds: Mutex<Rounds>,
    ended: Condvar,
}

#[derive(Default)]
struct Rounds {
    /// Folders for the next round.
    waiting: BTreeSet<PathBuf>,
    begun: u64,
    ended: u64,
    /// The error that ended all.
    failed: Option<String>,
}

impl FolderSyncs {
    fn sync(&self, files: &dyn Files, folder: &Path) -> Result<(), String> {
        let mut rounds = locked(&self.rounds);
        rounds.waiting.insert(folder.to_owned());
        // The round that is under way may have synced the folder before the caller's change.
        let mine = rounds.begun + 1;
        while rounds.ended < mine && rounds.failed.is_none() {
            rounds = if rounds.begun == rounds.ended {
                self.run_round(files, rounds)
            } else {
                self.ended.wait(rounds).unwrap_or_else(PoisonError::into_inner)
            };
        }
        rounds.failed.clone().map_or(Ok(()), Err)
    }

    fn run_round<'a>(&'a self, files: &dyn Files, mut rounds: MutexGuard<'a, Rounds>) -> MutexGuard<'a, Rounds> {
        rounds.begun += 1;
        let folders = std::mem::take(&mut rounds.waiting);
        drop(rounds);
        let failed = folders.iter().find_map(|folder| files.sync_folder(folder).err());
        let mut rounds = locked(&self.rounds);
        rounds.ended += 1;
        if let Some(error) = failed {
            rounds.failed = Some(error.to_string());
        }
        self.ended.notify_all();
        rounds
    }
}
