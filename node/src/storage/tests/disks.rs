//! Several disks, and what becomes of them: they fill up, fail, go away, come back, and are given up.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tempfile::TempDir;

use super::Seeded;
use super::faulty::{Faults, Faulty};
use crate::size::Capacity;
use crate::storage::disks::{BlockFolderError, Disks, FolderState, Losing, give_up};
use crate::storage::files::Files;
use crate::storage::rooted::RootedFiles;
use crate::storage::{Block, BlockFolderConfig, BlockName, BlockSetup, BlocksError, OpenError};

const NODE: [u8; 16] = [7; 16];
const NAMES: [&str; 3] = ["a", "b", "c"];

/// A data folder, and folders for blocks beside it, the first of which may have faults.
struct Scene {
    home: TempDir,
    folders: Vec<BlockFolderConfig>,
    faults: Arc<Faults>,
    random: Seeded,
}

impl Scene {
    fn new(disks: usize) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("data")).unwrap();
        let mut scene = Scene {
            home,
            folders: Vec::new(),
            faults: Arc::default(),
            random: Seeded::new(1),
        };
        NAMES[..disks].iter().for_each(|name| scene.add(name));
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn add(&mut self, name: &str) {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        let capacity = Capacity(1 << 40);
        self.folders.push(BlockFolderConfig { path, capacity });
    }

    fn open_as(&self, node: [u8; 16]) -> Result<Disks, OpenError> {
        let setup = BlockSetup {
            node,
            folders: self.folders.clone(),
            min_free_bytes: 1,
            ..BlockSetup::default()
        };
        let (first, faults) = (self.path("a"), self.faults.clone());
        let open = move |path: &Path| -> io::Result<Arc<dyn Files>> {
            let inner = RootedFiles::open(path)?;
            let faults = if path == first { faults.clone() } else { Arc::default() };
            Ok(Arc::new(Faulty { inner, faults }))
        };
        Disks::open_by(Arc::new(open), &self.path("data"), &setup, &self.random)
    }

    fn open(&self) -> Disks {
        self.open_as(NODE).unwrap()
    }

    fn refused(&self) -> BlockFolderError {
        match self.open_as(NODE) {
            Err(OpenError::BlockFolder(error)) => error,
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("it opens"),
        }
    }

    fn unmount(&self, name: &str) {
        fs::rename(self.path(name), self.path("unmounted")).unwrap();
        fs::create_dir(self.path(name)).unwrap();
    }

    fn mount(&self, name: &str) {
        // Fails if anything was written to what lies under the mount point.
        fs::remove_dir(self.path(name)).unwrap();
        fs::rename(self.path("unmounted"), self.path(name)).unwrap();
    }

    /// Blocks in a folder.
    fn blocks_in(&self, name: &str) -> usize {
        let files = walk(&self.path(name));
        files.iter().filter(|file| BlockName::parse(file).is_some()).count()
    }
}

fn walk(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(walk(&entry.path())),
            false => found.push(entry.file_name().into_string().unwrap()),
        }
    }
    found
}

fn block(number: u32) -> Block {
    Block::named(Bytes::from(format!("block {number}")))
}

fn put_all(disks: &Disks, numbers: std::ops::Range<u32>) {
    numbers.for_each(|number| disks.put(&block(number)).unwrap());
}

/// Can the block be had?
fn is_here(disks: &Disks, number: u32) -> bool {
    let block = block(number);
    let found = match disks.get(block.name()) {
        // It may be on the disk that is away.
        Err(BlocksError::Away { .. }) => None,
        found => found.unwrap(),
    };
    assert_eq!(disks.has(block.name()).unwrap_or(false), found.is_some());
    assert!(found.as_ref().is_none_or(|found| found == block.data()));
    found.is_some()
}

fn settle_all(disks: &Disks) {
    for name in disks.list(None, usize::MAX).found {
        disks.settle(name).unwrap();
    }
}

#[test]
fn a_folder_that_cannot_be_read_hides_no_other_blocks() {
    let scene = Scene::new(1);
    let disks = scene.open();
    put_all(&disks, 0..60);
    let all = disks.list(None, usize::MAX);
    assert!(all.unread.is_none());
    let name = all.found[30].to_string();
    let leaf = scene.path("a").join(&name[..2]).join(&name[2..3]);
    fs::remove_dir_all(&leaf).unwrap();
    fs::write(&leaf, "no folder").unwrap();
    let rest = disks.list(None, usize::MAX);
    assert!(
        matches!(rest.unread, Some(BlocksError::Unreadable(_))),
        "{:?}",
        rest.unread
    );
    let others = all
        .found
        .iter()
        .filter(|other| !other.to_string().starts_with(&name[..3]));
    assert!(others.eq(&rest.found));
}

