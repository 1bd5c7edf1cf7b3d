//! A disk that writes down every step, and can tell what may be left of them when the power goes.
//!
//! Model: what a file's `sync_data` covered is there, and names that their folder's `sync_folder` covered. Of the rest,
//! anything may be there or not, as `power_loss` draws it. A failed sync leaves its writes unsynced for good, as Linux
//! does: a later successful one proves nothing about them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use super::Seeded;
use super::power_loss::{Loss, Name, Step, keeps};
use crate::storage::files::{FileHandle, Files, OpenFor, parent};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Folder,
    File(usize),
}

#[derive(Debug, Clone, Default)]
struct Content {
    names: BTreeMap<PathBuf, Node>,
    files: Vec<Vec<u8>>,
}

impl Content {
    fn rename(&mut self, change: &Name) {
        match change {
            Name::Made(path, node) => self.names.insert(path.clone(), *node),
            Name::Moved(from, to, node) => {
                self.names.remove(from);
                self.names.insert(to.clone(), *node)
            }
            Name::Gone(path) => self.names.remove(path),
        };
    }

    fn write(&mut self, file: usize, offset: usize, data: &[u8]) {
        let content = &mut self.files[file];
        content.resize(content.len().max(offset + data.len()), 0);
        content[offset..offset + data.len()].copy_from_slice(data);
    }

    fn change(&mut self, step: &Step) {
        match step {
            Step::Name(change) => self.rename(change),
            Step::Write { file, offset, data } => self.write(*file, *offset, data),
            Step::Resize { file, bytes } => self.files[*file].resize(*bytes, 0),
            Step::Sync { .. } | Step::FailedSync { .. } | Step::SyncFolder(_) | Step::Mark(_) => {}
        }
    }
}

#[derive(Debug)]
struct Inner {
    /// What was there, durably, before the first step.
    base: Content,
    steps: Vec<Step>,
    live: Content,
    capacity: u64,
    /// Successful changes left before one fails.
    fails_after: Option<usize>,
}

/// See the module. Clones are the same disk.
#[derive(Debug, Clone)]
pub(super) struct SimDisk(Arc<Mutex<Inner>>);

impl SimDisk {
    pub(super) fn new() -> Self {
        let mut base = Content::default();
        base.names.insert(PathBuf::from("/"), Node::Folder);
        Self::with(base)
    }

    fn with(base: Content) -> Self {
        let live = base.clone();
        let inner = Inner {
            base,
            steps: Vec::new(),
            live,
            capacity: 1 << 40,
            fails_after: None,
        };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// Steps so far.
    pub(super) fn steps(&self) -> usize {
        self.inner().steps.len()
    }

    /// Notes that from here on somebody may have been told about `number`.
    pub(super) fn mark(&self, number: u64) {
        self.inner().steps.push(Step::Mark(number));
    }

    /// The greatest mark among the first `steps`.
    pub(super) fn marked(&self, steps: usize) -> u64 {
        let inner = self.inner();
        let mark = |step: &Step| {
            if let Step::Mark(number) = step {
                Some(*number)
            } else {
                None
            }
        };
        inner.steps[..steps].iter().filter_map(mark).max().unwrap_or(0)
    }

    /// The disk as found when the power went after the first `steps`.
    pub(super) fn after_power_cut(&self, steps: usize, loss: Loss, seed: u64) -> Self {
        let inner = self.inner();
        let random = Seeded::new(seed);
        let mut content = inner.base.clone();
        content.files.resize(inner.live.files.len(), Vec::new());
        for step in keeps(&inner.steps[..steps], loss, &random) {
            content.change(&step);
        }
        Self::with(content)
    }

    /// Lets the change after the next `successes` fail, once.
    pub(super) fn fail_after(&self, successes: usize) {
        self.inner().fails_after = Some(successes);
    }

    pub(super) fn set_capacity(&self, bytes: u64) {
        self.inner().capacity = bytes;
    }

    pub(super) fn content(&self, path: &Path) -> Vec<u8> {
        let inner = self.inner();
        inner.live.files[inner.file(path).unwrap()].clone()
    }

    /// Flips one bit.
    pub(super) fn rot(&self, path: &Path, bit: usize) {
        let mut inner = self.inner();
        let file = inner.file(path).unwrap();
        inner.live.files[file][bit / 8] ^= 1 << (bit % 8);
    }

    /// All files below `folder`.
    pub(super) fn files(&self, folder: &Path) -> Vec<PathBuf> {
        let inner = self.inner();
        let names = inner
            .live
            .names
            .iter()
            .filter(|(path, node)| path.starts_with(folder) && **node != Node::Folder);
        names.map(|(path, _)| path.clone()).collect()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }
}

impl Inner {
    fn file(&self, path: &Path) -> io::Result<usize> {
        match self.live.names.get(path) {
            Some(Node::File(file)) => Ok(*file),
            Some(Node::Folder) | None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn step(&mut self, step: Step) -> io::Result<()> {
        if let Some(left) = self.fails_after {
            self.fails_after = left.checked_sub(1);
            if left == 0 {
                if let Step::Sync { file } = step {
                    self.steps.push(Step::FailedSync { file });
                }
                return Err(io::Error::other("an injected fault"));
            }
        }
        self.live.change(&step);
        self.steps.push(step);
        Ok(())
    }

    fn free(&self) -> u64 {
        let in_use = |node: &Node| match node {
            Node::Folder => 0,
            Node::File(file) => self.live.files[*file].len(),
        };
        let in_use: usize = self.live.names.values().map(in_use).sum();
        self.capacity.saturating_sub(in_use as u64)
    }
}

impl Files for SimDisk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        assert_eq!(
            inner.live.names.get(parent(path)),
            Some(&Node::Folder),
            "{path:?} has no parent"
        );
        match inner.live.names.get(path) {
            Some(_) => Ok(()),
            None => inner.step(Step::Name(Name::Made(path.to_owned(), Node::Folder))),
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let inner = self.inner();
        if inner.live.names.get(path) != Some(&Node::Folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let names = inner.live.names.keys().filter(|name| name.parent() == Some(path));
        Ok(names
            .map(|name| name.file_name().unwrap().to_string_lossy().into_owned())
            .collect())
    }

    fn open(&self, path: &Path, mode: OpenFor) -> io::Result<Arc<dyn FileHandle>> {
        let mut inner = self.inner();
        if mode == OpenFor::Create {
            if inner.live.names.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let file = inner.live.files.len();
            inner.live.files.push(Vec::new());
            inner.step(Step::Name(Name::Made(path.to_owned(), Node::File(file))))?;
        }
        let file = inner.file(path)?;
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            file,
        }))
    }

