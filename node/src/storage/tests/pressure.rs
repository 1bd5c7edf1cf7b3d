//! What becomes of more than the disk can take at once.

use super::sim_disk::SimDisk;
use super::subjects::{open_engine, small};
use super::{block_on, put};
use crate::storage::RowsError;
use crate::storage::engine::Engine;

/// Whether `ready` answers at once, and what.
fn ready(engine: &Engine) -> Option<Result<(), RowsError>> {
    block_on(async {
        tokio::select! {
            biased;
            ready = engine.ready() => Some(ready),
            () = std::future::ready(()) => None,
        }
    })
}

#[test]
fn who_asks_first_waits_for_memory_without_a_thread() {
    let (engine, _) = open_engine(&SimDisk::new(), small()).unwrap();
    let mut applied = 0;
    while ready(&engine).is_some() {
        engine
            .apply(vec![put(format!("key{applied}"), vec![1; 1 << 20])])
            .unwrap();
        applied += 1;
    }
    assert_eq!(applied, 32, "of a MiB and a key each");
    // Who did not ask still finds room.
    engine.apply(vec![put("one more", "")]).unwrap();
    let waited = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| block_on(engine.ready()));
        engine.write_step();
        engine.settle_step();
        waiting.join().unwrap()
    });
    assert!(waited.is_ok() && ready(&engine).is_some());
    engine.abandon();
    assert!(matches!(ready(&engine), Some(Err(RowsError::Closed(_)))));
}

#[test]
fn who_waits_for_memory_is_told_when_the_store_closes() {
    let (engine, _) = open_engine(&SimDisk::new(), small()).unwrap();
    while ready(&engine).is_some() {
        engine.apply(vec![put("key", vec![1; 1 << 20])]).unwrap();
    }
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| block_on(engine.ready()));
        engine.fail("a test wants it");
        assert!(matches!(waiting.join().unwrap(), Err(RowsError::Closed(_))));
    });
}
