//! What becomes of objects while layouts follow each other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use trellis_s3api::error::StoreError;
use trellis_spec::layout::{Announcement, Knowledge, Layout, LayoutVersion, Partition};
use trellis_spec::peer::Peer;
use trellis_spec::trace::{LayoutsInput, Record};

use super::{INLINE_MAX_BYTES, Simulation, Sites};
use crate::cluster::cells::Shelf;
use crate::cluster::{Elected, Layouts};
use crate::storage::{Flush, MemoryDisk, MemoryRows};
use crate::trace::Recorder;

/// Objects of one client.
const KEYS: usize = 6;
/// As long as a transition of these few objects may take with a node down.
const LONG: Duration = Duration::from_secs(300);

impl Sites {
    /// The layout after the newest one that a node knows, with these nodes (by number) for every partition.
    pub(super) fn next(&self, at: usize, owners: &[u16]) -> Layout {
        let known = self.sites[at].coordinator.layouts().now();
        let newest = known.peer.knowledge.newest().unwrap();
        let mut members = self.world.members.clone();
        members.sort_by_key(|member| member.id);
        let place = |number: &u16| {
            let id = self.sites[usize::from(*number) - 1].member.id;
            u16::try_from(members.iter().position(|member| member.id == id).unwrap()).unwrap()
        };
        let mut places: Vec<u16> = owners.iter().map(place).collect();
        places.sort();
        Layout {
            version: newest.version.next(),
            previous: newest.hash(),
            replication_factor: owners.len() as u8,
            members,
            assignment: vec![places; newest.assignment.len()],
            ..newest.clone()
        }
    }

    /// Elects a layout with these owners.
    pub(super) async fn change(&self, at: usize, owners: &[u16]) {
        let elected = self.sites[at].coordinator.elect(self.next(at, owners)).await;
        assert_eq!(elected.unwrap(), Elected::Won);
    }

    /// Waits until the newest layout of a node is the only active one at all nodes that are up.
    pub(super) async fn until_moved(&self, simulation: &Simulation, at: usize) {
        let newest = self.sites[at].coordinator.layouts().now().newest();
        let is_moved = |site: &super::Site| {
            let known = site.coordinator.layouts().now();
            let layout = known.peer.knowledge.layout(newest);
            layout.is_some_and(|layout| {
                let mut partitions = layout.partitions();
                partitions.all(|partition| known.peer.knowledge.view(partition).lo == newest)
            })
        };
        let began = simulation.now();
        while !self.sites.iter().filter(|site| site.node.is_up()).all(is_moved) {
            assert!(simulation.now() - began < LONG, "a transition does not end");
            simulation.sleep(Duration::from_millis(100)).await;
        }
    }

    /// Partitions of which this node still has rows.
    fn shelves(&self, at: usize) -> usize {
        let cells = self.sites[at].coordinator.replica.cells();
        let (mut count, mut from) = (0, (0, 0));
        while let Some(shelf) = cells
            .next_shelf(Shelf {
                partition: Partition(from.0),
                entered: LayoutVersion(from.1),
            })
            .unwrap()
        {
            count += 1;
            from = (shelf.partition.0, shelf.entered.0 + 1);
        }
        count
    }
}

/// One client that writes objects of its own, and reads back what it was told is there.
pub(super) async fn client(
    sites: &Sites,
    simulation: &Simulation,
    who: usize,
    rounds: usize,
) -> BTreeMap<String, Option<Bytes>> {
    let mut there: BTreeMap<String, Option<Bytes>> = BTreeMap::new();
    for round in 0..rounds {
        let name = format!("{who}-{}", round % KEYS);
        let up: Vec<usize> = (0..sites.sites.len())
            .filter(|at| sites.sites[*at].node.is_up())
            .collect();
        let at = || up[usize::try_from(simulation.draw(up.len() as u64 - 1)).unwrap()];
        let size = if round % 3 == 0 {
            INLINE_MAX_BYTES + round
        } else {
            10 + round
        };
        let body = Bytes::from(vec![u8::try_from(round % 251).unwrap(); size]);
        let wrote = if round % 5 == 4 {
            sites.delete(at(), &name).await.map(|()| None)
        } else {
            sites.put(at(), &name, &body).await.map(|()| Some(body))
        };
        // What failed may be there or not.
        match wrote {
            Ok(now) => drop(there.insert(name.clone(), now)),
            Err(error) => panic!("{who} {round}: {error}"),
        }
        assert_eq!(read(sites, at(), &name).await, there[&name], "{who} {round}");
    }
    there
}

