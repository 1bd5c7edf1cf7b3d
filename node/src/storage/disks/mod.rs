//! The disks of one node, as one block store.
//!
//! A block belongs on the first disk of its [`order`]; on the next one while that is full or away. So it is looked for on
//! all of them, in that order, and nearly always found at once. What lies elsewhere than it belongs, because a disk was
//! full, came back or joined, is moved by [`Disks::settle`], which the scrub calls for every block that it reads: whoever
//! reads all blocks anyway, at a pace that clients do not notice, is the one to move them.
//!
//! Everything here blocks; [`super::BlockFiles`] calls it from a pool. Of one block, puts, removals and settlings come one
//! after the other: the keeper of the node's blocks holds the block's lock.

mod claim;
mod disk;
mod error;
mod order;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::block_files::BlockSetup;
use super::block_folder::BlockFolder;
use super::blocks::{Block, BlockName, BlockNames, BlocksError};
use super::files::Files;
use super::folder::OpenError;
use super::rooted::RootedFiles;
use crate::env::Random;
pub use claim::{BlockFolderConfig, FolderId, Losing, give_up};
use disk::{Disk, Look, OpenFiles};
pub use disk::{FolderSeen, FolderState};
pub use error::BlockFolderError;
use order::{Entrant, order};

/// See the module.
pub(super) struct Disks {
    disks: Vec<Disk>,
    /// The same, as they enter for a block.
    entrants: Vec<Entrant>,
}

impl Disks {
    /// Opens the block folders of the node in `data`; new ones are taken into use.
    pub(super) fn open(data: &Path, setup: &BlockSetup, random: &dyn Random) -> Result<Self, OpenError> {
        let open = |path: &Path| -> io::Result<Arc<dyn Files>> { Ok(Arc::new(RootedFiles::open(path)?)) };
        Self::open_by(Arc::new(open), data, setup, random)
    }

    /// The same, with another way to their files.
    pub(super) fn open_by(
        open: Arc<OpenFiles>,
        data: &Path,
        setup: &BlockSetup,
        random: &dyn Random,
    ) -> Result<Self, OpenError> {
        let claimed = claim::claim(data, setup.node, &setup.folders, random)?;
        let disk = |claimed| Disk::open(claimed, open.clone(), setup);
        Ok(Disks::of(claimed.into_iter().map(disk).collect::<Result<_, _>>()?))
    }

    fn of(disks: Vec<Disk>) -> Self {
        let entrants = disks.iter().map(Disk::entrant).collect();
        Disks { disks, entrants }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.disks.len()
    }

    /// The disks, the one where the block belongs first.
    fn ordered(&self, name: BlockName) -> impl Iterator<Item = &Disk> {
        order(name, &self.entrants)
            .into_iter()
            .map(|position| &self.disks[position])
    }

    /// Those of them that are in use.
    fn folders(&self, name: BlockName) -> Vec<Arc<BlockFolder>> {
        self.ordered(name).filter_map(Disk::folder).collect()
    }

    /// Those that new blocks may be brought to.
    fn takers(&self, name: BlockName) -> Vec<Arc<BlockFolder>> {
        let taking = self.ordered(name).filter(|disk| disk.entrant().weight > 0);
        taking.filter_map(Disk::folder).collect()
    }

    pub(super) fn put(&self, block: &Block) -> Result<(), BlocksError> {
        block.check()?;
        let name = block.name();
        // Where it lies already it is verified, and healed if need be.
        let mut homes = match self.count() {
            1 => Vec::new(),
            _ => self.holders(name),
        };
        homes.extend(self.takers(name));
        put_into_first(&homes, block).unwrap_or_else(|| Err(self.away(name)))
    }

    /// Is there a disk that takes blocks?
    pub(super) fn check_open(&self) -> Result<(), BlocksError> {
        let takers = self.disks.iter().filter(|disk| disk.entrant().weight > 0);
        let takers: Vec<Arc<BlockFolder>> = takers.filter_map(Disk::folder).collect();
        // Nothing if a single one is open.
        let closed = takers.iter().map(|taker| taker.closed()).min().flatten();
        match closed {
            Some(why) => Err(BlocksError::Closed(why)),
            None if takers.is_empty() => Err(BlocksError::Away {
                folder: self
                    .disks
                    .first()
                    .map(|disk| disk.path().to_owned())
                    .unwrap_or_default(),
            }),
            None => Ok(()),
        }
    }

    pub(super) fn get(&self, name: BlockName) -> Result<Option<Bytes>, BlocksError> {
        self.first(name, |folder| folder.get(name))
    }

    pub(super) fn has(&self, name: BlockName) -> Result<bool, BlocksError> {
        Ok(self.size(name)?.is_some())
    }

    pub(super) fn size(&self, name: BlockName) -> Result<Option<u64>, BlocksError> {
        self.first(name, |folder| folder.size(name))
    }

