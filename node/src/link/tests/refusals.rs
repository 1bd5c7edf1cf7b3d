//! Who is kept out, and what hostile input does: it ends its own connection and nothing else.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::frame::HEADER_BYTES;
use super::super::handshake::{Handshaker, Stream};
use super::super::tls::Credentials;
use super::*;

/// Two nodes that differ in what `change` does to the second; how each fails to reach the other.
async fn refusals(change: impl FnOnce(&mut Node)) -> (HandshakeError, HandshakeError) {
    let ((one, one_listens), (mut two, two_listens)) = (Node::new().await, Node::new().await);
    let known = (two.here(), one.here());
    change(&mut two);
    let first = one.start(one_listens, vec![known.0], echo());
    let second = two.start(two_listens, vec![known.1], echo());
    let failures = (failure(&first).await, failure(&second).await);
    for (mesh, peer) in [(&first, first.status()[0].peer), (&second, one.id())] {
        assert_eq!(
            mesh.call(peer, Lane::Control, message("x", "")).await,
            Err(LinkError::NotConnected)
        );
    }
    failures
}

#[tokio::test]
async fn another_secret_is_refused_on_both_sides() {
    within(async {
        let failures = refusals(|node| node.secret = ClusterSecret::new([9; 32])).await;
        assert_eq!(failures, (HandshakeError::SecretDiffers, HandshakeError::SecretDiffers));
    })
    .await;
}

#[tokio::test]
async fn another_cluster_is_refused_on_both_sides_and_named() {
    within(async {
        let differs = |ours: &str, theirs: &str| HandshakeError::ClusterDiffers {
            ours: ours.into(),
            theirs: theirs.into(),
        };
        let failures = refusals(|node| node.cluster = [3; 32]).await;
        assert_eq!(
            failures,
            (differs("02020202", "03030303"), differs("03030303", "02020202"))
        );
    })
    .await;
}

#[tokio::test]
async fn another_key_at_the_address_of_a_peer_is_refused() {
    within(async {
        let ((one, one_listens), (mut two, two_listens)) = (Node::new().await, Node::new().await);
        let expected = two.here();
        two.identity = Identity::generate();
        let first = one.start(one_listens, vec![expected.clone()], echo());
        let _second = two.start(two_listens, vec![one.here()], echo());
        assert_eq!(failure(&first).await, HandshakeError::WrongKey);
        let call = first.call(expected.0, Lane::Control, message("x", "")).await;
        assert_eq!(call, Err(LinkError::NotConnected));
    })
    .await;
}

#[tokio::test]
async fn who_proves_the_secret_is_served_though_nobody_knows_it() {
    within(async {
        let ((one, one_listens), (two, two_listens)) = (Node::new().await, Node::new().await);
        let first = one.start(one_listens, vec![two.here()], echo());
        let second = two.start(two_listens, vec![], echo());
        connected(&first).await;
        let ask = || first.call(two.id(), Lane::Control, message("x", ""));
        assert_eq!(ask().await, Ok(message("x", "")));
        assert_eq!(second.seen_at(one.id()), Some(Ipv4Addr::LOCALHOST.into()));
        let back = || second.call(one.id(), Lane::Control, Message::default());
        assert_eq!(back().await, Err(LinkError::NotConnected));
        second.set_peers(vec![(one.id(), vec![one.address.clone()]), (two.id(), vec![])]);
        connected(&second).await;
        assert!(back().await.is_ok());
        second.set_peers(vec![]);
        assert_eq!(back().await, Err(LinkError::NotConnected));
        assert_eq!(second.status(), vec![]);
        assert_eq!(ask().await, Ok(message("x", "")));
    })
    .await;
}

/// The first address is another node's, the second nobody's, the third its own.
#[tokio::test]
async fn a_peer_is_looked_for_at_all_its_addresses_and_at_new_ones_without_losing_a_connection() {
    within(async {
        let ((one, one_listens), (two, two_listens)) = (Node::new().await, Node::new().await);
        let (nobody, _) = Node::new().await;
        let first = one.start(one_listens, vec![], echo());
        let _second = two.start(two_listens, vec![], echo());
        let addresses = [&one, &nobody, &two].map(|node| node.address.clone());
        first.set_peers(vec![(two.id(), addresses.to_vec())]);
        connected(&first).await;
        assert_eq!(first.status()[0].address, two.address);
        first.set_peers(vec![(two.id(), vec![nobody.address.clone()])]);
        assert!(first.call(two.id(), Lane::Control, Message::default()).await.is_ok());
        assert_eq!(first.status()[0].control.connections, 1);
    })
    .await;
}

/// A node that counts requests, the second node's identity to pretend with, and the count.
async fn victim(timing: Timing) -> (Node, Node, Arc<Mesh>, Arc<AtomicUsize>) {
    let ((mut one, one_listens), (two, _)) = (Node::new().await, Node::new().await);
    one.timing = timing;
    let served = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&served);
    let service = Answering(move |_, message| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { message }
    });
    let mesh = one.start(one_listens, vec![two.here()], Arc::new(service));
    (one, two, mesh, served)
}

