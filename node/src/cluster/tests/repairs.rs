//! What becomes of copies that are missing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use trellis_spec::layout::Partition;
use trellis_spec::leaves::{Digest, Extent, Leaf, Tree};
use trellis_spec::peer::{Answer, Call};
use trellis_spec::register::{Accepted, Cell, Content, OpId};
use trellis_spec::row::RowKey;
use trellis_spec::stamp::Stamp;

use super::{INLINE_MAX_BYTES, Simulation, Sites};
use crate::cluster::door::Door;
use crate::cluster::place::Spread;
use crate::cluster::replica::Payload;
use crate::cluster::{Evidence, Lack, Why};
use crate::link::PeerId;
use crate::storage::{BlockName, Room};

/// Long enough for a round of comparison.
const A_ROUND: Duration = Duration::from_secs(100);

impl Sites {
    fn evidence(&self, at: usize) -> Evidence {
        let site = &self.sites[at];
        site.coordinator
            .repairs()
            .evidence(&site.node.env(), &site.coordinator.layouts().now())
    }

    /// Rows and references that all nodes handed to others so far.
    fn handed(&self) -> (u64, u64) {
        let handed = self.sites.iter().map(|site| &site.handed);
        let of = |handed: &super::Handed| {
            let (rows, references) = (&handed.rows, &handed.references);
            (rows.load(Ordering::Relaxed), references.load(Ordering::Relaxed))
        };
        handed
            .map(|handed| of(handed))
            .fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1))
    }

    /// What a node says to its own node.
    async fn answer(&self, at: usize, partition: Partition, call: Call) -> Answer {
        let coordinator = &self.sites[at].coordinator;
        let place = coordinator.place_of(partition, Spread::Majorities);
        let answered = coordinator.replica.answer(place.envelope(call), Payload::Nothing);
        answered.await.0
    }

    async fn tree(&self, at: usize, partition: Partition) -> Tree {
        let coordinator = &self.sites[at].coordinator;
        let place = coordinator.place_of(partition, Spread::Majorities);
        coordinator.replica.tree(Door::of_sync(&place), 0).await.unwrap()
    }

    fn compare_everywhere(&self) {
        self.sites.iter().for_each(|site| site.coordinator.compare_now());
    }
}

fn is_whole(evidence: &Evidence) -> bool {
    evidence.doubtful.is_empty() && evidence.unsynced.is_empty() && evidence.whole_until_us > 0
}

#[test]
fn a_node_that_was_away_gets_what_it_missed_without_anybody_reading_it() {
    Simulation::run(21, |simulation| async move {
        let mut sites = Sites::three(&simulation).await;
        let (small, large) = (Bytes::from_static(b"small"), Bytes::from(vec![7; INLINE_MAX_BYTES + 1]));
        sites.put(0, "before", &large).await.unwrap();
        sites.sites[2].node.crash();
        for number in 0..20 {
            sites.put(0, &format!("small {number}"), &small).await.unwrap();
        }
        sites
            .put(1, "large", &Bytes::from(vec![8; INLINE_MAX_BYTES + 1]))
            .await
            .unwrap();
        sites.delete(1, "before").await.unwrap();
        let told = sites.sites[0].coordinator.redundancy().await;
        let away: Vec<_> = told.lacks.iter().filter(|lack| lack.why == Why::Away).collect();
        assert_eq!((away.len(), away[0].node), (1, sites.sites[2].member.id));
        assert_eq!((told.full_until_us, told.left_s()), (None, None));
        // Nobody sends it any more.
        simulation.sleep(Duration::from_secs(10)).await;
        let rows = sites.sites[2].left.rows.clone();
        sites.restart(2, rows);
        assert!(!is_whole(&sites.evidence(2)), "nobody has looked yet");
        simulation.sleep(A_ROUND).await;
        let evidence = sites.evidence(2);
        assert!(is_whole(&evidence), "{evidence:?}");
        assert!(
            evidence.repaired.rows > 20 && evidence.repaired.blocks == 1,
            "{evidence:?}"
        );
        // It alone has it all now, together with one of those that had it before.
        // The others have compared theirs again, for the one that was away may have written before it went.
        assert!((0..2).all(|at| sites.evidence(at).outdated.is_empty()));
        let told = sites.sites[0].coordinator.redundancy().await;
        assert!(
            told.lacks.is_empty() && told.full_until_us.is_some(),
            "{:?}",
            told.lacks
        );
        sites.sites[0].node.crash();
        assert_eq!(sites.get(2, "small 7").await.unwrap(), small);
        assert!(sites.get(2, "before").await.is_err());
    });
}

