//! The checksums of S3: values, their text, running computation and the combination of parts.

use crc_fast::CrcAlgorithm;
use serde::{Deserialize, Serialize};
use sha1::Digest as _;

use crate::object::Etag;

/// A checksum algorithm of S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// CRC-32 (ISO HDLC).
    Crc32,
    /// CRC-32C (Castagnoli).
    Crc32c,
    /// CRC-64/NVME; what S3 computes when the client names none.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

/// A checksum: the algorithm and the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Checksum {
    /// CRC-32.
    Crc32(u32),
    /// CRC-32C.
    Crc32c(u32),
    /// CRC-64/NVME.
    Crc64Nvme(u64),
    /// SHA-1.
    Sha1([u8; 20]),
    /// SHA-256.
    Sha256([u8; 32]),
}

/// What a checksum of an object in parts covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ChecksumKind {
    /// The bytes of the object.
    FullObject,
    /// The checksums of its parts, one after the other.
    Composite,
}

/// The checksum of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectChecksum {
    /// The value; for [`ChecksumKind::Composite`] the client sees it with `-` and the number of parts behind it.
    pub value: Checksum,
    /// What it covers.
    pub kind: ChecksumKind,
}

/// What was computed over a body while it passed by. Only a body that ended cleanly has digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests {
    /// Its length in bytes.
    pub size: u64,
    /// Its MD5.
    pub md5: [u8; 16],
    /// The checksum that the client asked for (CRC64NVME if it named none) and those the store asked for.
    pub checksums: Vec<Checksum>,
}

/// A computation in progress.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Crc(Algorithm, crc_fast::Digest),
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Algorithm; 5] = [
        Algorithm::Crc32,
        Algorithm::Crc32c,
        Algorithm::Crc64Nvme,
        Algorithm::Sha1,
        Algorithm::Sha256,
    ];

    /// Its name in `x-amz-checksum-algorithm`.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Crc32 => "CRC32",
            Algorithm::Crc32c => "CRC32C",
            Algorithm::Crc64Nvme => "CRC64NVME",
            Algorithm::Sha1 => "SHA1",
            Algorithm::Sha256 => "SHA256",
        }
    }

    /// The algorithm of that name, in any case.
    pub fn parse(name: &str) -> Option<Algorithm> {
        Algorithm::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// The header or trailer that carries its value.
    pub fn header(self) -> &'static str {
        match self {
            Algorithm::Crc32 => "x-amz-checksum-crc32",
            Algorithm::Crc32c => "x-amz-checksum-crc32c",
            Algorithm::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Algorithm::Sha1 => "x-amz-checksum-sha1",
            Algorithm::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// What it covers in an object of several parts unless the client says otherwise.
    pub fn default_kind(self) -> ChecksumKind {
        match self {
            Algorithm::Crc64Nvme => ChecksumKind::FullObject,
            Algorithm::Crc32 | Algorithm::Crc32c | Algorithm::Sha1 | Algorithm::Sha256 => ChecksumKind::Composite,
        }
    }

    /// Whether S3 offers it with this coverage: only CRCs combine to one of the whole object, and CRC64NVME has no other.
    pub fn offers(self, kind: ChecksumKind) -> bool {
        match (self, kind) {
            (Algorithm::Crc64Nvme, kind) => kind == ChecksumKind::FullObject,
            (Algorithm::Crc32 | Algorithm::Crc32c, _) => true,
            (Algorithm::Sha1 | Algorithm::Sha256, kind) => kind == ChecksumKind::Composite,
        }
    }

    /// Starts a computation.
    pub fn hasher(self) -> Hasher {
        Hasher(match self {
            Algorithm::Crc32 => State::Crc(self, crc_fast::Digest::new(CrcAlgorithm::Crc32IsoHdlc)),
            Algorithm::Crc32c => State::Crc(self, crc_fast::Digest::new(CrcAlgorithm::Crc32Iscsi)),
            Algorithm::Crc64Nvme => State::Crc(self, crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme)),
            Algorithm::Sha1 => State::Sha1(sha1::Sha1::new()),
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
        })
    }
}

