//! Making layouts: the first one of a cluster, and those that may follow.
//!
//! Both are the best placement of what is wanted ([`assign`](super::assign)), and carry the proof of that: whoever is
//! told of a layout can see, without solving anything, that it is as good as it can be ([`Layout::check`]). Deterministic
//! in what is wanted, so that every node of a new cluster makes the same first layout from the same configuration.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::assign::{self, AssignError, Demand, Offer, Past, Placement, Violation, ZoneRedundancy, assign};
use super::table::{Layout, LayoutVersion, Member, Partition};
use super::view::{Knowledge, View};
use crate::quorum::NodeId;

/// What a layout is to provide. The number of partitions is not among it, for it never changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wanted {
    /// The nodes, in any order.
    pub members: Vec<Member>,
    /// Replicas per partition.
    pub replication_factor: u8,
    /// Zones per partition.
    pub redundancy: ZoneRedundancy,
}

/// Layout 1 over `members`, in as many zones as there are.
pub fn initial(members: Vec<Member>, replication_factor: u8, partitions: u32) -> Result<Layout, AssignError> {
    let wanted = Wanted {
        members,
        replication_factor,
        redundancy: ZoneRedundancy::Maximum,
    };
    first(wanted, partitions)
}

/// Layout 1.
pub fn first(wanted: Wanted, partitions: u32) -> Result<Layout, AssignError> {
    let draft = wanted.draft(BTreeMap::new());
    let demand = draft.demand_of(partitions);
    let placement = assign(&demand, &Past::default())?;
    Ok(draft.placed(placement))
}

/// The layout that may follow the newest one, with as few moves as possible. `barred` are the nodes that may not get a
/// partition yet, as [`barred`] finds them.
pub fn successor(
    newest: &Layout,
    wanted: Wanted,
    barred: BTreeMap<Partition, BTreeSet<NodeId>>,
) -> Result<Layout, AssignError> {
    let draft = Layout {
        version: newest.version.next(),
        previous: newest.hash(),
        ..wanted.draft(barred)
    };
    let demand = draft.demand_of(u32::try_from(newest.assignment.len()).unwrap_or(u32::MAX));
    let placement = assign(&demand, &draft.past(Some(newest)))?;
    Ok(draft.placed(placement))
}

/// The nodes that may not get a partition in the layout after the newest one: they left it, or the partition of blocks
/// that shares its replicas, while a layout that relies on them is active. `lo` is the oldest layout of a partition that
/// is not certified to be retired.
pub fn barred(knowledge: &Knowledge, lo: impl Fn(Partition) -> LayoutVersion) -> BTreeMap<Partition, BTreeSet<NodeId>> {
    let Some(newest) = knowledge.newest() else {
        return BTreeMap::new();
    };
    let held_back = |partition: Partition| {
        let view = View {
            lo: lo(partition),
            hi: newest.version,
        };
        assign::barred(&knowledge.replicas(partition, view))
    };
    let lines = newest.row_partitions().zip(newest.block_partitions());
    let barred = lines.map(|(rows, blocks)| (rows, &held_back(rows) | &held_back(blocks)));
    barred.filter(|(_, nodes)| !nodes.is_empty()).collect()
}

impl Wanted {
    /// Layout 1 without an assignment.
    fn draft(self, barred: BTreeMap<Partition, BTreeSet<NodeId>>) -> Layout {
        let Wanted {
            mut members,
            replication_factor,
            redundancy,
        } = self;
        members.sort_by_key(|member| member.id);
        Layout {
            version: LayoutVersion(1),
            previous: [0; 32],
            replication_factor,
            redundancy,
            members,
            assignment: Vec::new(),
            barred,
            proof: assign::Proof::default(),
            forced: None,
        }
    }
}

impl Layout {
    /// What it is to provide.
    pub fn wanted(&self) -> Wanted {
        Wanted {
            members: self.members.clone(),
            replication_factor: self.replication_factor,
            redundancy: self.redundancy,
        }
    }

    /// What was asked of its placement.
    pub fn demand(&self) -> Demand {
        self.demand_of(u32::try_from(self.assignment.len()).unwrap_or(u32::MAX))
    }

    /// What its placement was made from: the layout before, unless it is the first.
    pub fn past(&self, before: Option<&Layout>) -> Past {
        Past {
            previous: before.map_or_else(Vec::new, |before| {
                before.row_partitions().map(|p| before.replicas(p)).collect()
            }),
            barred: self.barred.clone(),
            pinned: BTreeSet::new(),
        }
    }

    /// Where everything is, and why that is the best.
    pub fn placement(&self) -> Placement {
        Placement {
            replicas: self
                .row_partitions()
                .map(|partition| self.replicas(partition))
                .collect(),
            proof: self.proof.clone(),
        }
    }

    /// Is this the best layout for what it is to provide, after the layout `before`? Nothing is solved for that.
    pub fn check(&self, before: Option<&Layout>) -> Result<(), Violation> {
        assign::check(&self.demand(), &self.past(before), &self.placement()).map(|_| ())
    }

    /// Bytes that fit in the whole cluster, each counted once.
    pub fn usable_bytes(&self) -> u64 {
        self.proof.partition_bytes.saturating_mul(self.assignment.len() as u64)
    }

    fn demand_of(&self, partitions: u32) -> Demand {
        Demand {
            nodes: self.members.iter().map(Offer::from).collect(),
            partitions,
            replication_factor: self.replication_factor,
            redundancy: self.redundancy,
        }
    }

