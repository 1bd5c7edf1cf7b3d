//! Syncs of folders, those that wait together in one round.
//!
//! On a journaling file system the first sync of a round commits every rename before it, and the others find nothing to
//! do; one after the other is therefore cheaper than all at once.

use super::files::Files;
use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// See the module.
#[derive(Default)]
pub(super) struct FolderSyncs {
    rounds: Mutex<Rounds>,
    ended: Condvar,
}

#[derive(Default)]
struct Rounds {
    /// Folders for the next round.
    waiting: BTreeSet<PathBuf>,
    begun: u64,
    ended: u64,
    /// The error that ended all.
    failed: Option<String>,
}

impl FolderSyncs {
    pub(super) fn sync(&self, files: &dyn Files, folder: &Path) -> Result<(), String> {
        let mut rounds = locked(&self.rounds);
        rounds.waiting.insert(folder.to_owned());
        // The round that is under way may have synced the folder before the caller's change.
        let mine = rounds.begun + 1;
        while rounds.ended < mine && rounds.failed.is_none() {
            rounds = if rounds.begun == rounds.ended {
                self.run_round(files, rounds)
            } else {
                self.ended.wait(rounds).unwrap_or_else(PoisonError::into_inner)
            };
        }
        rounds.failed.clone().map_or(Ok(()), Err)
    }

    fn run_round<'a>(&'a self, files: &dyn Files, mut rounds: MutexGuard<'a, Rounds>) -> MutexGuard<'a, Rounds> {
        rounds.begun += 1;
        let folders = std::mem::take(&mut rounds.waiting);
        drop(rounds);
        let failed = folders.iter().find_map(|folder| files.sync_folder(folder).err());
        let mut rounds = locked(&self.rounds);
        rounds.ended += 1;
        if let Some(error) = failed {
            rounds.failed = Some(error.to_string());
        }
        self.ended.notify_all();
        rounds
    }
}

fn locked(mutex: &Mutex<Rounds>) -> MutexGuard<'_, Rounds> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
