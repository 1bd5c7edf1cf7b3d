//! Those who wait together for the sync of folders.

use std::io;
use std::path::Path;

use loom::thread;

use super::files::Files;
use super::folder_syncs::FolderSyncs;
use crate::explore;
use crate::sync::{Arc, AtomicU64, Ordering};

/// Names that were changed in a folder, as bits, and those of them that a sync has found.
#[derive(Default)]
struct Folder {
    changed: AtomicU64,
    synced: AtomicU64,
    /// One: the next sync fails.
    breaks: AtomicU64,
}

impl Files for Arc<Folder> {
    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        if self.breaks.swap(0, Ordering::SeqCst) == 1 {
            return Err(io::Error::other("the disk broke"));
        }
        let changed = self.changed.load(Ordering::SeqCst);
        self.synced.fetch_or(changed, Ordering::SeqCst);
        Ok(())
    }
}

fn change_and_sync(folder: &Arc<Folder>, syncs: &FolderSyncs, name: u64) -> Result<(), String> {
    folder.changed.fetch_or(name, Ordering::SeqCst);
    syncs.sync(folder, Path::new("folder"))
}

/// Finds: a caller that joins the round under way; a round that begins before it takes who waits, or ends without waking
/// anybody.
#[test]
fn who_waits_for_a_folder_is_told_when_the_change_is_there_and_not_before() {
    explore(3, || {
        let (folder, syncs) = (Arc::new(Folder::default()), Arc::new(FolderSyncs::default()));
        let callers = [1, 2, 4].map(|name| {
            let (folder, syncs) = (folder.clone(), syncs.clone());
            thread::spawn(move || {
                change_and_sync(&folder, &syncs, name).unwrap();
                assert!(folder.synced.load(Ordering::SeqCst) & name != 0, "told before its time");
            })
        });
        callers.into_iter().for_each(|caller| caller.join().unwrap());
    });
}

/// A sync after one that failed may succeed, and mean nothing. Finds: an error that only the first is told who looks.
#[test]
fn a_folder_that_cannot_be_synced_is_told_to_everybody() {
    explore(3, || {
        let folder = Arc::new(Folder {
            breaks: AtomicU64::new(1),
            ..Folder::default()
        });
        let syncs = Arc::new(FolderSyncs::default());
        let callers = [1, 2].map(|name| {
            let (folder, syncs) = (folder.clone(), syncs.clone());
            thread::spawn(move || assert!(change_and_sync(&folder, &syncs, name).is_err()))
        });
        callers.into_iter().for_each(|caller| caller.join().unwrap());
    });
}
