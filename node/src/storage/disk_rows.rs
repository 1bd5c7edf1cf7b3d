//! Rows on disk, the real thing: an [`Engine`] with a thread for each of its three steps.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use bytes::Bytes;

use super::engine::{Engine, Opened, RowsConfig, Step};
use super::files::{Files, RealFiles};
use super::folder::{DataFolder, OpenError};
use super::index::SledHome;
use super::rows::{Batch, Position, Room, Rows, RowsError, Taking, Versioned};
use crate::env::{Boxed, Random};

const ROWS_FOLDER: &str = "rows";
const INDEX_FOLDER: &str = "index";

/// The row store in a data folder.
///
/// Dropped without [`DiskRows::close`] it stops as a crash would: what is durable is found again, and the next start
/// rebuilds the index.
pub struct DiskRows {
    engine: Arc<Engine>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl DiskRows {
    /// Opens the store, which survives crashes and power cuts; refuses a damaged one.
    pub fn open(folder: &DataFolder, config: RowsConfig, random: Arc<dyn Random>) -> Result<(Self, Opened), OpenError> {
        let rows = folder.path().join(ROWS_FOLDER);
        RealFiles.create_folder(&rows).map_err(OpenError::io(&rows))?;
        RealFiles.sync_folder(folder.path()).map_err(OpenError::io(&rows))?;
        let home = Box::new(SledHome {
            folder: rows.join(INDEX_FOLDER),
            cache_bytes: config.cache_bytes,
        });
        let (engine, opened) = Engine::open(Arc::new(RealFiles), &rows, home, config, random)?;
        let store = Self {
            engine: Arc::new(engine),
            threads: Mutex::new(Vec::new()),
        };
        store.start_threads(&rows)?;
        Ok((store, opened))
    }

    fn start_threads(&self, folder: &Path) -> Result<(), OpenError> {
        self.start("rows-write", folder, |engine| {
            while engine.await_write() {
                if engine.write_step() == Step::Stalled {
                    engine.await_room();
                }
            }
        })?;
        self.start("rows-settle", folder, |engine| {
            while engine.await_settle() {
                if engine.settle_step() == Step::Stalled {
                    engine.await_room();
                }
            }
        })?;
        self.start("rows-clean", folder, |engine| {
            let mut seen = engine.settled();
            while engine.clean_step() == Step::Worked || engine.await_clean(seen) {
                seen = engine.settled();
            }
        })
    }

    fn start(&self, name: &str, folder: &Path, work: impl Fn(&Engine) + Send + 'static) -> Result<(), OpenError> {
        let engine = self.engine.clone();
        let thread = Builder::new().name(name.to_owned()).spawn(move || {
            // Without the thread nobody would ever be answered; so its end by a panic is the end of the store.
            if catch_unwind(AssertUnwindSafe(|| work(&engine))).is_err() {
                engine.fail("a thread of the row store panicked; this is a bug");
            }
        });
        let thread = thread.map_err(OpenError::io(folder))?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    /// Finishes what was applied, refuses the rest, and puts everything away so that the next start is quick. Blocks.
    pub fn close(&self) -> Result<(), RowsError> {
        self.engine.begin_close();
        self.join();
        self.engine.finish_close()
    }

    /// What it takes just now, for those who look after the disk.
    pub fn taking(&self) -> Taking {
        self.engine.taking()
    }

    fn join(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // The thread caught its own panic.
            let _ = thread.join();
        }
    }
}

impl Drop for DiskRows {
    fn drop(&mut self) {
        self.engine.abandon();
        self.join();
    }
}

impl Rows for DiskRows {
    fn get(&self, key: &[u8]) -> Result<Versioned<Option<Bytes>>, RowsError> {
        self.engine.get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Versioned<Vec<(Bytes, Bytes)>>, RowsError> {
        self.engine.scan(from, to, limit)
    }

    fn ready(&self) -> Boxed<'_, Result<(), RowsError>> {
        Box::pin(self.engine.ready())
    }

    fn apply(&self, batch: Batch) -> Result<Position, RowsError> {
        self.engine.apply(batch)
    }

    fn apply_within(&self, batch: Batch, room: Room) -> Result<Position, RowsError> {
        self.engine.apply_within(batch, room)
    }

    fn durable_so_far(&self) -> Position {
        self.engine.durable_so_far()
    }

    fn durable(&self, position: Position) -> Boxed<'_, Result<(), RowsError>> {
        Box::pin(self.engine.durable(position))
    }
}
