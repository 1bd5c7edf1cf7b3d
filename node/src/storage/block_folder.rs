//! Blocks as files: `ab/c/abc…`, 256 folders of 16.
//!
//! A file is the block's data and nothing else: its name says what must be in it, its length is the file system's to
//! know, and `b2sum -l 256` checks it on any machine. Where compression pays ([`super::packing`]), it is one frame of zstd
//! instead, with `.zst` behind the name. What is read is verified after it was unpacked, so both are the same to all others.
//!
//! A new block is written to `incoming/`, synced, renamed, and its folder synced. So a name is never there without all
//! of its data, and what a crash leaves behind is in `incoming/` alone, where the next start removes it. Everything here
//! blocks; [`super::BlockFiles`] calls it from a pool.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;

use super::blocks::{BLOCK_MAX_BYTES, Block, BlockName, BlockNames, BlocksError};
use super::files::{Files, OpenFor, is_full, parent};
use super::folder::OpenError;
use super::folder_syncs::FolderSyncs;
use super::packing::{Form, Packing};

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
    packing: Packing,
    /// First-level folders that are known to be on disk, with all folders in them.
    ready: Mutex<BTreeSet<u8>>,
    syncs: FolderSyncs,
    /// For names that were never used in this process.
    counter: AtomicU64,
    /// Blocks that could not be read since the last one that could. One bad block that is asked for again and again says
    /// little of the others.
    unreadable: Mutex<BTreeSet<BlockName>>,
    /// See [`BlockFolder::unread`].
    unread: Mutex<BTreeSet<BlockName>>,
    /// Why nothing is written any more.
    closed: OnceLock<String>,
}

