//! What staged changes would come to.

use trellis_spec::layout::assign::{AssignError, NodeChange, Plan, Violation};
use trellis_spec::layout::{Forced, Knowledge, Layout, Member, Unfit, barred, fit, successor};
use trellis_spec::quorum::NodeId;

use super::report::{Placement, Preview, PreviewNode, PreviewZone, Role};
use super::staged::Staged;
use crate::config::Redundancy;
use crate::folder::NodeName;
use crate::seeded::NodeRules;

/// The next layout, and what it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The layout before.
    pub newest: Layout,
    /// The layout.
    pub next: Layout,
    /// What it changes.
    pub plan: Plan,
}

/// Why there is none. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DraftError {
    /// There is nothing to be changed.
    NothingStaged,
    /// The staged changes ask for what the newest layout is.
    SameAgain,
    /// No placement is possible.
    Assign(AssignError),
    /// What was found is not proven to be the best: the planner is wrong, and nobody shall follow it.
    NotProven(Violation),
    /// It may not follow yet.
    Unfit(Unfit),
}

/// The best layout for what is staged, if it may follow now.
pub fn draft(knowledge: &Knowledge, staged: &Staged) -> Result<Draft, DraftError> {
    let Some(newest) = knowledge.newest().filter(|_| !staged.is_empty()) else {
        return Err(DraftError::NothingStaged);
    };
    let lo = |partition| knowledge.view(partition).lo;
    let next = successor(newest, staged.wanted(newest), barred(knowledge, lo)).map_err(DraftError::Assign)?;
    if next.wanted() == newest.wanted() && next.assignment == newest.assignment {
        return Err(DraftError::SameAgain);
    }
    Draft::of(knowledge, newest, next)
}

/// The best layout for what is staged, without the nodes that `forced` says are lost.
pub fn draft_forced(knowledge: &Knowledge, staged: &Staged, forced: Forced) -> Result<Draft, DraftError> {
    let newest = knowledge.newest().ok_or(DraftError::NothingStaged)?;
    let mut wanted = staged.wanted(newest);
    wanted.members.retain(|member| !forced.lost.contains(&member.id));
    let barred = barred(knowledge, |partition| knowledge.view(partition).lo);
    let next = successor(newest, wanted, barred).map_err(DraftError::Assign)?;
    let forced = Some(forced);
    Draft::of(knowledge, newest, Layout { forced, ..next })
}

impl Draft {
    /// Of a layout that may follow.
    fn of(knowledge: &Knowledge, newest: &Layout, next: Layout) -> Result<Self, DraftError> {
        next.check(Some(newest)).map_err(DraftError::NotProven)?;
        let lo = |partition| knowledge.view(partition).lo;
        fit::<NodeRules>(knowledge, &next, lo).map_err(DraftError::Unfit)?;
        let plan = Plan::new(
            &newest.demand().nodes,
            &next.past(Some(newest)),
            &next.demand(),
            &next.placement(),
        );
        Ok(Draft {
            newest: newest.clone(),
            next,
            plan,
        })
    }

    /// It in words and numbers.
    pub fn preview(&self) -> Preview {
        let (next, plan) = (&self.next, &self.plan);
        let mut nodes: Vec<PreviewNode> = plan
            .nodes
            .iter()
            .filter_map(|(id, node)| self.node(*id, node))
            .collect();
        nodes.sort_by(|a, b| (&a.zone, &a.id).cmp(&(&b.zone, &b.id)));
        let zone = |(zone, change): (&String, &trellis_spec::layout::assign::Change)| PreviewZone {
            zone: zone.clone(),
            capacity_bytes: change.capacity_bytes,
            before: change.before,
            after: change.after,
        };
        Preview {
            version: next.version.0,
            replication_factor: next.replication_factor,
            zone_redundancy: Redundancy(next.redundancy),
            usable_bytes_before: plan.usable_bytes_before,
            usable_bytes_after: plan.usable_bytes_after,
            moves: plan.moves,
            bytes_to_move_at_most: plan.bytes_to_move_at_most,
            left: plan.left.len(),
            nodes,
            zones: plan.zones.iter().map(zone).collect(),
            follows: Placement::Proven,
            not_connected: Vec::new(),
        }
    }

    fn node(&self, id: NodeId, node: &NodeChange) -> Option<PreviewNode> {
        let stays = self.next.member(id);
        let member: &Member = stays.or_else(|| self.newest.member(id))?;
        let NodeChange { zone, change } = node;
        Some(PreviewNode {
            id: NodeName::of(member).to_string(),
            zone: zone.clone(),
            role: stays.map(|member| Role::of(member.role)),
            usable_bytes: self.plan.partition_bytes_after.saturating_mul(change.after),
            before: change.before,
            after: change.after,
            gains: change.gains,
            loses: change.loses,
        })
    }
}

#[cfg(test)]
mod tests;
