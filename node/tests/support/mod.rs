//! The real program in processes of its own, for tests of its command line.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// Below the range from which the system hands out ports.
const FIRST_PORT: u16 = 12_000;

/// The program, without what the surroundings of the test may have set.
pub(crate) fn trellis(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trellis"));
    for name in [
        "RUST_LOG",
        "TRELLIS_DATA",
        "TRELLIS_CONFIG",
        "TRELLIS_CLUSTER_SECRET",
        "XDG_DATA_HOME",
    ] {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

/// Runs a command that must work, and returns what it printed.
pub(crate) fn ok(arguments: &[&str]) -> String {
    let output = trellis(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", errors(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that must work, and returns the JSON it printed.
pub(crate) fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&ok(arguments)).unwrap()
}

/// Runs a command that must end with this code, and returns its error.
pub(crate) fn fails(code: i32, arguments: &[&str]) -> String {
    let output = trellis(arguments).output().unwrap();
    let text = errors(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    assert!(!text.contains("panicked") && !text.contains("backtrace"), "{text}");
    text
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A running process; killed when dropped.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts the program; what it says goes to `log`.
    pub(crate) fn start(arguments: &[&str], log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        let child = trellis(arguments)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let log = log.to_owned();
        Running { child, log }
    }

    /// `trellis dev` on ports that are free; returns when it serves.
    pub(crate) fn dev(data: &Path, more: &[&str]) -> Self {
        // What an earlier start wrote must not be taken for this one's.
        let endpoints = data.join("endpoints.txt");
        let _ = std::fs::remove_file(&endpoints);
        let mut arguments = vec!["dev", "--s3", "127.0.0.1:0", "--data", text(data)];
        arguments.extend(more);
        std::fs::create_dir_all(data).unwrap();
        let mut running = Running::start(&arguments, &data.join("dev.log"));
        running.wait_until("dev has written its endpoints", || endpoints.exists());
        for endpoint in std::fs::read_to_string(&endpoints).unwrap().lines() {
            running.wait_until_healthy(endpoint);
        }
        running
    }

    /// Waits until `/health` says 200.
    pub(crate) fn wait_until_healthy(&mut self, endpoint: &str) {
        self.wait_until("the node is healthy", || {
            health(endpoint).is_some_and(|(code, _)| code == 200)
        });
    }

    /// Waits for something that the process is to bring about.
    pub(crate) fn wait_until(&mut self, what: &str, mut reached: impl FnMut() -> bool) {
        for _ in 0..LIMIT.as_millis() / POLL.as_millis() {
            if reached() {
                return;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("waiting until {what}, the process ended with {status}:\n{}", self.log());
            }
            sleep(POLL);
        }
        panic!("{what}: not within {LIMIT:?}:\n{}", self.log());
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn stop_by(mut self, signal: Signal) -> ExitStatus {
        let id = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(id, signal).unwrap();
        for _ in 0..LIMIT.as_millis() / POLL.as_millis() {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            sleep(POLL);
        }
        panic!("it does not stop:\n{}", self.log());
    }

    /// What it said.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `/health` says at an endpoint such as `http://127.0.0.1:3900`, if anything.
pub(crate) fn health(endpoint: &str) -> Option<(u16, String)> {
    let address = endpoint.strip_prefix("http://")?.parse().ok()?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream
        .write_all(b"GET /health HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")
        .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let code = answer.split(' ').nth(1)?.parse().ok()?;
    let body = answer.split_once("\r\n\r\n")?.1.to_owned();
    Some((code, body))
}

/// The first of as many neighbouring ports that are free; no two calls in this process return overlapping ones.
pub(crate) fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let offset = u16::try_from(std::process::id() % 500).unwrap() * 20;
    let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let firsts = std::iter::repeat_with(|| FIRST_PORT + (offset + NEXT.fetch_add(count, Ordering::Relaxed)) % 10_000);
    let mut firsts = firsts.take(1000);
    firsts.find(|first| (*first..first + count).all(is_free)).unwrap()
}

/// A path in an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
