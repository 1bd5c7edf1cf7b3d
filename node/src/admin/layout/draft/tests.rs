use std::collections::BTreeSet;

use trellis_spec::layout::{Certificate, LayoutVersion, Partition, initial};

use super::super::report::{Change, NewRole};
use super::super::staged::{Staged, StagedError};
use super::super::words::explain;
use super::*;

const TIB: u64 = 1 << 40;
const STORAGE: Role = Role::Storage { capacity_bytes: TIB };

fn member(number: u8) -> Member {
    Member::storage([number; 32], [number; 16], format!("zone-{number}"), TIB)
}

fn name(number: u8) -> NodeName {
    NodeName::of(&member(number))
}

/// Enough of an id.
fn prefix(number: u8) -> String {
    format!("{number:02x}{number:02x}")
}

/// Nodes 1 to 3 hold three replicas of everything; 4 and 5 run as well.
struct Scene {
    knowledge: Knowledge,
    staged: Staged,
}

impl Scene {
    fn new() -> Self {
        Scene {
            knowledge: Knowledge::of(initial((1..=3).map(member).collect(), 3, 64).unwrap()),
            staged: Staged::default(),
        }
    }

    fn stage(&mut self, change: Change) -> Result<(), StagedError> {
        let known: BTreeSet<NodeName> = (1..=5).map(name).collect();
        self.staged.take(self.knowledge.newest().unwrap(), &known, change)
    }

    fn assign(&mut self, node: &str, zone: Option<&str>, role: Option<Role>) -> Result<(), StagedError> {
        self.stage(Change::Assign {
            node: node.to_owned(),
            zone: zone.map(str::to_owned),
            role,
            tags: None,
        })
    }

    fn remove(&mut self, number: u8) -> Result<(), StagedError> {
        self.stage(Change::Remove { node: prefix(number) })
    }

    fn draft(&self) -> Result<Draft, DraftError> {
        draft(&self.knowledge, &self.staged)
    }

    fn apply(&mut self) {
        let next = self.draft().unwrap().next;
        self.knowledge.learn(next).unwrap();
        self.staged = Staged::default();
    }

    /// Every new owner is synced.
    fn settle(&mut self) {
        let newest = self.knowledge.newest().unwrap().clone();
        for partition in newest.partitions() {
            let synced = |_| newest.version;
            let certificate =
                Certificate::of::<NodeRules>(&self.knowledge, newest.members[0].id, partition, newest.version, synced);
            self.knowledge.retire(&certificate.unwrap());
        }
    }
}

#[test]
fn a_node_takes_the_place_of_another_one() {
    let mut scene = Scene::new();
    let replace = |old: &str, new: &str| Change::Replace {
        old: old.to_owned(),
        new: new.to_owned(),
    };
    for (old, new, error) in [
        (4, 5, StagedError::NotAMember(name(4))),
        (1, 2, StagedError::HasRole(name(2))),
        (1, 1, StagedError::HasRole(name(1))),
    ] {
        assert_eq!(scene.stage(replace(&prefix(old), &prefix(new))), Err(error));
    }
    assert!(scene.staged.is_empty());
    scene.assign(&prefix(2), Some("attic"), None).unwrap();
    scene.stage(replace(&prefix(2), &prefix(4))).unwrap();
    let wanted = scene.staged.wanted(scene.knowledge.newest().unwrap());
    let new = wanted.members.iter().find(|member| member.id == name(4).id()).unwrap();
    assert_eq!(
        (&*new.zone, Role::of(new.role)),
        ("attic", STORAGE),
        "what was staged for the old one counts"
    );
    assert!(wanted.members.iter().all(|member| member.id != name(2).id()));
    // Who came by a replacement may be replaced again before anything is applied.
    scene.stage(replace(&prefix(4), &prefix(5))).unwrap();
    let preview = scene.draft().unwrap().preview();
    let changes: Vec<(u64, u64)> = preview.nodes.iter().map(|node| (node.gains, node.loses)).collect();
    assert_eq!(
        (
            preview.moves,
            changes.iter().filter(|change| **change == (64, 0)).count()
        ),
        (64, 1)
    );
}