pub(super) async fn read(sites: &Sites, at: usize, name: &str) -> Option<Bytes> {
    match sites.get(at, name).await {
        Ok(body) => Some(body),
        Err(StoreError::NoSuchKey) => None,
        Err(error) => panic!("{name}: {error}"),
    }
}

#[test]
fn clients_notice_nothing_of_layouts_that_follow_each_other() {
    Simulation::run(11, |simulation| async move {
        let sites = Sites::start(&simulation, 5, 3).await;
        let operator = async {
            for owners in [&[2, 3, 4][..], &[3, 4, 5], &[1, 4, 5], &[1, 2, 3, 4, 5], &[1, 2]] {
                simulation.sleep(Duration::from_millis(300)).await;
                sites.change(0, owners).await;
                sites.until_moved(&simulation, 0).await;
            }
        };
        let clients = futures_util::future::join_all((0..4).map(|who| client(&sites, &simulation, who, 120)));
        let ((), told) = futures_util::future::join(operator, clients).await;
        simulation.sleep(Duration::from_secs(5)).await;
        for (name, body) in told.into_iter().flatten() {
            for at in 0..5 {
                assert_eq!(read(&sites, at, &name).await, body, "{name} at {at}");
            }
        }
        assert_eq!([2, 3, 4].map(|at| sites.shelves(at)), [0; 3], "who left holds nothing");
    });
}

#[test]
fn a_dead_node_is_replaced_and_comes_back_without_its_rows() {
    Simulation::run(12, |simulation| async move {
        let mut sites = Sites::start(&simulation, 4, 3).await;
        let told = client(&sites, &simulation, 0, 30).await;
        sites.sites[2].node.crash();
        sites.change(0, &[1, 2, 4]).await;
        sites.until_moved(&simulation, 0).await;
        let more = client(&sites, &simulation, 1, 30).await;
        let rows = sites.sites[2].left.rows.clone();
        sites.restart(2, rows);
        simulation.sleep(Duration::from_secs(10)).await;
        assert_eq!(sites.shelves(2), 0, "it forgets what it holds no longer");
        for (name, body) in told.into_iter().chain(more) {
            for at in 0..4 {
                assert_eq!(read(&sites, at, &name).await, body, "{name} at {at}");
            }
        }
    });
}

#[test]
fn of_two_operators_one_wins_and_the_other_is_told() {
    for seed in 0..200 {
        Simulation::run(seed, |simulation| async move {
            let sites = Sites::start(&simulation, 5, 3).await;
            let one = sites.sites[0].coordinator.elect(sites.next(0, &[1, 2, 4]));
            let other = sites.sites[4].coordinator.elect(sites.next(4, &[2, 3, 5]));
            let (one, other) = futures_util::future::join(one, other).await;
            let (won, lost) = match (one.unwrap(), other.unwrap()) {
                (Elected::Won, Elected::Lost(winner)) => (0, winner),
                (Elected::Lost(winner), Elected::Won) => (4, winner),
                both => panic!("{both:?}"),
            };
            let known = sites.sites[won].coordinator.layouts().now();
            assert_eq!(known.peer.knowledge.newest(), Some(&*lost));
        });
    }
}

