//! Objects, their bodies and manifests.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use serde::{Deserialize, Serialize};

use super::address::Address;
use super::blob::Blob;
use crate::register::OpId;

/// One write of an object: new for every operation, and for every stamp beyond the `until` of its references.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VersionId(pub [u8; 16]);

/// BLAKE2b-256 of a block's content.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlockName(pub [u8; 32]);

impl BlockName {
    /// The name of these data.
    pub fn of(data: &[u8]) -> Self {
        Self(Blake2b::<U32>::digest(data).into())
    }

    /// The name that `text` writes out in 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut name = [0; 32];
        if text.len() != 64 || !text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        for (byte, at) in name.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
        }
        Some(Self(name))
    }
}

impl fmt::Display for BlockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BlockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The current version of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Object {
    /// Which write made it.
    pub version: VersionId,
    /// `Last-Modified`, milliseconds since the Unix epoch. Never used for ordering.
    pub modified_ms: u64,
    /// Bytes.
    pub size: u64,
    /// Entity tag, without quotes.
    pub etag: String,
    /// Everything else that a client gave or gets back: content type, user metadata, checksums. By header name.
    pub headers: BTreeMap<String, String>,
    /// Where the bytes are.
    pub body: Body,
}

/// Where the bytes of an object or part are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Body {
    /// In the row.
    Inline(Inline),
    /// In these blocks, one after another.
    Blocks(Vec<Block>),
    /// In what the pages of the manifest list.
    Paged(PageRef),
}

/// A body within a row. The bytes are left out where only the head was asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Inline {
    /// BLAKE2b-256 of the bytes.
    pub digest: BlockName,
    /// The bytes.
    pub bytes: Option<Blob>,
}

impl Object {
    /// Are they the same, whether their inline bodies are here or not?
    pub(super) fn has_same_head(&self, other: &Object) -> bool {
        let Object {
            version,
            modified_ms,
            size,
            etag,
            headers,
            body,
        } = other;
        (self.version, self.modified_ms, self.size) == (*version, *modified_ms, *size)
            && (&self.etag, &self.headers) == (etag, headers)
            && self.body.has_same_head(body)
    }
}

impl Body {
    /// Are they the same, whether their bytes are here or not?
    pub(super) fn has_same_head(&self, other: &Body) -> bool {
        match (self, other) {
            (Body::Inline(one), Body::Inline(other)) => one.digest == other.digest,
            (one, other) => one == other,
        }
    }
}

/// One block of a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Block {
    /// Its content's name.
    pub name: BlockName,
    /// Bytes.
    pub length: u32,
}

/// The pages of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PageRef {
    /// The version under which the pages are stored.
    pub manifest: VersionId,
    /// How many bytes of the body each page covers, in order.
    pub page_bytes: Vec<u64>,
}

/// One page of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Manifest {
    /// Blocks, one after another.
    Blocks(Vec<Block>),
    /// Parts of an upload, one after another.
    Parts(Vec<PartRef>),
}

/// A part as a manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartRef {
    /// Where the part's row is.
    pub part: Address,
    /// Its number, from 1.
    pub number: u16,
    /// Bytes.
    pub size: u64,
    /// The operation that wrote it.
    pub op: OpId,
    /// Its checksum, by header name.
    pub checksums: BTreeMap<String, String>,
}

/// A reference from a version to a block, kept by each replica of the block beside the block.
///
/// No row that names the block for this version is ever proposed under a stamp later than `until`: that is what makes
/// it possible to tell, later, that a reference is dead.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlockReference {
    /// The block.
    pub block: BlockName,
    /// The row that names it, or will.
    pub owner: Address,
    /// For which version.
    pub version: VersionId,
    /// Microseconds: the time of the last stamp under which that row may be proposed.
    pub until: u64,
}
