//! Bodies in every coding, and what becomes of those that are not what they claim.

use crate::common::{Answer, Call, Server};
use tokio::io::AsyncWriteExt;
use trellis_s3api::checksum::{Algorithm, Checksum};
use trellis_s3api::front::FrontDoorConfig;

const SIGNED: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const SIGNED_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
const UNSIGNED_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

fn put(body: impl Into<Vec<u8>>) -> Call {
    Call::new("PUT", "/bucket/key").body(body)
}

fn large() -> Vec<u8> {
    (0..300_000_u32).flat_map(|n| n.to_le_bytes()).collect()
}

/// The key must not have been written.
async fn nothing_stored(server: &Server) {
    server.get("/bucket/key").await.expect(404, "NoSuchKey");
}

#[tokio::test]
async fn every_coding_brings_the_same_bytes() {
    let server = Server::start().await;
    let body = large();
    let crc = Checksum::of(Algorithm::Crc32, &body).to_base64();
    let sha = Checksum::of(Algorithm::Sha256, &body).to_base64();
    let trailer = Some(("x-amz-checksum-crc32", crc.as_str()));
    let calls = [
        put(&*body),
        put(&*body).hash("UNSIGNED-PAYLOAD"),
        put(&*body)
            .hash("UNSIGNED-PAYLOAD")
            .header("x-amz-checksum-crc32", &*crc),
        put(&*body).hash(SIGNED).chunked(&server, 65_536, None),
        put(&*body).hash(SIGNED).chunked(&server, 8192, None),
        put(&*body).hash(SIGNED_TRAILER).chunked(&server, 65_536, trailer),
        put(&*body).hash(UNSIGNED_TRAILER).chunked(&server, 65_536, trailer),
        // Some clients send the whole body as one chunk.
        put(&*body).hash(UNSIGNED_TRAILER).chunked(&server, usize::MAX, trailer),
        put(&*body)
            .hash(UNSIGNED_TRAILER)
            .chunked(&server, 100_000, Some(("x-amz-checksum-sha256", &sha))),
    ];
    for (place, call) in calls.into_iter().enumerate() {
        let answer = call.send(&server).await;
        assert_eq!(answer.status, 200, "{place}: {}", answer.text());
        let got = server.get("/bucket/key").await;
        assert_eq!(got.body.len(), body.len(), "{place}");
        assert!(got.body == body, "{place}");
        assert_eq!(got.header("content-encoding"), None, "{place}");
        server.delete("/bucket/key").await.expect(204, "");
    }
    for coding in [SIGNED, UNSIGNED_TRAILER] {
        put("")
            .hash(coding)
            .chunked(&server, 10, None)
            .send(&server)
            .await
            .expect(200, "");
        assert_eq!(server.head("/bucket/key").await.header("content-length"), Some("0"));
    }
}

#[tokio::test]
async fn altered_bodies_are_not_stored() {
    let server = Server::start().await;
    let flip = |call: &mut Call| {
        let middle = call.body.len() / 2;
        call.body[middle] ^= 1;
    };
    let crc = Checksum::of(Algorithm::Crc32, &large()).to_base64();
    let trailer = Some(("x-amz-checksum-crc32", crc.as_str()));
    let hash = hex_sha256(&large());
    let altered = [
        (put(large()).hash(&hash), "XAmzContentSHA256Mismatch"),
        (
            put(large())
                .hash("UNSIGNED-PAYLOAD")
                .header("x-amz-checksum-crc32", &*crc),
            "BadDigest",
        ),
        (
            put(large()).hash(SIGNED).chunked(&server, 65_536, None),
            "SignatureDoesNotMatch",
        ),
        (
            put(large()).hash(SIGNED_TRAILER).chunked(&server, 65_536, trailer),
            "SignatureDoesNotMatch",
        ),
        (
            put(large()).hash(UNSIGNED_TRAILER).chunked(&server, 65_536, trailer),
            "BadDigest",
        ),
    ];
    for (call, code) in altered {
        let status = if code == "SignatureDoesNotMatch" { 403 } else { 400 };
        call.with(flip).send(&server).await.expect(status, code);
        nothing_stored(&server).await;
    }
    let md5 = |value: &str| put("hello").header("content-md5", value);
    md5("AAAAAAAAAAAAAAAAAAAAAA==")
        .send(&server)
        .await
        .expect(400, "BadDigest");
    md5("nonsense").send(&server).await.expect(400, "InvalidDigest");
    nothing_stored(&server).await;
    md5("XUFAKrxLKna5cZ2REBfFkg==").send(&server).await.expect(200, "");
}

fn hex_sha256(bytes: &[u8]) -> String {
    trellis_s3api::object::hex(&Checksum::of(Algorithm::Sha256, bytes).to_bytes())
}

#[tokio::test]
async fn trailers_must_be_signed_and_present() {
    let server = Server::start().await;
    let crc = Checksum::of(Algorithm::Crc32, b"hello").to_base64();
    let trailer = Some(("x-amz-checksum-crc32", crc.as_str()));
    let swap = |from: &'static str, to: &'static str| {
        move |call: &mut Call| call.body = String::from_utf8_lossy(&call.body).replace(from, to).into_bytes()
    };
    let signed = || put("hello").hash(SIGNED_TRAILER).chunked(&server, 10, trailer);
    signed()
        .with(swap("x-amz-trailer-signature:", "x-other:"))
        .send(&server)
        .await
        .expect(400, "InvalidRequest");
    signed()
        .with(swap("trailer-signature:", "trailer-signature:0"))
        .send(&server)
        .await
        .expect(403, "SignatureDoesNotMatch");
    let unsigned = || put("hello").hash(UNSIGNED_TRAILER).chunked(&server, 10, trailer);
    unsigned()
        .with(swap("x-amz-checksum-crc32", "x-amz-checksum-crc33"))
        .send(&server)
        .await
        .expect(400, "InvalidRequest");
    let unknown = put("hello")
        .hash(UNSIGNED_TRAILER)
        .chunked(&server, 10, Some(("x-amz-other", "1")));
    unknown.send(&server).await.expect(400, "InvalidRequest");
    let no_chunk_signature = put("hello").hash(SIGNED).chunked(&server, 10, None);
    no_chunk_signature
        .with(swap(";chunk-signature", ";other"))
        .send(&server)
        .await
        .expect(400, "InvalidRequest");
    let promised = put("hello").header("x-amz-sdk-checksum-algorithm", "CRC32");
    promised.send(&server).await.expect(400, "InvalidRequest");
    nothing_stored(&server).await;
}

