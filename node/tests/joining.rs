//! A node that no layout names finds a running cluster by one address, and is found again where it moves.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

#[expect(dead_code, reason = "joining needs only some of what the tests of commands share")]
mod support;

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;
use support::{Running, fails, free_ports, json, ok, text};

/// Two servers as `trellis config generate` writes them, and a third with a configuration like theirs, in which only
/// the first one's address is right.
struct Pair {
    home: tempfile::TempDir,
    /// For S3, then for links.
    ports: u16,
}

impl Pair {
    fn generate() -> Self {
        let (home, ports) = (tempfile::tempdir().unwrap(), free_ports(8));
        let s3 = format!("127.0.0.1:{ports}");
        let folder = text(home.path());
        ok(&["config", "generate", "--nodes", "2", "--folder", folder, "--s3", &s3]);
        let pair = Pair { home, ports };
        ok(&["node", "init", "--data", text(&pair.path("node-3"))]);
        pair
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The third one's configuration, with its port for links.
    fn write_third(&self, links: u16) {
        let (one, two) = (self.ports, self.ports + 3);
        let config = fs::read_to_string(self.path("node-1.toml")).unwrap();
        let wrong = format!("address = \"127.0.0.1:{}\"", self.ports + 7);
        let config = config
            .replace("\"node-1\"", "\"node-3\"")
            .replace(
                &format!("listen = \"127.0.0.1:{one}\""),
                &format!("listen = \"127.0.0.1:{}\"", one + 4),
            )
            .replace(
                &format!("listen = \"127.0.0.1:{}\"", one + 2),
                &format!("listen = \"127.0.0.1:{links}\""),
            )
            .replace(&format!("address = \"127.0.0.1:{two}\""), &wrong);
        assert!(config.contains(&wrong), "{config}");
        fs::write(self.path("node-3.toml"), config).unwrap();
    }

    fn config(&self, number: usize) -> String {
        text(&self.path(&format!("node-{number}.toml"))).to_owned()
    }

    fn start(&self, number: usize) -> Running {
        let log = self.path(&format!("node-{number}.log"));
        let mut node = Running::start(&["server", "--config", &self.config(number)], &log);
        let socket = self.path(&format!("node-{number}/admin.sock"));
        node.wait_until("it can be asked", || socket.exists());
        node
    }

    fn id(&self, number: usize) -> String {
        let id = ok(&["node", "id", "--data", text(&self.path(&format!("node-{number}")))]);
        id.trim().to_owned()
    }

    /// Where a node is connected to another one, as it says.
    fn connected_at(&self, number: usize, to: usize) -> Option<String> {
        let nodes = json(&["node", "list", "--json", "--config", &self.config(number)]);
        let id = self.id(to);
        let found = nodes
            .as_array()
            .unwrap()
            .iter()
            .find(|node| node["id"] == id.as_str())?;
        let is_connected = found["state"] == "connected";
        is_connected.then(|| found["address"].as_str().unwrap().to_owned())
    }

    fn wait_until_all_know_the_third(&self, node: &mut Running, port: u16) {
        let address = Some(format!("127.0.0.1:{port}"));
        node.wait_until("all are connected to all", || {
            [1, 2]
                .iter()
                .all(|by| self.connected_at(*by, 3) == address && self.connected_at(3, *by).is_some())
        });
    }
}

fn role(node: &Value) -> &str {
    node["role"].as_str().unwrap()
}

fn is_a_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file())
}

#[test]
fn a_third_node_finds_the_others_by_one_address_and_is_found_where_it_moves() {
    let pair = Pair::generate();
    let (first_port, second_port) = (pair.ports + 5, pair.ports + 6);
    pair.write_third(first_port);
    let mut nodes = [1, 2, 3].map(|number| pair.start(number));
    pair.wait_until_all_know_the_third(&mut nodes[2], first_port);
    let known = json(&["node", "list", "--json", "--config", &pair.config(2)]);
    let roles: Vec<&str> = known.as_array().unwrap().iter().map(role).collect();
    assert_eq!(roles, ["storage", "storage", "none"], "{known}");
    assert!(is_a_file(&pair.path("node-2/contacts.json")));
    let s3 = format!("http://127.0.0.1:{}", pair.ports + 4);
    nodes[2].wait_until_healthy(&s3);
    ok(&["key", "create", "by the third", "--config", &pair.config(3)]);

    let [mut one, two, three] = nodes;
    assert!(three.stop_by(Signal::TERM).success());
    pair.write_third(second_port);
    let mut three = pair.start(3);
    pair.wait_until_all_know_the_third(&mut three, second_port);

    // Nobody's configuration names it; who restarts remembers it.
    assert!(two.stop_by(Signal::TERM).success());
    let mut two = pair.start(2);
    pair.wait_until_all_know_the_third(&mut two, second_port);
    one.wait_until_healthy(&format!("http://127.0.0.1:{}", pair.ports));
}

