//! Changing the layout: what operators stage, what it would come to, and the election of the next layout.
//!
//! Changes are staged first, in a file of the node that one talks to, so that several can be looked at together before
//! they are made. A preview finds the best layout for what is staged; applying puts the same layout up for election.

mod draft;
mod force;
mod history;
mod report;
mod staged;
mod words;

use std::collections::BTreeSet;
use std::path::PathBuf;

use hyper::StatusCode;
use trellis_spec::layout::assign::Role::Gateway;
use trellis_spec::layout::assign::ZoneRedundancy;
use trellis_spec::layout::{Knowledge, Layout, Member, Partition};
use trellis_spec::quorum::{Verdict, Vote};

use super::api::{Refused, refused};
use super::observer::Observer;
use crate::cluster::{ElectError, Elected, Known};
use crate::config::Redundancy;
use crate::folder::NodeName;
use crate::link::PeerId;
use crate::seeded::NodeRules;
pub use draft::{Draft, DraftError, draft, draft_forced};
pub use force::{force, preview_force};
pub use history::history_of;
pub use report::{
    Applied, Apply, Change, Force, ForceReport, ForcedReport, LayoutReport, LayoutState, NewRole, NodeMoving,
    Placement, Preview, PreviewNode, PreviewZone, Role, RoleReport, StagedReport, VersionReport,
};
pub use staged::{Staged, StagedError, StagedNode};
use words::{explain, explain_unfit, listed, short};

/// Where changes are staged, in the data folder.
const STAGED_FILE: &str = "layout-staged.json";

/// The newest layout, what is staged, and who has no role yet.
pub async fn show(observer: &Observer) -> Result<LayoutReport, Refused> {
    let survey = observer.survey().await;
    let known = observer.layouts();
    let newest = newest(&known)?;
    let view = history::progress(&known, newest);
    let active: BTreeSet<u64> = newest
        .partitions()
        .flat_map(|partition| {
            let view = known.peer.knowledge.view(partition);
            view.lo.0..=view.hi.0
        })
        .collect();
    Ok(LayoutReport {
        version: newest.version.0,
        hash: trellis_s3api::object::hex(&newest.hash()),
        epoch: known.peer.knowledge.epoch().0,
        state: LayoutState::of(active.len()),
        active: active.into_iter().collect(),
        replication_factor: newest.replication_factor,
        zone_redundancy: Redundancy(newest.redundancy),
        partitions: newest.assignment.len(),
        partition_bytes: newest.proof.partition_bytes,
        usable_bytes: newest.usable_bytes(),
        placement: proof(&known, newest),
        shares_synced: view.synced,
        shares: view.shares,
        roles: roles(observer, &known, newest),
        nodes: observer.nodes(),
        staged: load(observer)?.report(newest),
        moving: survey.map_or_else(Vec::new, |survey| history::moving(&survey.redundancy, newest)),
    })
}

/// Checks the proof that the layout carries.
fn proof(known: &Known, newest: &Layout) -> Placement {
    match newest.check(known.before(newest)) {
        Ok(()) => Placement::Proven,
        Err(_) => Placement::NotProven,
    }
}

fn roles(observer: &Observer, known: &Known, newest: &Layout) -> Vec<RoleReport> {
    let role = |member: &Member| {
        let held = newest
            .row_partitions()
            .filter(|partition| newest.holds(member.id, *partition));
        let progress = history::progress_of(known, newest, member.id);
        RoleReport {
            id: NodeName::of(member).to_string(),
            zone: member.zone.clone(),
            role: Role::of(member.role),
            tags: member.tags.clone(),
            partitions: held.count(),
            shares_synced: progress.synced,
            shares: progress.shares,
            is_connected: observer.is_connected(PeerId(member.key)),
        }
    };
    let mut roles: Vec<RoleReport> = newest.members.iter().map(role).collect();
    roles.sort_by(|a, b| (&a.zone, &a.id).cmp(&(&b.zone, &b.id)));
    roles
}

