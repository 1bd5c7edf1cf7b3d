//! The admin API's routes: what operators ask, answered by the object store and the [`Observer`].

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use trellis_s3api::bucket::{AccessKey, BucketInfo, BucketName};
use trellis_s3api::error::StoreError;
use trellis_s3api::object::hex;
use trellis_s3api::store::{ObjectStore, Origin};
use trellis_spec::layout::Layout;

use super::layout;
use super::observer::Observer;
use super::socket::{self, SOCKET_FILE, SocketError};
use super::status::{BucketSummary, KeySecret, NewBucket, NewKeyName, NewNode};
use super::workers::workers;
use crate::cluster::Coordinator;
use crate::env::Env;
use crate::membership::Hint;
use crate::store::KeyError;

const REQUEST_MAX_BYTES: usize = 64 << 10;
const KEY_NAME_MAX_BYTES: usize = 256;

/// A request that was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// The HTTP status: 4xx is the caller's turn, 503 may go better later, 500 is a bug.
    #[serde(skip)]
    pub status: u16,
    /// Why, for people.
    pub message: String,
}

/// The admin API of a node; it ends when this is dropped.
pub struct AdminServer {
    socket: PathBuf,
    _stop: DropGuard,
}

/// Serves the admin API in a data folder whose lock the caller holds.
pub fn serve(env: &Env, folder: &Path, observer: Observer) -> Result<AdminServer, SocketError> {
    let listener = socket::listen(folder)?;
    let stop = CancellationToken::new();
    let serving = accept(env.clone(), listener, observer);
    let stopped = stop.clone();
    env.spawner.spawn(
        "admin",
        Box::pin(async move {
            stopped.run_until_cancelled(serving).await;
        }),
    );
    Ok(AdminServer {
        socket: folder.join(SOCKET_FILE),
        _stop: stop.drop_guard(),
    })
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        // One that stays behind is replaced at the next start.
        let _ = socket::remove(&self.socket);
    }
}

async fn accept(env: Env, listener: UnixListener, observer: Observer) {
    const RETRY: std::time::Duration = std::time::Duration::from_millis(100);
    loop {
        match listener.accept().await {
            Ok((stream, _)) if socket::is_operator(&stream) => {
                let connection = connection(stream, observer.clone());
                env.spawner.spawn("admin", Box::pin(connection));
            }
            Ok(_) => tracing::warn!("a process of another user tried the admin socket"),
            // The system has no file handles left.
            Err(_) => env.clock.sleep(RETRY).await,
        }
    }
}

async fn connection(stream: UnixStream, observer: Observer) {
    let service = service_fn(move |request| {
        let observer = observer.clone();
        async move { Ok::<_, Infallible>(respond(&observer, request).await) }
    });
    // What goes wrong on a connection concerns its client alone, who knows.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn respond(observer: &Observer, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, json) = match route(observer, request).await {
        Ok(json) => (StatusCode::OK, json),
        Err(refused) => {
            let status = StatusCode::from_u16(refused.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, to_json(&refused))
        }
    };
    let mut response = Response::new(Full::new(json));
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

async fn route(observer: &Observer, request: Request<Incoming>) -> Result<Bytes, Refused> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match (method, parts.as_slice()) {
        (Method::GET, ["v1", "status"]) => Ok(to_json(&observer.status().await)),
        (Method::GET, ["v1", "workers"]) => Ok(to_json(&workers(observer))),
        (Method::GET, ["v1", "nodes"]) => Ok(to_json(&observer.nodes())),
        (Method::POST, ["v1", "nodes"]) => connect(observer, read(request).await?),
        (Method::GET, ["v1", "layout"]) => Ok(to_json(&layout::show(observer).await?)),
        (Method::POST, ["v1", "layout", "staged"]) => Ok(to_json(&layout::stage(observer, read(request).await?)?)),
        (Method::DELETE, ["v1", "layout", "staged"]) => Ok(to_json(&layout::revert(observer)?)),
        (Method::GET, ["v1", "layout", "preview"]) => Ok(to_json(&layout::preview(observer).await?)),
        (Method::POST, ["v1", "layout", "apply"]) => Ok(to_json(&layout::apply(observer, read(request).await?).await?)),
        (Method::POST, ["v1", "layout", "force", "preview"]) => {
            Ok(to_json(&layout::preview_force(observer, read(request).await?).await?))
        }
        (Method::POST, ["v1", "layout", "force"]) => Ok(to_json(&layout::force(observer, read(request).await?).await?)),
        (Method::GET, ["v1", "layout", "history"]) => Ok(to_json(&layout::history(observer))),
        (Method::POST, ["v1", "repair", "compare"]) => {
            copies(observer)?.compare_now();
            Ok(to_json(&()))
        }
        (Method::POST, ["v1", "repair", "scrub"]) => {
            copies(observer)?.repairs().scrub_now();
            Ok(to_json(&()))
        }
        (Method::GET, ["v1", "keys"]) => Ok(to_json(&observer.store().list_keys().await?)),
        (Method::POST, ["v1", "keys"]) => create_key(observer, read(request).await?).await,
        (Method::DELETE, ["v1", "keys", id]) => {
            observer.store().delete_key(id).await?;
            Ok(to_json(&()))
        }
        (Method::GET, ["v1", "buckets"]) => list_buckets(observer).await,
        (Method::POST, ["v1", "buckets"]) => create_bucket(observer, read(request).await?).await,
        (Method::DELETE, ["v1", "buckets", name]) => delete_bucket(observer, name).await,
        (method, _) => Err(refused(StatusCode::NOT_FOUND, format!("there is no {method} {path}"))),
    }
}

