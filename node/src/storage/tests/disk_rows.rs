//! What only the store on real files has to fear: its threads, sled's files, another process.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::subjects::{OnDisk, Subject, small};
use super::{block_on, env, put, remove};
use crate::storage::{
    Change, Flush, IndexStart, MemoryDisk, MemoryRows, OpenError, Position, Rows, RowsConfig, RowsError,
};

/// A store with 300 rows, some of which were rewritten and removed, all durable.
fn filled(config: RowsConfig) -> (OnDisk, Vec<(Bytes, Bytes)>) {
    let subject = OnDisk::new(config);
    for round in 0..3 {
        for row in 0..300 {
            let size = 10 + (row * 37 + round * 11) % 1500;
            subject
                .store()
                .apply(vec![put(format!("key{row:03}"), vec![round as u8; size])])
                .unwrap();
        }
    }
    subject
        .store()
        .apply((0..300).step_by(7).map(|row| remove(format!("key{row:03}"))).collect())
        .unwrap();
    subject.flush();
    let rows = content(&subject);
    assert_eq!(rows.len(), 257);
    (subject, rows)
}

fn content(subject: &OnDisk) -> Vec<(Bytes, Bytes)> {
    subject.store().scan(b"", b"z", 10_000).unwrap().value
}

fn index_folder(subject: &OnDisk) -> PathBuf {
    subject.path().join("rows/index")
}

fn index_files(subject: &OnDisk) -> Vec<PathBuf> {
    let entries = fs::read_dir(index_folder(subject))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).collect()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

#[test]
fn an_orderly_stop_keeps_the_index_and_a_crash_rebuilds_it() {
    let (mut subject, rows) = filled(small());
    assert_eq!(subject.restart().index, IndexStart::Kept);
    assert_eq!(content(&subject), rows);
    assert!(matches!(subject.crash().index, IndexStart::Rebuilt { rows } if rows >= 257));
    assert_eq!(content(&subject), rows);
    assert_eq!(subject.restart().index, IndexStart::Kept);
    assert_eq!(content(&subject), rows);
}

#[test]
fn whatever_a_crash_did_to_the_index_the_rows_are_right() {
    let (mut subject, rows) = filled(small());
    let older = subject.path().join("older");
    copy_folder(&index_folder(&subject), &older);
    subject.store().apply(vec![put("key100", "newest")]).unwrap();
    subject.flush();
    let damages: [&dyn Fn(&OnDisk); 6] = [
        &|subject| fs::remove_dir_all(index_folder(subject)).unwrap(),
        &|subject| {
            index_files(subject)
                .iter()
                .for_each(|file| fs::remove_file(file).unwrap())
        },
        &|subject| {
            index_files(subject)
                .iter()
                .for_each(|file| fs::write(file, vec![0x5a; 100_000]).unwrap())
        },
        &|subject| {
            index_files(subject)
                .iter()
                .for_each(|file| fs::write(file, b"").unwrap())
        },
        &|subject| fs::write(index_folder(subject).join("snap.0000000000000000"), b"half a snapsh").unwrap(),
        &|subject| {
            fs::remove_dir_all(index_folder(subject)).unwrap();
            copy_folder(&older, &index_folder(subject));
        },
    ];
    for damage in damages {
        subject.kill();
        damage(&subject);
        subject.start().unwrap();
        let found = content(&subject);
        assert_eq!(found.len(), rows.len());
        assert_eq!(subject.store().get(b"key100").unwrap().value.unwrap(), "newest");
    }
}

#[test]
fn an_index_that_is_not_the_one_closed_is_rebuilt() {
    let (mut subject, _) = filled(small());
    subject.restart();
    subject.store().close().unwrap();
    subject.kill();
    let older = subject.path().join("older");
    copy_folder(&index_folder(&subject), &older);
    subject.start().unwrap();
    subject.store().apply(vec![put("key100", "newest")]).unwrap();
    let rows = content(&subject);
    for damage in 0..2 {
        subject.store().close().unwrap();
        subject.kill();
        fs::remove_dir_all(index_folder(&subject)).unwrap();
        if damage == 0 {
            copy_folder(&older, &index_folder(&subject));
        }
        assert!(matches!(subject.start().unwrap().index, IndexStart::Rebuilt { .. }));
        assert_eq!(content(&subject), rows);
    }
}

#[test]
fn a_second_process_is_refused_and_told_which_folder() {
    let subject = OnDisk::new(small());
    let mut second = OnDisk::new(small());
    let error = crate::storage::DataFolder::open(subject.path()).unwrap_err();
    assert!(matches!(&error, OpenError::Locked { folder } if folder == subject.path()));
    second.kill();
    second.start().unwrap();
}

#[test]
fn a_damaged_log_is_refused_and_named() {
    let (mut subject, _) = filled(RowsConfig {
        segment_bytes: 1 << 24,
        waste_bytes: 1 << 30,
        ..small()
    });
    // One more commit, which proves that those before it were on disk.
    subject.flush();
    subject.kill();
    let log = subject.path().join("rows/log");
    let mut names: Vec<PathBuf> = fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let mut data = fs::read(&names[0]).unwrap();
    data[200] ^= 1;
    fs::write(&names[0], data).unwrap();
    let error = subject.start().unwrap_err();
    assert!(
        matches!(&error, OpenError::Damaged { folder, .. } if *folder == log),
        "{error}"
    );
}