#[tokio::test]
async fn bodies_that_stop_short_are_not_stored() {
    let server = Server::start().await;
    let calls = [
        put(large()),
        put(large()).hash("UNSIGNED-PAYLOAD"),
        put(large()).hash(SIGNED).chunked(&server, 65_536, None),
        put(large()).hash(UNSIGNED_TRAILER).chunked(&server, 65_536, None),
    ];
    for call in calls {
        let bytes = call.bytes(&server.address.to_string());
        let mut stream = server.connect().await;
        stream.write_all(&bytes[..bytes.len() - 10]).await.unwrap();
        stream.shutdown().await.unwrap();
        // The server sees the end of the connection; whatever it says, it says before it closes its side.
        let mut rest = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest).await;
        nothing_stored(&server).await;
    }
    // A chunked body that is complete on the wire and still lacks its last chunk.
    let cut = put("hello").hash(UNSIGNED_TRAILER).chunked(&server, 10, None);
    cut.with(|call| call.body.truncate(10))
        .send(&server)
        .await
        .expect(400, "IncompleteBody");
    let long = put("hello").hash(UNSIGNED_TRAILER).chunked(&server, 10, None);
    let short = |call: &mut Call| {
        call.headers.retain(|(name, _)| name != "x-amz-decoded-content-length");
        *call = call.clone().header("x-amz-decoded-content-length", "4");
    };
    long.with(short).send(&server).await.expect(400, "IncompleteBody");
    nothing_stored(&server).await;
}

#[tokio::test]
async fn lengths_must_be_known_and_sensible() {
    let server = Server::start().await;
    let unknown = put("0\r\n\r\n")
        .hash("UNSIGNED-PAYLOAD")
        .header("transfer-encoding", "chunked");
    unknown.send(&server).await.expect(411, "MissingContentLength");
    // A terabyte is refused before any of it is read.
    let huge = put("")
        .hash("UNSIGNED-PAYLOAD")
        .header("content-length", "1099511627776");
    huge.send(&server).await.expect(400, "EntityTooLarge");
    let no_decoded_length = put("0\r\n\r\n").hash(UNSIGNED_TRAILER);
    no_decoded_length
        .send(&server)
        .await
        .expect(411, "MissingContentLength");
    let odd = put("0\r\n\r\n")
        .hash(UNSIGNED_TRAILER)
        .header("x-amz-decoded-content-length", "-1");
    odd.send(&server).await.expect(400, "InvalidArgument");
    nothing_stored(&server).await;
}

#[tokio::test]
async fn documents_are_limited_and_checked() {
    let server = Server::start_with(FrontDoorConfig {
        xml_max_bytes: 1000,
        ..FrontDoorConfig::default()
    })
    .await;
    server.put("/bucket", "").await.expect(200, "");
    let delete = |body: &str| Call::new("POST", "/bucket?delete").body(body);
    delete(&"x".repeat(1001))
        .send(&server)
        .await
        .expect(400, "MaxMessageLengthExceeded");
    let endless = Call::new("POST", "/bucket?delete")
        .hash("UNSIGNED-PAYLOAD")
        .header("transfer-encoding", "chunked");
    let endless = endless.body(format!("7d0\r\n{}\r\n0\r\n\r\n", "x".repeat(2000)));
    endless.send(&server).await.expect(400, "MaxMessageLengthExceeded");
    for odd in [
        "",
        "<",
        "<Delete>",
        "<Delete></Delete>",
        "<Other/>",
        "\u{0}",
        "<Delete><Object></Object></Delete>",
    ] {
        delete(odd).send(&server).await.expect(400, "MalformedXML");
    }
    let good = "<Delete><Object><Key>a</Key></Object></Delete>";
    delete(good).send(&server).await.expect(200, "");
    delete(good)
        .header("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")
        .send(&server)
        .await
        .expect(400, "BadDigest");
    delete(good)
        .header("x-amz-checksum-crc32", "AAAAAA==")
        .send(&server)
        .await
        .expect(400, "BadDigest");
    delete(good)
        .hash(&hex_sha256(b"other"))
        .send(&server)
        .await
        .expect(400, "XAmzContentSHA256Mismatch");
}

#[tokio::test]
async fn silent_clients_are_not_waited_for() {
    let config = FrontDoorConfig {
        body_idle_timeout_ms: 50,
        ..FrontDoorConfig::default()
    };
    let server = Server::start_with(config).await;
    server.put("/bucket", "").await.expect(200, "");
    let bytes = put("hello")
        .unsigned("connection", "close")
        .bytes(&server.address.to_string());
    let mut stream = server.connect().await;
    stream.write_all(&bytes[..bytes.len() - 1]).await.unwrap();
    Answer::read(&mut stream).await.expect(400, "RequestTimeout");
    nothing_stored(&server).await;
}
