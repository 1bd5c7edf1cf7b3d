//! Connections: what a client may do to them without harm, and how they end.

use crate::common::{Answer, Call, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use trellis_s3api::front::FrontDoorConfig;

/// Reads one response of a connection that stays open.
async fn read_one(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let answer = Answer::parse(&bytes[..end + 4]);
            let length = answer
                .header("content-length")
                .map_or(0, |length| length.parse().unwrap());
            if bytes.len() >= end + 4 + length {
                return Answer::parse(&bytes);
            }
        }
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.unwrap();
        assert_ne!(read, 0, "the connection ended: {}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&piece[..read]);
    }
}

#[tokio::test]
async fn connections_are_used_again() {
    let server = Server::start().await;
    let mut stream = server.connect().await;
    let host = server.address.to_string();
    let mut ids = Vec::new();
    for round in 0..20 {
        let body = format!("round {round}");
        stream
            .write_all(&Call::new("PUT", "/bucket/key").body(&*body).bytes(&host))
            .await
            .unwrap();
        let put = read_one(&mut stream).await;
        assert_eq!(put.status, 200);
        stream
            .write_all(&Call::new("GET", "/bucket/key").bytes(&host))
            .await
            .unwrap();
        assert_eq!(read_one(&mut stream).await.text(), body);
        ids.push(put.header("x-amz-request-id").unwrap().to_owned());
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 20);
}

#[tokio::test]
async fn bodies_wait_until_they_are_asked_for() {
    let server = Server::start().await;
    let host = server.address.to_string();
    let send_head = async |call: Call| {
        let bytes = call.header("expect", "100-continue").bytes(&host);
        let mut stream = server.connect().await;
        stream.write_all(&bytes[..bytes.len() - 5]).await.unwrap();
        stream
    };
    let mut stream = send_head(Call::new("PUT", "/bucket/key").body("hello")).await;
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").await.unwrap();
    assert_eq!(read_one(&mut stream).await.status, 200);
    // Who may not write is told so at once.
    let mut stream = send_head(Call::new("PUT", "/bucket/key").body("hello").anonymous()).await;
    assert_eq!(read_one(&mut stream).await.error(), (403, "AccessDenied".to_owned()));
}

/// The next request on a connection that was kept.
async fn assert_usable(stream: &mut TcpStream, server: &Server, what: &str) {
    let next = Call::new("GET", "/health").anonymous();
    stream
        .write_all(&next.bytes(&server.address.to_string()))
        .await
        .unwrap();
    assert_eq!(read_one(stream).await.status, 200, "{what}");
}

