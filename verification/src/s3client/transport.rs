//! Requests and answers on the wire, with what is known of a request that got no answer.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Method, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::sign::{self, Credentials, Unsigned};
use crate::clock;
use crate::history::{Condition, Entry, Outcome};

/// Where to connect: `host:port`, spoken to without TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(pub String);

impl Endpoint {
    /// From a URL such as `http://127.0.0.1:3900`.
    pub fn from_url(url: &str) -> Option<Self> {
        let uri: Uri = url.trim().parse().ok()?;
        (uri.scheme_str() == Some("http")).then(|| uri.authority().map(|authority| Endpoint(authority.to_string())))?
    }
}

/// A request before it is signed.
#[derive(Clone, Debug)]
pub struct Request {
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Bytes,
    payload: Payload,
}

/// Whether a signature covers the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// It does: a pass of SHA-256 at either end.
    Signed,
    /// It does not.
    Unsigned,
}

impl Request {
    /// About an object, or about the bucket when the key is empty.
    pub fn new(method: Method, bucket: &str, key: &str) -> Self {
        let path = if key.is_empty() {
            format!("/{bucket}")
        } else {
            format!("/{bucket}/{key}")
        };
        Request {
            method,
            path,
            query: Vec::new(),
            headers: Vec::new(),
            body: Bytes::new(),
            payload: Payload::Signed,
        }
    }

    /// Adds a parameter.
    pub fn with_query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a header; the name in lower case.
    pub fn with_header(mut self, name: &str, value: String) -> Self {
        self.headers.push((name.to_owned(), value));
        self
    }

    /// Sets the body.
    pub fn with_body(mut self, body: Bytes) -> Self {
        self.body = body;
        self
    }

    /// Sets the body, which the signature leaves out.
    pub fn with_unsigned_body(mut self, body: Bytes) -> Self {
        self.payload = Payload::Unsigned;
        self.with_body(body)
    }

    /// Adds the header of a condition.
    pub fn with_condition(self, condition: &Condition) -> Self {
        match condition {
            Condition::Always => self,
            Condition::Absent => self.with_header("if-none-match", "*".to_owned()),
            Condition::Present => self.with_header("if-match", "*".to_owned()),
            Condition::Is(tag) => self.with_header("if-match", format!("\"{tag}\"")),
            Condition::IsNot(tag) => self.with_header("if-none-match", format!("\"{tag}\"")),
        }
    }

    fn sign(&self, host: &str, who: &Credentials) -> Result<hyper::Request<Full<Bytes>>, hyper::http::Error> {
        let mut headers = self.headers.clone();
        headers.push(("host".to_owned(), host.to_owned()));
        let (method, path, query, body) = (self.method.as_str(), &self.path, &self.query, &self.body);
        let added = sign::sign(
            &Unsigned {
                method,
                path,
                query,
                headers: &headers,
                body,
                payload: self.payload,
            },
            who,
            clock::date(),
        );
        let uri = match sign::escape_query(query) {
            query if query.is_empty() => sign::escape_path(path),
            query => format!("{}?{query}", sign::escape_path(path)),
        };
        let start = hyper::Request::builder().method(self.method.clone()).uri(uri);
        let all = headers.iter().chain(&added);
        all.fold(start, |request, (name, value)| request.header(name, value))
            .body(Full::new(body.clone()))
    }
}

/// A complete answer.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Reply {
    /// The entity tag without quotes.
    pub fn tag(&self) -> Option<String> {
        Some(self.headers.get("etag")?.to_str().ok()?.trim_matches('"').to_owned())
    }

    /// Whether the body of an error names this code.
    pub fn says(&self, code: &str) -> bool {
        String::from_utf8_lossy(&self.body).contains(&format!("<Code>{code}</Code>"))
    }

    /// Status and error code, for people.
    pub fn describe(&self) -> String {
        let body = String::from_utf8_lossy(&self.body);
        let code = body
            .split("<Code>")
            .nth(1)
            .and_then(|rest| rest.split("</Code>").next())
            .unwrap_or("");
        format!("{} {code}", self.status.as_u16()).trim_end().to_owned()
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nothing reached the server; nothing was changed.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The server may have carried out the request, or may still do so.
    #[error("no answer: {0}")]
    NoAnswer(String),
}

impl Failure {
    /// The same for the history.
    pub fn outcome(&self) -> Outcome {
        match self {
            Failure::NotSent(why) => Outcome::Failed { why: why.clone() },
            Failure::NoAnswer(why) => Outcome::Unknown { why: why.clone() },
        }
    }
}

