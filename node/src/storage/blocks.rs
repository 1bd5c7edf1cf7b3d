//! The block store of one node: immutable blocks named by their content.

use std::path::PathBuf;

use bytes::Bytes;
pub use trellis_spec::row::BlockName;

use crate::env::Boxed;

/// The largest block.
pub const BLOCK_MAX_BYTES: usize = 4 << 20;

/// Data and their name. Each node makes sure once that they belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    name: BlockName,
    data: Bytes,
    named_by: NamedBy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NamedBy {
    This,
    AnotherNode,
}

impl Block {
    /// The block with these data; computes the name.
    pub fn named(data: Bytes) -> Self {
        Self {
            name: BlockName::of(&data),
            data,
            named_by: NamedBy::This,
        }
    }

    /// A block that somebody else named; [`Blocks::put`] checks it.
    pub fn received(name: BlockName, data: Bytes) -> Self {
        Self {
            name,
            data,
            named_by: NamedBy::AnotherNode,
        }
    }

    /// A block whose data were just read from a disk, and compared with the name.
    pub(super) fn verified(name: BlockName, data: Bytes) -> Self {
        Self {
            name,
            data,
            named_by: NamedBy::This,
        }
    }

    /// Its name.
    pub fn name(&self) -> BlockName {
        self.name
    }

    /// Its data.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// Its data, taken out.
    pub fn into_data(self) -> Bytes {
        self.data
    }

    /// Makes sure that it may be stored.
    pub(super) fn check(&self) -> Result<(), BlocksError> {
        if self.data.len() > BLOCK_MAX_BYTES {
            return Err(BlocksError::TooLarge { bytes: self.data.len() });
        }
        if self.named_by == NamedBy::AnotherNode && BlockName::of(&self.data) != self.name {
            return Err(BlocksError::Mismatch { name: self.name });
        }
        Ok(())
    }
}

/// Why a block was not stored or not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlocksError {
    /// The data received are not those that the name says; nothing was stored. The sender or the way is at fault.
    #[error("the data received are not block {name}")]
    Mismatch {
        /// The name received.
        name: BlockName,
    },
    /// What is on disk is not what was written. It was put aside and never served; the block is missing from now on.
    #[error("block {name} is damaged on disk; what was found is kept as {kept}")]
    Damaged {
        /// The block.
        name: BlockName,
        /// Where an operator can look at it.
        kept: PathBuf,
    },
    /// Larger than [`BLOCK_MAX_BYTES`]; nothing was stored.
    #[error("a block of {bytes} bytes is over the limit of {BLOCK_MAX_BYTES}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The disk is full beyond the reserve; nothing was stored, reads go on.
    #[error(
        "the disk that holds {folder} has less than {min_free_bytes} bytes free; free some space, or lower min_free_bytes"
    )]
    Full {
        /// The blocks' folder.
        folder: PathBuf,
        /// The reserve that is kept.
        min_free_bytes: u64,
    },
    /// A write failed, now or earlier. Nothing more is stored or removed until a restart; reads go on.
    #[error("the block store is closed for writing: {0}")]
    Closed(String),
    /// A disk is away: nothing was stored, or it may still hold what was to be removed. It comes back or is given up.
    #[error("the block folder {folder} is out of use; mount its disk, and see `trellis status`")]
    Away {
        /// Where it should be.
        folder: PathBuf,
    },
    /// The operating system could not read; nothing was changed.
    #[error("a block could not be read: {0}")]
    Unreadable(String),
}

/// Names of blocks, in order.
#[derive(Debug, Default)]
pub struct BlockNames {
    /// Those that were found.
    pub found: Vec<BlockName>,
    /// Why there may be others in between, if some folder could not be read.
    pub unread: Option<BlocksError>,
}

/// Immutable blocks, named by their content. Every read is checked against the name.
pub trait Blocks: Send + Sync {
    /// Names data, away from the network's threads.
    fn name(&self, data: Bytes) -> Boxed<'_, Result<Block, BlocksError>>;
    /// Stores the block; when this returns, its very data are on disk. Storing it again does no harm, and heals one that
    /// rotted meanwhile.
    fn put(&self, block: Block) -> Boxed<'_, Result<(), BlocksError>>;
    /// The block's data, or nothing when it is not here.
    fn get(&self, name: BlockName) -> Boxed<'_, Result<Option<Bytes>, BlocksError>>;
    /// Whether it is here; that it can be read is known only after reading it.
    fn has(&self, name: BlockName) -> Boxed<'_, Result<bool, BlocksError>>;
    /// How much it takes on the disk; nothing when it is not here.
    fn size(&self, name: BlockName) -> Boxed<'_, Result<Option<u64>, BlocksError>>;
    /// Removes the block; it stays away when this returns. Removing what is not here does no harm.
    fn remove(&self, name: BlockName) -> Boxed<'_, Result<(), BlocksError>>;
    /// The first `limit` names after `after`, in order. A folder that cannot be read hides no others.
    fn list(&self, after: Option<BlockName>, limit: usize) -> Boxed<'_, Result<BlockNames, BlocksError>>;
    /// Is there a disk that takes blocks at all? It may be full.
    fn check_open(&self) -> Result<(), BlocksError> {
        Ok(())
    }
    /// Whether there are several disks, so that a block may lie elsewhere than it belongs.
    fn is_spread(&self) -> bool {
        false
    }
    /// Brings a block that lies elsewhere than it belongs to where it belongs.
    fn settle(&self, _: BlockName) -> Boxed<'_, Result<(), BlocksError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
