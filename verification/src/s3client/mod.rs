//! A small S3 client that hides nothing.
//!
//! An SDK retries, and a retried conditional write makes the truth invisible. This client asks once (unless told
//! otherwise), keeps "failed for good" apart from "outcome unknown", and writes every request into a history.

mod recorder;
pub(crate) mod sign;
pub(crate) mod transport;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use md5::{Digest, Md5};

pub use recorder::Recorder;
pub use sign::{Credentials, CredentialsError};
pub use transport::{Connection, Endpoint, Failure, Payload, Reply, Request, health};

use crate::history::{Action, Condition, Outcome};

/// How long an answer may take before the outcome counts as unknown.
const ANSWER_TIMEOUT_MS: u64 = 10_000;
/// How many keys a page is asked for.
const PAGE_KEYS_MAX: usize = 1000;
/// How long a client waits before it asks again.
const RETRY_PAUSE_MS: u64 = 50;

/// Where objects are and who asks for them.
#[derive(Clone, Debug)]
pub struct Target {
    /// Any of these answers for the whole store.
    pub endpoints: Vec<Endpoint>,
    /// Whose signature.
    pub credentials: Credentials,
    /// In which bucket.
    pub bucket: String,
}

/// Whether a request without a clear answer is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retries {
    /// Ask once.
    Off,
    /// Ask up to this many times, as one operation.
    UpTo(u32),
}

/// What came of the deletion of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone, by this deletion or another.
    Gone,
    /// It is there, for something is in it.
    NotEmpty,
    /// It may be gone, or go at any time.
    Unknown,
}

/// One client: one request at a time, each through the next endpoint in turn.
pub struct Session {
    client: u32,
    target: Target,
    connections: Vec<Connection>,
    turn: usize,
    retries: Retries,
    recorder: Arc<Recorder>,
    operations: u64,
}

impl Session {
    /// A client with a number, which begins at the endpoint of that number.
    pub fn new(client: u32, target: &Target, recorder: &Arc<Recorder>) -> Self {
        let connections = target.endpoints.iter().cloned().map(Connection::new).collect();
        let (target, recorder) = (target.clone(), Arc::clone(recorder));
        Session {
            client,
            target,
            connections,
            turn: client as usize,
            retries: Retries::Off,
            recorder,
            operations: 0,
        }
    }

    /// Asks again when there is no clear answer, as SDKs do.
    pub fn with_retries(mut self, retries: Retries) -> Self {
        self.retries = retries;
        self
    }

    /// Makes the bucket; it may be there already.
    pub async fn create_bucket(&mut self) -> Result<(), String> {
        let reply = self
            .ask(&self.request(Method::PUT, ""))
            .await
            .map_err(|failure| failure.to_string())?;
        match reply.status {
            StatusCode::OK | StatusCode::CONFLICT => Ok(()),
            _ => Err(reply.describe()),
        }
    }

    /// From now on asks for objects of this bucket.
    pub fn enter(&mut self, bucket: &str) {
        bucket.clone_into(&mut self.target.bucket);
    }

    /// Deletes the bucket. If it is gone, no key with `prefix`, which all of its keys have and no others, was there at a
    /// moment of the deletion, and none ever is afterwards: the history has both as listings.
    pub async fn delete_bucket(&mut self, prefix: &str) -> Deleted {
        let call = self.recorder.now();
        let deleted = match self.ask(&self.request(Method::DELETE, "")).await {
            Ok(reply) => match reply.status {
                StatusCode::NO_CONTENT | StatusCode::OK | StatusCode::NOT_FOUND => Deleted::Gone,
                StatusCode::CONFLICT if reply.says("BucketNotEmpty") => Deleted::NotEmpty,
                _ => Deleted::Unknown,
            },
            Err(_) => Deleted::Unknown,
        };
        if deleted == Deleted::Gone {
            for call in [call, self.recorder.now()] {
                let (prefix, after) = (prefix.to_owned(), String::new());
                let empty = Outcome::Page {
                    entries: Vec::new(),
                    until: None,
                };
                self.recorder
                    .record(self.client, call, Action::List { prefix, after }, empty);
            }
        }
        deleted
    }

