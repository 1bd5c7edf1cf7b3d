//! Who may come in, and what those hear who may not.

use crate::common::{Call, GUEST, Server};
use trellis_s3api::bucket::{Access, AccessKey, BucketName};
use trellis_s3api::front::FrontDoorConfig;

#[tokio::test]
async fn each_mistake_has_its_name() {
    let server = Server::start().await;
    let get = || Call::new("GET", "/bucket");
    get().send(&server).await.expect(200, "");
    get().anonymous().send(&server).await.expect(403, "AccessDenied");
    get()
        .with(|call| call.secret.push('x'))
        .send(&server)
        .await
        .expect(403, "SignatureDoesNotMatch");
    get()
        .with(|call| call.key = "nobody".to_owned())
        .send(&server)
        .await
        .expect(403, "InvalidAccessKeyId");
    let wrong_region = get()
        .with(|call| call.region = "eu-west-1".to_owned())
        .send(&server)
        .await;
    wrong_region.expect(400, "AuthorizationHeaderMalformed");
    assert_eq!(wrong_region.element("Region").as_deref(), Some("us-east-1"));
    get()
        .header("x-amz-security-token", "token")
        .send(&server)
        .await
        .expect(400, "InvalidToken");
    get()
        .hash("nonsense")
        .send(&server)
        .await
        .expect(400, "InvalidArgument");
    get()
        .hash("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD")
        .send(&server)
        .await
        .expect(501, "NotImplemented");
    get()
        .unsigned("x-amz-acl", "private")
        .send(&server)
        .await
        .expect(403, "AccessDenied");
    let scheme = |value: &str| get().anonymous().unsigned("authorization", value);
    scheme("AWS key:signature")
        .send(&server)
        .await
        .expect(400, "InvalidRequest");
    scheme("AWS4-HMAC-SHA256 nonsense")
        .send(&server)
        .await
        .expect(400, "AuthorizationHeaderMalformed");
    let no_scope = "AWS4-HMAC-SHA256 Credential=key, SignedHeaders=host, Signature=00";
    scheme(no_scope)
        .send(&server)
        .await
        .expect(400, "AuthorizationHeaderMalformed");
    let version_2 = Call::new("GET", "/bucket?Signature=a&AWSAccessKeyId=b&Expires=1").anonymous();
    version_2.send(&server).await.expect(400, "InvalidRequest");
}

#[tokio::test]
async fn clocks_may_be_off_by_a_quarter_of_an_hour() {
    let server = Server::start().await;
    let at = |date: &str| Call::new("GET", "/bucket").with(|call| call.date = date.to_owned());
    at("20130524T001500Z").send(&server).await.expect(200, "");
    at("20130523T234500Z").send(&server).await.expect(200, "");
    at("20130524T001501Z")
        .send(&server)
        .await
        .expect(403, "RequestTimeTooSkewed");
    let late = at("20130523T234459Z").send(&server).await;
    late.expect(403, "RequestTimeTooSkewed");
    assert_eq!(late.element("MaxAllowedSkewMilliseconds").as_deref(), Some("900000"));
    at("20130524Tnonsense").send(&server).await.expect(403, "AccessDenied");
}

#[tokio::test]
async fn presigned_requests_expire() {
    let server = Server::start().await;
    server.put("/bucket/key", "hello").await.expect(200, "");
    let get = |path: &str| Call::new("GET", path);
    let answer = get("/bucket/key").presigned(&server, 60).send(&server).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    let typed = "/bucket/key?response-content-type=text%2Fx&response-cache-control=none";
    let answer = get(typed).presigned(&server, 604_800).send(&server).await;
    assert_eq!(
        (answer.header("content-type"), answer.header("cache-control")),
        (Some("text/x"), Some("none"))
    );
    let week = get("/bucket/key").presigned(&server, 604_801).send(&server).await;
    week.expect(400, "AuthorizationQueryParametersError");
    let negative = get("/bucket/key").presigned(&server, -1).send(&server).await;
    negative.expect(400, "AuthorizationQueryParametersError");
    let old = || get("/bucket/key").with(|call| call.date = "20130523T235000Z".to_owned());
    old().presigned(&server, 600).send(&server).await.expect(200, "");
    let expired = old().presigned(&server, 599).send(&server).await;
    expired.expect(403, "AccessDenied");
    assert_eq!(expired.element("Message").as_deref(), Some("Request has expired"));
    let early = get("/bucket/key").with(|call| call.date = "20130524T010000Z".to_owned());
    early
        .presigned(&server, 600)
        .send(&server)
        .await
        .expect(403, "AccessDenied");
    let put = Call::new("PUT", "/bucket/new")
        .body("new")
        .presigned(&server, 60)
        .send(&server)
        .await;
    put.expect(200, "");
    assert_eq!(server.get("/bucket/new").await.text(), "new");
    // The signature covers the method and every parameter.
    let other = get("/bucket/key")
        .presigned(&server, 60)
        .with(|call| call.method = "DELETE".to_owned());
    other.send(&server).await.expect(403, "SignatureDoesNotMatch");
    let more = get("/bucket/key")
        .presigned(&server, 60)
        .with(|call| call.path.push_str("&versionId=null"));
    more.send(&server).await.expect(403, "SignatureDoesNotMatch");
    let twice = get("/bucket/key")
        .presigned(&server, 60)
        .unsigned("authorization", "AWS4-HMAC-SHA256 x");
    twice.send(&server).await.expect(400, "InvalidArgument");
}

