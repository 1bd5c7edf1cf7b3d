//! What every block store owes.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tempfile::TempDir;

use super::{block_on, env};
use crate::size::Capacity;
use crate::storage::{
    BLOCK_MAX_BYTES, Block, BlockFiles, BlockFolderConfig, BlockName, BlockSetup, Blocks, BlocksError, Compression,
    DataFolder, MemoryBlockDisk, MemoryBlocks,
};

/// A block store and a way to make it rot.
trait Subject {
    fn blocks(&self) -> &dyn Blocks;
    fn rot(&self, name: BlockName);
    fn crash(&mut self);
}

struct Twin(MemoryBlockDisk, MemoryBlocks);

impl Twin {
    fn new() -> Self {
        let disk = MemoryBlockDisk::new();
        let blocks = MemoryBlocks::open(&disk, env(), Duration::ZERO);
        Self(disk, blocks)
    }
}

impl Subject for Twin {
    fn blocks(&self) -> &dyn Blocks {
        &self.1
    }

    fn rot(&self, name: BlockName) {
        assert!(self.0.rot(name));
    }

    fn crash(&mut self) {
        self.1 = MemoryBlocks::open(&self.0, env(), Duration::ZERO);
    }
}

struct OnDisk {
    home: TempDir,
    setup: BlockSetup,
    open: Option<(DataFolder, BlockFiles)>,
}

impl OnDisk {
    /// In the data folder.
    fn new() -> Self {
        Self::with(tempfile::tempdir().unwrap(), Vec::new())
    }

    /// In folders of their own, and compressed.
    fn on_three_disks() -> Self {
        let home = tempfile::tempdir().unwrap();
        let folder = |(name, bytes): (&str, u64)| {
            let path = home.path().join(name);
            fs::create_dir(&path).unwrap();
            let capacity = Capacity(bytes);
            BlockFolderConfig { path, capacity }
        };
        let folders = [("one", 1), ("two", 2), ("three", 3)].map(folder);
        let mut subject = Self::with(home, folders.into());
        subject.setup.config.compression = Compression::Zstd;
        subject.crash();
        subject
    }

    fn with(home: TempDir, folders: Vec<BlockFolderConfig>) -> Self {
        let setup = BlockSetup {
            folders,
            ..BlockSetup::default()
        };
        let mut subject = Self {
            home,
            setup,
            open: None,
        };
        subject.crash();
        subject
    }

    fn path(&self, name: BlockName) -> PathBuf {
        let text = name.to_string();
        let leaf: PathBuf = [&text[..2], &text[2..3]].iter().collect();
        let own = self.home.path().join("blocks");
        let folders = self.setup.folders.iter().map(|folder| folder.path.clone()).chain([own]);
        let leaves = folders.map(|folder| folder.join(&leaf));
        let mut files = leaves.flat_map(|leaf| [leaf.join(&text), leaf.join(format!("{text}.zst"))]);
        files.find(|file| file.exists()).unwrap()
    }
}

impl Subject for OnDisk {
    fn blocks(&self) -> &dyn Blocks {
        &self.open.as_ref().unwrap().1
    }

    fn rot(&self, name: BlockName) {
        let mut data = fs::read(self.path(name)).unwrap();
        match data.first_mut() {
            Some(byte) => *byte ^= 1,
            None => data.push(1),
        }
        fs::write(self.path(name), data).unwrap();
    }

    fn crash(&mut self) {
        self.open = None;
        let folder = DataFolder::open(self.home.path()).unwrap();
        let blocks = BlockFiles::open(&folder, &self.setup, env().random.as_ref()).unwrap();
        self.open = Some((folder, blocks));
    }
}

fn every_subject(suite: impl Fn(&mut dyn Subject)) {
    suite(&mut Twin::new());
    suite(&mut OnDisk::new());
    suite(&mut OnDisk::on_three_disks());
}

/// One in three is long enough to be compressed where that is done.
pub(super) fn block(number: u64) -> Block {
    let times = if number.is_multiple_of(3) {
        1000
    } else {
        1 + number as usize % 90
    };
    Block::named(Bytes::from(format!("block {number}").repeat(times)))
}

