//! The program as people meet it: starts and stops, keys and buckets, three servers, and every common mistake.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use support::{Running, fails, free_ports, health, json, ok, text};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn ids(list: &Value) -> Vec<&str> {
    let items = list.as_array().unwrap().iter();
    items.map(|item| item["id"].as_str().unwrap()).collect()
}

#[test]
fn the_first_start_of_dev_writes_what_clients_need_and_sigterm_ends_it() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path();
    let dev = Running::dev(data, &[]);
    assert_eq!(mode(&data.join("credentials.env")), 0o600);
    assert_eq!(mode(&data.join("cluster.secret")), 0o600);
    assert_eq!(mode(&data.join("node-1")), 0o700);
    assert_eq!(mode(&data.join("node-1/admin.sock")), 0o600);
    let credentials = fs::read_to_string(data.join("credentials.env")).unwrap();
    let endpoints = fs::read_to_string(data.join("endpoints.txt")).unwrap();
    for line in ["AWS_ACCESS_KEY_ID=TK", "AWS_SECRET_ACCESS_KEY=", "AWS_REGION=us-east-1"] {
        assert!(credentials.contains(line), "{credentials}");
    }
    assert!(credentials.contains(&format!("AWS_ENDPOINT_URL={}", endpoints.trim())));
    assert!(dev.log().contains("aws s3 mb"), "{}", dev.log());

    let second = fails(1, &["dev", "--s3", "127.0.0.1:0", "--data", text(data)]);
    assert!(second.contains("in use by another process"), "{second}");

    assert_eq!(dev.stop_by(Signal::TERM).code(), Some(0));
    assert!(!data.join("node-1/admin.sock").exists());
    let status = fails(1, &["status", "--data", text(data)]);
    assert!(status.contains("no node is running"), "{status}");
}

#[test]
fn everything_is_there_after_kill_9_and_another_number_of_nodes_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path();
    let credentials = || fs::read_to_string(data.join("credentials.env")).unwrap();
    let key_line = |text: &str| text.lines().next().unwrap().to_owned();
    let list = ["key", "list", "--json", "--data", text(data)];
    let dev = Running::dev(data, &["--nodes", "3"]);
    ok(&["key", "create", "kept", "--data", text(data)]);
    let (keys, written) = (json(&list), credentials());
    dev.kill();
    let other = fails(1, &["dev", "--nodes", "2", "--data", text(data)]);
    assert!(other.contains("a cluster of 3 nodes"), "{other}");
    let dev = Running::dev(data, &[]);
    assert_eq!(json(&list), keys);
    assert_eq!(ids(&keys).len(), 2);
    assert_eq!(key_line(&credentials()), key_line(&written), "the same key as before");
    assert_eq!(dev.stop_by(Signal::INT).code(), Some(0));
}

#[test]
fn keys_and_buckets_are_created_listed_and_deleted() {
    let home = tempfile::tempdir().unwrap();
    let data = text(home.path());
    let _dev = Running::dev(home.path(), &[]);
    let run = |arguments: &[&str]| json(&[arguments, &["--json", "--data", data]].concat());
    let refused = |arguments: &[&str]| fails(1, &[arguments, &["--data", data]].concat());

    let created = run(&["key", "create", "backups"]);
    let (id, secret) = (created["id"].as_str().unwrap(), created["secret"].as_str().unwrap());
    assert_eq!(secret.len(), 40);
    let table = ok(&["key", "list", "--data", data]);
    assert!(table.contains(id) && table.contains("backups"), "{table}");
    assert!(!table.contains(secret), "a secret is shown once");

    let bucket = run(&["bucket", "create", "photos", "--owner", id]);
    assert_eq!(bucket["owner"], id);
    assert_eq!(run(&["bucket", "list"]).as_array().unwrap().len(), 1);
    let again = refused(&["bucket", "create", "photos", "--owner", id]);
    assert!(again.contains("the bucket exists"), "{again}");
    let nobody = refused(&["bucket", "create", "films", "--owner", "TKNOBODY"]);
    assert!(nobody.contains("no access key TKNOBODY"), "{nobody}");
    let name = refused(&["bucket", "create", "Films", "--owner", id]);
    assert!(name.contains("a-z"), "{name}");

    let owner = refused(&["key", "delete", id]);
    assert!(owner.contains("owns buckets (photos)"), "{owner}");
    assert_eq!(run(&["bucket", "delete", "photos"])["deleted"], "photos");
    assert_eq!(run(&["key", "delete", id])["deleted"], id);
    assert!(!ids(&run(&["key", "list"])).contains(&id));
    let gone = refused(&["key", "delete", id]);
    assert!(
        gone.contains("there is no access key") && gone.contains("trellis key list"),
        "{gone}"
    );
    let gone = refused(&["bucket", "delete", "photos"]);
    assert!(gone.contains("the bucket does not exist"), "{gone}");
}

