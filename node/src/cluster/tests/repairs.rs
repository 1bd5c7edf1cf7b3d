//! What becomes of copies that are missing.

use std::time::Duration;

use bytes::Bytes;

use super::{INLINE_MAX_BYTES, Simulation, Sites};
use crate::cluster::{Evidence, Lack, Why};
use crate::link::PeerId;
use crate::storage::BlockName;

/// Long enough for a round of comparison.
const A_ROUND: Duration = Duration::from_secs(100);

impl Sites {
    fn evidence(&self, at: usize) -> Evidence {
        let site = &self.sites[at];
        site.coordinator
            .repairs()
            .evidence(&site.node.env(), &site.coordinator.layouts().now())
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