#[test]
fn what_lies_on_a_disk_that_is_away_is_not_taken_for_never_written() {
    Simulation::run(9, |simulation| async move {
        let sites = Sites::start(&simulation, 2, 1).await;
        let names: Vec<String> = (0..20).map(|number| format!("object {number}")).collect();
        let body = |name: &str| Bytes::from(name.repeat(INLINE_MAX_BYTES));
        for name in &names {
            sites.put(0, name, &body(name)).await.unwrap();
        }
        let disk = sites.sites[0].left.blocks.clone();
        assert!(!disk.names().is_empty(), "one replica of some of them is here");
        disk.set_away(true);
        sites.change(0, &[2]).await;
        simulation.sleep(LONG).await;
        let known = sites.sites[1].coordinator.layouts().now();
        let newest = known.peer.knowledge.newest().unwrap();
        let is_waited_for = |partition| known.peer.knowledge.view(partition).lo < newest.version;
        assert!(
            newest.block_partitions().any(is_waited_for),
            "the only copies are not given up"
        );
        assert!(newest.row_partitions().all(|partition| !is_waited_for(partition)));
        disk.set_away(false);
        sites.until_moved(&simulation, 0).await;
        for name in &names {
            assert_eq!(sites.get(1, name).await.unwrap(), body(name));
        }
    });
}

#[test]
fn a_source_with_a_disk_away_holds_nobody_up_where_another_has_the_data() {
    Simulation::run(10, |simulation| async move {
        let sites = Sites::start(&simulation, 4, 3).await;
        sites.change(0, &[1, 2, 3]).await;
        sites.until_moved(&simulation, 0).await;
        let body = Bytes::from(vec![7; INLINE_MAX_BYTES + 1]);
        for number in 0..10 {
            sites.put(0, &format!("object {number}"), &body).await.unwrap();
        }
        simulation.sleep(Duration::from_secs(10)).await;
        sites.sites[0].left.blocks.set_away(true);
        sites.sites[2].node.crash();
        sites.change(1, &[1, 2, 4]).await;
        let begun = simulation.now();
        let synced = || {
            let known = sites.sites[3].coordinator.layouts().now();
            let newest = known.peer.knowledge.newest().unwrap().clone();
            let me = sites.sites[3].member.id;
            newest
                .partitions()
                .all(|partition| known.synced(partition, me) == newest.version)
        };
        while !synced() {
            assert!(
                simulation.now() - begun < LONG,
                "one disk and one node hold up what the second node has"
            );
            simulation.sleep(Duration::from_millis(100)).await;
        }
    });
}

#[test]
fn what_a_node_knew_of_layouts_is_not_recorded_again() {
    Simulation::run(17, |simulation| async move {
        let sites = Sites::start(&simulation, 4, 3).await;
        let next = sites.next(0, &[2, 3, 4]);
        let env = simulation.node("alone").env();
        let (rows, _) = MemoryRows::open(&MemoryDisk::default(), env.clone(), Flush::ByHand).unwrap();
        let peer = Peer {
            me: sites.sites[0].member.id,
            knowledge: Knowledge::of(sites.world.layout.clone()),
        };
        let layouts = Arc::new(Layouts::open(env, Arc::new(rows), peer).unwrap());
        let recorder = Recorder::new(sites.sites[0].member.id, 1, 1 << 20, 100);
        layouts.record_to(&recorder);
        let told = || postcard::from_bytes::<Record>(recorder.take().get(4..).unwrap_or_default()).ok();
        assert!(matches!(told(), Some(Record::Standing(_))));
        let said = |partition: u16, version| Announcement {
            node: sites.sites[1].member.id,
            partition: Partition(partition),
            version: LayoutVersion(version),
        };
        // Of a layout that is not known yet, and of the first.
        layouts.announce(&[said(3, 2), said(3, 1)]).unwrap();
        assert_eq!(told(), None);
        let both = [sites.world.layout.clone(), next.clone()];
        layouts.learn(&both, |_| None).unwrap();
        let Some(Record::Layouts(step)) = told() else {
            panic!("what is new must be recorded")
        };
        assert_eq!(step.told, LayoutsInput::Learn(vec![next]));
        layouts.learn(&both, |_| None).unwrap();
        assert_eq!(told(), None);
        layouts.announce(&[said(3, 2)]).unwrap();
        assert!(told().is_some());
        layouts.announce(&[said(3, 2)]).unwrap();
        assert_eq!(told(), None);
        layouts.announce(&[said(3, 2), said(4, 2)]).unwrap();
        let Some(Record::Layouts(step)) = told() else {
            panic!("what is new must be recorded")
        };
        assert_eq!(step.told, LayoutsInput::Announce(vec![said(4, 2)]));
        assert_eq!(step.news.heard, [said(4, 2)]);
    });
}
