//! The next layout by decree, when too many nodes are lost to elect one, or for some partition to have a quorum.
//!
//! It is refused where it is not needed, where a node that is to be declared lost may be alive, and where the layout
//! would wait for somebody who is not here.

use std::collections::BTreeSet;
use std::time::Duration;

use hyper::StatusCode;
use trellis_spec::layout::assign::Role::Gateway;
use trellis_spec::layout::{Epoch, Forced, Knowledge, Layout, Partition};
use trellis_spec::quorum::{NodeId, majority};

use super::draft::{Draft, draft_forced};
use super::report::{Force, ForceReport, ForcedReport};
use super::words::{explain, listed, short};
use super::{Staged, broken, forget, load, names, not_elected, wrong};
use crate::admin::api::{Refused, refused};
use crate::admin::health::Quorums;
use crate::admin::observer::Observer;
use crate::folder::NodeName;
use crate::link::PeerId;

/// Who was heard of within this time may be alive.
const HEARD: Duration = Duration::from_secs(60);

/// What forcing would come to.
pub async fn preview_force(observer: &Observer, force: Force) -> Result<ForceReport, Refused> {
    let staged = load(observer)?;
    Ok(report_of(observer, &drafted(observer, &force, staged).await?))
}

/// Forces the layout that was previewed.
pub async fn force(observer: &Observer, force: Force) -> Result<ForceReport, Refused> {
    let staged = load(observer)?;
    let draft = drafted(observer, &force, staged.clone()).await?;
    let version = draft.next.version.0;
    if force.version != Some(version) {
        return Err(conflict(format!(
            "the next layout would be number {version}, and that was not asked for: look at what it would come to, without \
             --yes-lose-data, and name its number with --version. Nothing was changed"
        )));
    }
    let report = report_of(observer, &draft);
    let known = names(observer, &observer.layouts().peer.knowledge);
    let decreed = observer.coordinator().force(&draft.next).await;
    decreed.map_err(|error| not_elected(&error, &known))?;
    forget(observer, &staged)?;
    Ok(report)
}

async fn drafted(observer: &Observer, force: &Force, staged: Staged) -> Result<Draft, Refused> {
    let known = observer.layouts();
    let named = names(observer, &known.peer.knowledge);
    let lost = lost_nodes(observer, force, &staged, &named)?;
    let ids = lost.iter().map(NodeName::id).collect();
    let forced = Forced::judge(&known.peer.knowledge, Epoch(force.epoch), ids);
    needed(&known.peer.knowledge, &forced)?;
    let peer = known.clone();
    let planning = tokio::task::spawn_blocking(move || draft_forced(&peer.peer.knowledge, &staged, forced));
    let draft = planning.await.map_err(broken)?.map_err(|error| {
        conflict(format!(
            "{}. If too few nodes are left for as many replicas, stage less (`trellis layout config --replication-factor \
             N`) or more nodes (`trellis layout assign`) first. Nothing was changed",
            explain(&error, &named)
        ))
    })?;
    waits_for_nobody(observer, &known.peer.knowledge, &draft.next)?;
    Ok(draft)
}

/// Those who are meant. None of them may be alive.
fn lost_nodes(
    observer: &Observer,
    force: &Force,
    staged: &Staged,
    named: &BTreeSet<NodeName>,
) -> Result<BTreeSet<NodeName>, Refused> {
    let found = force.lost.iter().map(|prefix| staged.find(named, prefix));
    let lost: BTreeSet<NodeName> = found.collect::<Result<_, _>>().map_err(wrong)?;
    let me = observer.membership().mine().name;
    let knowledge = &observer.layouts().peer.knowledge;
    for node in &lost {
        let is_member = knowledge
            .newest_first()
            .any(|layout| layout.member(node.id()).is_some());
        if *node == me || !is_member {
            let why = if is_member {
                "is this very node"
            } else {
                "is in no layout"
            };
            return Err(conflict(format!("node {} {why}, so it cannot be lost", short(node))));
        }
    }
    let is_heard = |node: &&NodeName| {
        let unheard = observer.membership().unheard(node.key);
        observer.is_connected(node.key) || unheard.is_some_and(|unheard| unheard < HEARD)
    };
    let heard: Vec<NodeName> = lost.iter().filter(is_heard).copied().collect();
    if heard.is_empty() || force.although_heard {
        return Ok(lost);
    }
    Err(conflict(format!(
        "these were heard of less than {} seconds ago, or this node has not listened for that long: {}. What is declared \
         lost must be gone for good: stop it, and see to it that it never starts again. Then wait, or say --although-heard. \
         Nothing was changed",
        HEARD.as_secs(),
        listed(&heard)
    )))
}

