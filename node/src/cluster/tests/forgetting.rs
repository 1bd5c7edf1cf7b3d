//! What becomes of tombstones.

use std::time::Duration;

use bytes::Bytes;
use trellis_s3api::condition::{EtagSet, WriteCondition};
use trellis_s3api::error::StoreError;
use trellis_spec::layout::{LayoutVersion, Partition, Refusal};
use trellis_spec::leaves::Extent;
use trellis_spec::peer::{Answer, Call};
use trellis_spec::register::{Cell, Fetch, Reply, Request};
use trellis_spec::row::{Row, RowKey, gate_of, is_forgettable};
use trellis_spec::stamp::Stamp;

use super::{Simulation, Sites};
use crate::cluster::cells::Shelf;
use crate::cluster::place::Spread;
use crate::cluster::replica::Payload;
use crate::cluster::{Amount, Worker, WorkerState};
use crate::link::{Lane, PeerId};

/// How old tombstones become here.
const AGE: Duration = Duration::from_secs(60);
/// Until every replica has had its turn.
const FORGOTTEN: Duration = Duration::from_secs(90);

/// A row of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) shelf: Shelf,
    pub(super) key: RowKey,
    pub(super) cell: Cell<Row>,
}

impl Sites {
    /// Objects and what is left of them, with their bodies.
    pub(super) fn objects(&self, at: usize) -> Vec<Held> {
        let cells = self.sites[at].coordinator.replica.cells();
        let (mut all, mut from) = (Vec::new(), Some((0, 0)));
        while let Some((partition, entered)) = from {
            let begin = Shelf {
                partition: Partition(partition),
                entered: LayoutVersion(entered),
            };
            let Some(shelf) = cells.next_shelf(begin).unwrap() else {
                break;
            };
            let range = cells.scan(shelf, b"", None, usize::MAX - 1, usize::MAX).unwrap().value;
            for (key, _) in range.cells {
                if is_forgettable(&key) {
                    let cell = cells.load(shelf, &key, Fetch::Full).unwrap().value;
                    all.push(Held { shelf, key, cell });
                }
            }
            from = Some((shelf.partition.0, shelf.entered.0 + 1));
        }
        all
    }

    fn floor(&self, at: usize, partition: Partition) -> Stamp {
        let replica = &self.sites[at].coordinator.replica;
        let shelf = replica.shelf(partition).unwrap();
        replica.cells().floor(shelf).unwrap().value.unwrap_or_default()
    }

    /// Sends a request about a row to one node, under the view of now.
    async fn ask(&self, from: usize, to: usize, held: &Held, request: Request<Row>) -> Answer {
        let coordinator = &self.sites[from].coordinator;
        let place = coordinator.place_of(held.shelf.partition, Spread::Majorities);
        let envelope = place.envelope(Call::Row {
            key: held.key.clone(),
            gate: gate_of(&held.key),
            request,
        });
        let to = self.sites[to].member.id;
        coordinator.call(to, Lane::Control, envelope, Payload::Nothing).await.0
    }

    /// What a node says to a message that was sent before the row was deleted.
    async fn late(&self, to: usize, held: &Held) -> Reply<Row> {
        let from = (to + 1) % 2;
        let write = Request::Write(held.cell.accepted.clone().unwrap());
        let answer = self.ask(from, to, held, write).await;
        let Answer::Row { reply, .. } = answer else {
            panic!("{answer:?}")
        };
        reply
    }

    async fn is_absent(&self, at: usize, name: &str) -> bool {
        self.get(at, name).await == Err(StoreError::NoSuchKey)
    }
}