#[test]
fn what_rots_or_vanishes_is_found_and_copied_again() {
    Simulation::run(22, |simulation| async move {
        let sites = Sites::three(&simulation).await;
        let bodies: Vec<Bytes> = (0..6)
            .map(|number| Bytes::from(vec![number; INLINE_MAX_BYTES + 1]))
            .collect();
        for (number, body) in bodies.iter().enumerate() {
            sites.put(0, &format!("object {number}"), body).await.unwrap();
        }
        simulation.sleep(A_ROUND).await;
        assert!((0..3).all(|at| is_whole(&sites.evidence(at))));
        let names: Vec<BlockName> = bodies.iter().map(|body| BlockName::of(body)).collect();
        let blocks = |at: usize| &sites.sites[at].left.blocks;
        assert!(
            names[..4].iter().all(|name| blocks(1).lose(*name)),
            "a folder that is nearly empty"
        );
        let told = sites.sites[0].coordinator.redundancy().await;
        let lack = |lack: &Lack| (lack.node, lack.why);
        let lacks: Vec<_> = told.lacks.iter().map(lack).collect();
        assert_eq!(lacks, [(sites.sites[1].member.id, Why::Comparing)], "it shows at once");
        assert!(blocks(2).rot(names[5]));
        sites.sites[2].coordinator.repairs().scrub_now();
        simulation.sleep(A_ROUND).await;
        let evidence = sites.evidence(1);
        assert!(is_whole(&evidence) && evidence.repaired.blocks == 4, "{evidence:?}");
        let evidence = sites.evidence(2);
        assert!(is_whole(&evidence) && evidence.repaired.blocks == 1, "{evidence:?}");
        assert!(
            evidence.damaged_blocks == 1 && evidence.scrubbed_us.is_some(),
            "{evidence:?}"
        );
        assert!(
            blocks(1).lose(names[0]) && blocks(2).lose(names[5]),
            "they are there again"
        );
    });
}

#[test]
fn who_was_cut_off_is_not_called_whole_before_it_has_compared_again() {
    Simulation::run(23, |simulation| async move {
        let sites = Sites::three(&simulation).await;
        simulation.sleep(A_ROUND).await;
        let outdated = |at: usize| sites.evidence(at).outdated.len();
        assert!((0..3).all(|at| is_whole(&sites.evidence(at)) && outdated(at) == 0));
        let (two, three) = (PeerId([2; 32]), PeerId([3; 32]));
        sites.world.network.cut(two, three);
        sites.world.network.cut(three, two);
        simulation.sleep(Duration::from_secs(5)).await;
        sites.put(0, "meanwhile", &Bytes::from_static(b"small")).await.unwrap();
        let told = sites.sites[0].coordinator.redundancy().await;
        assert!(
            told.lacks.iter().any(|lack| lack.why == Why::Outdated),
            "{:?}",
            told.lacks
        );
        assert_eq!(told.full_until_us, None);
        sites.world.network.heal();
        simulation.sleep(Duration::from_secs(5)).await;
        assert!(outdated(1) > 0 && outdated(2) > 0, "contact alone proves nothing");
        simulation.sleep(Duration::from_secs(30)).await;
        let told = sites.sites[0].coordinator.redundancy().await;
        assert!(told.full_until_us.is_some(), "{:?}", told.lacks);
        let rows = |at: usize| {
            sites
                .evidence(at)
                .held
                .values()
                .map(|held| held.amount.rows)
                .sum::<u64>()
        };
        assert!(rows(0) > 0 && rows(0) == rows(1) && rows(1) == rows(2));
    });
}

