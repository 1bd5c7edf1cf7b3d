//! The arithmetic of Signature Version 4: canonical requests, keys, and the signatures of chunks.

use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::http::request::Parts;
use sha2::{Digest as _, Sha256};

use super::super::uri::{decode_bytes, encode};
use crate::bucket::Secret;
use crate::object::{hex, unhex};

/// What a signing key is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scope {
    /// `YYYYMMDD`.
    pub(super) date: String,
    pub(super) region: String,
    pub(super) service: String,
}

/// The key of one day, region and service.
#[derive(Clone)]
pub(super) struct SigningKey([u8; 32]);

/// Checks the chunks of a body: each signature covers the one before it.
#[derive(Clone)]
pub(in super::super) struct ChunkSigner {
    key: SigningKey,
    date: String,
    scope: String,
    previous: String,
}

impl Scope {
    fn text(&self) -> String {
        format!("{}/{}/{}/aws4_request", self.date, self.region, self.service)
    }
}

impl SigningKey {
    /// Derives the key from the secret.
    pub(super) fn derive(secret: &Secret, scope: &Scope) -> SigningKey {
        let date = hmac(format!("AWS4{}", secret.0).as_bytes(), scope.date.as_bytes());
        let region = hmac(&date, scope.region.as_bytes());
        let service = hmac(&region, scope.service.as_bytes());
        SigningKey(hmac(&service, b"aws4_request"))
    }

    /// Whether `signature` is the one of `text`; takes the same time whatever the answer.
    pub(super) fn matches(&self, text: &[u8], signature: &str) -> bool {
        let Some(signature) = unhex::<32>(signature) else {
            return false;
        };
        let mac = Hmac::<Sha256>::new_from_slice(&self.0).map(|mac| mac.chain_update(text));
        mac.is_ok_and(|mac| mac.verify_slice(&signature).is_ok())
    }
}

impl ChunkSigner {
    pub(super) fn new(key: SigningKey, date: &str, scope: &Scope, seed: &str) -> ChunkSigner {
        ChunkSigner {
            key,
            date: date.to_owned(),
            scope: scope.text(),
            previous: seed.to_owned(),
        }
    }

    /// Checks a chunk by the SHA-256 of its bytes; on success the next chunk is awaited.
    pub(in super::super) fn check_chunk(&mut self, sha256: [u8; 32], signature: &str) -> bool {
        let empty = hex(&Sha256::digest(b""));
        let (
            ChunkSigner {
                date, scope, previous, ..
            },
            hash,
        ) = (&*self, hex(&sha256));
        let text = format!("AWS4-HMAC-SHA256-PAYLOAD\n{date}\n{scope}\n{previous}\n{empty}\n{hash}");
        self.advance(&text, signature)
    }

    /// Checks the trailers in their canonical form, `name:value` and a line feed each.
    pub(in super::super) fn check_trailer(&mut self, trailers: &str, signature: &str) -> bool {
        let (
            ChunkSigner {
                date, scope, previous, ..
            },
            hash,
        ) = (&*self, hex(&Sha256::digest(trailers)));
        let text = format!("AWS4-HMAC-SHA256-TRAILER\n{date}\n{scope}\n{previous}\n{hash}");
        self.advance(&text, signature)
    }

    fn advance(&mut self, text: &str, signature: &str) -> bool {
        let good = self.key.matches(text.as_bytes(), signature);
        signature.clone_into(&mut self.previous);
        good
    }
}

/// The text that a signature covers.
pub(super) fn string_to_sign(date: &str, scope: &Scope, canonical_request: &str) -> String {
    let hash = hex(&Sha256::digest(canonical_request));
    format!("AWS4-HMAC-SHA256\n{date}\n{}\n{hash}", scope.text())
}

