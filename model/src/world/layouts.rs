//! Several layouts: what nodes know of them, how they pass the door, and what invariants need to remember.
//!
//! The content of a layout travels with the request that names it: a replica that answers "need layout" is told and
//! asked again in one step (hearing of it alone is a step too). Announcements are durable facts that stay true, so
//! whoever may act on them reads them where they were made; hearing late is acting late.

use std::collections::BTreeMap;
use std::sync::Arc;

use trellis_spec::flaw::Flaw;
use trellis_spec::layout::{Admitted, Epoch, Forced, Knowledge, Layout, LayoutVersion, Member, Refusal, View, initial};
use trellis_spec::quorum::{Left, majority};
use trellis_spec::register::{Audience, Cell, Request};
use trellis_spec::stamp::Stamp;

use super::state::{Disk, Ghost, Running, Seat};
use super::{Action, Column, DiskLoss, Disks, Entrance, Force, Learning, Progress, Snapshots, State, World};
use crate::coordinator::Call;
use crate::rules::PARTITION;
use crate::value::{Cargo, Key};

/// The number of the first layout.
pub(super) const FIRST: LayoutVersion = LayoutVersion(1);

/// Every knowledge that a node may come to have, by its view.
pub(super) fn knowledge(replicas: u8, layouts: &[Vec<u8>], force: Option<&Force>) -> BTreeMap<View, Knowledge> {
    let member = |index: u8| Member {
        id: World::node(usize::from(index)),
        ..Member::storage([index; 32], [index; 16], index.to_string(), 1)
    };
    let first = initial((0..replicas).map(member).collect(), replicas, 1).expect("as many members as copies");
    let mut known: Option<Knowledge> = None;
    let mut all = BTreeMap::new();
    for (version, nodes) in (1..).map(LayoutVersion).zip(layouts) {
        let previous = known.as_ref().and_then(Knowledge::newest).map_or([0; 32], Layout::hash);
        let force = force.filter(|force| u64::from(force.layout) == version.0);
        let forced = force.zip(known.as_ref());
        let layout = Layout {
            forced: forced.map(|(force, known)| Forced::judge(known, Epoch(1), force.lost_nodes().collect())),
            version,
            previous,
            replication_factor: nodes.len() as u8,
            assignment: vec![nodes.iter().map(|node| u16::from(*node)).collect()],
            ..first.clone()
        };
        let mut knowledge = known.take().unwrap_or_else(|| Knowledge::of(layout.clone()));
        knowledge.learn(layout).expect("each follows the one before");
        for lo in (1..=version.0).map(LayoutVersion) {
            let mut raised = knowledge.clone();
            raised.hear(PARTITION, View { lo, hi: version });
            all.insert(raised.view(PARTITION), raised);
        }
        known = Some(knowledge);
    }
    all
}

impl World {
    /// What a node with this view knows.
    pub fn knowledge(&self, view: View) -> &Knowledge {
        self.known.get(&view).expect("views are made of the world's layouts")
    }

    /// Does the layout name the node of this column?
    pub fn holds(&self, version: LayoutVersion, column: usize) -> bool {
        self.layouts
            .get((version.0 as usize).wrapping_sub(1))
            .is_some_and(|nodes| nodes.contains(&(column as u8)))
    }

    pub(super) fn has_transitions(&self) -> bool {
        self.layouts.len() > 1 || self.disk_loss != DiskLoss::Never
    }

    pub(super) fn first_seat(&self) -> Seat {
        Seat {
            view: View { lo: FIRST, hi: FIRST },
            entered: FIRST,
            synced: FIRST,
            ..Seat::default()
        }
    }

    /// Is the present request of an operation meant for the replica of this column?
    pub(super) fn asks(&self, running: &Running, column: usize) -> bool {
        let view = running.view;
        let any = |from: u64, to: u64| (from..=to).any(|version| self.holds(LayoutVersion(version), column));
        match (running.audience, &running.call) {
            (Audience::One(node), _) => node == World::node(column),
            (Audience::All, Some(Call::Pull(_))) if self.has_older(view) => any(view.lo.0, view.hi.0 - 1),
            (Audience::All, _) => any(view.lo.0, view.hi.0),
        }
    }

    /// The door. Learning what is missing, and adopting the view, come before anything is answered.
    pub(super) fn enter(&self, index: usize, at: &mut Column, asked: View, call: &Call) -> Result<(), Refusal> {
        if !self.has_transitions() {
            return Ok(());
        }
        loop {
            let admitted = self
                .protocol
                .admit(self.knowledge(at.seat.view), World::node(index), asked);
            if matches!(call, Call::Pull(_)) && self.protocol.lacks(Flaw::PullDoesNotWedge) {
                return match admitted {
                    Err(refusal @ Refusal::Stale(_)) => Err(refusal),
                    Ok(_) | Err(Refusal::NeedLayout(_) | Refusal::NotOwner(_) | Refusal::Entering) => Ok(()),
                };
            }
            match admitted {
                Err(Refusal::NeedLayout(hi)) => self.raise(index, at, View { hi, ..at.seat.view }),
                Err(refusal) => return Err(refusal),
                Ok(admitted) => {
                    self.adopt(index, at, &admitted);
                    let direct = !matches!(call, Call::Pull(_));
                    return if direct && !self.is_open(at) {
                        Err(Refusal::Entering)
                    } else {
                        Ok(())
                    };
                }
            }
        }
    }

