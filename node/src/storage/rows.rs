//! The row store of one node: an ordered map from keys to values with group commit.

use bytes::Bytes;

use crate::env::Boxed;

/// A place in the commit log. A change is durable once the log is durable up to its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

/// What was found, and how far the log must be durable before it may be told to anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// What was found.
    pub value: T,
    /// [`Position::default`] when it is durable already.
    pub written_at: Position,
}

/// One row's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The row has this value from now on.
    Put(Bytes),
    /// There is no such row from now on.
    Remove,
}

impl Change {
    /// The row's value after this change.
    pub fn into_value(self) -> Option<Bytes> {
        match self {
            Self::Put(value) => Some(value),
            Self::Remove => None,
        }
    }
}

/// Changes that become visible, and durable, together or not at all.
pub type Batch = Vec<(Bytes, Change)>;

/// What a batch may take of a disk that is nearly full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// For new data: whatever is above `min_free_bytes`.
    New,
    /// For what lets a full cluster be read and emptied: the reserve below `min_free_bytes` as well.
    Upkeep,
}

/// What a store takes just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Taking {
    /// Everything.
    Everything,
    /// Deletes and other upkeep, out of the reserve; no new data.
    Upkeep,
    /// Nothing: the reserve is used up as well.
    Nothing,
}

/// Why the store did not do it. A failed write closes it, unless it failed for want of room before anything was synced.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RowsError {
    /// The disk is too full for this batch; nothing was written, reads go on.
    #[error(
        "the disk that holds {folder} has less than {min_free_bytes} bytes free; free some space, or lower min_free_bytes"
    )]
    Full {
        /// The data folder.
        folder: String,
        /// What must stay free.
        min_free_bytes: u64,
    },
    /// The batch is larger than any message a node accepts; nothing was written, the store goes on.
    #[error("a batch of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Keys and values together.
        bytes: usize,
        /// The limit it is over.
        limit: usize,
    },
    /// A write failed or the content is damaged; the store answers nothing more.
    #[error("the row store is closed: {0}")]
    Closed(String),
}

/// Ordered rows with group commit.
///
/// `apply` makes a batch visible at once; it is durable when `durable` of its position returns. Whoever answers
/// somebody must first wait for the position of every row version that the answer depends on (no dirty answers).
pub trait Rows: Send + Sync {
    /// The row's value now; that there is none can be as little durable as a value.
    fn get(&self, key: &[u8]) -> Result<Versioned<Option<Bytes>>, RowsError>;
    /// At most `limit` rows with `from <= key < to`, in key order, from one snapshot. `written_at` covers all of them,
    /// and rows removed in that range that are not durably removed yet.
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Versioned<Vec<(Bytes, Bytes)>>, RowsError>;
    /// Returns when `apply` would not block for want of memory; who waits here holds nothing that others need.
    fn ready(&self) -> Boxed<'_, Result<(), RowsError>> {
        Box::pin(std::future::ready(Ok(())))
    }
    /// Makes the changes, which bring new data, visible and hands them to the log.
    fn apply(&self, batch: Batch) -> Result<Position, RowsError>;
    /// The same for changes that may take more of a disk that is nearly full. A store without a disk has no reserve.
    fn apply_within(&self, batch: Batch, room: Room) -> Result<Position, RowsError> {
        match room {
            Room::New | Room::Upkeep => self.apply(batch),
        }
    }
    /// How far the log is on disk now; the beginning if the store cannot tell.
    fn durable_so_far(&self) -> Position {
        Position::default()
    }
    /// Returns when everything up to `position` is on disk.
    fn durable(&self, position: Position) -> Boxed<'_, Result<(), RowsError>>;
}