#[test]
fn names_are_blake2b_256() {
    // `printf abc | b2sum -l 256`
    let name = "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319";
    assert_eq!(BlockName::of(b"abc").to_string(), name);
    assert_eq!(BlockName::parse(name), Some(BlockName::of(b"abc")));
    for wrong in [&name[1..], &name.to_uppercase(), &format!("{}+1", &name[2..]), "é"] {
        assert_eq!(BlockName::parse(wrong), None);
    }
}

#[test]
fn a_block_stored_is_found_after_a_crash_and_stays_away_when_removed() {
    every_subject(|subject| {
        let (one, two) = (block(1), block(2));
        block_on(async {
            assert_eq!(subject.blocks().get(one.name()).await, Ok(None));
            assert_eq!(subject.blocks().remove(one.name()).await, Ok(()));
            subject.blocks().put(one.clone()).await.unwrap();
            subject.blocks().put(one.clone()).await.unwrap();
            subject
                .blocks()
                .put(Block::received(two.name(), two.data().clone()))
                .await
                .unwrap();
            assert_eq!(subject.blocks().name(two.data().clone()).await.unwrap(), two);
        });
        subject.crash();
        block_on(async {
            assert_eq!(
                subject.blocks().get(one.name()).await.unwrap().as_ref(),
                Some(one.data())
            );
            assert_eq!(subject.blocks().has(two.name()).await, Ok(true));
            subject.blocks().remove(two.name()).await.unwrap();
        });
        subject.crash();
        block_on(async {
            assert_eq!(subject.blocks().has(one.name()).await, Ok(true));
            assert_eq!(subject.blocks().get(two.name()).await, Ok(None));
        });
    });
}

#[test]
fn blocks_of_every_size_and_none_larger() {
    every_subject(|subject| {
        block_on(async {
            for size in [0, 1, 65_536, BLOCK_MAX_BYTES] {
                let block = Block::named(vec![3; size].into());
                subject.blocks().put(block.clone()).await.unwrap();
                assert_eq!(
                    subject.blocks().get(block.name()).await.unwrap().as_ref(),
                    Some(block.data())
                );
            }
            let large = Block::named(vec![3; BLOCK_MAX_BYTES + 1].into());
            let bytes = BLOCK_MAX_BYTES + 1;
            assert_eq!(subject.blocks().put(large).await, Err(BlocksError::TooLarge { bytes }));
        });
    });
}

#[test]
fn data_that_are_not_what_their_name_says_are_not_stored() {
    every_subject(|subject| {
        let name = block(1).name();
        block_on(async {
            let wrong = Block::received(name, Bytes::from_static(b"something else"));
            assert_eq!(subject.blocks().put(wrong).await, Err(BlocksError::Mismatch { name }));
            assert_eq!(subject.blocks().has(name).await, Ok(false));
        });
    });
}

#[test]
fn a_rotten_block_is_put_aside_and_can_be_stored_again() {
    every_subject(|subject| {
        for round in 0..2 {
            for block in [block(1), Block::named(Bytes::new())] {
                block_on(subject.blocks().put(block.clone())).unwrap();
                subject.rot(block.name());
                if round == 1 {
                    subject.crash();
                }
                block_on(async {
                    let found = subject.blocks().get(block.name()).await;
                    assert!(matches!(found, Err(BlocksError::Damaged { name, .. }) if name == block.name()));
                    assert_eq!(subject.blocks().get(block.name()).await, Ok(None));
                    subject.blocks().put(block.clone()).await.unwrap();
                    assert_eq!(
                        subject.blocks().get(block.name()).await.unwrap().as_ref(),
                        Some(block.data())
                    );
                });
            }
        }
    });
}

#[test]
fn storing_a_rotten_block_again_heals_it() {
    every_subject(|subject| {
        for block in [block(1), Block::named(Bytes::new())] {
            block_on(subject.blocks().put(block.clone())).unwrap();
            subject.rot(block.name());
            block_on(subject.blocks().put(block.clone())).unwrap();
            subject.crash();
            let found = block_on(subject.blocks().get(block.name()));
            assert_eq!(found.unwrap().as_ref(), Some(block.data()));
        }
    });
}

