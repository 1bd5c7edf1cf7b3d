//! Peers that go, come back, or fall silent.

use tokio::sync::Semaphore;

use super::proxy::{Flow, Proxy};
use super::*;

#[tokio::test]
async fn a_peer_that_restarts_is_found_again() {
    within(async {
        let ((one, one_listens), (two, two_listens)) = (Node::new().await, Node::new().await);
        let first = one.start(one_listens, vec![two.here()], echo());
        let arrived = Arc::new(Semaphore::new(0));
        let arrives = Arc::clone(&arrived);
        let never = Answering(move |_, _| {
            arrives.add_permits(1);
            std::future::pending()
        });
        let second = two.start(two_listens, vec![one.here()], Arc::new(never));
        connected(&first).await;
        let mut call = first.call(two.id(), Lane::Control, message("x", ""));
        tokio::select! {
            biased;
            _ = &mut call => panic!("the service never answers"),
            permit = arrived.acquire() => permit.unwrap().forget(),
        }
        drop(second);
        assert_eq!(call.await, Err(LinkError::Lost));
        assert_eq!(
            first.call(two.id(), Lane::Control, message("x", "")).await,
            Err(LinkError::NotConnected)
        );
        let _second = two.start(two.listen_again().await, vec![one.here()], echo());
        connected(&first).await;
        assert_eq!(
            first.call(two.id(), Lane::Control, message("x", "")).await,
            Ok(message("x", ""))
        );
        assert_eq!(first.status()[0].control.connections, 2);
    })
    .await;
}

/// The pause between attempts is endless here, so only the peer's own call can end it.
#[tokio::test]
async fn a_peer_that_dials_is_dialed_at_once() {
    within(async {
        let ((mut one, one_listens), (two, two_listens)) = (Node::new().await, Node::new().await);
        drop(two_listens);
        let endless = u64::from(u32::MAX);
        one.timing = Timing {
            reconnect_min_ms: endless,
            reconnect_max_ms: endless,
            ..one.timing
        };
        let first = one.start(one_listens, vec![two.here()], echo());
        first
            .until(|peers| {
                [&peers[0].control, &peers[0].bulk]
                    .iter()
                    .all(|lane| matches!(lane.state, LaneState::Failing(_)))
            })
            .await;
        let _second = two.start(two.listen_again().await, vec![one.here()], echo());
        connected(&first).await;
    })
    .await;
}

#[tokio::test]
async fn a_silent_peer_is_noticed_and_found_again_when_it_speaks() {
    within(async {
        let ((mut one, one_listens), (two, two_listens)) = (Node::new().await, Node::new().await);
        one.timing = Timing {
            peer_silence_ms: 200,
            beat_interval_ms: 20,
            handshake_timeout_ms: 200,
            ..one.timing
        };
        let proxy = Proxy::before(&two.address).await;
        let first = one.start(one_listens, vec![(two.id(), proxy.address.clone())], echo());
        let _second = two.start(two_listens, vec![one.here()], echo());
        connected(&first).await;
        proxy.flow.send_replace(Flow::Nothing);
        let calls = [Lane::Control, Lane::Bulk].map(|lane| first.call(two.id(), lane, message("x", "")));
        let [control, bulk] = calls;
        assert_eq!(
            tokio::join!(control, bulk),
            (Err(LinkError::Lost), Err(LinkError::Lost))
        );
        first
            .until(|peers| matches!(peers[0].control.state, LaneState::Failing(HandshakeError::TimedOut)))
            .await;
        assert_eq!(
            first.call(two.id(), Lane::Control, message("x", "")).await,
            Err(LinkError::NotConnected)
        );
        proxy.flow.send_replace(Flow::Everything);
        connected(&first).await;
        assert!(first.call(two.id(), Lane::Bulk, message("x", "")).await.is_ok());
    })
    .await;
}

/// An answer takes more than twice the silence allowed, in which nothing but beats is exchanged.
#[tokio::test]
async fn a_slow_answer_is_no_silence() {
    within(async {
        let ((mut one, one_listens), (mut two, two_listens)) = (Node::new().await, Node::new().await);
        let timing = Timing {
            peer_silence_ms: 400,
            beat_interval_ms: 20,
            ..one.timing
        };
        (one.timing, two.timing) = (timing, timing);
        let first = one.start(one_listens, vec![two.here()], echo());
        let slow = Answering(|_, message| async {
            tokio::time::sleep(Duration::from_millis(2_300)).await;
            message
        });
        let _second = two.start(two_listens, vec![one.here()], Arc::new(slow));
        connected(&first).await;
        let block = message("", vec![1; 1 << 20]);
        assert_eq!(first.call(two.id(), Lane::Bulk, block.clone()).await, Ok(block));
        assert_eq!(first.status()[0].bulk.connections, 1);
    })
    .await;
}

#[tokio::test]
async fn the_round_trip_time_becomes_known() {
    within(async {
        let ((mut one, one_listens), (two, two_listens)) = (Node::new().await, Node::new().await);
        one.timing.beat_interval_ms = 1;
        let first = one.start(one_listens, vec![two.here()], echo());
        let _second = two.start(two_listens, vec![one.here()], echo());
        connected(&first).await;
        while first.status()[0].round_trip.is_none() {
            // Each call is a round trip in which the pong comes nearer.
            first.call(two.id(), Lane::Control, Message::default()).await.unwrap();
        }
        assert_eq!(
            first.call(PeerId([0; 32]), Lane::Control, Message::default()).await,
            Err(LinkError::NotConnected)
        );
    })
    .await;
}
