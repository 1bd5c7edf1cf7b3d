//! A running node as its operators see it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use trellis_s3api::front::Health;
use trellis_s3api::object::hex;
use trellis_spec::layout::Knowledge;

use super::copies;
use super::health::{self, HealthReport, Quorums};
use super::nodes::nodes;
use super::status::{BlockFolderStatus, HealthState, HealthStatus, LayoutStatus, NodeStatus, Status, StorageStatus};
use super::survey::{Survey, Surveys};
use crate::cluster::{Coordinator, Known, Standing};
use crate::env::Env;
use crate::folder::NodeName;
use crate::link::{Mesh, PeerId, PeerStatus};
use crate::membership::Membership;
use crate::storage::{BlockFiles, DiskRows, FolderSeen, FolderState, Opened, Rows};
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
    /// The blocks.
    pub blocks: Arc<BlockFiles>,
    /// What the peers think of this node.
    pub standing: Arc<Standing>,
    /// What the row store knew when it was opened.
    pub opened: Opened,
    /// What runs operations, and knows the layouts.
    pub coordinator: Arc<Coordinator>,
    /// What is known of other nodes.
    pub membership: Arc<Membership>,
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
    /// The quorums of what was known of layouts when they were last asked for.
    quorums: Mutex<Option<(Arc<Known>, Arc<Quorums>)>>,
    started: Duration,
    stage: watch::Sender<Stage>,
    /// Staged changes of the layout are read and written by one at a time.
    staging: Mutex<()>,
    surveys: Arc<Surveys>,
}

impl Observer {
    /// An observer of a node that is starting now.
    pub fn new(seen: Seen) -> Self {
        let inner = Inner {
            quorums: Mutex::new(None),
            started: seen.env.clock.monotonic(),
            stage: watch::Sender::new(Stage::Starting),
            staging: Mutex::new(()),
            surveys: Arc::default(),
            seen,
        };
        Observer { inner: Arc::new(inner) }
    }

    /// The node's object store.
    pub fn store(&self) -> &ClusterStore {
        &self.inner.seen.store
    }

    /// What runs the node's operations.
    pub fn coordinator(&self) -> &Arc<Coordinator> {
        &self.inner.seen.coordinator
    }

    /// What is known of other nodes.
    pub fn membership(&self) -> &Arc<Membership> {
        &self.inner.seen.membership
    }

    /// Where the node keeps everything.
    pub fn data_folder(&self) -> &Path {
        &self.inner.seen.data_folder
    }

    /// Nobody else reads or writes staged changes of the layout as long as this is held.
    pub(super) fn staging(&self) -> MutexGuard<'_, ()> {
        self.inner.staging.lock().unwrap_or_else(PoisonError::into_inner)
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
    pub async fn health_report(&self) -> HealthReport {
        let survey = self.survey().await;
        let (known, now) = (self.layouts(), self.inner.seen.env.clock.monotonic());
        let newest = known.peer.knowledge.newest();
        let mut members = newest.into_iter().flat_map(|newest| &newest.members);
        let is_away = members.any(|member| !self.is_connected(PeerId(member.key)));
        let HealthStatus { state, reason } = health_status(self.health());
        HealthReport {
            serving: state == HealthState::Well,
            reason,
            redundancy: health::redundancy(survey.as_deref(), now, known.newest(), is_away),
        }
    }

