//! The front door: HTTP in, calls of an [`ObjectStore`], HTTP out.
//!
//! The way of a request: the door gives it an id; `auth` finds out who sends it; `operation` finds out what
//! is asked and refuses what we do not know; one function in `ops` parses the rest, calls the store and shapes the
//! answer. Bodies are not read before an operation asks for them.
//!
//! The wire library (`s3s`) is used for what it is best at, the XML documents of S3 in both directions; its types do not
//! leave this module. Signatures, chunked bodies and routing are ours: they decide what is refused, what is kept in
//! memory and which error a client sees.

mod answer;
mod auth;
mod call;
mod chunked;
mod clock;
mod fault;
#[doc(hidden)]
pub mod fuzzing;
mod headers;
mod intake;
mod operation;
mod ops;
mod serve;
mod source;
mod surface;
mod table;
mod uri;
mod xml;

use std::collections::hash_map::RandomState;
use std::fmt;
use std::future::Future;
use std::hash::BuildHasher;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use tracing::{debug, error};

use answer::{Answer, Content, ResponseBody, respond};
use call::Call;
pub use clock::WallTime;
use fault::{Code, Fault};
use intake::{Intake, Prospect};
pub use operation::{Handler, Operation, Scope, Support};
use source::Arrival;
pub use surface::surface;
pub use table::TABLE;
use uri::{Query, Target};

use crate::bucket::{AccessKey, Caller};
use crate::store::ObjectStore;

/// Where load balancers ask whether the node is well.
const HEALTH_PATH: &str = "/health";

/// How a front door behaves.
#[derive(Clone)]
pub struct FrontDoorConfig {
    /// The region that requests must be signed for.
    pub region: String,
    /// The domain in front of which bucket names may stand, without a leading dot; path style always works.
    pub domain: Option<String>,
    /// How many connections each listener holds; further ones wait to be accepted.
    pub connections_max: usize,
    /// The largest request head.
    pub header_max_bytes: usize,
    /// The largest XML document.
    pub xml_max_bytes: u64,
    /// How long a request head may take to arrive.
    pub header_read_timeout_ms: u64,
    /// How long a client may send nothing in the middle of a body.
    pub body_idle_timeout_ms: u64,
    /// How long open requests may take to end after the shutdown.
    pub shutdown_grace_ms: u64,
    /// How many keys of one DeleteObjects request are deleted at the same time.
    pub delete_parallelism: usize,
    /// The wall clock that signatures are compared with.
    pub clock: Arc<dyn Fn() -> WallTime + Send + Sync>,
    /// Answers `GET /health`.
    pub health: Arc<dyn Fn() -> HealthFuture + Send + Sync>,
}

/// What [`FrontDoorConfig::health`] returns.
pub type HealthFuture = Pin<Box<dyn Future<Output = Health> + Send>>;

/// The health of the node behind the door, with what is to be said of it: JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It can serve: `200`.
    Well(String),
    /// It cannot: `503`.
    Unwell(String),
}

/// The front door of a store. Clones share everything.
pub struct FrontDoor<S> {
    door: Arc<Door<S>>,
}

/// What the operations see of the door.
struct Door<S> {
    store: S,
    config: FrontDoorConfig,
    /// Makes the request ids of this process differ from those of others.
    seed: u64,
    requests: AtomicU64,
}

impl Default for FrontDoorConfig {
    fn default() -> FrontDoorConfig {
        FrontDoorConfig {
            region: "us-east-1".to_owned(),
            domain: None,
            connections_max: 4096,
            header_max_bytes: 64 << 10,
            xml_max_bytes: 2 << 20,
            header_read_timeout_ms: 30_000,
            body_idle_timeout_ms: 60_000,
            shutdown_grace_ms: 10_000,
            delete_parallelism: 32,
            clock: Arc::new(clock::system),
            health: Arc::new(|| Box::pin(std::future::ready(Health::Well("{\"serving\":true}\n".to_owned())))),
        }
    }
}

impl<S: ObjectStore> FrontDoor<S> {
    /// A door to `store`.
    pub fn new(store: S, config: FrontDoorConfig) -> FrontDoor<S> {
        let seed = RandomState::new().hash_one("request ids");
        FrontDoor {
            door: Arc::new(Door {
                store,
                config,
                seed,
                requests: AtomicU64::new(0),
            }),
        }
    }