    /// Writes an object. Its entity tag is known beforehand: the MD5 of the body.
    pub async fn put(&mut self, key: &str, body: Bytes, condition: Condition) -> Outcome {
        let value = tag_of(&body);
        let request = self
            .request(Method::PUT, key)
            .with_condition(&condition)
            .with_body(body);
        let action = Action::Put {
            key: key.to_owned(),
            value: value.clone(),
            condition,
        };
        let (outcome, reply) = self.write(action, &request).await;
        if let Some(tag) = reply.as_ref().filter(|_| outcome == Outcome::Done).map(Reply::tag)
            && tag.as_deref() != Some(&value)
        {
            self.recorder
                .complain(format!("PUT {key}: the answer has ETag {tag:?}, the body {value}"));
        }
        outcome
    }

    /// Deletes an object.
    pub async fn delete(&mut self, key: &str, condition: Condition) -> Outcome {
        let request = self.request(Method::DELETE, key).with_condition(&condition);
        self.write(
            Action::Delete {
                key: key.to_owned(),
                condition,
            },
            &request,
        )
        .await
        .0
    }

    /// Reads an object and, when there is one, its body.
    pub async fn get(&mut self, key: &str, condition: Condition) -> (Outcome, Option<Bytes>) {
        let request = self.request(Method::GET, key).with_condition(&condition);
        let call = self.recorder.now();
        let reply = self.ask_with_patience(&request).await.0;
        let (outcome, body) = match reply {
            Ok(reply) => self.read(key, &condition, reply),
            Err(failure) => (failure.outcome(), None),
        };
        self.recorder.record(
            self.client,
            call,
            Action::Get {
                key: key.to_owned(),
                condition,
            },
            outcome.clone(),
        );
        (outcome, body)
    }

    /// Reads an object's entity tag.
    pub async fn head(&mut self, key: &str) -> Outcome {
        let request = self.request(Method::HEAD, key);
        let call = self.recorder.now();
        let outcome = match self.ask_with_patience(&request).await.0 {
            Ok(reply) => match (reply.status, reply.tag()) {
                (StatusCode::OK, Some(value)) => Outcome::Found { value },
                (StatusCode::NOT_FOUND, _) => Outcome::NotFound,
                _ => Outcome::Unknown { why: reply.describe() },
            },
            Err(failure) => failure.outcome(),
        };
        let action = Action::Get {
            key: key.to_owned(),
            condition: Condition::Always,
        };
        self.recorder.record(self.client, call, action, outcome.clone());
        outcome
    }

    /// Lists everything with a prefix, page by page, and says of each page what came.
    pub async fn list(&mut self, prefix: &str) -> Vec<Outcome> {
        let (mut outcomes, mut after, mut token) = (Vec::new(), String::new(), None);
        loop {
            let (outcome, next) = self.list_page(prefix, &after, token.as_deref()).await;
            outcomes.push(outcome.clone());
            match (outcome, next) {
                (Outcome::Page { until: Some(until), .. }, Some(next)) => (after, token) = (until, Some(next)),
                _ => return outcomes,
            }
        }
    }

    async fn list_page(&mut self, prefix: &str, after: &str, token: Option<&str>) -> (Outcome, Option<String>) {
        let mut request = self
            .request(Method::GET, "")
            .with_query("list-type", "2")
            .with_query("prefix", prefix);
        request = request.with_query("max-keys", &PAGE_KEYS_MAX.to_string());
        if let Some(token) = token {
            request = request.with_query("continuation-token", token);
        }
        let call = self.recorder.now();
        let (outcome, next) = match self.ask_with_patience(&request).await.0 {
            Ok(reply) if reply.status == StatusCode::OK => transport::page(&reply, after),
            Ok(reply) if reply.status == StatusCode::NOT_FOUND => (
                Outcome::Page {
                    entries: vec![],
                    until: None,
                },
                None,
            ),
            Ok(reply) => (Outcome::Unknown { why: reply.describe() }, None),
            Err(failure) => (failure.outcome(), None),
        };
        let action = Action::List {
            prefix: prefix.to_owned(),
            after: after.to_owned(),
        };
        self.recorder.record(self.client, call, action, outcome.clone());
        (outcome, next)
    }

