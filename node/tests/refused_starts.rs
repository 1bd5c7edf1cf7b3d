//! What stands in the way of a start: each obstacle is named in one paragraph that says what to do, the process ends with
//! an error, and nothing on the disk is touched.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

#[expect(
    dead_code,
    reason = "a start that is refused needs only some of what the tests of commands share"
)]
mod support;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::{Running, free_ports, ok, text, trellis};

/// Nobody: owns nothing, and is not root.
const STRANGER: u32 = 65_534;

/// A configured node that ran before, in a folder of its own.
struct Scene {
    home: tempfile::TempDir,
    s3: u16,
    /// Keeps something as it is: a listener, a running node.
    holds: Vec<Box<dyn std::any::Any>>,
}

impl Scene {
    fn new() -> Self {
        let (home, s3) = (tempfile::tempdir().unwrap(), free_ports(2));
        let address = format!("127.0.0.1:{s3}");
        let generate = ["config", "generate", "--nodes", "1", "--s3", &address, "--folder"];
        ok(&[&generate[..], &[text(&home.path().join("one"))]].concat());
        let scene = Scene {
            home,
            s3,
            holds: Vec::new(),
        };
        let mut node = scene.run();
        node.wait_until_healthy(&format!("http://{address}"));
        assert!(node.stop_by(rustix::process::Signal::TERM).success());
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join("one").join(name)
    }

    fn run(&self) -> Running {
        let config = self.path("node-1.toml");
        Running::start(&["server", "--config", text(&config)], &self.home.path().join("log"))
    }

    fn edit(&self, from: &str, to: &str) {
        let path = self.path("node-1.toml");
        let config = fs::read_to_string(&path).unwrap();
        assert!(config.contains(from), "{config}");
        fs::write(path, config.replace(from, to)).unwrap();
    }

    fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
    }

    /// Starts the server as somebody who is not allowed more than others. Root is, so a root's test does it as a
    /// stranger, from a copy of the program that strangers can reach, and gives them what the test does not deny.
    fn start(&self, who: Who) -> Output {
        let config = self.path("node-1.toml");
        let mut command = trellis(&["server", "--config", text(&config)]);
        if who == Who::NotRoot && rustix::process::getuid().is_root() {
            let copy = self.home.path().join("trellis");
            fs::copy(env!("CARGO_BIN_EXE_trellis"), &copy).unwrap();
            fs::set_permissions(self.home.path(), Permissions::from_mode(0o755)).unwrap();
            command = Command::new(copy);
            command
                .args(["server", "--config", text(&config)])
                .uid(STRANGER)
                .gid(STRANGER);
        }
        command.output().unwrap()
    }

    /// Everything below the folder that a start could have changed.
    fn content(&self) -> BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.home.path().join("one")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let meta = entry.metadata().unwrap();
                let data = if meta.is_file() {
                    fs::read(entry.path()).unwrap()
                } else {
                    Vec::new()
                };
                found.insert(entry.path(), (meta.mode(), meta.mtime(), meta.mtime_nsec(), data));
                folders.extend(meta.is_dir().then(|| entry.path()));
            }
        }
        found
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Anyone,
    /// Root may do everything, also what a test forbids.
    NotRoot,
}

struct Obstacle {
    what: &'static str,
    who: Who,
    put_up: fn(&mut Scene),
    /// What the error must contain.
    says: &'static [&'static str],
}