#[tokio::test]
async fn headers_in_a_presigned_query_count_as_headers() {
    let server = Server::start().await;
    let put = |path: &str| Call::new("PUT", path).body("hello").presigned(&server, 60);
    put("/bucket/key?x-amz-acl=public-read")
        .send(&server)
        .await
        .expect(501, "NotImplemented");
    put("/bucket/key?x-amz-checksum-crc32=AAAAAA%3D%3D")
        .send(&server)
        .await
        .expect(400, "BadDigest");
    put("/bucket/key?x-amz-meta-colour=green")
        .send(&server)
        .await
        .expect(200, "");
    assert_eq!(
        server.head("/bucket/key").await.header("x-amz-meta-colour"),
        Some("green")
    );
}

#[tokio::test]
async fn buckets_belong_to_their_owner() {
    let server = Server::start().await;
    server.put("/bucket/key", "hello").await.expect(200, "");
    let as_guest = |method: &str, path: &str| Call::new(method, path).with(|call| call.key = GUEST.to_owned());
    for (method, path) in [
        ("GET", "/bucket"),
        ("GET", "/bucket/key"),
        ("PUT", "/bucket/key"),
        ("DELETE", "/bucket"),
    ] {
        as_guest(method, path).send(&server).await.expect(403, "AccessDenied");
    }
    as_guest("PUT", "/other")
        .send(&server)
        .await
        .expect(403, "AccessDenied");
    assert!(as_guest("GET", "/").send(&server).await.elements("Name").is_empty());
    let (name, guest) = (BucketName::parse("bucket").unwrap(), AccessKey(GUEST.to_owned()));
    server.door.store().grant(&name, &guest, Access::Read).unwrap();
    assert_eq!(as_guest("GET", "/bucket/key").send(&server).await.text(), "hello");
    assert_eq!(as_guest("GET", "/").send(&server).await.elements("Name"), ["bucket"]);
    as_guest("PUT", "/bucket/key")
        .send(&server)
        .await
        .expect(403, "AccessDenied");
    let owned = |owner: &str| Call::new("GET", "/bucket").header("x-amz-expected-bucket-owner", owner);
    owned(crate::common::KEY).send(&server).await.expect(200, "");
    owned("somebody").send(&server).await.expect(403, "AccessDenied");
}

#[tokio::test]
async fn other_regions_and_hosts() {
    let config = FrontDoorConfig {
        region: "garden".to_owned(),
        domain: Some("s3.example.com".to_owned()),
        ..FrontDoorConfig::default()
    };
    let server = Server::start_with(config).await;
    let call = |method: &str, path: &str| Call::new(method, path).with(|call| call.region = "garden".to_owned());
    call("PUT", "/bucket").send(&server).await.expect(200, "");
    call("PUT", "/bucket")
        .send(&server)
        .await
        .expect(409, "BucketAlreadyOwnedByYou");
    let location = call("GET", "/bucket?location").send(&server).await;
    assert!(
        location.text().contains(">garden</LocationConstraint>"),
        "{}",
        location.text()
    );
    assert_eq!(
        call("HEAD", "/bucket")
            .send(&server)
            .await
            .header("x-amz-bucket-region"),
        Some("garden")
    );
    let elsewhere =
        "<CreateBucketConfiguration><LocationConstraint>eu</LocationConstraint></CreateBucketConfiguration>";
    let refused = call("PUT", "/other").body(elsewhere).send(&server).await;
    refused.expect(400, "IllegalLocationConstraintException");
    let bytes = call("PUT", "/key")
        .body("hello")
        .unsigned("connection", "close")
        .bytes("bucket.s3.example.com");
    let mut stream = server.connect().await;
    tokio::io::AsyncWriteExt::write_all(&mut stream, &bytes).await.unwrap();
    crate::common::Answer::read(&mut stream).await.expect(200, "");
    assert_eq!(call("GET", "/bucket/key").send(&server).await.text(), "hello");
}