#[test]
fn a_row_that_rots_closes_the_store_when_it_is_read() {
    let (mut subject, _) = filled(RowsConfig {
        segment_bytes: 1 << 24,
        waste_bytes: 1 << 30,
        ..small()
    });
    subject.store().apply(vec![put("rotten", vec![0xaa; 5000])]).unwrap();
    subject.restart();
    let path = subject.path().join("rows/log/00000001.log");
    let mut data = fs::read(&path).unwrap();
    let at = data.windows(5000).position(|window| window == [0xaa; 5000]).unwrap();
    data[at + 100] ^= 1;
    fs::write(&path, data).unwrap();
    let error = subject.store().get(b"rotten").unwrap_err();
    assert!(
        matches!(&error, RowsError::Closed(why) if why.contains("00000001.log")),
        "{error}"
    );
    assert!(subject.store().get(b"key001").is_err(), "nothing more is answered");
}

#[test]
fn a_full_disk_refuses_writes_and_answers_reads() {
    let (mut subject, rows) = filled(small());
    subject.kill();
    let mut full = OnDisk {
        config: RowsConfig {
            min_free_bytes: u64::MAX,
            ..small()
        },
        ..subject
    };
    full.start().unwrap();
    assert!(matches!(
        full.store().apply(vec![put("a", "1")]),
        Err(RowsError::Full { .. })
    ));
    assert_eq!(content(&full), rows);
}

#[test]
fn many_threads_share_commits_while_the_log_is_cleaned() {
    let mut subject = OnDisk::new(small());
    let oldest = subject.path().join("rows/log/00000001.log");
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let rows = subject.store();
            scope.spawn(move || {
                for round in 0..150u32 {
                    let key = format!("thread{thread}key{}", round % 10);
                    let at = rows.apply(vec![
                        put(&key, round.to_be_bytes()),
                        put(format!("{key}body"), vec![thread; 700]),
                    ]);
                    block_on(rows.durable(at.unwrap())).unwrap();
                    let found = rows.get(key.as_bytes()).unwrap();
                    assert_eq!(found.value.unwrap(), round.to_be_bytes().as_slice());
                }
            });
        }
    });
    let rows = content(&subject);
    assert_eq!(rows.len(), 80);
    subject.flush();
    subject.crash();
    assert_eq!(content(&subject), rows);
    assert!(
        !oldest.exists(),
        "600 rounds of 700 bytes in segments of 4096 are cleaned"
    );
}

#[test]
fn a_scan_sees_every_batch_whole_while_the_index_changes() {
    let subject = OnDisk::new(small());
    let between = (0..400).map(|row| put(format!("m{row}"), "between")).collect();
    subject.store().apply(between).unwrap();
    std::thread::scope(|scope| {
        let rows = subject.store();
        let writer = scope.spawn(move || {
            for round in 0..300 {
                let value = format!("{round}");
                let position = rows.apply(vec![put("a", &value), put("z", &value)]).unwrap();
                block_on(rows.durable(position)).unwrap();
            }
        });
        while !writer.is_finished() {
            let seen = rows.scan(b"", b"zz", 1000).unwrap().value;
            let value_at = |end: &str| seen.iter().find(|(key, _)| key == end).map(|(_, value)| value.clone());
            assert_eq!(value_at("a"), value_at("z"));
        }
    });
}

#[test]
fn the_twin_flushes_after_a_while_and_fails_when_told() {
    block_on(async {
        let disk = MemoryDisk::new();
        let flush = Flush::After {
            least: std::time::Duration::ZERO,
            most: std::time::Duration::from_micros(50),
        };
        let (rows, _) = MemoryRows::open(&disk, env(), flush).unwrap();
        for round in 0..20u8 {
            let position = rows.apply(vec![put("a", [round])]).unwrap();
            assert_eq!(rows.get(b"a").unwrap().written_at, position);
            rows.durable(position).await.unwrap();
            assert_eq!(rows.get(b"a").unwrap().written_at, Position::default());
        }
        let copy = disk.copy();
        disk.fail_next_flush();
        let position = rows.apply(vec![put("a", "lost")]).unwrap();
        assert!(matches!(rows.durable(position).await, Err(RowsError::Closed(_))));
        assert!(matches!(rows.get(b"a"), Err(RowsError::Closed(_))));
        let (again, opened) = MemoryRows::open(&disk, env(), flush).unwrap();
        assert_eq!(again.get(b"a").unwrap().value.unwrap(), [19].as_slice());
        assert!(
            matches!(rows.apply(vec![]), Err(RowsError::Closed(_))),
            "the crashed process is gone"
        );
        let (_, older) = MemoryRows::open(&copy, env(), flush).unwrap();
        assert!(older.commit_counter <= opened.commit_counter);
        disk.set_full(true);
        assert!(matches!(again.apply(vec![put("b", "")]), Err(RowsError::Full { .. })));
        disk.damage("somebody sat on it");
        assert!(matches!(
            MemoryRows::open(&disk, env(), flush),
            Err(OpenError::Damaged { .. })
        ));
    });
}

#[test]
fn a_batch_is_one_change_even_with_the_same_key_twice() {
    let mut subject = OnDisk::new(small());
    let batch = vec![
        put("a", "1"),
        remove("a"),
        put("a", "3"),
        put("b", "1"),
        (Bytes::from_static(b"b"), Change::Remove),
    ];
    subject.store().apply(batch).unwrap();
    subject.flush();
    subject.crash();
    assert_eq!(
        content(&subject),
        [(Bytes::from_static(b"a"), Bytes::from_static(b"3"))]
    );
}
