//! Clusters that grow, shrink and are kept otherwise, by the commands that people type.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

#[expect(dead_code, reason = "layouts need only some of what the tests of commands share")]
mod support;

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use support::{Running, fails, json, ok, text, trellis};

/// A development cluster, and what is said to its nodes.
struct Cluster {
    nodes: usize,
    home: tempfile::TempDir,
    dev: Running,
}

impl Cluster {
    fn start(nodes: usize) -> Self {
        let home = tempfile::tempdir().unwrap();
        let dev = Running::dev(home.path(), &["--nodes", &nodes.to_string()]);
        Cluster { nodes, home, dev }
    }

    fn folder(&self, node: usize) -> String {
        text(&self.home.path().join(format!("node-{node}"))).to_owned()
    }

    fn id(&self, node: usize) -> String {
        ok(&["node", "id", "--data", &self.folder(node)])[..12].to_owned()
    }

    fn says(&self, node: usize, arguments: &[&str]) -> String {
        ok(&[&["layout"], arguments, &["--data", &self.folder(node)]].concat())
    }

    fn json(&self, node: usize, arguments: &[&str]) -> Value {
        json(&[&["layout"], arguments, &["--json", "--data", &self.folder(node)]].concat())
    }

    /// What a command that waits says in the end, and meanwhile.
    fn waits(&self, node: usize, arguments: &[&str]) -> (String, String) {
        let output = trellis(&[&["layout"], arguments, &["--wait", "--data", &self.folder(node)]].concat()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        (
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }

    fn refuses(&self, node: usize, arguments: &[&str]) -> String {
        fails(1, &[&["layout"], arguments, &["--data", &self.folder(node)]].concat())
    }

    /// Waits until all nodes know that nothing moves any more, in this layout.
    fn wait_until_settled(&mut self, version: u64) {
        let folders: Vec<String> = (1..=self.nodes).map(|node| self.folder(node)).collect();
        let is_settled = |folder: &String| {
            let layout = json(&["layout", "show", "--json", "--data", folder]);
            layout["version"] == version && layout["state"] == "settled" && layout["shares_synced"] == layout["shares"]
        };
        self.dev
            .wait_until("the layout is settled", || folders.iter().all(is_settled));
    }
}

fn partitions(layout: &Value, id: &str) -> Option<u64> {
    let roles = layout["roles"].as_array().unwrap();
    let role = roles.iter().find(|role| role["id"].as_str().unwrap().starts_with(id))?;
    role["partitions"].as_u64()
}

fn contains_all(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
}

#[test]
fn a_node_leaves_and_comes_back_in_steps_that_tell_the_next_one() {
    let mut cluster = Cluster::start(4);
    let (first, last) = (cluster.id(1), cluster.id(4));
    let shown = cluster.says(1, &["show"]);
    contains_all(
        &shown,
        &[
            "layout  1",
            "3 replicas, in as many zones",
            "192 ",
            &first,
            "zone-4",
            "1.0 TiB",
        ],
    );

    let staged = cluster.says(1, &["remove", &last]);
    contains_all(
        &staged,
        &["leaves", "Nothing has changed yet", "trellis layout preview --data"],
    );
    let elsewhere = cluster.refuses(2, &["preview"]);
    contains_all(&elsewhere, &["nothing is staged on this node"]);
    let preview = cluster.says(1, &["preview"]);
    contains_all(
        &preview,
        &[
            "layout  2, if it is applied",
            "192 -> 0",
            "leaves",
            "192 replicas",
            "now 1.3 TiB",
        ],
    );
    contains_all(&preview, &["Next: trellis layout apply --version 2 --data"]);
    let stale = cluster.refuses(1, &["apply", "--version", "3"]);
    contains_all(&stale, &["number 2 by now", "Nothing was changed"]);
    let applied = cluster.says(1, &["apply", "--version", "2"]);
    contains_all(&applied, &["layout 2 is decided", "trellis layout history"]);
    cluster.wait_until_settled(2);
    let layout = cluster.json(3, &["show"]);
    assert_eq!(
        (partitions(&layout, &first), partitions(&layout, &last)),
        (Some(256), None)
    );
    assert_eq!(cluster.json(1, &["show"])["staged"]["nodes"], Value::Array(Vec::new()));
    let idle = cluster.says(2, &["show"]);
    contains_all(&idle, &["Without a role:", &format!("trellis layout assign {last}")]);

    cluster.says(
        3,
        &[
            "assign",
            &last,
            "--zone",
            "attic",
            "--capacity",
            "1TiB",
            "--tag",
            "old",
            "--tag",
            "loud",
        ],
    );
    contains_all(
        &cluster.says(3, &["show"]),
        &["in zone attic (old loud)", "Next: trellis layout preview"],
    );
    let (waited, progress) = cluster.waits(3, &["apply"]);
    contains_all(&waited, &["layout 3 is decided, and everything is where it belongs"]);
    assert!(!progress.contains('\r'), "no terminal: {progress:?}");
    let (layout, moved) = (cluster.json(3, &["show"]), cluster.json(3, &["history"]));
    assert_eq!((&layout["state"], &layout["version"]), (&"settled".into(), &3.into()));
    assert_eq!(moved[0]["shares_synced"], moved[0]["shares"]);
    cluster.wait_until_settled(3);
    let layout = cluster.json(2, &["show"]);
    assert_eq!(
        (partitions(&layout, &last), &layout["placement"]),
        (Some(192), &"proven".into())
    );
    let history = cluster.says(2, &["history"]);
    contains_all(&history, &["retired", "active", "1536 of 1536", "Nothing moves."]);
    contains_all(&history, &["DECIDED", "at the beginning", "retired 20"]);
    let versions = cluster.json(1, &["history"]);
    let dates = |version: usize| ["decided_ms", "retired_ms"].map(|date| versions[version][date].as_u64());
    assert_eq!((dates(0)[1], dates(2)[0]), (None, None), "{versions}");
    assert!(
        dates(0)[0] > dates(1)[0] && dates(1)[1] > dates(1)[0] && dates(1)[0].is_some(),
        "{versions}"
    );
    assert_eq!(
        versions[0]["decided_ms"],
        cluster.json(4, &["history"])[0]["decided_ms"],
        "who was told of the layout was told its date"
    );
    let versions: Vec<u64> = versions
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["version"].as_u64().unwrap())
        .collect();
    assert_eq!(versions, [3, 2, 1]);
}

#[test]
fn zones_and_replicas_change_and_what_cannot_be_is_explained() {
    let mut cluster = Cluster::start(3);
    let [one, two] = [1, 2].map(|node| cluster.id(node));
    let unknown = cluster.refuses(1, &["assign", "fffffffffff", "--zone", "z", "--gateway"]);
    contains_all(&unknown, &["trellis node list", "trellis node connect ID@HOST:PORT"]);
    contains_all(
        &cluster.refuses(1, &["assign", "", "--gateway"]),
        &["write more of it", &one],
    );
    contains_all(&cluster.refuses(1, &["apply"]), &["nothing is staged"]);
    contains_all(&cluster.refuses(1, &["config"]), &["--replication-factor N"]);
    fails(2, &["layout", "assign", &one, "--capacity", "2T"]);
    fails(2, &["layout", "config", "--zone-redundancy", "most"]);

    cluster.says(1, &["remove", &two]);
    let too_few = cluster.refuses(1, &["apply"]);
    contains_all(
        &too_few,
        &[
            "3 replicas cannot be kept on 2 storage nodes",
            "add nodes or ask for fewer replicas",
        ],
    );
    cluster.says(1, &["config", "--replication-factor", "2"]);
    let (data, mut kept) = (
        cluster.home.path().to_owned(),
        cluster.json(1, &["show"])["staged"].take(),
    );
    assert_eq!(
        (kept["nodes"].as_array().unwrap().len(), &kept["replication_factor"]),
        (1, &Value::from(2))
    );
    assert_eq!(cluster.dev.stop_by(Signal::TERM).code(), Some(0));
    cluster = Cluster {
        dev: Running::dev(&data, &[]),
        nodes: cluster.nodes,
        home: cluster.home,
    };
    assert_eq!(
        cluster.json(1, &["show"])["staged"].take(),
        kept,
        "what is staged is durable"
    );
    let forgotten = cluster.says(1, &["revert"]);
    contains_all(
        &forgotten,
        &["Forgotten, and not applied", "leaves", "replication factor 2"],
    );
    kept = cluster.json(1, &["show"])["staged"].take();
    assert_eq!(kept["nodes"].as_array().unwrap().len(), 0);

    cluster.says(2, &["assign", &one, "--zone", "zone-2"]);
    let zones = ["config", "--zone-redundancy", "2", "--replication-factor", "2"];
    cluster.says(2, &zones);
    let preview = cluster.json(2, &["preview"]);
    assert_eq!(
        (&preview["version"], &preview["zone_redundancy"]),
        (&Value::from(2), &Value::from(2))
    );
    cluster.says(2, &["apply"]);
    cluster.wait_until_settled(2);
    let layout = cluster.json(3, &["show"]);
    assert_eq!(
        (&layout["replication_factor"], &layout["zone_redundancy"]),
        (&Value::from(2), &Value::from(2))
    );
    assert!(has_keys(&data), "what was there is there");
}

fn has_keys(data: &Path) -> bool {
    let list = json(&["key", "list", "--json", "--data", text(data)]);
    !list.as_array().unwrap().is_empty()
}

#[test]
fn work_in_the_background_is_told_of_and_can_be_waited_for() {
    let mut cluster = Cluster::start(3);
    let folder = cluster.folder(2);
    let is_compared = || {
        trellis(&["repair", "compare", "--wait", "--data", &folder])
            .status()
            .unwrap()
            .success()
    };
    // As long as not all are connected, some partitions cannot be compared, and it says so.
    cluster.dev.wait_until("all is compared", is_compared);
    let scrubbed = ok(&["repair", "scrub", "--wait", "--data", &folder]);
    contains_all(&scrubbed, &["done in"]);
    let workers = json(&["worker", "list", "--json", "--data", &folder]);
    let worker = |name: &str| {
        let all = workers.as_array().unwrap();
        all.iter().find(|worker| worker["worker"] == name).unwrap().clone()
    };
    let compared = worker("comparison");
    assert!(
        compared["runs"].as_u64() >= Some(1) && compared["steps"].as_u64() >= Some(1),
        "{compared}"
    );
    assert!(worker("scrub")["runs"].as_u64() >= Some(1));
    assert_eq!(worker("membership")["steps"], 2);
    let table = ok(&["worker", "list", "--data", &folder]);
    contains_all(
        &table,
        &["WORKER", "comparison", " partitions", "2 of 2 nodes connected"],
    );
    let evidence = json(&["status", "--json", "--data", &folder])["copies"].take();
    assert!(evidence["below"].is_array() && evidence["missing"]["at_least"]["bytes"].is_u64());
}

/// Asks to force the layout without these nodes, at the node of a folder.
fn force(folder: &str, lost: &[&str], more: &[&str]) -> Vec<String> {
    let lost = lost.iter().flat_map(|id| ["--lost", id]);
    let all = ["layout", "force", "--epoch", "1", "--data", folder]
        .into_iter()
        .chain(lost);
    all.chain(more.iter().copied()).map(str::to_owned).collect()
}

#[test]
fn a_layout_is_forced_only_when_it_is_needed_and_said_so() {
    let mut cluster = Cluster::start(3);
    let (one, two, three) = (cluster.id(1), cluster.id(2), cluster.id(3));
    let (here, there) = (cluster.folder(1), cluster.folder(2));
    let refuses = |lost: &[&str], more: &[&str]| {
        let arguments = force(&here, lost, more);
        fails(1, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let says = |lost: &[&str], more: &[&str]| {
        let arguments = force(&here, lost, more);
        ok(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let heard = "--although-heard";
    let asked_at_once = refuses(&[&two, &three], &[]);
    contains_all(&asked_at_once, &["less than 60 seconds ago", &two, heard]);
    contains_all(
        &refuses(&[&two], &[heard]),
        &["no quorum is lost", "trellis node replace"],
    );
    contains_all(&refuses(&[&one, &two], &[heard]), &["this very node"]);
    let too_few = refuses(&[&two, &three], &[heard]);
    contains_all(&too_few, &["--replication-factor", "Nothing was changed"]);

    cluster.says(1, &["config", "--replication-factor", "1"]);
    let shown = says(&[&two, &three], &[heard]);
    let told = ["1 of 3 storage nodes", "MAY BE LOST", "--version 2 --yes-lose-data"];
    contains_all(&shown, &told);
    assert_eq!(cluster.json(1, &["show"])["version"], 1, "it was only shown");
    let stale = refuses(&[&two, &three], &[heard, "--version", "3", "--yes-lose-data"]);
    contains_all(&stale, &["number 2"]);

    let unnumbered = force(&here, &[&two, &three], &[heard, "--yes-lose-data"]);
    let unnumbered: Vec<&str> = unnumbered.iter().map(String::as_str).collect();
    contains_all(&fails(2, &unnumbered), &["--version"]);

    let done = says(&[&two, &three], &[heard, "--version", "2", "--yes-lose-data"]);
    contains_all(&done, &["layout 2 is forced, epoch 1"]);
    let is_settled = || {
        let layout = json(&["layout", "show", "--json", "--data", &here]);
        layout["state"] == "settled" && layout["epoch"] == 1 && layout["staged"]["replication_factor"].is_null()
    };
    cluster.dev.wait_until("the rest is settled", is_settled);
    let forced = cluster.json(1, &["history"])[0]["forced"].clone();
    assert_eq!((&forced["epoch"], &forced["gone"]), (&Value::from(1), &Value::from(0)));
    assert_eq!(forced["lost"].as_array().unwrap().len(), 2);
    assert!(forced["doubtful"].as_u64().unwrap() > 0);
    let history = cluster.says(1, &["history"]);
    contains_all(&history, &["Layout 2 was forced, epoch 1", &two]);
    let health = |folder: &str| json(&["status", "--json", "--data", folder])["health"].clone();
    cluster.dev.wait_until("the lost know it", || {
        let reason = health(&there)["reason"].as_str().unwrap().to_owned();
        reason.contains("declared lost") && reason.contains("new node with an empty folder")
    });
    assert_eq!(health(&here)["state"], "well");
    contains_all(&refuses(&[&two], &[heard]), &["no quorum is lost"]);
}
