//! What calls get for an answer while nothing is wrong.

use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

use super::proxy::{Flow, Proxy};
use super::*;

#[tokio::test]
async fn messages_come_back_whole_on_both_lanes_and_in_both_directions() {
    within(async {
        let (first, second) = pair(echo()).await;
        let block: Vec<u8> = (0..4_u32 << 20).map(|index| (index % 251) as u8).collect();
        for (from, to) in [(&first, second.me()), (&second, first.me()), (&first, first.me())] {
            for message in [
                message("row", ""),
                message("", "body"),
                message("", ""),
                message("h".repeat(9_000), "b"),
            ] {
                for lane in [Lane::Control, Lane::Bulk] {
                    assert_eq!(from.call(to, lane, message.clone()).await, Ok(message.clone()));
                }
            }
            let message = message("a block", block.clone());
            assert!(from.call(to, Lane::Bulk, message.clone()).await == Ok(message));
        }
    })
    .await;
}

#[tokio::test]
async fn the_service_is_told_who_asks() {
    within(async {
        let service = Answering(|from: PeerId, _| async move { message(from.0.to_vec(), "") });
        let (first, second) = pair(Arc::new(service)).await;
        for asker in [&first, &second] {
            let answer = asker
                .call(second.me(), Lane::Control, Message::default())
                .await
                .unwrap();
            assert_eq!(answer.head, asker.me().0.as_slice());
        }
    })
    .await;
}

/// The first request is answered only after the last has arrived, so answers must overtake it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_calls_share_a_connection_and_are_answered_in_any_order() {
    const CALLS: usize = 5_000;
    within(async {
        let last_arrived = Arc::new(Semaphore::new(0));
        let service = move |_, message: Message| {
            let last_arrived = Arc::clone(&last_arrived);
            async move {
                match message.head.as_ref() {
                    b"0" => drop(last_arrived.acquire().await),
                    b"4999" => last_arrived.add_permits(1),
                    _ => {}
                }
                message
            }
        };
        let (first, second) = pair(Arc::new(Answering(service))).await;
        let mut calls = JoinSet::new();
        for number in 0..CALLS {
            let request = message(number.to_string(), vec![7; number % 3_000]);
            let answer = first.call(second.me(), Lane::Control, request.clone());
            calls.spawn(async move { answer.await == Ok(request) });
        }
        let answers = calls.join_all().await;
        assert_eq!(answers.len(), CALLS);
        assert!(answers.into_iter().all(|answer_is_right| answer_is_right));
    })
    .await;
}

/// A proxy swallows the block half way; the row passes all the same.
#[tokio::test]
async fn a_block_on_its_way_does_not_delay_a_row() {
    within(async {
        let ((one, one_listens), (two, two_listens)) = (Node::new().await, Node::new().await);
        let proxy = Proxy::before(&two.address).await;
        let first = one.start(one_listens, vec![(two.id(), proxy.address.clone())], echo());
        let _second = two.start(two_listens, vec![one.here()], echo());
        connected(&first).await;
        proxy.flow.send_replace(Flow::First(100_000));
        let mut block = first.call(two.id(), Lane::Bulk, message("", vec![0; 4 << 20]));
        tokio::select! {
            biased;
            answer = &mut block => panic!("the block passed a proxy that stalled: {:?}", answer.map(|answer| answer.body.len())),
            answer = first.call(two.id(), Lane::Control, message("row", "")) => assert!(answer.is_ok()),
        }
        proxy.flow.send_replace(Flow::Everything);
        assert_eq!(block.await.unwrap().body.len(), 4 << 20);
    })
    .await;
}