/// Three servers as `trellis config generate` writes them.
struct Three {
    folder: tempfile::TempDir,
    endpoints: Vec<String>,
}

impl Three {
    fn generate() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let s3 = format!("127.0.0.1:{}", free_ports(6));
        ok(&[
            "config",
            "generate",
            "--nodes",
            "3",
            "--folder",
            text(folder.path()),
            "--s3",
            &s3,
        ]);
        let endpoints = fs::read_to_string(folder.path().join("endpoints.txt")).unwrap();
        let endpoints = endpoints.lines().map(str::to_owned).collect();
        Three { folder, endpoints }
    }

    fn path(&self, name: String) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self, number: usize) -> String {
        text(&self.path(format!("node-{number}.toml"))).to_owned()
    }

    fn id(&self, number: usize) -> String {
        ok(&["node", "id", "--data", text(&self.path(format!("node-{number}")))])
    }

    fn start(&self, number: usize) -> Running {
        let log = self.path(format!("node-{number}.log"));
        Running::start(&["server", "--config", &self.config(number)], &log)
    }

    fn status(&self, number: usize) -> Value {
        json(&["status", "--json", "--config", &self.config(number)])
    }

    /// How many other nodes a node is connected to.
    fn connected(&self, number: usize) -> usize {
        let status = self.status(number);
        let nodes = status["nodes"].as_array().unwrap().iter();
        nodes.filter(|node| node["state"] == "connected").count()
    }
}

#[test]
fn three_servers_form_a_cluster_that_survives_one() {
    let three = Three::generate();
    let mut nodes: Vec<Running> = (1..=3).map(|number| three.start(number)).collect();
    for (node, endpoint) in nodes.iter_mut().zip(&three.endpoints) {
        node.wait_until_healthy(endpoint);
    }
    for number in 1..=3 {
        nodes[0].wait_until("all are connected", || three.connected(number) == 2);
    }
    nodes[0].wait_until("all have compared their copies", || {
        let (code, report) = health_report(&three.endpoints[1]);
        let copies = &report["redundancy"];
        assert_eq!(copies["full_until_ms"].is_null(), copies["state"] != "full", "{report}");
        code == 200 && copies["state"] == "full" && copies["partitions"] == 512
    });
    let table = ok(&["status", "--data", text(three.folder.path())]);
    assert!(
        table.contains("this node") && table.matches("connected").count() == 2,
        "{table}"
    );
    let credentials = fs::read_to_string(three.path("credentials.env".to_owned())).unwrap();
    let keys = json(&["key", "list", "--json", "--config", &three.config(2)]);
    assert_eq!(ids(&keys).len(), 1, "the first key was created once");
    assert!(credentials.contains(ids(&keys)[0]));

    nodes.remove(2).kill();
    nodes[0].wait_until("the loss is seen", || three.connected(1) == 1);
    let first = ids(&keys)[0].to_owned();
    ok(&["key", "create", "while one is away", "--config", &three.config(1)]);
    ok(&["key", "delete", &first, "--config", &three.config(2)]);
    let (code, lacking) = health_report(&three.endpoints[0]);
    assert_eq!(
        (code, &lacking["serving"]),
        (200, &Value::Bool(true)),
        "it serves with a copy less"
    );
    let copies = &lacking["redundancy"];
    assert_ne!(copies["state"], "full", "{lacking}");
    assert_eq!(copies["full_until_ms"], Value::Null);
    nodes[0].wait_until("it is said what is missing, and why", || {
        let (_, report) = health_report(&three.endpoints[0]);
        let away = |cause: &Value| cause["why"] == "away" && cause["nodes"] == 1 && cause["copies"] == 512;
        let copies = &report["redundancy"];
        copies["state"] == "lacking"
            && copies["seconds_left"].is_null()
            && copies["causes"].as_array().unwrap().iter().any(away)
    });

    nodes.remove(1).kill();
    let lone = || health(&three.endpoints[0]).unwrap();
    nodes[0].wait_until("one of three is not enough", || lone().0 == 503);
    assert!(
        lone().1.contains("256 of 256 partitions have no majority"),
        "{}",
        lone().1
    );

    // Alone it decides nothing, not even to go on alone, and says for want of whom.
    let [second, third] = [2, 3].map(|number| three.id(number)[..16].to_owned());
    let staged = |words: &[&str]| ok(&[&["layout"], words, &["--config", &three.config(1)]].concat());
    staged(&["config", "--replication-factor", "1"]);
    staged(&["remove", &second]);
    staged(&["remove", &third]);
    let refused = fails(1, &["layout", "apply", "--config", &three.config(1)]);
    for word in [
        "side of a minority: 2 of the 3",
        "only 1 can be reached",
        "Nothing was changed",
        &second,
        &third,
    ] {
        assert!(refused.contains(word), "no {word:?} in: {refused}");
    }
    staged(&["revert"]);

    nodes.push(three.start(3));
    nodes[1].wait_until_healthy(&three.endpoints[2]);
    let keys = json(&["key", "list", "--json", "--config", &three.config(3)]);
    assert_eq!(ids(&keys).len(), 1, "{keys}");
    assert_ne!(ids(&keys)[0], first, "a first key that was deleted does not come back");
    for node in nodes {
        assert_eq!(node.stop_by(Signal::TERM).code(), Some(0));
    }
}

