//! Three nodes, one of them with two disks for blocks, one of which goes away: at a start, while the node runs, and for good.
//! The disks are folders that are mounted where the node looks for them, in a mount namespace that goes with the test.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod namespace;
mod program;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use namespace::{in_a_namespace, must};
use program::trellis;
use serde_json::Value;
use trellis_verification::cluster::{Cluster, Fittings, Launch, Shape};
use trellis_verification::history::{Condition, Outcome};
use trellis_verification::s3client::{Recorder, Session};

/// Each of one block.
const OBJECTS: usize = 24;
const OBJECT_BYTES: usize = 1 << 20;
const TRIES_MAX: u32 = 900;
const PAUSE: Duration = Duration::from_millis(100);

#[test]
fn a_disk_that_goes_away_costs_no_object() {
    in_a_namespace("a_disk_that_goes_away_costs_no_object", |folder| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime.unwrap().block_on(lose(folder));
    });
}

/// The cluster, and a client of its first node, which has the two disks.
struct Scene {
    folder: PathBuf,
    launch: Launch,
    cluster: Cluster,
    session: Session,
}

impl Scene {
    async fn start(folder: &Path) -> Self {
        let launch = Launch {
            binary: trellis(),
            folder: folder.join("cluster"),
            nodes: 3,
            shape: Shape::Servers,
            trace: None,
            fittings: Fittings::default(),
        };
        let s3 = format!("127.0.0.1:{}", 20_000 + std::process::id() % 9_000);
        let mut generate = Command::new(&launch.binary);
        generate.args(["config", "generate", "--nodes", "3", "--s3", &s3, "--folder"]);
        assert!(generate.arg(&launch.folder).output().unwrap().status.success());
        let mut config = OpenOptions::new()
            .append(true)
            .open(launch.folder.join("node-1.toml"))
            .unwrap();
        writeln!(config, "\n[blocks]\ncompression = \"zstd\"").unwrap();
        for disk in ["a", "b"] {
            fs::create_dir_all(folder.join("disks").join(disk)).unwrap();
            fs::create_dir(folder.join(disk)).unwrap();
            mount(folder, disk);
            let path = folder.join(disk);
            writeln!(config, "\n[[block_folder]]\npath = {path:?}\ncapacity = \"1GB\"").unwrap();
        }
        let cluster = Cluster::start(&launch).await.unwrap();
        let mut session = Session::new(0, cluster.target(), &Arc::new(Recorder::start()));
        session.create_bucket().await.unwrap();
        Scene {
            folder: folder.to_owned(),
            launch,
            cluster,
            session,
        }
    }

    async fn put_all(&mut self, names: &str) {
        for number in 0..OBJECTS {
            let (key, body) = object(names, number);
            assert_eq!(self.session.put(&key, body, Condition::Always).await, Outcome::Done);
        }
    }

    async fn check_all(&mut self, names: &str) {
        for number in 0..OBJECTS {
            let (key, body) = object(names, number);
            let (_, found) = self.session.get(&key, Condition::Always).await;
            assert_eq!(found, Some(body), "{key}");
        }
    }

