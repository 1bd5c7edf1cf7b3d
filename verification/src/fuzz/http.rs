//! The front door as a whole: bytes of a connection, and requests that are signed as they should be.

use std::sync::Arc;

use futures_util::future::join;
use percent_encoding::percent_decode_str;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::runtime::{Builder, Runtime};
use trellis_s3api::front::{FrontDoor, FrontDoorConfig, WallTime};
use trellis_s3api::memory::MemoryStore;

use crate::s3client::Credentials;
use crate::s3client::sign::{Unsigned, sign};
use crate::s3client::transport::Payload;

/// The clock of the server stands still here.
const NOW_SECONDS: i64 = 1_369_353_600;
const KEY: &str = "KEY";
const SECRET: &str = "SECRET";
/// Headers that say where a request ends, or that are signed anyway.
const OURS: [&str; 7] = [
    "authorization",
    "connection",
    "content-length",
    "expect",
    "host",
    "transfer-encoding",
    "upgrade",
];

/// What a client does once everything is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ThenIt {
    /// Closes its half: to the server it may have gone away, and then it gets no answer.
    HangsUp,
    /// Waits for the end, which comes with the answer or with a limit of the server.
    Listens,
}

/// What came back from one connection.
fn exchange(runtime: &Runtime, door: &FrontDoor<MemoryStore>, sent: &[u8], then_it: ThenIt) -> Vec<u8> {
    let (mut here, there) = duplex(1 << 20);
    let talk = async move {
        let mut heard = Vec::new();
        // The server may have heard enough before the end.
        let _ = here.write_all(sent).await;
        if then_it == ThenIt::HangsUp {
            let _ = here.shutdown().await;
        }
        let _ = here.read_to_end(&mut heard).await;
        heard
    };
    let serve = door.serve_connection(there, std::future::pending());
    runtime.block_on(join(talk, serve)).0
}

fn runtime() -> Runtime {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without IO needs nothing of the system")
}

fn door() -> FrontDoor<MemoryStore> {
    let config = FrontDoorConfig {
        clock: Arc::new(|| WallTime::from_seconds(NOW_SECONDS)),
        ..FrontDoorConfig::default()
    };
    FrontDoor::new(MemoryStore::new().with_key(KEY, SECRET), config)
}

/// What anybody may send.
pub(super) fn connections(data: &[u8]) {
    exchange(&runtime(), &door(), data, ThenIt::HangsUp);
}

/// Requests, separated by lines of one dash: method and target, headers, an empty line, a body. Each is signed. `ID` in a
/// target stands for the upload that was answered last.
pub(super) fn requests(data: &[u8]) {
    let (runtime, door) = (runtime(), door());
    let mut upload = String::new();
    let setup: [&[u8]; 3] = [b"PUT /bkt", b"PUT /bkt/k\n\nhello", b"POST /bkt/k?uploads"];
    for request in setup.into_iter().chain(split(data)) {
        let Some(signed) = signed(request, &upload) else { return };
        let answer = exchange(&runtime, &door, &signed, ThenIt::Listens);
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            !answer.starts_with("HTTP/1.1 500"),
            "a request is never our fault: {answer}"
        );
        if let Some(id) = answer
            .split("<UploadId>")
            .nth(1)
            .and_then(|rest| rest.split('<').next())
        {
            id.clone_into(&mut upload);
        }
    }
}

fn split(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    const REQUESTS_MAX: usize = 8;
    let mut rest = Some(data);
    let requests = std::iter::from_fn(move || {
        let all = rest?;
        let end = all.windows(3).position(|window| window == b"\n-\n");
        rest = end.map(|end| &all[end + 3..]);
        Some(&all[..end.unwrap_or(all.len())])
    });
    requests.take(REQUESTS_MAX)
}

/// The bytes of a request with a good signature; nothing if one cannot be signed.
fn signed(request: &[u8], upload: &str) -> Option<Vec<u8>> {
    let end = request.windows(2).position(|window| window == b"\n\n");
    let (head, body) = end.map_or((request, &b""[..]), |end| (&request[..end], &request[end + 2..]));
    let head = std::str::from_utf8(head).ok()?.replace("ID", upload);
    let mut lines = head.lines();
    let (method, target) = lines.next()?.split_once(' ')?;
    let mut headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .filter(|(name, _)| !OURS.contains(&name.as_str()) && !name.starts_with("x-amz-content-sha"))
        .collect();
    headers.push(("host".to_owned(), "localhost".to_owned()));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let plain = |text: &str| Some(percent_decode_str(text).decode_utf8().ok()?.into_owned());
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((plain(&name.replace('+', " "))?, plain(&value.replace('+', " "))?))
    };
    let pairs: Option<Vec<(String, String)>> = query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect();
    let unsigned = Unsigned {
        method,
        path: &plain(path)?,
        query: &pairs?,
        headers: &headers,
        body,
        payload: Payload::Unsigned,
    };
    let who = Credentials {
        access_key_id: KEY.to_owned(),
        secret_access_key: SECRET.to_owned(),
        region: "us-east-1".to_owned(),
    };
    let at = OffsetDateTime::from_unix_timestamp(NOW_SECONDS).ok()?;
    let added = sign(&unsigned, &who, at);
    let mut text = format!(
        "{method} {target} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers.iter().chain(&added) {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    Some([text.as_bytes(), body].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_taken_for_good() {
        let (runtime, door) = (runtime(), door());
        for (request, status) in [
            ("PUT /bkt", "200"),
            (
                "PUT /bkt/a%20b?x-id=PutObject\ncontent-type: text/plain\n\nhello",
                "200",
            ),
            ("GET /bkt/a%20b\nRange: bytes=1-2", "206"),
            ("GET /bkt/c", "404"),
        ] {
            let answer = exchange(
                &runtime,
                &door,
                &signed(request.as_bytes(), "").unwrap(),
                ThenIt::Listens,
            );
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
        }
    }
}
