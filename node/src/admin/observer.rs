//! A running node as its operators see it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use trellis_s3api::front::Health;
use trellis_s3api::object::hex;
use trellis_spec::layout::{Layout, Member};

use super::health::Quorums;
use super::status::{HealthState, HealthStatus, LayoutStatus, LinkState, NodeStatus, Status, StorageStatus};
use crate::cluster::Standing;
use crate::env::Env;
use crate::folder::NodeName;
use crate::link::{LaneState, LaneStatus, Mesh, PeerId, PeerStatus};
use crate::storage::{DiskRows, Opened, Rows};
use crate::store::ClusterStore;

/// Files that are counted for the size of a folder; beyond them the size is a lower bound.
const FILES_COUNTED_MAX: usize = 1_000_000;

/// The parts of a node that an [`Observer`] looks at.
pub struct Seen {
    /// The clock.
    pub env: Env,
    /// The object store.
    pub store: ClusterStore,
    /// The links.
    pub mesh: Arc<Mesh>,
    /// The rows.
    pub rows: Arc<DiskRows>,
    /// What the peers think of this node.
    pub standing: Arc<Standing>,
    /// What the row store knew when it was opened.
    pub opened: Opened,
    /// The layout.
    pub layout: Layout,
    /// Who the node is.
    pub name: NodeName,
    /// Where its data is.
    pub data_folder: PathBuf,
    /// The folders that are measured.
    pub folders: MeasuredFolders,
    /// Below this much free space new data is refused.
    pub min_free_bytes: u64,
}

/// Folders whose sizes are told.
#[derive(Debug, Clone)]
pub struct MeasuredFolders {
    /// The commit log.
    pub log: PathBuf,
    /// The index of the rows.
    pub index: PathBuf,
    /// The blocks.
    pub blocks: PathBuf,
}

/// How far a node is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It listens, but something that clients need is not there yet.
    Starting,
    /// It serves.
    Serving,
    /// It takes no more requests.
    Stopping,
}

/// A running node as its operators see it. Clones see the same node.
#[derive(Clone)]
pub struct Observer {
    inner: Arc<Inner>,
}

struct Inner {
    seen: Seen,
    quorums: Quorums,
    started: Duration,
    stage: watch::Sender<Stage>,
}

impl Observer {
    /// An observer of a node that is starting now.
    pub fn new(seen: Seen) -> Self {
        let inner = Inner {
            quorums: Quorums::of(&seen.layout),
            started: seen.env.clock.monotonic(),
            stage: watch::Sender::new(Stage::Starting),
            seen,
        };
        Observer { inner: Arc::new(inner) }
    }

    /// The node's object store.
    pub fn store(&self) -> &ClusterStore {
        &self.inner.seen.store
    }

    /// Says that nothing that clients need is missing any more. A node that stops does not come back.
    pub fn enter_serving(&self) {
        self.inner.stage.send_if_modified(|stage| {
            let is_new = *stage == Stage::Starting;
            if is_new {
                *stage = Stage::Serving;
            }
            is_new
        });
    }

    /// Says that no more requests are taken.
    pub fn enter_stopping(&self) {
        self.inner.stage.send_replace(Stage::Stopping);
    }

    /// Waits until a majority of every partition is connected.
    pub async fn until_connected(&self) {
        self.inner.seen.mesh.until(|peers| self.lack(peers).is_none()).await;
    }

    /// What `/health` answers. It tells strangers nothing about files, names or addresses.
    pub fn health(&self) -> Health {
        if let Err(error) = self.inner.seen.rows.get(&[]) {
            tracing::debug!(%error, "unwell");
            return Health::Unwell("the row store of this node is closed; its log says why\n".to_owned());
        }
        let standing = &self.inner.seen.standing;
        if standing.refused().is_some() {
            let reason = "this node does not serve: its data folder is an older copy than its peers remember; its log says more\n";
            return Health::Unwell(reason.to_owned());
        }
        let lack = self
            .lack(&self.inner.seen.mesh.status())
            .or_else(|| standing.clock_differs_us().map(wrong_clock));
        let stage = *self.inner.stage.borrow();
        match (stage, lack) {
            (Stage::Starting, None) => Health::Unwell("starting\n".to_owned()),
            (Stage::Starting, Some(reason)) => Health::Unwell(format!("starting: {reason}\n")),
            (Stage::Stopping, _) => Health::Unwell("stopping\n".to_owned()),
            (Stage::Serving, Some(reason)) => Health::Unwell(format!("{reason}\n")),
            (Stage::Serving, None) => Health::Well("ok\n".to_owned()),
        }
    }