#[test]
fn a_layout_with_a_wrong_proof_is_followed_by_one_with_a_right_one() {
    let mut scene = Scene::new();
    let newest = scene.knowledge.newest().unwrap().clone();
    // All replicas at two nodes, where three have room.
    let forged = Layout {
        version: newest.version.next(),
        previous: newest.hash(),
        replication_factor: 2,
        assignment: vec![vec![0, 1]; newest.assignment.len()],
        ..newest.clone()
    };
    assert!(forged.check(Some(&newest)).is_err());
    scene.knowledge.learn(forged.clone()).unwrap();
    scene.settle();
    scene.assign(&prefix(4), Some("attic"), Some(STORAGE)).unwrap();
    let draft = scene.draft().unwrap();
    assert_eq!(draft.newest, forged);
    assert_eq!(draft.next.check(Some(&forged)), Ok(()));
}

#[test]
fn what_is_staged_adds_up_and_is_there_after_a_restart() {
    let (mut scene, home) = (Scene::new(), tempfile::tempdir().unwrap());
    let file = home.path().join("staged");
    assert_eq!(Staged::load(&file).unwrap(), Staged::default());
    scene.assign(&prefix(4), Some("attic"), Some(STORAGE)).unwrap();
    scene.assign(&prefix(4), Some("garden"), None).unwrap();
    scene.assign(&prefix(1), None, Some(Role::Gateway)).unwrap();
    scene.remove(2).unwrap();
    let config = |replication_factor, zone_redundancy| Change::Config {
        replication_factor,
        zone_redundancy,
    };
    scene.stage(config(Some(2), None)).unwrap();
    scene.stage(config(None, Some("1".parse().unwrap()))).unwrap();
    scene.staged.save(&file).unwrap();
    assert_eq!(Staged::load(&file).unwrap(), scene.staged);
    let wanted = scene.staged.wanted(scene.knowledge.newest().unwrap());
    let zones = wanted
        .members
        .iter()
        .map(|member| (member.key[0], &*member.zone, Role::of(member.role)));
    let zones: BTreeSet<(u8, &str, bool)> = zones.map(|(key, zone, role)| (key, zone, role == STORAGE)).collect();
    let expected = [(1, "zone-1", false), (3, "zone-3", true), (4, "garden", true)];
    assert_eq!(zones, BTreeSet::from(expected));
    assert_eq!(
        (wanted.replication_factor, Redundancy(wanted.redundancy)),
        (2, "1".parse().unwrap())
    );
    let report = scene.staged.report(scene.knowledge.newest().unwrap());
    assert!(report.nodes.contains(&NewRole::Remove {
        id: name(2).to_string()
    }));
    assert_eq!(report.nodes.len(), 3);
    std::fs::write(&file, "{}x").unwrap();
    assert!(
        Staged::load(&file)
            .unwrap_err()
            .to_string()
            .contains("stage them again")
    );
}

#[test]
fn mistakes_are_named_with_what_to_do() {
    let mut scene = Scene::new();
    let said = |result: Result<(), StagedError>| result.unwrap_err().to_string();
    let unknown = said(scene.assign("99", Some("zone"), Some(STORAGE)));
    assert!(unknown.contains("trellis node connect ID@HOST:PORT"), "{unknown}");
    let ambiguous = said(scene.assign("0", Some("zone"), Some(STORAGE)));
    assert!(ambiguous.contains("0101010101010101, 0202020202020202"), "{ambiguous}");
    let incomplete = said(scene.assign(&prefix(4), Some("zone"), None));
    assert!(incomplete.contains("--capacity SIZE"), "{incomplete}");
    let no_member = said(scene.remove(4));
    assert!(no_member.contains("nothing to remove"), "{no_member}");
    let nothing = Change::Config {
        replication_factor: None,
        zone_redundancy: None,
    };
    assert_eq!(scene.stage(nothing), Err(StagedError::Nothing));
    let odd = scene.assign(&prefix(4), Some("a\nb"), Some(STORAGE));
    assert_eq!(odd, Err(StagedError::Name("a\nb".to_owned())));
    let twin = NodeName {
        disk: [9; 16],
        ..name(1)
    };
    let change = Change::Assign {
        node: twin.to_string(),
        zone: Some("zone".to_owned()),
        role: Some(STORAGE),
        tags: None,
    };
    let same_key = scene
        .staged
        .take(scene.knowledge.newest().unwrap(), &BTreeSet::from([twin]), change);
    assert!(said(same_key).contains("the key of node 0101010101010101"));
    assert!(scene.staged.is_empty(), "what was refused is not staged");
    assert_eq!(scene.draft(), Err(DraftError::NothingStaged));
}

