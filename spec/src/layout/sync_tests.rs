//! Scenarios of one new owner, played by hand: nodes 1, 2, 3, then 2, 3, 4; node 4 syncs.

use alloc::vec;
use alloc::vec::Vec;

use super::{
    Announcement, Certificate, Knowledge, Layout, LayoutVersion, Partition, Pulled, Sources, Standing, Sync, SyncStep,
};
use crate::flaw::Sound;
use crate::quorum::NodeId;
use crate::register::tests::Text;
use crate::register::{Accepted, Cell, Content, OpId, Reply, Request};
use crate::stamp::Stamp;

const P: Partition = Partition(0);
const ME: NodeId = NodeId(4);

fn moved() -> Knowledge {
    let one = Layout::test(4, 1, &[0, 1, 2]);
    let two = one.then(&[1, 2, 3]);
    let mut knowledge = Knowledge::of(one);
    knowledge.learn(two).unwrap();
    knowledge
}

fn stamp(time: u64) -> Stamp {
    Stamp::new(time, 1)
}

fn value(time: u64, text: &'static str) -> Accepted<Text> {
    Accepted {
        ballot: stamp(time),
        op: OpId([time as u8; 16]),
        base: None,
        content: Content::Value(Text(text)),
    }
}

fn cell(promised: u64, accepted: Option<Accepted<Text>>) -> Cell<Text> {
    Cell {
        promised: stamp(promised),
        accepted,
    }
}

fn pulled(rows: Vec<(u8, Cell<Text>)>, bound: Option<u8>) -> Pulled<u8, Text> {
    Pulled {
        rows,
        bound,
        floor: stamp(3),
    }
}

fn started(knowledge: &Knowledge, standing: Standing) -> Sync<u8, Text, Sound> {
    let mut sync = Sync::new(Sources::of::<Sound>(knowledge, ME, P, standing));
    assert_eq!(sync.start(), SyncStep::Pull { round: 1, from: None });
    sync
}

#[test]
fn what_a_majority_agrees_on_is_copied_page_by_page() {
    let mut sync = started(&moved(), Standing::Whole);
    assert_eq!(sync.sources().pulled(), [1, 2, 3].map(NodeId).to_vec());
    let held = value(5, "a");
    let page = |bound| pulled(vec![(7, cell(5, Some(held.clone())))], bound);
    assert_eq!(sync.on_pulled(1, NodeId(1), page(Some(9))), SyncStep::Wait);
    assert_eq!(
        sync.on_pulled(1, ME, page(None)),
        SyncStep::Wait,
        "it is no owner of layout 1"
    );
    assert_eq!(sync.on_pulled(1, NodeId(3), page(None)), SyncStep::Raise(stamp(3)));
    assert_eq!(sync.on_raised(), SyncStep::Copy(vec![(7, held)]));
    let next = SyncStep::Pull {
        round: 2,
        from: Some(9),
    };
    assert_eq!(sync.on_copied(Vec::new()), next);
    sync.on_pulled(2, NodeId(2), pulled(Vec::new(), None));
    let SyncStep::Done(synced) = sync.on_pulled(2, NodeId(3), pulled(Vec::new(), None)) else {
        panic!("nothing is left")
    };
    let announced = Announcement {
        node: ME,
        partition: P,
        version: LayoutVersion(2),
    };
    assert_eq!(synced.announcement(), announced);
}

#[test]
fn a_row_with_a_promise_above_it_is_settled_and_the_own_acceptance_counts() {
    let mut sync = started(&moved(), Standing::Whole);
    let held = value(5, "a");
    sync.on_pulled(1, NodeId(1), pulled(vec![(7, cell(5, Some(held.clone())))], None));
    sync.on_pulled(1, NodeId(2), pulled(vec![(7, cell(8, Some(held.clone())))], None));
    let step = sync.on_raised();
    assert_eq!(step, SyncStep::Again { above: stamp(8) });
    let SyncStep::Ask(7, prepare) = sync.again(stamp(9)) else {
        panic!("it prepares")
    };
    for node in [1, 2, 3] {
        let promise = Reply::Promise {
            accepted: Some(held.clone()),
            floor: Stamp::ZERO,
        };
        assert_eq!(sync.on_reply(prepare.round, NodeId(node), promise), SyncStep::Wait);
    }
    let SyncStep::Ask(7, accept) = sync.on_reply(
        prepare.round,
        ME,
        Reply::Promise {
            accepted: None,
            floor: Stamp::ZERO,
        },
    ) else {
        panic!("a majority of both and itself promised")
    };
    assert_eq!(accept.request, Request::Accept(held.under(stamp(9))));
    for node in [1, 2, 3] {
        assert_eq!(sync.on_reply(accept.round, NodeId(node), Reply::Accept), SyncStep::Wait);
    }
    assert!(matches!(
        sync.on_reply(accept.round, ME, Reply::Accept),
        SyncStep::Done(_)
    ));
}

#[test]
fn a_gate_is_copied_whatever_others_say() {
    let mut sync = started(&moved(), Standing::Whole);
    let gate = value(5, "gate");
    sync.on_pulled(1, NodeId(1), pulled(vec![(7, cell(5, Some(gate.clone())))], None));
    sync.on_pulled(1, NodeId(2), pulled(Vec::new(), None));
    let step = sync.on_raised();
    assert_eq!(step, SyncStep::Copy(vec![(7, gate)]));
}

#[test]
fn a_view_that_rises_voids_what_was_pulled() {
    let mut knowledge = moved();
    let mut sync = started(&knowledge, Standing::Whole);
    sync.on_pulled(1, NodeId(2), pulled(Vec::new(), None));
    let certificate = Certificate::of::<Sound>(&knowledge, ME, P, LayoutVersion(2), |_| LayoutVersion(2));
    knowledge.retire(&certificate.unwrap());
    let again = sync.on_view(Sources::of::<Sound>(&knowledge, ME, P, Standing::Whole));
    assert_eq!(again, SyncStep::Pull { round: 2, from: None });
    assert_eq!(sync.sources().pulled(), [2, 3, 4].map(NodeId).to_vec());
    assert_eq!(sync.on_pulled(2, NodeId(3), pulled(Vec::new(), None)), SyncStep::Wait);
}

#[test]
fn a_damaged_node_counts_nowhere() {
    let sync = started(&moved(), Standing::Damaged);
    assert_eq!(sync.sources().pulled(), [1, 2, 3].map(NodeId).to_vec());
    assert_eq!(sync.sources().settled(), [1, 2, 3].map(NodeId).to_vec());
}
