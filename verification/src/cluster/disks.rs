//! Disks of nodes: small ones that can be filled, and copies of data folders.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

/// Large enough for what nodes want to keep free by default, and for minutes of small objects.
const DISK_SIZE: &str = "size=2g";
/// The file that fills a disk.
const BALLAST: &str = "ballast";
/// How much of a disk is filled at once: less as soon as that much is not there.
const STEP_MOST_BYTES: u64 = 64 << 20;
const STEP_LEAST_BYTES: u64 = 64 << 10;

/// How to get a mount namespace here: as root, or as a user who may become root in one of his own.
pub fn namespace() -> Option<&'static [&'static str]> {
    let ways: [&[&str]; 2] = [&["-m"], &["-rm"]];
    let works = |way: &&&[&str]| {
        let mounts = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/mnt"];
        let mut unshare = Command::new("unshare");
        let tried = unshare.args(**way).args(mounts).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    };
    ways.iter().find(works).copied()
}

/// A small disk, mounted as long as this lives.
#[derive(Debug)]
pub(super) struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    pub(super) fn mount(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", DISK_SIZE, "tmpfs"]).arg(folder);
        match mount.status()?.success() {
            true => Ok(SmallDisk {
                folder: folder.to_owned(),
            }),
            false => Err(io::Error::other("a small disk cannot be mounted")),
        }
    }

    /// Leaves about so much. Others may write and delete meanwhile: what was taken is kept, and the rest taken in steps.
    pub(super) fn fill(&self, free_bytes: u64) -> io::Result<()> {
        let ballast = File::create(self.folder.join(BALLAST))?;
        let (mut taken, mut step) = (0, STEP_MOST_BYTES);
        while step >= STEP_LEAST_BYTES {
            let disk = statvfs(&self.folder)?;
            let left = (disk.f_bavail * disk.f_frsize).saturating_sub(free_bytes);
            let more = left.min(step);
            if more == 0 {
                break;
            }
            match fallocate(&ballast, FallocateFlags::empty(), taken, more) {
                Ok(()) => taken += more,
                Err(Errno::NOSPC) => step /= 2,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Gives back what [`Self::fill`] took.
    pub(super) fn empty(&self) -> io::Result<()> {
        match std::fs::remove_file(self.folder.join(BALLAST)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Processes that are about to end may still have files open there; the namespace ends with this program.
        let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}

/// Copies a folder with all files in it; sockets stay behind.
pub(super) fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (kind, to) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_folder(&entry.path(), &to)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// The same path with something after its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_what_the_folder_had() {
        let home = tempfile::tempdir().unwrap();
        let (folder, copy) = (home.path().join("a"), home.path().join("b"));
        std::fs::create_dir_all(folder.join("deep/er")).unwrap();
        std::fs::write(folder.join("deep/er/file"), "content").unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
        copy_folder(&folder, &copy).unwrap();
        assert_eq!(std::fs::read(copy.join("deep/er/file")).unwrap(), b"content");
        assert!(!copy.join("socket").exists());
        assert_eq!(beside(&copy, ".old"), home.path().join("b.old"));
    }
}
