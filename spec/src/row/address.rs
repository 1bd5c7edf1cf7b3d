//! Where rows live.
//!
//! An address is a *placement*, whose hash chooses the partition, and a key within it. Keys of one placement sort as a
//! reader would list them. The first byte of a key names its table.
//!
//! | table | row | placement | key after the table byte |
//! |---|---|---|---|
//! | `b` | bucket | system | bucket id |
//! | `n` | bucket name | system | name |
//! | `k` | access key | system | access key id |
//! | `g` | gate | index shard | bucket id |
//! | `o` | object, its null version | index shard | bucket id, key |
//! | `v` | (kept free for one row per version) | index shard | bucket id, key, end, version |
//! | `u` | upload | index shard | bucket id, key, end, upload id |
//! | `p` | part | upload | upload id, number, operation |
//! | `m` | page of a manifest | manifest | version id, page |
//! | `r` | reference to a block | block | block name, version id |

use alloc::vec::Vec;

use blake2::{Blake2b, Digest, digest::consts::U32};
use serde::{Deserialize, Serialize};

use super::object::{BlockName, VersionId};
use crate::layout::{Layout, Partition};
use crate::register::OpId;

/// The identity of a bucket, drawn when it is created: a new bucket of an old name has another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BucketId(pub [u8; 16]);

/// The identity of a multipart upload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UploadId(pub [u8; 16]);

/// The name of an object within its bucket: UTF-8, at most 1024 bytes.
pub type ObjectKey = [u8];

/// A key within a placement.
pub type RowKey = Vec<u8>;

/// What a partition is chosen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Placement {
    /// Buckets, names and access keys: one partition, so that each is one range.
    System,
    /// One shard of a bucket's index.
    Index(BucketId, u16),
    /// The parts of an upload.
    Upload(UploadId),
    /// The manifest of one version.
    Manifest(VersionId),
    /// A block and its references.
    Block(BlockName),
}

/// Where one row lives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Address {
    /// What its partition is chosen by.
    pub placement: Placement,
    /// Its key there.
    pub key: RowKey,
}

impl Placement {
    /// The partition in this layout.
    pub fn partition(&self, layout: &Layout) -> Partition {
        match self {
            Placement::System => layout.partition_of(b"system"),
            Placement::Index(BucketId(bucket), shard) => {
                layout.partition_of(&join(&[b"index", bucket, &shard.to_be_bytes()]))
            }
            Placement::Upload(UploadId(upload)) => layout.partition_of(&join(&[b"upload", upload])),
            Placement::Manifest(VersionId(version)) => layout.partition_of(&join(&[b"manifest", version])),
            Placement::Block(name) => layout.block_partition_of(&name.0),
        }
    }
}

impl Address {
    /// A bucket's row.
    pub fn bucket(bucket: BucketId) -> Self {
        Address {
            placement: Placement::System,
            key: join(&[b"b", &bucket.0]),
        }
    }

    /// A bucket name's row.
    pub fn name(name: &str) -> Self {
        Address {
            placement: Placement::System,
            key: join(&[b"n", name.as_bytes()]),
        }
    }

    /// An access key's row.
    pub fn access_key(id: &str) -> Self {
        Address {
            placement: Placement::System,
            key: join(&[b"k", id.as_bytes()]),
        }
    }

    /// The gate of a shard.
    pub fn gate(bucket: BucketId, shard: u16) -> Self {
        Address {
            placement: Placement::Index(bucket, shard),
            key: join(&[b"g", &bucket.0]),
        }
    }

    /// An object's row in a bucket whose index has `shards` shards.
    pub fn object(bucket: BucketId, shards: u16, key: &ObjectKey) -> Self {
        Address {
            placement: Placement::Index(bucket, shard_of(shards, key)),
            key: join(&[b"o", &bucket.0, key]),
        }
    }

    /// An upload's row, in the shard of its object.
    pub fn upload(bucket: BucketId, shards: u16, key: &ObjectKey, upload: UploadId) -> Self {
        let sorted = join(&[b"u", &bucket.0, &ended(key), &upload.0]);
        Address {
            placement: Placement::Index(bucket, shard_of(shards, key)),
            key: sorted,
        }
    }

    /// Of an upload's row: the row of the object that it is to become, and the upload.
    pub fn uploaded_object(&self) -> Option<(Self, UploadId)> {
        let Placement::Index(bucket, _) = self.placement else {
            return None;
        };
        let (key, upload) = bucket.upload_key(&self.key)?;
        let object = Address {
            placement: self.placement,
            key: join(&[b"o", &bucket.0, &key]),
        };
        Some((object, upload))
    }

