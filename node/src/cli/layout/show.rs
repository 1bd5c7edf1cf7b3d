//! Layouts for people.

use super::force;
use super::words::{change, counted, keeping, role};
use crate::admin::layout::{
    LayoutReport, LayoutState, NewRole, NodeMoving, Placement, Preview, PreviewNode, PreviewZone, RoleReport,
    StagedReport, VersionReport,
};
use crate::admin::{NodeRole, NodeStatus};
use crate::cli::output::{bytes, moment, span, table};
use crate::cli::status::{short, state};

/// The newest layout, with what comes next.
pub(super) fn layout(layout: &LayoutReport, options: &str) -> String {
    let moving = match layout.state {
        LayoutState::Settled => String::new(),
        LayoutState::Moving => {
            let active: Vec<String> = layout.active.iter().map(u64::to_string).collect();
            let (synced, shares) = (layout.shares_synced, layout.shares);
            format!(
                ", moving: {synced} of {shares} shares are synced, layouts {} are active",
                active.join(", ")
            )
        }
    };
    let roles = table(
        [
            "NODE",
            "ZONE",
            "CAPACITY",
            "PARTITIONS",
            "UP TO",
            "SYNCED",
            "STATE",
            "TAGS",
        ],
        layout.roles.iter().map(|role| role_row(role, layout)),
    );
    format!(
        "layout  {version}{epoch}{moving}
keeps   {keeping}
size    {partitions} of up to {partition_bytes}: {usable} fit in all{proof}

{roles}{copying}{idle}{staged}",
        version = layout.version,
        epoch = match layout.epoch {
            0 => String::new(),
            epoch => format!(", epoch {epoch}"),
        },
        keeping = keeping(layout.replication_factor, layout.zone_redundancy),
        partitions = counted(layout.partitions as u64, "partition", "partitions"),
        partition_bytes = bytes(layout.partition_bytes),
        usable = bytes(layout.usable_bytes),
        proof = match layout.placement {
            Placement::Proven => "",
            Placement::NotProven => " (A BETTER PLACEMENT MAY BE POSSIBLE)",
        },
        copying = copying(&layout.moving),
        idle = idle(&layout.nodes, options),
        staged = what_is_staged(&layout.staged, options),
    )
}

fn role_row(node: &RoleReport, layout: &LayoutReport) -> [String; 8] {
    let usable = layout.partition_bytes.saturating_mul(node.partitions as u64);
    [
        short(&node.id).to_owned(),
        node.zone.clone(),
        role(node.role),
        node.partitions.to_string(),
        bytes(usable),
        match node.shares {
            0 => "-".to_owned(),
            shares => format!("{} of {shares}", node.shares_synced),
        },
        if node.is_connected { "up" } else { "NOT CONNECTED" }.to_owned(),
        node.tags.join(" "),
    ]
}

/// Who copies how much, how fast, and how much longer.
pub(super) fn copying(moving: &[NodeMoving]) -> String {
    if moving.is_empty() {
        return String::new();
    }
    let none = || "-".to_owned();
    let row = |node: &NodeMoving| {
        let (least, work) = (node.missing.at_least, node.work.as_ref());
        [
            short(&node.id).to_owned(),
            counted(node.partitions_left, "partition", "partitions"),
            format!("{} rows, {} blocks, {}", least.rows, least.blocks, bytes(least.bytes)),
            work.map_or_else(none, |work| {
                format!(
                    "{} rows, {} blocks, {}",
                    work.done.rows,
                    work.done.blocks,
                    bytes(work.done.bytes)
                )
            }),
            work.map_or_else(none, |work| {
                format!("{}/s, {} rows/s", bytes(work.bytes_per_s), work.rows_per_s)
            }),
            work.and_then(|work| work.seconds_left).map_or_else(none, span),
        ]
    };
    let rows = table(
        ["NODE", "LEFT", "AT LEAST", "COPIED", "RATE", "ABOUT"],
        moving.iter().map(row),
    );
    format!("\n\nCopying:\n\n{rows}")
}

fn idle(nodes: &[NodeStatus], options: &str) -> String {
    let idle: Vec<&NodeStatus> = nodes.iter().filter(|node| node.role == NodeRole::None).collect();
    let Some(first) = idle.first() else {
        return String::new();
    };
    let row = |node: &&NodeStatus| {
        let none = || "-".to_owned();
        [
            short(&node.id).to_owned(),
            node.host.clone().unwrap_or_else(none),
            node.address.clone().unwrap_or_else(none),
            state(node.state).to_owned(),
        ]
    };
    format!(
        "\n\nWithout a role:\n\n{}\n\nNext: trellis layout assign {} --zone ZONE --capacity SIZE{options}",
        table(["NODE", "HOST", "ADDRESS", "STATE"], idle.iter().map(row)),
        short(&first.id),
    )
}

fn what_is_staged(staged: &StagedReport, options: &str) -> String {
    if *staged == StagedReport::default() {
        return String::new();
    }
    format!("\n\n{}\nNext: trellis layout preview{options}", self::staged(staged))
}

/// What is staged.
pub(super) fn staged(staged: &StagedReport) -> String {
    let node = |node: &NewRole| match node {
        NewRole::Assign {
            id,
            zone,
            role: new,
            tags,
        } => format!(
            "  node {}: {} in zone {zone}{}\n",
            short(id),
            role(*new),
            in_brackets(tags)
        ),
        NewRole::Remove { id } => format!("  node {} leaves\n", short(id)),
    };
    let nodes = staged.nodes.iter().map(node);
    let factor = staged
        .replication_factor
        .map(|factor| format!("  replication factor {factor}\n"));
    let zones = staged
        .zone_redundancy
        .map(|zones| format!("  zone redundancy {zones}\n"));
    let lines: String = nodes.chain(factor).chain(zones).collect();
    match lines.is_empty() {
        true => "Staged on this node: nothing that differs from the layout.\n".to_owned(),
        false => format!("Staged on this node:\n{lines}"),
    }
}

