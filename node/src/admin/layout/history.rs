//! Which layouts there were, and how far the newest has come.

use trellis_s3api::object::hex;
use trellis_spec::layout::{Layout, Partition};
use trellis_spec::quorum::NodeId;

use super::force;
use super::report::{NodeMoving, VersionReport};
use crate::cluster::{Known, Lack, Redundancy as Copies, Why};
use crate::config::Redundancy;
use crate::folder::NodeName;

/// Shares of rows and of blocks, and how many of them are where they belong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) synced: usize,
    pub(super) shares: usize,
}

/// The layouts that are known, the newest first.
pub fn history_of(known: &Known) -> Vec<VersionReport> {
    let layouts = known.peer.knowledge.newest_first();
    layouts.map(|layout| version(known, layout)).collect()
}

fn version(known: &Known, layout: &Layout) -> VersionReport {
    let is_active = |partition: &Partition| {
        let view = known.peer.knowledge.view(*partition);
        (view.lo..=view.hi).contains(&layout.version)
    };
    let (progress, dates) = (progress(known, layout), known.dates(layout.version));
    VersionReport {
        version: layout.version.0,
        hash: hex(&layout.hash()),
        decided_ms: dates.decided_ms,
        retired_ms: dates.retired_ms,
        forced: layout
            .forced
            .as_ref()
            .map(|forced| force::report(&known.peer.knowledge, layout, forced)),
        nodes: layout.members.len(),
        replication_factor: layout.replication_factor,
        zone_redundancy: Redundancy(layout.redundancy),
        partitions_active: layout.partitions().filter(is_active).count(),
        partitions: layout.partitions().count(),
        shares_synced: progress.synced,
        shares: progress.shares,
    }
}

/// Who is copying what this layout gave it.
pub(super) fn moving(redundancy: &Copies, newest: &Layout) -> Vec<NodeMoving> {
    let syncing = redundancy.lacks.iter().filter(|lack| lack.why == Why::Syncing);
    let of = |lack: &Lack| {
        let member = newest.member(lack.node)?;
        let evidence = redundancy.nodes.get(&lack.node);
        Some(NodeMoving {
            id: NodeName::of(member).to_string(),
            partitions_left: lack.partitions,
            missing: lack.missing,
            work: evidence.and_then(|evidence| evidence.sync.clone()),
        })
    };
    syncing.filter_map(of).collect()
}

/// Of all nodes of a layout.
pub(super) fn progress(known: &Known, layout: &Layout) -> Progress {
    layout.members.iter().fold(Progress::default(), |sum, member| {
        let Progress { synced, shares } = progress_of(known, layout, member.id);
        Progress {
            synced: sum.synced + synced,
            shares: sum.shares + shares,
        }
    })
}

/// Of one node.
pub(super) fn progress_of(known: &Known, layout: &Layout, node: NodeId) -> Progress {
    let held = layout.partitions().filter(|partition| layout.holds(node, *partition));
    held.fold(Progress::default(), |sum, partition| Progress {
        synced: sum.synced + usize::from(known.synced(partition, node) >= layout.version),
        shares: sum.shares + 1,
    })
}
