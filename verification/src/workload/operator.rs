//! An operator who changes the layout by the commands of `trellis`, at random nodes, while clients go on.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::oneshot::Receiver;

use crate::clock::Clock;
use crate::cluster::Replaced;

/// How long a transition may take once clients and harm are over.
const SETTLED_WITHIN: Duration = Duration::from_secs(90);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long one command may take. One that takes longer is given up, as people do.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(20);
/// How long it may take until a new node has the place of one that is gone.
const REPLACED_WITHIN: Duration = Duration::from_secs(60);
/// Nodes that a layout keeps at least.
const NODES_MIN: usize = 3;
const CAPACITY: &str = "1TB";
const ZONES: u8 = 3;

/// See the module.
#[derive(Clone, Debug)]
pub struct Operator {
    /// The program `trellis`.
    pub binary: PathBuf,
    /// Where `node-N.toml` of every node is.
    pub folder: PathBuf,
    /// How many nodes there are.
    pub nodes: u16,
    /// How long it waits between two changes, on average.
    pub every: Duration,
    /// The numbers of replicas among which it chooses. Who may lose a node for good needs three at least.
    pub factors: Vec<u8>,
    /// What it does follows from it.
    pub seed: u64,
    /// How many layouts were elected so far.
    pub count: Arc<AtomicU32>,
}

/// What came of its work.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changes {
    /// Layouts that it was told are elected.
    pub applied: u32,
    /// Changes that were refused, lost, or not answered: people are told to wait, or to try again.
    pub put_off: u32,
}

/// A node of the newest layout, or one without a role.
struct Node {
    id: String,
    has_role: bool,
}

impl Operator {
    /// Goes on until told to stop.
    pub async fn work(&self, mut is_over: Receiver<()>) -> Changes {
        let (mut rng, mut changes) = (Rng::with_seed(self.seed), Changes::default());
        while tokio::time::timeout(self.every.mul_f64(0.5 + rng.f64()), &mut is_over)
            .await
            .is_err()
        {
            let at = rng.u16(1..=self.nodes);
            match self.change(&mut rng, at).await {
                Some(()) => {
                    changes.applied += 1;
                    self.count.fetch_add(1, Ordering::Relaxed);
                }
                None => changes.put_off += 1,
            }
        }
        changes
    }

    /// One who does nothing by himself.
    pub(super) fn of(binary: &Path, folder: &Path, nodes: u16) -> Self {
        Operator {
            binary: binary.to_owned(),
            folder: folder.to_owned(),
            nodes,
            every: Duration::ZERO,
            factors: Vec::new(),
            seed: 0,
            count: Arc::default(),
        }
    }

    /// Takes the roles of all nodes from this one on.
    pub(super) async fn relieve(&self, first: u16) -> Option<()> {
        for at in first..=self.nodes {
            let id = self.status(at).await?["id"].as_str()?.to_owned();
            self.run(1, &["layout", "remove", &id]).await?;
        }
        self.run(1, &["layout", "apply"]).await.map(|_| ())
    }

    /// Gives all roles to these nodes, so that each holds everything.
    pub(super) async fn place(&self, at: u16, holders: &[u16]) -> Option<()> {
        self.run(at, &["layout", "revert"]).await?;
        let nodes = self.nodes_of(&self.show(at).await?);
        for node in 1..=self.nodes {
            let id = self.status(node).await?["id"].as_str()?.to_owned();
            let has_role = nodes.iter().any(|known| known.has_role && known.id == id);
            let zone = format!("zone-{node}");
            let assign = ["layout", "assign", &id, "--zone", &zone, "--capacity", CAPACITY];
            match (has_role, holders.contains(&node)) {
                (false, true) => self.run(at, &assign).await?,
                (true, false) => self.run(at, &["layout", "remove", &id]).await?,
                (true, true) | (false, false) => continue,
            };
        }
        self.replicate(at, holders.len()).await?;
        self.run(at, &["layout", "apply"]).await.map(|_| ())
    }

    /// Stages another replication factor, for whatever zones.
    async fn replicate(&self, at: u16, factor: usize) -> Option<()> {
        let factor = factor.to_string();
        let config = [
            "layout",
            "config",
            "--zone-redundancy",
            "1",
            "--replication-factor",
            &factor,
        ];
        self.run(at, &config).await.map(|_| ())
    }

