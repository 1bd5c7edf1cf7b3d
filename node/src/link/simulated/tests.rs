use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::*;

const A: PeerId = PeerId([0xa; 32]);
const B: PeerId = PeerId([0xb; 32]);
const C: PeerId = PeerId([0xc; 32]);

/// Counts what it serves and keeps the order in which requests came.
#[derive(Default)]
struct Diary {
    served: Mutex<Vec<u64>>,
}

impl Diary {
    fn served(&self) -> Vec<u64> {
        self.served.lock().unwrap().clone()
    }
}

impl Service for Arc<Diary> {
    fn serve(&self, _from: PeerId, message: Message) -> Boxed<'static, Message> {
        self.served
            .lock()
            .unwrap()
            .push(u64::from_le_bytes(message.head.as_ref().try_into().unwrap()));
        Box::pin(async { message })
    }
}

fn request(number: u64) -> Message {
    Message {
        head: Bytes::copy_from_slice(&number.to_le_bytes()),
        body: Bytes::new(),
    }
}

/// Node A, its end of the network, node B and its diary.
struct Pair {
    network: SimulatedNetwork,
    a: Arc<dyn Network>,
    b: SimulatedNode,
    diary: Arc<Diary>,
}

fn pair(simulation: &Simulation, faults: Faults) -> Pair {
    let network = SimulatedNetwork::new(simulation, faults);
    let (node_a, b) = (simulation.node("a"), simulation.node("b"));
    let diary = Arc::new(Diary::default());
    let a = network.attach(&node_a, A, Arc::new(Arc::new(Diary::default())));
    network.attach(&b, B, Arc::new(Arc::clone(&diary)));
    Pair { network, a, b, diary }
}

/// Three nodes that call each other at random while messages are lost and nodes crash.
fn bad_day(seed: u64) -> (u64, u64, u64) {
    Simulation::run(seed, |simulation| async move {
        let network = SimulatedNetwork::new(&simulation, Faults::many());
        let answered = Arc::new(AtomicU64::new(0));
        let failed = Arc::new(AtomicU64::new(0));
        let start = |node: SimulatedNode, me| {
            let link = network.attach(&node, me, Arc::new(Arc::new(Diary::default())));
            let (env, answered, failed) = (node.env(), Arc::clone(&answered), Arc::clone(&failed));
            let calls = async move {
                loop {
                    env.clock.sleep(Duration::from_millis(env.random_u64() % 20)).await;
                    let to = [A, B, C][(env.random_u64() % 3) as usize];
                    let call = link.call(to, Lane::Control, request(env.random_u64()));
                    match env.timeout(Duration::from_millis(500), call).await {
                        Ok(Ok(_)) => answered.fetch_add(1, Ordering::SeqCst),
                        Ok(Err(_)) | Err(_) => failed.fetch_add(1, Ordering::SeqCst),
                    };
                }
            };
            node.env().spawner.spawn("calls", Box::pin(calls));
            node
        };
        let mut nodes = [("a", A), ("b", B), ("c", C)].map(|(name, me)| (start(simulation.node(name), me), me));
        for _ in 0..20 {
            let victim = simulation.draw(2) as usize;
            let (node, me) = nodes[victim].clone();
            node.crash_after_polls(simulation.draw(200));
            network.cut(A, B);
            simulation.sleep(simulation.draw_duration(Duration::from_secs(5))).await;
            nodes[victim].0 = start(node.restart(), me);
            network.mend(A, B);
            simulation.sleep(simulation.draw_duration(Duration::from_secs(5))).await;
        }
        (
            simulation.digest(),
            answered.load(Ordering::SeqCst),
            failed.load(Ordering::SeqCst),
        )
    })
}

#[test]
fn the_same_seed_gives_the_same_bad_day() {
    let mut digests = Vec::new();
    for seed in 0..10 {
        let day = bad_day(seed);
        assert_eq!(day, bad_day(seed), "seed {seed}");
        let (digest, answered, failed) = day;
        assert!(
            answered > 100 && failed > 10,
            "seed {seed}: {answered} answered, {failed} failed"
        );
        digests.push(digest);
    }
    digests.dedup();
    assert_eq!(digests.len(), 10);
}

#[test]
fn without_faults_every_call_is_answered_once() {
    Simulation::run(1, |simulation| async move {
        let Pair { a, diary, .. } = pair(&simulation, Faults::none());
        for number in 0..100 {
            assert_eq!(a.call(B, Lane::Control, request(number)).await, Ok(request(number)));
        }
        assert_eq!(diary.served(), Vec::from_iter(0..100));
        let too_large = Message {
            head: Bytes::new(),
            body: vec![0; Lane::Control.message_max_bytes() + 1].into(),
        };
        assert!(matches!(
            a.call(B, Lane::Control, too_large).await,
            Err(LinkError::TooLarge { .. })
        ));
        assert_eq!(a.call(C, Lane::Control, request(0)).await, Err(LinkError::NotConnected));
        assert_eq!(a.call(A, Lane::Control, request(0)).await, Ok(request(0)));
    });
}

