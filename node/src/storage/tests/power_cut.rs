//! The power goes at every step of a workload, with every class of loss; what is then found must be exactly the batches
//! up to some position, and none that was answered as durable may be missing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::power_loss::{LOSSES, Loss};
use super::sim_disk::SimDisk;
use super::subjects::{open_engine, small};
use super::{Seeded, apply_to, block_on, put, remove};
use crate::storage::engine::{Engine, Opened, Step};
use crate::storage::files::{Files, OpenFor};
use crate::storage::log::format::{GROUP_HEADER_BYTES, GroupHeader, GroupKind};
use crate::storage::{Batch, OpenError, Position, Room, RowsConfig, RowsError, Taking};

type State = BTreeMap<Bytes, Bytes>;

/// A store at work, and what it was told.
struct Run {
    disk: SimDisk,
    engine: Engine,
    random: Seeded,
    applied: Vec<(Position, Batch)>,
}

impl Run {
    fn new(disk: SimDisk, engine: Engine, seed: u64) -> Self {
        Self {
            disk,
            engine,
            random: Seeded::new(seed),
            applied: Vec::new(),
        }
    }

    fn apply(&mut self) {
        let batch: Batch = (0..1 + self.random.below(4)).map(|_| self.change()).collect();
        let position = self.engine.apply(batch.clone()).unwrap();
        self.applied.push((position, batch));
    }

    fn change(&self) -> (Bytes, crate::storage::Change) {
        let key = format!("key{}", self.random.below(10));
        match self.random.below(8) {
            0 => remove(key),
            1 => put(key, vec![self.random.next() as u8; 600 + self.random.below(900)]),
            _ => put(key, vec![self.random.next() as u8; self.random.below(60)]),
        }
    }

    /// One random move; says on the disk's record what may have been answered.
    fn step(&mut self) {
        match self.random.below(8) {
            0..4 => self.apply(),
            4 | 5 => {
                self.engine.write_step();
                self.answer();
            }
            6 => drop(self.engine.settle_step()),
            _ => drop(self.engine.clean_step()),
        }
    }

    fn answer(&self) {
        let durable = |(position, _): &&(Position, Batch)| is_durable(&self.engine, *position);
        if let Some((position, _)) = self.applied.iter().rev().find(durable) {
            self.disk.mark(position.0);
        }
    }

    /// The rows after every batch up to `position`.
    fn state_at(&self, position: u64) -> State {
        let mut state = State::new();
        for (_, batch) in self.applied.iter().take_while(|(at, _)| at.0 <= position) {
            apply_to(&mut state, batch);
        }
        state
    }
}

fn is_durable(engine: &Engine, position: Position) -> bool {
    block_on(async {
        tokio::select! {
            biased;
            done = engine.durable(position) => done.is_ok(),
            () = std::future::ready(()) => false,
        }
    })
}

fn rows(engine: &Engine) -> State {
    engine.scan(b"", b"z", 1000).unwrap().value.into_iter().collect()
}