/// Without a lost quorum there are better ways, on which nothing is lost.
fn needed(knowledge: &Knowledge, forced: &Forced) -> Result<(), Refused> {
    let (electors, left) = electors(knowledge.newest(), &forced.lost);
    if !forced.doubtful.is_empty() || !forced.gone.is_empty() || left < majority(electors) {
        return Ok(());
    }
    Err(conflict(
        "no quorum is lost with these nodes, so nothing has to be forced: replace them with `trellis node replace`, or \
         stage their removal with `trellis layout remove`. Nothing was changed"
            .to_owned(),
    ))
}

/// A layout that waits for nodes that are neither here nor declared lost would help nobody.
fn waits_for_nobody(observer: &Observer, knowledge: &Knowledge, next: &Layout) -> Result<(), Refused> {
    let mut after = knowledge.clone();
    after
        .learn(next.clone())
        .map_err(|error| broken(format!("{error:?}")))?;
    let member = |node: NodeId| after.newest_first().find_map(|layout| layout.member(node)).cloned();
    let is_up = |node| member(node).is_some_and(|member| observer.is_connected(PeerId(member.key)));
    let Some(lack) = Quorums::of(&after).lack(is_up) else {
        return Ok(());
    };
    let missing = lack.missing.into_iter().filter_map(member);
    let missing: Vec<NodeName> = missing.map(|member| NodeName::of(&member)).collect();
    Err(conflict(format!(
        "{} of {} partitions would still wait for nodes that are not connected: {}. Start them, for what they hold is \
         needed; or if they are gone for good, declare them lost as well. Nothing was changed",
        lack.partitions,
        next.assignment.len(),
        listed(&missing)
    )))
}

/// How many storage nodes elect the next layout, and how many of them are left.
fn electors(layout: Option<&Layout>, lost: &BTreeSet<NodeId>) -> (usize, usize) {
    let members = layout.into_iter().flat_map(|layout| &layout.members);
    let electors: Vec<NodeId> = members
        .filter(|member| member.role != Gateway)
        .map(|member| member.id)
        .collect();
    let left = electors.iter().filter(|node| !lost.contains(node)).count();
    (electors.len(), left)
}

fn report_of(observer: &Observer, draft: &Draft) -> ForceReport {
    let knowledge = &observer.layouts().peer.knowledge;
    let forced = draft.next.forced.clone().unwrap_or_default();
    let (electors, electors_left) = electors(Some(&draft.newest), &forced.lost);
    let mut preview = draft.preview();
    let away = draft.next.members.iter();
    let away = away.filter(|member| !observer.is_connected(PeerId(member.key)));
    preview.not_connected = away.map(|member| NodeName::of(member).to_string()).collect();
    ForceReport {
        forced: report(knowledge, &draft.next, &forced),
        partitions: draft.next.assignment.len(),
        electors,
        electors_left,
        preview,
    }
}

/// How a layout was forced, in full names. Partitions are counted once, not for rows and for blocks.
pub(super) fn report(knowledge: &Knowledge, layout: &Layout, forced: &Forced) -> ForcedReport {
    let name = |node: &NodeId| {
        let member = knowledge.newest_first().find_map(|layout| layout.member(*node));
        member.map_or_else(|| format!("{:016x}", node.0), |member| NodeName::of(member).to_string())
    };
    let lines = layout.row_partitions().zip(layout.block_partitions());
    let lines: Vec<(Partition, Partition)> = lines.collect();
    let count = |of: &BTreeSet<Partition>| {
        let either = |(rows, blocks): &&(Partition, Partition)| of.contains(rows) || of.contains(blocks);
        lines.iter().filter(either).count()
    };
    ForcedReport {
        epoch: forced.epoch.0,
        lost: forced.lost.iter().map(name).collect(),
        doubtful: count(&forced.doubtful),
        gone: count(&forced.gone),
    }
}

fn conflict(message: String) -> Refused {
    refused(StatusCode::CONFLICT, message)
}
