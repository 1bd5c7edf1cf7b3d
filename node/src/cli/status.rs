//! `trellis status`.

use clap::Args;

use super::CliResult;
use super::asking::Asking;
use super::output::{bytes, span, table};
use crate::admin::copies::{CopiesState, CopiesStatus, LackStatus};
use crate::admin::{self, BlockFolderStatus, HealthState, LinkState, NodeRole, NodeStatus};
use crate::cluster::{Amount, Missing, Why};
use crate::storage::{FolderState, Taking};

/// Enough of an id to tell nodes apart.
const ID_DIGITS: usize = 16;

/// Shows how a node is, whether every copy is where it should be, which other nodes it is connected to, and how full its
/// disk is.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trellis status                                  the node of `trellis dev`
  trellis status --data /var/lib/trellis
  trellis status --json | jq .health")]
pub(super) struct Status {
    #[command(flatten)]
    asking: Asking,
}

impl Status {
    pub(super) fn run(self) -> CliResult {
        let asking = self.asking;
        asking.ask(async |mut node| {
            let status: admin::Status = node.get("/v1/status").await?;
            asking.print(&status, for_people)
        })
    }
}

fn for_people(status: &admin::Status) -> String {
    let (layout, storage) = (&status.layout, &status.storage);
    let state = match status.health.state {
        HealthState::Well => "well",
        HealthState::Unwell => "UNWELL",
    };
    let me = status.nodes.iter().find(|node| node.id == status.id);
    let place = match me.filter(|me| me.role != NodeRole::None) {
        Some(me) => format!("in zone {}", me.zone),
        None => "without a role".to_owned(),
    };
    let rows = status.nodes.iter().map(node_row);
    let nodes = table(
        ["NODE", "ZONE", "ADDRESS", "STATE", "ROUND TRIP", "LAST HEARD", "LOST"],
        rows,
    );
    let problems: String = status.nodes.iter().filter_map(problem).collect();
    format!(
        "node     {id} {place}, trellis {version}, up {up}
folder   {folder}
health   {state}: {reason}
layout   {number}: {partitions} partitions, {replicas} replicas each{moving}
copies   {copies}
storage  log {log}, index {index}, blocks {blocks}; {free} free, {taking} (limit {min_free}); start {start}{folders}

{nodes}{problems}",
        id = short(&status.id),
        version = status.version,
        up = span(status.uptime_seconds),
        folder = status.data_folder,
        reason = status.health.reason,
        moving = if layout.oldest_active < layout.version {
            format!(
                "; still moving from layout {} (`trellis layout history`)",
                layout.oldest_active
            )
        } else {
            String::new()
        },
        copies = copies(&status.copies),
        number = layout.version,
        partitions = layout.partitions,
        replicas = layout.replication_factor,
        log = bytes(storage.log_bytes),
        index = bytes(storage.index_bytes),
        blocks = bytes(storage.blocks_bytes),
        free = bytes(storage.free_bytes),
        taking = taking(storage.taking),
        min_free = bytes(storage.min_free_bytes),
        start = storage.start_counter,
        folders = storage.block_folders.iter().map(block_folder).collect::<String>(),
    )
}

/// A line for each disk; a folder of which nothing was said, and that is as it should be, needs none.
fn block_folder(folder: &BlockFolderStatus) -> String {
    if folder.capacity_bytes.is_none() && folder.how == FolderState::InUse {
        return String::new();
    }
    let size = |size: Option<u64>| size.map_or_else(|| "-".to_owned(), bytes);
    format!(
        "\nblocks   {}: {} used of {}, {} free, {}",
        folder.path,
        size(folder.used_bytes),
        size(folder.capacity_bytes),
        size(folder.free_bytes),
        folder.how
    )
}

