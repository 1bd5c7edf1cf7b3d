//! The way of a batch to the disk, as the node has it, over a disk and an index that do next to nothing.

#[path = "../../../../node/src/storage/dirty.rs"]
pub(crate) mod dirty;
#[path = "../../../../node/src/storage/folder_syncs.rs"]
pub(crate) mod folder_syncs;
#[path = "../../../../node/src/storage/progress.rs"]
pub(crate) mod progress;
#[path = "../../../../node/src/storage/rows.rs"]
pub(crate) mod rows;

pub(crate) mod engine;
mod folders;

pub(crate) mod log {
    //! A disk on which a write is seen to happen.

    use std::io;

    use bytes::Bytes;

    use super::dirty::Group;
    use crate::sync::{Arc, AtomicU64, Ordering};

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Place;

    pub(crate) struct Placed {
        pub(crate) key: Bytes,
        pub(crate) row: Option<(Place, Bytes)>,
    }

    pub(crate) enum AppendError {
        NoRoom(io::Error),
        Failed(io::Error),
    }

    /// How far it is written, and where it breaks.
    #[derive(Clone)]
    pub(crate) struct Log {
        pub(crate) written: Arc<AtomicU64>,
        pub(crate) breaks_at: u64,
    }

    pub(crate) struct Tail;

    impl Tail {
        pub(crate) fn append(&mut self, log: &Log, group: &Group) -> Result<Vec<Placed>, AppendError> {
            let last = group.last().map_or(0, |(last, _)| last.0);
            if last >= log.breaks_at {
                return Err(AppendError::Failed(io::Error::other("the disk broke")));
            }
            log.written.store(last, Ordering::SeqCst);
            let batches = group.iter().flat_map(|(_, batch)| batch.iter());
            let placed = batches.map(|(key, _)| Placed {
                key: key.clone(),
                row: Some((Place, Bytes::new())),
            });
            Ok(placed.collect())
        }

        pub(crate) fn seal(&mut self) -> Result<(), String> {
            Ok(())
        }
    }

    impl Log {
        pub(crate) fn gained(&self, _: Place) {}

        pub(crate) fn lost(&self, _: Place) {}
    }
}

pub(crate) mod files {
    //! A file system in which a folder can be synced.

    use std::io;
    use std::path::Path;

    pub(crate) trait Files: Send + Sync {
        fn sync_folder(&self, path: &Path) -> io::Result<()>;
    }
}

pub(crate) mod index {
    //! An index that forgets.

    use bytes::Bytes;

    use super::log::Place;

    #[derive(Debug)]
    pub(crate) struct IndexError;

    impl std::fmt::Display for IndexError {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("never")
        }
    }

    pub(crate) struct Entry {
        pub(crate) place: Place,
    }

    impl Entry {
        pub(crate) fn new(place: Place, _: &Bytes) -> Self {
            Entry { place }
        }
    }

    pub(crate) trait Index {
        fn set(&self, key: &Bytes, entry: Option<&Entry>) -> Result<Option<Entry>, IndexError>;
    }

    pub(crate) struct Forgetful;

    impl Index for Forgetful {
        fn set(&self, _: &Bytes, _: Option<&Entry>) -> Result<Option<Entry>, IndexError> {
            Ok(None)
        }
    }
}
