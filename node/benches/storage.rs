//! What a durable row costs: `cargo bench -p trellis-node --bench storage [folder]`.
//!
//! Prints, on the disk of `folder` (default: the temporary folder), the bare cost of appending and syncing 1 KiB, then
//! rows per second with 1, 16 and 64 concurrent writers, bytes written per byte of row, reads and scans per second,
//! and how long the store takes to open after an orderly stop and after a crash. An fsync costs what the disk and its
//! neighbours make of it, so rates are only worth comparing within one run.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark reports to whoever runs it, and may stop"
)]
#![expect(clippy::disallowed_methods, reason = "it measures real time")]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;
use trellis_node::env::Random;
use trellis_node::storage::{Change, DataFolder, DiskRows, Opened, Rows, RowsConfig};

const ROW_BYTES: usize = 1024;
const WRITE_TIME: Duration = Duration::from_secs(3);
const READS: u64 = 100_000;

fn main() {
    let argument = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let home = argument
        .map_or_else(std::env::temp_dir, PathBuf::from)
        .join(format!("bench-{}", std::process::id()));
    let folder = DataFolder::open(&home).unwrap();
    bare(&home);
    let rows = Arc::new(open(&folder).0);
    println!("empty: {}", memory());
    let mut written = 0;
    for writers in [1, 16, 64] {
        written += writes(&rows, writers, written);
    }
    reads(&rows, written);
    for tasks in [1, 32] {
        reads_by_tasks(&rows, written, tasks, look_up, "on the network's threads");
        let blocking = |rows: &DiskRows, number| tokio::task::block_in_place(|| look_up(rows, number));
        reads_by_tasks(&rows, written, tasks, blocking, "each free to block");
    }
    rows.close().unwrap();
    drop(rows);
    let rows = reopen(&folder, "after an orderly stop");
    drop(rows);
    drop(reopen(
        &folder,
        &format!("after a crash, {written} rows of {ROW_BYTES} bytes"),
    ));
    fs::remove_dir_all(home).unwrap();
}

struct Counter(AtomicU8);

impl Random for Counter {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.0.fetch_add(1, Ordering::Relaxed));
    }
}

fn open(folder: &DataFolder) -> (DiskRows, Opened) {
    let config = RowsConfig {
        min_free_bytes: 0,
        reserve_bytes: 0,
        ..RowsConfig::default()
    };
    DiskRows::open(folder, config, Arc::new(Counter(Default::default()))).unwrap()
}

fn bare(home: &Path) {
    let mut file = File::create(home.join("bare")).unwrap();
    let rounds = 200;
    let start = Instant::now();
    for _ in 0..rounds {
        file.write_all(&[7; ROW_BYTES]).unwrap();
        file.sync_data().unwrap();
    }
    println!(
        "bare append and fdatasync of {ROW_BYTES} bytes: {:.0?} each",
        start.elapsed() / rounds
    );
}

/// Bytes that this process had written to disks so far.
fn written_to_disk() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    io.lines()
        .find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok())
        .unwrap()
}

fn key(number: u64) -> Bytes {
    // Spread over the key space, as hashes are.
    let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    Bytes::from(format!("objects/{spread:016x}/key"))
}

/// As many rows as go in the time, each durable before its writer goes on; how many they were.
fn writes(rows: &Arc<DiskRows>, writers: usize, first: u64) -> u64 {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let next = Arc::new(AtomicU64::new(first));
    let disk = written_to_disk();
    let start = Instant::now();
    let one = |rows: Arc<DiskRows>, next: Arc<AtomicU64>| async move {
        let mut times = Vec::new();
        while start.elapsed() < WRITE_TIME {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let begun = Instant::now();
            let value = Change::Put(Bytes::from(vec![number as u8; ROW_BYTES]));
            let position = rows.apply(vec![(key(number), value)]).unwrap();
            rows.durable(position).await.unwrap();
            times.push(begun.elapsed());
        }
        times
    };
    let mut times = runtime.block_on(async {
        let tasks: JoinSet<_> = (0..writers).map(|_| one(rows.clone(), next.clone())).collect();
        tasks.join_all().await.concat()
    });
    times.sort();
    let count = times.len() as u64;
    println!(
        "{writers:2} writers: {:6.0} rows/s, median {:.0?}, p99 {:.0?}, {:.1} disk bytes per byte",
        count as f64 / start.elapsed().as_secs_f64(),
        times[times.len() / 2],
        times[times.len() * 99 / 100],
        (written_to_disk() - disk) as f64 / (count as usize * ROW_BYTES) as f64,
    );
    count
}

/// Reads from many tasks at once: on the network's threads, as replicas do, beside handing each to a thread that may
/// block.
fn reads_by_tasks(rows: &Arc<DiskRows>, written: u64, tasks: u64, how: fn(&DiskRows, u64), what: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let start = Instant::now();
    let one = |rows: Arc<DiskRows>, task: u64| async move {
        for number in (task..READS).step_by(usize::try_from(tasks).unwrap()) {
            how(&rows, number.wrapping_mul(7919) % written);
            tokio::task::yield_now().await;
        }
    };
    runtime.block_on(async {
        let all: JoinSet<_> = (0..tasks).map(|task| one(rows.clone(), task)).collect();
        all.join_all().await;
    });
    println!(
        "get by {tasks} tasks, {what}: {:.0} per s",
        READS as f64 / start.elapsed().as_secs_f64()
    );
}

fn look_up(rows: &DiskRows, number: u64) {
    let found = rows.get(&key(number)).unwrap();
    assert_eq!(found.value.unwrap().len(), ROW_BYTES);
}

fn reads(rows: &DiskRows, written: u64) {
    let start = Instant::now();
    for number in 0..READS {
        let found = rows.get(&key(number.wrapping_mul(7919) % written)).unwrap();
        assert_eq!(found.value.unwrap().len(), ROW_BYTES);
    }
    println!("get: {:.0} per s", READS as f64 / start.elapsed().as_secs_f64());
    let start = Instant::now();
    let found = rows.scan(b"objects/", b"objects0", 10_000).unwrap().value.len();
    println!("scan of {found} rows of {ROW_BYTES} bytes: {:.1?}", start.elapsed());
}

fn reopen(folder: &DataFolder, what: &str) -> DiskRows {
    let start = Instant::now();
    let (rows, opened) = open(folder);
    println!(
        "open {what}: {:.0?} ({:?}); {}",
        start.elapsed(),
        opened.index,
        memory()
    );
    rows
}

fn memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap_or_default();
    format!("{} resident", line.trim())
}
