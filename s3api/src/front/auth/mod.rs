//! Who sends a request: AWS Signature Version 4, in a header or in the query.
//!
//! The signature is checked here, in front of everything else, for three reasons. What comes out is a plain caller and a
//! [`Payload`] that says how the body is to be checked while it streams, in memory that does not grow with the size of a
//! chunk. Every `x-amz-` header must be signed, which keeps others from adding meaning to a request on its way. And the
//! errors are those that S3 names for each case, which tell a user what is wrong with the clock, the key or the region.

mod scheme;
mod signature;

use hyper::http::request::Parts;

use super::clock::{self, WallTime};
use super::fault::{Code, Fault};
use super::uri::Query;
use crate::bucket::{AccessKey, Caller, Credential, Secret};
use crate::object::unhex;
use scheme::{Claim, Place};
pub(super) use signature::ChunkSigner;
use signature::SigningKey;

const HASH_HEADER: &str = "x-amz-content-sha256";
/// How far the clock of a client may be off.
const MAX_SKEW_SECONDS: i64 = 15 * 60;
/// The longest life of a presigned URL: a week.
const PRESIGNED_MAX_SECONDS: i64 = 7 * 24 * 3600;

/// A checked request.
pub(super) struct Authenticated {
    pub(super) caller: Caller,
    pub(super) credential: Option<Credential>,
    pub(super) payload: Payload,
}

/// How the body is protected.
pub(super) enum Payload {
    /// Not at all, besides what checksums say.
    Unsigned,
    /// By its SHA-256.
    Hash([u8; 32]),
    /// In chunks; each is signed if there is a signer.
    Chunks(Option<ChunkSigner>, Trailer),
}

/// Whether headers follow the last chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trailer {
    /// No.
    Absent,
    /// Yes.
    Present,
}

/// Checks a request of which nothing is known yet. `find` looks the key up.
pub(super) async fn authenticate<F: Future<Output = Result<Option<Credential>, Fault>>>(
    parts: &Parts,
    query: &Query,
    region: &str,
    now: WallTime,
    find: impl FnOnce(AccessKey) -> F,
) -> Result<Authenticated, Fault> {
    let Some(claim) = scheme::claim(parts, query)? else {
        let payload = payload(header(parts, HASH_HEADER), None)?;
        return Ok(Authenticated {
            caller: Caller::Anonymous,
            credential: None,
            payload,
        });
    };
    check_scope(&claim, region)?;
    check_time(&claim, now)?;
    if parts.headers.contains_key("x-amz-security-token") || query.has("X-Amz-Security-Token") {
        return Err(Code::InvalidToken.into());
    }
    check_signed_headers(&claim, parts)?;
    let key = AccessKey(claim.access_key.clone());
    let unknown = || Fault::new(Code::InvalidAccessKeyId).field("AWSAccessKeyId", key.as_str());
    let credential = find(key.clone()).await?.ok_or_else(unknown)?;
    let hash = payload_hash(&claim, parts, query)?;
    let signer = check_signature(&claim, parts, &credential.secret, hash)?;
    Ok(Authenticated {
        caller: Caller::Key(key),
        credential: Some(credential),
        payload: payload(Some(hash), Some(signer))?,
    })
}

/// Goes as far with arbitrary requests as one can without knowing a secret.
pub(super) fn claimed(parts: &Parts, query: &Query) {
    let Ok(Some(claim)) = scheme::claim(parts, query) else {
        return;
    };
    let _ = check_scope(&claim, "us-east-1");
    let _ = check_time(&claim, WallTime::from_seconds(0));
    let _ = check_signed_headers(&claim, parts);
    if let Ok(hash) = payload_hash(&claim, parts, query) {
        let secret = Secret("secret".to_owned());
        let signer = check_signature(&claim, parts, &secret, hash);
        assert!(signer.is_err(), "a signature that nobody made fits");
        let _ = payload(Some(hash), None);
    }
}

fn check_scope(claim: &Claim, region: &str) -> Result<(), Fault> {
    let malformed = |text: String| match claim.place {
        Place::Header => Fault::with(
            Code::AuthorizationHeaderMalformed,
            format!("The authorization header is malformed; {text}"),
        ),
        Place::Query { .. } => Fault::with(
            Code::AuthorizationQueryParametersError,
            format!("Error parsing the X-Amz-Credential parameter; {text}"),
        ),
    };
    let scope = &claim.scope;
    if scope.service != "s3" {
        return Err(malformed(format!(
            "incorrect service \"{}\". This endpoint belongs to \"s3\".",
            scope.service
        )));
    }
    if scope.region != region {
        let text = format!("the region '{}' is wrong; expecting '{region}'", scope.region);
        return Err(malformed(text)
            .field("Region", region)
            .header("x-amz-bucket-region", region));
    }
    if !claim.date.starts_with(&scope.date) {
        return Err(malformed(format!("Invalid credential date \"{}\".", scope.date)));
    }
    Ok(())
}

