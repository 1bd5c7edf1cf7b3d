//! The few file operations that storage is built on, as a trait.
//!
//! The commit log and the block files say when data must reach the disk and in which order. [`RealFiles`] does it on
//! Linux; the simulated disk of the tests writes it down, so that they can cut the power after every single step and
//! run the very same code on what is left.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenFor {
    /// Reading only.
    Read,
    /// Reading and writing an existing file.
    Write,
    /// Reading and writing a file that does not exist yet.
    Create,
}

/// A file system. Nothing is durable before the file's `sync_data` and its folder's `sync_folder` returned.
pub(crate) trait Files: Send + Sync {
    /// Makes a folder; its parent exists. Nothing happens when it is there.
    fn create_folder(&self, path: &Path) -> io::Result<()>;
    /// Names in a folder, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenFor) -> io::Result<Arc<dyn FileHandle>>;
    /// Its length, or nothing when there is no such file.
    fn size(&self, path: &Path) -> io::Result<Option<u64>>;
    /// Gives a file another name, replacing what had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Returns when the folder's entries (created, renamed, removed) are on disk.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// Bytes that may still be written to the disk of this path.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
    /// Whether what lies at the path of the folder that these files are below is still that folder.
    fn is_at_its_path(&self) -> io::Result<bool> {
        Ok(true)
    }
}

/// Large files are written in pieces of this size. For a megabyte in one call the kernel looks for large folios of
/// its page cache; on the virtual machine where this was measured that cost 2.5 ms of processor time, in pieces 0.4 ms.
const WRITE_PIECE_BYTES: usize = 64 << 10;

/// An open file. All methods may be called from several threads.
pub(crate) trait FileHandle: Send + Sync {
    /// At most `bytes` bytes from `offset`; fewer only at the end of the file.
    fn read_at(&self, offset: u64, bytes: usize) -> io::Result<Vec<u8>>;
    /// Writes all of `data` at `offset`.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Makes the file `bytes` long, at least; what is new reads as zeros and has room on the disk, so that a later
    /// `sync_data` need not wait for the file system to find some.
    fn reserve(&self, bytes: u64) -> io::Result<()>;
    /// Cuts the file to `bytes`.
    fn truncate(&self, bytes: u64) -> io::Result<()>;
    /// The file's length.
    fn size(&self) -> io::Result<u64>;
    /// Returns when content and length are on disk.
    fn sync_data(&self) -> io::Result<()>;
}

/// Writes a small file so that after a power cut there is either the old content, or the new, or no file if there was
/// none. `path` has a name and a parent.
pub(super) fn replace_file(files: &dyn Files, path: &Path, data: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    if files.size(&fresh)?.is_some() {
        files.remove(&fresh)?;
    }
    let file = files.open(&fresh, OpenFor::Create)?;
    file.write_at(0, data)?;
    file.sync_data()?;
    files.rename(&fresh, path)?;
    files.sync_folder(parent(path))
}

/// The content of a small file, or nothing when there is none.
pub(super) fn read_file(files: &dyn Files, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let Some(bytes) = files.size(path)? else {
        return Ok(None);
    };
    let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
    files.open(path, OpenFor::Read)?.read_at(0, bytes).map(Some)
}

/// Whether something failed for want of room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

pub(super) fn parent(path: &Path) -> &Path {
    path.parent().expect("storage only names files inside folders")
}

/// The file system of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RealFiles;

impl Files for RealFiles {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn open(&self, path: &Path, mode: OpenFor) -> io::Result<Arc<dyn FileHandle>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenFor::Read => &mut options,
            OpenFor::Write => options.write(true),
            OpenFor::Create => options.write(true).create_new(true),
        };
        Ok(Arc::new(RealFile(options.open(path)?)))
    }

    fn size(&self, path: &Path) -> io::Result<Option<u64>> {
        match fs::metadata(path) {
            Ok(found) => Ok(Some(found.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let found = statvfs(path)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

pub(super) struct RealFile(pub(super) File);

impl FileHandle for RealFile {
    fn read_at(&self, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let mut data = vec![0; bytes];
        let mut filled = 0;
        while filled < bytes {
            match self.0.read_at(&mut data[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        data.truncate(filled);
        Ok(data)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let pieces = data.chunks(WRITE_PIECE_BYTES);
        (offset..)
            .step_by(WRITE_PIECE_BYTES)
            .zip(pieces)
            .try_for_each(|(at, piece)| self.0.write_all_at(piece, at))
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        match fallocate(&self.0, FallocateFlags::empty(), 0, bytes) {
            // Some file systems cannot; the file then grows with every write.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