    /// Everything an operator wants to see at a glance.
    pub async fn status(&self) -> Status {
        let seen = &self.inner.seen;
        let uptime = seen.env.clock.monotonic().saturating_sub(self.inner.started);
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            id: seen.name.to_string(),
            data_folder: seen.data_folder.display().to_string(),
            uptime_seconds: uptime.as_secs(),
            health: health_status(self.health()),
            layout: layout_status(&seen.layout),
            nodes: self.nodes(),
            storage: self.storage().await,
        }
    }

    /// Which partitions are out of reach, in words.
    fn lack(&self, peers: &[PeerStatus]) -> Option<String> {
        let seen = &self.inner.seen;
        let connected = |member: &Member| {
            let is_up = |peer: &PeerStatus| peer.peer.0 == member.key && peer.is_connected();
            member.key == seen.name.key.0 || peers.iter().any(is_up)
        };
        let lack = self
            .inner
            .quorums
            .lack(|node| seen.layout.member(node).is_some_and(connected))?;
        Some(format!(
            "too few replicas can be reached: {} of {} partitions have no majority ({} nodes are not connected)",
            lack.partitions,
            seen.layout.assignment.len(),
            lack.missing.len()
        ))
    }

    fn nodes(&self) -> Vec<NodeStatus> {
        let seen = &self.inner.seen;
        let peers: BTreeMap<PeerId, PeerStatus> = seen
            .mesh
            .status()
            .into_iter()
            .map(|status| (status.peer, status))
            .collect();
        let mut nodes: Vec<NodeStatus> = seen
            .layout
            .members
            .iter()
            .map(|member| node_status(member, peers.get(&PeerId(member.key)), seen.name.key))
            .collect();
        nodes.sort_by(|a, b| (&a.zone, &a.id).cmp(&(&b.zone, &b.id)));
        nodes
    }

    async fn storage(&self) -> StorageStatus {
        let seen = &self.inner.seen;
        let (data, folders) = (seen.data_folder.clone(), seen.folders.clone());
        let measure = move || {
            let free_bytes = free_bytes(&data);
            (
                folder_bytes(&folders.log),
                folder_bytes(&folders.index),
                folder_bytes(&folders.blocks),
                free_bytes,
            )
        };
        let measured = tokio::task::spawn_blocking(measure).await;
        let (log_bytes, index_bytes, blocks_bytes, free_bytes) = measured.unwrap_or_default();
        StorageStatus {
            start_counter: seen.opened.start_counter,
            commit_counter: seen.opened.commit_counter,
            log_bytes,
            index_bytes,
            blocks_bytes,
            free_bytes,
            min_free_bytes: seen.min_free_bytes,
            taking: seen.rows.taking(),
        }
    }
}

fn wrong_clock(ahead_us: i64) -> String {
    let (ms, way) = (
        ahead_us.unsigned_abs() / 1000,
        if ahead_us > 0 { "behind" } else { "ahead of" },
    );
    format!(
        "the clock of this node is {way} most other nodes' by {ms} ms or more: it coordinates no writes until it is set"
    )
}

fn health_status(health: Health) -> HealthStatus {
    let (state, reason) = match health {
        Health::Well(reason) => (HealthState::Well, reason),
        Health::Unwell(reason) => (HealthState::Unwell, reason),
    };
    let reason = reason.trim_end().to_owned();
    HealthStatus { state, reason }
}

fn layout_status(layout: &Layout) -> LayoutStatus {
    LayoutStatus {
        version: layout.version.0,
        hash: hex(&layout.hash()),
        replication_factor: layout.replication_factor,
        partitions: layout.assignment.len(),
    }
}

