//! Multipart uploads.
//!
//! Part rows are immutable, one per upload, number and operation. Completing moves the upload row by compare-and-swap
//! from open to completing, which fixes parts, operation and version; then the object row is written with that very
//! operation; then the upload row becomes completed. A repeat resumes where the first try stopped and answers the same.

use alloc::collections::BTreeMap;
use alloc::string::String;

use serde::{Deserialize, Serialize};

use super::address::Address;
use super::object::{Body, Object, VersionId};
use crate::register::OpId;
use crate::stamp::Stamp;

/// An upload's row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Upload {
    /// Milliseconds since the Unix epoch.
    pub initiated_ms: u64,
    /// Who started it.
    pub initiator: String,
    /// The headers of the object to be.
    pub headers: BTreeMap<String, String>,
    /// How far it is.
    pub state: UploadState,
    /// Microseconds: the object row was never proposed for this upload under a later stamp, whoever tried, and whatever
    /// came of it. Never falls.
    pub until: u64,
}

/// How far an upload is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum UploadState {
    /// Parts are accepted.
    Open,
    /// The object row is being written. Parts are refused.
    Completing(Completion),
    /// The object row is written.
    Completed(Completion),
    /// Given up. Parts and completion are refused.
    Aborted,
}

/// What an upload is completed to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Completion {
    /// The operation that writes the object row, whoever carries it out.
    pub op: OpId,
    /// A digest of the parts asked for: a repeat must ask for the same.
    pub asked: [u8; 32],
    /// The object as it will be.
    pub object: Object,
    /// The stamp under which whoever holds the claim writes the object row unconditionally. Another try claims anew,
    /// with another stamp, so that a late attempt of an overtaken one changes nothing.
    pub stamp: Stamp,
    /// Microseconds: the object row is proposed under no later stamp.
    pub until: u64,
}

/// An uploaded part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Part {
    /// Where the upload's row is: it tells what becomes of the part.
    pub upload: Address,
    /// Its number, from 1.
    pub number: u16,
    /// Which write made it.
    pub version: VersionId,
    /// Greater than that of every part of this number that was acknowledged before this one's bytes came. The greatest
    /// counts; ballots of different rows tell no order, for clocks differ.
    pub turn: u32,
    /// Milliseconds since the Unix epoch.
    pub modified_ms: u64,
    /// Bytes.
    pub size: u64,
    /// MD5 in hexadecimal.
    pub etag: String,
    /// Checksums, by header name.
    pub checksums: BTreeMap<String, String>,
    /// Where the bytes are.
    pub body: Body,
}

impl Part {
    /// Are they the same, whether their inline bodies are here or not?
    pub(super) fn has_same_head(&self, other: &Part) -> bool {
        let Part {
            upload,
            number,
            version,
            turn,
            modified_ms,
            size,
            etag,
            checksums,
            body,
        } = other;
        (self.number, self.version, self.turn) == (*number, *version, *turn)
            && (self.modified_ms, self.size) == (*modified_ms, *size)
            && (&self.upload, &self.etag, &self.checksums) == (upload, etag, checksums)
            && self.body.has_same_head(body)
    }
}