    fn adopt(&self, index: usize, at: &mut Column, admitted: &Admitted) {
        if admitted.raises_view() {
            self.raise(index, at, admitted.view());
        }
    }

    /// The view rises; a node that enters has no rows any more.
    pub(super) fn raise(&self, index: usize, at: &mut Column, view: View) {
        at.seat.view = at.seat.view.join(view);
        let entered = self.knowledge(at.seat.view).entered(World::node(index), PARTITION);
        let entered = entered.unwrap_or(at.seat.entered);
        if entered > at.seat.entered {
            if self.entrance == Entrance::Wiped {
                at.rows.fill(Cell::default());
            }
            at.floor = Stamp::ZERO;
            at.seat.dropped = LayoutVersion::default();
        }
        at.seat.entered = entered;
    }

    /// Is it so at a majority of the oldest active layout? At one of those that are left, where that is less: every quorum
    /// asks all of them.
    pub(crate) fn on_majority(&self, state: &State, holds: impl Fn(&Column) -> bool) -> bool {
        let lo = oldest_needed(state);
        let owners: Vec<usize> = (0..state.columns.len())
            .filter(|index| self.holds(lo, *index))
            .collect();
        let is_there = |index: &&usize| holds(&state.columns[**index]);
        match self.left(state, lo) {
            Left::Enough => owners.iter().filter(is_there).count() >= majority(owners.len()),
            Left::TooFew => owners
                .iter()
                .filter(|index| !state.columns[**index].dead)
                .any(|index| is_there(&index)),
            Left::None => true,
        }
    }

