//! How much of something there is: rows, blocks, and the bytes of both.

use serde::{Deserialize, Serialize};
use trellis_spec::layout::LayoutVersion;

/// How much there is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Rows.
    pub rows: u64,
    /// Blocks.
    pub blocks: u64,
    /// Bytes of the blocks, and of the rows' keys and inline bodies.
    pub bytes: u64,
}

/// What was found of a partition at one node.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// What was found, and what was copied to it since. What clients wrote since is not in it.
    pub amount: Amount,
    /// When it was begun to be counted: microseconds, by the clock of the node.
    pub at_us: u64,
    /// The newest layout then.
    pub layout: LayoutVersion,
}

impl Amount {
    /// One row.
    pub fn row(key: &[u8], inline_bytes: u64) -> Self {
        Amount {
            rows: 1,
            blocks: 0,
            bytes: inline_bytes.saturating_add(key.len() as u64),
        }
    }

    /// One block.
    pub fn block(bytes: u64) -> Self {
        Amount {
            rows: 0,
            blocks: 1,
            bytes,
        }
    }

    /// Both.
    pub fn plus(self, other: Self) -> Self {
        self.by(other, u64::saturating_add)
    }

    /// What this is more than the other.
    pub fn beyond(self, other: Self) -> Self {
        self.by(other, u64::saturating_sub)
    }

    /// The greater one of each.
    pub fn max(self, other: Self) -> Self {
        self.by(other, u64::max)
    }

    /// Whether there is nothing.
    pub fn is_nothing(self) -> bool {
        self == Amount::default()
    }

    fn by(self, other: Self, of: impl Fn(u64, u64) -> u64) -> Self {
        Amount {
            rows: of(self.rows, other.rows),
            blocks: of(self.blocks, other.blocks),
            bytes: of(self.bytes, other.bytes),
        }
    }
}

impl std::iter::Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Amount::default(), Amount::plus)
    }
}
