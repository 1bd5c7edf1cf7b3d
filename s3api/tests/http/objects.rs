//! Objects over the wire: conditions, ranges, listings, copies, and everything that is refused.

use crate::common::{Call, Server};

async fn with(server: &Server, method: &str, path: &str, headers: &[(&str, &str)]) -> crate::common::Answer {
    let call = Call::new(method, path);
    headers
        .iter()
        .fold(call, |call, (name, value)| call.header(name, *value))
        .send(server)
        .await
}

#[tokio::test]
async fn reads_obey_their_conditions() {
    let server = Server::start().await;
    let etag = server
        .put("/bucket/key", "hello")
        .await
        .header("etag")
        .unwrap()
        .to_owned();
    let modified = server
        .head("/bucket/key")
        .await
        .header("last-modified")
        .unwrap()
        .to_owned();
    let past = "Sun, 06 Nov 1994 08:49:37 GMT";
    let future = "Fri, 31 Dec 9999 23:59:59 GMT";
    let cases: &[(&[(&str, &str)], u16)] = &[
        (&[("if-match", &etag)], 200),
        (&[("if-match", "*")], 200),
        (&[("if-match", "\"other\"")], 412),
        (&[("if-none-match", &etag)], 304),
        (&[("if-none-match", "*")], 304),
        (&[("if-none-match", "\"other\"")], 200),
        (&[("if-modified-since", past)], 200),
        (&[("if-modified-since", &modified)], 304),
        (&[("if-modified-since", future)], 304),
        (&[("if-modified-since", "nonsense")], 200),
        (&[("if-unmodified-since", past)], 412),
        (&[("if-unmodified-since", &modified)], 200),
        (&[("if-match", &etag), ("if-unmodified-since", past)], 200),
        (&[("if-none-match", "\"other\""), ("if-modified-since", future)], 200),
        (&[("if-match", "\"other\""), ("if-none-match", &etag)], 412),
    ];
    for (headers, status) in cases {
        for method in ["GET", "HEAD"] {
            let answer = with(&server, method, "/bucket/key", headers).await;
            assert_eq!(answer.status, *status, "{method} {headers:?}");
            if *status == 304 {
                assert_eq!((answer.header("etag"), answer.body.len()), (Some(etag.as_str()), 0));
            }
        }
    }
}

#[tokio::test]
async fn writes_obey_their_conditions() {
    let server = Server::start().await;
    let put = |name: &'static str, value: String| Call::new("PUT", "/bucket/key").body("x").header(name, value);
    put("if-match", "*".to_owned())
        .send(&server)
        .await
        .expect(404, "NoSuchKey");
    put("if-none-match", "*".to_owned()).send(&server).await.expect(200, "");
    put("if-none-match", "*".to_owned())
        .send(&server)
        .await
        .expect(412, "PreconditionFailed");
    let etag = server.head("/bucket/key").await.header("etag").unwrap().to_owned();
    put("if-none-match", etag.clone())
        .send(&server)
        .await
        .expect(412, "PreconditionFailed");
    put("if-match", "\"other\"".to_owned())
        .send(&server)
        .await
        .expect(412, "PreconditionFailed");
    put("if-match", etag.clone()).send(&server).await.expect(200, "");
    let source = ("x-amz-copy-source", "/bucket/key");
    let copy = async |headers: &[(&str, &str)]| {
        let headers: Vec<(&str, &str)> = [source].into_iter().chain(headers.iter().copied()).collect();
        with(&server, "PUT", "/bucket/copy", &headers).await
    };
    copy(&[("if-none-match", "*")]).await.expect(200, "");
    copy(&[("if-none-match", "*")]).await.expect(412, "PreconditionFailed");
    copy(&[("if-match", &etag)]).await.expect(200, "");
    copy(&[("x-amz-copy-source-if-match", "\"other\"")])
        .await
        .expect(412, "PreconditionFailed");
    copy(&[("x-amz-copy-source-if-none-match", &etag)])
        .await
        .expect(412, "PreconditionFailed");
    copy(&[("x-amz-copy-source-if-none-match", "\"other\"")])
        .await
        .expect(200, "");
    copy(&[("x-amz-copy-source-if-unmodified-since", "Sun, 06 Nov 1994 08:49:37 GMT")])
        .await
        .expect(412, "PreconditionFailed");
    with(&server, "DELETE", "/bucket/key", &[("if-match", "\"other\"")])
        .await
        .expect(412, "PreconditionFailed");
    with(&server, "DELETE", "/bucket/key", &[("if-match", &etag)])
        .await
        .expect(204, "");
    for gone in ["*", etag.as_str()] {
        with(&server, "DELETE", "/bucket/key", &[("if-match", gone)])
            .await
            .expect(404, "NoSuchKey");
    }
    with(&server, "DELETE", "/bucket/key", &[]).await.expect(204, "");
}

