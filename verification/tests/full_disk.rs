//! One node on a disk that fills up: a tmpfs of its own, in a mount namespace that goes with the test.
//!
//! Uses the program that the environment variable `TRELLIS` names, else builds the one of this workspace.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod namespace;
mod program;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use namespace::{in_a_namespace, must};
use program::trellis;
use trellis_verification::cluster::{Cluster, Fittings, Launch, Shape};
use trellis_verification::history::{Condition, Outcome};
use trellis_verification::s3client::{Recorder, Session};

const DISK_BYTES: &str = "size=128m";
/// Small enough to be met soon.
const STORAGE: &str = "
[storage]
min_free_bytes = 50_331_648
reserve_bytes = 25_165_824
segment_bytes = 4_194_304
waste_bytes = 4_194_304
";
const REFUSED: &str = "503 ServiceUnavailable";
const SMALL_BYTES: usize = 48 << 10;
const LARGE_BYTES: usize = 300 << 10;
/// Bounds for loops that should end long before.
const OBJECTS_MAX: usize = 5_000;
const TRIES_MAX: u32 = 300;
const PAUSE: Duration = Duration::from_millis(100);

#[test]
fn a_disk_that_fills_up_costs_nothing_that_was_acknowledged() {
    in_a_namespace("a_disk_that_fills_up_costs_nothing_that_was_acknowledged", inside);
}

fn inside(folder: &Path) {
    must("mount", &["-t", "tmpfs", "-o", DISK_BYTES, "tmpfs"], folder);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.unwrap().block_on(fill_up(folder));
}

/// A node on the disk, a client, and what it was promised.
struct Scene {
    launch: Launch,
    cluster: Cluster,
    session: Session,
    /// The objects whose writing was acknowledged, but for those whose deletion was.
    held: Vec<(String, Bytes)>,
    /// Those whose deletion was.
    gone: Vec<String>,
    numbers: usize,
}

impl Scene {
    async fn start(folder: &Path) -> Self {
        let launch = Launch {
            binary: trellis(),
            folder: folder.join("node"),
            nodes: 1,
            shape: Shape::Servers,
            trace: None,
            fittings: Fittings::default(),
        };
        let port = 20_000 + u16::try_from(std::process::id() % 9_000).unwrap();
        let mut generate = Command::new(&launch.binary);
        generate.args([
            "config",
            "generate",
            "--nodes",
            "1",
            "--s3",
            &format!("127.0.0.1:{port}"),
            "--folder",
        ]);
        assert!(generate.arg(&launch.folder).output().unwrap().status.success());
        let mut config = OpenOptions::new()
            .append(true)
            .open(launch.folder.join("node-1.toml"))
            .unwrap();
        config.write_all(STORAGE.as_bytes()).unwrap();
        let cluster = Cluster::start(&launch).await.unwrap();
        let mut session = Session::new(0, cluster.target(), &Arc::new(Recorder::start()));
        session.create_bucket().await.unwrap();
        Scene {
            launch,
            cluster,
            session,
            held: Vec::new(),
            gone: Vec::new(),
            numbers: 0,
        }
    }

    /// Writes one more object, of bytes that are nowhere else.
    async fn put(&mut self, bytes: usize) -> Outcome {
        self.numbers += 1;
        let (key, mut body) = (format!("object-{:05}", self.numbers), vec![0; bytes]);
        fastrand::fill(&mut body);
        let body = Bytes::from(body);
        let outcome = self.session.put(&key, body.clone(), Condition::Always).await;
        if outcome == Outcome::Done {
            self.held.push((key, body));
        }
        outcome
    }

    /// Writes until that is refused.
    async fn fill(&mut self, bytes: usize) -> String {
        for _ in 0..OBJECTS_MAX {
            let outcome = self.put(bytes).await;
            if let Outcome::Unknown { why } = outcome {
                return why;
            }
            assert_eq!(outcome, Outcome::Done);
        }
        panic!("the disk does not fill up");
    }

    async fn delete_some(&mut self, count: usize) {
        for (key, _) in self.held.drain(..count) {
            assert_eq!(
                self.session.delete(&key, Condition::Always).await,
                Outcome::Done,
                "{key}"
            );
            self.gone.push(key);
        }
    }