/// Opens what the power cut left and compares; `run` is what had happened up to then.
fn check(run: &Run, left: &SimDisk, answered: u64, what: &str) -> (Engine, Opened) {
    let (engine, opened) = open_engine(left, small()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = opened.commit_counter - 1;
    assert!(
        found >= answered,
        "{what}: commit {answered} was answered, the log ends at {found}"
    );
    assert_eq!(
        rows(&engine),
        run.state_at(found),
        "{what}: the rows are not those of commit {found}"
    );
    (engine, opened)
}

fn at_work(seed: u64, steps: usize) -> Run {
    let disk = SimDisk::new();
    let (engine, _) = open_engine(&disk, small()).unwrap();
    let mut run = Run::new(disk, engine, seed);
    for _ in 0..steps {
        run.step();
    }
    run
}

#[test]
fn every_step_can_be_the_last_before_the_power_goes() {
    for seed in 0..6 {
        let run = at_work(seed, 400);
        for steps in 0..=run.disk.steps() {
            for loss in LOSSES {
                let left = run.disk.after_power_cut(steps, loss, seed ^ steps as u64);
                check(
                    &run,
                    &left,
                    run.disk.marked(steps),
                    &format!("seed {seed}, {steps} steps, {loss:?}"),
                );
            }
        }
        assert!(run.disk.files(Path::new("/log")).len() < 12, "the log is cleaned");
        assert!(
            !run.disk
                .files(Path::new("/log"))
                .contains(&PathBuf::from("/log/00000001.log")),
            "from its old end"
        );
    }
}

#[test]
fn the_power_may_go_again_during_recovery_and_after_it() {
    for seed in 0..150 {
        let random = Seeded::new(seed);
        let run = at_work(seed, 60 + random.below(200));
        let steps = random.below(run.disk.steps() + 1);
        let loss = LOSSES[random.below(LOSSES.len())];
        let left = run.disk.after_power_cut(steps, loss, seed);
        let what = format!("seed {seed}, {steps} steps, {loss:?}");
        let (engine, opened) = check(&run, &left, run.disk.marked(steps), &what);
        let first_found = opened.commit_counter - 1;

        // A second life, which begins with what was found and a position for its own start.
        let mut second = Run::new(left.clone(), engine, seed + 1);
        let found: Batch = run
            .state_at(first_found)
            .into_iter()
            .map(|(key, value)| put(key, value))
            .collect();
        second.applied.push((Position(first_found), found));
        for _ in 0..60 {
            second.step();
        }
        for steps in 0..=left.steps() {
            let loss = LOSSES[random.below(LOSSES.len())];
            let again = left.after_power_cut(steps, loss, seed + steps as u64);
            check(
                &second,
                &again,
                left.marked(steps).max(first_found),
                &format!("{what}, then {steps} steps, {loss:?}"),
            );
        }
    }
}

#[test]
fn a_failed_write_closes_the_store_and_loses_nothing_answered() {
    for fails_after in 0..12 {
        let mut run = at_work(fails_after as u64, 50);
        run.disk.fail_after(fails_after);
        for _ in 0..20 {
            if run
                .engine
                .apply(vec![put("last", "one")])
                .map(|at| run.applied.push((at, vec![put("last", "one")])))
                .is_err()
            {
                break;
            }
            run.engine.write_step();
            run.answer();
        }
        assert!(
            matches!(run.engine.get(b"key1"), Err(RowsError::Closed(_))),
            "the fault was not met"
        );
        assert!(matches!(run.engine.apply(Batch::new()), Err(RowsError::Closed(_))));
        assert_eq!(run.engine.write_step(), Step::Idle, "nothing is tried again");
        for loss in LOSSES {
            let left = run.disk.after_power_cut(run.disk.steps(), loss, 1);
            check(
                &run,
                &left,
                run.disk.marked(run.disk.steps()),
                &format!("fault after {fails_after}, {loss:?}"),
            );
        }
    }
}

#[test]
fn a_full_disk_refuses_batches_before_anything_fails_and_keeps_answering() {
    let disk = SimDisk::new();
    let config = RowsConfig {
        min_free_bytes: 20_000,
        reserve_bytes: 15_000,
        ..small()
    };
    let (engine, _) = open_engine(&disk, config).unwrap();
    disk.set_capacity(60_000);
    let mut written = 0;
    let refused = loop {
        match engine.apply(vec![put(format!("key{written}"), vec![1; 300])]) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        engine.write_step();
        engine.settle_step();
    };
    assert!(
        matches!(
            refused,
            RowsError::Full {
                min_free_bytes: 20_000,
                ..
            }
        ),
        "{refused}"
    );
    assert!(written > 50);
    assert_eq!(engine.get(b"key7").unwrap().value.unwrap(), vec![1; 300]);
    assert_eq!(engine.taking(), Taking::Upkeep);
    disk.set_capacity(90_000);
    assert_eq!(engine.taking(), Taking::Everything);
    engine.apply(vec![put("more", "room")]).unwrap();
}

#[test]
fn upkeep_goes_on_out_of_the_reserve_and_then_the_cleaner_out_of_the_rest() {
    let disk = SimDisk::new();
    let config = RowsConfig {
        min_free_bytes: 40_000,
        reserve_bytes: 20_000,
        ..small()
    };
    let (engine, _) = open_engine(&disk, config).unwrap();
    disk.set_capacity(120_000);
    let work = || [engine.write_step(), engine.settle_step(), engine.clean_step()].contains(&Step::Worked);
    let fill = |room: Room, prefix: &str| {
        for written in 0.. {
            match engine.apply_within(vec![put(format!("{prefix}{written}"), vec![1; 300])], room) {
                Ok(_) => drop(work()),
                Err(RowsError::Full { min_free_bytes, .. }) => return (written, min_free_bytes),
                Err(error) => panic!("{error}"),
            }
        }
        unreachable!("the numbers do not end")
    };
    let (new, limit) = fill(Room::New, "new");
    assert!(new > 100 && limit == 40_000, "{new}, {limit}");
    let (upkeep, limit) = fill(Room::Upkeep, "upkeep");
    assert!(upkeep > 30 && limit == 20_000, "{upkeep}, {limit}");
    assert_eq!(engine.taking(), Taking::Nothing);
    // Somebody else makes room for a segment; with that, deletes make all the room there is to have.
    disk.set_capacity(126_000);
    assert_eq!(engine.taking(), Taking::Upkeep);
    for written in 0..new {
        let deleted = engine.apply_within(vec![remove(format!("new{written}"))], Room::Upkeep);
        assert!(deleted.is_ok(), "{written}: {deleted:?}");
        while work() {}
    }
    assert_eq!(engine.taking(), Taking::Everything);
    engine.apply(vec![put("more", "room")]).unwrap();
}

/// Somebody else takes the last byte in the middle of the work, at every point of it.
#[test]
fn a_disk_without_a_byte_left_makes_commits_wait_and_breaks_nothing() {
    for free in (0..6_000).step_by(97) {
        let mut run = at_work(free, 40);
        let in_use: usize = run
            .disk
            .files(Path::new("/"))
            .iter()
            .map(|file| run.disk.content(file).len())
            .sum();
        run.disk.set_capacity(in_use as u64 + free);
        let mut stalled = false;
        for _ in 0..40 {
            if run.engine.taking() == Taking::Nothing {
                assert!(matches!(run.engine.apply(Batch::new()), Err(RowsError::Full { .. })));
            } else {
                run.apply();
            }
            stalled |= run.engine.write_step() == Step::Stalled;
            run.answer();
        }
        assert!(stalled, "{free} bytes were enough");
        assert_eq!(rows(&run.engine), run.state_at(u64::MAX), "reads go on");
        for loss in LOSSES {
            let left = run.disk.after_power_cut(run.disk.steps(), loss, free);
            check(
                &run,
                &left,
                run.disk.marked(run.disk.steps()),
                &format!("{free} bytes were left, {loss:?}"),
            );
        }
        run.disk.set_capacity(1 << 40);
        while [
            run.engine.write_step(),
            run.engine.settle_step(),
            run.engine.clean_step(),
        ]
        .contains(&Step::Worked)
        {}
        run.apply();
        run.engine.write_step();
        run.answer();
        let last = run.applied.last().unwrap().0;
        assert_eq!(run.disk.marked(run.disk.steps()), last.0, "what had waited is durable");
        let left = run.disk.after_power_cut(run.disk.steps(), Loss::Everything, free);
        check(&run, &left, last.0, &format!("{free} bytes were left, and then more"));
    }
}

/// A store closed in order, and its rows.
fn closed(seed: u64) -> (SimDisk, State) {
    let run = at_work(seed, 300);
    while [
        run.engine.write_step(),
        run.engine.settle_step(),
        run.engine.clean_step(),
    ]
    .contains(&Step::Worked)
    {}
    run.engine.begin_close();
    run.engine.finish_close().unwrap();
    let state = run.state_at(u64::MAX);
    (run.disk.after_power_cut(run.disk.steps(), Loss::Everything, 1), state)
}

#[test]
fn no_flipped_bit_in_a_closed_log_goes_unnoticed() {
    let (disk, state) = closed(1);
    let fresh = || disk.after_power_cut(0, Loss::Nothing, 1);
    assert_eq!(rows(&open_engine(&fresh(), small()).unwrap().0), state);
    let random = Seeded::new(1);
    for path in disk.files(Path::new("/log")) {
        let bits = disk.content(&path).len() * 8;
        for bit in (0..bits).step_by(1 + bits / 500) {
            let rotten = fresh();
            let bit = (bit + random.below(40)).min(bits - 1);
            rotten.rot(&path, bit);
            match open_engine(&rotten, small()) {
                Err(OpenError::Damaged { .. } | OpenError::Newer { .. }) => {}
                Err(other) => panic!("{path:?}, bit {bit}: {other}"),
                // Room that was reserved and never written.
                Ok((engine, _)) => assert_eq!(rows(&engine), state, "{path:?}, bit {bit}"),
            }
        }
    }
}

#[test]
fn a_lost_or_older_log_is_noticed() {
    let (disk, _) = closed(2);
    for path in disk.files(Path::new("/log")) {
        let left = disk.after_power_cut(0, Loss::Nothing, 1);
        left.remove(&path).unwrap();
        let opened = open_engine(&left, small());
        assert!(matches!(opened, Err(OpenError::Damaged { .. })), "{path:?} is missing");
        assert!(
            matches!(open_engine(&left, small()), Err(OpenError::Damaged { .. })),
            "and stays noticed"
        );
    }
}

#[test]
fn a_segment_that_rots_is_not_cleaned_away() {
    let path = Path::new("/log/00000001.log");
    for rots in [false, true] {
        let disk = SimDisk::new();
        let (engine, _) = open_engine(&disk, small()).unwrap();
        for round in 0..100 {
            let key = if round < 3 {
                format!("kept{round}")
            } else {
                "rewritten".into()
            };
            engine.apply(vec![put(key, vec![round; 600])]).unwrap();
            engine.write_step();
            engine.settle_step();
            if round == 5 && rots {
                disk.rot(path, 1000 * 8);
            }
        }
        while [engine.write_step(), engine.settle_step(), engine.clean_step()].contains(&Step::Worked) {}
        assert_eq!(
            disk.size(path).unwrap().is_some(),
            rots,
            "the segment is kept for whoever wants to rescue it"
        );
        assert_eq!(matches!(engine.get(b"rewritten"), Err(RowsError::Closed(_))), rots);
    }
}

#[test]
fn a_torn_tail_is_told_from_damage() {
    let disk = SimDisk::new();
    let (engine, _) = open_engine(
        &disk,
        RowsConfig {
            segment_bytes: 1 << 20,
            ..small()
        },
    )
    .unwrap();
    let path = Path::new("/log/00000001.log");
    let used = |disk: &SimDisk| disk.content(path).iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let mut ends = Vec::new();
    for round in 0..3 {
        // A body that looks like a group must not be taken for one: whoever made it cannot know the salt.
        let kind = GroupKind::Rows { batches: 1 };
        let forged = GroupHeader {
            first: 9,
            kind,
            payload_bytes: 0,
            payload_sum: 0,
        }
        .encode(&[9; 16]);
        engine.apply(vec![put(format!("key{round}"), forged)]).unwrap();
        engine.write_step();
        ends.push(used(&disk) - GROUP_HEADER_BYTES);
    }
    let rows_with = |damage: &dyn Fn(&SimDisk)| {
        let left = disk.after_power_cut(disk.steps(), Loss::Nothing, 1);
        damage(&left);
        open_engine(&left, small()).map(|(engine, _)| rows(&engine).len())
    };
    let write_zeros = |disk: &SimDisk, from: usize| {
        let file = Files::open(disk, path, OpenFor::Write).unwrap();
        file.write_at(from as u64, &vec![0; used(disk) - from]).unwrap();
    };
    assert_eq!(
        rows_with(&|disk| write_zeros(disk, ends[2] - 5)).unwrap(),
        2,
        "the last commit is torn"
    );
    assert_eq!(
        rows_with(&|disk| disk.rot(path, ends[2] * 8)).unwrap(),
        3,
        "only the seal is torn"
    );
    for end in ends {
        let damaged = rows_with(&|disk| disk.rot(path, (end - 3) * 8)).unwrap_err();
        assert!(matches!(damaged, OpenError::Damaged { .. }));
        assert!(damaged.to_string().contains("00000001.log"), "{damaged}");
    }
}
