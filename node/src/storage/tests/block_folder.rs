//! What only files have to fear: power cuts, failed writes, full disks, and forms that change.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::Seeded;
use super::blocks::block;
use super::power_loss::{LOSSES, Loss};
use super::sim_disk::SimDisk;
use crate::storage::block_folder::BlockFolder;
use crate::storage::files::Files;
use crate::storage::packing::Packing;
use crate::storage::{BlockName, BlocksError};

fn open_folder(disk: &SimDisk, min_free_bytes: u64) -> BlockFolder {
    open_packing(disk, min_free_bytes, Packing::AsTheyAre)
}

fn open_packing(disk: &SimDisk, min_free_bytes: u64, packing: Packing) -> BlockFolder {
    BlockFolder::open(Arc::new(disk.clone()), Path::new("/"), min_free_bytes, packing).unwrap()
}

#[test]
fn the_power_may_go_at_every_step() {
    for packing in [Packing::AsTheyAre, Packing::Zstd { level: 1 }] {
        cut_the_power_at_every_step(packing);
    }
}

fn cut_the_power_at_every_step(packing: Packing) {
    let disk = SimDisk::new();
    let folder = open_packing(&disk, 0, packing);
    let random = Seeded::new(1);
    // For each block: at which step it was answered as stored, or as removed.
    let mut answers: BTreeMap<BlockName, Vec<(usize, bool)>> = BTreeMap::new();
    let mut begun: BTreeMap<BlockName, Vec<usize>> = BTreeMap::new();
    for _ in 0..60 {
        let block = block(random.below(12) as u64);
        let removes = random.below(3) == 0;
        begun.entry(block.name()).or_default().push(disk.steps());
        if removes {
            folder.remove(block.name())
        } else {
            folder.put(&block)
        }
        .unwrap();
        answers.entry(block.name()).or_default().push((disk.steps(), !removes));
    }
    for steps in 0..=disk.steps() {
        let loss = LOSSES[steps % LOSSES.len()];
        let left = open_folder(&disk.after_power_cut(steps, loss, steps as u64), 0);
        for (name, answers) in &answers {
            let found = left
                .get(*name)
                .unwrap_or_else(|error| panic!("{steps} steps, {loss:?}: {error}"));
            let answered = answers.iter().rposition(|(at, _)| *at <= steps);
            let busy = begun[name].iter().filter(|at| **at < steps).count() > answered.map_or(0, |at| at + 1);
            if !busy {
                let expected = answered.is_some_and(|at| answers[at].1);
                assert_eq!(found.is_some(), expected, "{steps} steps, {loss:?}, {name}");
            }
        }
        assert_eq!(
            left.list(None, 100)
                .found
                .iter()
                .filter(|name| !answers.contains_key(name))
                .count(),
            0
        );
    }
}

#[test]
fn a_failed_write_closes_for_writing_and_reads_go_on() {
    for fails_after in 0..5 {
        let disk = SimDisk::new();
        let folder = open_folder(&disk, 0);
        folder.put(&block(1)).unwrap();
        // In the same folder, so that the fault meets the put itself.
        let sister = (2..)
            .map(block)
            .find(|sister| sister.name().0[0] == block(1).name().0[0])
            .unwrap();
        disk.fail_after(fails_after);
        assert!(
            matches!(folder.put(&sister), Err(BlocksError::Closed(_))),
            "step {fails_after}"
        );
        assert!(matches!(folder.put(&block(1)), Err(BlocksError::Closed(_))));
        assert!(matches!(folder.remove(block(1).name()), Err(BlocksError::Closed(_))));
        assert_eq!(folder.get(block(1).name()).unwrap().as_ref(), Some(block(1).data()));
        let after = open_folder(&disk.after_power_cut(disk.steps(), Loss::Everything, 1), 0);
        assert!(after.has(block(1).name()).unwrap());
        after.put(&sister).unwrap();
    }
}

