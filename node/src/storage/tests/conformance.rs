//! What every row store owes, checked on the twin, on the real store, and on the real engine over a simulated disk.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::subjects::{OnDisk, Stepped, Subject, Twin, small};
use super::{apply_to, block_on, put, remove};
use crate::storage::{BATCH_MAX_BYTES, Batch, Change, Position, RowsError};

fn every_subject(suite: impl Fn(&mut dyn Subject)) {
    suite(&mut Twin::new());
    suite(&mut Stepped::new(1));
    suite(&mut OnDisk::new(small()));
}

fn value(subject: &dyn Subject, key: &str) -> Option<Bytes> {
    subject.rows().get(key.as_bytes()).unwrap().value
}

#[test]
fn a_batch_is_visible_at_once_and_durable_after_its_flush() {
    every_subject(|subject| {
        let position = subject
            .rows()
            .apply(vec![put("a", "1"), put("b", "2"), remove("c")])
            .unwrap();
        assert_eq!(value(subject, "a").unwrap(), "1");
        subject.flush();
        block_on(subject.rows().durable(position)).unwrap();
        subject.crash();
        assert_eq!(value(subject, "a").unwrap(), "1");
        assert_eq!(value(subject, "b").unwrap(), "2");
        assert_eq!(value(subject, "c"), None);
    });
}

#[test]
fn what_is_not_durable_says_so_until_it_is() {
    every_subject(|subject| {
        let put_at = subject.rows().apply(vec![put("a", "1")]).unwrap();
        if subject.flushes_by_hand() {
            assert_eq!(subject.rows().get(b"a").unwrap().written_at, put_at);
        }
        subject.flush();
        assert_eq!(subject.rows().get(b"a").unwrap().written_at, Position::default());
        let removed_at = subject.rows().apply(vec![remove("a")]).unwrap();
        assert!(removed_at > put_at);
        let absent = subject.rows().get(b"a").unwrap();
        let empty = subject.rows().scan(b"", b"z", 10).unwrap();
        assert_eq!((absent.value, empty.value.len()), (None, 0));
        if subject.flushes_by_hand() {
            assert_eq!(
                (absent.written_at, empty.written_at),
                (removed_at, removed_at),
                "removals are dirty too"
            );
        }
        subject.flush();
        assert_eq!(subject.rows().get(b"a").unwrap().written_at, Position::default());
        assert_eq!(
            subject.rows().scan(b"", b"z", 10).unwrap().written_at,
            Position::default()
        );
    });
}

#[test]
fn scans_are_ordered_bounded_and_exclusive_at_the_end() {
    every_subject(|subject| {
        for key in ["d", "a", "c", "b"] {
            subject.rows().apply(vec![put(key, key)]).unwrap();
        }
        subject.flush();
        subject.rows().apply(vec![put("bb", "bb"), remove("c")]).unwrap();
        let keys = |from: &str, to: &str, limit| -> Vec<Bytes> {
            let rows = subject
                .rows()
                .scan(from.as_bytes(), to.as_bytes(), limit)
                .unwrap()
                .value;
            rows.into_iter()
                .map(|(key, value)| {
                    assert_eq!(key, value);
                    key
                })
                .collect()
        };
        assert_eq!(keys("", "z", 10), ["a", "b", "bb", "d"]);
        assert_eq!(keys("b", "d", 10), ["b", "bb"]);
        assert_eq!(keys("b", "z", 2), ["b", "bb"]);
        assert_eq!(keys("bc", "z", 2), ["d"]);
        assert_eq!(keys("a", "z", 0).len(), 0);
        assert_eq!(keys("z", "a", 10).len(), 0);
        assert_eq!(keys("a", "a", 10).len(), 0);
    });
}

#[test]
fn values_of_every_size_come_back() {
    every_subject(|subject| {
        let sizes = [0, 1, 511, 512, 513, 4096, 65_536, 300_000];
        for size in sizes {
            subject
                .rows()
                .apply(vec![put(format!("{size:07}"), vec![7; size])])
                .unwrap();
        }
        for look in 0..3 {
            let rows = subject.rows().scan(b"", b"9", 100).unwrap().value;
            assert_eq!(
                rows.iter().map(|(_, value)| value.len()).collect::<Vec<_>>(),
                sizes,
                "look {look}"
            );
            subject.flush();
            if look == 1 {
                subject.restart();
            }
        }
    });
}

#[test]
fn a_batch_too_large_is_refused_and_the_store_goes_on() {
    every_subject(|subject| {
        let refused = subject.rows().apply(vec![put("a", vec![0; BATCH_MAX_BYTES])]);
        assert!(matches!(refused, Err(RowsError::TooLarge { .. })));
        assert_eq!(value(subject, "a"), None);
        subject.rows().apply(vec![put("a", "1")]).unwrap();
        assert_eq!(value(subject, "a").unwrap(), "1");
    });
}

#[test]
fn counters_rise_with_every_start_and_every_commit() {
    every_subject(|subject| {
        let first = subject.restart();
        let position = subject.rows().apply(vec![put("a", "1")]).unwrap();
        assert!(position.0 > first.commit_counter);
        subject.flush();
        let second = subject.crash();
        assert_eq!(second.start_counter, first.start_counter + 1);
        assert!(second.commit_counter > position.0);
        let third = subject.restart();
        assert_eq!(third.start_counter, second.start_counter + 1);
        assert!(third.commit_counter > second.commit_counter);
    });
}

