//! What is done on a disk that is nearly full, or full.
//!
//! Above `min_free_bytes` everything goes on. Below it new data is refused; below what is left without the reserve,
//! everything is. Free space is asked for after every commit, and again by each batch while it is short. So what is on
//! its way when the disk fills up, and the cleaner, find some room left.
//!
//! Should somebody else take that as well, the writer *stalls*: a group that did not get onto the disk is put back, and
//! written again, from its beginning, when there is room. Nothing of it was synced and nobody was told of it, so this is
//! no different from a group that comes late. What is read meanwhile is answered, unless it would tell of those rows.

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use super::{Engine, Room, RowsError, State, Table, Taking, locked};

/// How often a full disk is looked at by those who wait for room.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

impl Engine {
    /// What the store takes just now.
    pub(crate) fn taking(&self) -> Taking {
        let mut table = locked(&self.table);
        // A disk that cannot be asked is not known to have become emptier.
        if let (Taking::Upkeep | Taking::Nothing, Ok(free)) = (table.taking, self.free_bytes()) {
            self.judge(&mut table, free);
        }
        table.taking
    }

    /// Refuses a batch for which there is no room.
    pub(super) fn check_room(&self, table: &mut MutexGuard<'_, Table>, room: Room) -> Result<(), RowsError> {
        if table.taking != Taking::Everything {
            let free = self.free_bytes()?;
            self.judge(table, free);
        }
        match (table.taking, room) {
            (Taking::Everything, Room::New | Room::Upkeep) | (Taking::Upkeep, Room::Upkeep) => Ok(()),
            (Taking::Upkeep, Room::New) | (Taking::Nothing, Room::New | Room::Upkeep) => Err(self.full_error(room)),
        }
    }

    /// Draws the conclusion from what is free, and says so in the log when it is another one than before.
    pub(super) fn judge(&self, table: &mut Table, free: u64) {
        let least = |room| self.config.least_free_bytes(room);
        let taking = if table.is_stalled || free < least(Room::Upkeep) {
            Taking::Nothing
        } else if free < least(Room::New) {
            Taking::Upkeep
        } else {
            Taking::Everything
        };
        if std::mem::replace(&mut table.taking, taking) == taking {
            return;
        }
        let (folder, min_free_bytes) = (self.folder.display(), self.config.min_free_bytes);
        match taking {
            Taking::Everything => tracing::info!(%folder, free, "the disk has room again"),
            Taking::Upkeep => tracing::warn!(
                %folder, free, min_free_bytes,
                "the disk is nearly full: new data is refused, reads and deletes go on; free some space"
            ),
            Taking::Nothing => tracing::error!(
                %folder, free, min_free_bytes,
                "the disk is full, its reserve too: nothing is written, reads go on; free some space"
            ),
        }
    }

    pub(super) fn free_bytes(&self) -> Result<u64, RowsError> {
        let free = self.log.files.free_bytes(&self.folder);
        free.map_err(|error| RowsError::Closed(format!("{}: {error}", self.folder.display())))
    }

    pub(super) fn full_error(&self, room: Room) -> RowsError {
        RowsError::Full {
            folder: self.folder.display().to_string(),
            min_free_bytes: self.config.least_free_bytes(room),
        }
    }

    /// Waits a moment, or until the store is closed.
    pub(crate) fn await_room(&self) {
        let table = locked(&self.table);
        if table.state == State::Open {
            drop(
                self.room
                    .wait_timeout(table, LOOK_AGAIN)
                    .unwrap_or_else(PoisonError::into_inner),
            );
        }
    }
}