    /// How many layouts were elected so far.
    pub(super) fn applied(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    /// Stages a few changes at a node and applies them; nothing if that was not to be.
    async fn change(&self, rng: &mut Rng, at: u16) -> Option<()> {
        self.run(at, &["layout", "revert"]).await?;
        let mut nodes = self.nodes_of(&self.show(at).await?);
        // Who is gone gets no role again: two of those may be a majority of something.
        let there = there(&self.status(at).await?);
        nodes.retain(|node| node.has_role || there.contains(&node.id));
        let (mut holders, mut idle): (Vec<Node>, Vec<Node>) = nodes.into_iter().partition(|node| node.has_role);
        rng.shuffle(&mut holders);
        rng.shuffle(&mut idle);
        let coming = rng.usize(0..=idle.len());
        for node in &idle[..coming] {
            let zone = format!("zone-{}", rng.u8(1..=ZONES));
            self.run(
                at,
                &["layout", "assign", &node.id, "--zone", &zone, "--capacity", CAPACITY],
            )
            .await?;
        }
        // So that as many are left as a layout needs.
        let spare = (holders.len() + coming).saturating_sub(NODES_MIN);
        let going = rng.usize(0..=spare.min(holders.len()));
        for node in &holders[..going] {
            self.run(at, &["layout", "remove", &node.id]).await?;
        }
        if rng.u8(0..3) == 0 {
            let factor = self.factors[rng.usize(0..self.factors.len())];
            self.replicate(at, usize::from(factor)).await?;
        }
        self.run(at, &["layout", "apply"]).await.map(|_| ())
    }

    /// Waits until every node says that nothing moves any more; what is wrong if that does not come.
    pub async fn settled(&self) -> Option<String> {
        let clock = Clock::start();
        loop {
            let moving = self.moving().await?;
            if clock.elapsed() > SETTLED_WITHIN {
                return Some(format!("a transition does not end: {moving}"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What still moves, as the nodes say; nothing when nothing does.
    pub(super) async fn moving(&self) -> Option<String> {
        let mut moving = Vec::new();
        for at in 1..=self.nodes {
            let shown = self.show(at).await.unwrap_or_default();
            if shown["state"] != "settled" {
                moving.push(format!("node {at}: {}", summary(&shown)));
            }
        }
        (!moving.is_empty()).then(|| moving.join("; "))
    }

    /// Gives the place of a node that is gone to the new one; says whether that came about. Layouts of others may come
    /// first, and a transition that is under way may have to end.
    pub(super) async fn replace(&self, replaced: &Replaced, member: usize, rng: &mut Rng) -> bool {
        let clock = Clock::start();
        while clock.elapsed() < REPLACED_WITHIN {
            let other = (member + rng.usize(1..usize::from(self.nodes))) % usize::from(self.nodes);
            let at = u16::try_from(other + 1).unwrap_or(1);
            if self.try_replace(at, replaced, rng).await.is_some() {
                return true;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        false
    }

    /// Tells one of the others where a new node is: all those may be gone whom it looks for by its configuration.
    pub(super) async fn introduce(&self, Replaced { new_id, address, .. }: &Replaced, member: usize) {
        let others = (1..=self.nodes).filter(|at| usize::from(*at) != member + 1);
        for at in others {
            let who = format!("{new_id}@{address}");
            if self.run(at, &["node", "connect", &who]).await.is_some() {
                return;
            }
        }
    }

    async fn try_replace(&self, at: u16, Replaced { old_id, new_id, .. }: &Replaced, rng: &mut Rng) -> Option<()> {
        self.run(at, &["layout", "revert"]).await?;
        let zone = format!("zone-{}", rng.u8(1..=ZONES));
        self.run(
            at,
            &["layout", "assign", new_id, "--zone", &zone, "--capacity", CAPACITY],
        )
        .await?;
        let nodes = self.nodes_of(&self.show(at).await?);
        if nodes.iter().any(|node| node.has_role && node.id == *old_id) {
            self.run(at, &["layout", "remove", old_id]).await?;
        }
        self.run(at, &["layout", "apply"]).await.map(|_| ())
    }

    /// What a node says of itself and of all copies.
    pub(super) async fn status(&self, at: u16) -> Option<Value> {
        serde_json::from_str(&self.run(at, &["status", "--json"]).await?).ok()
    }

    async fn show(&self, at: u16) -> Option<Value> {
        let shown = self.run(at, &["layout", "show", "--json"]).await?;
        serde_json::from_str(&shown).ok()
    }

    fn nodes_of(&self, shown: &Value) -> Vec<Node> {
        let ids = |list: &Value| -> Vec<String> {
            let list = list.as_array().into_iter().flatten();
            list.filter_map(|node| node["id"].as_str().map(str::to_owned)).collect()
        };
        let roles = ids(&shown["roles"]);
        let known = ids(&shown["nodes"]).into_iter().filter(|id| !roles.contains(id));
        let idle: Vec<Node> = known.map(|id| Node { id, has_role: false }).collect();
        let holders = roles.into_iter().map(|id| Node { id, has_role: true });
        holders.chain(idle).collect()
    }

    pub(super) async fn run(&self, at: u16, arguments: &[&str]) -> Option<String> {
        self.ask(&self.folder.join(format!("node-{at}.toml")), arguments).await
    }

    /// What a command about a node printed, if it went well.
    pub(super) async fn ask(&self, config: &Path, arguments: &[&str]) -> Option<String> {
        let mut command = Command::new(&self.binary);
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        command.arg("--config").arg(config);
        let output = tokio::time::timeout(COMMAND_TIMEOUT, command.output())
            .await
            .ok()?
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The nodes that are connected, as a node says.
fn there(status: &Value) -> Vec<String> {
    let nodes = status["nodes"].as_array().into_iter().flatten();
    let there = nodes.filter(|node| node["state"] == "connected" || node["state"] == "this-node");
    there
        .filter_map(|node| node["id"].as_str().map(str::to_owned))
        .collect()
}

fn summary(shown: &Value) -> String {
    match shown["version"].as_u64() {
        Some(version) => format!(
            "layout {version}, {} of {} synced",
            shown["shares_synced"], shown["shares"]
        ),
        None => "no answer".to_owned(),
    }
}
