//! Electing the next layout: one number, one content, ever.
//!
//! Layout v+1 is the value of a write-once register whose acceptors are the nodes of layout v, majority quorum: Paxos, by
//! the prepare and accept rules of [`crate::register`], with "if nothing is there" as the condition. A candidate that
//! loses learns the winner, which is then on a majority. Two administrators who propose the same content both win, for a
//! candidacy's operation id is taken from its content.

use alloc::vec::Vec;
use core::marker::PhantomData;

use super::assign::Role;
use super::force::Epoch;
use super::retire::may_enter;
use super::table::{Layout, LayoutVersion, Partition};
use super::view::Knowledge;
use crate::flaw::{Flaw, Rules};
use crate::quorum::{NodeId, ReplicaSets};
use crate::register::{Accepted, Cell, Change, Conditional, Content, Decision, OpId, Reply, Request, Served, Value};
use crate::stamp::Stamp;

/// So many layouts of a partition may be active at a time. Each costs every operation one more majority.
pub const ACTIVE_LAYOUTS_MAX: u64 = 3;

/// Stands for election: takes the place of nothing, and of nothing else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nominate<V, R> {
    candidate: V,
    rules: PhantomData<R>,
}

/// An election as one candidate's coordinator sees it: [`Written`](crate::register::ConditionalOutcome::Written) if its
/// candidate is elected, [`Refused`](crate::register::ConditionalOutcome::Refused) with the one that is.
pub type Election<V, R> = Conditional<V, Nominate<V, R>, R>;

/// Why a layout may not follow. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unfit {
    /// It is not the successor of the newest layout; this is.
    Number(LayoutVersion),
    /// It does not name the newest layout as the one before.
    Previous,
    /// The number of partitions is fixed by the first layout.
    Partitions,
    /// A partition has another number of replicas than the layout says, or a replica that is no member.
    Replicas(Partition),
    /// Too many layouts of this partition are active; wait until one retires.
    TooManyActive(Partition),
    /// The node left this partition while a layout that relies on it is still active; leave the partition as it is.
    ComesBack(NodeId, Partition),
    /// The node was declared lost, and is for good: it comes back as a new one.
    Lost(NodeId),
    /// It is forced, and its epoch is not above this one.
    Epoch(Epoch),
}

impl<V: Value, R: Rules> Nominate<V, R> {
    /// This one.
    pub fn new(candidate: V) -> Self {
        Nominate {
            candidate,
            rules: PhantomData,
        }
    }
}

impl<V: Value, R: Rules> Change<V> for Nominate<V, R> {
    fn decide(&self, current: Option<&Accepted<V>>) -> Decision<V> {
        // Who asks what was elected, and finds nothing, may leave a tombstone: that is still nothing.
        match current.and_then(|held| held.content.live()) {
            Some(_) if !R::lacks(Flaw::ElectionOverwrites) => Decision::Refuse,
            Some(_) | None => Decision::Write(Content::Value(self.candidate.clone())),
        }
    }
}

impl Value for Layout {
    fn head(&self) -> Self {
        self.clone()
    }

    fn is_whole(&self) -> bool {
        true
    }
}

/// The candidacy of `next` among the nodes of `newest`.
pub fn election<R: Rules>(newest: &Layout, next: Layout) -> Election<Layout, R> {
    let mut op = OpId::default();
    op.0.iter_mut().zip(next.hash()).for_each(|(id, hash)| *id = hash);
    Conditional::new(electors(newest), op, Nominate::new(next), u64::MAX)
}

/// Who elects the layout after this one: its storage nodes.
pub fn electors(layout: &Layout) -> ReplicaSets {
    let storage = layout.members.iter().filter(|member| member.role != Role::Gateway);
    ReplicaSets::new(alloc::vec![storage.map(|member| member.id).collect()])
}

