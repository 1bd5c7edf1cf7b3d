//! Small files, some of them secret: written whole or not at all, refused when others can read them.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::advice::advice;

/// Permission bits that let anyone but the owner touch a file.
const FOREIGN_ACCESS_BITS: u32 = 0o077;
/// A file longer than this is not one of ours.
const FILE_MAX_BYTES: u64 = 4096;
const SECRET_MODE: u32 = 0o600;
const PUBLIC_MODE: u32 = 0o644;

/// A small file cannot be used. Nothing was changed on the disk, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// Others than the owner may read or write the file, so what is in it may not be a secret any more.
    #[error(
        "{path} can be accessed by others than its owner (mode {mode:03o}); if nobody has seen it run `chmod 600 {path}`, \
         otherwise make a new secret"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file does not hold what it should.
    #[error("{path} does not hold {expected}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// Reading or writing failed. A file that was being made may lie beside its final name.
    #[error("cannot use {path}: {source}{}", advice(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// The content of a secret file, if there is one; a file that others can read is refused.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, SecretFileError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed(path))?,
    };
    // The permissions of the open file, not of whatever lies at the path a moment later.
    let mode = file.metadata().map_err(failed(path))?.permissions().mode() & 0o777;
    if mode & FOREIGN_ACCESS_BITS != 0 {
        let path = path.to_owned();
        return Err(SecretFileError::Exposed { path, mode });
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(failed(path))?;
    Ok(Some(bytes))
}

/// The text in a secret file, if there is one; a file that others can read is refused.
pub fn read_text(path: &Path) -> Result<Option<String>, SecretFileError> {
    let text = read(path)?.map(String::from_utf8).transpose();
    text.map_err(|_| malformed(path, "text"))
}

/// Writes a file that only its owner can read.
pub fn write(path: &Path, content: &[u8]) -> Result<(), SecretFileError> {
    replace(path, content, SECRET_MODE).map_err(failed(path))
}

/// Writes a file that everybody may read.
pub fn write_public(path: &Path, text: &str) -> Result<(), SecretFileError> {
    replace(path, text.as_bytes(), PUBLIC_MODE).map_err(failed(path))
}

/// The error for a file that does not hold `expected`.
pub fn malformed(path: &Path, expected: &'static str) -> SecretFileError {
    let path = path.to_owned();
    SecretFileError::Malformed { path, expected }
}

/// The error for a file that the operating system refused.
pub fn failed(path: &Path) -> impl FnOnce(io::Error) -> SecretFileError {
    let path = path.to_owned();
    move |source| SecretFileError::Io { path, source }
}

/// Writes beside the final name and renames, so that a crash leaves no half of a file under it.
fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&beside)?;
    // A leftover of a start that was cut short may have other permissions.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_private_and_exposed_ones_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        assert_eq!(read(&path).unwrap(), None);
        write(&path, b"text").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read_text(&path).unwrap().as_deref(), Some("text"));
        for mode in [0o644, 0o640, 0o660, 0o602] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let refused = read(&path).unwrap_err();
            assert!(
                matches!(refused, SecretFileError::Exposed { mode: found, .. } if found == mode),
                "{refused}"
            );
        }
    }

    #[test]
    fn writing_replaces_the_file_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.txt");
        std::fs::write(folder.path().join("file.new"), "a leftover that is longer").unwrap();
        write(&path, b"one").unwrap();
        write_public(&path, "two").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_text_is_malformed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        write(&path, &[0xff]).unwrap();
        assert!(matches!(read_text(&path), Err(SecretFileError::Malformed { .. })));
    }
}
