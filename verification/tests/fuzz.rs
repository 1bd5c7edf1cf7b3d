//! No input makes a reader panic, or ask for memory beyond reason.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use fastrand::Rng;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use trellis_verification::fuzz::mutate::mutated;
use trellis_verification::fuzz::{TARGETS, Target, corpus};

/// Inputs that are made for each target.
const MUTATED: usize = 2_000;
/// Address space that this process gets beyond what it has: an allocation that goes with a length in a message fails.
const MEMORY_MAX_BYTES: u64 = 512 << 20;
/// The whole corpus.
const CORPUS_MAX_BYTES: u64 = 200 << 10;

#[test]
fn readers_survive_whatever_they_are_given() {
    let limit = address_space_bytes() + MEMORY_MAX_BYTES;
    let maximum = getrlimit(Resource::As).maximum;
    let limit = Rlimit {
        current: Some(limit),
        maximum,
    };
    // Traces of a simulated run are made before memory becomes scarce.
    let targets = TARGETS.map(|target| (target, target.seeds().unwrap()));
    setrlimit(Resource::As, limit).unwrap();
    for (target, seeds) in targets {
        assert!(!seeds.is_empty(), "{} has nothing to begin with", target.name);
        let mut rng = Rng::with_seed(1);
        let made = (0..MUTATED).map(|_| mutated(&seeds, &mut rng));
        let inputs: Vec<Vec<u8>> = seeds.iter().cloned().chain(made).collect();
        for input in &inputs {
            survives(target, input);
        }
    }
}

/// An input that ends the process at once, as too great an allocation does, is left in the file.
fn survives(target: Target, input: &[u8]) {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}", target.name));
    fs::write(&kept, input).unwrap();
    let fed = catch_unwind(AssertUnwindSafe(|| (target.feed)(input)));
    assert!(fed.is_ok(), "{} fails on {}", target.name, kept.display());
}

fn address_space_bytes() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split(' ').next().unwrap().parse().unwrap();
    pages * rustix::param::page_size() as u64
}

#[test]
fn the_corpus_is_small_and_nothing_in_it_is_forgotten() {
    let mut bytes = 0;
    for target in TARGETS {
        for file in target.files().unwrap() {
            bytes += fs::metadata(file).unwrap().len();
        }
    }
    assert!(bytes <= CORPUS_MAX_BYTES, "{bytes} bytes");
    for folder in fs::read_dir(corpus()).unwrap() {
        let name = folder.unwrap().file_name();
        assert!(
            Target::find(name.to_str().unwrap()).is_some(),
            "no target is called {name:?}"
        );
    }
}

#[test]
fn a_reader_that_fails_is_found() {
    let fragile: fn(&[u8]) = |data| assert!(!data.windows(2).any(|pair| pair == [0xff, 0xff]));
    let (seeds, mut rng) = (vec![b"a message".to_vec()], Rng::with_seed(1));
    let fails = (0..MUTATED).any(|_| {
        let input = mutated(&seeds, &mut rng);
        catch_unwind(AssertUnwindSafe(|| fragile(&input))).is_err()
    });
    assert!(fails);
}