#[test]
fn a_block_that_an_earlier_process_left_unsynced_is_synced_before_the_answer() {
    let disk = SimDisk::new();
    let folder = open_folder(&disk, 0);
    folder.put(&block(1)).unwrap();
    folder.remove(block(1).name()).unwrap();
    // Created, written, synced, renamed; killed before its folder is synced.
    disk.fail_after(4);
    folder.put(&block(1)).unwrap_err();
    let restarted = open_folder(&disk, 0);
    assert!(restarted.has(block(1).name()).unwrap());
    restarted.put(&block(1)).unwrap();
    let left = open_folder(&disk.after_power_cut(disk.steps(), Loss::Everything, 1), 0);
    assert!(left.has(block(1).name()).unwrap());
}

#[test]
fn a_full_disk_refuses_puts_and_nothing_else() {
    let disk = SimDisk::new();
    let folder = open_folder(&disk, 1000);
    disk.set_capacity(5000);
    folder.put(&block(1)).unwrap();
    let refused = (2..100).find_map(|number| folder.put(&block(number)).err()).unwrap();
    assert_eq!(
        refused,
        BlocksError::Full {
            folder: "/".into(),
            min_free_bytes: 1000
        }
    );
    // Beyond the reserve, too: whoever else writes to the disk may take all of it.
    disk.set_capacity(0);
    let keen = open_folder(&disk, 0);
    assert!(matches!(keen.put(&block(500)), Err(BlocksError::Full { .. })));
    assert_eq!(disk.list(Path::new("/incoming")).unwrap(), [""; 0]);
    assert_eq!(folder.get(block(1).name()).unwrap().as_ref(), Some(block(1).data()));
    folder.remove(block(1).name()).unwrap();
}

#[test]
fn both_forms_are_read_whatever_new_blocks_get() {
    let disk = SimDisk::new();
    let (raw, zstd) = (Packing::AsTheyAre, Packing::Zstd { level: 1 });
    let count = |suffix: &str| {
        let files = disk.files(Path::new("/"));
        files
            .iter()
            .filter(|path| path.to_string_lossy().ends_with(suffix))
            .count()
    };
    open_packing(&disk, 0, raw).put(&block(3)).unwrap();
    let folder = open_packing(&disk, 0, zstd);
    for number in [3, 4, 6] {
        folder.put(&block(number)).unwrap();
    }
    assert_eq!(
        (count(""), count(".zst")),
        (3, 1),
        "what is there stays, what is short is not worth it"
    );
    let folder = open_packing(&disk, 0, raw);
    let mut names = [3, 4, 6].map(|number| block(number).name());
    names.sort();
    assert_eq!(folder.list(None, 10).found, names);
    for number in [3, 4, 6] {
        let block = block(number);
        folder.put(&block).unwrap();
        assert!(folder.has(block.name()).unwrap());
        assert_eq!(folder.get(block.name()).unwrap().as_ref(), Some(block.data()));
    }
    assert_eq!((count(""), count(".zst")), (3, 1));
    names.iter().for_each(|name| folder.remove(*name).unwrap());
    assert_eq!(count(""), 0);
}

#[test]
fn a_compressed_block_that_rots_is_put_aside_and_healed() {
    let disk = SimDisk::new();
    let folder = open_packing(&disk, 0, Packing::Zstd { level: 1 });
    let block = block(3);
    for bit in [0, 40, 100] {
        folder.put(&block).unwrap();
        let files = disk.files(Path::new("/"));
        let file = files.iter().find(|file| file.extension().is_some()).unwrap();
        disk.rot(file, bit);
        let found = folder.get(block.name());
        assert!(
            matches!(found, Err(BlocksError::Damaged { .. })),
            "bit {bit}: {found:?}"
        );
        assert_eq!(folder.get(block.name()), Ok(None));
        let kept = disk
            .files(Path::new("/damaged"))
            .into_iter()
            .map(|kept| disk.remove(&kept));
        assert_eq!(kept.filter(Result::is_ok).count(), 1);
        folder.put(&block).unwrap();
        assert_eq!(folder.get(block.name()).unwrap().as_ref(), Some(block.data()));
    }
}