/// Stages one change.
pub fn stage(observer: &Observer, change: Change) -> Result<StagedReport, Refused> {
    let known = observer.layouts();
    let newest = newest(&known)?;
    let _staging = observer.staging();
    let mut staged = load(observer)?;
    staged
        .take(newest, &names(observer, &known.peer.knowledge), change)
        .map_err(wrong)?;
    staged.save(&file(observer)).map_err(broken)?;
    Ok(staged.report(newest))
}

/// Forgets what is staged.
pub fn revert(observer: &Observer) -> Result<StagedReport, Refused> {
    let known = observer.layouts();
    let newest = newest(&known)?;
    let _staging = observer.staging();
    let staged = load(observer)?;
    Staged::default().save(&file(observer)).map_err(broken)?;
    Ok(staged.report(newest))
}

/// What applying would come to.
pub async fn preview(observer: &Observer) -> Result<Preview, Refused> {
    let draft = drafted(observer, load(observer)?).await?;
    let mut preview = draft.preview();
    preview.follows = proof(&observer.layouts(), &draft.newest);
    let warned = draft
        .next
        .members
        .iter()
        .filter(|member| !observer.is_connected(PeerId(member.key)));
    preview.not_connected = warned.map(|member| NodeName::of(member).to_string()).collect();
    Ok(preview)
}

/// Puts the previewed layout up for election.
pub async fn apply(observer: &Observer, apply: Apply) -> Result<Applied, Refused> {
    let staged = load(observer)?;
    let draft = drafted(observer, staged.clone()).await?;
    let version = draft.next.version.0;
    if apply.version.is_some_and(|wanted| wanted != version) {
        let message = format!(
            "the next layout would be number {version} by now, so this is not what was previewed; look at `trellis layout \
             preview` again. Nothing was changed"
        );
        return Err(refused(StatusCode::CONFLICT, message));
    }
    electable(observer, &draft.newest)?;
    reachable(observer, &draft.next)?;
    let elected = observer.coordinator().elect(draft.next.clone()).await;
    match elected {
        Ok(Elected::Won) => {
            forget(observer, &staged)?;
            Ok(Applied {
                version,
                moves: draft.plan.moves,
                bytes_to_move_at_most: draft.plan.bytes_to_move_at_most,
            })
        }
        Ok(Elected::Lost(other)) => Err(refused(StatusCode::CONFLICT, lost(&other))),
        Err(error) => Err(not_elected(
            &error,
            &names(observer, &observer.layouts().peer.knowledge),
        )),
    }
}

/// All layouts that this node knows, the newest first.
pub fn history(observer: &Observer) -> Vec<VersionReport> {
    history_of(&observer.layouts())
}

/// Large clusters take a while to plan for.
async fn drafted(observer: &Observer, staged: Staged) -> Result<Draft, Refused> {
    let known = observer.layouts();
    let named = names(observer, &known.peer.knowledge);
    let planning = tokio::task::spawn_blocking(move || draft(&known.peer.knowledge, &staged));
    let drafted = planning.await.map_err(broken)?;
    drafted.map_err(|error| refused(StatusCode::CONFLICT, explain(&error, &named)))
}

/// What was applied is not staged any more, unless it was added to meanwhile.
fn forget(observer: &Observer, applied: &Staged) -> Result<(), Refused> {
    let _staging = observer.staging();
    if load(observer)? == *applied {
        Staged::default().save(&file(observer)).map_err(broken)?;
    }
    Ok(())
}

/// The side of a minority is told so at once, and who is missing there.
fn electable(observer: &Observer, newest: &Layout) -> Result<(), Refused> {
    let is_up = |member: &&Member| observer.is_connected(PeerId(member.key));
    let electors: Vec<&Member> = newest.members.iter().filter(|member| member.role != Gateway).collect();
    let (up, away): (Vec<&Member>, Vec<&Member>) = electors.iter().partition(|member| is_up(member));
    let needed = electors.len() / 2 + 1;
    if up.len() >= needed {
        return Ok(());
    }
    let away: Vec<NodeName> = away.into_iter().map(NodeName::of).collect();
    let message = format!(
        "this node cannot change the layout, for it is on the side of a minority: {needed} of the {} storage nodes of layout {} \
         have to agree, and {} can be reached from here. Not reached: {}. Nothing was changed, and your staged changes are \
         still there: apply when those are back, or stage and apply on a node that reaches more (`trellis node list`). \
         If they are lost for good: `trellis layout force --help`",
        electors.len(),
        newest.version.0,
        match up.len() {
            0 => "none".to_owned(),
            count => format!("only {count}"),
        },
        listed(&away),
    );
    Err(refused(StatusCode::SERVICE_UNAVAILABLE, message))
}