#[derive(Debug, Clone)]
enum Act {
    Apply(Batch),
    Get(u8),
    Scan(u8, u8, usize),
    Flush,
    Crash,
    Restart,
}

fn key(number: u8) -> Bytes {
    Bytes::from(format!("key{}", number % 12))
}

fn change() -> impl Strategy<Value = (Bytes, Change)> {
    let value = prop_oneof![3 => 0..40usize, 1 => 500..2000usize];
    let value = (any::<u8>(), value).prop_map(|(byte, size)| Change::Put(Bytes::from(vec![byte; size])));
    (
        any::<u8>().prop_map(key),
        prop_oneof![4 => value, 1 => Just(Change::Remove)],
    )
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => prop::collection::vec(change(), 0..5).prop_map(Act::Apply),
        4 => any::<u8>().prop_map(Act::Get),
        4 => (any::<u8>(), any::<u8>(), 0..15usize).prop_map(|(from, to, limit)| Act::Scan(from, to, limit)),
        4 => Just(Act::Flush),
        1 => Just(Act::Crash),
        1 => Just(Act::Restart),
    ]
}

type State = BTreeMap<Bytes, Bytes>;

/// The store as a map, and as the maps that a crash may bring back.
#[derive(Default)]
struct Model {
    /// After each batch since the last that is known to be durable, which comes first.
    states: Vec<State>,
    /// Position of the newest change of each row since then.
    changed: BTreeMap<Bytes, Position>,
}

impl Model {
    fn now(&self) -> &State {
        self.states.last().unwrap()
    }

    fn apply(&mut self, batch: &Batch, position: Position) {
        let mut state = self.now().clone();
        apply_to(&mut state, batch);
        self.states.push(state);
        for (key, _) in batch {
            self.changed.insert(key.clone(), position);
        }
    }

    fn set_durable(&mut self, state: State) {
        self.states = vec![state];
        self.changed.clear();
    }
}

fn check(subject: &mut dyn Subject, acts: &[Act]) {
    let mut model = Model {
        states: vec![State::new()],
        ..Model::default()
    };
    for act in acts {
        match act {
            Act::Apply(batch) => {
                let position = subject.rows().apply(batch.clone()).unwrap();
                model.apply(batch, position);
            }
            Act::Get(number) => check_get(subject, &model, &key(*number)),
            Act::Scan(from, to, limit) => check_scan(subject, &model, &key(*from), &key(*to), *limit),
            Act::Flush => {
                subject.flush();
                model.set_durable(model.now().clone());
            }
            Act::Crash => {
                subject.crash();
                let found = subject.rows().scan(b"", b"z", 100).unwrap();
                assert_eq!(found.written_at, Position::default());
                let found: State = found.value.into_iter().collect();
                assert!(
                    model.states.contains(&found),
                    "after a crash: {found:?}, not one of {:?}",
                    model.states
                );
                model.set_durable(found);
            }
            Act::Restart => {
                subject.restart();
                model.set_durable(model.now().clone());
                check_scan(subject, &model, b"", b"z", 100);
            }
        }
    }
}

fn check_get(subject: &dyn Subject, model: &Model, key: &Bytes) {
    let found = subject.rows().get(key).unwrap();
    assert_eq!(found.value.as_ref(), model.now().get(key));
    if subject.flushes_by_hand() {
        assert_eq!(found.written_at, model.changed.get(key).copied().unwrap_or_default());
    }
}

fn check_scan(subject: &dyn Subject, model: &Model, from: &[u8], to: &[u8], limit: usize) {
    let found = subject.rows().scan(from, to, limit).unwrap();
    let inside = |key: &[u8]| key >= from && key < to;
    let expected: Vec<_> = model.now().iter().filter(|(key, _)| inside(key)).take(limit).collect();
    assert_eq!(
        found.value.iter().map(|(key, value)| (key, value)).collect::<Vec<_>>(),
        expected
    );
    if subject.flushes_by_hand() {
        // A page that is full covers the range up to its last row, any other the whole range.
        let end = if expected.len() == limit {
            expected.last().map_or(from, |(key, _)| key)
        } else {
            to
        };
        let seen = model
            .changed
            .iter()
            .filter(|(key, _)| limit > 0 && inside(key) && (&key[..] <= end));
        let least = seen.map(|(_, at)| *at).max().unwrap_or_default();
        assert!(
            found.written_at >= least,
            "{:?} does not cover {least:?}",
            found.written_at
        );
        assert!(model.changed.values().any(|at| *at == found.written_at) || found.written_at == Position::default());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_twin_is_the_model(acts in prop::collection::vec(act(), 1..60)) {
        check(&mut Twin::new(), &acts);
    }

    #[test]
    fn the_engine_is_the_model(acts in prop::collection::vec(act(), 1..60), seed in any::<u64>()) {
        check(&mut Stepped::new(seed), &acts);
    }
}

proptest! {
    // Every crash is a start of sled, some 20 ms.
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn the_real_store_is_the_model(acts in prop::collection::vec(act(), 1..60)) {
        check(&mut OnDisk::new(small()), &acts);
    }
}
