//! Dropping references and deleting data, at one replica.

use serde::{Deserialize, Serialize};

use super::inquiry::{Dead, Subject};
use crate::flaw::{Flaw, Rules};
use crate::row::{BlockReference, Upload, UploadState};

/// What stands at a replica for a block whose last reference went: what is left to do is told by the disk alone.
///
/// It is written together with the removal of that reference, and goes together with the next one that comes, or after
/// the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// Microseconds of the replica's own clock. Nothing but the length of the grace depends on it.
    pub since_us: u64,
}

/// The references to a block, as far as its deletion depends on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Held {
    /// At least one.
    Referenced,
    /// None, and this mark.
    Marked(Mark),
    /// None, and no mark: the block is not here.
    Unknown,
}

/// What takes the place of a dropped reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Dropped {
    /// Nothing: there are others.
    Gone,
    /// This mark, in the same batch.
    Replaced(Mark),
    /// Nothing was dropped, for the proof is about something else.
    Kept,
}

/// Drops a reference that is dead. `others` tells whether the block has more references here.
pub fn dropped(reference: &BlockReference, dead: &Dead, others: bool, now_us: u64) -> Dropped {
    dropped_for(reference, dead.subject(), others, now_us)
}

/// The same for what was proved to be dead.
pub fn dropped_for(reference: &BlockReference, dead: &Subject, others: bool, now_us: u64) -> Dropped {
    if dead.covers(reference) {
        let_go(others, now_us)
    } else {
        Dropped::Kept
    }
}

/// What takes the place of a reference that goes.
pub fn let_go(others: bool, now_us: u64) -> Dropped {
    if others {
        Dropped::Gone
    } else {
        Dropped::Replaced(Mark { since_us: now_us })
    }
}

/// May the data be deleted? Asked, and done, under the lock under which references are added. A clock that was put
/// back makes it later, not sooner.
pub fn removable(held: Held, now_us: u64, grace_us: u64) -> bool {
    match held {
        Held::Marked(mark) => now_us.checked_sub(mark.since_us).is_some_and(|age| age >= grace_us),
        Held::Referenced | Held::Unknown => false,
    }
}

/// What an upload's row says about the references of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum UploadFate {
    /// They are needed, or may be.
    Kept,
    /// No completion will be proposed any more, and none was under a stamp later than this time. The object's row
    /// decides.
    UpToObject(u64),
}

/// Judges an upload by its row, which was read linearizably. Only a final state ends the proposals of its object.
pub fn proposed_until<R: Rules>(upload: &Upload) -> UploadFate {
    match upload.state {
        UploadState::Open | UploadState::Completing(_) => UploadFate::Kept,
        UploadState::Aborted if R::lacks(Flaw::UploadDecidesAlone) => UploadFate::UpToObject(0),
        UploadState::Completed(_) | UploadState::Aborted => UploadFate::UpToObject(upload.until),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_go_when_the_grace_is_over_and_nobody_refers_to_them() {
        let marked = Held::Marked(Mark { since_us: 1000 });
        assert!(!removable(marked, 1499, 500) && removable(marked, 1500, 500));
        assert!(!removable(marked, 0, 500), "a clock that was put back");
        assert!(!removable(Held::Referenced, u64::MAX, 0) && !removable(Held::Unknown, u64::MAX, 0));
    }
}