#[test]
fn who_was_only_staged_can_be_taken_back() {
    let mut scene = Scene::new();
    scene.assign(&prefix(4), Some("attic"), Some(STORAGE)).unwrap();
    scene.remove(4).unwrap();
    assert!(scene.staged.is_empty());
    scene.assign(&prefix(1), Some("zone-1"), None).unwrap();
    assert_eq!(scene.draft(), Err(DraftError::SameAgain));
}

#[test]
fn a_preview_says_who_gets_what_and_how_much_moves() {
    let mut scene = Scene::new();
    scene.assign(&prefix(4), Some("zone-4"), Some(STORAGE)).unwrap();
    let draft = scene.draft().unwrap();
    assert_eq!(draft.next.check(Some(&draft.newest)), Ok(()));
    let preview = draft.preview();
    assert_eq!((preview.version, preview.moves, preview.left), (2, 48, 0));
    assert_eq!(
        (preview.usable_bytes_before, preview.usable_bytes_after),
        (TIB, TIB / 48 * 64)
    );
    assert_eq!(preview.bytes_to_move_at_most, 48 * TIB / 64);
    let new = preview
        .nodes
        .iter()
        .find(|node| node.id == name(4).to_string())
        .unwrap();
    assert_eq!((new.before, new.after, new.gains, new.loses), (0, 48, 48, 0));
    assert_eq!(new.role, Some(STORAGE));
    let mut scene = Scene::new();
    scene.remove(3).unwrap();
    let stuck = explain(&scene.draft().unwrap_err(), &BTreeSet::new());
    assert!(
        stuck.contains("3 replicas cannot be kept on 2 storage nodes: add nodes"),
        "{stuck}"
    );
    scene.assign(&prefix(5), Some("zone-5"), Some(STORAGE)).unwrap();
    let preview = scene.draft().unwrap().preview();
    let gone = preview
        .nodes
        .iter()
        .find(|node| node.id == name(3).to_string())
        .unwrap();
    assert_eq!((gone.role, gone.loses, preview.moves), (None, 64, 64));
}

#[test]
fn who_comes_back_too_early_is_kept_out_until_the_transition_is_over() {
    let mut scene = Scene::new();
    scene.assign(&prefix(4), Some("zone-4"), Some(STORAGE)).unwrap();
    scene.remove(3).unwrap();
    scene.apply();
    scene.assign(&prefix(3), Some("zone-3"), Some(STORAGE)).unwrap();
    let early = scene.draft().unwrap();
    let held = |draft: &Draft| {
        let partitions = draft.next.row_partitions();
        partitions
            .filter(|partition| draft.next.holds(name(3).id(), *partition))
            .count()
    };
    assert_eq!(held(&early), 0, "every partition was its own");
    scene.settle();
    let later = scene.draft().unwrap();
    assert_eq!(held(&later), 48);
    assert_eq!(later.next.check(Some(&later.newest)), Ok(()));
}

#[test]
fn only_so_many_layouts_are_active_at_a_time() {
    let mut scene = Scene::new();
    for zone in ["a", "b"] {
        scene.assign(&prefix(1), Some(zone), None).unwrap();
        scene.apply();
    }
    scene.assign(&prefix(1), Some("c"), None).unwrap();
    let error = scene.draft().unwrap_err();
    assert_eq!(error, DraftError::Unfit(Unfit::TooManyActive(Partition(0))));
    let words = explain(&error, &BTreeSet::new());
    assert!(
        words.contains("trellis layout history") && words.contains("still there"),
        "{words}"
    );
    scene.settle();
    assert_eq!(scene.draft().unwrap().next.version, LayoutVersion(4));
}
