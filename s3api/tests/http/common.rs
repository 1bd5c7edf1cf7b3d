//! A front door on a store in memory, and a client that can say anything: it writes the bytes of a request itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use trellis_s3api::bucket::BucketCreation;
use trellis_s3api::front::{FrontDoor, FrontDoorConfig, WallTime};
use trellis_s3api::memory::MemoryStore;
use trellis_s3api::object::hex;

/// The clock of the server stands still at this moment: 2013-05-24 00:00:00.
pub(crate) const NOW: i64 = 1_369_353_600;
pub(crate) const NOW_COMPACT: &str = "20130524T000000Z";
pub(crate) const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
pub(crate) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
/// A second key, which may not create buckets.
pub(crate) const GUEST: &str = "GUEST";

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) door: FrontDoor<MemoryStore>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Server {
    /// A server with a bucket named `bucket`.
    pub(crate) async fn start() -> Server {
        let server = Server::start_with(FrontDoorConfig::default()).await;
        assert_eq!(server.put("/bucket", "").await.status, 200);
        server
    }

    pub(crate) async fn start_with(config: FrontDoorConfig) -> Server {
        let store = MemoryStore::new().with_key(KEY, SECRET);
        store.add_key(GUEST, SECRET, BucketCreation::Denied);
        let config = FrontDoorConfig {
            clock: Arc::new(|| WallTime::from_seconds(NOW)),
            ..config
        };
        let door = FrontDoor::new(store, config);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = door.clone();
        #[expect(clippy::disallowed_methods, reason = "this test runs on the real runtime")]
        let task = tokio::spawn(async move {
            serving
                .serve(vec![listener], async {
                    let _ = stopped.await;
                })
                .await;
        });
        Server {
            address,
            door,
            stop: Some(stop),
            task,
        }
    }

    /// Stops the server in an orderly way and waits for its end.
    pub(crate) async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.task.await.unwrap();
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(crate) async fn put(&self, path: &str, body: impl Into<Vec<u8>>) -> Answer {
        Call::new("PUT", path).body(body).send(self).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Call::new("GET", path).send(self).await
    }

    pub(crate) async fn head(&self, path: &str) -> Answer {
        Call::new("HEAD", path).send(self).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        Call::new("DELETE", path).send(self).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Vec<u8>>) -> Answer {
        Call::new("POST", path).body(body).send(self).await
    }
}

/// A request in the making. It is signed when it is sent, unless it is anonymous.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    /// Sent but not signed.
    pub(crate) unsigned: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) hash: Option<String>,
    pub(crate) key: String,
    pub(crate) secret: String,
    pub(crate) region: String,
    pub(crate) date: String,
    pub(crate) anonymous: bool,
}

