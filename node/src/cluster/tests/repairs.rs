//! What becomes of copies that are missing.

use std::time::Duration;

use bytes::Bytes;

use super::{INLINE_MAX_BYTES, Simulation, Sites};
use crate::cluster::{Evidence, Lack, Why};
use crate::storage::BlockName;

/// Long enough for a round of comparison.
const A_ROUND: Duration = Duration::from_secs(100);

impl Sites {
    fn evidence(&self, at: usize) -> Evidence {
        let site = &self.sites[at];
        site.coordinator.repairs().evidence(&site.coordinator.layouts().now())
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