    /// The newest layout for which each node is synced.
    pub(super) fn synced(state: &State) -> impl Fn(trellis_spec::quorum::NodeId) -> LayoutVersion + '_ {
        |node| {
            let column = (node.0 as usize)
                .checked_sub(1)
                .and_then(|index| state.columns.get(index));
            column.map_or_else(LayoutVersion::default, |column| column.seat.synced)
        }
    }

    pub(super) fn possible_with_layouts(&self, state: &State, actions: &mut Vec<Action>) {
        if !self.has_transitions() {
            return;
        }
        let decided = LayoutVersion(state.decided.into());
        if usize::from(state.decided) < self.layouts.len() && self.may_decide(state, decided) {
            actions.push(Action::Decide);
        }
        for (index, at) in state.columns.iter().enumerate().filter(|(_, at)| !at.dead) {
            let column = index as u8;
            let seat = at.seat;
            let hears = self.learning == Learning::Anyone || self.holds(seat.view.hi.next(), index);
            if seat.view.hi < decided && hears {
                actions.push(Action::Learn { column });
            }
            let knowledge = self.knowledge(seat.view);
            let synced = Self::synced(state);
            let me = World::node(index);
            for to in seat.view.lo.0 + 1..=seat.view.hi.0 {
                let certificate = self.protocol.certificate(knowledge, me, LayoutVersion(to), &synced);
                if certificate.is_some() {
                    actions.push(Action::Retire { column, to: to as u8 });
                }
            }
            let droppable =
                seat.dropped == LayoutVersion::default() && at.rows.iter().any(|cell| *cell != Cell::default());
            if droppable && self.protocol.droppable(knowledge, me, &synced).is_some() {
                actions.push(Action::Drop { column });
            }
            self.possible_losses(state, column, at, actions);
        }
        for op in 0..self.script.deeds.len() {
            let Some(running) = state.running(op).filter(|running| running.after.is_none()) else {
                continue;
            };
            for (index, at) in state.columns.iter().enumerate() {
                let first = state.columns[..index]
                    .iter()
                    .all(|before| before.seat.view != at.seat.view);
                if first && running.view.is_behind(at.seat.view) {
                    let (op, column) = (op as u8, index as u8);
                    actions.push(Action::Inform { op, column });
                }
            }
        }
    }

    fn possible_losses(&self, state: &State, column: u8, at: &Column, actions: &mut Vec<Action>) {
        if self.disk_loss != DiskLoss::Never && state.lost == 0 && at.rows.iter().any(|cell| *cell != Cell::default()) {
            actions.push(Action::LoseDisk { column });
        }
        if self.snapshots == Snapshots::BeforeFence && at.snapshot.is_none() {
            actions.push(Action::Snapshot { column });
        }
    }

    /// Do the planner's rules allow the layout after the `decided` one? Layouts that any node knows to be retired are.
    fn may_decide(&self, state: &State, decided: LayoutVersion) -> bool {
        let lo = oldest_needed(state);
        let knowledge = self.knowledge(View { lo, hi: decided });
        (0..usize::from(self.replicas))
            .filter(|column| self.holds(decided.next(), *column))
            .all(|column| self.protocol.may_enter(knowledge, World::node(column), lo))
    }

    pub(super) fn apply_to_layouts(&self, state: &mut State, action: Action) {
        match action {
            Action::Learn { column } => {
                let at = state.column(column.into());
                let hi = at.seat.view.hi.next();
                let view = View { hi, ..at.seat.view };
                self.raise(column.into(), at, view);
            }
            Action::Retire { column, to } => {
                let at = state.column(column.into());
                let lo = LayoutVersion(to.into());
                let view = View { lo, ..at.seat.view };
                self.raise(column.into(), at, view);
            }
            Action::Drop { column } => {
                let at = state.column(column.into());
                if self.entrance == Entrance::Wiped {
                    at.rows.fill(Cell::default());
                }
                at.floor = Stamp::ZERO;
                at.seat.dropped = at.seat.view.hi;
            }
            Action::Inform { op, column } => {
                let view = state.columns[usize::from(column)].seat.view;
                let op = usize::from(op);
                if let Some(view) = state.running(op).map(|running| running.view.join(view)) {
                    state.ops[op].progress = Progress::Running(self.ready(state, op, view));
                }
            }
            Action::Decide => self.decide(state),
            Action::Snapshot { column } => {
                let at = state.column(column.into());
                at.snapshot = Some(at.rows.clone());
            }
            Action::LoseDisk { column } => self.lose_disk(state, column.into()),
            Action::Deliver { .. }
            | Action::Serve { .. }
            | Action::Hear { .. }
            | Action::Late { .. }
            | Action::Patience { .. }
            | Action::Restamp { .. }
            | Action::GiveUp { .. }
            | Action::Flush { .. }
            | Action::Crash { .. }
            | Action::GoOn { .. }
            | Action::Report { .. }
            | Action::Forget { .. }
            | Action::ForgetOther { .. }
            | Action::Repair { .. } => {}
        }
    }

    fn lose_disk(&self, state: &mut State, column: usize) {
        state.lost += 1;
        let at = state.column(column);
        at.rows.fill(Cell::default());
        at.floor = Stamp::ZERO;
        if self.disk_loss == DiskLoss::Noticed {
            at.seat.standing = Disk::Damaged;
        }
        super::act::flush(at);
        self.forget_sync(state, column);
    }

    /// Views, promises and ballots never fall, but where a node enters, drops or loses its disk.
    pub(super) fn has_fallen(&self, last: &State, next: &State) -> bool {
        let loses = next.lost > last.lost || next.crashes > last.crashes;
        let fell = |(before, after): (&Arc<Column>, &Arc<Column>)| {
            let (old, new) = (before.seat, after.seat);
            let seat_fell = new.view.is_behind(old.view);
            let kept = old.entered == new.entered && old.dropped == new.dropped;
            // A forgotten row is barred by the floor.
            let forgot = |old: &Cell<Cargo>, new: &Cell<Cargo>| {
                *new == Cell::default() && after.floor >= old.promised.max(old.ballot())
            };
            let row_fell = |(old, new): (&Cell<Cargo>, &Cell<Cargo>)| {
                (new.promised < old.promised || new.ballot() < old.ballot()) && !forgot(old, new)
            };
            seat_fell || old.synced > new.synced || (kept && before.rows.iter().zip(&after.rows).any(row_fell))
        };
        !loses && last.columns.iter().zip(&next.columns).any(fell)
    }
}

/// The oldest layout that no node knows to be retired.
pub fn oldest_needed(state: &State) -> LayoutVersion {
    let lo = state.columns.iter().map(|column| column.seat.view.lo);
    lo.max().unwrap_or(FIRST)
}

impl Ghost {
    pub(super) fn answered(&mut self, key: Key, hi: LayoutVersion, stamp: Stamp) {
        if stamp > Stamp::ZERO {
            let known = self.answered.entry((key, hi)).or_default();
            *known = stamp.max(*known);
        }
    }

    /// An accept follows a prepare only with promises of a quorum.
    pub(super) fn asked(&mut self, last: Option<&Call>, next: &Call) {
        if let (Some(Call::Row(key, Request::Prepare { ballot, .. })), Call::Row(_, Request::Accept(_))) = (last, next)
        {
            let known = self.prepared.entry(*key).or_default();
            *known = (*ballot).max(*known);
        }
    }
}

/// Is the node of a column able to answer?
pub(super) fn answers(at: &Column) -> bool {
    !at.dead && at.seat.standing == Disk::Whole
}

/// Does a disk of this kind keep the answer to such a call waiting until what it tells is durable?
pub(super) fn waits(disks: Disks, is_read: bool, is_pull: bool) -> bool {
    match disks {
        Disks::Immediate => false,
        Disks::Grouped { .. } => true,
        Disks::Dirty { .. } => !is_read,
        Disks::DirtyPull { .. } => !is_pull,
    }
}