fn health_report(endpoint: &str) -> (u16, Value) {
    let (code, body) = health(endpoint).unwrap();
    (code, serde_json::from_str(&body).unwrap())
}

/// How far one node of the three has written down that another was.
fn remembered(three: &Three, by: usize, of: usize) -> Option<u64> {
    let id = ok(&["node", "id", "--data", text(&three.path(format!("node-{of}")))]);
    let key = id.split('-').next().unwrap();
    let peers = fs::read_to_string(three.path(format!("node-{by}/peers"))).ok()?;
    let line = peers.lines().find(|line| line.starts_with(key))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn a_server_on_an_older_copy_of_its_folder_does_not_serve() {
    let three = Three::generate();
    let mut nodes: Vec<Running> = (1..=3).map(|number| three.start(number)).collect();
    for (node, endpoint) in nodes.iter_mut().zip(&three.endpoints) {
        node.wait_until_healthy(endpoint);
    }
    assert!(nodes.remove(2).stop_by(Signal::TERM).success());
    let (folder, copy) = (three.path("node-3".to_owned()), three.path("copy".to_owned()));
    let copied = Command::new("cp").arg("-a").arg(&folder).arg(&copy).status();
    assert!(copied.unwrap().success());

    nodes.push(three.start(3));
    nodes[2].wait_until_healthy(&three.endpoints[2]);
    for name in ["one", "two", "three", "four"] {
        ok(&["key", "create", name, "--config", &three.config(3)]);
    }
    // The copy will begin at the same number.
    let began = three.status(3)["storage"]["commit_counter"].as_u64().unwrap();
    nodes[0].wait_until("the others know that it is further", || {
        [1, 2].iter().all(|by| remembered(&three, *by, 3) > Some(began))
    });
    nodes.remove(2).kill();
    fs::remove_dir_all(&folder).unwrap();
    fs::rename(&copy, &folder).unwrap();
    nodes.push(three.start(3));
    let refused = || health(&three.endpoints[2]).is_some_and(|(code, why)| code == 503 && why.contains("older copy"));
    nodes[2].wait_until("it says that it does not serve", refused);
    assert!(
        nodes[2].log().contains("as a new node with an empty folder"),
        "{}",
        nodes[2].log()
    );
    let status = three.status(3);
    assert_eq!(status["health"]["state"], "unwell", "{status}");

    ok(&["key", "create", "five", "--config", &three.config(1)]);
    let keys = json(&["key", "list", "--json", "--config", &three.config(2)]);
    assert_eq!(ids(&keys).len(), 6, "{keys}");
    fails(1, &["key", "create", "six", "--config", &three.config(3)]);
}

#[test]
fn mistakes_in_configurations_are_named() {
    let three = Three::generate();
    let (config, check) = (
        three.config(1),
        ["config", "check", &three.config(1)].map(str::to_owned),
    );
    let check = check.each_ref().map(String::as_str);
    let good = ok(&check);
    assert!(
        good.contains("3 nodes, 3 replicas") && good.contains("zone-1"),
        "{good}"
    );
    let text_before = fs::read_to_string(&config).unwrap();
    let with = |from: &str, to: &str| {
        assert!(text_before.contains(from), "{text_before}");
        fs::write(&config, text_before.replace(from, to)).unwrap();
        fails(1, &["server", "--config", &config])
    };

    let typo = with("[links]\n", "[links]\nlisten_adress = 1\n");
    assert!(typo.contains("node-1.toml") && typo.contains("line 11"), "{typo}");
    assert!(typo.contains("unknown field `listen_adress`"), "{typo}");
    let missing = with("cluster_secret_file", "#");
    assert!(missing.contains("TRELLIS_CLUSTER_SECRET"), "{missing}");
    let unmounted = with("data_folder = \"node-1\"", "data_folder = \"node-9\"");
    assert!(unmounted.contains("trellis node init"), "{unmounted}");
    ok(&["node", "init", "--data", text(&three.path("other".to_owned()))]);
    let other = text_before.replace("data_folder = \"node-1\"", "data_folder = \"other\"");
    fs::write(&config, other).unwrap();
    let (newcomer, id) = (
        ok(&check),
        ok(&["node", "id", "--data", text(&three.path("other".to_owned()))]),
    );
    assert!(
        newcomer.contains("does not name this node") && newcomer.contains(id.trim()),
        "{newcomer}"
    );
    fs::write(&config, &text_before).unwrap();

    let secret = three.path("cluster.secret".to_owned());
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = fails(1, &check);
    assert!(
        exposed.contains("can be accessed by others") && exposed.contains("chmod 600"),
        "{exposed}"
    );
}

#[test]
fn the_cluster_secret_comes_from_one_place() {
    let three = Three::generate();
    let check = |secret: &str| {
        let mut command = support::trellis(&["config", "check", &three.config(1)]);
        command.env("TRELLIS_CLUSTER_SECRET", secret).output().unwrap()
    };
    let both = check(&"ab".repeat(32));
    assert_eq!(both.status.code(), Some(1));
    let error = String::from_utf8_lossy(&both.stderr);
    assert!(error.contains("there are both"), "{error}");
    let config = three.config(1);
    let without = fs::read_to_string(&config)
        .unwrap()
        .replace("cluster_secret_file", "# cluster_secret_file");
    fs::write(&config, without).unwrap();
    assert!(check(&"ab".repeat(32)).status.success());
    assert!(!check("secret").status.success());
}

#[test]
fn the_log_can_be_json() {
    let home = tempfile::tempdir().unwrap();
    let dev = Running::dev(home.path(), &["--log", "info", "--log-format", "json"]);
    let log = dev.log();
    let events = log.lines().filter(|line| line.starts_with('{'));
    let events: Vec<Value> = events.map(|line| serde_json::from_str(line).unwrap()).collect();
    let opened = |event: &Value| event["message"] == "storage is open" && event["start"] == 1;
    assert!(events.iter().any(opened), "{log}");
}

#[test]
fn a_layout_cannot_be_changed_in_place() {
    let three = Three::generate();
    let mut node = three.start(1);
    // Alone it serves nobody, but it begins.
    node.wait_until("it says why it is unwell", || {
        health(&three.endpoints[0]).is_some_and(|(code, _)| code == 503)
    });
    node.kill();
    let config = three.config(1);
    let changed = fs::read_to_string(&config).unwrap().replace("zone-2", "zone-3");
    fs::write(&config, changed).unwrap();
    let refused = fails(1, &["server", "--config", &config]);
    assert!(
        refused.contains("not the one that the node in") && refused.contains("began with"),
        "{refused}"
    );
}

#[test]
fn what_stands_in_the_way_of_a_start_is_said_in_a_sentence() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| text(&home.path().join(name)).to_owned();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let in_use = fails(1, &["dev", "--data", &path("a"), "--s3", &address]);
    assert!(
        in_use.contains(&format!("cannot listen on {address} for S3")),
        "{in_use}"
    );

    let high = fails(
        1,
        &["dev", "--nodes", "3", "--data", &path("c"), "--s3", "127.0.0.1:65535"],
    );
    assert!(high.contains("3 nodes need 3 ports from 65535 on"), "{high}");

    fs::create_dir_all(home.path().join("b/node-1")).unwrap();
    fs::write(home.path().join("b/node-1/format"), "trellis data folder, format 99\n").unwrap();
    let newer = fails(1, &["dev", "--data", &path("b")]);
    assert!(
        newer.contains("format 99") && newer.contains("newer program"),
        "{newer}"
    );

    fs::write(home.path().join("file"), "").unwrap();
    let no_folder = fails(1, &["dev", "--data", &path("file")]);
    assert!(no_folder.contains(&path("file")), "{no_folder}");

    let nowhere = fails(1, &["key", "list", "--data", &path("none")]);
    assert!(
        nowhere.contains("no node is running") && nowhere.contains("--data"),
        "{nowhere}"
    );
    let unread = fails(1, &["server", "--config", &path("none.toml")]);
    assert!(unread.contains("cannot read the configuration"), "{unread}");
}

#[test]
fn the_command_line_explains_itself() {
    let version = ok(&["--version"]);
    assert_eq!(version.trim(), format!("trellis {}", env!("CARGO_PKG_VERSION")));
    assert!(ok(&["dev", "--help"]).contains("--s3"));
    fails(2, &["dev", "--nodes", "0"]);
    fails(2, &["status", "--data", "a", "--config", "b"]);
    fails(2, &["no-such-command"]);
}