#[test]
fn blocks_are_spread_and_found_again() {
    let scene = Scene::new(3);
    put_all(&scene.open(), 0..60);
    let counts = NAMES.map(|name| scene.blocks_in(name));
    assert_eq!(counts.iter().sum::<usize>(), 60, "{counts:?}");
    assert!(counts.iter().all(|count| *count > 8), "{counts:?}");
    let disks = scene.open();
    assert!((0..60).all(|number| is_here(&disks, number)));
    assert_eq!(disks.list(None, usize::MAX).found.len(), 60);
    settle_all(&disks);
    assert_eq!(
        NAMES.map(|name| scene.blocks_in(name)),
        counts,
        "all lie where they belong"
    );
}

#[test]
fn a_new_disk_gets_its_share_and_one_without_capacity_is_emptied() {
    let mut scene = Scene::new(1);
    put_all(&scene.open(), 0..60);
    scene.add("b");
    let disks = scene.open();
    assert!((0..60).all(|number| is_here(&disks, number)));
    settle_all(&disks);
    assert!(scene.blocks_in("b") > 15, "{}", scene.blocks_in("b"));
    assert_eq!(scene.blocks_in("a") + scene.blocks_in("b"), 60);
    drop(disks);

    scene.folders[0].capacity = Capacity(0);
    let disks = scene.open();
    put_all(&disks, 60..80);
    settle_all(&disks);
    assert_eq!((scene.blocks_in("a"), scene.blocks_in("b")), (0, 80));
    assert!((0..80).all(|number| is_here(&disks, number)));
}

#[test]
fn what_a_full_disk_does_not_take_lies_on_the_next_until_there_is_room() {
    let scene = Scene::new(2);
    let disks = scene.open();
    scene.faults.full.store(true, Ordering::Relaxed);
    put_all(&disks, 0..40);
    assert_eq!((scene.blocks_in("a"), scene.blocks_in("b")), (0, 40));
    settle_all(&disks);
    assert_eq!(scene.blocks_in("b"), 40);
    scene.faults.full.store(false, Ordering::Relaxed);
    settle_all(&disks);
    assert!(scene.blocks_in("a") > 8);
    assert_eq!(scene.blocks_in("a") + scene.blocks_in("b"), 40);
    // A disk without others says that it is full.
    let alone = Scene::new(1);
    alone.faults.full.store(true, Ordering::Relaxed);
    assert!(matches!(alone.open().put(&block(1)), Err(BlocksError::Full { .. })));
}

#[test]
fn a_disk_that_goes_away_is_missed_and_comes_back() {
    let scene = Scene::new(2);
    let disks = scene.open();
    put_all(&disks, 0..40);
    let lost = scene.blocks_in("a");
    scene.unmount("a");
    assert!(disks.look());
    assert!(!disks.look(), "it is noticed once");
    assert!(matches!(disks.seen()[0].how, FolderState::Away(_)));
    let (here, gone): (Vec<u32>, Vec<u32>) = (0..40).partition(|number| is_here(&disks, *number));
    assert_eq!(gone.len(), lost);
    assert!(matches!(
        disks.has(block(gone[0]).name()),
        Err(BlocksError::Away { .. })
    ));
    put_all(&disks, 0..60);
    assert_eq!(scene.blocks_in("b"), 60);
    assert_eq!(
        walk(&scene.path("a")),
        [""; 0],
        "nothing is written below the mount point"
    );
    // It may still be on the other disk.
    let (removed, kept) = (gone[0], gone[1]);
    assert!(matches!(
        disks.remove(block(removed).name()),
        Err(BlocksError::Away { .. })
    ));

    scene.mount("a");
    assert!(disks.look());
    assert_eq!(disks.seen()[0].how, FolderState::InUse);
    assert!(is_here(&disks, removed) && is_here(&disks, kept));
    disks.remove(block(removed).name()).unwrap();
    disks.remove(block(here[0]).name()).unwrap();
    settle_all(&disks);
    assert_eq!(
        scene.blocks_in("a") + scene.blocks_in("b"),
        58,
        "of what was copied, one copy is left"
    );
    assert!(!is_here(&disks, removed));
}