#[test]
fn nothing_is_called_full_by_what_was_seen_before_the_layout_changed() {
    Simulation::run(24, |simulation| async move {
        let sites = Sites::start(&simulation, 4, 3).await;
        for number in 0..20 {
            let body = Bytes::from(vec![number; INLINE_MAX_BYTES + 1]);
            sites.put(0, &format!("object {number}"), &body).await.unwrap();
        }
        simulation.sleep(A_ROUND).await;
        let told = sites.sites[0].coordinator.redundancy().await;
        assert!(told.full_until_us.is_some(), "{:?}", told.lacks);
        sites.change(0, &[1, 2, 4]).await;
        let told = sites.sites[0].coordinator.redundancy().await;
        let new = sites.sites[3].member.id;
        let is_new = |lack: &Lack| lack.node == new;
        assert!(
            told.full_until_us.is_none() && told.lacks.iter().any(is_new),
            "{:?}",
            told.lacks
        );
        let mut told = told;
        for _ in 0..120 {
            simulation.sleep(Duration::from_secs(1)).await;
            told = sites.sites[0].coordinator.redundancy().await;
            if told.full_until_us.is_some() {
                break;
            }
            assert!(!told.lacks.is_empty(), "whatever is not full has a reason");
        }
        assert!(told.full_until_us.is_some(), "{:?}", told.lacks);
        let held = |at: usize| {
            sites
                .evidence(at)
                .held
                .values()
                .map(|held| held.amount.bytes)
                .sum::<u64>()
        };
        assert!(
            held(3) >= 20 * INLINE_MAX_BYTES as u64 && held(3) == held(0),
            "{} {}",
            held(3),
            held(0)
        );
    });
}

#[test]
fn rows_that_are_lost_are_found_by_their_leaves_and_little_else_is_pulled() {
    const ROWS: usize = 1_000;
    Simulation::run(25, |simulation| async move {
        let three = Sites::three(&simulation).await;
        for number in 0..ROWS {
            let body = Bytes::from(format!("body {number}"));
            three.put(number % 3, &format!("object {number}"), &body).await.unwrap();
        }
        simulation.sleep(A_ROUND).await;
        let written = [0, 1, 2].map(|at| three.objects(at));
        let partition = written[0][0].shelf.partition;
        assert!(written.iter().all(|objects| objects.len() == ROWS));
        // They came in another order everywhere.
        let before = three.tree(0, partition).await;
        for at in 1..3 {
            assert_eq!(three.tree(at, partition).await, before);
        }
        // No two nodes hold the same, and yet a majority agrees on every leaf but one.
        for at in 0..3 {
            let lost = &written[at][at * 300];
            let cells = three.sites[at].coordinator.replica.cells();
            cells.forget(lost.shelf, &[&lost.key], Stamp::ZERO).unwrap();
            let tree = three.tree(at, partition).await;
            let differs: Vec<Leaf> = Leaf::all()
                .filter(|leaf| tree.leaf(*leaf) != before.leaf(*leaf))
                .collect();
            assert_eq!(differs, [Leaf::of(&lost.key)]);
            assert_ne!(tree.root(), before.root());
        }
        let repaired = [0, 1, 2].map(|at| three.evidence(at).repaired.rows);
        let (handed, _) = three.handed();
        three.compare_everywhere();
        simulation.sleep(Duration::from_secs(20)).await;
        for (at, repaired) in repaired.into_iter().enumerate() {
            let evidence = three.evidence(at);
            assert!(is_whole(&evidence), "{at} {evidence:?}");
            assert_eq!(evidence.repaired.rows, repaired + 1);
            assert_eq!(three.tree(at, partition).await, before);
            assert_eq!(three.objects(at).len(), ROWS);
        }
        let handed = three.handed().0 - handed;
        assert!((3..=30).contains(&handed), "{handed} rows of {ROWS}");
    });
}

