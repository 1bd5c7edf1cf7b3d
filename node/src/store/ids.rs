//! Identifiers of operations, versions and uploads.

use blake2::{Blake2b, Digest, digest::consts::U16};
use trellis_s3api::bucket::BucketInfo;
use trellis_s3api::condition::WriteCondition;
use trellis_s3api::object::{ObjectKey, hex, unhex};
use trellis_s3api::scan::UploadId;
use trellis_s3api::store::Origin;
use trellis_spec::register::OpId;
use trellis_spec::row::{UploadId as RowUploadId, VersionId};

use super::ClusterStore;

impl ClusterStore {
    /// An operation that nobody repeats.
    pub(super) fn fresh_op(&self) -> OpId {
        OpId(self.coordinator.env.random_id())
    }

    /// A version that nobody has written.
    pub(super) fn fresh_version(&self) -> VersionId {
        VersionId(self.coordinator.env.random_id())
    }

    /// The operation of a conditional write. Attempts of one SDK call are one operation, whichever node they reach, so
    /// that a repeat whose first attempt succeeded is not told that its condition failed.
    pub(super) fn conditional_op(
        &self,
        origin: &Origin,
        bucket: &BucketInfo,
        key: &ObjectKey,
        condition: &WriteCondition,
        payload: &str,
    ) -> OpId {
        let Some(invocation) = &origin.invocation else {
            return self.fresh_op();
        };
        let condition = format!("{condition:?}");
        let parts: [&[u8]; 6] = [
            origin.caller.as_str().as_bytes(),
            invocation.as_bytes(),
            &bucket.id.0,
            key.as_str().as_bytes(),
            condition.as_bytes(),
            payload.as_bytes(),
        ];
        OpId(digest(&parts))
    }
}

/// A digest of parts, each with its length in front.
pub(super) fn digest(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Blake2b::<U16>::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// An upload's id as clients see it.
pub(super) fn upload_text(upload: RowUploadId) -> UploadId {
    UploadId(hex(&upload.0))
}

/// An upload's id as rows name it; nothing if no upload can have it.
pub(super) fn upload_id(text: &UploadId) -> Option<RowUploadId> {
    unhex(&text.0).map(RowUploadId)
}