    /// Whether the node can serve.
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
        if let Some(out) = self.layouts().out() {
            return Health::Unwell(format!("{out}\n"));
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
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            id: seen.name.to_string(),
            data_folder: seen.data_folder.display().to_string(),
            uptime_seconds: self.uptime().as_secs(),
            health: health_status(self.health()),
            layout: layout_status(&self.layouts().peer.knowledge),
            nodes: self.nodes(),
            copies: copies::status(self, self.now_ms()).await,
            storage: self.storage().await,
        }
    }

    /// Since the start.
    pub(super) fn uptime(&self) -> Duration {
        let now = self.inner.seen.env.clock.monotonic();
        now.saturating_sub(self.inner.started)
    }

    /// Milliseconds since the Unix epoch.
    pub(super) fn now_ms(&self) -> u64 {
        self.inner.seen.env.clock.wall_us() / 1000
    }

    /// How redundant everything was a moment ago; nothing if that is not known.
    pub(super) async fn survey(&self) -> Option<Arc<Survey>> {
        self.inner.surveys.newest(self.coordinator()).await
    }

    /// Which partitions are out of reach, in words.
    fn lack(&self, peers: &[PeerStatus]) -> Option<String> {
        let (me, known) = (self.inner.seen.name.key, self.layouts());
        let up = peers.iter().filter(|peer| peer.is_connected()).map(|peer| peer.peer);
        let up: BTreeSet<PeerId> = up.chain([me]).collect();
        let knowledge = &known.peer.knowledge;
        let is_up = |node| {
            let member = knowledge.newest_first().find_map(|layout| layout.member(node));
            member.is_some_and(|member| up.contains(&PeerId(member.key)))
        };
        let quorums = self.quorums(&known);
        let lack = quorums.lack(is_up)?;
        let advice = match up.len() {
            1 => format!(
                "; none of the nodes that this one knows answers: if all have moved or were replaced, say on one of the \
                 cluster `trellis node connect {}@HOST:PORT`, with this node's address",
                self.inner.seen.name
            ),
            _ => String::new(),
        };
        Some(format!(
            "too few replicas can be reached: {} of {} partitions have no majority ({} nodes are not connected){advice}",
            lack.partitions,
            knowledge.newest().map_or(0, |newest| newest.assignment.len()),
            lack.missing.len()
        ))
    }

    /// They are found out again when what is known of layouts changes.
    fn quorums(&self, known: &Arc<Known>) -> Arc<Quorums> {
        let mut kept = self.inner.quorums.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((of, quorums)) if Arc::ptr_eq(of, known) => quorums.clone(),
            Some(_) | None => {
                let quorums = Arc::new(Quorums::of(&known.peer.knowledge));
                *kept = Some((known.clone(), quorums.clone()));
                quorums
            }
        }
    }

    /// All nodes of the newest layout, and all others that are known.
    pub fn nodes(&self) -> Vec<NodeStatus> {
        let seen = &self.inner.seen;
        let known = self.layouts();
        let Some(newest) = known.peer.knowledge.newest() else {
            return Vec::new();
        };
        nodes(
            newest,
            &seen.membership.known(),
            &seen.membership.mine(),
            &seen.mesh.status(),
        )
    }

    /// What is known of layouts now.
    pub fn layouts(&self) -> Arc<Known> {
        self.coordinator().layouts().now()
    }

    /// Whether requests get through to a node, this one included.
    pub fn is_connected(&self, key: PeerId) -> bool {
        let seen = &self.inner.seen;
        let is_up = |peer: &PeerStatus| peer.peer == key && peer.is_connected();
        key == seen.name.key || seen.mesh.status().iter().any(is_up)
    }

    async fn storage(&self) -> StorageStatus {
        let seen = &self.inner.seen;
        let (data, folders, blocks) = (seen.data_folder.clone(), seen.folders.clone(), seen.blocks.clone());
        let measure = move || {
            let free_bytes = free_bytes(&data);
            (
                folder_bytes(&folders.log),
                folder_bytes(&folders.index),
                blocks.folders().into_iter().map(block_folder).collect::<Vec<_>>(),
                free_bytes,
            )
        };
        let measured = tokio::task::spawn_blocking(measure).await;
        let (log_bytes, index_bytes, block_folders, free_bytes) = measured.unwrap_or_default();
        StorageStatus {
            start_counter: seen.opened.start_counter,
            commit_counter: seen.opened.commit_counter,
            log_bytes,
            index_bytes,
            blocks_bytes: block_folders.iter().filter_map(|folder| folder.used_bytes).sum(),
            block_folders,
            free_bytes,
            min_free_bytes: seen.min_free_bytes,
            taking: seen.rows.taking(),
        }
    }
}

fn block_folder(seen: FolderSeen) -> BlockFolderStatus {
    let is_there = !matches!(seen.how, FolderState::Away(_));
    BlockFolderStatus {
        used_bytes: is_there.then(|| folder_bytes(&seen.path)),
        path: seen.path.display().to_string(),
        capacity_bytes: seen.capacity_bytes,
        free_bytes: seen.free_bytes,
        how: seen.how,
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

fn layout_status(knowledge: &Knowledge) -> LayoutStatus {
    let Some(newest) = knowledge.newest() else {
        return LayoutStatus::default();
    };
    let oldest = newest
        .partitions()
        .map(|partition| knowledge.view(partition).lo.0)
        .min();
    LayoutStatus {
        version: newest.version.0,
        oldest_active: oldest.unwrap_or(newest.version.0),
        hash: hex(&newest.hash()),
        replication_factor: newest.replication_factor,
        partitions: newest.assignment.len(),
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
}
