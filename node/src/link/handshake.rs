//! How two nodes come to trust a connection: TLS by their keys, then a hello from each side.
//!
//! A hello names the protocol version, the lane, and the cluster (a hash both must share), and proves the cluster secret:
//! an HMAC under that secret over what this one TLS session exports, so that a proof is worth nothing on any other
//! connection, and over the sender's role, so that it cannot be sent back. The side that listens speaks first. When TLS
//! fails there, the side that dialed has then sent nothing that is still unread, and learns the reason before the end.
//!
//! Both sides judge the other's hello, so both can say in their own log why they part.

use std::io;
use std::sync::Arc;

use ring::hmac;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::identity::ClusterSecret;
use super::tls::{self, Credentials};
use super::{Lane, PeerId};

/// The version of everything that follows on a connection. Nodes of different versions refuse each other.
pub(super) const PROTOCOL_VERSION: u16 = 3;

/// Ciphertext bytes read from the socket at once; TLS itself asks for a quarter of a record at a time.
const READ_AHEAD_BYTES: usize = 64 * 1024;

const MAGIC: [u8; 8] = *b"trellis\0";
const EXPORTER_LABEL: &[u8] = b"EXPORTER trellis link";
const PROOF_BYTES: usize = 32;
const HELLO_BYTES: usize = MAGIC.len() + 2 + 1 + 32 + PROOF_BYTES;

/// A connection on which both sides are who they should be.
pub(super) type Stream = TlsStream<BufReader<TcpStream>>;

/// Why a connection to or from a peer did not come about. Nothing but hellos was exchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// No TCP connection, or it ended early.
    #[error("connection failed: {0}")]
    Io(String),
    /// The handshake was not over in time.
    #[error("handshake timed out")]
    TimedOut,
    /// The other side has another key than the peer at this address should have, or one of another kind.
    #[error("the other side has an unexpected key")]
    WrongKey,
    /// The other side ended TLS: it does not take this node's key.
    #[error("the other side refused this node: {0}")]
    Refused(String),
    /// The other side does not speak TLS as we do.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// The other side is no node of ours, or of a version that shares nothing with this one.
    #[error("the other side sent something else than a hello")]
    Malformed,
    /// The other side runs another version.
    #[error("protocol version differs: ours is {ours}, theirs {theirs}")]
    VersionDiffers {
        /// Ours.
        ours: u16,
        /// Theirs.
        theirs: u16,
    },
    /// The other side does not know the cluster secret that this node has.
    #[error("cluster secret differs")]
    SecretDiffers,
    /// The other side began with another cluster layout.
    #[error("cluster layout differs: ours begins with {ours}, theirs with {theirs}")]
    ClusterDiffers {
        /// The first digits of our hash.
        ours: String,
        /// The first digits of theirs.
        theirs: String,
    },
}

/// What all handshakes of a node have in common.
pub(super) struct Handshaker {
    pub(super) credentials: Credentials,
    pub(super) secret: ClusterSecret,
    pub(super) cluster: [u8; 32],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Dials,
    Listens,
}

impl Handshaker {
    /// The dialing side's part.
    pub(super) async fn dial(&self, socket: TcpStream, peer: PeerId, lane: Lane) -> Result<Stream, HandshakeError> {
        let connector = TlsConnector::from(Arc::new(self.credentials.dial(peer)));
        let connecting = connector.connect_with(tls::server_name(), prepare(socket)?, |session| tls::widen(session));
        let mut stream = TlsStream::from(connecting.await?);
        let theirs = read_hello(&mut stream).await?;
        let binding = binding(&stream)?;
        self.send_hello(&mut stream, Role::Dials, lane, &binding).await?;
        self.judge(&theirs, Role::Listens, &binding).map(|_| stream)
    }

