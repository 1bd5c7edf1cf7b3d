//! Small files, some of them secret: written whole or not at all, refused when others can read them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A secret file, if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretFile {
    /// Its text.
    Found(String),
    /// There is none.
    Missing,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Others than its owner can read it.
    #[error("{path} can be read by others than its owner (mode {mode:o}); run: chmod 600 {path}")]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It does not hold what it should.
    #[error("{path} does not hold what was written there; restore it from a backup")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// Reads a secret; one that others can read is refused.
pub fn read(path: &Path) -> Result<SecretFile, SecretError> {
    let io = |source| SecretError::Io { path: path.to_owned(), source };
    let mode = match std::fs::metadata(path) {
        Ok(metadata) => metadata.permissions().mode() & 0o777,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(SecretFile::Missing),
        Err(error) => return Err(io(error)),
    };
    if mode & 0o077 != 0 {
        return Err(SecretError::Readable { path: path.to_owned(), mode });
    }
    std::fs::read_to_string(path).map(SecretFile::Found).map_err(io)
}

/// Writes a secret that only its owner can read.
pub fn write(path: &Path, text: &str) -> Result<(), SecretError> {
    replace(path, text, 0o600).map_err(|source| SecretError::Io { path: path.to_owned(), source })
}

/// Writes a file that everybody may read.
pub fn write_public(path: &Path, text: &str) -> Result<(), SecretError> {
    replace(path, text, 0o644).map_err(|source| SecretError::Io { path: path.to_owned(), source })
}

fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let partial = path.with_extension("new");
    // A leftover of a start that was cut short may have other permissions.
    match std::fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&partial, path)?;
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_private_and_others_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        assert_eq!(read(&path).unwrap(), SecretFile::Missing);
        write(&path, "text").unwrap();
        assert_eq!(read(&path).unwrap(), SecretFile::Found("text".to_owned()));
        write_public(&path, "text").unwrap();
        assert!(matches!(read(&path), Err(SecretError::Readable { mode: 0o644, .. })));
    }
}