fn handshaker(node: &Node) -> Handshaker {
    Handshaker {
        credentials: Credentials::new(&node.identity),
        secret: node.secret.clone(),
        cluster: node.cluster,
    }
}

/// A connection as the member `two` makes it. A busy machine may need more than one attempt.
async fn member(one: &Node, two: &Node) -> Stream {
    loop {
        let socket = TcpStream::connect(&one.address).await.unwrap();
        if let Ok(stream) = handshaker(two).dial(socket, one.id(), Lane::Control).await {
            return stream;
        }
    }
}

/// Whatever the other side still sends, and then the end.
async fn read_to_end(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut bytes).await;
    bytes
}

fn header(kind: u8, number: u64, head: u32, body: u32) -> Vec<u8> {
    let bytes = [
        &[kind][..],
        &number.to_le_bytes(),
        &head.to_le_bytes(),
        &body.to_le_bytes(),
    ]
    .concat();
    assert_eq!(bytes.len(), HEADER_BYTES);
    bytes
}

#[tokio::test]
async fn garbage_and_silence_before_the_handshake_end_the_connection() {
    within(async {
        let timing = Timing {
            handshake_timeout_ms: 300,
            ..Timing::default()
        };
        let (one, two, _mesh, served) = victim(timing).await;
        let http = b"GET / HTTP/1.1\r\nHost: trellis\r\n\r\n".to_vec();
        let endless_record = [&[0x16, 3, 1, 0xff, 0xff][..], &[0; 70_000]].concat();
        for bytes in [
            vec![],
            vec![0; 100_000],
            http,
            endless_record,
            vec![0x16, 3, 1, 0, 100, 1],
        ] {
            let mut socket = TcpStream::connect(&one.address).await.unwrap();
            let _ = socket.write_all(&bytes).await;
            let answer = read_to_end(&mut socket).await;
            assert!(answer.len() < 100, "an alert at most, not {} bytes", answer.len());
        }
        let mut stream = member(&one, &two).await;
        stream.write_all(&header(1, 0, 0, 0)).await.unwrap();
        stream.read_exact(&mut [0; HEADER_BYTES]).await.unwrap();
        assert!(served.load(Ordering::SeqCst) <= 1);
    })
    .await;
}

/// A member's key without the cluster secret: TLS succeeds, and that is all.
#[tokio::test]
async fn a_member_that_cannot_prove_the_secret_gets_a_hello_and_no_service() {
    within(async {
        let (one, two, _mesh, served) = victim(Timing::default()).await;
        for hello in [vec![0; 75], vec![b'x'; 10_000], header(1, 0, 0, 0).repeat(10)] {
            let config = Credentials::new(&two.identity).dial(one.id());
            let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
            let socket = TcpStream::connect(&one.address).await.unwrap();
            let name = ServerName::try_from("trellis").unwrap();
            let mut stream = connector.connect(name, socket).await.unwrap();
            stream.write_all(&hello).await.unwrap();
            assert!(read_to_end(&mut stream).await.len() <= 75, "more than a hello");
        }
        assert_eq!(served.load(Ordering::SeqCst), 0);
    })
    .await;
}

#[tokio::test]
async fn a_member_that_breaks_the_protocol_loses_its_connection() {
    within(async {
        let (one, two, _mesh, served) = victim(Timing::default()).await;
        let cases = [
            ("an unknown kind", header(0, 0, 0, 0)),
            ("another unknown kind", header(200, 0, 0, 0)),
            ("an oversize head", header(1, 0, u32::MAX, 0)),
            ("an oversize sum", header(1, 0, 1 << 20, 1)),
            ("an answer where requests belong", header(2, 0, 0, 0)),
            ("a ping with a body", [header(5, 0, 0, 1), vec![0]].concat()),
        ];
        for (what, bytes) in cases {
            let mut stream = member(&one, &two).await;
            stream.write_all(&bytes).await.unwrap();
            let sent = read_to_end(&mut stream).await;
            assert_eq!(sent.len() % HEADER_BYTES, 0, "{what}: only pings and pongs");
        }
        assert_eq!(served.load(Ordering::SeqCst), 0);
        let mut stream = member(&one, &two).await;
        stream.write_all(&header(1, 7, 0, 0)).await.unwrap();
        let mut answer = [0; HEADER_BYTES];
        while answer[0] != 2 {
            stream.read_exact(&mut answer).await.unwrap();
        }
        assert_eq!(answer.as_slice(), header(2, 7, 0, 0));
    })
    .await;
}

/// The window is the member's to keep: more requests than it allows, and the connection ends.
#[tokio::test]
async fn a_member_that_floods_loses_its_connection() {
    within(async {
        let (one, one_listens) = Node::new().await;
        let (two, _) = Node::new().await;
        let service = Answering(|_, _| std::future::pending());
        let _mesh = one.start(one_listens, vec![two.here()], Arc::new(service));
        let mut stream = member(&one, &two).await;
        let flood = header(1, 0, 0, 0).repeat(5_000);
        let _ = stream.write_all(&flood).await;
        read_to_end(&mut stream).await;
    })
    .await;
}
