//! Just enough of an S3 store, in memory, to lie with: one process, one lock, no signatures, no paging.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use trellis_verification::s3client::tag_of;

/// What the store gets wrong; most of them every few requests only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    None,
    IgnoresIfNoneMatch,
    IgnoresIfMatch,
    ForgetsWrites,
    ServesOldReads,
    BringsBackDeleted,
    HidesFromListings,
    SwapsBodies,
    WritesWhatItRefuses,
    TakesWritesIntoBucketsThatAreGone,
}

/// How often an occasional lie is told.
const EVERY: u64 = 10;

/// A running liar; it stops when dropped.
pub(crate) struct Liar {
    pub(crate) address: SocketAddr,
    _server: JoinSet<()>,
}

struct Store {
    lie: Lie,
    requests: u64,
    /// Every value each object ever had, the last one being the present.
    objects: BTreeMap<String, Vec<Option<Bytes>>>,
    /// The bucket of each object. No two buckets have the same keys.
    homes: BTreeMap<String, String>,
    gone: BTreeSet<String>,
}

impl Liar {
    pub(crate) async fn start(lie: Lie) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let store = Arc::new(Mutex::new(Store {
            lie,
            requests: 0,
            objects: BTreeMap::new(),
            homes: BTreeMap::new(),
            gone: BTreeSet::new(),
        }));
        let mut server = JoinSet::new();
        server.spawn(serve(listener, store));
        Liar {
            address,
            _server: server,
        }
    }
}

async fn serve(listener: TcpListener, store: Arc<Mutex<Store>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let store = Arc::clone(&store);
        let service = service_fn(move |request| answer(request, Arc::clone(&store)));
        connections.spawn(async move {
            // A client that hangs up in the middle is its own business.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(request: Request<Incoming>, store: Arc<Mutex<Store>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let path = head.uri.path().trim_matches('/').to_owned();
    let mut store = store.lock().unwrap();
    store.requests += 1;
    let path = path.split_once('/');
    if let Some((bucket, key)) = path {
        store.homes.insert(key.to_owned(), bucket.to_owned());
        let takes = store.lie == Lie::TakesWritesIntoBucketsThatAreGone && head.method == Method::PUT;
        if store.gone.contains(bucket) && !takes {
            return Ok(refused(StatusCode::NOT_FOUND, "NoSuchBucket"));
        }
    }
    Ok(match (head.method, path) {
        (Method::DELETE, None) => store.delete_bucket(head.uri.path().trim_matches('/')),
        (Method::GET, None) => store.list(head.uri.query().unwrap_or_default()),
        (_, None) => reply(StatusCode::OK, None, Bytes::new()),
        (Method::GET | Method::HEAD, Some((_, key))) => store.get(key),
        (Method::PUT, Some((_, key))) => store.write(key, Some(body), &head.headers),
        (_, Some((_, key))) => store.write(key, None, &head.headers),
    })
}

impl Store {
    fn lies(&self, lie: Lie) -> bool {
        self.lie == lie && self.requests.is_multiple_of(EVERY)
    }

    fn get(&self, key: &str) -> Response<Full<Bytes>> {
        let values = self.objects.get(key).map_or(&[][..], Vec::as_slice);
        let age = usize::from(self.lies(Lie::ServesOldReads) && values.len() > 2) * 2;
        let mut value = values
            .len()
            .checked_sub(1 + age)
            .and_then(|place| values[place].clone());
        if self.lies(Lie::BringsBackDeleted) && value.is_none() {
            value = values.iter().rev().flatten().next().cloned();
        }
        if self.lies(Lie::SwapsBodies) && value.is_some() {
            value = Some(Bytes::from_static(b"somebody else's"));
        }
        match value {
            Some(body) => reply(StatusCode::OK, Some(tag_of(&body)), body),
            None => reply(StatusCode::NOT_FOUND, None, Bytes::new()),
        }
    }

    fn write(&mut self, key: &str, body: Option<Bytes>, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let tag = body.as_deref().map(tag_of);
        if !self.holds(key, headers) {
            if self.lies(Lie::WritesWhatItRefuses) {
                self.objects.entry(key.to_owned()).or_default().push(body);
            }
            return reply(StatusCode::PRECONDITION_FAILED, None, Bytes::new());
        }
        if !self.lies(Lie::ForgetsWrites) {
            self.objects.entry(key.to_owned()).or_default().push(body);
        }
        reply(StatusCode::OK, tag, Bytes::new())
    }

    fn delete_bucket(&mut self, bucket: &str) -> Response<Full<Bytes>> {
        let is_there = |(key, values): (&String, &Vec<Option<Bytes>>)| {
            self.homes.get(key).is_some_and(|home| home == bucket) && values.last().is_some_and(Option::is_some)
        };
        if self.objects.iter().any(is_there) {
            return refused(StatusCode::CONFLICT, "BucketNotEmpty");
        }
        self.gone.insert(bucket.to_owned());
        reply(StatusCode::NO_CONTENT, None, Bytes::new())
    }

    fn holds(&self, key: &str, headers: &HeaderMap) -> bool {
        let current = self
            .objects
            .get(key)
            .and_then(|values| values.last()?.as_deref().map(tag_of));
        let wanted = headers
            .get("if-match")
            .map(|tag| tag.to_str().unwrap().trim_matches('"').to_owned());
        let must_match = wanted.is_some() && self.lie != Lie::IgnoresIfMatch;
        let must_be_new = headers.contains_key("if-none-match") && self.lie != Lie::IgnoresIfNoneMatch;
        let matches = if wanted.as_deref() == Some("*") {
            current.is_some()
        } else {
            wanted == current
        };
        !(must_match && !matches || must_be_new && current.is_some())
    }

    fn list(&self, query: &str) -> Response<Full<Bytes>> {
        let prefix = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("prefix="))
            .unwrap_or_default();
        let mut lines = String::new();
        for (key, values) in self.objects.iter().filter(|(key, _)| key.starts_with(prefix)) {
            let is_hidden = self.lie == Lie::HidesFromListings && key.ends_with('1');
            if let Some(Some(body)) = values.last().filter(|_| !is_hidden) {
                lines += &format!(
                    "<Contents><Key>{key}</Key><ETag>&quot;{}&quot;</ETag></Contents>",
                    tag_of(body)
                );
            }
        }
        let text = format!("<ListBucketResult><IsTruncated>false</IsTruncated>{lines}</ListBucketResult>");
        reply(StatusCode::OK, None, text.into())
    }
}

fn refused(status: StatusCode, code: &str) -> Response<Full<Bytes>> {
    reply(status, None, format!("<Error><Code>{code}</Code></Error>").into())
}

fn reply(status: StatusCode, tag: Option<String>, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(status);
    if let Some(tag) = tag {
        response = response.header("etag", format!("\"{tag}\""));
    }
    response.body(Full::new(body)).unwrap()
}