#[test]
fn what_was_deleted_is_forgotten_everywhere_and_stays_deleted() {
    Simulation::run(31, |simulation| async move {
        let mut three = Sites::forgetful(&simulation, 3, 3, AGE).await;
        let body = Bytes::from_static(b"body");
        let names: Vec<String> = (0..20).map(|number| format!("object {number}")).collect();
        for name in &names {
            three.put(0, name, &body).await.unwrap();
        }
        let written = three.objects(0);
        assert_eq!(written.len(), names.len());
        for name in &names {
            three.delete(1, name).await.unwrap();
        }
        simulation.sleep(AGE / 2).await;
        assert!(
            (0..3).all(|at| three.objects(at).len() == names.len()),
            "it is too early"
        );
        simulation.sleep(FORGOTTEN).await;
        assert!((0..3).all(|at| three.objects(at).is_empty()));
        // Nobody has met a difference: the floor is no lack.
        let told = three.sites[0].coordinator.redundancy().await;
        assert!(told.full_until_us.is_some(), "{:?}", told.lacks);
        assert!(
            told.nodes
                .values()
                .all(|evidence| evidence.repaired == Amount::default())
        );
        for round in 0..2 {
            for (at, held) in written.iter().enumerate().map(|(number, held)| (number % 3, held)) {
                let floor = three.floor(at, held.shelf.partition);
                assert_eq!(three.late(at, held).await, Reply::Nack { seen: floor }, "round {round}");
                assert!(floor > held.cell.ballot());
            }
            for (at, name) in names.iter().enumerate() {
                assert!(three.is_absent(at % 3, name).await);
            }
            // The floors outlive the processes.
            for at in 0..3 {
                let rows = three.sites[at].left.rows.clone();
                three.restart(at, rows);
            }
            simulation.sleep(Duration::from_secs(5)).await;
        }
        three.put(2, &names[0], &body).await.unwrap();
        assert_eq!(three.get(1, &names[0]).await.unwrap(), body);
    });
}

#[test]
fn nothing_is_forgotten_while_a_replica_is_down_and_it_is_told_when_it_is_back() {
    Simulation::run(32, |simulation| async move {
        let mut three = Sites::forgetful(&simulation, 3, 3, AGE).await;
        let body = Bytes::from_static(b"body");
        three.put(0, "kept", &body).await.unwrap();
        three.put(0, "deleted", &body).await.unwrap();
        simulation.sleep(Duration::from_secs(5)).await;
        three.sites[2].node.crash();
        three.delete(0, "deleted").await.unwrap();
        simulation.sleep(10 * AGE).await;
        assert!((0..2).all(|at| three.objects(at).len() == 2));
        let forgetter = |three: &Sites| {
            let workers = three.sites[0].coordinator.workers();
            workers
                .into_iter()
                .find(|report| report.worker == Worker::Forgetter)
                .unwrap()
        };
        assert_eq!(forgetter(&three).state, WorkerState::Paused);
        let rows = three.sites[2].left.rows.clone();
        three.restart(2, rows);
        simulation.sleep(FORGOTTEN).await;
        assert!((0..3).all(|at| three.objects(at).len() == 1));
        assert_eq!(forgetter(&three).paused, None);
        for at in 0..3 {
            assert!(three.is_absent(at, "deleted").await);
            assert_eq!(three.get(at, "kept").await.unwrap(), body);
        }
    });
}

#[test]
fn a_replica_that_missed_all_of_it_does_not_keep_a_tombstone_for_ever() {
    Simulation::run(33, |simulation| async move {
        let mut three = Sites::forgetful(&simulation, 3, 3, AGE).await;
        three.sites[2].node.crash();
        three.put(0, "short", &Bytes::from_static(b"body")).await.unwrap();
        three.delete(1, "short").await.unwrap();
        // Too old to be compared.
        simulation.sleep(10 * AGE).await;
        let rows = three.sites[2].left.rows.clone();
        three.restart(2, rows);
        simulation.sleep(2 * FORGOTTEN).await;
        assert!((0..3).all(|at| three.objects(at).is_empty()));
    });
}