fn in_brackets(tags: &[String]) -> String {
    match tags {
        [] => String::new(),
        tags => format!(" ({})", tags.join(" ")),
    }
}

/// What would come, and the command that makes it come.
pub(super) fn preview(preview: &Preview, options: &str) -> String {
    let version = preview.version;
    let table = preview_table(preview);
    format!("{table}\nNext: trellis layout apply --version {version}{options}")
}

/// What would come.
pub(super) fn preview_table(preview: &Preview) -> String {
    let nodes = table(
        ["NODE", "ZONE", "CAPACITY", "CAN FILL", "PARTITIONS", "CHANGE"],
        preview.nodes.iter().map(node_row),
    );
    let zones = table(
        ["ZONE", "CAPACITY", "PARTITIONS NOW", "THEN"],
        preview.zones.iter().map(zone_row),
    );
    let version = preview.version;
    format!(
        "layout  {version}, if it is applied
keeps   {keeping}
size    {after} fit in all, now {before}
moves   {moves}{left}{follows}

{nodes}

{zones}
{warning}",
        keeping = keeping(preview.replication_factor, preview.zone_redundancy),
        after = bytes(preview.usable_bytes_after),
        before = bytes(preview.usable_bytes_before),
        moves = moves(preview),
        left = left(preview.left),
        follows = match preview.follows {
            Placement::Proven => "",
            Placement::NotProven => "\nmends   the newest layout, whose placement is NOT PROVEN to be the best",
        },
        warning = warning(&preview.not_connected),
    )
}

fn moves(preview: &Preview) -> String {
    match preview.moves {
        0 => "nothing".to_owned(),
        moves => format!(
            "{} of partitions, {} if the cluster is full",
            counted(moves, "replica", "replicas"),
            bytes(preview.bytes_to_move_at_most)
        ),
    }
}

fn left(partitions: usize) -> String {
    match partitions {
        0 => String::new(),
        left => format!(
            "\nleft    {} where they are, until the running transition is over; apply again then",
            counted(left as u64, "partition", "partitions")
        ),
    }
}

fn warning(not_connected: &[String]) -> String {
    let nodes: Vec<&str> = not_connected.iter().map(|id| short(id)).collect();
    match nodes.as_slice() {
        [] => String::new(),
        nodes => format!(
            "\nNOT CONNECTED: {}. Data can move there only once they are.\n",
            nodes.join(", ")
        ),
    }
}

fn node_row(node: &PreviewNode) -> [String; 6] {
    [
        short(&node.id).to_owned(),
        node.zone.clone(),
        node.role.map_or_else(|| "leaves".to_owned(), role),
        bytes(node.usable_bytes),
        format!("{} -> {}", node.before, node.after),
        change(node.gains, node.loses),
    ]
}

fn zone_row(zone: &PreviewZone) -> [String; 4] {
    [
        zone.zone.clone(),
        bytes(zone.capacity_bytes),
        zone.before.to_string(),
        zone.after.to_string(),
    ]
}

/// All layouts, and how far the newest is.
pub(super) fn history(versions: &[VersionReport], moving: &[NodeMoving]) -> String {
    let row = |version: &VersionReport| {
        [
            version.version.to_string(),
            match (version.version, version.decided_ms) {
                (_, Some(decided_ms)) => moment(decided_ms),
                (1, None) => "at the beginning".to_owned(),
                (_, None) => "unknown".to_owned(),
            },
            match version.partitions_active {
                0 => match version.retired_ms {
                    Some(retired_ms) => format!("retired {}", moment(retired_ms)),
                    None => "retired".to_owned(),
                },
                active if active == version.partitions => "active".to_owned(),
                active => format!("active for {active} of {} partitions", version.partitions),
            },
            format!("{} of {}", version.shares_synced, version.shares),
            version.nodes.to_string(),
            keeping(version.replication_factor, version.zone_redundancy),
            version.hash.get(..8).unwrap_or_default().to_owned(),
        ]
    };
    let rows = table(
        ["LAYOUT", "DECIDED", "STATE", "SHARES SYNCED", "NODES", "KEEPS", "HASH"],
        versions.iter().map(row),
    );
    let forces: String = versions.iter().filter_map(force).collect();
    format!("{rows}{forces}{}\n\n{}", copying(moving), what_moves(versions))
}

/// What a force may have cost.
fn force(version: &VersionReport) -> Option<String> {
    let forced = version.forced.as_ref()?;
    let told = force::forced(forced, version.partitions / 2);
    Some(format!(
        "\n\nLayout {} was forced, epoch {}. {told}",
        version.version, forced.epoch
    ))
}

fn what_moves(versions: &[VersionReport]) -> String {
    let active = versions.iter().filter(|version| version.partitions_active > 0).count();
    let missing = versions
        .first()
        .map_or(0, |newest| newest.shares - newest.shares_synced);
    match (active, missing) {
        (0 | 1, 0) => "Nothing moves.".to_owned(),
        (0 | 1, missing) => format!(
            "{} still copied. The older layouts are not needed to read and write any more, but leave nodes running that were \
             removed.",
            match missing {
                1 => "1 share is".to_owned(),
                more => format!("{more} shares are"),
            }
        ),
        _ => "Data move. A layout is retired when enough of every partition is synced for a newer one.".to_owned(),
    }
}
