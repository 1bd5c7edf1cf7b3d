//! Table and commit are the node's; the engine around them has what these two need.

#[path = "../../../../node/src/storage/engine/commit.rs"]
mod commit;
#[path = "../../../../node/src/storage/engine/table.rs"]
pub(crate) mod table;

use std::path::PathBuf;

use super::index::{Forgetful, Index};
use super::log::{Log, Placed, Tail};
use super::progress::Progress;
use super::rows::{Position, Room, RowsError, Taking};
use crate::sync::{Condvar, Mutex, MutexGuard, Notify, RwLock};
use table::{State, Step, Table, locked};

pub(crate) struct Config;

impl Config {
    pub(crate) fn index_free_bytes(&self) -> u64 {
        0
    }
}

pub(crate) struct Engine {
    folder: PathBuf,
    config: Config,
    log: Log,
    tail: Mutex<Tail>,
    index: RwLock<Option<Box<dyn Index>>>,
    gate: RwLock<()>,
    table: Mutex<Table>,
    to_write: Condvar,
    to_settle: Condvar,
    to_clean: Condvar,
    room: Condvar,
    settled_some: Notify,
    progress: Progress,
}

impl Engine {
    pub(crate) fn over(log: Log) -> Self {
        let table = Table {
            dirty: super::dirty::Dirty::new(Position::default()),
            to_settle: Default::default(),
            state: State::Open,
            taking: Taking::Everything,
            is_stalled: false,
        };
        Engine {
            folder: PathBuf::new(),
            config: Config,
            log,
            tail: Mutex::new(Tail),
            index: RwLock::new(Some(Box::new(Forgetful))),
            gate: RwLock::new(()),
            table: Mutex::new(table),
            to_write: Condvar::new(),
            to_settle: Condvar::new(),
            to_clean: Condvar::new(),
            room: Condvar::new(),
            settled_some: Notify::new(),
            progress: Progress::new(Position::default()),
        }
    }

    pub(crate) fn is_settled(&self) -> bool {
        let table = locked(&self.table);
        table.dirty.settled() == table.dirty.visible()
    }

    fn check_room(&self, _: &mut MutexGuard<'_, Table>, _: Room) -> Result<(), RowsError> {
        Ok(())
    }

    fn judge(&self, _: &mut Table, _: u64) {}

    fn free_bytes(&self) -> Result<u64, RowsError> {
        Ok(u64::MAX)
    }
}
