//! Why a node does not start with the block folders that it finds.

use std::io;
use std::path::PathBuf;

use super::claim::{FolderId, MARKER_FILE};
use crate::advice::advice;

/// Why the block folders cannot be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum BlockFolderError {
    /// A disk is away.
    #[error(
        "{path} should hold blocks of this node (folder {id}), but the marker {MARKER_FILE} is not there: most likely its disk \
         is not mounted. Mount it, and start again. If the disk is lost for good, or was emptied, run `trellis repair \
         replace-folder {path} --data {data}`: what it held counts as lost, and is copied again from the other nodes"
    )]
    NotMounted {
        /// Where it was the last time.
        path: PathBuf,
        /// Its identity.
        id: FolderId,
        /// The data folder.
        data: PathBuf,
    },
    /// A folder that holds blocks is not named any more.
    #[error(
        "{path} holds blocks of this node (folder {id}), but the configuration does not name it. Name it in a [[block_folder]]; \
         with capacity = \"0\" its blocks are moved to the other folders. If the disk is lost for good, run `trellis repair \
         replace-folder {path} --data {data}`: what it held counts as lost, and is copied again from the other nodes"
    )]
    NotConfigured {
        /// Where it was the last time.
        path: PathBuf,
        /// Its identity.
        id: FolderId,
        /// The data folder.
        data: PathBuf,
    },
    /// It belongs to somebody else.
    #[error("{path} holds blocks of another node; name another folder, or empty this one if that node is no more")]
    Foreign {
        /// The folder.
        path: PathBuf,
    },
    /// It was declared lost.
    #[error(
        "{path} was declared lost by `trellis repair replace-folder`, and what it holds may be deleted since; empty it, with the \
         marker {MARKER_FILE}, to take it into use as a new one"
    )]
    GivenUp {
        /// The folder.
        path: PathBuf,
    },
    /// It is no block folder yet, and holds something.
    #[error("{path} is to become a block folder, but there is something in it; name a folder that is empty")]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// There is no such folder.
    #[error(
        "the block folder {path} is not there; is its disk mounted? A new one is made by hand, so that it is on the disk that \
         it should be on: make an empty folder that belongs to the user that runs trellis, and start again"
    )]
    NotThere {
        /// The folder.
        path: PathBuf,
    },
    /// Two entries of the configuration are one folder.
    #[error("{path} and {other} are the same folder; name it once")]
    Twice {
        /// One name.
        path: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// It was to be given up, and is not empty.
    #[error(
        "{path} is there and holds blocks, which would be lost here. Set its capacity to \"0\", start the node, and run `trellis \
         repair scrub --wait` until it is empty; or say --lost, if they may go: other nodes may have them, with one replica \
         none has"
    )]
    HoldsBlocks {
        /// The folder.
        path: PathBuf,
    },
    /// There is no such folder on record.
    #[error("no block folder of this node was at {path}; those on record are: {known}")]
    NotOnRecord {
        /// What was asked for.
        path: PathBuf,
        /// Those that there are.
        known: String,
    },
    /// A small file is not what was written.
    #[error(
        "{path} cannot be understood; restore it from a copy, or ask for help: it says which block folders belong to the node"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot use {path}: {error}{}", advice(error))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
}