    /// A part's row.
    pub fn part(upload: UploadId, number: u16, op: OpId) -> Self {
        let key = join(&[b"p", &upload.0, &number.to_be_bytes(), &op.0]);
        Address {
            placement: Placement::Upload(upload),
            key,
        }
    }

    /// The first key that a part of this number, or of a later one, can have.
    pub fn parts_from(upload: UploadId, number: u16) -> RowKey {
        if number == 0 {
            join(&[b"p", &upload.0])
        } else {
            join(&[b"p", &upload.0, &number.to_be_bytes()])
        }
    }

    /// A page of a manifest.
    pub fn manifest(version: VersionId, page: u32) -> Self {
        let key = join(&[b"m", &version.0, &page.to_be_bytes()]);
        Address {
            placement: Placement::Manifest(version),
            key,
        }
    }

    /// A reference from a version to a block.
    pub fn reference(block: BlockName, version: VersionId) -> Self {
        Address {
            placement: Placement::Block(block),
            key: join(&[b"r", &block.0, &version.0]),
        }
    }
}

/// The prefix of all object rows of a bucket.
fn objects_prefix(bucket: BucketId) -> RowKey {
    join(&[b"o", &bucket.0])
}

/// The prefix of all upload rows of a bucket.
fn uploads_prefix(bucket: BucketId) -> RowKey {
    join(&[b"u", &bucket.0])
}

/// `key` in a form that keeps the order and can be followed by more: 0x00 becomes 0x00 0xff, the end is 0x00 0x00.
fn ended(key: &ObjectKey) -> RowKey {
    let mut ended = Vec::with_capacity(key.len() + 2);
    for byte in key {
        ended.push(*byte);
        if *byte == 0 {
            ended.push(0xff);
        }
    }
    ended.extend([0, 0]);
    ended
}

/// The object key and upload id of an upload row's key.
fn split_ended(bytes: &[u8]) -> Option<(RowKey, &[u8])> {
    let mut key = Vec::new();
    let mut at = 0;
    loop {
        match (*bytes.get(at)?, bytes.get(at + 1)) {
            (0, Some(0)) => return Some((key, &bytes[at + 2..])),
            (0, Some(0xff)) => {
                key.push(0);
                at += 2;
            }
            (0, _) => return None,
            (byte, _) => {
                key.push(byte);
                at += 1;
            }
        }
    }
}

impl BucketId {
    /// The range of row keys that holds the bucket's objects from `from` (inclusive).
    pub fn objects_from(self, from: &ObjectKey) -> RowKey {
        join(&[&objects_prefix(self), from])
    }

    /// The object key of an object row's key.
    pub fn object_key(self, row: &[u8]) -> Option<&ObjectKey> {
        row.strip_prefix(&objects_prefix(self)[..])
    }

    /// The range of row keys that holds the bucket's uploads of keys from `from` (inclusive); with an upload id, from
    /// that upload.
    pub fn uploads_from(self, from: &ObjectKey, upload: Option<UploadId>) -> RowKey {
        match upload {
            Some(upload) => join(&[&uploads_prefix(self), &ended(from), &upload.0]),
            None => {
                let mut start = join(&[&uploads_prefix(self), &ended(from)]);
                // Without its end mark the key is a prefix of itself and of all that follow it.
                start.truncate(start.len() - 2);
                start
            }
        }
    }

    /// The range of row keys that holds the bucket's uploads of keys after `key`.
    pub fn uploads_after(self, key: &ObjectKey) -> RowKey {
        let mut start = join(&[&uploads_prefix(self), &ended(key)]);
        // The byte after the end mark: above every upload of this key, below every longer key.
        if let Some(last) = start.last_mut() {
            *last = 1;
        }
        start
    }

    /// The object key and upload id of an upload row's key.
    pub fn upload_key(self, row: &[u8]) -> Option<(RowKey, UploadId)> {
        let (key, upload) = split_ended(row.strip_prefix(&uploads_prefix(self)[..])?)?;
        Some((key, UploadId(upload.try_into().ok()?)))
    }
}

/// The gate that a row with this key must pass: objects and uploads have one.
pub fn gate_of(key: &[u8]) -> Option<RowKey> {
    Some(Address::gate(bucket_of(key)?, 0).key)
}

