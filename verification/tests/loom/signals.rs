//! Those who wait for a change, and those who wait for the disk.

use futures_util::FutureExt;
use loom::future::block_on;
use loom::thread;

use crate::changes::Signal;
use crate::explore;
use crate::storage::progress::Progress;
use crate::storage::rows::{Position, RowsError};
use crate::sync::{Arc, AtomicU64, Ordering};

/// Finds: the look at the count before the subscription; the count raised after the wake-up.
#[test]
fn no_change_is_missed() {
    explore(3, || {
        let (signal, facts) = (Arc::new(Signal::default()), Arc::new(AtomicU64::new(0)));
        let mut changes = signal.subscribe();
        let tellers = [1, 2].map(|fact| {
            let (signal, facts) = (signal.clone(), facts.clone());
            thread::spawn(move || {
                facts.fetch_or(fact, Ordering::SeqCst);
                signal.changed();
            })
        });
        while facts.load(Ordering::SeqCst) != 3 {
            block_on(changes.changed());
        }
        tellers.into_iter().for_each(|teller| teller.join().unwrap());
    });
}

#[test]
fn no_change_is_seen_twice() {
    explore(0, || {
        let signal = Signal::default();
        let (mut one, mut other) = (signal.subscribe(), signal.subscribe());
        assert_eq!(one.changed().now_or_never(), None);
        signal.changed();
        signal.changed();
        assert_eq!(one.changed().now_or_never(), Some(()));
        assert_eq!(one.changed().now_or_never(), None);
        other.mark_unchanged();
        assert_eq!(other.changed().now_or_never(), None);
        let mut waiting = Box::pin(other.changed());
        assert_eq!(waiting.as_mut().now_or_never(), None);
        signal.changed();
        assert_eq!(waiting.now_or_never(), Some(()));
    });
}

/// Finds: the look at what is durable before the subscription; an answer without the look.
#[test]
fn who_waits_for_the_disk_is_told_when_it_is_there_and_not_before() {
    explore(3, || {
        let progress = Arc::new(Progress::new(Position::default()));
        let disk = Arc::new(AtomicU64::new(0));
        let waiting = [1, 2].map(|position| {
            let (progress, disk) = (progress.clone(), disk.clone());
            thread::spawn(move || {
                block_on(progress.wait(Position(position))).unwrap();
                assert!(disk.load(Ordering::SeqCst) >= position, "told before its time");
            })
        });
        for position in [1, 2] {
            disk.store(position, Ordering::SeqCst);
            progress.durable(Position(position));
        }
        waiting.into_iter().for_each(|waiting| waiting.join().unwrap());
    });
}

/// Finds: a close that wakes nobody.
#[test]
fn who_waits_for_a_disk_that_fails_is_told_so() {
    explore(3, || {
        let progress = Arc::new(Progress::new(Position::default()));
        let waiting = {
            let progress = progress.clone();
            thread::spawn(move || block_on(progress.wait(Position(2))))
        };
        progress.durable(Position(1));
        progress.closed("it failed".into());
        assert!(matches!(waiting.join().unwrap(), Err(RowsError::Closed(_))));
        assert!(block_on(progress.wait(Position(1))).is_ok(), "what is there is there");
    });
}