impl BlockFolder {
    /// Opens the blocks in `folder`, which exists, and removes what a crash left half written.
    pub(super) fn open(
        files: Arc<dyn Files>,
        folder: &Path,
        min_free_bytes: u64,
        packing: Packing,
    ) -> Result<Self, OpenError> {
        let opened = Self {
            files,
            folder: folder.to_owned(),
            min_free_bytes,
            packing,
            ready: Mutex::default(),
            syncs: FolderSyncs::default(),
            counter: AtomicU64::new(0),
            unreadable: Mutex::default(),
            unread: Mutex::default(),
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

    /// How many blocks could not be read since the last one that could.
    pub(super) fn unreadable_in_a_row(&self) -> usize {
        self.unreadable().len()
    }

    fn unreadable(&self) -> MutexGuard<'_, BTreeSet<BlockName>> {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks whose files are there and could not be read, or not be put aside, since they were last read or written: they
    /// count as missing, or nobody would copy them again.
    fn unread(&self) -> MutexGuard<'_, BTreeSet<BlockName>> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
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
        let leaf = self.leaf(block.name());
        for form in Form::ALL {
            if self.is_whole(block, form)? {
                // Another put may have renamed it a moment ago and not be done yet.
                return self.sync(&leaf);
            }
        }
        if self.files.free_bytes(&self.folder).map_err(unreadable)? < self.min_free_bytes {
            return Err(self.full());
        }
        self.write(block)?;
        self.sync(&leaf)?;
        self.unread().remove(&block.name());
        Ok(())
    }

    /// Whether the very data of the block are on disk. What has its name and is something else is put aside, so that the
    /// next one who stores a block heals what rotted; what cannot be read is written again.
    fn is_whole(&self, block: &Block, form: Form) -> Result<bool, BlocksError> {
        let path = self.path(block.name(), form);
        if self.files.size(&path).map_err(unreadable)?.is_none() {
            return Ok(false);
        }
        let found = match self.read(&path) {
            Ok(found) => found.and_then(|found| form.unpack(found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => {
                tracing::error!(name = %block.name(), %error, "a block cannot be read and is written again");
                return Ok(false);
            }
        };
        if found.as_deref() == Some(block.data()) {
            return Ok(true);
        }
        match self.put_aside(block.name(), form) {
            Ok(_) | Err(BlocksError::Damaged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What is in a file; nothing if no block is as long.
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let file = self.files.open(path, OpenFor::Read)?;
        let bytes = usize::try_from(file.size()?).unwrap_or(usize::MAX);
        let is_short = bytes <= BLOCK_MAX_BYTES;
        is_short.then(|| file.read_at(0, bytes)).transpose()
    }

    fn write(&self, block: &Block) -> Result<(), BlocksError> {
        let (form, data) = self.packing.pack(block.data());
        let incoming = self.fresh_path(INCOMING_FOLDER, block.name(), form);
        let written = self.files.open(&incoming, OpenFor::Create).and_then(|file| {
            file.write_at(0, &data)?;
            file.sync_data()?;
            self.files.rename(&incoming, &self.path(block.name(), form))?;
            // There is one in the other form if it cannot be read.
            self.remove_if_there(&self.path(block.name(), form.other()))
        });
        match written {
            Ok(()) => Ok(()),
            // Somebody else took the reserve; the next attempt is a new file, so nothing is in doubt.
            Err(error) if is_full(&error) => match self.remove_if_there(&incoming) {
                Err(error) => Err(self.close(error)),
                Ok(()) => Err(self.full()),
            },
            Err(error) => Err(self.close(error)),
        }
    }

    fn remove_if_there(&self, path: &Path) -> io::Result<()> {
        match self.files.remove(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    pub(super) fn get(&self, name: BlockName) -> Result<Option<Bytes>, BlocksError> {
        let found = self.load(name);
        match &found {
            Ok(Some(_)) => {
                self.unreadable().clear();
                self.unread().remove(&name);
            }
            Err(BlocksError::Unreadable(_)) => {
                self.unreadable().insert(name);
                self.unread().insert(name);
            }
            Err(BlocksError::Closed(_)) => _ = self.unread().insert(name),
            Ok(None) | Err(_) => _ = self.unread().remove(&name),
        }
        found
    }

    fn load(&self, name: BlockName) -> Result<Option<Bytes>, BlocksError> {
        let mut failed = None;
        for form in Form::ALL {
            match self.read(&self.path(name, form)) {
                Ok(found) => match found.and_then(|found| form.unpack(found)) {
                    Some(data) if BlockName::of(&data) == name => return Ok(Some(Bytes::from(data))),
                    Some(_) | None => return self.put_aside(name, form),
                },
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => failed = Some(unreadable(error)),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// Moves a damaged file to where nobody serves from.
    fn put_aside(&self, name: BlockName, form: Form) -> Result<Option<Bytes>, BlocksError> {
        self.check_open()?;
        let (path, kept) = (self.path(name, form), self.fresh_path(DAMAGED_FOLDER, name, form));
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
        if self.unread().contains(&name) {
            return Err(BlocksError::Unreadable("it could not be read before".to_owned()));
        }
        for form in Form::ALL {
            match self.files.size(&self.path(name, form)) {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(error) => {
                    self.unreadable().insert(name);
                    return Err(unreadable(error));
                }
            }
        }
        Ok(None)
    }

    pub(super) fn remove(&self, name: BlockName) -> Result<(), BlocksError> {
        self.check_open()?;
        // An earlier process may have removed the file and died before that was on disk, so it is synced anyway.
        self.ready_folder(name).map_err(|error| self.close(error))?;
        for form in Form::ALL {
            let removed = self.remove_if_there(&self.path(name, form));
            removed.map_err(|error| self.close(error))?;
        }
        self.sync(&self.leaf(name))
    }

    pub(super) fn list(&self, after: Option<BlockName>, limit: usize) -> BlockNames {
        let (mut found, mut unread) = (Vec::new(), None);
        let first = after.map_or(0, |name| name.0[0]);
        for (byte, leaf) in (first..=u8::MAX).flat_map(|byte| LEAVES.iter().map(move |leaf| (byte, leaf))) {
            if found.len() >= limit {
                break;
            }
            let names = match self.files.list(&self.folder.join(format!("{byte:02x}")).join(leaf)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    unread = Some(unreadable(error));
                    continue;
                }
                Ok(names) => names,
            };
            let names = names.iter().filter_map(|name| Form::parse(name));
            found.extend(names.filter(|name| after.is_none_or(|after| *name > after)));
            found.dedup();
        }
        found.truncate(limit);
        BlockNames { found, unread }
    }

    pub(super) fn free_bytes(&self) -> Result<u64, BlocksError> {
        Ok(self
            .files
            .free_bytes(&self.folder)
            .map_err(unreadable)?
            .saturating_sub(self.min_free_bytes))
    }

    /// The folder that the block's file is in.
    fn leaf(&self, name: BlockName) -> PathBuf {
        let text = name.to_string();
        self.folder.join(&text[..2]).join(&text[2..3])
    }

    fn path(&self, name: BlockName, form: Form) -> PathBuf {
        self.leaf(name).join(format!("{name}{}", form.suffix()))
    }

    fn fresh_path(&self, folder: &str, name: BlockName, form: Form) -> PathBuf {
        let kind = self.folder.join(folder);
        loop {
            let path = kind.join(format!(
                "{name}{}-{}",
                form.suffix(),
                self.counter.fetch_add(1, Ordering::Relaxed)
            ));
            // Those put aside by earlier processes are still there.
            if !matches!(self.files.size(&path), Ok(Some(_))) {
                return path;
            }
        }
    }

    /// Makes sure, once in the life of a process, that the block's folder and its fifteen sisters are on disk.
    fn ready_folder(&self, name: BlockName) -> io::Result<()> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
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
