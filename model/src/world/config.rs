//! The choices of a configuration.

/// In which order the clocks of coordinators stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clocks {
    /// As the operations are written: a later one has a later clock.
    InOrder,
    /// In every order.
    AnyOrder,
}

/// Which stamp an attempt gets that tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restamp {
    /// Just above what it met, at once.
    Close,
    /// Just above what it met, or above every stamp in the world, at any later moment.
    CloseOrFar,
}

/// Are handling a request and hearing the answer one action?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fusion {
    /// Yes.
    Fused,
    /// No.
    Apart,
}

/// May a request whose answer was lost be sent again?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resend {
    /// No.
    Never,
    /// Yes.
    Allowed,
}

/// What may go wrong with messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Faults {
    /// They are late, also when nobody waits for them any more, or never arrive.
    All,
    /// Nobody ceases to wait, and no answer is lost: a small part of all schedules, for deep mutants.
    Delays,
}

/// When a replica's changes are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disks {
    /// At once.
    Immediate,
    /// With the next flush; replicas crash so often and lose what was not flushed. Answers wait for the flush.
    Grouped {
        /// How often a replica may crash.
        crashes: u8,
    },
    /// The same, but the answer to a read does not wait.
    Dirty {
        /// How often a replica may crash.
        crashes: u8,
    },
    /// The same, but the answer to a pull does not wait.
    DirtyPull {
        /// How often a replica may crash.
        crashes: u8,
    },
}

impl Disks {
    /// How often a replica may crash; nothing: whatever changes is durable at once.
    pub fn crashes(self) -> Option<u8> {
        match self {
            Disks::Immediate => None,
            Disks::Grouped { crashes } | Disks::Dirty { crashes } | Disks::DirtyPull { crashes } => Some(crashes),
        }
    }
}

/// Do replicas repair each other's rows?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entropy {
    /// No.
    Off,
    /// By writing back what they hold, with the guard of every write-back.
    Guarded,
    /// By joining rows whatever was promised.
    Raw,
}

/// Is a stamp used again after a coordinator crashed?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamps {
    /// Never.
    Unique,
    /// The next operation of the same client gets the same stamps.
    Reused,
}

/// What histories are measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// The exact specification of [`crate::history`].
    History,
    /// Stamps: what starts after a write was answered is about no older version.
    AfterWrites,
    /// Stamps: what starts after a read was answered is about no older version.
    AfterReads,
}

/// May clients give up on operations?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadlines {
    /// Only where the client does something else afterwards.
    BeforeNext,
    /// Never.
    Never,
}

/// Who hears of a new layout by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learning {
    /// Its replicas; the others hear of it with requests and pulls.
    NewOwners,
    /// Everybody.
    Anyone,
}

/// How many nodes settle rows at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlers {
    /// One after the other, and their messages are not late: a part of all schedules.
    OneAtATime,
    /// Any number, with late messages.
    Any,
}

/// From when the rows are that a source sends to a puller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Snapshots {
    /// From after it adopted the puller's view.
    AfterFence,
    /// From any moment before.
    BeforeFence,
}

/// Are tombstones forgotten?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collection {
    /// Never.
    Off,
    /// At any moment at which the rule allows it.
    On,
    /// So are those of other rows of the partition, which raise its floors.
    OthersToo,
}

/// What a node finds of its former rows when it enters a partition again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// Nothing.
    Wiped,
    /// All of them.
    KeepsRows,
}

/// May a disk lose what it held?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskLoss {
    /// No.
    Never,
    /// One does, and its node goes on under the same identity as if nothing had happened.
    Unnoticed,
    /// One does, and its node answers nothing before it has synced.
    Noticed,
}
