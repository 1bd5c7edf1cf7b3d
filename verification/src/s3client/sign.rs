//! Signature Version 4 in the `Authorization` header, with the body signed.

use std::io;
use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::macros::format_description;

use super::transport::{Endpoint, Payload};

/// What need not be escaped in a name or value.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same in a path.
const RESERVED_IN_PATH: &AsciiSet = &RESERVED.remove(b'/');

/// Who signs, and for which region.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The name of the key.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: String,
    /// The region it is used in.
    pub region: String,
}

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file cannot be read.
    #[error("cannot read credentials: {0}")]
    Io(#[from] io::Error),
    /// The file does not set a variable.
    #[error("no {0} among the credentials")]
    Missing(&'static str),
}

impl Credentials {
    /// Reads them from lines such as `AWS_REGION=us-east-1`, with or without `export` and quotes.
    pub fn read(path: &Path) -> Result<Self, CredentialsError> {
        let text = std::fs::read_to_string(path)?;
        Ok(Credentials {
            access_key_id: variable(&text, "AWS_ACCESS_KEY_ID")?,
            secret_access_key: variable(&text, "AWS_SECRET_ACCESS_KEY")?,
            region: variable(&text, "AWS_REGION")?,
        })
    }

    /// The endpoint named in the same file, or several with commas between them.
    pub fn endpoints(path: &Path) -> Result<Vec<Endpoint>, CredentialsError> {
        let text = std::fs::read_to_string(path)?;
        let urls = variable(&text, "AWS_ENDPOINT_URL")?;
        let endpoints: Option<Vec<Endpoint>> = urls.split(',').map(Endpoint::from_url).collect();
        endpoints.ok_or(CredentialsError::Missing("plain http URL in AWS_ENDPOINT_URL"))
    }
}

/// One variable of an environment file.
pub(super) fn variable(text: &str, name: &'static str) -> Result<String, CredentialsError> {
    let lines = text.lines().map(|line| line.trim().trim_start_matches("export "));
    let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    values
        .next_back()
        .map(|value| value.trim_matches(['"', '\'']).to_owned())
        .ok_or(CredentialsError::Missing(name))
}

/// What is signed of a request.
pub(crate) struct Unsigned<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a [(String, String)],
    pub(crate) headers: &'a [(String, String)],
    pub(crate) body: &'a [u8],
    pub(crate) payload: Payload,
}

/// Escapes a path.
pub(super) fn escape_path(path: &str) -> String {
    utf8_percent_encode(path, RESERVED_IN_PATH).to_string()
}

/// Escapes and sorts a query.
pub(super) fn escape_query(query: &[(String, String)]) -> String {
    let escape = |text: &String| utf8_percent_encode(text, RESERVED).to_string();
    let mut pairs: Vec<String> = query
        .iter()
        .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
        .collect();
    pairs.sort();
    pairs.join("&")
}

/// The headers to add: date, hash of the body, and signature over these and all the others.
pub(crate) fn sign(request: &Unsigned<'_>, who: &Credentials, at: OffsetDateTime) -> Vec<(String, String)> {
    let moment = at.format(format_description!("[year][month][day]T[hour][minute][second]Z"));
    let moment = moment.expect("a date after year 0 has four digits of year");
    let hash = match request.payload {
        Payload::Signed => hex(&Sha256::digest(request.body)),
        Payload::Unsigned => "UNSIGNED-PAYLOAD".to_owned(),
    };
    let day = &moment[..8];
    let mut added = vec![
        ("x-amz-content-sha256".to_owned(), hash.clone()),
        ("x-amz-date".to_owned(), moment.clone()),
    ];

    let mut headers: Vec<&(String, String)> = request.headers.iter().chain(&added).collect();
    headers.sort();
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}:{}\n", value.trim()))
        .collect();
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");
    let (path, query) = (escape_path(request.path), escape_query(request.query));
    let canonical = format!("{}\n{path}\n{query}\n{lines}\n{names}\n{hash}", request.method);

    let scope = format!("{day}/{}/s3/aws4_request", who.region);
    let text = format!(
        "AWS4-HMAC-SHA256\n{moment}\n{scope}\n{}",
        hex(&Sha256::digest(canonical))
    );
    let mut key = format!("AWS4{}", who.secret_access_key).into_bytes();
    for part in [day, &who.region, "s3", "aws4_request"] {
        key = authenticate(&key, part);
    }
    let (id, signature) = (&who.access_key_id, hex(&authenticate(&key, &text)));
    let header = format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}");
    added.push(("authorization".to_owned(), header));
    added
}

fn authenticate(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    /// The examples of the S3 reference, "Signature Calculations for the Authorization Header".
    #[test]
    fn signs_as_the_reference_says() {
        let who = Credentials {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            region: "us-east-1".to_owned(),
        };
        let text = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect()
        };
        let signature = |query: &[(&str, &str)], path, headers: &[(&str, &str)]| {
            let (query, headers) = (text(query), text(headers));
            let request = Unsigned {
                method: "GET",
                path,
                query: &query,
                headers: &headers,
                body: b"",
                payload: Payload::Signed,
            };
            let headers = sign(&request, &who, datetime!(2013-05-24 00:00:00 UTC));
            headers.last().unwrap().1.rsplit('=').next().unwrap().to_owned()
        };
        let host = ("host", "examplebucket.s3.amazonaws.com");
        let expected = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        assert_eq!(signature(&[], "/test.txt", &[host, ("range", "bytes=0-9")]), expected);
        let expected = "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7";
        assert_eq!(signature(&[("max-keys", "2"), ("prefix", "J")], "/", &[host]), expected);
    }

    #[test]
    fn reads_environment_files() {
        let text = "# made by dev\nexport AWS_REGION=\"eu-1\"\nAWS_ACCESS_KEY_ID='a'\n";
        assert_eq!(variable(text, "AWS_REGION").unwrap(), "eu-1");
        assert_eq!(variable(text, "AWS_ACCESS_KEY_ID").unwrap(), "a");
        assert!(matches!(
            variable(text, "AWS_SECRET_ACCESS_KEY"),
            Err(CredentialsError::Missing(_))
        ));
    }
}
