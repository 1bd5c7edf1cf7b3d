//! The file system below one folder, held by a handle from beginning to end.
//!
//! Whatever is mounted or unmounted at the folder's path meanwhile, every operation is about the folder that was opened:
//! a disk that goes away never has its files written to what lies under its mount point.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, Stat};
use rustix::fs::{fstat, fstatvfs, mkdirat, openat, renameat, stat, statat, unlinkat};
use rustix::io::Errno;

use super::files::{FileHandle, Files, OpenFor, RealFile};

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// What the umask leaves of these is what new files and folders get, as everywhere else.
const FILE_MODE: Mode = Mode::from_raw_mode(0o666);
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o777);

/// See the module. Paths begin with that of the folder.
#[derive(Debug)]
pub(super) struct RootedFiles {
    root: PathBuf,
    handle: OwnedFd,
}

impl RootedFiles {
    /// Takes hold of a folder that is there.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        Ok(RootedFiles {
            handle: openat(CWD, root, FOLDER, Mode::empty())?,
            root: root.to_owned(),
        })
    }

    fn below<'a>(&self, path: &'a Path) -> io::Result<&'a Path> {
        let below = path.strip_prefix(&self.root).map_err(io::Error::other)?;
        let is_root = below.as_os_str().is_empty();
        Ok(if is_root { Path::new(".") } else { below })
    }

    fn folder(&self, path: &Path) -> io::Result<OwnedFd> {
        Ok(openat(&self.handle, self.below(path)?, FOLDER, Mode::empty())?)
    }
}

fn identity(found: &Stat) -> (u64, u64) {
    (found.st_dev, found.st_ino)
}

impl Files for RootedFiles {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        match mkdirat(&self.handle, self.below(path)?, FOLDER_MODE) {
            Err(Errno::EXIST) => Ok(()),
            made => Ok(made?),
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::new(self.folder(path)?)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn open(&self, path: &Path, mode: OpenFor) -> io::Result<Arc<dyn FileHandle>> {
        let flags = match mode {
            OpenFor::Read => OFlags::RDONLY,
            OpenFor::Write => OFlags::RDWR,
            OpenFor::Create => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
        };
        let file = openat(&self.handle, self.below(path)?, flags | OFlags::CLOEXEC, FILE_MODE)?;
        Ok(Arc::new(RealFile(File::from(file))))
    }

    fn size(&self, path: &Path) -> io::Result<Option<u64>> {
        match statat(&self.handle, self.below(path)?, AtFlags::empty()) {
            Ok(found) => Ok(Some(u64::try_from(found.st_size).unwrap_or(0))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(renameat(
            &self.handle,
            self.below(from)?,
            &self.handle,
            self.below(to)?,
        )?)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Ok(unlinkat(&self.handle, self.below(path)?, AtFlags::empty())?)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::from(self.folder(path)?).sync_all()
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        let found = fstatvfs(&self.handle)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn is_at_its_path(&self) -> io::Result<bool> {
        match stat(&self.root) {
            Ok(found) => Ok(identity(&found) == identity(&fstat(&self.handle)?)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_folder_is_held_whatever_comes_to_lie_at_its_path() {
        let home = tempfile::tempdir().unwrap();
        let (path, moved) = (home.path().join("disk"), home.path().join("moved"));
        assert!(RootedFiles::open(&path).is_err());
        fs::create_dir(&path).unwrap();
        let files = RootedFiles::open(&path).unwrap();
        assert!(files.is_at_its_path().unwrap());
        fs::rename(&path, &moved).unwrap();
        assert!(!files.is_at_its_path().unwrap());
        fs::create_dir(&path).unwrap();
        assert!(!files.is_at_its_path().unwrap(), "another folder of the same name");
        let file = files.open(&path.join("file"), OpenFor::Create).unwrap();
        file.write_at(0, b"data").unwrap();
        files.create_folder(&path.join("folder")).unwrap();
        files.create_folder(&path.join("folder")).unwrap();
        files
            .rename(&path.join("file"), &path.join("folder").join("file"))
            .unwrap();
        files.sync_folder(&path.join("folder")).unwrap();
        files.sync_folder(&path).unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        assert_eq!(fs::read(moved.join("folder/file")).unwrap(), b"data");
        assert_eq!(files.list(&path).unwrap(), ["folder"]);
        assert_eq!(files.size(&path.join("folder/file")).unwrap(), Some(4));
        files.remove(&path.join("folder/file")).unwrap();
        assert_eq!(files.size(&path.join("folder/file")).unwrap(), None);
        assert!(files.free_bytes(&path).unwrap() > 0);
        let elsewhere = files.size(home.path());
        assert!(elsewhere.is_err(), "paths outside are refused");
    }
}