fn obstacle(what: &'static str, put_up: fn(&mut Scene), says: &'static [&'static str]) -> Obstacle {
    Obstacle {
        what,
        who: Who::Anyone,
        put_up,
        says,
    }
}

fn denied(what: &'static str, put_up: fn(&mut Scene), says: &'static [&'static str]) -> Obstacle {
    let who = Who::NotRoot;
    Obstacle {
        who,
        ..obstacle(what, put_up, says)
    }
}

/// Lets a stranger use everything.
fn give_away(scene: &Scene) {
    if rustix::process::getuid().is_root() {
        let given = Command::new("chown")
            .args(["-R", &format!("{STRANGER}:{STRANGER}")])
            .arg(scene.path(""))
            .status();
        assert!(given.unwrap().success());
    }
}

fn in_configuration() -> Vec<Obstacle> {
    vec![
        obstacle(
            "no configuration",
            |scene| fs::remove_file(scene.path("node-1.toml")).unwrap(),
            &["cannot read the configuration", "node-1.toml"],
        ),
        obstacle("no TOML", |scene| scene.edit("[s3]", "[s3"), &["node-1.toml", "line 6"]),
        obstacle(
            "an unknown key",
            |scene| scene.edit("region =", "regoin ="),
            &["line 8", "unknown field `regoin`", "`region`"],
        ),
        obstacle(
            "an unknown table",
            |scene| scene.edit("[links]", "[link]"),
            &["line 10", "unknown field `link`"],
        ),
        obstacle(
            "a value of the wrong kind",
            |scene| scene.edit("replication_factor = 1", "replication_factor = \"1\""),
            &["line 15", "invalid type"],
        ),
        obstacle(
            "a value out of range",
            |scene| scene.edit("[links]", "[limits]\nhedge_ms = 0\n[links]"),
            &["limits.hedge_ms", "is not between 1 and 60000"],
        ),
        obstacle(
            "no secret file",
            |scene| fs::remove_file(scene.path("cluster.secret")).unwrap(),
            &["cluster_secret_file names", "cluster.secret, which is not there"],
        ),
        obstacle(
            "no secret",
            |scene| scene.edit("cluster_secret_file", "# cluster_secret_file"),
            &["cluster_secret_file", "TRELLIS_CLUSTER_SECRET", "trellis config secret"],
        ),
        obstacle(
            "a secret that others can read",
            |scene| scene.chmod("cluster.secret", 0o644),
            &["cluster.secret can be accessed by others", "chmod 600"],
        ),
        obstacle(
            "a secret that is none",
            |scene| fs::write(scene.path("cluster.secret"), "hush").unwrap(),
            &["cluster.secret does not hold 64 hexadecimal digits"],
        ),
        obstacle(
            "credentials that others can read",
            |scene| scene.chmod("credentials.env", 0o604),
            &["credentials.env can be accessed by others", "chmod 600"],
        ),
        denied(
            "a secret that cannot be read",
            |scene| {
                give_away(scene);
                scene.chmod("cluster.secret", 0);
            },
            &["cluster.secret", "Permission denied", "chown"],
        ),
    ]
}

fn in_surroundings() -> Vec<Obstacle> {
    vec![
        obstacle(
            "the S3 port is in use",
            |scene| {
                scene
                    .holds
                    .push(Box::new(TcpListener::bind(("127.0.0.1", scene.s3)).unwrap()))
            },
            &[
                "cannot listen on 127.0.0.1:",
                "for S3",
                "stop what uses that address, or choose another",
            ],
        ),
        obstacle(
            "the port for links is in use",
            |scene| {
                scene
                    .holds
                    .push(Box::new(TcpListener::bind(("127.0.0.1", scene.s3 + 1)).unwrap()))
            },
            &[
                "cannot listen on 127.0.0.1:",
                "for links between nodes",
                "choose another",
            ],
        ),
        obstacle(
            "another process has the folder",
            |scene| {
                let lock = fs::File::options().write(true).open(scene.path("node-1/lock")).unwrap();
                lock.try_lock().unwrap();
                scene.holds.push(Box::new(lock));
            },
            &[
                "node-1 is in use by another process",
                "stop it, or choose another data folder",
            ],
        ),
    ]
}

fn in_folder() -> Vec<Obstacle> {
    vec![
        obstacle(
            "no data folder",
            |scene| fs::remove_dir_all(scene.path("node-1")).unwrap(),
            &[
                "node-1 is not the data folder of a node",
                "is its disk mounted?",
                "trellis node init",
            ],
        ),
        obstacle(
            "an empty data folder",
            |scene| {
                fs::remove_dir_all(scene.path("node-1")).unwrap();
                fs::create_dir(scene.path("node-1")).unwrap();
            },
            &["is not the data folder of a node", "is its disk mounted?"],
        ),
        obstacle(
            "a file for a data folder",
            |scene| {
                fs::remove_dir_all(scene.path("node-1")).unwrap();
                fs::write(scene.path("node-1"), "").unwrap();
            },
            &["node-1", "there is a file where a folder should be"],
        ),
        obstacle(
            "an empty folder under the key of a node",
            |scene| {
                let key = fs::read(scene.path("node-1/node.key")).unwrap();
                fs::remove_dir_all(scene.path("node-1")).unwrap();
                ok(&["node", "init", "--data", text(&scene.path("node-1"))]);
                fs::write(scene.path("node-1/node.key"), key).unwrap();
            },
            &[
                "the key of this node with another disk",
                "cannot take its old place",
                "trellis node init",
            ],
        ),
        obstacle(
            "another cluster's layout",
            |scene| scene.edit("zone-1", "zone-2"),
            &["not the one that the node in", "began with", "Undo the change"],
        ),
        obstacle(
            "half of a node",
            |scene| fs::remove_file(scene.path("node-1/disk-id")).unwrap(),
            &[
                "node-1 holds rows of a node",
                "disk-id is missing",
                "restore the whole folder",
            ],
        ),
        obstacle(
            "rows that are gone",
            |scene| fs::remove_dir_all(scene.path("node-1/rows")).unwrap(),
            &[
                "are gone",
                "node-1/rows/log",
                "trellis node init",
                "trellis node replace OLD NEW",
            ],
        ),
        obstacle(
            "a log that was emptied",
            |scene| {
                fs::remove_dir_all(scene.path("node-1/rows/log")).unwrap();
                fs::create_dir(scene.path("node-1/rows/log")).unwrap();
            },
            &["are gone", "as the node that it was", "in an empty folder"],
        ),
        obstacle(
            "a key that others can read",
            |scene| scene.chmod("node-1/node.key", 0o640),
            &["node.key can be accessed by others", "chmod 600"],
        ),
        obstacle(
            "a key that is none",
            |scene| fs::write(scene.path("node-1/node.key"), "key").unwrap(),
            &["node.key does not hold"],
        ),
        obstacle(
            "a disk id that is none",
            |scene| fs::write(scene.path("node-1/disk-id"), "id").unwrap(),
            &["disk-id does not hold 32 hexadecimal digits"],
        ),
        obstacle(
            "a newer format",
            |scene| fs::write(scene.path("node-1/format"), "trellis data folder, format 9\n").unwrap(),
            &["node-1 has format 9", "formats up to 3", "start a newer program"],
        ),
        obstacle(
            "no format",
            |scene| fs::write(scene.path("node-1/format"), "?").unwrap(),
            &["node-1 is damaged", "docs/operate.md"],
        ),
        obstacle(
            "a log that ends before it was closed",
            |scene| {
                let log = fs::File::options()
                    .write(true)
                    .open(scene.path("node-1/rows/log/00000001.log"))
                    .unwrap();
                log.set_len(150).unwrap();
            },
            &[
                "rows is damaged",
                "the log ends at commit",
                "was closed at",
                "must not be started again",
            ],
        ),
        denied(
            "a folder that cannot be read",
            |scene| {
                give_away(scene);
                scene.chmod("node-1", 0);
            },
            &["node-1", "Permission denied", "must own the folder", "chown -R"],
        ),
        denied(
            "a folder that cannot be written",
            |scene| {
                give_away(scene);
                for name in ["node-1", "node-1/rows", "node-1/rows/log"] {
                    scene.chmod(name, 0o500);
                }
                scene.chmod("node-1/lock", 0o400);
            },
            &["node-1", "Permission denied", "must own the folder", "chown -R"],
        ),
    ]
}

fn is_refused(obstacle: &Obstacle) {
    let (what, mut scene) = (obstacle.what, Scene::new());
    (obstacle.put_up)(&mut scene);
    let before = scene.content();
    let output = scene.start(obstacle.who);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{what}: {error}");
    for said in obstacle.says {
        assert!(error.contains(said), "{what}: no {said:?} in: {error}");
    }
    let paragraph = error.trim_end();
    assert!(
        paragraph.starts_with("error: ") || paragraph.starts_with("trellis: "),
        "{what}: {error}"
    );
    assert!(
        !error.contains("panicked") && !paragraph.contains("\n\n"),
        "{what}: {error}"
    );
    let after = scene.content();
    let changed = before
        .iter()
        .filter(|(path, held)| after.get(*path) != Some(held))
        .map(|(path, _)| path);
    let new = after.keys().filter(|path| !before.contains_key(*path));
    assert_eq!(
        changed.chain(new).collect::<Vec<&PathBuf>>(),
        Vec::<&Path>::new(),
        "{what}"
    );
}

#[test]
fn what_is_wrong_with_a_configuration_is_said() {
    in_configuration().iter().for_each(is_refused);
}

#[test]
fn what_is_in_the_way_around_a_node_is_said() {
    in_surroundings().iter().for_each(is_refused);
}

#[test]
fn what_is_wrong_with_a_data_folder_is_said() {
    in_folder().iter().for_each(is_refused);
}