fn node_status(member: &Member, peer: Option<&PeerStatus>, me: PeerId) -> NodeStatus {
    let key = PeerId(member.key);
    let name = NodeName { key, disk: member.disk };
    let mut status = NodeStatus {
        id: name.to_string(),
        zone: member.zone.clone(),
        capacity_bytes: member.role.capacity_bytes(),
        address: peer.map(|peer| peer.address.clone()),
        state: if key == me {
            LinkState::ThisNode
        } else {
            LinkState::Connecting
        },
        round_trip_ms: None,
        last_heard_ms: None,
        connections_lost: 0,
        problem: None,
    };
    if let Some(peer) = peer {
        let lanes = [&peer.control, &peer.bulk];
        status.state = lanes
            .iter()
            .map(|lane| link_state(&lane.state))
            .fold(LinkState::Connected, worse);
        status.round_trip_ms = peer.round_trip.map(|time| (time.as_secs_f64() * 1e6).round() / 1e3);
        status.last_heard_ms = lanes.iter().filter_map(|lane| silence(lane)).min();
        status.connections_lost = lanes.iter().map(|lane| lost(lane)).sum();
        status.problem = lanes.iter().find_map(|lane| problem(lane));
    }
    status
}

fn link_state(state: &LaneState) -> LinkState {
    match state {
        LaneState::Connecting => LinkState::Connecting,
        LaneState::Connected { .. } => LinkState::Connected,
        LaneState::Lost => LinkState::Lost,
        LaneState::Failing(_) => LinkState::Failing,
    }
}

/// What to show when the two connections to a node fare differently.
fn worse(a: LinkState, b: LinkState) -> LinkState {
    let rank = |state: &LinkState| match state {
        LinkState::ThisNode => 0,
        LinkState::Connected => 1,
        LinkState::Connecting => 2,
        LinkState::Lost => 3,
        LinkState::Failing => 4,
    };
    std::cmp::max_by_key(a, b, rank)
}

fn silence(lane: &LaneStatus) -> Option<u64> {
    match &lane.state {
        LaneState::Connected { silence } => u64::try_from(silence.as_millis()).ok(),
        LaneState::Connecting | LaneState::Lost | LaneState::Failing(_) => None,
    }
}

fn lost(lane: &LaneStatus) -> u64 {
    match &lane.state {
        LaneState::Connected { .. } => lane.connections.saturating_sub(1),
        LaneState::Connecting | LaneState::Lost | LaneState::Failing(_) => lane.connections,
    }
}

fn problem(lane: &LaneStatus) -> Option<String> {
    match &lane.state {
        LaneState::Failing(failure) => Some(failure.to_string()),
        LaneState::Connecting | LaneState::Connected { .. } | LaneState::Lost => None,
    }
}

/// What this user may still write on the disk; nothing if the disk does not say.
fn free_bytes(folder: &Path) -> u64 {
    rustix::fs::statvfs(folder).map_or(0, |found| found.f_bavail.saturating_mul(found.f_frsize))
}

/// What the files below a folder take up on the disk. Files come and go meanwhile; what cannot be seen is not counted.
fn folder_bytes(folder: &Path) -> u64 {
    const SECTOR_BYTES: u64 = 512;
    let mut folders = vec![folder.to_owned()];
    let (mut bytes, mut counted) = (0, 0);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                bytes += metadata.blocks() * SECTOR_BYTES;
            }
            counted += 1;
            if counted == FILES_COUNTED_MAX {
                return bytes;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_folder_is_that_of_its_files_at_any_depth() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(folder_bytes(home.path()), 0);
        fs::create_dir(home.path().join("inner")).unwrap();
        fs::write(home.path().join("inner/file"), vec![7; 100_000]).unwrap();
        let found = folder_bytes(home.path());
        assert!((100_000..200_000).contains(&found), "{found}");
        assert_eq!(folder_bytes(&home.path().join("none")), 0);
    }

    #[test]
    fn of_two_connections_the_worse_one_is_shown() {
        assert_eq!(worse(LinkState::Connected, LinkState::Failing), LinkState::Failing);
        assert_eq!(worse(LinkState::Lost, LinkState::Connected), LinkState::Lost);
    }
}