/// Is everything where it should be, and if not, what is missing, why, and until when?
fn copies(copies: &CopiesStatus) -> String {
    let repaired: u64 = copies
        .nodes
        .iter()
        .map(|node| node.evidence.repaired.blocks + node.evidence.repaired.rows)
        .sum();
    let damaged: u64 = copies.nodes.iter().map(|node| node.evidence.damaged_blocks).sum();
    let mended = match (repaired, damaged) {
        (0, 0) => String::new(),
        (repaired, damaged) => {
            format!(
                "\n         since the nodes started: {repaired} rows and blocks copied again, {damaged} blocks found damaged"
            )
        }
    };
    if let (CopiesState::Full, Some(ago)) = (copies.state, copies.full_until_seconds_ago) {
        let ago = span(ago);
        return format!("full: what was acknowledged up to {ago} ago was seen at every replica{mended}");
    }
    let lacks: String = copies.lacks.iter().map(lack).collect();
    format!(
        "NOT FULL: {} of {} partitions lack up to {} replicas{}{lacks}{mended}",
        copies.partitions_below,
        copies.partitions,
        copies.worst_missing,
        match copies.seconds_left {
            Some(seconds) => format!("; about {} to go", span(seconds)),
            None => String::new(),
        }
    )
}

/// How much is missing, as far as that is known.
fn how_much(missing: &Missing) -> String {
    let amount = |amount: &Amount| {
        let counted = [(amount.rows, "rows"), (amount.blocks, "blocks")];
        let counted = counted.iter().filter(|(count, _)| *count > 0);
        let counted: Vec<String> = counted.map(|(count, what)| format!("{count} {what}")).collect();
        format!("{} ({})", counted.join(" and "), bytes(amount.bytes))
    };
    match (missing.at_least.is_nothing(), missing.at_most.is_nothing()) {
        (false, _) => format!(", at least {}", amount(&missing.at_least)),
        (true, false) => format!(", at most {}", amount(&missing.at_most)),
        (true, true) => String::new(),
    }
}

fn lack(lack: &LackStatus) -> String {
    let (node, partitions) = (short(&lack.id), lack.partitions);
    let why = match lack.why {
        Why::Away => format!("does not answer; until it comes back, or is replaced: trellis layout remove {node}"),
        Why::Behind => "has not heard of the newest layout yet".to_owned(),
        Why::Syncing => "is copying what the newest layout gave it: trellis layout history".to_owned(),
        Why::Comparing => "has not compared its copies since it started, or copies what it found missing".to_owned(),
        Why::Outdated if lack.cannot_reach.is_empty() => {
            "has not compared its copies since the newest layout came, or since a node was out of its reach".to_owned()
        }
        Why::Outdated => {
            let away: Vec<&str> = lack.cannot_reach.iter().map(|id| short(id)).collect();
            format!("may have missed what {} wrote, for it cannot reach it", away.join(", "))
        }
    };
    let (missing, left) = (how_much(&lack.missing), lack.seconds_left);
    let left = left.map_or(String::new(), |seconds| format!(", about {} to go", span(seconds)));
    format!("\n         {partitions} at {node}{missing}, which {why}{left}")
}

fn taking(taking: Taking) -> &'static str {
    match taking {
        Taking::Everything => "new data is taken",
        Taking::Upkeep => "NEARLY FULL: only reads and deletes",
        Taking::Nothing => "FULL: only reads",
    }
}

fn node_row(node: &NodeStatus) -> [String; 7] {
    let none = || "-".to_owned();
    [
        short(&node.id).to_owned(),
        match node.role {
            NodeRole::Storage | NodeRole::Gateway => node.zone.clone(),
            NodeRole::None => none(),
        },
        node.address.clone().unwrap_or_else(none),
        state(node.state).to_owned(),
        node.round_trip_ms.map_or_else(none, |time| format!("{time:.1} ms")),
        node.last_heard_ms.map_or_else(none, |time| format!("{time} ms ago")),
        node.connections_lost.to_string(),
    ]
}

pub(super) fn state(state: LinkState) -> &'static str {
    match state {
        LinkState::ThisNode => "this node",
        LinkState::Connected => "connected",
        LinkState::Connecting => "connecting",
        LinkState::Lost => "LOST",
        LinkState::Failing => "FAILING",
    }
}

fn problem(node: &NodeStatus) -> Option<String> {
    let problem = node.problem.as_ref()?;
    Some(format!("\n{}: {problem}", short(&node.id)))
}

pub(super) fn short(id: &str) -> &str {
    id.get(..ID_DIGITS).unwrap_or(id)
}
