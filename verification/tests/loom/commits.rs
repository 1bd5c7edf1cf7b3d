//! Batches from those who bring them to the disk and into the index: writer, settler, those who wait, and the end.

use bytes::Bytes;
use loom::future::block_on;
use loom::thread::{self, JoinHandle};

use crate::explore;
use crate::storage::engine::Engine;
use crate::storage::engine::table::{BATCH_MAX_BYTES, Step};
use crate::storage::log::Log;
use crate::storage::rows::{Batch, Change, RowsError};
use crate::sync::{Arc, AtomicU64, Ordering};

/// A store whose disk breaks at this position.
fn engine(breaks_at: u64) -> (Arc<Engine>, Log) {
    let log = Log {
        written: Arc::new(AtomicU64::new(0)),
        breaks_at,
    };
    (Arc::new(Engine::over(log.clone())), log)
}

/// The thread of `DiskRows` that writes.
fn writer(engine: &Arc<Engine>) -> JoinHandle<()> {
    let engine = engine.clone();
    thread::spawn(move || {
        while engine.await_write() {
            assert_ne!(engine.write_step(), Step::Stalled);
        }
    })
}

/// And the one that settles.
fn settler(engine: &Arc<Engine>) -> JoinHandle<()> {
    let engine = engine.clone();
    thread::spawn(move || {
        while engine.await_settle() {
            assert_ne!(engine.settle_step(), Step::Stalled);
        }
    })
}

fn batch(key: &'static str) -> Batch {
    vec![(Bytes::from_static(key.as_bytes()), Change::Remove)]
}

/// Brings a batch and waits until it is durable.
fn bring(engine: &Engine, log: &Log, key: &'static str) -> Result<(), RowsError> {
    let position = engine.apply(batch(key))?;
    block_on(engine.durable(position))?;
    assert!(log.written.load(Ordering::SeqCst) >= position.0, "told before its time");
    Ok(())
}

/// Finds: a writer that looks whether there is something before it takes the lock under which it goes to sleep; waiting
/// tasks that are told before the append.
#[test]
fn whoever_brings_a_batch_is_told_once_it_is_written() {
    explore(2, || {
        let (engine, log) = engine(u64::MAX);
        let writes = writer(&engine);
        let other = {
            let (engine, log) = (engine.clone(), log.clone());
            thread::spawn(move || bring(&engine, &log, "b").unwrap())
        };
        bring(&engine, &log, "a").unwrap();
        other.join().unwrap();
        engine.abandon();
        writes.join().unwrap();
    });
}

/// Finds: a failure that does not wake who waits for the disk.
#[test]
fn when_the_disk_breaks_everybody_is_told() {
    explore(2, || {
        let (engine, log) = engine(2);
        let writes = writer(&engine);
        let other = {
            let (engine, log) = (engine.clone(), log.clone());
            thread::spawn(move || bring(&engine, &log, "b"))
        };
        let results = [bring(&engine, &log, "a"), other.join().unwrap()];
        let kept = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(
            kept as u64,
            log.written.load(Ordering::SeqCst),
            "who is on disk was told so, nobody else"
        );
        assert!(kept < 2);
        writes.join().unwrap();
    });
}

/// Finds: a settler that ends while the writer has a group in its hands; a close that wakes not all.
#[test]
fn what_was_brought_before_an_orderly_end_is_settled() {
    explore(2, || {
        let (engine, log) = engine(u64::MAX);
        let threads = [writer(&engine), settler(&engine)];
        engine.apply(batch("a")).unwrap();
        engine.begin_close();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(engine.is_settled());
        assert_eq!(log.written.load(Ordering::SeqCst), 1);
    });
}

/// Finds: a settler that does not tell tasks that there is room again; a task that looks before it listens.
#[test]
fn whoever_waits_for_memory_gets_it() {
    explore(3, || {
        static LARGE: [u8; BATCH_MAX_BYTES - 1] = [0; BATCH_MAX_BYTES - 1];
        let (engine, _) = engine(u64::MAX);
        for key in ["a", "b", "c", "d", "e"] {
            let change = Change::Put(Bytes::from_static(&LARGE));
            engine
                .apply(vec![(Bytes::from_static(key.as_bytes()), change)])
                .unwrap();
        }
        while engine.write_step() == Step::Worked {}
        let settles = {
            let engine = engine.clone();
            // All at once: there is one wake-up, and no later one that would hide that it was missed.
            thread::spawn(move || assert_eq!(engine.settle_step(), Step::Worked))
        };
        block_on(engine.ready()).unwrap();
        settles.join().unwrap();
    });
}