/// Who waits for a run that has nothing to do waits for ever.
fn copies(observer: &Observer) -> Result<&Arc<Coordinator>, Refused> {
    let coordinator = observer.coordinator();
    let known = coordinator.layouts().now();
    let newest = known.peer.knowledge.newest();
    let holds = |layout: &Layout| {
        layout
            .partitions()
            .any(|partition| layout.holds(known.peer.me, partition))
    };
    if newest.is_some_and(holds) {
        Ok(coordinator)
    } else {
        let message = "this node holds no copies, by the newest layout: ask one that does (`trellis node list`)";
        Err(refused(StatusCode::CONFLICT, message.to_owned()))
    }
}

fn connect(observer: &Observer, new: NewNode) -> Result<Bytes, Refused> {
    let NewNode { id, address } = new.clone();
    let introduced = observer.membership().introduce(Hint { name: id, address });
    introduced.map_err(|error| refused(StatusCode::BAD_REQUEST, error.to_string()))?;
    Ok(to_json(&new))
}

async fn create_key(observer: &Observer, new: NewKeyName) -> Result<Bytes, Refused> {
    if new.name.len() > KEY_NAME_MAX_BYTES || new.name.chars().any(char::is_control) {
        let message = format!("a name has at most {KEY_NAME_MAX_BYTES} bytes and no control characters");
        return Err(refused(StatusCode::BAD_REQUEST, message));
    }
    let key = observer.store().create_key(&new.name).await?;
    Ok(to_json(&KeySecret {
        id: key.id.0,
        name: new.name,
        secret: key.secret.0,
    }))
}

async fn list_buckets(observer: &Observer) -> Result<Bytes, Refused> {
    let buckets = observer.store().all_buckets().await?;
    Ok(to_json(&buckets.into_iter().map(summary).collect::<Vec<_>>()))
}

async fn create_bucket(observer: &Observer, new: NewBucket) -> Result<Bytes, Refused> {
    let name = bucket_name(&new.name)?;
    let caller = AccessKey(new.owner);
    if observer.store().credential(&caller).await?.is_none() {
        return Err(KeyError::NoSuchKey(caller.0).into());
    }
    let origin = Origin {
        caller,
        invocation: None,
    };
    Ok(to_json(&summary(observer.store().create_bucket(&origin, &name).await?)))
}

async fn delete_bucket(observer: &Observer, name: &str) -> Result<Bytes, Refused> {
    let bucket = observer.store().bucket(&bucket_name(name)?).await?;
    let origin = Origin {
        caller: bucket.owner.clone(),
        invocation: None,
    };
    observer.store().delete_bucket(&origin, &bucket).await?;
    Ok(to_json(&()))
}

fn bucket_name(name: &str) -> Result<BucketName, Refused> {
    let rules = "a bucket name has 3 to 63 characters of a-z, 0-9, dot and hyphen, with a letter or digit at both ends";
    BucketName::parse(name).map_err(|_| refused(StatusCode::BAD_REQUEST, rules.to_owned()))
}

fn summary(info: BucketInfo) -> BucketSummary {
    BucketSummary {
        name: info.name.to_string(),
        owner: info.owner.0,
        created_ms: info.created.ms(),
        id: hex(&info.id.0),
    }
}

async fn read<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Refused> {
    let body = Limited::new(request.into_body(), REQUEST_MAX_BYTES).collect().await;
    let bytes = body.map_err(|error| refused(StatusCode::BAD_REQUEST, error.to_string()))?;
    serde_json::from_slice(&bytes.to_bytes()).map_err(|error| refused(StatusCode::BAD_REQUEST, error.to_string()))
}

fn to_json(value: &impl Serialize) -> Bytes {
    let json = serde_json::to_vec(value);
    json.expect("what the admin API says has only texts as keys").into()
}

pub(super) fn refused(status: StatusCode, message: String) -> Refused {
    let status = status.as_u16();
    Refused { status, message }
}

impl From<KeyError> for Refused {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::NoSuchKey(_) => refused(StatusCode::NOT_FOUND, format!("{error}; `trellis key list` shows all")),
            KeyError::OwnsBuckets(_) => refused(StatusCode::CONFLICT, error.to_string()),
            KeyError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        refused(status_of(&error), error.to_string())
    }
}

fn status_of(error: &StoreError) -> StatusCode {
    match error {
        StoreError::NoSuchBucket | StoreError::NoSuchKey | StoreError::NoSuchUpload => StatusCode::NOT_FOUND,
        StoreError::BucketAlreadyOwnedByYou
        | StoreError::BucketAlreadyExists
        | StoreError::BucketNotEmpty
        | StoreError::PreconditionFailed
        | StoreError::ConditionalConflict => StatusCode::CONFLICT,
        StoreError::OutcomeUnknown | StoreError::SlowDown | StoreError::Unavailable(_) | StoreError::StorageFull => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        StoreError::InvalidPart { .. }
        | StoreError::InvalidPartOrder
        | StoreError::EntityTooSmall { .. }
        | StoreError::EntityTooLarge
        | StoreError::InvalidRequest(_)
        | StoreError::BadDigest
        | StoreError::Body(_) => StatusCode::BAD_REQUEST,
        StoreError::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