#[tokio::test]
async fn completions_obey_their_conditions() {
    let server = Server::start().await;
    let upload = server
        .post("/bucket/key?uploads", "")
        .await
        .element("UploadId")
        .unwrap();
    let part = server
        .put(&format!("/bucket/key?partNumber=1&uploadId={upload}"), "part")
        .await;
    let etag = part.header("etag").unwrap().to_owned();
    let document = format!(
        "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Part><PartNumber>1</PartNumber>\
         <ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    let complete = || Call::new("POST", &format!("/bucket/key?uploadId={upload}")).body(&*document);
    server.put("/bucket/key", "old").await.expect(200, "");
    complete()
        .header("if-none-match", "*")
        .send(&server)
        .await
        .expect(412, "PreconditionFailed");
    assert_eq!(server.get("/bucket/key").await.text(), "old");
    complete()
        .header("x-amz-mp-object-size", "5")
        .send(&server)
        .await
        .expect(400, "InvalidRequest");
    complete()
        .header("x-amz-checksum-crc64nvme", "AAAAAAAAAAA=")
        .send(&server)
        .await
        .expect(400, "BadDigest");
    server.delete("/bucket/key").await.expect(204, "");
    let made = complete().header("if-none-match", "*").send(&server).await;
    made.expect(200, "");
    assert!(made.element("ETag").unwrap().ends_with("-1\""), "{}", made.text());
    complete().send(&server).await.expect(200, "");
    assert_eq!(server.get("/bucket/key").await.text(), "part");
    let wrong = |number: &str| server.put_owned(format!("/bucket/key?partNumber={number}&uploadId=x"));
    for number in ["0", "10001", "-1", "x", ""] {
        wrong(number).await.expect(400, "InvalidArgument");
    }
    wrong("1").await.expect(404, "NoSuchUpload");
    let empty = Call::new("POST", "/bucket/key?uploadId=x").body("<CompleteMultipartUpload/>");
    empty.send(&server).await.expect(400, "MalformedXML");
}

impl Server {
    async fn put_owned(&self, path: String) -> crate::common::Answer {
        self.put(&path, "x").await
    }
}

#[tokio::test]
async fn ranges_are_sent_exactly() {
    let server = Server::start().await;
    let etag = server
        .put("/bucket/key", "0123456789")
        .await
        .header("etag")
        .unwrap()
        .to_owned();
    let get = async |range: &str| with(&server, "GET", "/bucket/key", &[("range", range)]).await;
    for (range, body, content_range) in [
        ("bytes=0-3", "0123", "bytes 0-3/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=5-100", "56789", "bytes 5-9/10"),
    ] {
        let answer = get(range).await;
        assert_eq!((answer.status, answer.text().as_str()), (206, body), "{range}");
        assert_eq!(answer.header("content-range"), Some(content_range));
        let head = with(&server, "HEAD", "/bucket/key", &[("range", range)]).await;
        assert_eq!(
            (head.status, head.header("content-length")),
            (206, Some(body.len().to_string().as_str()))
        );
    }
    for range in ["bytes=5-2", "lines=1-2", "bytes=1-2,4-5", "nonsense"] {
        assert_eq!(get(range).await.status, 200, "{range}");
    }
    let outside = get("bytes=10-").await;
    outside.expect(416, "InvalidRange");
    assert_eq!(outside.header("content-range"), Some("bytes */10"));
    let still = with(
        &server,
        "GET",
        "/bucket/key",
        &[("range", "bytes=0-0"), ("if-range", &etag)],
    )
    .await;
    assert_eq!(still.text(), "0");
    let changed = with(
        &server,
        "GET",
        "/bucket/key",
        &[("range", "bytes=0-0"), ("if-range", "\"other\"")],
    )
    .await;
    assert_eq!((changed.status, changed.body.len()), (200, 10));
    let part = server.get("/bucket/key?partNumber=1").await;
    assert_eq!((part.status, part.body.len()), (206, 10));
    server
        .get("/bucket/key?partNumber=2")
        .await
        .expect(416, "InvalidPartNumber");
    with(&server, "GET", "/bucket/key?partNumber=1", &[("range", "bytes=0-0")])
        .await
        .expect(400, "InvalidRequest");
    server.put("/bucket/empty", "").await.expect(200, "");
    assert_eq!(server.get("/bucket/empty?partNumber=1").await.status, 200);
    with(&server, "GET", "/bucket/empty", &[("range", "bytes=0-0")])
        .await
        .expect(416, "InvalidRange");
}

#[tokio::test]
async fn what_is_not_there_yet_is_refused() {
    let server = Server::start().await;
    server.put("/bucket/key", "old").await.expect(200, "");
    for header in [
        ("x-amz-acl", "public-read"),
        ("x-amz-grant-read", "id=1"),
        ("x-amz-tagging", "a=b"),
        ("x-amz-storage-class", "GLACIER"),
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-object-lock-legal-hold", "ON"),
        ("x-amz-write-offset-bytes", "3"),
        ("x-amz-something-new", "1"),
    ] {
        with(&server, "PUT", "/bucket/key", &[header])
            .await
            .expect(501, "NotImplemented");
    }
    for (method, path) in [
        ("PUT", "/bucket?versioning"),
        ("PUT", "/bucket?policy"),
        ("PUT", "/bucket?lifecycle"),
        ("PUT", "/bucket?cors"),
        ("DELETE", "/bucket?policy"),
        ("PUT", "/bucket?something-new"),
        ("PUT", "/bucket/key?acl"),
        ("PUT", "/bucket/key?tagging"),
        ("PUT", "/bucket/key?retention"),
        ("PUT", "/bucket/key?something-new"),
        ("GET", "/bucket/key?attributes"),
        ("GET", "/bucket?versions"),
        ("POST", "/bucket/key?restore"),
        ("POST", "/bucket"),
    ] {
        with(&server, method, path, &[]).await.expect(501, "NotImplemented");
    }
    Call::new("POST", "/bucket")
        .header("content-type", "multipart/form-data; boundary=x")
        .body("--x--")
        .anonymous()
        .send(&server)
        .await
        .expect(501, "NotImplemented");
    assert_eq!(server.get("/bucket/key").await.text(), "old");
    with(&server, "GET", "/bucket/key?versionId=1", &[])
        .await
        .expect(400, "InvalidArgument");
    with(&server, "GET", "/bucket/key?versionId=null", &[])
        .await
        .expect(200, "");
    with(&server, "PATCH", "/bucket/key", &[])
        .await
        .expect(405, "MethodNotAllowed");
    with(&server, "POST", "/", &[]).await.expect(405, "MethodNotAllowed");
    Call::new("OPTIONS", "/bucket/key")
        .anonymous()
        .send(&server)
        .await
        .expect(403, "AccessForbidden");
}

#[tokio::test]
async fn heads_have_no_bodies() {
    let server = Server::start().await;
    server.put("/bucket/key", "hello").await.expect(200, "");
    let found = server.head("/bucket/key").await;
    assert_eq!(
        (found.status, found.header("content-length"), found.body.len()),
        (200, Some("5"), 0)
    );
    for path in ["/bucket/none", "/nothing-here", "/nothing-here/key"] {
        let missing = server.head(path).await;
        assert_eq!((missing.status, missing.body.len()), (404, 0), "{path}");
        assert!(missing.header("x-amz-request-id").is_some());
    }
}

#[tokio::test]
async fn metadata_comes_back() {
    let server = Server::start().await;
    let headers = [
        ("content-type", "text/x"),
        ("cache-control", "no-cache"),
        ("content-disposition", "attachment"),
        ("content-encoding", "gzip"),
        ("content-language", "de"),
        ("expires", "whenever"),
        ("x-amz-website-redirect-location", "/other"),
        ("x-amz-meta-colour", "gr\u{fc}n"),
    ];
    with(&server, "PUT", "/bucket/key", &headers).await.expect(200, "");
    let copied = [("x-amz-copy-source", "bucket/key")];
    with(&server, "PUT", "/bucket/copy", &copied).await.expect(200, "");
    for path in ["/bucket/key", "/bucket/copy"] {
        let head = server.head(path).await;
        for (name, value) in headers
            .iter()
            .filter(|(name, _)| path == "/bucket/key" || !name.contains("redirect"))
        {
            assert_eq!(head.header(name), Some(*value), "{path} {name}");
        }
    }
    assert_eq!(server.put("/bucket/plain", "").await.status, 200);
    assert_eq!(
        server.head("/bucket/plain").await.header("content-type"),
        Some("binary/octet-stream")
    );
    let replaced = [
        ("x-amz-copy-source", "/bucket/key"),
        ("x-amz-metadata-directive", "REPLACE"),
        ("x-amz-meta-size", "L"),
    ];
    with(&server, "PUT", "/bucket/key", &replaced).await.expect(200, "");
    let head = server.head("/bucket/key").await;
    assert_eq!(
        (head.header("x-amz-meta-size"), head.header("x-amz-meta-colour")),
        (Some("L"), None)
    );
    with(&server, "PUT", "/bucket/key", &[("x-amz-copy-source", "/bucket/key")])
        .await
        .expect(400, "InvalidRequest");
    let large = "x".repeat(2049);
    with(&server, "PUT", "/bucket/key", &[("x-amz-meta-a", &large)])
        .await
        .expect(400, "MetadataTooLarge");
}

#[tokio::test]
async fn checksums_come_back_when_asked_for() {
    let server = Server::start().await;
    let put = server.put("/bucket/key", "123456789").await;
    assert_eq!(put.header("x-amz-checksum-crc64nvme"), Some("rosUhgp5mIg="));
    assert_eq!(put.header("x-amz-checksum-type"), Some("FULL_OBJECT"));
    assert_eq!(
        server.head("/bucket/key").await.header("x-amz-checksum-crc64nvme"),
        None
    );
    let head = with(&server, "HEAD", "/bucket/key", &[("x-amz-checksum-mode", "ENABLED")]).await;
    assert_eq!(head.header("x-amz-checksum-crc64nvme"), Some("rosUhgp5mIg="));
    let part = [("x-amz-checksum-mode", "ENABLED"), ("range", "bytes=0-1")];
    assert_eq!(
        with(&server, "GET", "/bucket/key", &part)
            .await
            .header("x-amz-checksum-crc64nvme"),
        None
    );
}

#[tokio::test]
async fn many_are_deleted_at_once() {
    let server = Server::start().await;
    for key in ["a", "b", "c%01d"] {
        server.put(&format!("/bucket/{key}"), key).await.expect(200, "");
    }
    let long = "x".repeat(1025);
    let document = format!(
        "<Delete><Object><Key>a</Key></Object><Object><Key>none</Key></Object><Object><Key>c&#x1;d</Key></Object>\
         <Object><Key>b</Key><ETag>\"other\"</ETag></Object><Object><Key>{long}</Key></Object>\
         <Object><Key>b</Key><VersionId>7</VersionId></Object></Delete>"
    );
    let answer = server.post("/bucket?delete", document).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.elements("Code"),
        ["PreconditionFailed", "KeyTooLongError", "InvalidArgument"]
    );
    assert_eq!(answer.text().matches("<Deleted>").count(), 3);
    assert_eq!(server.get("/bucket?list-type=2").await.elements("Key"), ["b"]);
    let quiet = "<Delete><Quiet>true</Quiet><Object><Key>b</Key></Object></Delete>";
    let answer = server.post("/bucket?delete", quiet).await;
    assert_eq!((answer.status, answer.text().contains("Deleted>")), (200, false));
    let too_many = format!("<Delete>{}</Delete>", "<Object><Key>a</Key></Object>".repeat(1001));
    server
        .post("/bucket?delete", too_many)
        .await
        .expect(400, "MalformedXML");
}