/// An elector answers: as any replica, but a layout is never written without a ballot. `cell` is the election of the
/// layout after the newest one it knows; an elector that knows the next layout already sends that instead.
pub fn serve_elector<V: Value, R: Rules>(cell: &Cell<V>, request: &Request<V>) -> Served<V> {
    match request {
        Request::Read(_) | Request::Prepare { .. } | Request::Accept(_) => cell.serve::<R>(Stamp::ZERO, request),
        Request::Write(_) | Request::WriteBack(_) => Served {
            reply: Reply::Nack { seen: cell.promised },
            changed: None,
        },
    }
}

/// May `next` follow the newest layout? `lo` is the oldest layout of each partition that is not certified to be retired.
pub fn fit<R: Rules>(
    knowledge: &Knowledge,
    next: &Layout,
    lo: impl Fn(Partition) -> LayoutVersion,
) -> Result<(), Unfit> {
    let Some(newest) = knowledge.newest() else {
        return Ok(());
    };
    if next.version != newest.version.next() {
        return Err(Unfit::Number(newest.version.next()));
    }
    if next.previous != newest.hash() {
        return Err(Unfit::Previous);
    }
    if next.assignment.len() != newest.assignment.len() {
        return Err(Unfit::Partitions);
    }
    fit_force(knowledge, next)?;
    next.partitions()
        .try_for_each(|partition| fit_partition::<R>(knowledge, next, partition, lo(partition)))
}

/// Who is lost stays so, and epochs only rise.
fn fit_force(knowledge: &Knowledge, next: &Layout) -> Result<(), Unfit> {
    let lost_now = next.forced.iter().flat_map(|forced| &forced.lost);
    let mut lost = knowledge.lost().iter().chain(lost_now);
    if let Some(node) = lost.find(|node| next.member(**node).is_some()) {
        return Err(Unfit::Lost(*node));
    }
    match &next.forced {
        Some(forced) if forced.epoch <= knowledge.epoch() => Err(Unfit::Epoch(knowledge.epoch())),
        Some(_) | None => Ok(()),
    }
}