#[test]
fn a_node_is_introduced_by_hand() {
    let pair = Pair::generate();
    let links = pair.ports + 5;
    pair.write_third(links);
    // It knows no address that is right.
    let config = fs::read_to_string(pair.path("node-3.toml")).unwrap();
    let lost = config.replace(
        &format!("address = \"127.0.0.1:{}\"", pair.ports + 2),
        &format!("address = \"127.0.0.1:{}\"", pair.ports + 7),
    );
    fs::write(pair.path("node-3.toml"), lost).unwrap();
    let mut nodes = [1, 2, 3].map(|number| pair.start(number));
    let place = format!("{}@127.0.0.1:{links}", pair.id(3));
    nodes[2].wait_until("it says how it is found", || {
        let status = json(&["status", "--json", "--config", &pair.config(3)]);
        let reason = status["health"]["reason"].as_str().unwrap_or_default().to_owned();
        reason.contains(&format!("trellis node connect {}@HOST:PORT", pair.id(3)))
    });
    let said = ok(&["node", "connect", &place, "--config", &pair.config(1)]);
    assert!(said.contains("127.0.0.1"), "{said}");
    pair.wait_until_all_know_the_third(&mut nodes[2], links);
    for odd in ["nobody@127.0.0.1:1", &place.replace('@', " ")] {
        let refused = fails(2, &["node", "connect", odd, "--config", &pair.config(1)]);
        assert!(refused.contains("ID@HOST:PORT"), "{refused}");
    }
}

/// A node that joins late was never told of anybody who is still there, but by hand.
#[test]
fn a_cluster_outlives_all_nodes_that_it_began_with() {
    let (home, ports) = (tempfile::tempdir().unwrap(), free_ports(6));
    let path = |name: &str| text(&home.path().join(name)).to_owned();
    let s3 = format!("127.0.0.1:{ports}");
    ok(&["config", "generate", "--nodes", "1", "--folder", &path(""), "--s3", &s3]);
    let first = fs::read_to_string(path("node-1.toml")).unwrap();
    let mut names = vec![ok(&["node", "id", "--data", &path("node-1")])];
    for (node, offset) in [(2, 2), (3, 4)] {
        names.push(ok(&["node", "init", "--data", &path(&format!("node-{node}"))]));
        let listen = |above: u16| format!("listen = \"127.0.0.1:{}\"", ports + above);
        let config = first
            .replace("\"node-1\"", &format!("\"node-{node}\""))
            .replace(&listen(0), &listen(offset))
            .replace(&listen(1), &listen(offset + 1));
        fs::write(path(&format!("node-{node}.toml")), config).unwrap();
    }
    let start = |node: u16| {
        let log = home.path().join(format!("node-{node}.log"));
        let mut running = Running::start(&["server", "--config", &path(&format!("node-{node}.toml"))], &log);
        let socket = home.path().join(format!("node-{node}/admin.sock"));
        running.wait_until("it can be asked", || socket.exists());
        running
    };
    let says = |node: u16, words: &[&str]| ok(&[words, &["--data", &path(&format!("node-{node}"))]].concat());
    let layout = |node: u16| json(&["layout", "show", "--json", "--data", &path(&format!("node-{node}"))]);
    let id = |node: usize| names[node - 1].trim().to_owned();

    let mut one = start(1);
    one.wait_until_healthy(&format!("http://{s3}"));
    says(1, &["key", "create", "kept"]);
    let mut two = start(2);
    one.wait_until("the second is known", || {
        says(1, &["node", "list"]).contains(&id(2)[..16])
    });
    let staged = says(1, &["node", "replace", &id(1)[..16], &id(2)[..16]]);
    assert!(
        staged.contains(&format!("node {} leaves", &id(1)[..16])) && staged.contains("trellis layout preview"),
        "{staged}"
    );
    two.wait_until("the first sees the second", || {
        says(1, &["layout", "preview"]).contains("256 replicas")
    });
    one.wait_until("the second is connected", || {
        !says(1, &["layout", "preview"]).contains("NOT CONNECTED")
    });
    says(1, &["layout", "apply", "--version", "2"]);
    let is_moved = || layout(2)["version"] == 2 && layout(2)["state"] == "settled";
    two.wait_until("all is at the second", || {
        is_moved() && layout(2)["shares_synced"] == 512
    });
    one.wait_until("the first knows it", || layout(1)["state"] == "settled");
    assert!(one.stop_by(Signal::TERM).success());
    two.wait_until_healthy(&format!("http://127.0.0.1:{}", ports + 2));
    assert!(says(2, &["key", "list"]).contains("kept"));

    let mut three = start(3);
    assert_eq!(layout(3)["version"], 1);
    says(2, &["node", "connect", &format!("{}@127.0.0.1:{}", id(3), ports + 5)]);
    three.wait_until("it hears of the layout", || layout(3)["version"] == 2);
    three.wait_until_healthy(&format!("http://127.0.0.1:{}", ports + 4));
    assert!(says(3, &["key", "list"]).contains("kept"));
    says(3, &["layout", "assign", &id(3), "--zone", "newer", "--gateway"]);
    says(3, &["layout", "apply"]);
    three.wait_until("the others hear of it", || {
        says(2, &["node", "list"]).contains("gateway in zone newer")
    });
    let gateway = path("node-3");
    let nothing = fails(1, &["repair", "compare", "--wait", "--data", &gateway]);
    assert!(nothing.contains("holds no copies"), "{nothing}");
}