    async fn check(&mut self) {
        for (key, body) in &self.held {
            let (_, found) = self.session.get(key, Condition::Always).await;
            assert_eq!(found.as_ref(), Some(body), "{key}");
        }
        for key in &self.gone {
            assert_eq!(
                self.session.get(key, Condition::Always).await.0,
                Outcome::NotFound,
                "{key}"
            );
        }
    }

    /// What the node says that it takes.
    fn taking(&self) -> String {
        let mut status = Command::new(&self.launch.binary);
        status
            .args(["status", "--json", "--config"])
            .arg(self.launch.folder.join("node-1.toml"));
        let status: serde_json::Value = serde_json::from_slice(&status.output().unwrap().stdout).unwrap();
        assert_eq!(status["health"]["state"], "well", "{status}");
        status["storage"]["taking"].as_str().unwrap().to_owned()
    }

    async fn until_writes_go_on(&mut self) {
        for _ in 0..TRIES_MAX {
            if self.put(SMALL_BYTES).await == Outcome::Done {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("writes do not go on");
    }

    async fn kill_and_start(&mut self) {
        self.cluster.kill(0).await.unwrap();
        self.start_again().await;
    }

    async fn start_again(&mut self) {
        self.cluster.start_again(0).unwrap();
        self.cluster.wait_until_ready(0).await.unwrap();
    }

    /// Rewrites the configuration for the next start.
    fn reconfigure(&self, from: &str, to: &str) {
        let path = self.launch.folder.join("node-1.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(&path, text.replace(from, to)).unwrap();
    }
}

/// Takes a disk, but for `left` bytes, and returns what must be removed to give it back.
fn take_disk(folder: &Path, left: u64) -> PathBuf {
    let path = folder.join("hog");
    let mut hog = File::create(&path).unwrap();
    while hog.write_all(&[1; 64 << 10]).is_ok() {}
    let taken = hog.metadata().unwrap().len();
    hog.set_len(taken.saturating_sub(left)).unwrap();
    path
}

async fn fill_up(folder: &Path) {
    let mut scene = Scene::start(folder).await;

    // Out of room for new data, with and without blocks: all the rest goes on.
    scene.put(LARGE_BYTES).await;
    let why = scene.fill(SMALL_BYTES).await;
    assert_eq!(why, REFUSED);
    assert_ne!(scene.put(LARGE_BYTES).await, Outcome::Done);
    assert_eq!(scene.taking(), "upkeep");
    scene.check().await;
    scene.delete_some(20).await;
    scene.kill_and_start().await;
    scene.check().await;

    // Deletes make room.
    let most = scene.held.len() * 3 / 4;
    scene.delete_some(most).await;
    scene.until_writes_go_on().await;
    scene.check().await;

    // Somebody else takes the disk to the last byte in the middle of writes, and gives it back.
    let hogged = folder.to_owned();
    let hogging = tokio::task::spawn_blocking(move || take_disk(&hogged, 0));
    assert_eq!(scene.fill(SMALL_BYTES).await, REFUSED);
    let hog = hogging.await.unwrap();
    assert_ne!(scene.put(LARGE_BYTES).await, Outcome::Done);
    assert_eq!(scene.taking(), "nothing");
    scene.check().await;
    std::fs::remove_file(hog).unwrap();
    scene.until_writes_go_on().await;
    assert_eq!(scene.taking(), "everything");

    // A start on a disk with little room; then the last byte is taken by the node itself, which keeps no reserve.
    scene.cluster.kill(0).await.unwrap();
    scene.reconfigure("min_free_bytes = 50_331_648", "min_free_bytes = 0");
    let hog = take_disk(folder, 12 << 20);
    scene.start_again().await;
    scene.check().await;
    assert_eq!(scene.fill(SMALL_BYTES).await, REFUSED);
    let held = scene.held.len();
    std::fs::remove_file(hog).unwrap();
    scene.until_writes_go_on().await;
    assert!(scene.held.len() > held);
    scene.check().await;
    scene.kill_and_start().await;
    scene.check().await;
}
