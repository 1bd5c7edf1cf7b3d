//! What the rows of an object store hold: the values of the registers.
//!
//! Objects, uploads and parts; buckets and their names; access keys; gates. Each row is one register of its own, and
//! none is rewritten in proportion to the size of an object. Where a row lives is told by its [`Address`].

mod address;
mod blob;
mod control;
mod object;
mod swap;
mod upload;

use serde::{Deserialize, Serialize};

pub use address::{
    Address, BucketId, FORGETTABLE, ObjectKey, Placement, RowKey, UploadId, bucket_of, gate_of, is_forgettable,
    successor,
};
pub use blob::Blob;
pub use control::{AccessKey, Bucket, BucketName, BucketState, Grant, KeyRights};
pub use object::{Block, BlockName, BlockReference, Body, Inline, Manifest, Object, PageRef, PartRef, VersionId};
pub use swap::{Condition, Guard, Match, Swap};
pub use upload::{Completion, Part, Upload, UploadState};

use crate::gate::Gate;
use crate::register::Value;

/// The value of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Row {
    /// The current version of an object.
    Object(Object),
    /// A multipart upload.
    Upload(Upload),
    /// One uploaded part. Immutable.
    Part(Part),
    /// A page of the manifest of a large object or part. Immutable.
    Manifest(Manifest),
    /// The gate of a bucket's index shard.
    Gate(Gate),
    /// A bucket.
    Bucket(Bucket),
    /// The name of a bucket.
    Name(BucketName),
    /// An access key.
    AccessKey(AccessKey),
}

impl Row {
    fn body(&self) -> Option<&Body> {
        match self {
            Row::Object(object) => Some(&object.body),
            Row::Part(part) => Some(&part.body),
            Row::Upload(_) | Row::Manifest(_) | Row::Gate(_) | Row::Bucket(_) | Row::Name(_) | Row::AccessKey(_) => {
                None
            }
        }
    }

    fn body_mut(&mut self) -> Option<&mut Body> {
        match self {
            Row::Object(object) => Some(&mut object.body),
            Row::Part(part) => Some(&mut part.body),
            Row::Upload(_) | Row::Manifest(_) | Row::Gate(_) | Row::Bucket(_) | Row::Name(_) | Row::AccessKey(_) => {
                None
            }
        }
    }

    /// Bytes of its inline body, whether that is here or not.
    pub fn inline_bytes(&self) -> u64 {
        match (self, self.body()) {
            (Row::Object(object), Some(Body::Inline(_))) => object.size,
            (Row::Part(part), Some(Body::Inline(_))) => part.size,
            (_, Some(Body::Inline(_) | Body::Blocks(_) | Body::Paged(_)) | None) => 0,
        }
    }

    /// Takes the inline body out, so that it can be kept under a key of its own.
    pub fn detach(&mut self) -> Option<Blob> {
        match self.body_mut() {
            Some(Body::Inline(inline)) => inline.bytes.take(),
            Some(Body::Blocks(_) | Body::Paged(_)) | None => None,
        }
    }

    /// Is there an inline body in it?
    pub(crate) fn has_body(&self) -> bool {
        match self.body() {
            Some(Body::Inline(inline)) => inline.bytes.is_some(),
            Some(Body::Blocks(_) | Body::Paged(_)) | None => false,
        }
    }

    /// Are they the same value, whether their inline bodies are here or not?
    pub fn has_same_head(&self, other: &Row) -> bool {
        match (self, other) {
            (Row::Object(one), Row::Object(other)) => one.has_same_head(other),
            (Row::Part(one), Row::Part(other)) => one.has_same_head(other),
            (one, other) => one == other,
        }
    }

    /// Puts the inline body back.
    pub fn attach(&mut self, bytes: Blob) {
        if let Some(Body::Inline(inline)) = self.body_mut() {
            inline.bytes = Some(bytes);
        }
    }
}

impl Value for Row {
    fn head(&self) -> Self {
        let mut head = self.clone();
        head.detach();
        head
    }

    fn is_whole(&self) -> bool {
        match self.body() {
            Some(Body::Inline(inline)) => inline.bytes.is_some(),
            Some(Body::Blocks(_) | Body::Paged(_)) | None => true,
        }
    }

    fn keeps_stamp(&self) -> bool {
        matches!(self, Row::Gate(_))
    }
}
