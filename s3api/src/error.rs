//! What can go wrong in a store, grouped by whose turn it is next.

use crate::body::BodyError;

/// The refusal or failure of a store operation.
///
/// Unless a variant says otherwise nothing was changed. [`StoreError::OutcomeUnknown`] and
/// [`StoreError::ConditionalConflict`] are the exceptions: the write may or may not have happened, now or later. A store
/// never reports such a case as [`StoreError::PreconditionFailed`], and never as success.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    // The caller asks for something that is not there.
    /// There is no bucket of that name.
    #[error("the bucket does not exist")]
    NoSuchBucket,
    /// There is no object under that key; also the answer to `If-Match` on a missing object.
    #[error("the key does not exist")]
    NoSuchKey,
    /// The upload was never started, was aborted, or was completed and its object has been replaced since.
    #[error("the upload does not exist, or it was aborted or completed")]
    NoSuchUpload,

    // The caller asks for something that cannot be.
    /// The caller has created this bucket already.
    #[error("the bucket exists and is yours")]
    BucketAlreadyOwnedByYou,
    /// Somebody else has a bucket of this name.
    #[error("the bucket name is taken")]
    BucketAlreadyExists,
    /// The bucket still holds objects (or uploads that have not been aborted).
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    /// Part `number` is missing, or its ETag or checksum is not the one the request names.
    #[error("part {number} was not found, or its entity tag or checksum did not match")]
    InvalidPart {
        /// The offending part.
        number: u16,
    },
    /// The parts are not named in ascending order.
    #[error("the list of parts was not in ascending order")]
    InvalidPartOrder,
    /// Part `number` is not the last one and below the smallest allowed size.
    #[error("part {number} has {size} bytes, less than the smallest allowed size of a part that is not the last")]
    EntityTooSmall {
        /// The offending part.
        number: u16,
        /// Its size in bytes.
        size: u64,
    },
    /// The object would become larger than [`crate::object::OBJECT_MAX_BYTES`].
    #[error("the object would exceed the largest allowed size")]
    EntityTooLarge,
    /// The request contradicts what was agreed on earlier, for example another checksum algorithm than the upload's.
    #[error("{0}")]
    InvalidRequest(String),
    /// The checksum of the whole object is not the one the request names.
    #[error("the checksum of the object did not match")]
    BadDigest,

    // The caller lost a race, or may try again.
    /// The condition of the write did not hold at the moment the write was decided. Nothing was written.
    #[error("the precondition did not hold")]
    PreconditionFailed,
    /// Another conditional write on the same key is in progress. Whether this one took effect is not known.
    #[error("a conflicting conditional operation is in progress")]
    ConditionalConflict,
    /// The store could not learn whether the write took effect before its deadline.
    #[error("the outcome of the write is not known")]
    OutcomeUnknown,
    /// Too much work at once; nothing was begun.
    #[error("the store is busy")]
    SlowDown,
    /// Too few nodes or disks can be reached. Nothing was acknowledged.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),

    // The operator has to act.
    /// The reserve of free space is reached. Reads and deletes go on.
    #[error("no space is left for new data")]
    StorageFull,

    // The body was not what was announced.
    /// The incoming body ended early or did not match its digests; nothing was stored.
    #[error(transparent)]
    Body(#[from] BodyError),

    // We have a bug.
    /// An invariant of the store is broken. The text goes to the log, not to the client.
    #[error("internal error: {0}")]
    Internal(String),
}