    /// The listening side's part.
    pub(super) async fn answer(&self, socket: TcpStream) -> Result<(PeerId, Lane, Stream), HandshakeError> {
        let acceptor = TlsAcceptor::from(Arc::new(self.credentials.listen()));
        let accepting = acceptor.accept_with(prepare(socket)?, |session| tls::widen(session));
        let mut stream = TlsStream::from(accepting.await?);
        let peer = tls::peer_of(stream.get_ref().1.peer_certificates()).ok_or(HandshakeError::WrongKey)?;
        let binding = binding(&stream)?;
        // Which lane it will be is for the side that dials to say.
        self.send_hello(&mut stream, Role::Listens, Lane::Control, &binding)
            .await?;
        let theirs = read_hello(&mut stream).await?;
        self.judge(&theirs, Role::Dials, &binding)
            .map(|lane| (peer, lane, stream))
    }

    async fn send_hello(&self, stream: &mut Stream, role: Role, lane: Lane, binding: &[u8; 32]) -> io::Result<()> {
        let claims = encode_claims(lane, &self.cluster);
        let proof = hmac::sign(&self.key(), &proven(role, binding, &claims));
        let hello = [claims.as_slice(), proof.as_ref()].concat();
        stream.write_all(&hello).await?;
        stream.flush().await
    }

    /// The order matters: another version may prove in another way, and only who knows the secret is told the rest.
    fn judge(&self, hello: &[u8; HELLO_BYTES], role: Role, binding: &[u8; 32]) -> Result<Lane, HandshakeError> {
        let (claims, proof) = hello.split_at(HELLO_BYTES - PROOF_BYTES);
        let Claims {
            magic,
            version,
            lane,
            cluster,
        } = decode_claims(claims).ok_or(HandshakeError::Malformed)?;
        if magic != MAGIC {
            return Err(HandshakeError::Malformed);
        }
        if version != PROTOCOL_VERSION {
            return Err(HandshakeError::VersionDiffers {
                ours: PROTOCOL_VERSION,
                theirs: version,
            });
        }
        // Compares in constant time.
        hmac::verify(&self.key(), &proven(role, binding, claims), proof).map_err(|_| HandshakeError::SecretDiffers)?;
        if cluster != self.cluster {
            let (ours, theirs) = (PeerId(self.cluster), PeerId(cluster));
            return Err(HandshakeError::ClusterDiffers {
                ours: format!("{ours:.8}"),
                theirs: format!("{theirs:.8}"),
            });
        }
        decode_lane(lane).ok_or(HandshakeError::Malformed)
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.secret.bytes())
    }
}

/// The part of a hello before its proof.
struct Claims {
    magic: [u8; 8],
    version: u16,
    lane: u8,
    cluster: [u8; 32],
}

fn encode_claims(lane: Lane, cluster: &[u8; 32]) -> Vec<u8> {
    [
        MAGIC.as_slice(),
        &PROTOCOL_VERSION.to_le_bytes(),
        &[encode_lane(lane)],
        cluster,
    ]
    .concat()
}

fn decode_claims(claims: &[u8]) -> Option<Claims> {
    let (magic, rest) = claims.split_first_chunk::<8>()?;
    let (version, rest) = rest.split_first_chunk::<2>()?;
    let (lane, rest) = rest.split_first()?;
    let (cluster, _) = rest.split_first_chunk::<32>()?;
    Some(Claims {
        magic: *magic,
        version: u16::from_le_bytes(*version),
        lane: *lane,
        cluster: *cluster,
    })
}

fn encode_lane(lane: Lane) -> u8 {
    match lane {
        Lane::Control => 0,
        Lane::Bulk => 1,
    }
}

fn decode_lane(byte: u8) -> Option<Lane> {
    [Lane::Control, Lane::Bulk]
        .into_iter()
        .find(|lane| encode_lane(*lane) == byte)
}

fn proven(role: Role, binding: &[u8; 32], claims: &[u8]) -> Vec<u8> {
    let role: &[u8] = match role {
        Role::Dials => b"dials",
        Role::Listens => b"listens",
    };
    [role, binding, claims].concat()
}