    /// Runs a command about the node with the disks.
    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.launch.binary);
        command.args(arguments).arg("--config").arg(self.config());
        command.output().unwrap()
    }

    fn config(&self) -> PathBuf {
        self.launch.folder.join("node-1.toml")
    }

    fn status(&self) -> Value {
        let output = self.run(&["status", "--json"]);
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    async fn until(&self, what: &str, reached: impl Fn(&Value) -> bool) {
        for _ in 0..TRIES_MAX {
            if reached(&self.status()) {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("{what}: {:#}", self.status());
    }

    /// Blocks on a disk, wherever it is mounted: all of them compressed.
    fn blocks_on(&self, disk: &str) -> usize {
        const NAME_DIGITS: usize = 64;
        let names = walk(&self.folder.join("disks").join(disk));
        assert!(names.iter().all(|name| name.len() != NAME_DIGITS), "{names:?}");
        let compressed = names.iter().filter_map(|name| name.strip_suffix(".zst"));
        compressed.filter(|name| name.len() == NAME_DIGITS).count()
    }

    async fn until_everything_is_copied(&self, blocks: usize) {
        let is_full = |status: &Value| status["copies"]["state"] == "full";
        self.until("every copy is there", |status| {
            is_full(status) && self.blocks_on("a") + self.blocks_on("b") >= blocks
        })
        .await;
    }
}

fn mount(folder: &Path, disk: &str) {
    let from = folder.join("disks").join(disk);
    must("mount", &["--bind", from.to_str().unwrap()], &folder.join(disk));
}

fn unmount(folder: &Path, disk: &str) {
    must("umount", &["-l"], &folder.join(disk));
}

fn object(names: &str, number: usize) -> (String, Bytes) {
    let key = format!("{names}-{number}");
    let lines = (0..).flat_map(|line| format!("line {line} of {names}-{number}\n").into_bytes());
    let body: Vec<u8> = lines.take(OBJECT_BYTES).collect();
    (key, body.into())
}

fn walk(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    // Files come and go meanwhile.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(walk(&entry.path())),
            Ok(_) | Err(_) => found.push(entry.file_name().to_string_lossy().into_owned()),
        }
    }
    found
}

fn state_of_a(status: &Value) -> &Value {
    &status["storage"]["block_folders"][0]["state"]
}

async fn lose(folder: &Path) {
    let mut scene = Scene::start(folder).await;
    scene.put_all("first").await;
    scene.until_everything_is_copied(OBJECTS).await;
    let on_a = scene.blocks_on("a");
    assert!(on_a > 0 && on_a < OBJECTS, "{on_a}");

    // Away at a start.
    scene.cluster.kill(0).await.unwrap();
    unmount(folder, "a");
    let refused = scene.run(&["server"]);
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && error.contains("not mounted"), "{error}");
    assert_eq!(walk(&folder.join("a")), [""; 0]);
    mount(folder, "a");
    scene.cluster.start_again(0).unwrap();
    scene.cluster.wait_until_ready(0).await.unwrap();
    scene.check_all("first").await;

    // Away while it runs: others serve what was on it, and it is copied to the other disk.
    unmount(folder, "a");
    scene
        .until("the node notices", |status| state_of_a(status) == "away")
        .await;
    let shown = String::from_utf8(scene.run(&["status"]).stdout).unwrap();
    assert!(shown.contains("AWAY"), "{shown}");
    scene.check_all("first").await;
    scene.put_all("second").await;
    scene.until_everything_is_copied(on_a + 2 * OBJECTS).await;
    assert_eq!((scene.blocks_on("a"), scene.blocks_on("b")), (on_a, 2 * OBJECTS));
    assert_eq!(
        walk(&folder.join("a")),
        [""; 0],
        "nothing was written below the mount point"
    );

    // Back: one copy of each is enough.
    mount(folder, "a");
    scene
        .until("the disk is used again", |status| state_of_a(status) == "in-use")
        .await;
    assert!(scene.run(&["repair", "scrub"]).status.success());
    scene
        .until("blocks lie where they belong", |_| {
            scene.blocks_on("a") > on_a && scene.blocks_on("a") + scene.blocks_on("b") == 2 * OBJECTS
        })
        .await;
    scene.check_all("second").await;

    // Lost for good, and replaced by an empty one.
    scene.cluster.kill(0).await.unwrap();
    unmount(folder, "a");
    let lost = folder.join("a");
    let replaced = scene.run(&["repair", "replace-folder", lost.to_str().unwrap()]);
    assert!(
        replaced.status.success(),
        "{}",
        String::from_utf8_lossy(&replaced.stderr)
    );
    fs::rename(folder.join("disks/a"), folder.join("disks/lost")).unwrap();
    fs::create_dir(folder.join("disks/a")).unwrap();
    mount(folder, "a");
    scene.cluster.start_again(0).unwrap();
    scene.cluster.wait_until_ready(0).await.unwrap();
    scene.check_all("first").await;
    scene.until_everything_is_copied(2 * OBJECTS).await;
    assert!(scene.blocks_on("a") > 0);
    scene.check_all("second").await;
}