/// The bucket that a row with this key is in, if it is an object's or an upload's.
pub fn bucket_of(key: &[u8]) -> Option<BucketId> {
    match key.split_first()? {
        (b'o' | b'u', rest) => Some(BucketId(rest.get(..16)?.try_into().ok()?)),
        _ => None,
    }
}

/// Is the row with this key one whose tombstone may be forgotten? Objects and parts are. Uploads, by which parts are
/// judged, gates, whose stamps say more than their order, and the few rows of buckets, names and keys stay.
pub fn is_forgettable(key: &[u8]) -> bool {
    FORGETTABLE.iter().any(|table| key.starts_with(table))
}

/// How the keys of such rows begin.
pub const FORGETTABLE: [&[u8]; 2] = [b"o", b"p"];

/// The smallest key above every key that starts with `prefix`; nothing if there is none.
pub fn successor(prefix: &[u8]) -> Option<RowKey> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

fn shard_of(shards: u16, key: &ObjectKey) -> u16 {
    if shards <= 1 {
        return 0;
    }
    let mut hash = Blake2b::<U32>::new();
    hash.update(key);
    let hash = hash.finalize();
    u16::from_be_bytes([hash[0], hash[1]]) % shards
}

fn join(parts: &[&[u8]]) -> RowKey {
    parts.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    const BUCKET: BucketId = BucketId([7; 16]);

    proptest! {
        #[test]
        fn upload_rows_sort_by_object_key_and_come_back(a in any::<Vec<u8>>(), b in any::<Vec<u8>>()) {
            let row = |key: &[u8]| Address::upload(BUCKET, 1, key, UploadId([3; 16])).key;
            prop_assert_eq!(row(&a).cmp(&row(&b)), a.cmp(&b));
            prop_assert_eq!(BUCKET.upload_key(&row(&a)), Some((a.clone(), UploadId([3; 16]))));
            let object = Address::upload(BUCKET, 1, &a, UploadId([3; 16])).uploaded_object();
            prop_assert_eq!(object, Some((Address::object(BUCKET, 1, &a), UploadId([3; 16]))));
            prop_assert!(BUCKET.uploads_from(&a, None) <= row(&a));
            prop_assert_eq!(BUCKET.uploads_after(&a) <= row(&b), a < b);
        }

        #[test]
        fn a_successor_is_above_all_with_the_prefix(prefix in any::<Vec<u8>>(), rest in any::<Vec<u8>>()) {
            if let Some(next) = successor(&prefix) {
                prop_assert!(next > [prefix.clone(), rest].concat());
                prop_assert!(next > prefix);
            }
        }

        #[test]
        fn rows_of_a_bucket_have_its_gate(key in any::<Vec<u8>>()) {
            let gate = Some(Address::gate(BUCKET, 3).key);
            prop_assert_eq!(gate_of(&Address::object(BUCKET, 1, &key).key), gate.clone());
            prop_assert_eq!(gate_of(&Address::upload(BUCKET, 1, &key, UploadId([3; 16])).key), gate);
            prop_assert_eq!(gate_of(&Address::part(UploadId([3; 16]), 1, OpId([4; 16])).key), None);
            prop_assert_eq!(gate_of(&Address::gate(BUCKET, 0).key), None);
            gate_of(&key);
        }

        #[test]
        fn objects_and_parts_may_be_forgotten_and_nothing_else(key in any::<Vec<u8>>()) {
            let upload = UploadId([3; 16]);
            for forgettable in [Address::object(BUCKET, 1, &key), Address::part(upload, 1, OpId([4; 16]))] {
                prop_assert!(is_forgettable(&forgettable.key));
            }
            let kept = [Address::upload(BUCKET, 1, &key, upload), Address::gate(BUCKET, 0), Address::bucket(BUCKET)];
            for kept in kept.into_iter().chain([Address::name("name"), Address::access_key("id")]) {
                prop_assert!(!is_forgettable(&kept.key));
            }
        }

        #[test]
        fn object_rows_come_back(key in any::<Vec<u8>>()) {
            let address = Address::object(BUCKET, 1, &key);
            prop_assert_eq!(BUCKET.object_key(&address.key), Some(&key[..]));
        }

        #[test]
        fn no_bytes_make_splitting_fail_badly(bytes in any::<Vec<u8>>()) {
            let _ = BUCKET.upload_key(&bytes);
            let _ = split_ended(&bytes);
        }
    }
}