async fn read_hello(stream: &mut Stream) -> io::Result<[u8; HELLO_BYTES]> {
    let mut hello = [0; HELLO_BYTES];
    stream.read_exact(&mut hello).await?;
    Ok(hello)
}

/// Bytes that the two ends of this TLS session share with nobody.
fn binding(stream: &Stream) -> Result<[u8; 32], HandshakeError> {
    let exported = match stream {
        TlsStream::Client(stream) => stream.get_ref().1.export_keying_material([0; 32], EXPORTER_LABEL, None),
        TlsStream::Server(stream) => stream.get_ref().1.export_keying_material([0; 32], EXPORTER_LABEL, None),
    };
    exported.map_err(|error| HandshakeError::Tls(error.to_string()))
}

fn prepare(socket: TcpStream) -> io::Result<BufReader<TcpStream>> {
    socket.set_nodelay(true)?;
    Ok(BufReader::with_capacity(READ_AHEAD_BYTES, socket))
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => Self::WrongKey,
            Some(rustls::Error::AlertReceived(alert)) => Self::Refused(format!("{alert:?}")),
            Some(other) => Self::Tls(other.to_string()),
            None => Self::Io(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::identity::Identity;

    const BINDING: [u8; 32] = [7; 32];

    fn handshaker(secret: u8, cluster: u8) -> Handshaker {
        let credentials = Credentials::new(&Identity::generate());
        Handshaker {
            credentials,
            secret: ClusterSecret::new([secret; 32]),
            cluster: [cluster; 32],
        }
    }

    fn hello(from: &Handshaker, role: Role, binding: &[u8; 32]) -> [u8; HELLO_BYTES] {
        let claims = encode_claims(Lane::Bulk, &from.cluster);
        let proof = hmac::sign(&from.key(), &proven(role, binding, &claims));
        [claims.as_slice(), proof.as_ref()].concat().try_into().unwrap()
    }

    #[test]
    fn a_proof_holds_for_one_secret_one_session_and_one_role() {
        let ours = handshaker(1, 1);
        assert_eq!(
            ours.judge(&hello(&handshaker(1, 1), Role::Dials, &BINDING), Role::Dials, &BINDING),
            Ok(Lane::Bulk)
        );
        let refused = [
            (hello(&handshaker(2, 1), Role::Dials, &BINDING), "another secret"),
            (hello(&handshaker(1, 1), Role::Dials, &[8; 32]), "another session"),
            (
                hello(&handshaker(1, 1), Role::Listens, &BINDING),
                "our own proof sent back",
            ),
        ];
        for (hello, what) in refused {
            assert_eq!(
                ours.judge(&hello, Role::Dials, &BINDING),
                Err(HandshakeError::SecretDiffers),
                "{what}"
            );
        }
    }

    #[test]
    fn no_byte_of_a_hello_can_be_changed() {
        let ours = handshaker(1, 1);
        for position in 0..HELLO_BYTES {
            let mut hello = hello(&handshaker(1, 1), Role::Dials, &BINDING);
            hello[position] ^= 1;
            assert!(ours.judge(&hello, Role::Dials, &BINDING).is_err(), "byte {position}");
        }
    }

    #[test]
    fn differences_are_named() {
        let ours = handshaker(1, 1);
        let other_cluster = hello(&handshaker(1, 2), Role::Dials, &BINDING);
        let differs = HandshakeError::ClusterDiffers {
            ours: "01010101".into(),
            theirs: "02020202".into(),
        };
        assert_eq!(ours.judge(&other_cluster, Role::Dials, &BINDING), Err(differs));
        let mut other_version = hello(&handshaker(1, 1), Role::Dials, &BINDING);
        other_version[MAGIC.len()] = 9;
        let differs = HandshakeError::VersionDiffers {
            ours: PROTOCOL_VERSION,
            theirs: 9,
        };
        assert_eq!(ours.judge(&other_version, Role::Dials, &BINDING), Err(differs));
    }
}