    fn placed(self, placement: Placement) -> Layout {
        let assignment = placement.as_places(&self.members);
        Layout {
            assignment: assignment.expect("what was assigned are members"),
            proof: placement.proof,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::assign::Role;
    use crate::layout::{Epoch, Forced};
    use alloc::string::ToString;
    use alloc::vec;

    const TIB: u64 = 1 << 40;

    fn member(id: u64, zone: &str, role: Role) -> Member {
        Member {
            role,
            ..Member::test(id, zone)
        }
    }

    fn cluster() -> Vec<Member> {
        let zones = ["a", "a", "b", "b", "c", "c"];
        let storage = Role::Storage { capacity_bytes: TIB };
        (1..).zip(zones).map(|(id, zone)| member(id, zone, storage)).collect()
    }

    fn wanted(members: Vec<Member>) -> Wanted {
        Wanted {
            members,
            replication_factor: 3,
            redundancy: ZoneRedundancy::Maximum,
        }
    }

    #[test]
    fn a_first_layout_spans_zones_fills_nodes_and_proves_it() {
        let layout = initial(cluster(), 3, 256).unwrap();
        assert_eq!(layout.check(None), Ok(()));
        assert_eq!(layout.usable_bytes(), 2 * TIB);
        for node in (1..=6).map(NodeId) {
            let held = layout
                .row_partitions()
                .filter(|partition| layout.holds(node, *partition));
            assert_eq!(held.count(), 128);
        }
        let worse = Layout {
            assignment: vec![vec![0, 2, 4]; 256],
            ..layout
        };
        assert!(matches!(worse.check(None), Err(Violation::TooMuch(_))));
    }

    #[test]
    fn the_order_of_members_does_not_matter() {
        let mut reversed = cluster();
        reversed.reverse();
        assert_eq!(initial(cluster(), 3, 64), initial(reversed, 3, 64));
    }

    #[test]
    fn a_successor_moves_little_and_is_checked_against_the_layout_before() {
        let one = initial(cluster(), 3, 64).unwrap();
        let mut more = cluster();
        more.push(member(7, "a", Role::Gateway));
        more[0].zone = "d".to_string();
        let two = successor(&one, wanted(more), BTreeMap::new()).unwrap();
        assert_eq!((two.version, two.previous), (LayoutVersion(2), one.hash()));
        assert_eq!(two.check(Some(&one)), Ok(()));
        assert!(two.row_partitions().all(|partition| !two.holds(NodeId(7), partition)));
        let anew = Layout {
            assignment: first(two.wanted(), 64).unwrap().assignment,
            ..two.clone()
        };
        assert_ne!(anew.assignment, two.assignment);
        assert!(anew.check(Some(&one)).is_err());
    }

    #[test]
    fn who_left_is_barred_until_both_its_partitions_are_retired() {
        let without = |id| wanted(cluster().into_iter().filter(|member| member.id != NodeId(id)).collect());
        let one = initial(cluster(), 3, 4).unwrap();
        let two = successor(&one, without(1), BTreeMap::new()).unwrap();
        let mut knowledge = Knowledge::of(one.clone());
        knowledge.learn(two.clone()).unwrap();
        let held: BTreeSet<Partition> = one.row_partitions().filter(|p| one.holds(NodeId(1), *p)).collect();
        let barred_below = |rows: u64, blocks: u64| {
            let lo = |partition: Partition| LayoutVersion(if partition.0 < 4 { rows } else { blocks });
            barred(&knowledge, lo).into_keys().collect::<BTreeSet<Partition>>()
        };
        assert!(!held.is_empty());
        assert!(barred_below(1, 1).is_superset(&held) && barred_below(2, 1).is_superset(&held));
        assert!(barred_below(2, 2).is_empty());
        let back = successor(&two, wanted(cluster()), barred(&knowledge, |_| LayoutVersion(1))).unwrap();
        assert!(held.iter().all(|partition| !back.holds(NodeId(1), *partition)));
        assert_eq!(back.check(Some(&two)), Ok(()));
    }

    #[test]
    fn every_field_is_in_the_hash() {
        let layout = initial(cluster(), 3, 4).unwrap();
        let forced = |epoch, lost, doubtful, gone| {
            Some(Forced {
                epoch: Epoch(epoch),
                lost: BTreeSet::from([NodeId(lost)]),
                doubtful: BTreeSet::from([Partition(doubtful)]),
                gone: BTreeSet::from([Partition(gone)]),
            })
        };
        let forces = [(1, 1, 1, 1), (2, 1, 1, 1), (1, 2, 1, 1), (1, 1, 2, 1), (1, 1, 1, 2)];
        let forces = forces.map(|(epoch, lost, doubtful, gone)| Layout {
            forced: forced(epoch, lost, doubtful, gone),
            ..layout.clone()
        });
        let changes: [fn(&mut Layout); 12] = [
            |layout| layout.version = LayoutVersion(9),
            |layout| layout.previous = [1; 32],
            |layout| layout.replication_factor = 2,
            |layout| layout.redundancy = ZoneRedundancy::AtLeast(3),
            |layout| layout.members[0].zone = "x".to_string(),
            |layout| layout.members[0].role = Role::Gateway,
            |layout| layout.members[0].tags = vec!["x".to_string()],
            |layout| drop(layout.members.pop()),
            |layout| layout.assignment[0].clear(),
            |layout| drop(layout.barred.insert(Partition(0), BTreeSet::from([NodeId(1)]))),
            |layout| layout.proof.partition_bytes = 1,
            |layout| layout.proof.prices.extend([(NodeId(1), 1)]),
        ];
        let hashes = changes.iter().map(|change| {
            let mut changed = layout.clone();
            change(&mut changed);
            changed.hash()
        });
        let forces = forces.iter().map(Layout::hash);
        let distinct: BTreeSet<_> = hashes.chain(forces).chain([layout.hash()]).collect();
        assert_eq!(distinct.len(), changes.len() + 5 + 1);
    }
}