#[test]
fn without_any_disk_nothing_is_stored() {
    let scene = Scene::new(1);
    let disks = scene.open();
    disks.put(&block(1)).unwrap();
    scene.unmount("a");
    assert!(disks.look());
    assert!(matches!(disks.put(&block(2)), Err(BlocksError::Away { .. })));
    assert!(
        matches!(disks.get(block(1).name()), Err(BlocksError::Away { .. })),
        "nobody can say that it is not here"
    );
    assert!(disks.check_open().is_err());
    scene.mount("a");
    assert!(disks.look());
    assert_eq!(disks.check_open(), Ok(()));
    assert!(is_here(&disks, 1) && !is_here(&disks, 2));
}

#[test]
fn a_disk_whose_reads_keep_failing_is_dead_until_it_was_gone() {
    let scene = Scene::new(2);
    let disks = scene.open();
    put_all(&disks, 0..40);
    scene.faults.reads_fail.store(true, Ordering::Relaxed);
    let failing = |number: &u32| disks.get(block(*number).name()).is_err();
    let failing: Vec<u32> = (0..40).filter(failing).collect();
    assert!(failing.len() >= 8);
    assert!(disks.look());
    assert!(!is_here(&disks, failing[0]));
    scene.faults.reads_fail.store(false, Ordering::Relaxed);
    assert!(!disks.look(), "the kernel may still hold what the disk does not");
    scene.unmount("a");
    assert!(!disks.look());
    scene.mount("a");
    assert!(disks.look());
    assert!(is_here(&disks, failing[0]));
}

#[test]
fn a_disk_that_cannot_be_written_is_read() {
    let scene = Scene::new(2);
    let disks = scene.open();
    put_all(&disks, 0..40);
    scene.faults.writes_fail.store(true, Ordering::Relaxed);
    put_all(&disks, 40..80);
    assert!(matches!(disks.seen()[0].how, FolderState::ReadOnly(_)));
    assert!((0..80).all(|number| is_here(&disks, number)));
    let (on_a, on_b): (Vec<u32>, Vec<u32>) = (0..40).partition(|number| disks.remove(block(*number).name()).is_err());
    assert!(!on_a.is_empty() && !on_b.is_empty());
    scene.faults.writes_fail.store(false, Ordering::Relaxed);
    scene.unmount("a");
    assert!(disks.look());
    scene.mount("a");
    assert!(disks.look());
    assert_eq!(disks.seen()[0].how, FolderState::InUse);
    assert!(on_a.iter().all(|number| disks.remove(block(*number).name()).is_ok()));
}

#[test]
fn a_copy_on_another_disk_stands_in_for_a_damaged_one() {
    let scene = Scene::new(2);
    let disks = scene.open();
    scene.faults.full.store(true, Ordering::Relaxed);
    put_all(&disks, 0..20);
    scene.faults.full.store(false, Ordering::Relaxed);
    let name = block(3).name().to_string();
    let inner: PathBuf = [&name[..2], &name[2..3], &name].iter().collect();
    let rotten = scene.path("a").join(inner);
    fs::create_dir_all(rotten.parent().unwrap()).unwrap();
    fs::write(&rotten, b"rotten").unwrap();
    let found = disks.get(block(3).name()).unwrap();
    assert_eq!(found.as_ref(), Some(block(3).data()));
    settle_all(&disks);
    assert!(is_here(&disks, 3));
    assert_eq!(scene.blocks_in("a") + scene.blocks_in("b"), 20);
    assert_eq!(walk(&scene.path("a/damaged")).len(), 1);
}

#[test]
fn a_start_without_a_disk_is_refused_and_changes_nothing() {
    let mut scene = Scene::new(2);
    put_all(&scene.open(), 0..10);
    scene.unmount("a");
    let error = scene.refused();
    assert!(matches!(error, BlockFolderError::NotMounted { .. }), "{error}");
    assert!(error.to_string().contains("replace-folder"), "{error}");
    fs::remove_dir(scene.path("a")).unwrap();
    assert!(matches!(scene.refused(), BlockFolderError::NotMounted { .. }));
    // Elsewhere it is as good.
    scene.folders[0].path = scene.path("unmounted");
    assert!((0..10).all(|number| is_here(&scene.open(), number)));
    scene.folders[0].path = scene.path("a");
    fs::create_dir(scene.path("a")).unwrap();
    scene.mount("a");
    let forgotten = scene.folders.pop().unwrap();
    let error = scene.refused();
    assert!(matches!(error, BlockFolderError::NotConfigured { .. }), "{error}");
    scene.folders.push(forgotten);
    assert!((0..10).all(|number| is_here(&scene.open(), number)));
}