#[tokio::test]
async fn a_peer_works_on_a_bounded_number_of_requests_at_once() {
    const CALLS: usize = 200;
    within(async {
        let (begun, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let held = (Arc::clone(&begun), Arc::clone(&gate));
        let service = move |_, message: Message| {
            let (begun, gate) = held.clone();
            async move {
                if message.head.is_empty() {
                    begun.add_permits(1);
                    gate.acquire().await.unwrap().forget();
                }
                message
            }
        };
        let (first, second) = pair(Arc::new(Answering(service))).await;
        let mut calls = JoinSet::new();
        for _ in 0..CALLS {
            calls.spawn(first.call(second.me(), Lane::Bulk, message("", vec![0; 1 << 16])));
        }
        let allowed = Lane::Bulk.served_at_once_max();
        begun.acquire_many(allowed as u32).await.unwrap().forget();
        for _ in 0..100 {
            // Time enough for any further request to begin.
            first
                .call(second.me(), Lane::Control, message("passes", ""))
                .await
                .unwrap();
        }
        assert_eq!(begun.available_permits(), 0);
        gate.add_permits(CALLS);
        assert!(calls.join_all().await.iter().all(Result::is_ok));
        assert_eq!(begun.available_permits(), CALLS - allowed);
    })
    .await;
}

#[tokio::test]
async fn messages_and_answers_over_the_limit_are_refused_and_nothing_else_is() {
    within(async {
        let limit = Lane::Control.message_max_bytes();
        let service = Answering(|_, request: Message| async move { message("", vec![0; request.body.len() + 1]) });
        let (first, second) = pair(Arc::new(service)).await;
        let too_large = |bytes| Err(LinkError::TooLarge { bytes, limit });
        let call = |mesh: &Arc<Mesh>, bytes| mesh.call(second.me(), Lane::Control, message("", vec![0; bytes]));
        for asker in [&first, &second] {
            assert_eq!(call(asker, limit + 1).await, too_large(limit + 1));
            assert_eq!(call(asker, limit).await, too_large(limit + 1));
            assert_eq!(call(asker, limit - 1).await.unwrap().body.len(), limit);
        }
        assert_eq!(first.status()[0].control.connections, 1);
    })
    .await;
}

#[tokio::test]
async fn a_call_that_is_given_up_is_served_to_its_end() {
    within(async {
        let (begun, ended) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let gate = Arc::new(Semaphore::new(0));
        let held = (Arc::clone(&begun), Arc::clone(&gate), Arc::clone(&ended));
        let service = move |_, message| {
            let (begun, gate, ended) = held.clone();
            async move {
                begun.add_permits(1);
                gate.acquire().await.unwrap().forget();
                ended.add_permits(1);
                message
            }
        };
        let (first, second) = pair(Arc::new(Answering(service))).await;
        for asker in [&first, &second] {
            let call = asker.call(second.me(), Lane::Control, Message::default());
            tokio::select! {
                biased;
                _ = call => panic!("the gate is closed"),
                permit = begun.acquire() => permit.unwrap().forget(),
            }
            gate.add_permits(1);
            ended.acquire().await.unwrap().forget();
        }
    })
    .await;
}

#[tokio::test]
async fn a_service_that_panics_loses_its_call_and_no_other() {
    within(async {
        let service = Answering(|_, message: Message| async move {
            assert_ne!(message.head, "bad", "this panic is part of the test");
            message
        });
        let (first, second) = pair(Arc::new(service)).await;
        for asker in [&first, &second] {
            let good = asker.call(second.me(), Lane::Control, message("good", ""));
            let bad = asker.call(second.me(), Lane::Control, message("bad", "")).await;
            assert_eq!(bad, Err(LinkError::Lost));
            assert_eq!(good.await, Ok(message("good", "")));
        }
        assert_eq!(first.status()[0].control.connections, 1);
    })
    .await;
}

#[tokio::test]
async fn closing_lets_out_the_answers_that_are_being_made() {
    within(async {
        let (begun, begins) = oneshot::channel();
        let begun = std::sync::Mutex::new(Some(begun));
        let gate = Arc::new(Semaphore::new(0));
        let opens = Arc::clone(&gate);
        let service = move |_, message| {
            let gate = Arc::clone(&opens);
            if let Some(begun) = begun.lock().unwrap().take() {
                begun.send(()).unwrap();
            }
            async move {
                gate.acquire().await.unwrap().forget();
                message
            }
        };
        let ((one, one_listens), (mut two, two_listens)) = (Node::new().await, Node::new().await);
        two.timing.close_grace_ms = HANGS_AFTER.as_millis() as u64;
        let first = one.start(one_listens, vec![two.here()], echo());
        let second = two.start(two_listens, vec![one.here()], Arc::new(Answering(service)));
        connected(&first).await;
        let mut call = first.call(two.id(), Lane::Bulk, message("", vec![5; 1 << 20]));
        tokio::select! {
            biased;
            _ = &mut call => panic!("the gate is closed"),
            begun = begins => begun.unwrap(),
        }
        let opening = async {
            assert_eq!(call.await.unwrap().body.len(), 1 << 20);
        };
        let closing = async {
            let mut closing = std::pin::pin!(second.close());
            tokio::select! {
                biased;
                () = &mut closing => panic!("a request is unanswered"),
                () = tokio::task::yield_now() => gate.add_permits(1),
            }
            closing.await;
        };
        tokio::join!(opening, closing);
        first.until(|peers| !peers[0].is_connected()).await;
    })
    .await;
}
