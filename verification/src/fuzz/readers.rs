//! Readers that have doors of their own.

use trellis_model::trace::{Part, replay};
use trellis_model::transcript::Scenario;
use trellis_node::cluster::decode;
use trellis_node::folder::NodeName;
use trellis_node::fuzzing::comes_back;
use trellis_node::link::PeerId;
use trellis_node::membership::{Book, Contact, Written};
use trellis_spec::layout::{Knowledge, Layout};
use trellis_spec::register::Cell;
use trellis_spec::row::{BlockName, BlockReference, Row};

use crate::history::{check, file};

/// Operations of a history that are checked; the search may need time that grows with them.
const HISTORY_MAX_OPERATIONS: usize = 64;

/// A stored row, or a reference to a block.
pub(super) fn rows(data: &[u8]) {
    comes_back::<Cell<Row>>(data);
    comes_back::<BlockReference>(data);
}

/// A layout that a peer tells of. It is looked at from all sides, as a node does before it knows what to think of it.
pub(super) fn layouts(data: &[u8]) {
    comes_back::<Layout>(data);
    let Ok(layout) = decode::<Layout>(data) else { return };
    let _ = layout.check(None);
    let again = layout.clone();
    assert_eq!(again.hash(), layout.hash());
    let me = layout.members.first().map(|member| member.id).unwrap_or_default();
    let mut knowledge = Knowledge::of(layout.clone());
    for partition in layout.partitions().take(64).chain([layout.partition_of(data)]) {
        let view = knowledge.view(partition);
        for node in layout.replicas(partition) {
            assert!(layout.holds(node, partition), "a replica holds its partition");
        }
        let _ = knowledge.admit::<trellis_spec::flaw::Sound>(me, partition, view);
    }
    let _ = knowledge.learn(again);
}

/// What is remembered of other nodes, as JSON or as a message, and the names that people write.
pub(super) fn contacts(data: &[u8]) {
    comes_back::<Contact>(data);
    let text = String::from_utf8_lossy(data);
    if let Ok(name) = text.trim().parse::<NodeName>() {
        assert_eq!(name.to_string().parse(), Ok(name));
    }
    if let Some(name) = BlockName::parse(text.trim()) {
        assert_eq!(name.to_string(), text.trim());
    }
    let Ok(written) = serde_json::from_slice::<Written>(data) else {
        return;
    };
    let name = NodeName {
        key: PeerId([1; 32]),
        disk: [1; 16],
    };
    let open = |written| Book::open(written, name, Vec::new(), "host".to_owned(), Vec::new());
    let book = open(written);
    let again = open(book.written());
    assert_eq!((again.written(), again.digest()), (book.written(), book.digest()));
    assert_eq!(again.known(), book.known());
}

/// A file of a trace.
pub(super) fn traces(data: &[u8]) {
    let part = Part::named("0000000000000001-0000000001.trace".to_owned(), data.to_vec());
    assert!(!replay([part]).to_string().is_empty());
}

/// A counterexample.
pub(super) fn scenarios(data: &[u8]) {
    let Ok(scenario) = serde_json::from_slice::<Scenario>(data) else {
        return;
    };
    let json = serde_json::to_vec(&scenario).expect("a scenario has only texts as keys");
    assert_eq!(serde_json::from_slice::<Scenario>(&json).ok().as_ref(), Some(&scenario));
    if let Err(error) = scenario.replay() {
        assert!(!error.to_string().is_empty());
    }
}

/// A history of operations.
pub(super) fn histories(data: &[u8]) {
    let Ok(history) = file::parse(data) else { return };
    if history.len() <= HISTORY_MAX_OPERATIONS {
        let _ = check(&history);
    }
}