#[test]
fn what_is_no_folder_for_blocks_of_this_node_is_refused() {
    let mut scene = Scene::new(1);
    drop(scene.open());
    assert!(matches!(
        scene.open_as([8; 16]),
        Err(OpenError::BlockFolder(BlockFolderError::Foreign { .. }))
    ));
    scene.folders.push(scene.folders[0].clone());
    assert!(matches!(scene.refused(), BlockFolderError::Twice { .. }));
    scene.folders.pop();
    scene.add("b");
    fs::remove_dir(scene.path("b")).unwrap();
    assert!(matches!(scene.refused(), BlockFolderError::NotThere { .. }));
    fs::create_dir(scene.path("b")).unwrap();
    fs::write(scene.path("b/photo"), b"mine").unwrap();
    assert!(matches!(scene.refused(), BlockFolderError::NotEmpty { .. }));
    assert_eq!(walk(&scene.path("b")), ["photo"]);
    fs::rename(scene.path("b/photo"), scene.path("photo")).unwrap();
    fs::create_dir(scene.path("b/lost+found")).unwrap();
    drop(scene.open());
    fs::write(scene.path("b/block-folder.json"), b"{").unwrap();
    assert!(matches!(scene.refused(), BlockFolderError::Damaged { .. }));
}

#[test]
fn a_lost_disk_is_given_up_and_replaced_and_does_not_come_back() {
    let scene = Scene::new(2);
    put_all(&scene.open(), 0..40);
    scene.unmount("a");
    let data = scene.path("data");
    let unknown = give_up(&data, &scene.path("c"), Losing::Blocks);
    assert!(matches!(unknown, Err(BlockFolderError::NotOnRecord { .. })));
    let held = give_up(&data, &scene.path("b"), Losing::Nothing);
    assert!(matches!(held, Err(BlockFolderError::HoldsBlocks { .. })));
    give_up(&data, &scene.path("a"), Losing::Nothing).unwrap();
    let disks = scene.open();
    let here = (0..40).filter(|number| is_here(&disks, *number)).count();
    assert_eq!(here, scene.blocks_in("b"));
    put_all(&disks, 0..40);
    assert!(scene.blocks_in("a") > 8, "the new disk takes what belongs on it");
    drop(disks);
    fs::rename(scene.path("a"), scene.path("new")).unwrap();
    fs::rename(scene.path("unmounted"), scene.path("a")).unwrap();
    assert!(matches!(scene.refused(), BlockFolderError::GivenUp { .. }));
}

#[test]
fn a_folder_marked_before_the_power_went_is_taken_into_use_after_it() {
    let mut scene = Scene::new(1);
    drop(scene.open());
    scene.add("b");
    put_all(&scene.open(), 0..10);
    // As if the record of the second folder had not reached the disk; a block folder with a marker is never empty.
    let record = scene.path("data/block-folders.json");
    let text = fs::read_to_string(&record).unwrap();
    let mut parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
    let folders = parsed["folders"].as_object_mut().unwrap();
    folders.retain(|_, path| !path.as_str().unwrap().ends_with("/b"));
    fs::write(&record, parsed.to_string()).unwrap();
    assert!((0..10).all(|number| is_here(&scene.open(), number)));
    assert_eq!(fs::read_to_string(&record).unwrap(), text);
}

#[test]
fn the_folder_in_the_data_folder_needs_no_configuration() {
    let mut scene = Scene::new(0);
    let own = scene.path("data/blocks");
    fs::create_dir_all(own.join("ab/c")).unwrap();
    put_all(&scene.open(), 0..10);
    assert!(own.join("block-folder.json").exists());
    fs::rename(&own, scene.path("unmounted")).unwrap();
    assert!(matches!(scene.refused(), BlockFolderError::NotMounted { .. }));
    fs::rename(scene.path("unmounted"), &own).unwrap();
    scene.add("b");
    assert!(matches!(scene.refused(), BlockFolderError::NotConfigured { .. }));
    let capacity = Capacity(0);
    scene.folders.push(BlockFolderConfig { path: own, capacity });
    let disks = scene.open();
    settle_all(&disks);
    assert_eq!((scene.blocks_in("data"), scene.blocks_in("b")), (0, 10));
}