#[test]
fn lists_are_pages_in_order() {
    every_subject(|subject| {
        let mut names: Vec<BlockName> = (0..60).map(|number| block(number).name()).collect();
        names.sort();
        block_on(async {
            for number in 0..60 {
                subject.blocks().put(block(number)).await.unwrap();
            }
            let mut listed = Vec::new();
            loop {
                let page = subject.blocks().list(listed.last().copied(), 7).await.unwrap().found;
                if page.is_empty() {
                    break;
                }
                listed.extend(page);
            }
            assert_eq!(listed, names);
        });
    });
}

#[test]
fn many_puts_at_once_are_all_stored() {
    every_subject(|subject| {
        block_on(async {
            let mut puts: Vec<_> = (0..200)
                .map(|number| subject.blocks().put(block(number % 150)))
                .collect();
            // Polled together, so that they meet in the pool.
            std::future::poll_fn(|context| {
                puts.retain_mut(|put| match put.as_mut().poll(context) {
                    std::task::Poll::Ready(done) => done.map(|()| false).unwrap(),
                    std::task::Poll::Pending => true,
                });
                if puts.is_empty() {
                    std::task::Poll::Ready(())
                } else {
                    std::task::Poll::Pending
                }
            })
            .await;
        });
        subject.crash();
        for number in 0..150 {
            let block = block(number);
            assert_eq!(
                block_on(subject.blocks().get(block.name())).unwrap().as_ref(),
                Some(block.data())
            );
        }
    });
}

#[test]
fn what_a_crash_left_half_written_is_removed() {
    let mut subject = OnDisk::new();
    let left = subject.home.path().join("blocks/incoming/half");
    fs::write(&left, b"half").unwrap();
    subject.crash();
    assert!(!left.exists());
    let cut = block(1);
    block_on(subject.blocks().put(cut.clone())).unwrap();
    fs::write(subject.path(cut.name()), b"cut").unwrap();
    block_on(subject.blocks().put(cut.clone())).unwrap();
    assert_eq!(
        block_on(subject.blocks().get(cut.name())).unwrap().as_ref(),
        Some(cut.data()),
        "cut files are replaced"
    );
    let kept = fs::read_dir(subject.home.path().join("blocks/damaged")).unwrap();
    let kept: Vec<_> = kept.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    assert_eq!(kept, [b"cut"], "and kept for whoever wants to know why");
}

#[derive(Debug, Clone)]
enum Act {
    Put(u64),
    Get(u64),
    Remove(u64),
    List(u64, usize),
    Crash,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..10u64).prop_map(Act::Put),
        3 => (0..10u64).prop_map(Act::Get),
        2 => (0..10u64).prop_map(Act::Remove),
        2 => (0..10u64, 0..12usize).prop_map(|(after, limit)| Act::List(after, limit)),
        1 => Just(Act::Crash),
    ]
}

fn check(subject: &mut dyn Subject, acts: &[Act]) {
    let mut model: BTreeMap<BlockName, Bytes> = BTreeMap::new();
    for act in acts {
        match *act {
            Act::Put(number) => {
                let block = block(number);
                model.insert(block.name(), block.data().clone());
                block_on(subject.blocks().put(block)).unwrap();
            }
            Act::Get(number) => {
                let name = block(number).name();
                assert_eq!(block_on(subject.blocks().get(name)).unwrap().as_ref(), model.get(&name));
                assert_eq!(block_on(subject.blocks().has(name)).unwrap(), model.contains_key(&name));
            }
            Act::Remove(number) => {
                let name = block(number).name();
                model.remove(&name);
                block_on(subject.blocks().remove(name)).unwrap();
            }
            Act::List(after, limit) => {
                let after = block(after).name();
                let expected: Vec<_> = model
                    .keys()
                    .filter(|name| **name > after)
                    .take(limit)
                    .copied()
                    .collect();
                assert_eq!(
                    block_on(subject.blocks().list(Some(after), limit)).unwrap().found,
                    expected
                );
            }
            Act::Crash => subject.crash(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_twin_is_the_model(acts in prop::collection::vec(act(), 1..40)) {
        check(&mut Twin::new(), &acts);
    }

    #[test]
    fn the_files_are_the_model(acts in prop::collection::vec(act(), 1..25)) {
        check(&mut OnDisk::new(), &acts);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn the_files_on_several_disks_are_the_model(acts in prop::collection::vec(act(), 1..25)) {
        check(&mut OnDisk::on_three_disks(), &acts);
    }
}