    fn size(&self, path: &Path) -> io::Result<Option<u64>> {
        let inner = self.inner();
        Ok(inner.file(path).ok().map(|file| inner.live.files[file].len() as u64))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        let file = inner.file(from)?;
        inner.step(Step::Name(Name::Moved(
            from.to_owned(),
            to.to_owned(),
            Node::File(file),
        )))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.file(path)?;
        inner.step(Step::Name(Name::Gone(path.to_owned())))
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.inner().step(Step::SyncFolder(path.to_owned()))
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.inner().free())
    }
}

struct SimFile {
    disk: SimDisk,
    file: usize,
}

impl FileHandle for SimFile {
    fn read_at(&self, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let inner = self.disk.inner();
        let content = &inner.live.files[self.file];
        let start = content.len().min(usize::try_from(offset).unwrap());
        let end = content.len().min(start + bytes);
        Ok(content[start..end].to_vec())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut inner = self.disk.inner();
        let offset = usize::try_from(offset).unwrap();
        let grows = (offset + data.len()).saturating_sub(inner.live.files[self.file].len());
        let lacking = grows.saturating_sub(usize::try_from(inner.free()).unwrap());
        // What fits is written.
        inner.step(Step::Write {
            file: self.file,
            offset,
            data: Bytes::copy_from_slice(&data[..data.len() - lacking]),
        })?;
        if lacking > 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        let mut inner = self.disk.inner();
        let bytes = usize::try_from(bytes).unwrap().max(inner.live.files[self.file].len());
        if (bytes - inner.live.files[self.file].len()) as u64 > inner.free() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        inner.step(Step::Resize { file: self.file, bytes })
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        let bytes = usize::try_from(bytes).unwrap();
        self.disk.inner().step(Step::Resize { file: self.file, bytes })
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.inner().live.files[self.file].len() as u64)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.inner().step(Step::Sync { file: self.file })
    }
}

#[test]
fn only_what_was_synced_survives_every_loss() {
    let disk = SimDisk::new();
    let (kept, lost) = (Path::new("/kept"), Path::new("/lost"));
    let file = disk.open(kept, OpenFor::Create).unwrap();
    file.write_at(0, b"old").unwrap();
    file.sync_data().unwrap();
    disk.sync_folder(Path::new("/")).unwrap();
    file.write_at(0, b"new").unwrap();
    disk.open(lost, OpenFor::Create).unwrap();
    let after = |loss| disk.after_power_cut(disk.steps(), loss, 1);
    assert_eq!(after(Loss::Everything).content(kept), b"old");
    assert_eq!(after(Loss::Nothing).content(kept), b"new");
    assert_eq!(after(Loss::Everything).size(lost).unwrap(), None);
    assert_eq!(after(Loss::Data).size(lost).unwrap(), Some(0));
    assert_eq!(after(Loss::Data).content(kept), b"old");
    assert_eq!(after(Loss::Names).content(kept), b"new");
}

#[test]
fn a_failed_sync_is_not_made_good_by_the_next() {
    let disk = SimDisk::new();
    let path = Path::new("/file");
    let file = disk.open(path, OpenFor::Create).unwrap();
    disk.sync_folder(Path::new("/")).unwrap();
    file.write_at(0, b"x").unwrap();
    disk.fail_after(0);
    file.sync_data().unwrap_err();
    file.sync_data().unwrap();
    assert_eq!(
        disk.after_power_cut(disk.steps(), Loss::Everything, 1).content(path),
        b""
    );
}