fn fit_partition<R: Rules>(
    knowledge: &Knowledge,
    next: &Layout,
    partition: Partition,
    lo: LayoutVersion,
) -> Result<(), Unfit> {
    let replicas = next.replicas(partition);
    let mut distinct: Vec<NodeId> = replicas.clone();
    distinct.sort();
    distinct.dedup();
    if distinct.len() != usize::from(next.replication_factor) || replicas.len() != distinct.len() {
        return Err(Unfit::Replicas(partition));
    }
    // A force is the way out when older transitions cannot end.
    if next.forced.is_none() && next.version.0.saturating_sub(lo.0) >= ACTIVE_LAYOUTS_MAX {
        return Err(Unfit::TooManyActive(partition));
    }
    let comes_back = |node: &&NodeId| !may_enter::<R>(knowledge, **node, partition, lo);
    match replicas.iter().find(comes_back) {
        Some(node) => Err(Unfit::ComesBack(*node, partition)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flaw::Sound;
    use crate::layout::{Forced, Member, initial};
    use alloc::collections::BTreeSet;
    use alloc::vec;

    fn newest() -> Layout {
        let member = |id| Member::test(id, "z");
        let any = initial(vec![member(1), member(2), member(3), member(4)], 2, 2).unwrap();
        Layout {
            assignment: vec![vec![0, 1]; 2],
            ..any
        }
    }

    fn next(replicas: &[u16]) -> Layout {
        let newest = newest();
        Layout {
            version: newest.version.next(),
            previous: newest.hash(),
            assignment: vec![replicas.to_vec(); 2],
            ..newest
        }
    }

    fn judged(layout: &Layout) -> Result<(), Unfit> {
        fit::<Sound>(&Knowledge::of(newest()), layout, |_| LayoutVersion(1))
    }

    #[test]
    fn only_a_well_formed_successor_is_fit() {
        assert_eq!(judged(&next(&[1, 2])), Ok(()));
        assert_eq!(judged(&newest()), Err(Unfit::Number(LayoutVersion(2))));
        assert_eq!(judged(&next(&[1])), Err(Unfit::Replicas(Partition(0))));
        assert_eq!(judged(&next(&[1, 1])), Err(Unfit::Replicas(Partition(0))));
        assert_eq!(judged(&next(&[1, 9])), Err(Unfit::Replicas(Partition(0))));
        let orphan = Layout {
            previous: [7; 32],
            ..next(&[1, 2])
        };
        assert_eq!(judged(&orphan), Err(Unfit::Previous));
        let halved = Layout {
            assignment: vec![vec![0, 1]],
            ..next(&[1, 2])
        };
        assert_eq!(judged(&halved), Err(Unfit::Partitions));
    }

    #[test]
    fn too_many_active_layouts_and_returning_nodes_wait() {
        let mut knowledge = Knowledge::of(newest());
        let mut last = next(&[1, 2]);
        knowledge.learn(last.clone()).unwrap();
        let mut after = |replicas: &[u16]| {
            last = Layout {
                version: last.version.next(),
                previous: last.hash(),
                assignment: vec![replicas.to_vec(); 2],
                ..last.clone()
            };
            last.clone()
        };
        let third = after(&[2, 0]);
        let judged =
            |knowledge: &Knowledge, layout: &Layout, lo| fit::<Sound>(knowledge, layout, |_| LayoutVersion(lo));
        assert_eq!(
            judged(&knowledge, &third, 1),
            Err(Unfit::ComesBack(NodeId(1), Partition(0)))
        );
        assert_eq!(judged(&knowledge, &third, 2), Ok(()));
        knowledge.learn(third).unwrap();
        let fourth = after(&[2, 0]);
        assert_eq!(judged(&knowledge, &fourth, 1), Err(Unfit::TooManyActive(Partition(0))));
        assert_eq!(judged(&knowledge, &fourth, 2), Ok(()));
    }

    #[test]
    fn a_forced_layout_names_nobody_lost_and_a_higher_epoch_and_does_not_wait() {
        let force = |epoch, lost: u64, before: &Layout, replicas: &[u16]| Layout {
            version: before.version.next(),
            previous: before.hash(),
            members: before
                .members
                .iter()
                .filter(|member| member.id != NodeId(4))
                .cloned()
                .collect(),
            forced: Some(Forced {
                epoch: Epoch(epoch),
                lost: BTreeSet::from([NodeId(lost)]),
                ..Forced::default()
            }),
            ..next(replicas)
        };
        let newest = newest();
        let mut knowledge = Knowledge::of(newest.clone());
        let judged = |knowledge: &Knowledge, layout: &Layout| fit::<Sound>(knowledge, layout, |_| LayoutVersion(1));
        assert_eq!(
            judged(&knowledge, &force(1, 3, &newest, &[0, 1])),
            Err(Unfit::Lost(NodeId(3)))
        );
        assert_eq!(
            judged(&knowledge, &force(0, 4, &newest, &[0, 1])),
            Err(Unfit::Epoch(Epoch(0)))
        );
        let mut last = newest;
        for epoch in 1..=4 {
            let next = force(epoch, 4, &last, &[0, 1]);
            assert_eq!(judged(&knowledge, &next), Ok(()), "however many are active");
            knowledge.learn(next.clone()).unwrap();
            last = next;
        }
        assert_eq!(
            judged(&knowledge, &force(4, 4, &last, &[0, 1])),
            Err(Unfit::Epoch(Epoch(4)))
        );
        let elected = Layout {
            members: self::newest().members,
            forced: None,
            ..force(5, 4, &last, &[0, 1])
        };
        assert_eq!(judged(&knowledge, &elected), Err(Unfit::Lost(NodeId(4))), "for good");
    }

    #[test]
    fn no_layout_is_written_without_a_ballot() {
        let new = Accepted {
            ballot: Stamp::new(5, 1),
            op: OpId::default(),
            base: None,
            content: Content::Value(newest()),
        };
        let served = serve_elector::<_, Sound>(&Cell::default(), &Request::Write(new));
        assert_eq!(served.changed, None);
    }
}
