//! What a block on disk costs, and what compression makes of that: `cargo bench -p trellis-node --bench blocks [folder]`.
//!
//! Stores blocks of 1 MiB, 16 at once, and reads them one after the other, on the disk of `folder` (default: the temporary
//! folder): such as shrink and such as do not, without compression and at several levels. Prints rates, the processor time
//! of the process for each block, and bytes on disk for each byte. A sync costs what the disk and its neighbours make of
//! it, so rates are only worth comparing within one run.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark reports to whoever runs it, and may stop"
)]
#![expect(clippy::disallowed_methods, reason = "it measures real time")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use trellis_node::env::Random;
use trellis_node::storage::{Block, BlockFiles, BlockSetup, Blocks, BlocksConfig, Compression, DataFolder};

const BLOCKS: usize = 128;
const BLOCK_BYTES: usize = 1 << 20;
const WRITERS: usize = 16;
const ROUNDS: usize = 3;

fn main() {
    let argument = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let home = argument
        .map_or_else(std::env::temp_dir, PathBuf::from)
        .join(format!("bench-{}", std::process::id()));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    println!("| blocks | kept | put per s | CPU ms | get per s | CPU ms | bytes on disk per byte |");
    println!("|---|---|---|---|---|---|---|");
    for round in 0..ROUNDS {
        for (what, blocks) in [("like a log", log_lines()), ("random", noise())] {
            for level in [None, Some(1), Some(3)] {
                measure(
                    &runtime,
                    &home.join(format!("{round}-{what}-{level:?}")),
                    level,
                    what,
                    &blocks,
                );
            }
        }
    }
    fs::remove_dir_all(home).unwrap();
}

/// Lines such as a web server writes: a time, an address, a path, a status, a size.
fn log_lines() -> Vec<Block> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut line = |number: usize| {
        format!(
            "2026-11-21T18:{:02}:{:02}.{:03}Z 192.0.2.{} GET /photos/{:08x}/{:04}.jpg {} {}\n",
            number / 6000 % 60,
            number / 100 % 60,
            random.u16(..1000),
            random.u8(..),
            random.u32(..),
            random.u16(..10_000),
            random.choice([200, 200, 200, 304, 404]).unwrap(),
            random.u32(..5_000_000)
        )
    };
    let mut text = Vec::new();
    (0..)
        .map(&mut line)
        .take_while(|line| {
            text.extend(line.bytes());
            text.len() < BLOCKS * BLOCK_BYTES
        })
        .for_each(drop);
    text.chunks_exact(BLOCK_BYTES)
        .map(|data| Block::named(data.to_vec().into()))
        .collect()
}

fn noise() -> Vec<Block> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut block = |_| {
        let mut data = vec![0; BLOCK_BYTES];
        random.fill(&mut data);
        Block::named(data.into())
    };
    (0..BLOCKS).map(&mut block).collect()
}

fn measure(runtime: &Runtime, home: &Path, level: Option<u64>, what: &str, made: &[Block]) {
    let folder = DataFolder::open(home).unwrap();
    let config = match level {
        None => BlocksConfig::default(),
        Some(compression_level) => BlocksConfig {
            compression: Compression::Zstd,
            compression_level,
        },
    };
    let setup = BlockSetup {
        config,
        ..BlockSetup::default()
    };
    let blocks = Arc::new(BlockFiles::open(&folder, &setup, &Counter(AtomicU8::new(0))).unwrap());
    let puts = timed(|| {
        runtime.block_on(async {
            let chunks = made.chunks(made.len() / WRITERS);
            let tasks: JoinSet<_> = chunks.map(|chunk| put(blocks.clone(), chunk.to_vec())).collect();
            tasks.join_all().await;
        });
    });
    let gets = timed(|| {
        runtime.block_on(async {
            for block in made {
                assert_eq!(blocks.get(block.name()).await.unwrap().as_ref(), Some(block.data()));
            }
        });
    });
    let kept = level.map_or("as they are".to_owned(), |level| format!("zstd, level {level}"));
    let on_disk = bytes_in(home) as f64 / (made.len() * BLOCK_BYTES) as f64;
    println!("| {what} | {kept} | {puts} | {gets} | {on_disk:.2} |");
    drop(blocks);
    fs::remove_dir_all(home).unwrap();
}

async fn put(blocks: Arc<BlockFiles>, made: Vec<Block>) {
    for block in made {
        blocks.put(block).await.unwrap();
    }
}

/// Blocks per second, and processor time for each.
fn timed(work: impl FnOnce()) -> String {
    let (start, before) = (Instant::now(), processor_ms());
    work();
    let rate = BLOCKS as f64 / start.elapsed().as_secs_f64();
    format!("{rate:.0} | {:.1}", (processor_ms() - before) / BLOCKS as f64)
}

/// Processor time of this process, all threads together.
fn processor_ms() -> f64 {
    const TICK_MS: f64 = 10.0;
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let ticks = after_name
        .split(' ')
        .skip(12)
        .take(2)
        .map(|ticks| ticks.parse::<f64>().unwrap());
    ticks.sum::<f64>() * TICK_MS
}

fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => bytes_in(&entry.path()),
            false => entry.metadata().unwrap().len(),
        })
        .sum()
}

struct Counter(AtomicU8);

impl Random for Counter {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.0.fetch_add(1, Ordering::Relaxed));
    }
}