impl Call {
    pub(crate) fn new(method: &str, path: &str) -> Call {
        Call {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            unsigned: Vec::new(),
            body: Vec::new(),
            hash: None,
            key: KEY.to_owned(),
            secret: SECRET.to_owned(),
            region: "us-east-1".to_owned(),
            date: NOW_COMPACT.to_owned(),
            anonymous: false,
        }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Call {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn unsigned(mut self, name: &str, value: impl Into<String>) -> Call {
        self.unsigned.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Call {
        self.body = body.into();
        self
    }

    /// What to put in place of the hash of the body.
    pub(crate) fn hash(mut self, hash: &str) -> Call {
        self.hash = Some(hash.to_owned());
        self
    }

    pub(crate) fn anonymous(mut self) -> Call {
        self.anonymous = true;
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Call)) -> Call {
        change(&mut self);
        self
    }

    fn scope(&self) -> String {
        format!("{}/{}/s3/aws4_request", &self.date[..8], self.region)
    }

    fn signing_key(&self) -> Vec<u8> {
        let date = hmac(format!("AWS4{}", self.secret).as_bytes(), &self.date.as_bytes()[..8]);
        hmac(&hmac(&hmac(&date, self.region.as_bytes()), b"s3"), b"aws4_request")
    }

    fn sign_text(&self, text: &str) -> String {
        hex(&hmac(&self.signing_key(), text.as_bytes()))
    }

    fn signature(&self, query: &str, headers: &[(String, String)], hash: &str) -> String {
        let path = self.path.split('?').next().unwrap();
        let lines: String = headers
            .iter()
            .map(|(name, value)| format!("{name}:{}\n", value.trim()))
            .collect();
        let request = format!("{}\n{path}\n{query}\n{lines}\n{}\n{hash}", self.method, names(headers));
        let digest = hex(&Sha256::digest(request));
        self.sign_text(&format!("AWS4-HMAC-SHA256\n{}\n{}\n{digest}", self.date, self.scope()))
    }

    /// All headers in order, with the signature; also the signature by itself.
    fn signed(&self, host: &str) -> (Vec<(String, String)>, String) {
        let mut headers: Vec<(String, String)> = self
            .headers
            .iter()
            .map(|(name, value)| (name.to_lowercase(), value.clone()))
            .collect();
        headers.push(("host".to_owned(), host.to_owned()));
        if self.anonymous {
            headers.extend(self.unsigned.clone());
            return (headers, String::new());
        }
        let hash = self.hash.clone().unwrap_or_else(|| hex(&Sha256::digest(&self.body)));
        headers.push(("x-amz-date".to_owned(), self.date.clone()));
        headers.push(("x-amz-content-sha256".to_owned(), hash.clone()));
        headers.sort();
        let signature = self.signature(&canonical_query(&self.path), &headers, &hash);
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{}, SignedHeaders={}, Signature={signature}",
            self.key,
            self.scope(),
            names(&headers)
        );
        headers.push(("authorization".to_owned(), authorization));
        headers.extend(self.unsigned.clone());
        (headers, signature)
    }

    /// The same request with its signature in the query.
    pub(crate) fn presigned(mut self, server: &Server, expires_seconds: i64) -> Call {
        let headers = vec![("host".to_owned(), server.address.to_string())];
        let separator = if self.path.contains('?') { '&' } else { '?' };
        let credential = format!("{}/{}", self.key, self.scope()).replace('/', "%2F");
        self.path = format!(
            "{}{separator}X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}&X-Amz-Date={}\
             &X-Amz-Expires={expires_seconds}&X-Amz-SignedHeaders=host",
            self.path, self.date
        );
        let signature = self.signature(&canonical_query(&self.path), &headers, "UNSIGNED-PAYLOAD");
        self.path = format!("{}&X-Amz-Signature={signature}", self.path);
        self.anonymous()
    }

    /// The body in chunks, signed if the payload hash says so, with `trailer` behind the last one.
    pub(crate) fn chunked(mut self, server: &Server, chunk: usize, trailer: Option<(&str, &str)>) -> Call {
        let signed = self
            .hash
            .as_ref()
            .is_some_and(|hash| hash.starts_with("STREAMING-AWS4"));
        let body = std::mem::take(&mut self.body);
        self = self.header("x-amz-decoded-content-length", body.len().to_string());
        self = self.header("content-encoding", "aws-chunked");
        if let Some((name, _)) = trailer {
            self = self.header("x-amz-trailer", name);
        }
        let mut previous = self.signed(&server.address.to_string()).1;
        let pieces = body.chunks(chunk).chain(std::iter::once(&body[..0]));
        for piece in pieces {
            let (empty, hash) = (hex(&Sha256::digest(b"")), hex(&Sha256::digest(piece)));
            let text = format!(
                "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{previous}\n{empty}\n{hash}",
                self.date,
                self.scope()
            );
            previous = self.sign_text(&text);
            let extension = if signed {
                format!(";chunk-signature={previous}")
            } else {
                String::new()
            };
            self.body
                .extend_from_slice(format!("{:x}{extension}\r\n", piece.len()).as_bytes());
            self.body.extend_from_slice(piece);
            self.body
                .extend_from_slice(if piece.is_empty() { b"" } else { b"\r\n" });
        }
        if let Some((name, value)) = trailer {
            let line = format!("{name}:{value}");
            self.body.extend_from_slice(format!("{line}\r\n").as_bytes());
            if signed {
                let hash = hex(&Sha256::digest(format!("{line}\n")));
                let text = format!(
                    "AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{previous}\n{hash}",
                    self.date,
                    self.scope()
                );
                let signature = self.sign_text(&text);
                self.body
                    .extend_from_slice(format!("x-amz-trailer-signature:{signature}\r\n").as_bytes());
            }
        }
        self.body.extend_from_slice(b"\r\n");
        self
    }

    /// The bytes of the request, with `content-length` unless one is given.
    pub(crate) fn bytes(&self, host: &str) -> Vec<u8> {
        let (headers, _) = self.signed(host);
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        let lengths = ["content-length", "transfer-encoding"];
        if !headers.iter().any(|(name, _)| lengths.contains(&name.as_str())) {
            text.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        [format!("{text}\r\n").into_bytes(), self.body.clone()].concat()
    }

    pub(crate) async fn send(self, server: &Server) -> Answer {
        let mut stream = server.connect().await;
        let call = self.unsigned("connection", "close");
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(&call.bytes(&server.address.to_string())).await;
        Answer::read(&mut stream).await
    }
}

fn names(headers: &[(String, String)]) -> String {
    headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect::<Vec<&str>>()
        .join(";")
}

/// The query sorted by name; the tests write it in its canonical coding already.
fn canonical_query(path: &str) -> String {
    let query = path.split_once('?').map_or("", |(_, query)| query);
    let mut pairs: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            if pair.contains('=') {
                pair.to_owned()
            } else {
                format!("{pair}=")
            }
        })
        .collect();
    pairs.sort();
    pairs.join("&")
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    Hmac::<Sha256>::new_from_slice(key)
        .unwrap()
        .chain_update(text)
        .finalize()
        .into_bytes()
        .to_vec()
}

/// A response.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Reads to the end of the connection.
    pub(crate) async fn read(stream: &mut TcpStream) -> Answer {
        let mut bytes = Vec::new();
        // A reset behind the answer does not concern us.
        let _ = stream.read_to_end(&mut bytes).await;
        Answer::parse(&bytes)
    }

    pub(crate) fn parse(bytes: &[u8]) -> Answer {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no response: {:?}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| line.split_once(": ").unwrap());
        let headers = headers
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        Answer {
            status,
            headers,
            body: bytes[end + 4..].to_vec(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The text of an element of the document.
    pub(crate) fn element(&self, name: &str) -> Option<String> {
        let text = self.text();
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>"))
            .map(|(inside, _)| inside.to_owned())
    }

    pub(crate) fn elements(&self, name: &str) -> Vec<String> {
        let text = self.text();
        let tag = format!("<{name}>");
        text.split(&tag)
            .skip(1)
            .map(|part| part.split("</").next().unwrap().to_owned())
            .collect()
    }

    /// Status and error code.
    pub(crate) fn error(&self) -> (u16, String) {
        (self.status, self.element("Code").unwrap_or_default())
    }

    #[track_caller]
    pub(crate) fn expect(&self, status: u16, code: &str) {
        assert_eq!(self.error(), (status, code.to_owned()), "{}", self.text());
        assert!(self.header("x-amz-request-id").is_some());
        if status >= 400 {
            assert_eq!(self.element("RequestId").as_deref(), self.header("x-amz-request-id"));
            assert!(self.element("Resource").is_some() && self.element("Message").is_some());
        }
    }
}
