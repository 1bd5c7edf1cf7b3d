//! What becomes of objects when most nodes are lost and the next layout is forced.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use trellis_s3api::error::StoreError;
use trellis_spec::layout::{Epoch, Forced, Layout, LayoutVersion, Partition};
use trellis_spec::quorum::NodeId;

use super::transitions::{client, read};
use super::{INLINE_MAX_BYTES, Simulation, Sites};
use crate::cluster::{ElectError, Elected, Out, Overruled};
use crate::link::PeerId;

/// Longer than nodes need to tell each other of layouts.
const A_WHILE: Duration = Duration::from_secs(10);

impl Sites {
    /// The layout that is decreed at a node when these (by place) are lost; these (by number) own everything then.
    fn decreed(&self, at: usize, epoch: u64, lost: &[usize], owners: &[u16]) -> Layout {
        let known = self.sites[at].coordinator.layouts().now();
        let lost: BTreeSet<NodeId> = lost.iter().map(|place| self.sites[*place].member.id).collect();
        let elected = self.next(at, owners);
        let members: Vec<_> = elected
            .members
            .iter()
            .filter(|member| !lost.contains(&member.id))
            .cloned()
            .collect();
        let place = |id: &NodeId| members.iter().position(|member| member.id == *id).unwrap();
        let places = elected
            .replicas(Partition(0))
            .iter()
            .map(|id| place(id) as u16)
            .collect();
        Layout {
            assignment: vec![places; elected.assignment.len()],
            forced: Some(Forced::judge(&known.peer.knowledge, Epoch(epoch), lost)),
            members,
            ..elected
        }
    }

    async fn force(&self, at: usize, epoch: u64, lost: &[usize], owners: &[u16]) -> Result<(), ElectError> {
        let next = self.decreed(at, epoch, lost, owners);
        self.sites[at].coordinator.force(&next).await
    }

    fn out(&self, at: usize) -> Option<Out> {
        self.sites[at].coordinator.layouts().now().out()
    }

    /// Nothing gets from one node to the other, nor back.
    fn part(&self, one: usize, other: usize) {
        let [one, other] = [one, other].map(|at| PeerId(self.sites[at].member.key));
        self.world.network.cut(one, other);
        self.world.network.cut(other, one);
    }

    fn restart_as_it_was(&mut self, at: usize) {
        let rows = self.sites[at].left.rows.clone();
        self.restart(at, rows);
    }
}

#[test]
fn one_of_three_goes_on_alone_with_what_it_has() {
    Simulation::run(31, |simulation| async move {
        let mut sites = Sites::three(&simulation).await;
        let told = client(&sites, &simulation, 0, 60).await;
        let (old, new) = (Bytes::from_static(b"old"), Bytes::from_static(b"new"));
        let large = Bytes::from(vec![7; INLINE_MAX_BYTES + 1]);
        sites.put(0, "object", &old).await.unwrap();
        simulation.sleep(A_WHILE).await;
        // What is acknowledged now is at the others alone.
        sites.part(0, 1);
        sites.part(0, 2);
        sites.put(1, "object", &new).await.unwrap();
        sites.put(1, "large", &large).await.unwrap();
        sites.sites[1].node.crash();
        sites.sites[2].node.crash();
        sites.world.network.heal();
        assert!(sites.get(0, "object").await.is_err(), "most replicas are gone");
        assert!(matches!(
            sites.sites[0].coordinator.elect(sites.next(0, &[1])).await,
            Err(ElectError::Unreached | ElectError::Unknown)
        ));

        let lost = sites.force(0, 0, &[1, 2], &[1]).await;
        assert!(
            matches!(lost, Err(ElectError::Unfit(_))),
            "an epoch is above all before"
        );
        sites.force(0, 1, &[1, 2], &[1]).await.unwrap();
        sites.until_moved(&simulation, 0).await;
        for (name, body) in &told {
            assert_eq!(read(&sites, 0, name).await, *body, "{name} was here");
        }
        assert_eq!(sites.get(0, "object").await.unwrap(), old, "the older version is back");
        assert_eq!(sites.get(0, "large").await, Err(StoreError::NoSuchKey));
        sites.put(0, "object", &large).await.unwrap();
        assert_eq!(sites.get(0, "object").await.unwrap(), large);

        // One of the lost comes back.
        sites.restart_as_it_was(1);
        simulation.sleep(A_WHILE).await;
        assert_eq!(sites.out(1), Some(Out::Lost(LayoutVersion(2), Epoch(1))));
        assert!(sites.get(1, "object").await.is_err());
        assert!(sites.put(1, "object", &new).await.is_err());
        assert_eq!(sites.out(0), None);
        assert_eq!(sites.get(0, "object").await.unwrap(), large);
        let back = sites.sites[0].coordinator.elect(sites.next(0, &[1, 2])).await;
        assert!(matches!(back, Err(ElectError::Unfit(_))), "it is lost for good");
    });
}

