//! TLS between nodes: version 1.3, raw public keys (RFC 7250) in place of certificates.
//!
//! A node's public key is its name, so there is nothing for a certificate to say: no issuer, no validity, no X.509 to
//! parse. The side that dials accepts exactly the key of the peer it wants; the side that listens accepts any key, for who
//! belongs to the cluster is shown by the hello that follows. Either way the key must sign the handshake.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
};

use super::PeerId;
use super::identity::Identity;

/// What precedes the 32 bytes of an ed25519 key in its SubjectPublicKeyInfo (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Plaintext bytes that a session encrypts ahead of the socket, which is the size of one write to it.
const ENCRYPTED_AHEAD_MAX_BYTES: usize = 256 * 1024;

/// This node's side of every TLS handshake.
pub(super) struct Credentials {
    provider: Arc<CryptoProvider>,
    key: Arc<CertifiedKey>,
}

impl Credentials {
    pub(super) fn new(identity: &Identity) -> Self {
        let provider = Arc::new(provider());
        let private_key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(identity.pkcs8().to_vec()));
        let signer = provider
            .key_provider
            .load_private_key(private_key)
            .expect("an identity holds a key ring made");
        let public_key = CertificateDer::from(encode_key(identity.peer_id()));
        Self {
            provider,
            key: Arc::new(CertifiedKey::new(vec![public_key], signer)),
        }
    }

    /// How to dial `peer`, and nobody else.
    pub(super) fn dial(&self, peer: PeerId) -> ClientConfig {
        let verifier = Expected {
            peer,
            algorithms: self.provider.signature_verification_algorithms,
        };
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has suites for TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&self.key))));
        // Every connection proves itself anew; a ticket would outlive a change of membership.
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        config
    }

    /// How to answer whoever has a key.
    pub(super) fn listen(&self) -> ServerConfig {
        let verifier = AnyKey {
            algorithms: self.provider.signature_verification_algorithms,
        };
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has suites for TLS 1.3")
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::clone(&self.key))));
        config.send_tls13_tickets = 0;
        config
    }
}

/// The name that TLS asks for and that raw public keys do not need.
pub(super) fn server_name() -> ServerName<'static> {
    ServerName::try_from("trellis").expect("a plain word is a host name")
}

/// Lets a session encrypt enough ahead that a block takes few system calls.
pub(super) fn widen<S: rustls::SideData>(session: &mut rustls::ConnectionCommon<S>) {
    session.set_buffer_limit(Some(ENCRYPTED_AHEAD_MAX_BYTES));
}

/// The key of the other side of a session that is set up.
pub(super) fn peer_of(certificates: Option<&[CertificateDer<'_>]>) -> Option<PeerId> {
    decode_key(certificates?.first()?)
}

/// AES-128 before the others: it is the fastest where the processor knows AES, and links are what blocks wait for.
fn provider() -> CryptoProvider {
    let mut provider = ring::default_provider();
    provider.cipher_suites = vec![
        ring::cipher_suite::TLS13_AES_128_GCM_SHA256,
        ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ring::cipher_suite::TLS13_AES_256_GCM_SHA384,
    ];
    provider
}

fn encode_key(peer: PeerId) -> Vec<u8> {
    [SPKI_PREFIX.as_slice(), &peer.0].concat()
}

fn decode_key(der: &[u8]) -> Option<PeerId> {
    der.strip_prefix(&SPKI_PREFIX)?.try_into().ok().map(PeerId)
}

fn verify_signature(
    message: &[u8],
    key: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let key = SubjectPublicKeyInfoDer::from(key.as_ref());
    verify_tls13_signature_with_raw_key(message, &key, signature, algorithms)
}

/// TLS 1.2 is not offered; were it ever reached, its signatures are worth nothing.
fn refuse_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("links speak TLS 1.3 only".into()))
}

/// Accepts one key.
#[derive(Debug)]
struct Expected {
    peer: PeerId,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Expected {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match decode_key(end_entity) {
            Some(peer) if peer == self.peer => Ok(ServerCertVerified::assertion()),
            Some(_) | None => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, key, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Accepts every key of the right kind.
#[derive(Debug)]
struct AnyKey {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match decode_key(end_entity) {
            Some(_) => Ok(ClientCertVerified::assertion()),
            None => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, key, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