#[tokio::test]
async fn listings_are_paged_and_folded() {
    let server = Server::start().await;
    for key in ["a", "b/1", "b/2", "c%20d", "e"] {
        server.put(&format!("/bucket/{key}"), "").await.expect(200, "");
    }
    let list = async |query: &str| server.get(&format!("/bucket?{query}")).await;
    let page = list("delimiter=%2F&list-type=2&max-keys=2").await;
    assert_eq!(
        (page.elements("Key"), page.element("IsTruncated").as_deref()),
        (vec!["a".to_owned()], Some("true"))
    );
    assert_eq!(page.element("KeyCount").as_deref(), Some("2"));
    let token = page.element("NextContinuationToken").unwrap();
    let page = list(&format!("continuation-token={token}&delimiter=%2F&list-type=2")).await;
    assert_eq!(
        (page.elements("Key"), page.element("IsTruncated").as_deref()),
        (vec!["c d".to_owned(), "e".to_owned()], Some("false"))
    );
    assert_eq!(page.elements("CommonPrefixes").len(), 0);
    assert_eq!(
        list("list-type=2&start-after=b%2F1").await.elements("Key"),
        ["b/2", "c d", "e"]
    );
    assert_eq!(
        list("encoding-type=url&list-type=2&prefix=c").await.elements("Key"),
        ["c%20d"]
    );
    assert_eq!(
        list("list-type=2&max-keys=0").await.element("IsTruncated").as_deref(),
        Some("false")
    );
    let old = list("delimiter=%2F&max-keys=2").await;
    assert_eq!(
        (old.element("NextMarker").as_deref(), old.elements("Key")),
        (Some("b/"), vec!["a".to_owned()])
    );
    assert_eq!(list("delimiter=%2F&marker=b%2F").await.elements("Key"), ["c d", "e"]);
    assert_eq!(list("marker=b%2F").await.elements("Key"), ["b/1", "b/2", "c d", "e"]);
    for wrong in ["max-keys=-1", "max-keys=x", "max-keys=99999999999", "encoding-type=x"] {
        list(wrong).await.expect(400, "InvalidArgument");
    }
    list("continuation-token=%21&list-type=2")
        .await
        .expect(400, "InvalidArgument");
    assert_eq!(
        list("list-type=2&max-keys=5000").await.element("MaxKeys").as_deref(),
        Some("1000")
    );
}