/// A layout whose replicas cannot be reached would keep everybody waiting, and could not be taken back.
fn reachable(observer: &Observer, next: &Layout) -> Result<(), Refused> {
    let knowledge = Knowledge::of(next.clone());
    let is_up = |node| {
        next.member(node)
            .is_some_and(|member| observer.is_connected(PeerId(member.key)))
    };
    let vote = |node| if is_up(node) { Vote::Yes } else { Vote::No };
    let lacks = |partition: &Partition| {
        let sets = knowledge.replica_sets::<NodeRules>(*partition, knowledge.view(*partition));
        sets.verdict(vote) != Verdict::Reached
    };
    let lacking = next.row_partitions().filter(lacks).count();
    if lacking == 0 {
        return Ok(());
    }
    let away = next.members.iter().filter(|member| !is_up(member.id));
    let away: Vec<String> = away.map(|member| short(&NodeName::of(member)).to_string()).collect();
    let message = format!(
        "{lacking} of {} partitions would have no majority of nodes that can be reached now: {} not connected. Start what \
         is down (`trellis node list`), or stage its removal. Nothing was changed",
        next.assignment.len(),
        match away.as_slice() {
            [one] => format!("node {one} is"),
            more => format!("nodes {} are", more.join(", ")),
        }
    );
    Err(refused(StatusCode::CONFLICT, message))
}

fn lost(other: &Layout) -> String {
    let zones = match other.redundancy {
        ZoneRedundancy::Maximum => "as many zones as there are".to_owned(),
        ZoneRedundancy::AtLeast(zones) => format!("at least {zones} zones"),
    };
    format!(
        "another layout was decided as number {} meanwhile: {} nodes, {} replicas in {zones}. Your staged changes are still \
         there: look at `trellis layout preview` again, and apply them on top of it",
        other.version.0,
        other.members.len(),
        other.replication_factor,
    )
}

fn not_elected(error: &ElectError, named: &BTreeSet<NodeName>) -> Refused {
    let (status, message) = match error {
        ElectError::Unfit(unfit) => (StatusCode::CONFLICT, explain_unfit(unfit, named)),
        ElectError::Unreached => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!(
                "{error}; nothing was decided, and your staged changes are still there: try again when they are back"
            ),
        ),
        ElectError::Unknown => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!(
                "{error}; it may be, later. Your staged changes are still there: look at `trellis layout history`, and if \
                 the layout is not there apply them again, which is safe"
            ),
        ),
        ElectError::Out(_) => (StatusCode::CONFLICT, error.to_string()),
        ElectError::Changed => (
            StatusCode::CONFLICT,
            format!("{error}: look again at what it would come to. Nothing was changed"),
        ),
        ElectError::Layouts(_) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    refused(status, message)
}

/// Every node that is known, by its full name.
fn names(observer: &Observer, knowledge: &Knowledge) -> BTreeSet<NodeName> {
    let membership = observer.membership();
    let known = membership.known().into_iter().map(|known| known.name);
    let members = knowledge
        .newest_first()
        .flat_map(|layout| layout.members.iter().map(NodeName::of));
    known.chain(members).chain([membership.mine().name]).collect()
}

fn newest(known: &Known) -> Result<&Layout, Refused> {
    let none = || {
        refused(
            StatusCode::INTERNAL_SERVER_ERROR,
            "this node knows no layout".to_owned(),
        )
    };
    known.peer.knowledge.newest().ok_or_else(none)
}

fn file(observer: &Observer) -> PathBuf {
    observer.data_folder().join(STAGED_FILE)
}

fn load(observer: &Observer) -> Result<Staged, Refused> {
    Staged::load(&file(observer)).map_err(broken)
}

fn wrong(error: StagedError) -> Refused {
    refused(StatusCode::BAD_REQUEST, error.to_string())
}

fn broken(error: impl ToString) -> Refused {
    refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}
