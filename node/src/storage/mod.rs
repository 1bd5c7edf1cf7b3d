//! What a node keeps on disk: rows and blocks.
//!
//! Rows are small and ordered; blocks are large and named by their content. Both traits have a twin in memory, which
//! the simulation runs on, and a conformance suite that every implementation passes.

mod blocks;
mod rows;

pub use blocks::{Blocks, BlocksError};
pub use rows::{Batch, Change, Position, Rows, RowsError, Versioned};
