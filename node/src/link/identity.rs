//! Who a node is and which cluster it belongs to: the two secrets that a node keeps.

use std::fmt::{self, Write as _};
use std::path::Path;
use std::str::FromStr;

use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};

use super::PeerId;
use crate::secret_file::{self, SecretFileError};

/// A node's ed25519 key pair. Its public half is the node's [`PeerId`].
#[derive(Clone)]
pub struct Identity {
    peer: PeerId,
    pkcs8: Vec<u8>,
}

/// What every node of a cluster knows and nobody else does.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterSecret([u8; 32]);

impl Identity {
    /// A new identity that no file knows.
    pub fn generate() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .expect("the operating system gives randomness once it has booted");
        Self::from_pkcs8(document.as_ref()).expect("a key just made is well formed")
    }

    /// The identity in the file at `path`, if there is one.
    pub fn load(path: &Path) -> Result<Option<Self>, SecretFileError> {
        let Some(pkcs8) = secret_file::read(path)? else {
            return Ok(None);
        };
        let identity = Self::from_pkcs8(&pkcs8);
        identity
            .map(Some)
            .ok_or_else(|| secret_file::malformed(path, "an ed25519 key in PKCS#8"))
    }

    /// The identity in the file at `path`; at a node's first start there is none, and one is made.
    pub fn load_or_create(path: &Path) -> Result<Self, SecretFileError> {
        if let Some(identity) = Self::load(path)? {
            return Ok(identity);
        }
        let identity = Self::generate();
        secret_file::write(path, &identity.pkcs8)?;
        Ok(identity)
    }

    /// The public half.
    pub fn peer_id(&self) -> PeerId {
        self.peer
    }

    pub(super) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    fn from_pkcs8(pkcs8: &[u8]) -> Option<Self> {
        let key = Ed25519KeyPair::from_pkcs8(pkcs8).ok()?;
        let peer = PeerId(key.public_key().as_ref().try_into().ok()?);
        Some(Self {
            peer,
            pkcs8: pkcs8.to_vec(),
        })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.peer)
    }
}

impl ClusterSecret {
    /// A secret made of 32 random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret that is written as 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        digits(text.trim()).map(Self)
    }

    /// The secret in the file at `path`, if there is one: 64 hexadecimal digits.
    pub fn load(path: &Path) -> Result<Option<Self>, SecretFileError> {
        let Some(text) = secret_file::read_text(path)? else {
            return Ok(None);
        };
        let secret = Self::parse(&text);
        secret
            .map(Some)
            .ok_or_else(|| secret_file::malformed(path, "64 hexadecimal digits"))
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret")
    }
}

/// A text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a node id has 64 hexadecimal digits")]
pub struct NotAPeerId;

impl FromStr for PeerId {
    type Err = NotAPeerId;

    fn from_str(text: &str) -> Result<Self, NotAPeerId> {
        digits(text).map(Self).ok_or(NotAPeerId)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // With a precision, only the first digits, as `{peer:.8}` in logs.
        let text = self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes what is written");
            text
        });
        f.pad(&text)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({self:.8})")
    }
}

fn digits(text: &str) -> Option<[u8; 32]> {
    let text = text.as_bytes();
    let nibble = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = [0; 32];
    if text.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_identity_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node-key");
        assert!(Identity::load(&path).unwrap().is_none());
        let made = Identity::load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Identity::load_or_create(&path).unwrap().peer_id(), made.peer_id());
        assert_ne!(Identity::generate().peer_id(), made.peer_id());
    }

    #[test]
    fn a_file_that_is_no_key_is_refused_and_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node-key");
        secret_file::write(&path, b"0").unwrap();
        let refused = Identity::load_or_create(&path);
        assert!(matches!(refused, Err(SecretFileError::Malformed { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"0");
    }

    #[test]
    fn a_cluster_secret_is_64_digits_and_perhaps_a_line_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        assert_eq!(ClusterSecret::load(&path).unwrap(), None);
        secret_file::write(&path, format!("{}\n", "aB".repeat(32)).as_bytes()).unwrap();
        assert_eq!(
            ClusterSecret::load(&path).unwrap(),
            Some(ClusterSecret::new([0xab; 32]))
        );
        for text in [
            String::new(),
            "ab".repeat(31),
            "ag".repeat(32),
            "ab".repeat(33),
            "é".repeat(32),
        ] {
            secret_file::write(&path, text.as_bytes()).unwrap();
            assert!(
                matches!(ClusterSecret::load(&path), Err(SecretFileError::Malformed { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn a_peer_id_reads_back_what_it_prints() {
        let peer = Identity::generate().peer_id();
        assert_eq!(peer.to_string().parse(), Ok(peer));
        assert_eq!(format!("{:.8}", PeerId([0x5a; 32])), "5a5a5a5a");
        assert_eq!("5a".parse::<PeerId>(), Err(NotAPeerId));
    }
}