impl Hasher {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Crc(_, digest) => digest.update(bytes),
            State::Sha1(digest) => digest.update(bytes),
            State::Sha256(digest) => digest.update(bytes),
        }
    }

    /// Which algorithm this computes.
    pub fn algorithm(&self) -> Algorithm {
        match &self.0 {
            State::Crc(algorithm, _) => *algorithm,
            State::Sha1(_) => Algorithm::Sha1,
            State::Sha256(_) => Algorithm::Sha256,
        }
    }

    /// The checksum of what was taken.
    pub fn finish(self) -> Checksum {
        match self.0 {
            State::Crc(algorithm, digest) => crc(algorithm, digest.finalize()),
            State::Sha1(digest) => Checksum::Sha1(digest.finalize().into()),
            State::Sha256(digest) => Checksum::Sha256(digest.finalize().into()),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a 32-bit CRC fills the lower half of the register"
)]
fn crc(algorithm: Algorithm, value: u64) -> Checksum {
    match algorithm {
        Algorithm::Crc32c => Checksum::Crc32c(value as u32),
        Algorithm::Crc64Nvme => Checksum::Crc64Nvme(value),
        Algorithm::Crc32 | Algorithm::Sha1 | Algorithm::Sha256 => Checksum::Crc32(value as u32),
    }
}

impl Checksum {
    /// The checksum of `bytes`.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Checksum {
        let mut hasher = algorithm.hasher();
        hasher.update(bytes);
        hasher.finish()
    }

    /// Its algorithm.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Checksum::Crc32(_) => Algorithm::Crc32,
            Checksum::Crc32c(_) => Algorithm::Crc32c,
            Checksum::Crc64Nvme(_) => Algorithm::Crc64Nvme,
            Checksum::Sha1(_) => Algorithm::Sha1,
            Checksum::Sha256(_) => Algorithm::Sha256,
        }
    }

    /// Its bytes, most significant first.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Checksum::Crc32(value) | Checksum::Crc32c(value) => value.to_be_bytes().to_vec(),
            Checksum::Crc64Nvme(value) => value.to_be_bytes().to_vec(),
            Checksum::Sha1(value) => value.to_vec(),
            Checksum::Sha256(value) => value.to_vec(),
        }
    }

    /// Its text on the wire.
    pub fn to_base64(&self) -> String {
        base64_simd::STANDARD.encode_to_string(self.to_bytes())
    }

    /// Reads the text on the wire; `None` if it is not base64 of the right length.
    pub fn from_base64(algorithm: Algorithm, text: &str) -> Option<Checksum> {
        let bytes = base64_simd::STANDARD.decode_to_vec(text).ok()?;
        Some(match algorithm {
            Algorithm::Crc32 => Checksum::Crc32(u32::from_be_bytes(bytes.try_into().ok()?)),
            Algorithm::Crc32c => Checksum::Crc32c(u32::from_be_bytes(bytes.try_into().ok()?)),
            Algorithm::Crc64Nvme => Checksum::Crc64Nvme(u64::from_be_bytes(bytes.try_into().ok()?)),
            Algorithm::Sha1 => Checksum::Sha1(bytes.try_into().ok()?),
            Algorithm::Sha256 => Checksum::Sha256(bytes.try_into().ok()?),
        })
    }

    /// The checksum of the bytes of `self` followed by `len` bytes whose checksum is `next`; `None` if the two differ in
    /// algorithm or it is not a CRC.
    pub fn combine(self, next: Checksum, len: u64) -> Option<Checksum> {
        let join = |kind, a, b| crc_fast::checksum_combine(kind, a, b, len);
        match (self, next) {
            (Checksum::Crc32(a), Checksum::Crc32(b)) => Some(crc(
                Algorithm::Crc32,
                join(CrcAlgorithm::Crc32IsoHdlc, a.into(), b.into()),
            )),
            (Checksum::Crc32c(a), Checksum::Crc32c(b)) => Some(crc(
                Algorithm::Crc32c,
                join(CrcAlgorithm::Crc32Iscsi, a.into(), b.into()),
            )),
            (Checksum::Crc64Nvme(a), Checksum::Crc64Nvme(b)) => {
                Some(Checksum::Crc64Nvme(join(CrcAlgorithm::Crc64Nvme, a, b)))
            }
            (
                Checksum::Crc32(_)
                | Checksum::Crc32c(_)
                | Checksum::Crc64Nvme(_)
                | Checksum::Sha1(_)
                | Checksum::Sha256(_),
                _,
            ) => None,
        }
    }
}