    /// What the first disk says that has the block. A disk that fails or is away matters only if no other has it; but then
    /// nobody can say that the block is not here.
    fn first<T>(
        &self,
        name: BlockName,
        ask: impl Fn(&BlockFolder) -> Result<Option<T>, BlocksError>,
    ) -> Result<Option<T>, BlocksError> {
        let folders = self.folders(name);
        let mut failed = None;
        // Twice, if there are several: a block that is being settled is first at its new place, then no more at the old one.
        for folder in folders.iter().chain(folders.iter().filter(|_| self.count() > 1)) {
            match ask(folder) {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match failed {
            Some(error) => Err(error),
            None if folders.len() < self.count() => Err(self.away(name)),
            None => Ok(None),
        }
    }

    /// A disk that is away may hold the block as well: until it is back, or given up, nobody can say that the block is gone.
    pub(super) fn remove(&self, name: BlockName) -> Result<(), BlocksError> {
        for folder in self.folders(name) {
            // Removed even where it is not seen: an earlier process may have done so and died before it was on disk.
            if folder.closed().is_none() || folder.has(name)? {
                folder.remove(name)?;
            }
        }
        match self.disks.iter().all(|disk| disk.folder().is_some()) {
            true => Ok(()),
            false => Err(self.away(name)),
        }
    }

    pub(super) fn list(&self, after: Option<BlockName>, limit: usize) -> BlockNames {
        let (mut found, mut unread) = (BTreeSet::new(), None);
        for disk in &self.disks {
            let Some(folder) = disk.folder() else {
                let folder = disk.path().to_owned();
                unread = Some(BlocksError::Away { folder });
                continue;
            };
            let names = folder.list(after, limit);
            found.extend(names.found);
            unread = names.unread.or(unread);
        }
        let found = found.into_iter().take(limit).collect();
        BlockNames { found, unread }
    }

    /// Brings a block to where it belongs, or as near as there is room, and removes it everywhere else.
    pub(super) fn settle(&self, name: BlockName) -> Result<(), BlocksError> {
        let holders = self.holders(name);
        let takers = self.takers(name);
        let settled = match (holders.as_slice(), takers.first()) {
            (_, None) | ([], _) => return Ok(()),
            ([holder], Some(first)) if Arc::ptr_eq(holder, first) => return Ok(()),
            (_, Some(_)) => self.copy_to_first(name, &takers)?,
        };
        let Some(home) = settled else { return Ok(()) };
        for holder in holders.iter().filter(|holder| !Arc::ptr_eq(holder, &home)) {
            holder.remove(name)?;
        }
        Ok(())
    }

    /// Stores the block in the first of these that takes it; one that has it already, verified, takes it.
    fn copy_to_first(
        &self,
        name: BlockName,
        takers: &[Arc<BlockFolder>],
    ) -> Result<Option<Arc<BlockFolder>>, BlocksError> {
        let Some(data) = self.get(name)? else { return Ok(None) };
        // It was verified when it was read.
        let block = Block::verified(name, data);
        let mut failed = None;
        for taker in takers {
            match taker.put(&block) {
                Ok(()) => return Ok(Some(taker.clone())),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// The disks that have the block, as far as they can tell.
    fn holders(&self, name: BlockName) -> Vec<Arc<BlockFolder>> {
        let mut folders = self.folders(name);
        folders.retain(|folder| folder.has(name) == Ok(true));
        folders
    }

    /// Finds out whether disks went away or came back, and says whether any did.
    pub(super) fn look(&self) -> bool {
        let looks: Vec<Look> = self.disks.iter().map(Disk::look).collect();
        looks.contains(&Look::Changed)
    }

    /// How they are.
    pub(super) fn seen(&self) -> Vec<FolderSeen> {
        let seen = |disk: &Disk| FolderSeen {
            path: disk.path().to_owned(),
            capacity_bytes: disk.capacity_bytes(),
            free_bytes: disk.folder().and_then(|folder| folder.free_bytes().ok()),
            how: disk.how(),
        };
        self.disks.iter().map(seen).collect()
    }

    fn away(&self, name: BlockName) -> BlocksError {
        let away = self.ordered(name).find(|disk| disk.folder().is_none());
        BlocksError::Away {
            folder: away.map(|disk| disk.path().to_owned()).unwrap_or_default(),
        }
    }
}

/// Tries one after the other; that some disk is full says more than that another one is broken. Nothing if there is none.
fn put_into_first(homes: &[Arc<BlockFolder>], block: &Block) -> Option<Result<(), BlocksError>> {
    let mut failed = None;
    for home in homes {
        match (home.put(block), &failed) {
            (Ok(()), _) => return Some(Ok(())),
            (Err(error @ BlocksError::Full { .. }), _) | (Err(error), None) => failed = Some(error),
            (Err(_), Some(_)) => {}
        }
    }
    failed.map(Err)
}
