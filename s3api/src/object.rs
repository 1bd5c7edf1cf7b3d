//! Objects: their keys, entity tags and metadata.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::checksum::{Checksum, ObjectChecksum};

/// The longest key, in bytes of UTF-8.
pub const KEY_MAX_BYTES: usize = 1024;
/// The largest object: 5 TiB.
pub const OBJECT_MAX_BYTES: u64 = 5 << 40;
/// The largest body of one request: 5 GiB.
pub const PUT_MAX_BYTES: u64 = 5 << 30;
/// The most user metadata: names and values together.
pub const USER_METADATA_MAX_BYTES: usize = 2048;

/// A key: 1 to [`KEY_MAX_BYTES`] bytes of UTF-8, kept exactly as given. Keys are ordered by their bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey(String);

/// Why a text is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// It has no characters.
    #[error("the key is empty")]
    Empty,
    /// It has more than [`KEY_MAX_BYTES`] bytes.
    #[error("the key is too long")]
    TooLong,
}

/// Milliseconds since the Unix epoch. S3 shows whole seconds in headers and milliseconds in listings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(u64);

/// An entity tag without its quotes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Etag(String);

/// What a client says about an object besides its bytes. Texts are kept as they came.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Metadata {
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Content-Encoding`, without the `aws-chunked` of the transfer.
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
    /// `Expires`.
    pub expires: Option<String>,
    /// `x-amz-website-redirect-location`.
    pub website_redirect_location: Option<String>,
    /// The `x-amz-meta-…` headers; names in lower case, without the prefix.
    pub user: BTreeMap<String, String>,
}

/// An object without its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectInfo {
    /// Its length in bytes.
    pub size: u64,
    /// Its entity tag.
    pub etag: Etag,
    /// When it was written.
    pub modified: Timestamp,
    /// What its writer said about it.
    pub metadata: Metadata,
    /// Its checksum. An object has one at most; a plain upload that named no algorithm has CRC64NVME.
    pub checksum: Option<ObjectChecksum>,
    /// The parts it was uploaded in, in ascending order; empty if it came in one piece.
    pub parts: Vec<ObjectPart>,
}

/// One part of an object that was uploaded in parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectPart {
    /// The number its uploader gave it.
    pub number: u16,
    /// Its length in bytes.
    pub size: u64,
    /// Its checksum in the algorithm of the upload.
    pub checksum: Option<Checksum>,
}

impl ObjectKey {
    /// Checks the length of a key; every character is allowed.
    pub fn parse(key: impl Into<String>) -> Result<ObjectKey, InvalidKey> {
        let key = key.into();
        match key.len() {
            0 => Err(InvalidKey::Empty),
            1..=KEY_MAX_BYTES => Ok(ObjectKey(key)),
            _ => Err(InvalidKey::TooLong),
        }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Timestamp {
    /// The moment `ms` milliseconds after the epoch.
    pub const fn from_ms(ms: u64) -> Timestamp {
        Timestamp(ms)
    }

    /// Milliseconds since the epoch.
    pub const fn ms(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn seconds(self) -> u64 {
        self.0 / 1000
    }
}

impl Etag {
    /// The tag of an object that came in one piece.
    pub fn of_md5(md5: [u8; 16]) -> Etag {
        Etag(hex(&md5))
    }

    /// The tag of an object that came in `parts` parts; `md5` is the MD5 of the MD5s of the parts.
    pub fn of_parts(md5: [u8; 16], parts: usize) -> Etag {
        Etag(format!("{}-{parts}", hex(&md5)))
    }

    /// A tag as a client or a stored row names it, with or without quotes.
    pub fn parse(text: &str) -> Etag {
        let text = text.trim();
        let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        Etag(bare.unwrap_or(text).to_owned())
    }

    /// The tag without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The MD5 of the body, if the tag is one.
    pub fn md5(&self) -> Option<[u8; 16]> {
        unhex(&self.0)
    }
}

/// Keys are ordered like their texts, so that a map of keys can be searched by text.
impl Borrow<str> for ObjectKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The tag in quotes, as it stands in headers and XML.
impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

/// Lower-case hexadecimal text.
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(u32::from(digit), 16))
        .collect()
}

/// The bytes of a hexadecimal text of exactly the right length.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(*pair.first()?)? << 4 | digit(*pair.last()?)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_every_character() {
        for key in ["/", "//a", ".", "..", "a\u{0}b", "\u{10ffff}", "é/ß", " "] {
            assert_eq!(ObjectKey::parse(key).unwrap().as_str(), key);
        }
        assert_eq!(ObjectKey::parse(""), Err(InvalidKey::Empty));
        assert!(ObjectKey::parse("é".repeat(512)).is_ok());
        assert_eq!(ObjectKey::parse("é".repeat(513)), Err(InvalidKey::TooLong));
    }

    #[test]
    fn tags_are_compared_without_their_quotes() {
        let tag = Etag::of_md5([0xab; 16]);
        assert_eq!(tag, Etag::parse(&tag.to_string()));
        assert_eq!(tag, Etag::parse(tag.as_str()));
        assert_eq!(tag.md5(), Some([0xab; 16]));
        assert_eq!(Etag::of_parts([0; 16], 3).md5(), None);
    }
}