#[tokio::test]
async fn a_small_body_that_nobody_wanted_does_not_spoil_the_connection() {
    let server = Server::start().await;
    let host = server.address.to_string();
    let nowhere = |body: &str| Call::new("PUT", "/nothing-here/key").body(body);
    let kilobytes = "x".repeat(200 << 10);
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    let coded = Call::new("PUT", "/bucket/key")
        .body(&*kilobytes)
        .hash("STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
        .chunked(&server, 8192, None)
        // One byte of the first chunk is another than was signed.
        .with(|call| call.body[100] ^= 1);
    let cases = [
        ("an unknown bucket", nowhere("hello"), 404),
        ("no body", nowhere(""), 404),
        ("a body near the limit", nowhere(&kilobytes), 404),
        (
            "a wrong signature",
            nowhere("hello").with(|call| call.secret.push('x')),
            403,
        ),
        ("no operation", Call::new("PUT", "/bucket/key?acl").body("<a/>"), 501),
        ("a read with a body", Call::new("GET", "/bucket").body("hello"), 200),
        ("a body wrong in its first piece", coded, 403),
        (
            "a body of unknown length",
            nowhere(chunks).header("transfer-encoding", "chunked"),
            404,
        ),
    ];
    let mut stream = server.connect().await;
    for (what, call, status) in cases {
        stream.write_all(&call.bytes(&host)).await.unwrap();
        let answer = read_one(&mut stream).await;
        assert_eq!((answer.status, answer.header("connection")), (status, None), "{what}");
        assert_usable(&mut stream, &server, what).await;
    }
    // Byte by byte.
    for byte in nowhere("hello").bytes(&host) {
        stream.write_all(&[byte]).await.unwrap();
    }
    assert_eq!(read_one(&mut stream).await.error(), (404, "NoSuchBucket".to_owned()));
    assert_usable(&mut stream, &server, "byte by byte").await;
}

/// The answer must say that it is the last one, and be it.
async fn assert_last(mut stream: TcpStream, what: &str) {
    let answer = read_one(&mut stream).await;
    assert_eq!(answer.error(), (404, "NoSuchBucket".to_owned()), "{what}");
    assert_eq!(answer.header("connection"), Some("close"), "{what}");
    // The end may be a reset, for the client has said more than was read.
    assert!(!matches!(stream.read(&mut [0; 1]).await, Ok(1..)), "{what}");
}

#[tokio::test]
async fn a_body_that_is_still_to_come_ends_the_connection() {
    let server = Server::start().await;
    let host = server.address.to_string();
    let nowhere = |len: usize| Call::new("PUT", "/nothing-here/key").body(vec![0; len]);
    let send = async |bytes: &[u8]| {
        let mut stream = server.connect().await;
        stream.write_all(bytes).await.unwrap();
        stream
    };
    // Who waits for `100 Continue` does not send the body any more.
    let expecting = nowhere(5).header("expect", "100-continue").bytes(&host);
    assert_last(send(&expecting[..expecting.len() - 5]).await, "expecting").await;
    // A body that stops does not hold up the answer for long.
    let halting = nowhere(5).bytes(&host);
    assert_last(send(&halting[..halting.len() - 1]).await, "halting").await;
    let large = nowhere(8 << 20).bytes(&host);
    assert_last(send(&large[..large.len() - (7 << 20)]).await, "large").await;
}

#[tokio::test]
async fn odd_requests_do_no_harm() {
    let server = Server::start().await;
    let long = "x".repeat(10 << 20);
    let huge_header = format!("GET / HTTP/1.1\r\nhost: x\r\nx-amz-meta-a: {long}\r\n\r\n");
    let many_headers = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(1000));
    let huge_path = format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n");
    let requests: Vec<&[u8]> = vec![
        huge_header.as_bytes(),
        many_headers.as_bytes(),
        huge_path.as_bytes(),
        b"\x00\x01\x02\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET bucket HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /%zz/%ff?%ff=%fe&=&&&a=b=c HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /bucket/a?X-Amz-Signature=&X-Amz-Credential=//// HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /bucket/a?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a/b/c/d/aws4_request&X-Amz-Date=20130524T000000Z&X-Amz-SignedHeaders=host&X-Amz-Signature=zz&X-Amz-Expires=99999999999999999999 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"PUT /bucket/a HTTP/1.1\r\nhost: x\r\ncontent-length: 18446744073709551616\r\n\r\n",
        b"PUT /bucket/a HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"PUT /bucket/a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"PUT /bucket/a HTTP/1.1\r\nhost: \xff\xfe\r\nauthorization: AWS4-HMAC-SHA256 \xff\r\n\r\n",
        b"PUT /bucket/a HTTP/1.1\r\nhost: x\r\nauthorization: AWS4-HMAC-SHA256 Credential=a/b/c/s3/aws4_request,SignedHeaders=;;;,Signature=\xc3\xa9\r\n\r\n",
    ];
    for request in requests {
        let mut stream = server.connect().await;
        // The server may close before it has read everything.
        let _ = stream.write_all(request).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let shown = String::from_utf8_lossy(&request[..request.len().min(80)]).into_owned();
        assert!(
            !answer.starts_with(b"HTTP/1.1 2") && !answer.starts_with(b"HTTP/1.1 500"),
            "{shown}"
        );
    }
    server.get("/bucket").await.expect(200, "");
}

#[tokio::test]
async fn an_orderly_end_finishes_what_was_begun() {
    let server = Server::start().await;
    let address = server.address;
    let mut idle = server.connect().await;
    idle.write_all(&Call::new("GET", "/bucket").bytes(&address.to_string()))
        .await
        .unwrap();
    read_one(&mut idle).await;
    let mut busy = server.connect().await;
    let bytes = Call::new("PUT", "/bucket/key")
        .body("hello")
        .header("expect", "100-continue")
        .bytes(&address.to_string());
    busy.write_all(&bytes[..bytes.len() - 5]).await.unwrap();
    let mut interim = [0; 25];
    busy.read_exact(&mut interim).await.unwrap();
    // Now the request is in the middle of its body.
    let door = server.door.clone();
    let finish = async {
        assert_eq!(
            idle.read(&mut [0; 1]).await.unwrap(),
            0,
            "the idle connection is closed"
        );
        busy.write_all(b"hello").await.unwrap();
        let put = Answer::read(&mut busy).await;
        assert_eq!(put.status, 200);
    };
    tokio::join!(server.stop(), finish);
    assert!(TcpStream::connect(address).await.is_err());
    assert!(format!("{door:?}").contains("us-east-1"));
}

#[tokio::test]
async fn health_needs_no_signature() {
    let server = Server::start().await;
    let answer = Call::new("GET", "/health").anonymous().send(&server).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "{\"serving\":true}\n"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn connections_are_limited() {
    let config = FrontDoorConfig {
        connections_max: 1,
        ..FrontDoorConfig::default()
    };
    let server = Server::start_with(config).await;
    let first = server.connect().await;
    let health = Call::new("GET", "/health").anonymous().unsigned("connection", "close");
    let mut second = server.connect().await;
    second
        .write_all(&health.bytes(&server.address.to_string()))
        .await
        .unwrap();
    let waiting = tokio::time::timeout(std::time::Duration::from_millis(50), second.readable()).await;
    assert!(waiting.is_err(), "the second connection waits for the first one");
    drop(first);
    assert_eq!(Answer::read(&mut second).await.status, 200);
}