/// A connection to one endpoint, opened when needed and kept while it is good.
pub struct Connection {
    endpoint: Endpoint,
    open: Option<Open>,
}

struct Open {
    sender: SendRequest<Full<Bytes>>,
    /// Moves the bytes; ends with this value.
    _driver: JoinSet<()>,
}

impl Connection {
    /// A connection to be.
    pub fn new(endpoint: Endpoint) -> Self {
        Connection { endpoint, open: None }
    }

    /// Sends one request and waits for the whole answer.
    pub async fn exchange(&mut self, request: &Request, who: &Credentials, limit: Duration) -> Result<Reply, Failure> {
        let not_sent = |error: &dyn std::fmt::Display| Failure::NotSent(error.to_string());
        let signed = request.sign(&self.endpoint.0, who).map_err(|error| not_sent(&error))?;
        let mut open = match self.open.take() {
            Some(open) if open.sender.is_ready() => open,
            Some(_) | None => connect(&self.endpoint, limit).await?,
        };
        open.sender.ready().await.map_err(|error| not_sent(&error))?;
        let exchange = tokio::time::timeout(limit, receive(&mut open.sender, signed)).await;
        let reply = exchange.map_err(|_| Failure::NoAnswer(format!("after {} ms", limit.as_millis())))??;
        self.open = Some(open);
        Ok(reply)
    }
}

async fn connect(endpoint: &Endpoint, limit: Duration) -> Result<Open, Failure> {
    let not_sent = |error: &dyn std::fmt::Display| Failure::NotSent(error.to_string());
    let stream = tokio::time::timeout(limit, TcpStream::connect(&endpoint.0))
        .await
        .map_err(|error| not_sent(&error))?;
    let stream = stream.map_err(|error| not_sent(&error))?;
    stream.set_nodelay(true).map_err(|error| not_sent(&error))?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| not_sent(&error))?;
    let mut driver = JoinSet::new();
    driver.spawn(async {
        // What goes wrong here shows at the request as well.
        let _ = connection.await;
    });
    Ok(Open {
        sender,
        _driver: driver,
    })
}

async fn receive(
    sender: &mut SendRequest<Full<Bytes>>,
    request: hyper::Request<Full<Bytes>>,
) -> Result<Reply, Failure> {
    let answer = sender
        .try_send_request(request)
        .await
        .map_err(|mut error| match error.take_message() {
            Some(_) => Failure::NotSent(error.into_error().to_string()),
            None => Failure::NoAnswer(error.into_error().to_string()),
        })?;
    let (head, body) = answer.into_parts();
    let body = body
        .collect()
        .await
        .map_err(|error| Failure::NoAnswer(error.to_string()))?
        .to_bytes();
    Ok(Reply {
        status: head.status,
        headers: head.headers,
        body,
    })
}

/// Asks an endpoint whether it serves, and what it has to say about that.
pub async fn health(endpoint: &Endpoint, limit: Duration) -> Result<(StatusCode, String), Failure> {
    let request = hyper::Request::get("/health")
        .header("host", &endpoint.0)
        .body(Full::new(Bytes::new()));
    let request = request.map_err(|error| Failure::NotSent(error.to_string()))?;
    let mut open = connect(endpoint, limit).await?;
    let answer = tokio::time::timeout(limit, receive(&mut open.sender, request)).await;
    answer
        .map_err(|_| Failure::NoAnswer("no word about its health".to_owned()))?
        .map(|reply| (reply.status, String::from_utf8_lossy(&reply.body).into_owned()))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListBucketResult {
    #[serde(default)]
    contents: Vec<Contents>,
    is_truncated: bool,
    next_continuation_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Contents {
    key: String,
    #[serde(rename = "ETag")]
    tag: String,
}

/// The page of a listing, and the token of the next one.
pub(super) fn page(reply: &Reply, after: &str) -> (Outcome, Option<String>) {
    let text = String::from_utf8_lossy(&reply.body);
    let result: ListBucketResult = match quick_xml::de::from_str(&text) {
        Ok(result) => result,
        Err(error) => {
            return (
                Outcome::Unknown {
                    why: format!("a page that cannot be read: {error}"),
                },
                None,
            );
        }
    };
    let entry = |contents: Contents| Entry {
        key: contents.key,
        value: contents.tag.trim_matches('"').to_owned(),
    };
    let entries: Vec<Entry> = result.contents.into_iter().map(entry).collect();
    let last = entries
        .last()
        .map_or_else(|| after.to_owned(), |entry| entry.key.clone());
    let until = result.is_truncated.then_some(last);
    (Outcome::Page { entries, until }, result.next_continuation_token)
}
