//! The data folder: one process at a time, and of a format that this program knows.

use std::cmp::Ordering;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::disks::BlockFolderError;
use super::files::{Files, RealFiles, read_file, replace_file};
use crate::advice::advice;

/// The newest layout of the data folder that this program reads and the only one that it writes. Since 3, floors stand for
/// tombstones that are gone: a program that does not know them would let back what was deleted.
pub const FOLDER_FORMAT: u32 = 3;

const FORMAT_FILE: &str = "format";
const LOCK_FILE: &str = "lock";
const FORMAT_PREFIX: &str = "trellis data folder, format ";

/// The store could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses the folder.
    #[error("{folder} is in use by another process; stop it, or choose another data folder")]
    Locked {
        /// The data folder.
        folder: PathBuf,
    },
    /// A newer program wrote the folder.
    #[error("{folder} has format {found}, this program knows formats up to {known}; start a newer program")]
    Newer {
        /// The data folder.
        folder: PathBuf,
        /// What the folder says.
        found: u32,
        /// What this program knows.
        known: u32,
    },
    /// An older program wrote the folder, in a format of before the first release.
    #[error(
        "{folder} has format {found}, this program reads format {known} only; start the program that wrote it, and copy \
         its buckets into a new cluster with an S3 client"
    )]
    Older {
        /// The data folder.
        folder: PathBuf,
        /// What the folder says.
        found: u32,
        /// What this program knows.
        known: u32,
    },
    /// The content is not what was written. Whoever serves from it could break promises made earlier.
    #[error(
        "{folder} is damaged: {what}; a node that serves from it could break what it promised, so it must not be started \
         again. Keep the folder, and see 'A disk is lost' in docs/operate.md"
    )]
    Damaged {
        /// The folder that holds the damaged files.
        folder: PathBuf,
        /// What was found, and where.
        what: String,
    },
    /// The block folders are not those of the node, or a disk is away.
    #[error(transparent)]
    BlockFolder(#[from] BlockFolderError),
    /// The operating system refused.
    #[error("cannot open {folder}: {error}{}", advice(error))]
    Io {
        /// The folder concerned.
        folder: PathBuf,
        /// What it said.
        error: io::Error,
    },
}

impl OpenError {
    pub(super) fn io(folder: &Path) -> impl FnOnce(io::Error) -> Self {
        let folder = folder.to_owned();
        move |error| Self::Io { folder, error }
    }
}

/// A data folder that belongs to this process until it is dropped.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    /// The lock lives as long as the file is open; the operating system releases it even after `kill -9`.
    _lock: File,
}

impl DataFolder {
    /// Makes the folder if there is none, locks it and checks its format.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        create_durably(path).map_err(OpenError::io(path))?;
        let lock = lock(path)?;
        check_format(path)?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn lock(folder: &Path) -> Result<File, OpenError> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join(LOCK_FILE));
    let file = file.map_err(OpenError::io(folder))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked {
            folder: folder.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(OpenError::Io {
            folder: folder.to_owned(),
            error,
        }),
    }
}

fn check_format(folder: &Path) -> Result<(), OpenError> {
    let path = folder.join(FORMAT_FILE);
    let Some(text) = read_file(&RealFiles, &path).map_err(OpenError::io(folder))? else {
        let text = format!("{FORMAT_PREFIX}{FOLDER_FORMAT}\n");
        return replace_file(&RealFiles, &path, text.as_bytes()).map_err(OpenError::io(folder));
    };
    let text = String::from_utf8_lossy(&text);
    let found: Option<u32> = text
        .strip_prefix(FORMAT_PREFIX)
        .and_then(|number| number.trim().parse().ok());
    match found {
        Some(found) => match found.cmp(&FOLDER_FORMAT) {
            Ordering::Equal => Ok(()),
            Ordering::Less => Err(OpenError::Older {
                folder: folder.to_owned(),
                found,
                known: FOLDER_FORMAT,
            }),
            Ordering::Greater => Err(OpenError::Newer {
                folder: folder.to_owned(),
                found,
                known: FOLDER_FORMAT,
            }),
        },
        None => Err(OpenError::Damaged {
            folder: folder.to_owned(),
            what: format!("the file {FORMAT_FILE} does not say which format the folder has"),
        }),
    }
}

/// Makes a folder and its missing parents so that none of them vanishes with the power.
fn create_durably(folder: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = folder
        .ancestors()
        .take_while(|path| !path.as_os_str().is_empty() && !path.exists())
        .collect();
    fs::create_dir_all(folder)?;
    for made in missing {
        let parent = made.parent().filter(|path| !path.as_os_str().is_empty());
        RealFiles.sync_folder(parent.unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_by_name_until_the_first_is_gone() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("data");
        let first = DataFolder::open(&path).unwrap();
        let refused = DataFolder::open(&path).unwrap_err();
        assert!(matches!(refused, OpenError::Locked { .. }));
        assert!(refused.to_string().contains(path.to_str().unwrap()));
        drop(first);
        DataFolder::open(&path).unwrap();
    }

    #[test]
    fn a_folder_of_another_format_is_refused_and_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let opened_as = |format: u32| {
            let text = format!("{FORMAT_PREFIX}{format}\n");
            fs::write(home.path().join(FORMAT_FILE), &text).unwrap();
            let opened = DataFolder::open(home.path());
            assert_eq!(fs::read_to_string(home.path().join(FORMAT_FILE)).unwrap(), text);
            opened
        };
        let newer = opened_as(FOLDER_FORMAT + 1);
        assert!(matches!(newer, Err(OpenError::Newer { found: 4, known: 3, .. })));
        let older = opened_as(FOLDER_FORMAT - 1);
        assert!(matches!(older, Err(OpenError::Older { found: 2, known: 3, .. })));
        assert!(opened_as(FOLDER_FORMAT).is_ok());
    }

    #[test]
    fn a_folder_that_does_not_say_its_format_is_damaged() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(FORMAT_FILE), "").unwrap();
        assert!(matches!(DataFolder::open(home.path()), Err(OpenError::Damaged { .. })));
    }
}