impl ObjectChecksum {
    /// The text on the wire; `parts` is the number of parts of the object.
    pub fn to_text(&self, parts: usize) -> String {
        match self.kind {
            ChecksumKind::FullObject => self.value.to_base64(),
            ChecksumKind::Composite => format!("{}-{parts}", self.value.to_base64()),
        }
    }
}

impl ChecksumKind {
    /// Its name in `x-amz-checksum-type`.
    pub fn name(self) -> &'static str {
        match self {
            ChecksumKind::FullObject => "FULL_OBJECT",
            ChecksumKind::Composite => "COMPOSITE",
        }
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<ChecksumKind> {
        [ChecksumKind::FullObject, ChecksumKind::Composite]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

impl Digests {
    /// The entity tag of an object with these bytes.
    pub fn etag(&self) -> Etag {
        Etag::of_md5(self.md5)
    }

    /// The checksum in `algorithm`, if it was computed.
    pub fn checksum(&self, algorithm: Algorithm) -> Option<Checksum> {
        self.checksums
            .iter()
            .copied()
            .find(|checksum| checksum.algorithm() == algorithm)
    }

    /// The checksum to keep with an object that came in one piece: the one the client asked for.
    pub fn object_checksum(&self) -> Option<ObjectChecksum> {
        self.checksums.first().map(|&value| ObjectChecksum {
            value,
            kind: ChecksumKind::FullObject,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The check values of the catalogue of CRCs, and of FIPS 180.
    #[test]
    fn known_values() {
        let of = |algorithm| Checksum::of(algorithm, b"123456789");
        assert_eq!(of(Algorithm::Crc32), Checksum::Crc32(0xcbf4_3926));
        assert_eq!(of(Algorithm::Crc32c), Checksum::Crc32c(0xe306_9283));
        assert_eq!(of(Algorithm::Crc64Nvme), Checksum::Crc64Nvme(0xae8b_1486_0a79_9888));
        let sha1 = Checksum::of(Algorithm::Sha1, b"abc").to_base64();
        assert_eq!(sha1, "qZk+NkcGgWq6PiVxeFDCbJzQ2J0=");
        let sha256 = Checksum::of(Algorithm::Sha256, b"").to_base64();
        assert_eq!(sha256, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }

    #[test]
    fn text_round_trips_and_wrong_lengths_are_refused() {
        for algorithm in Algorithm::ALL {
            let checksum = Checksum::of(algorithm, b"trellis");
            assert_eq!(Checksum::from_base64(algorithm, &checksum.to_base64()), Some(checksum));
            assert_eq!(Checksum::from_base64(algorithm, "AAA="), None);
            assert_eq!(Checksum::from_base64(algorithm, "?"), None);
            assert_eq!(Algorithm::parse(&algorithm.name().to_lowercase()), Some(algorithm));
        }
    }

    #[test]
    fn crcs_combine_and_hashes_do_not() {
        let (a, b) = (b"hello ".as_slice(), b"trellis".as_slice());
        for algorithm in Algorithm::ALL {
            let whole = Checksum::of(algorithm, &[a, b].concat());
            let joined = Checksum::of(algorithm, a).combine(Checksum::of(algorithm, b), b.len() as u64);
            assert_eq!(joined, algorithm.offers(ChecksumKind::FullObject).then_some(whole));
        }
    }
}