fn check_time(claim: &Claim, now: WallTime) -> Result<(), Fault> {
    let signed = clock::parse_compact(&claim.date).ok_or_else(|| {
        Fault::with(
            Code::AccessDenied,
            "AWS authentication requires a valid Date or x-amz-date header",
        )
    })?;
    let age = now.seconds() - signed.seconds();
    let server_time = clock::iso(now);
    match claim.place {
        Place::Header if age.abs() > MAX_SKEW_SECONDS => Err(Fault::new(Code::RequestTimeTooSkewed)
            .field("RequestTime", &claim.date)
            .field("ServerTime", server_time)
            .field("MaxAllowedSkewMilliseconds", (MAX_SKEW_SECONDS * 1000).to_string())),
        Place::Query { .. } if -age > MAX_SKEW_SECONDS => {
            Err(Fault::with(Code::AccessDenied, "Request is not valid yet").field("ServerTime", server_time))
        }
        Place::Query { expires_seconds } if age > expires_seconds => {
            Err(Fault::with(Code::AccessDenied, "Request has expired")
                .field("X-Amz-Expires", expires_seconds.to_string())
                .field(
                    "Expires",
                    clock::iso(WallTime::from_seconds(signed.seconds() + expires_seconds)),
                )
                .field("ServerTime", server_time))
        }
        Place::Header | Place::Query { .. } => Ok(()),
    }
}

/// What changes the meaning of a request must be signed.
fn check_signed_headers(claim: &Claim, parts: &Parts) -> Result<(), Fault> {
    let signed = |name: &str| claim.signed_headers.iter().any(|signed| signed == name);
    let amz = parts
        .headers
        .keys()
        .map(hyper::header::HeaderName::as_str)
        .filter(|name| name.starts_with("x-amz-"));
    let missing: Vec<&str> = std::iter::once("host")
        .chain(amz)
        .filter(|name| !signed(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let text = "There were headers present in the request which were not signed";
    Err(Fault::with(Code::AccessDenied, text).field("HeadersNotSigned", missing.join(", ")))
}

/// What was signed in place of the body.
fn payload_hash<'r>(claim: &Claim, parts: &'r Parts, query: &'r Query) -> Result<&'r str, Fault> {
    match (claim.place, header(parts, HASH_HEADER)) {
        (_, Some(hash)) => Ok(hash),
        (Place::Query { .. }, None) => Ok(query.text("X-Amz-Content-Sha256").unwrap_or("UNSIGNED-PAYLOAD")),
        (Place::Header, None) => {
            let text = "Missing required header for this request: x-amz-content-sha256";
            Err(Fault::with(Code::InvalidRequest, text))
        }
    }
}

fn check_signature(claim: &Claim, parts: &Parts, secret: &Secret, hash: &str) -> Result<ChunkSigner, Fault> {
    let key = SigningKey::derive(secret, &claim.scope);
    let mut to_sign = String::new();
    for request in signature::canonical_requests(parts, &claim.signed_headers, hash) {
        to_sign = signature::string_to_sign(&claim.date, &claim.scope, &request);
        if key.matches(to_sign.as_bytes(), &claim.signature) {
            return Ok(ChunkSigner::new(key, &claim.date, &claim.scope, &claim.signature));
        }
    }
    Err(Fault::new(Code::SignatureDoesNotMatch)
        .field("AWSAccessKeyId", &claim.access_key)
        .field("StringToSign", to_sign)
        .field("SignatureProvided", &claim.signature))
}

fn payload(hash: Option<&str>, signer: Option<ChunkSigner>) -> Result<Payload, Fault> {
    let Some(text) = hash else { return Ok(Payload::Unsigned) };
    match text {
        "UNSIGNED-PAYLOAD" => Ok(Payload::Unsigned),
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Ok(Payload::Chunks(None, Trailer::Present)),
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => signed_chunks(signer, Trailer::Absent),
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => signed_chunks(signer, Trailer::Present),
        text if text.starts_with("STREAMING-AWS4-ECDSA") => Err(Fault::not_implemented("Signature Version 4A")),
        text => unhex(&text.to_ascii_lowercase()).map(Payload::Hash).ok_or_else(|| {
            let message = "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, \
                           STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, or a valid \
                           sha256 value.";
            Fault::argument("x-amz-content-sha256", text, message)
        }),
    }
}

fn signed_chunks(signer: Option<ChunkSigner>, trailer: Trailer) -> Result<Payload, Fault> {
    let signer = signer.ok_or_else(|| Fault::with(Code::AccessDenied, "Signed chunks need a signed request"))?;
    Ok(Payload::Chunks(Some(signer), trailer))
}

fn header<'p>(parts: &'p Parts, name: &str) -> Option<&'p str> {
    parts.headers.get(name).and_then(|value| value.to_str().ok())
}
