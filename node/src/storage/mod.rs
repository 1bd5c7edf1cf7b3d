//! What a node keeps on disk: rows and blocks.
//!
//! Rows are small and ordered; blocks are large and named by their content. Both traits have a twin in memory, which
//! the simulation runs on, and a conformance suite that every implementation passes.

mod block_files;
mod block_folder;
mod blocks;
mod dirty;
mod disk_rows;
mod disks;
mod engine;
mod files;
mod folder;
mod folder_syncs;
mod index;
pub(crate) mod log;
mod memory;
mod memory_blocks;
mod packing;
mod pool;
mod progress;
mod rooted;
mod rows;
#[cfg(test)]
mod tests;

pub use block_files::{BlockFiles, BlockSetup, DiskWatch};
pub use blocks::{BLOCK_MAX_BYTES, Block, BlockName, BlockNames, Blocks, BlocksError};
pub use disk_rows::DiskRows;
pub use disks::{BlockFolderConfig, BlockFolderError, FolderId, FolderSeen, FolderState, Losing, give_up};
pub use engine::{BATCH_MAX_BYTES, IndexStart, Opened, RowsConfig};
pub use folder::{DataFolder, FOLDER_FORMAT, OpenError};
pub use memory::{Flush, MemoryDisk, MemoryRows};
pub use memory_blocks::{MemoryBlockDisk, MemoryBlocks};
pub use packing::{BlocksConfig, COMPRESSION_LEVEL_MAX, Compression};
pub use rows::{Batch, Change, Position, Room, Rows, RowsError, Taking, Versioned};
