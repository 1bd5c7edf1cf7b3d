//! Buckets, their names, and access keys: rows of the same registers, changed by compare-and-swap.

use alloc::collections::BTreeMap;
use alloc::string::String;

use serde::{Deserialize, Serialize};

use super::address::BucketId;
use super::blob::Blob;
use crate::register::OpId;

/// A bucket. Written before its name; what a crash leaves without a name is invisible.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Bucket {
    /// Its identity.
    pub id: BucketId,
    /// The name under which it was created.
    pub name: String,
    /// Milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// The access key that may do everything.
    pub owner: String,
    /// What other access keys may do.
    pub grants: BTreeMap<String, Grant>,
    /// Shards of its index: with the key, they tell where an object's row lives.
    pub shards: u16,
    /// Whether it may be used.
    pub state: BucketState,
}

/// What an access key that is not the owner may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Grant {
    /// Read and list objects.
    Read,
    /// Read, list, write and delete objects.
    ReadWrite,
}

/// Whether a bucket may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum BucketState {
    /// Yes.
    Active,
    /// This deletion is finding out whether it is empty.
    Deleting {
        /// The deletion that claimed it last.
        by: OpId,
        /// When, in milliseconds since the Unix epoch: an abandoned deletion is undone after a while.
        since_ms: u64,
    },
    /// Never again.
    Deleted,
}

/// What a bucket name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BucketName {
    /// The bucket.
    pub bucket: BucketId,
}

/// An access key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AccessKey {
    /// Its public half.
    pub id: String,
    /// For people.
    pub name: String,
    /// Milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// The secret half, encrypted under a key derived from the cluster secret.
    pub wrapped_secret: Blob,
    /// What it may do beyond its buckets.
    pub rights: KeyRights,
}

/// What an access key may do beyond its buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum KeyRights {
    /// Create buckets.
    CreateBuckets,
    /// Nothing.
    None,
}