#[test]
fn references_and_blocks_that_are_lost_are_found_by_their_leaves() {
    const BLOCKS: usize = 200;
    Simulation::run(26, |simulation| async move {
        let three = Sites::three(&simulation).await;
        let body = |number: usize| {
            let mut body = vec![0; INLINE_MAX_BYTES + 1];
            body[..8].copy_from_slice(&number.to_le_bytes());
            Bytes::from(body)
        };
        for number in 0..BLOCKS {
            three.put(0, &format!("object {number}"), &body(number)).await.unwrap();
        }
        simulation.sleep(A_ROUND).await;
        let keeper = three.sites[1].coordinator.replica.keeper();
        let all = keeper.references().walk(None, usize::MAX - 1).unwrap().found;
        assert_eq!(all.len(), BLOCKS);
        assert!(three.sites[1].left.blocks.lose(all[0].1.block));
        let (partition, reference) = &all[BLOCKS / 2];
        keeper.references().remove(*partition, reference, None).unwrap();
        let same_partition = |lost: Partition| all.iter().filter(|(of, _)| *of == lost).count() as u64;
        let in_both = same_partition(all[0].0) + same_partition(*partition);
        let repaired = three.evidence(1).repaired.blocks;
        let (_, handed) = three.handed();
        three.compare_everywhere();
        simulation.sleep(Duration::from_secs(20)).await;
        let evidence = three.evidence(1);
        assert!(is_whole(&evidence), "{evidence:?}");
        assert_eq!(evidence.repaired.blocks, repaired + 1);
        assert!(keeper.refers(*partition, reference).unwrap());
        assert!(three.sites[1].left.blocks.lose(all[0].1.block), "it is there again");
        let handed = three.handed().1 - handed;
        assert!(
            (2..=6).contains(&handed) && in_both > 12,
            "{handed} references of {in_both}"
        );
    });
}

#[test]
fn a_pull_of_some_leaves_hands_out_their_rows_page_by_page_and_no_others() {
    Simulation::run(27, |simulation| async move {
        let three = Sites::three(&simulation).await;
        let (replica, partition) = (&three.sites[0].coordinator.replica, Partition(3));
        let shelf = replica.shelf(partition).unwrap();
        let tombstone = |time| Cell {
            promised: Stamp::new(time, 1),
            accepted: Some(Accepted {
                ballot: Stamp::new(time, 1),
                op: OpId::default(),
                base: None,
                content: Content::Tombstone,
            }),
        };
        // More than are looked at for one answer.
        let keys: Vec<RowKey> = (0..9_000_u32).map(|number| number.to_be_bytes().to_vec()).collect();
        for (time, key) in (1..).zip(&keys) {
            let none = Cell::default();
            replica
                .cells()
                .replace(shelf, key, &none, tombstone(time), Room::New)
                .unwrap();
        }
        for (leaves, limit, pages) in [(1, 100, 3), (512, 1_000, 5), (512, 7, 600)] {
            let extent = Extent::Leaves(Leaf::all().take(leaves).collect());
            let (mut found, mut from, mut asked) = (Vec::new(), None, 0);
            loop {
                let call = Call::Pull { extent, from, limit };
                let Answer::Pulled(page) = three.answer(0, partition, call).await else {
                    panic!("it has a part in every partition")
                };
                assert!(page.rows.len() <= limit as usize);
                (from, asked) = (page.bound, asked + 1);
                found.extend(page.rows.into_iter().map(|(key, _)| key));
                if from.is_none() {
                    break;
                }
            }
            let wanted: Vec<RowKey> = keys.iter().filter(|key| extent.has(key)).cloned().collect();
            assert!(found == wanted && asked >= pages, "{asked} pages, {} rows", found.len());
        }
    });
}

#[test]
fn leaves_are_told_of_a_root_that_was_told_and_of_no_other() {
    Simulation::run(28, |simulation| async move {
        let three = Sites::three(&simulation).await;
        three.put(0, "object", &Bytes::from_static(b"body")).await.unwrap();
        let partition = three.objects(0)[0].shelf.partition;
        let tree = three.tree(0, partition).await;
        let leaves = |partition, root| three.answer(0, partition, Call::Leaves(root));
        let digest = Call::Digest { tombstones_since_us: 0 };
        let told = three.answer(0, partition, digest).await;
        assert_eq!(told, Answer::Digest(tree.root()));
        let other = Partition((partition.0 + 1) % 16);
        assert_eq!(leaves(other, tree.root()).await, Answer::Leaves(None));
        assert_eq!(leaves(partition, Digest([7; 8])).await, Answer::Leaves(None));
        assert_eq!(leaves(partition, tree.root()).await, Answer::Leaves(Some(tree)));
    });
}
