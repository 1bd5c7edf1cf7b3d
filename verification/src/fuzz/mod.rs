//! Everything that reads what others wrote, fed with bytes that nobody wrote.
//!
//! A [`Target`] takes any bytes and panics if a reader does: on the way it also holds the reader to its laws, as that what
//! is read and written again is read as the same. Inputs are the files of `verification/fuzz/corpus`, valid messages that
//! the program makes itself, so that they never grow old, and what [`mutate`] makes of both. `tests/fuzz.rs` runs a
//! bounded number under one seed; `trellis-fuzz` goes on as long as one likes, and `verification/fuzz` is for coverage-
//! guided runs with `cargo fuzz`.

mod http;
pub mod mutate;
mod readers;
mod samples;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A reader, or several of the same kind of bytes.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and that of its folder in the corpus.
    pub name: &'static str,
    /// Feeds it; panics if it does what it must not.
    pub feed: fn(&[u8]),
    /// Valid inputs.
    samples: fn() -> Vec<Vec<u8>>,
}

const fn target(name: &'static str, feed: fn(&[u8]), samples: fn() -> Vec<Vec<u8>>) -> Target {
    Target { name, feed, samples }
}

/// All there are.
pub const TARGETS: [Target; 18] = [
    target("frames", trellis_node::fuzzing::frames, samples::frames),
    target("questions", trellis_node::fuzzing::questions, samples::questions),
    target("answers", trellis_node::fuzzing::answers, samples::answers),
    target("log", trellis_node::fuzzing::log, samples::log),
    target("config", trellis_node::fuzzing::config, samples::configs),
    target("arguments", trellis_node::fuzzing::arguments, Vec::new),
    target("chunked", trellis_s3api::front::fuzzing::chunked, Vec::new),
    target("documents", trellis_s3api::front::fuzzing::documents, Vec::new),
    target("targets", trellis_s3api::front::fuzzing::targets, Vec::new),
    target("heads", trellis_s3api::front::fuzzing::heads, Vec::new),
    target("requests", http::requests, Vec::new),
    target("connections", http::connections, Vec::new),
    target("rows", readers::rows, samples::rows),
    target("layouts", readers::layouts, samples::layouts),
    target("contacts", readers::contacts, samples::contacts),
    target("traces", readers::traces, samples::traces),
    target("scenarios", readers::scenarios, samples::scenarios),
    target("histories", readers::histories, Vec::new),
];

impl Target {
    /// The target of this name.
    pub fn find(name: &str) -> Option<Target> {
        TARGETS.into_iter().find(|target| target.name == name)
    }

    /// What to begin with: its samples and its files.
    pub fn seeds(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut seeds = (self.samples)();
        for file in self.files()? {
            seeds.push(fs::read(file)?);
        }
        Ok(seeds)
    }

    /// The files of its corpus, in order.
    pub fn files(&self) -> io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(corpus().join(self.name))?;
        let mut files = entries
            .map(|entry| Ok(entry?.path()))
            .collect::<io::Result<Vec<PathBuf>>>()?;
        files.sort();
        Ok(files)
    }
}

/// The folder with a folder for each target.
pub fn corpus() -> PathBuf {
    repository().join("verification/fuzz/corpus")
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
