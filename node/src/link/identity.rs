//! Who a node is and which cluster it belongs to: the two secrets a node keeps, and the files they lie in.

use std::fmt::{self, Write as _};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};

use super::PeerId;

/// Permission bits that let anyone but the owner touch a file.
const FOREIGN_ACCESS_BITS: u32 = 0o077;

/// A secret file longer than this is not one of ours.
const SECRET_FILE_MAX_BYTES: u64 = 4096;

/// A node's ed25519 key pair. Its public half is the node's [`PeerId`].
#[derive(Clone)]
pub struct Identity {
    peer: PeerId,
    pkcs8: Vec<u8>,
}

/// What every node of a cluster knows and nobody else does.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterSecret([u8; 32]);

/// A secret file cannot be used. Nothing was changed on the disk, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// Others than the owner may read or write the file, so what is in it may not be a secret any more.
    #[error("{path} can be accessed by others than its owner (mode {mode:03o}); make a new secret, or run chmod 600")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file does not hold what it should.
    #[error("{path} does not hold {expected}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// Reading or writing failed. A file that was being made may lie beside its final name.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl Identity {
    /// A new identity that no file knows.
    pub fn generate() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .expect("the operating system gives randomness once it has booted");
        Self::from_pkcs8(document.as_ref()).expect("a key just made is well formed")
    }

    /// The identity in the file at `path`; at a node's first start there is none, and one is made.
    pub fn load_or_create(path: &Path) -> Result<Self, SecretFileError> {
        match read_secret(path) {
            Ok(pkcs8) => {
                let malformed = SecretFileError::Malformed {
                    path: path.into(),
                    expected: "an ed25519 key in PKCS#8",
                };
                Self::from_pkcs8(&pkcs8).ok_or(malformed)
            }
            Err(SecretFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let identity = Self::generate();
                write_secret(path, &identity.pkcs8)?;
                Ok(identity)
            }
            Err(error) => Err(error),
        }
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

    /// The secret in the file at `path`: 64 hexadecimal digits.
    pub fn load(path: &Path) -> Result<Self, SecretFileError> {
        let malformed = SecretFileError::Malformed {
            path: path.into(),
            expected: "64 hexadecimal digits",
        };
        let bytes = read_secret(path)?;
        let text = std::str::from_utf8(&bytes).ok();
        text.and_then(|text| digits(text.trim())).map(Self).ok_or(malformed)
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
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

fn read_secret(path: &Path) -> Result<Vec<u8>, SecretFileError> {
    let failed = |source| SecretFileError::Io {
        path: path.into(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    // The permissions of the open file, not of whatever lies at the path a moment later.
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & FOREIGN_ACCESS_BITS != 0 {
        return Err(SecretFileError::Exposed {
            path: path.into(),
            mode,
        });
    }
    let mut bytes = Vec::new();
    file.take(SECRET_FILE_MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(bytes)
}

/// Writes beside the final name and renames, so that a crash leaves no half of a key under it.
fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), SecretFileError> {
    let beside = path.with_extension("new");
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    };
    write().map_err(|source| SecretFileError::Io {
        path: path.into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_mode(path: &Path, bytes: &[u8], mode: u32) {
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn an_identity_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node-key");
        let made = Identity::load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Identity::load_or_create(&path).unwrap().peer_id(), made.peer_id());
        assert_ne!(Identity::generate().peer_id(), made.peer_id());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        for mode in [0o644, 0o640, 0o660, 0o602] {
            write_mode(&path, "ab".repeat(32).as_bytes(), mode);
            let refused = ClusterSecret::load(&path).unwrap_err();
            assert!(
                matches!(refused, SecretFileError::Exposed { mode: found, .. } if found == mode),
                "{refused}"
            );
        }
        write_mode(&path, b"0", 0o400);
        assert!(matches!(
            Identity::load_or_create(&path),
            Err(SecretFileError::Malformed { .. })
        ));
        assert_eq!(
            fs::read(&path).unwrap(),
            b"0",
            "a file that is no key is not overwritten"
        );
    }

    #[test]
    fn a_cluster_secret_is_64_digits_and_perhaps_a_line_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        write_mode(&path, format!("{}\n", "aB".repeat(32)).as_bytes(), 0o600);
        assert_eq!(ClusterSecret::load(&path).unwrap(), ClusterSecret::new([0xab; 32]));
        for text in [
            String::new(),
            "ab".repeat(31),
            "ag".repeat(32),
            "ab".repeat(33),
            "é".repeat(32),
        ] {
            write_mode(&path, text.as_bytes(), 0o600);
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
