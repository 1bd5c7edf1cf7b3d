//! Ordered scans: the one listing primitive of a store.
//!
//! A store hands out raw entries in key order. Delimiters, common prefixes, tokens and page sizes are folded over it
//! once, for every store, by the front door.

use std::ops::Bound;

use serde::{Deserialize, Serialize};

use crate::checksum::{Algorithm, ChecksumKind};
use crate::object::{Etag, ObjectKey, Timestamp};

/// Which objects of a bucket to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// Only keys that begin with this.
    pub prefix: String,
    /// Only keys on this side of the bound, which need not be a key itself. Compared byte by byte.
    pub from: Bound<String>,
    /// At most this many entries.
    pub limit: usize,
}

/// Which uploads of a bucket to list, ordered by key and then by upload id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadScan {
    /// Only keys that begin with this.
    pub prefix: String,
    /// Where to begin.
    pub from: UploadBound,
    /// At most this many entries.
    pub limit: usize,
}

/// Where a scan of uploads begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadBound {
    /// At the uploads of the keys on this side of the bound.
    Key(Bound<String>),
    /// After this upload.
    After(String, UploadId),
}

/// Entries in order, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, Position> {
    /// What was found; may be shorter than the limit, even empty, although more follows.
    pub entries: Vec<T>,
    /// Scan on after this position; `None` if everything has been seen.
    pub resume: Option<Position>,
}

/// A page of objects; scan on with `Bound::Excluded(resume)`.
pub type ObjectPage = Page<ListedObject, String>;

/// A page of uploads; scan on with `UploadBound::After`.
pub type UploadPage = Page<UploadInfo, (String, UploadId)>;

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedObject {
    /// Its key.
    pub key: ObjectKey,
    /// Its length in bytes.
    pub size: u64,
    /// Its entity tag.
    pub etag: Etag,
    /// When it was written.
    pub modified: Timestamp,
    /// The algorithm and kind of its checksum.
    pub checksum: Option<(Algorithm, ChecksumKind)>,
}

/// Names an upload in parts; opaque to clients, and ordered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UploadId(pub String);

/// An upload in parts that has been started and not finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadInfo {
    /// The key that the object will have.
    pub key: ObjectKey,
    /// Its identity.
    pub id: UploadId,
    /// When it was started.
    pub initiated: Timestamp,
    /// The checksum that was agreed on.
    pub checksum: Option<(Algorithm, ChecksumKind)>,
}

impl Scan {
    /// Whether `key` is one of those that are asked for.
    pub fn wants(&self, key: &str) -> bool {
        let after = match &self.from {
            Bound::Unbounded => true,
            Bound::Included(from) => key >= from.as_str(),
            Bound::Excluded(from) => key > from.as_str(),
        };
        after && key.starts_with(&self.prefix)
    }
}

impl UploadScan {
    /// Whether the upload `id` of `key` is one of those that are asked for.
    pub fn wants(&self, key: &str, id: &UploadId) -> bool {
        let after = match &self.from {
            UploadBound::Key(Bound::Unbounded) => true,
            UploadBound::Key(Bound::Included(from)) => key >= from.as_str(),
            UploadBound::Key(Bound::Excluded(from)) => key > from.as_str(),
            UploadBound::After(from, upload) => (key, id) > (from.as_str(), upload),
        };
        after && key.starts_with(&self.prefix)
    }
}
