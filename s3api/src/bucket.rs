//! Buckets: their names, and who may do what in them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::object::Timestamp;

/// The public half of a key pair; it names an account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AccessKey(pub String);

/// The secret half of a key pair. It does not show in debug output.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(pub String);

/// What a store knows about a key pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The secret that signs requests.
    pub secret: Secret,
    /// Whether the key may create buckets.
    pub bucket_creation: BucketCreation,
}

/// Whether a key may create buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum BucketCreation {
    /// It may.
    Allowed,
    /// It may use the buckets that it was granted, no more.
    Denied,
}

/// A bucket name that follows the rules of S3.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BucketName(String);

/// The name breaks the rules of S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bucket name is not valid")]
pub struct InvalidBucketName;

/// The identity of a bucket; a bucket deleted and created again has another one. Its meaning is the store's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BucketId(pub [u8; 16]);

/// A bucket as a store knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketInfo {
    /// Its identity.
    pub id: BucketId,
    /// Its name.
    pub name: BucketName,
    /// When it was created.
    pub created: Timestamp,
    /// The key that created it.
    pub owner: AccessKey,
    /// What other keys may do.
    pub grants: Vec<Grant>,
}

/// What one key other than the owner may do in a bucket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Grant {
    /// The key.
    pub key: AccessKey,
    /// What it may do.
    pub access: Access,
}

/// What somebody may do in a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Access {
    /// Nothing.
    None,
    /// List and read.
    Read,
    /// Write and delete objects.
    Write,
    /// List, read, write and delete objects.
    ReadWrite,
    /// Everything, including the deletion of the bucket.
    Full,
}

/// What a request does in a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Lists or reads.
    Read,
    /// Writes or deletes objects.
    Write,
    /// Changes the bucket itself.
    Administer,
}

/// Who sends a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Caller {
    /// The request is not signed.
    Anonymous,
    /// The request is signed with this key.
    Key(AccessKey),
}

/// What `caller` may do in `bucket`: the owner everything, other keys what they were granted, anonymous callers nothing.
pub fn access(caller: &Caller, bucket: &BucketInfo) -> Access {
    match caller {
        Caller::Anonymous => Access::None,
        Caller::Key(key) if *key == bucket.owner => Access::Full,
        Caller::Key(key) => {
            let granted = bucket.grants.iter().filter(|grant| grant.key == *key);
            granted.fold(Access::None, |sum, grant| sum.join(grant.access))
        }
    }
}

impl Access {
    /// Whether this is enough for `action`.
    pub fn allows(self, action: Action) -> bool {
        match self {
            Access::None => false,
            Access::Read => action == Action::Read,
            Access::Write => action == Action::Write,
            Access::ReadWrite => action != Action::Administer,
            Access::Full => true,
        }
    }

    /// The least access that allows whatever one of the two does.
    #[must_use]
    pub fn join(self, other: Access) -> Access {
        match (self, other) {
            (Access::Full, _) | (_, Access::Full) => Access::Full,
            (Access::None, some) | (some, Access::None) => some,
            (Access::Read, Access::Read) => Access::Read,
            (Access::Write, Access::Write) => Access::Write,
            (Access::Read | Access::Write | Access::ReadWrite, Access::Read | Access::Write | Access::ReadWrite) => {
                Access::ReadWrite
            }
        }
    }
}

impl BucketName {
    /// Checks a name against the rules: 3 to 63 characters of `a-z`, `0-9`, `.` and `-`; a letter or digit at both ends;
    /// no two dots in a row; not an IPv4 address; none of the reserved prefixes and suffixes.
    pub fn parse(name: &str) -> Result<BucketName, InvalidBucketName> {
        const RESERVED_PREFIXES: [&str; 4] = ["xn--", "sthree-", "sthree-configurator", "amzn-s3-demo-"];
        const RESERVED_SUFFIXES: [&str; 4] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3"];
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = name.as_bytes();
        let valid = (3..=63).contains(&bytes.len())
            && bytes.iter().all(|&byte| plain(byte) || byte == b'.' || byte == b'-')
            && bytes.first().is_some_and(|&byte| plain(byte))
            && bytes.last().is_some_and(|&byte| plain(byte))
            && !name.contains("..")
            && name.parse::<std::net::Ipv4Addr>().is_err()
            && !RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            && !RESERVED_SUFFIXES.iter().any(|suffix| name.ends_with(suffix));
        if valid {
            Ok(BucketName(name.to_owned()))
        } else {
            Err(InvalidBucketName)
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AccessKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules() {
        for good in ["abc", "my-bucket.v2", "0a0", &"a".repeat(63)] {
            assert!(BucketName::parse(good).is_ok(), "{good}");
        }
        let long = "a".repeat(64);
        let bad = [
            "",
            "ab",
            "Abc",
            "a_b",
            "-ab",
            "ab-",
            ".ab",
            "ab.",
            "a..b",
            "192.168.0.1",
            "xn--abc",
            "a-s3alias",
            "ä-b-c",
        ];
        for bad in bad.into_iter().chain([long.as_str()]) {
            assert_eq!(BucketName::parse(bad), Err(InvalidBucketName), "{bad}");
        }
    }

    #[test]
    fn grants_add_up_and_the_owner_has_everything() {
        let key = |name: &str| AccessKey(name.to_owned());
        let grant = |name, access| Grant { key: key(name), access };
        let bucket = BucketInfo {
            id: BucketId([0; 16]),
            name: BucketName::parse("bucket").unwrap(),
            created: Timestamp::from_ms(0),
            owner: key("owner"),
            grants: vec![grant("guest", Access::Read), grant("guest", Access::Write)],
        };
        assert_eq!(access(&Caller::Anonymous, &bucket), Access::None);
        assert_eq!(access(&Caller::Key(key("owner")), &bucket), Access::Full);
        assert_eq!(access(&Caller::Key(key("guest")), &bucket), Access::ReadWrite);
        assert_eq!(access(&Caller::Key(key("other")), &bucket), Access::None);
        assert!(!Access::ReadWrite.allows(Action::Administer));
        assert!(!Access::Write.allows(Action::Read));
    }
}