/// The canonical forms of a request that a client may have signed: with the path coded as the rules say, and with the path
/// exactly as it was sent, which is what some clients sign.
pub(super) fn canonical_requests(parts: &Parts, signed_headers: &[String], payload: &str) -> Vec<String> {
    let sent = parts.uri.path();
    let coded = encode(&decode_bytes(sent), b"/");
    let paths = if coded == sent {
        vec![coded]
    } else {
        vec![coded, sent.to_owned()]
    };
    let query = canonical_query(parts.uri.query().unwrap_or_default());
    let headers: String = signed_headers
        .iter()
        .map(|name| format!("{name}:{}\n", canonical_header(parts, name)))
        .collect();
    let names = signed_headers.join(";");
    let method = &parts.method;
    paths
        .iter()
        .map(|path| format!("{method}\n{path}\n{query}\n{headers}\n{names}\n{payload}"))
        .collect()
}

fn canonical_query(query: &str) -> String {
    let recode = |text: &str| encode(&decode_bytes(&text.replace('+', " ")), b"");
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (recode(name), recode(value))
    };
    let mut pairs: Vec<(String, String)> = query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect();
    pairs.retain(|(name, _)| name != "X-Amz-Signature");
    pairs.sort();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

/// The values of a header, joined by commas, trimmed, with runs of spaces made one.
fn canonical_header(parts: &Parts, name: &str) -> String {
    if name == "host" && !parts.headers.contains_key(name) {
        // HTTP/2 carries the host in the target.
        return parts.uri.authority().map(ToString::to_string).unwrap_or_default();
    }
    let values = parts.headers.get_all(name).iter();
    let values = values.map(|value| {
        let text = String::from_utf8_lossy(value.as_bytes());
        text.split(' ')
            .filter(|word| !word.is_empty())
            .collect::<Vec<&str>>()
            .join(" ")
    });
    values.collect::<Vec<String>>().join(",")
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.chain_update(text).finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    fn scope() -> Scope {
        let text = str::to_owned;
        Scope {
            date: text("20130524"),
            region: text("us-east-1"),
            service: text("s3"),
        }
    }

    // The worked examples of the S3 documentation, "Authenticating Requests: Using the Authorization Header".
    #[test]
    fn documented_get_object() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let request = Request::get("/test.txt")
            .header("host", "examplebucket.s3.amazonaws.com")
            .header("range", "bytes=0-9")
            .header("x-amz-content-sha256", empty)
            .header("x-amz-date", "20130524T000000Z");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let signed = ["host", "range", "x-amz-content-sha256", "x-amz-date"].map(str::to_owned);
        let requests = canonical_requests(&parts, &signed, empty);
        let to_sign = string_to_sign("20130524T000000Z", &scope(), &requests[0]);
        let key = SigningKey::derive(&Secret(SECRET.to_owned()), &scope());
        let signature = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        assert!(key.matches(to_sign.as_bytes(), signature));
        assert!(!key.matches(to_sign.as_bytes(), &signature.replace('f', "e")));
        assert!(!key.matches(to_sign.as_bytes(), "f0"));
    }

    #[test]
    fn documented_list_objects() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let request = Request::get("/?prefix=J&max-keys=2")
            .header("host", "examplebucket.s3.amazonaws.com")
            .header("x-amz-content-sha256", empty)
            .header("x-amz-date", "20130524T000000Z");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let signed = ["host", "x-amz-content-sha256", "x-amz-date"].map(str::to_owned);
        let requests = canonical_requests(&parts, &signed, empty);
        let to_sign = string_to_sign("20130524T000000Z", &scope(), &requests[0]);
        let key = SigningKey::derive(&Secret(SECRET.to_owned()), &scope());
        let signature = "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7";
        assert!(key.matches(to_sign.as_bytes(), signature));
    }

    // The chunks of "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks".
    #[test]
    fn documented_chunks() {
        let key = SigningKey::derive(&Secret(SECRET.to_owned()), &scope());
        let seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
        let mut signer = ChunkSigner::new(key, "20130524T000000Z", &scope(), seed);
        let sha256 = |len: usize| Sha256::digest(vec![b'a'; len]).into();
        let signatures = [
            (
                65_536,
                "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            ),
            (1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
            (0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
        ];
        for (len, signature) in signatures {
            assert!(signer.check_chunk(sha256(len), signature), "chunk of {len}");
        }
        assert!(!signer.check_chunk(sha256(0), signatures[0].1));
    }
}