#[test]
fn new_nodes_take_the_places_of_the_lost_and_layouts_go_on() {
    Simulation::run(32, |simulation| async move {
        let sites = Sites::start(&simulation, 5, 3).await;
        let told = client(&sites, &simulation, 0, 60).await;
        simulation.sleep(A_WHILE).await;
        sites.sites[1].node.crash();
        sites.sites[2].node.crash();
        sites.force(3, 7, &[1, 2], &[1, 4, 5]).await.unwrap();
        // What begins at a node that has not heard of it asks the lost, and may end as unknown.
        simulation.sleep(Duration::from_secs(2)).await;
        let more = client(&sites, &simulation, 1, 60).await;
        sites.until_moved(&simulation, 0).await;
        simulation.sleep(A_WHILE).await;
        sites.sites[0].node.crash();
        for (name, body) in told.iter().chain(&more) {
            for at in [3, 4] {
                assert_eq!(read(&sites, at, name).await, *body, "{name} at {at}");
            }
        }
        let next = sites.decreed(3, 8, &[1, 2], &[4, 5]);
        let elected = sites.sites[3].coordinator.elect(Layout { forced: None, ..next }).await;
        assert_eq!(elected.unwrap(), Elected::Won);
    });
}

#[test]
fn of_two_forces_with_one_epoch_all_follow_the_same() {
    Simulation::run(34, |simulation| async move {
        let sites = Sites::three(&simulation).await;
        sites.put(0, "object", &Bytes::from_static(b"body")).await.unwrap();
        simulation.sleep(A_WHILE).await;
        for (one, other) in [(0, 1), (0, 2), (1, 2)] {
            sites.part(one, other);
        }
        // Each takes the others for lost. One of them has gone on to another layout when they meet.
        sites.force(0, 5, &[1, 2], &[1]).await.unwrap();
        sites.force(1, 5, &[0, 2], &[2]).await.unwrap();
        let next = sites.decreed(1, 6, &[0, 2], &[2]);
        let elected = sites.sites[1].coordinator.elect(Layout { forced: None, ..next }).await;
        assert_eq!(elected.unwrap(), Elected::Won);
        simulation.sleep(A_WHILE).await;
        for at in [0, 1] {
            sites.put(at, "object", &Bytes::from_static(b"forced")).await.unwrap();
        }
        sites.world.network.heal();
        simulation.sleep(A_WHILE).await;
        let out = [sites.out(0), sites.out(1)];
        assert_eq!(out.iter().flatten().count(), 1, "{out:?}");
        let (stays, goes) = if out[0].is_none() { (0, 1) } else { (1, 0) };
        let reason = sites.out(goes).unwrap().to_string();
        assert!(reason.contains("of the same epoch 5"), "{reason}");
        assert!(sites.get(goes, "object").await.is_err());
        assert_eq!(sites.get(stays, "object").await.unwrap(), Bytes::from_static(b"forced"));
    });
}

#[test]
fn who_is_forced_out_by_mistake_gives_way_to_the_higher_epoch() {
    Simulation::run(33, |simulation| async move {
        let sites = Sites::start(&simulation, 4, 3).await;
        let body = Bytes::from_static(b"body");
        sites.put(0, "object", &body).await.unwrap();
        simulation.sleep(A_WHILE).await;
        for other in 1..4 {
            sites.part(0, other);
        }
        // The three are a majority, and go on as if nothing was; the one is told that they are all lost.
        sites.change(1, &[2, 3, 4]).await;
        sites.put(1, "object", &body).await.unwrap();
        sites.force(0, 1, &[1, 2, 3], &[1]).await.unwrap();
        sites.put(0, "object", &Bytes::from_static(b"forced")).await.unwrap();
        for _ in 0..2 {
            let forced = sites.decreed(0, 2, &[1, 2, 3], &[1]);
            let elected = sites.sites[0].coordinator.elect(Layout { forced: None, ..forced });
            assert_eq!(
                elected.await.unwrap(),
                Elected::Won,
                "numbers alone do not tell who is ahead"
            );
            simulation.sleep(A_WHILE).await;
        }
        sites.world.network.heal();
        simulation.sleep(A_WHILE).await;
        for at in 1..4 {
            let Some(Out::Overruled(overruled)) = sites.out(at) else {
                panic!("{at} goes on");
            };
            let Overruled { version, ours, theirs } = overruled;
            assert_eq!((version, ours, theirs.epoch), (LayoutVersion(2), Epoch(0), Epoch(1)));
            assert!(sites.get(at, "object").await.is_err());
        }
        assert_eq!(sites.out(0), None);
        assert_eq!(sites.get(0, "object").await.unwrap(), Bytes::from_static(b"forced"));
    });
}
