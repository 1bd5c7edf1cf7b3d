//! A disk of the real machine, with faults that are switched on and off.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::storage::files::{FileHandle, Files, OpenFor};
use crate::storage::rooted::RootedFiles;

/// What is wrong with a disk.
#[derive(Default)]
pub(super) struct Faults {
    pub(super) reads_fail: AtomicBool,
    pub(super) writes_fail: AtomicBool,
    pub(super) full: AtomicBool,
}

pub(super) struct Faulty {
    pub(super) inner: RootedFiles,
    pub(super) faults: Arc<Faults>,
}

impl Files for Faulty {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.inner.create_folder(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.inner.list(path)
    }

    fn open(&self, path: &Path, mode: OpenFor) -> io::Result<Arc<dyn FileHandle>> {
        let is_block = path.extension().is_none();
        match mode {
            OpenFor::Read if is_block && self.faults.reads_fail.load(Ordering::Relaxed) => Err(fault()),
            OpenFor::Write | OpenFor::Create if self.faults.writes_fail.load(Ordering::Relaxed) => Err(fault()),
            OpenFor::Read | OpenFor::Write | OpenFor::Create => self.inner.open(path, mode),
        }
    }

    fn size(&self, path: &Path) -> io::Result<Option<u64>> {
        self.inner.size(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.inner.sync_folder(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        match self.faults.full.load(Ordering::Relaxed) {
            true => Ok(0),
            false => self.inner.free_bytes(path),
        }
    }

    fn is_at_its_path(&self) -> io::Result<bool> {
        self.inner.is_at_its_path()
    }
}

fn fault() -> io::Error {
    io::Error::other("an injected fault")
}
