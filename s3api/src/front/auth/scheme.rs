//! The claim of a request: which key signed what, read from the header or the query but not believed yet.

use hyper::header::AUTHORIZATION;
use hyper::http::request::Parts;

use super::super::fault::{Code, Fault};
use super::super::uri::Query;
use super::PRESIGNED_MAX_SECONDS;
use super::signature::Scope;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What a request says about its signature.
pub(super) struct Claim {
    pub(super) access_key: String,
    pub(super) scope: Scope,
    /// `YYYYMMDD'T'HHMMSS'Z'`.
    pub(super) date: String,
    /// In lower case, in the order in which they were signed.
    pub(super) signed_headers: Vec<String>,
    pub(super) signature: String,
    pub(super) place: Place,
}

/// Where the signature stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the `Authorization` header.
    Header,
    /// In the query: a presigned URL.
    Query {
        /// How long it is good for.
        expires_seconds: i64,
    },
}

/// Reads the claim; `None` if the request is anonymous.
pub(super) fn claim(parts: &Parts, query: &Query) -> Result<Option<Claim>, Fault> {
    let header = parts.headers.get(AUTHORIZATION);
    let presigned = query.has("X-Amz-Signature") || query.has("X-Amz-Algorithm") || query.has("X-Amz-Credential");
    let version_2 = query.has("Signature") && query.has("AWSAccessKeyId");
    match (header, presigned) {
        (Some(_), true) => Err(Fault::with(
            Code::InvalidArgument,
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter or the Authorization header \
             should be specified",
        )),
        (Some(value), false) => {
            let text = value.to_str().map_err(|_| Code::AuthorizationHeaderMalformed)?;
            in_header(text, parts).map(Some)
        }
        (None, true) => in_query(query).map(Some),
        (None, false) if version_2 => Err(unsupported()),
        (None, false) => Ok(None),
    }
}

fn unsupported() -> Fault {
    let text = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.";
    Fault::with(Code::InvalidRequest, text)
}

fn in_header(text: &str, parts: &Parts) -> Result<Claim, Fault> {
    let (algorithm, fields) = text.trim().split_once(char::is_whitespace).unwrap_or((text, ""));
    if algorithm != ALGORITHM {
        return Err(unsupported());
    }
    let malformed = |text: &'static str| Fault::with(Code::AuthorizationHeaderMalformed, text);
    let field = |name: &str| {
        let mut fields = fields.split(',').filter_map(|field| field.trim().split_once('='));
        fields.find(|(found, _)| *found == name).map(|(_, value)| value)
    };
    let credential = field("Credential").ok_or_else(|| malformed("The authorization header has no Credential"))?;
    let (access_key, scope) = split_credential(credential)
        .ok_or_else(|| malformed("The authorization header is malformed; the Credential is mal-formed"))?;
    let signed = field("SignedHeaders").ok_or_else(|| malformed("The authorization header has no SignedHeaders"))?;
    let signature = field("Signature").ok_or_else(|| malformed("The authorization header has no Signature"))?;
    let date = super::header(parts, "x-amz-date").map(str::to_owned);
    let date = date
        .or_else(|| super::clock::compact_of_http(super::header(parts, "date")?))
        .unwrap_or_default();
    Ok(Claim {
        access_key,
        scope,
        date,
        signed_headers: split_headers(signed),
        signature: signature.to_owned(),
        place: Place::Header,
    })
}

fn in_query(query: &Query) -> Result<Claim, Fault> {
    let wrong = |text: &'static str| Fault::with(Code::AuthorizationQueryParametersError, text);
    let field = |name: &str| {
        query.text(name).ok_or_else(|| {
            wrong(
                "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, \
                 X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
            )
        })
    };
    if field("X-Amz-Algorithm")? != ALGORITHM {
        return Err(wrong("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\""));
    }
    let (access_key, scope) = split_credential(field("X-Amz-Credential")?)
        .ok_or_else(|| wrong("Error parsing the X-Amz-Credential parameter; the Credential is mal-formed"))?;
    let expires: i64 = field("X-Amz-Expires")?
        .parse()
        .map_err(|_| wrong("X-Amz-Expires should be a number"))?;
    match expires {
        ..0 => return Err(wrong("X-Amz-Expires must be non-negative")),
        0..=PRESIGNED_MAX_SECONDS => {}
        _ => {
            return Err(wrong(
                "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less \
                 than 604800 seconds",
            ));
        }
    }
    Ok(Claim {
        access_key,
        scope,
        date: field("X-Amz-Date")?.to_owned(),
        signed_headers: split_headers(field("X-Amz-SignedHeaders")?),
        signature: field("X-Amz-Signature")?.to_owned(),
        place: Place::Query {
            expires_seconds: expires,
        },
    })
}

/// `KEY/DATE/REGION/SERVICE/aws4_request`; the key may itself contain slashes.
fn split_credential(text: &str) -> Option<(String, Scope)> {
    let mut fields = text.rsplitn(5, '/');
    let terminator = fields.next()?;
    let (service, region, date) = (fields.next()?, fields.next()?, fields.next()?);
    let access_key = fields.next()?.to_owned();
    let scope = Scope {
        date: date.to_owned(),
        region: region.to_owned(),
        service: service.to_owned(),
    };
    (terminator == "aws4_request" && !access_key.is_empty()).then_some((access_key, scope))
}

fn split_headers(text: &str) -> Vec<String> {
    text.split(';').map(str::to_ascii_lowercase).collect()
}
