//! The document about the surface says what the code does, and so does every refusal.

use crate::common::{Call, Server};
use trellis_s3api::front::{Scope, Support, TABLE, surface};

#[test]
fn the_document_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/s3-compatibility.md");
    let written = std::fs::read_to_string(path).unwrap_or_default();
    let command = "cargo run -p trellis-s3api --example surface > docs/s3-compatibility.md";
    assert!(
        written == surface(),
        "docs/s3-compatibility.md is not what the code does; write it anew with\n{command}"
    );
}

/// Every row is asked over the wire: refused ones answer `501`, the others anything else.
#[tokio::test]
async fn every_operation_is_as_far_as_the_table_says() {
    let server = Server::start().await;
    for row in TABLE {
        server.put("/bucket/key", "hello").await.expect(200, "");
        let path = match row.scope {
            Scope::Service => "/",
            Scope::Bucket => "/bucket",
            Scope::Object => "/bucket/key",
        };
        let parameters: Vec<&str> = row
            .selectors
            .iter()
            .copied()
            .filter(|selector| !selector.starts_with('@'))
            .collect();
        let mut call = Call::new(row.method, &format!("{path}?{}", parameters.join("&")));
        if row.selectors.contains(&"@x-amz-copy-source") {
            call = call.header("x-amz-copy-source", "/bucket/key");
        }
        let answer = call.send(&server).await;
        assert_ne!(answer.status, 500, "{}", row.name);
        assert_eq!(
            answer.status == 501,
            row.support == Support::Refused,
            "{}: {}",
            row.name,
            answer.text()
        );
    }
}
