//! Blocks.
use bytes::Bytes;

use crate::env::Boxed;

/// x
#[derive(Debug, Clone, thiserror::Error)]
#[error("x")]
pub struct BlocksError;

impl BlocksError {
    /// x
    pub fn is_full(&self) -> bool {
        false
    }
}

/// x
pub trait Blocks: Send + Sync {
    /// x
    fn put(&self, name: [u8; 32], data: Bytes) -> Boxed<'_, Result<(), BlocksError>>;
    /// x
    fn get(&self, name: [u8; 32]) -> Boxed<'_, Result<Option<Bytes>, BlocksError>>;
    /// x
    fn has(&self, name: [u8; 32]) -> Boxed<'_, Result<bool, BlocksError>>;
}