    /// The store behind the door.
    pub fn store(&self) -> &S {
        &self.door.store
    }

    /// Answers one request.
    async fn handle(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        let request_id = self.door.request_id();
        let (parts, incoming) = request.into_parts();
        let (method, version) = (parts.method.clone(), parts.version);
        let resource = parts.uri.path().to_owned();
        let intake = Intake::new(incoming, &parts.headers);
        let result = if is_health(&parts) {
            Ok(self.door.health().await)
        } else {
            self.door.answer(parts, intake.clone()).await
        };
        let prospect = intake.settle(version).await;
        report(&result, &method, &resource, &request_id);
        let mut response = respond(result, &method, &resource, &request_id);
        if prospect == Prospect::Close {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Writes to the log what became of a request.
fn report(result: &Result<Answer, Fault>, method: &Method, resource: &str, request_id: &str) {
    match result {
        Ok(answer) => debug!(%request_id, %method, resource, status = answer.status.as_u16(), "answered"),
        Err(Fault {
            code,
            detail: Some(detail),
            ..
        }) => {
            error!(%request_id, %method, resource, code = code.name(), detail, "failed");
        }
        Err(fault) => {
            debug!(%request_id, %method, resource, code = fault.code.name(), message = %fault.message, "refused");
        }
    }
}

impl<S: ObjectStore> Door<S> {
    async fn answer(&self, parts: Parts, intake: Intake) -> Result<Answer, Fault> {
        if parts.method == Method::OPTIONS {
            return Err(Code::AccessForbidden.into());
        }
        let query = Query::parse(parts.uri.query().unwrap_or_default())?;
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = host.or(parts.uri.host()).unwrap_or_default();
        let target = Target::parse(parts.uri.path(), host, self.config.domain.as_deref())?;
        let now = (self.config.clock)();
        let find = async |key: AccessKey| self.store.credential(&key).await.map_err(Fault::from);
        let who = auth::authenticate(&parts, &query, &self.config.region, now, find).await?;
        let headers = call::with_hoisted(parts.headers, &query)?;
        let operation = Operation::of(&parts.method, &target, &query, &headers)?;
        if who.caller == Caller::Anonymous && operation.support == Support::Refused && !operation.is_form() {
            return Err(Code::AccessDenied.into());
        }
        operation.check(&query, &headers)?;
        let idle = Duration::from_millis(self.config.body_idle_timeout_ms);
        let body = Arrival {
            intake,
            payload: who.payload,
            idle,
        };
        let call = Call {
            target,
            query,
            headers,
            caller: who.caller,
            credential: who.credential,
            body,
        };
        ops::run(self, operation, call).await
    }

    async fn health(&self) -> Answer {
        let (status, text) = match (self.config.health)().await {
            Health::Well(text) => (StatusCode::OK, text),
            Health::Unwell(text) => (StatusCode::SERVICE_UNAVAILABLE, text),
        };
        let json = HeaderValue::from_static("application/json");
        Answer {
            status,
            headers: HeaderMap::from_iter([
                (CONTENT_TYPE, json),
                (CACHE_CONTROL, HeaderValue::from_static("no-store")),
            ]),
            content: Content::Short(text.into()),
        }
    }

    fn request_id(&self) -> String {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        // An odd factor permutes the numbers, so ids of one process never repeat and do not look alike.
        format!(
            "{:016X}",
            self.seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        )
    }
}

/// A signed request for this path is about a bucket of that name.
fn is_health(request: &Parts) -> bool {
    let signed = request.headers.contains_key(AUTHORIZATION) || request.uri.query().is_some();
    request.method == Method::GET && request.uri.path() == HEALTH_PATH && !signed
}

impl<S> Clone for FrontDoor<S> {
    fn clone(&self) -> FrontDoor<S> {
        FrontDoor {
            door: Arc::clone(&self.door),
        }
    }
}

impl<S> fmt::Debug for FrontDoor<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrontDoor")
            .field("region", &self.door.config.region)
            .finish_non_exhaustive()
    }
}