#[test]
fn requests_overtake_each_other_and_are_served_twice() {
    Simulation::run(2, |simulation| async move {
        let faults = Faults {
            duplicates_per_million: 500_000,
            jitter_max: Duration::from_millis(50),
            ..Faults::none()
        };
        let Pair { a, diary, .. } = pair(&simulation, faults);
        let mut calls = JoinSet::new();
        for number in 0..100 {
            calls.spawn(a.call(B, Lane::Control, request(number)));
        }
        assert!(calls.join_all().await.iter().all(Result::is_ok));
        // Twins may be on their way still.
        simulation.sleep(Duration::from_secs(1)).await;
        let served = diary.served();
        assert!((120..180).contains(&served.len()), "{} served", served.len());
        assert!(!served.is_sorted());
    });
}

#[test]
fn what_is_lost_is_noticed_after_the_silence() {
    Simulation::run(3, |simulation| async move {
        let Pair { a, diary, .. } = pair(
            &simulation,
            Faults {
                losses_per_million: 300_000,
                ..Faults::none()
            },
        );
        let mut calls = JoinSet::new();
        for number in 0..1_000 {
            calls.spawn(a.call(B, Lane::Control, request(number)));
        }
        let answers = calls.join_all().await;
        let answered = answers.iter().filter(|answer| answer.is_ok()).count();
        assert!(
            answers
                .iter()
                .all(|answer| matches!(answer, Ok(_) | Err(LinkError::Lost)))
        );
        assert!(
            (420..560).contains(&answered),
            "{answered} of 1000 answered, 490 expected"
        );
        assert!(
            (630..770).contains(&diary.served().len()),
            "{} of 1000 served, 700 expected",
            diary.served().len()
        );
        assert!(simulation.now() >= Duration::from_secs(2));
    });
}

#[test]
fn a_cut_has_a_direction() {
    Simulation::run(4, |simulation| async move {
        let Pair { network, a, diary, .. } = pair(&simulation, Faults::none());
        network.cut(B, A);
        assert_eq!(a.call(B, Lane::Control, request(1)).await, Err(LinkError::Lost));
        assert_eq!(diary.served(), [1], "the request passed, its answer did not");
        assert_eq!(a.call(B, Lane::Control, request(2)).await, Err(LinkError::NotConnected));
        network.mend(B, A);
        assert_eq!(a.call(B, Lane::Control, request(3)).await, Ok(request(3)));
        network.cut(A, B);
        assert_eq!(a.call(B, Lane::Control, request(4)).await, Err(LinkError::Lost));
        assert_eq!(diary.served(), [1, 3]);
        network.heal();
        assert_eq!(a.call(B, Lane::Control, request(5)).await, Ok(request(5)));
    });
}

#[test]
fn a_crashed_peer_is_away_until_it_is_attached_again() {
    Simulation::run(5, |simulation| async move {
        let Pair { network, a, b, diary } = pair(&simulation, Faults::none());
        let call = a.call(B, Lane::Control, request(1));
        b.crash_after_polls(0);
        assert_eq!(call.await, Err(LinkError::Lost));
        assert!(diary.served().is_empty());
        assert_eq!(a.call(B, Lane::Control, request(2)).await, Err(LinkError::NotConnected));
        let reborn = b.restart();
        assert_eq!(a.call(B, Lane::Control, request(3)).await, Err(LinkError::NotConnected));
        network.attach(&reborn, B, Arc::new(Arc::clone(&diary)));
        assert_eq!(a.call(B, Lane::Control, request(4)).await, Ok(request(4)));
    });
}

#[test]
fn distant_nodes_are_slow_to_answer() {
    Simulation::run(6, |simulation| async move {
        let Pair { network, a, b, .. } = pair(&simulation, Faults::none());
        network.set_distance(A, B, Duration::from_millis(50));
        assert_eq!(a.round_trip(B), Some(Duration::from_millis(100)));
        let before = simulation.now();
        a.call(B, Lane::Control, request(1)).await.unwrap();
        let took = simulation.now() - before;
        assert!((100..110).contains(&took.as_millis()), "{took:?}");
        b.crash();
        assert_eq!(a.round_trip(B), None);
    });
}

#[test]
fn a_lag_is_in_one_direction_and_nobody_knows_of_it() {
    Simulation::run(7, |simulation| async move {
        let Pair { network, a, .. } = pair(&simulation, Faults::none());
        network.lag(A, B, Duration::from_millis(50));
        assert_eq!(a.round_trip(B), Some(Duration::from_millis(2)));
        let took = |number| {
            let (simulation, call) = (simulation.clone(), a.call(B, Lane::Control, request(number)));
            async move {
                let before = simulation.now();
                call.await.unwrap();
                (simulation.now() - before).as_millis()
            }
        };
        assert!((50..60).contains(&took(1).await));
        network.heal();
        assert!(took(2).await < 10);
    });
}