#[test]
fn promises_that_nobody_keeps_are_forgotten_too() {
    Simulation::run(34, |simulation| async move {
        let three = Sites::forgetful(&simulation, 3, 3, AGE).await;
        let only_there = WriteCondition {
            if_match: Some(EtagSet::Any),
            ..WriteCondition::none()
        };
        let refused = three.put_if(0, "never", &Bytes::new(), only_there).await;
        assert!(refused.is_err());
        assert!(three.objects(0).iter().all(|held| held.cell.accepted.is_none()));
        assert_eq!(three.objects(0).len(), 1);
        simulation.sleep(FORGOTTEN).await;
        assert!(
            three.objects(0).iter().all(|held| held.cell.accepted.is_some()),
            "settled"
        );
        simulation.sleep(2 * FORGOTTEN).await;
        assert!((0..3).all(|at| three.objects(at).is_empty()));
    });
}

#[test]
fn a_new_owner_takes_the_floors_and_refuses_what_is_late() {
    Simulation::run(35, |simulation| async move {
        let sites = Sites::forgetful(&simulation, 4, 3, AGE).await;
        let body = Bytes::from_static(b"body");
        sites.put(0, "kept", &body).await.unwrap();
        sites.put(0, "deleted", &body).await.unwrap();
        let written = sites.objects(0);
        sites.delete(0, "deleted").await.unwrap();
        simulation.sleep(FORGOTTEN).await;
        let kept = sites.objects(0);
        assert_eq!(kept.len(), 1);
        let late = written.iter().find(|held| held.key != kept[0].key).unwrap();
        sites.change(0, &[2, 3, 4]).await;
        simulation.sleep(FORGOTTEN).await;
        let floor = sites.floor(3, late.shelf.partition);
        assert!(floor > late.cell.ballot());
        assert_eq!(sites.late(3, late).await, Reply::Nack { seen: floor });
        for at in 0..4 {
            assert!(sites.is_absent(at, "deleted").await);
            assert_eq!(sites.get(at, "kept").await.unwrap(), body);
        }
    });
}

#[test]
fn who_enters_serves_nobody_before_it_has_the_floors() {
    Simulation::run(36, |simulation| async move {
        let sites = Sites::forgetful(&simulation, 4, 3, AGE).await;
        sites.put(0, "object", &Bytes::from_static(b"body")).await.unwrap();
        let held = sites.objects(0).remove(0);
        // It hears what is asked, and cannot ask.
        let key = |at: usize| PeerId(sites.sites[at].member.key);
        for other in 0..3 {
            sites.world.network.cut(key(3), key(other));
        }
        let next = sites.next(0, &[2, 3, 4]);
        let learned = sites.sites[3].coordinator.layouts().learn(&[next], |_| None);
        learned.unwrap();
        simulation.sleep(Duration::from_secs(1)).await;
        let replica = &sites.sites[3].coordinator.replica;
        let place = sites.sites[3]
            .coordinator
            .place_of(held.shelf.partition, Spread::Majorities);
        let envelope = |call| place.envelope(call);
        let read = Call::Row {
            key: held.key.clone(),
            gate: None,
            request: Request::Read(Fetch::Head),
        };
        let (answer, _) = replica.answer(envelope(read.clone()), Payload::Nothing).await;
        assert_eq!(answer, Answer::Refused(Refusal::Entering));
        let pull = Call::Pull {
            extent: Extent::Everything,
            from: None,
            limit: 1,
        };
        let (answer, _) = replica.answer(envelope(pull), Payload::Nothing).await;
        assert!(matches!(answer, Answer::Pulled(_)), "whoever pulls is told: {answer:?}");
        sites.world.network.heal();
        simulation.sleep(Duration::from_secs(2)).await;
        let (answer, _) = replica.answer(envelope(read), Payload::Nothing).await;
        assert!(
            matches!(answer, Answer::Row { .. } | Answer::Refused(Refusal::Stale(_))),
            "{answer:?}"
        );
    });
}