    fn request(&self, method: Method, key: &str) -> Request {
        let invocation = format!("{:08x}-{:016x}", self.client, self.operations);
        Request::new(method, &self.target.bucket, key).with_header("amz-sdk-invocation-id", invocation)
    }

    async fn write(&mut self, action: Action, request: &Request) -> (Outcome, Option<Reply>) {
        let call = self.recorder.now();
        let (answer, attempts) = self.ask_with_patience(request).await;
        let (outcome, reply) = match answer {
            Ok(reply) => (written(&action, &reply, attempts), Some(reply)),
            Err(failure) if attempts == 1 => (failure.outcome(), None),
            Err(failure) => (
                Outcome::Unknown {
                    why: failure.to_string(),
                },
                None,
            ),
        };
        self.recorder.record(self.client, call, action, outcome.clone());
        (outcome, reply)
    }

    /// What a GET says; the body itself tells which value it is.
    fn read(&self, key: &str, condition: &Condition, reply: Reply) -> (Outcome, Option<Bytes>) {
        match (reply.status, condition) {
            (StatusCode::OK, _) => {
                let value = tag_of(&reply.body);
                if reply.tag().as_deref() != Some(&value) {
                    self.recorder
                        .complain(format!("GET {key}: ETag {:?}, but the body is {value}", reply.tag()));
                }
                (Outcome::Found { value }, Some(reply.body))
            }
            (StatusCode::NOT_MODIFIED, Condition::IsNot(value)) => (Outcome::Found { value: value.clone() }, None),
            (StatusCode::PRECONDITION_FAILED, _) if !condition.is_always() => (Outcome::Refused, None),
            // A bucket that is not there has no objects, and if it was there once, that is what must be found out.
            (StatusCode::NOT_FOUND, _) => (Outcome::NotFound, None),
            _ => (Outcome::Unknown { why: reply.describe() }, None),
        }
    }

    /// Asks as often as the session may; says how often it did.
    async fn ask_with_patience(&mut self, request: &Request) -> (Result<Reply, Failure>, u32) {
        self.operations += 1;
        let attempts_max = match self.retries {
            Retries::Off => 1,
            Retries::UpTo(attempts) => attempts.max(1),
        };
        let mut attempt = 1;
        loop {
            let answer = self.ask(request).await;
            let is_clear = answer.as_ref().is_ok_and(|reply| !reply.status.is_server_error());
            if is_clear || attempt == attempts_max {
                return (answer, attempt);
            }
            attempt += 1;
            tokio::time::sleep(Duration::from_millis(RETRY_PAUSE_MS)).await;
        }
    }

    /// Asks once, through the next endpoint.
    async fn ask(&mut self, request: &Request) -> Result<Reply, Failure> {
        self.turn = (self.turn + 1) % self.connections.len();
        let limit = Duration::from_millis(ANSWER_TIMEOUT_MS);
        self.connections[self.turn]
            .exchange(request, &self.target.credentials, limit)
            .await
    }
}

/// What an answer to a write means. A refusal of a repeated request may be the work of its own first attempt.
fn written(action: &Action, reply: &Reply, attempts: u32) -> Outcome {
    let is_conditional = match action {
        Action::Put { condition, .. } | Action::Delete { condition, .. } | Action::Get { condition, .. } => {
            !condition.is_always()
        }
        Action::List { .. } => false,
    };
    let why = reply.describe();
    match reply.status {
        StatusCode::OK | StatusCode::NO_CONTENT => Outcome::Done,
        StatusCode::PRECONDITION_FAILED | StatusCode::NOT_FOUND if is_conditional && !reply.says("NoSuchBucket") => {
            if attempts == 1 {
                Outcome::Refused
            } else {
                Outcome::Unknown { why }
            }
        }
        StatusCode::CONFLICT | StatusCode::REQUEST_TIMEOUT => Outcome::Unknown { why },
        status if (status.is_client_error() || status == StatusCode::NOT_IMPLEMENTED) && attempts == 1 => {
            Outcome::Failed { why }
        }
        _ => Outcome::Unknown { why },
    }
}

/// The entity tag of a body that was written in one piece.
pub fn tag_of(body: &[u8]) -> String {
    Md5::digest(body).iter().map(|byte| format!("{byte:02x}")).collect()
}
