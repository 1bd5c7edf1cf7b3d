//! Layouts: which nodes hold which partition, and how one layout follows another.
//!
//! A layout is an immutable, numbered table ([`Layout`]). What a node knows of layouts ([`Knowledge`]) only grows, and
//! [`Knowledge::admit`] is the only door to a row: it compares the view that a request carries with the node's own and
//! gives out the proof, [`Admitted`], without which no row is served.
//!
//! The next layout is elected by the nodes of the newest one ([`election`]). From the moment it is known to somebody,
//! operations need majorities of both. Each new owner of a partition pulls what is there and settles what is not clear
//! ([`Sync`]), then announces itself synced. A majority of announcements is the [`Certificate`] that retires the layouts
//! before; all announcements let the old owners drop their rows ([`Droppable`]). Claims C6 to C8 of the model are about
//! this folder. When too many nodes are lost for that, an operator decrees the next layout ([`Forced`]).

pub mod assign;
mod elect;
mod footing;
mod force;
mod heard;
mod make;
mod retire;
mod sync;
mod sync_sources;
mod table;
mod view;

#[cfg(test)]
mod sync_tests;

pub use elect::{ACTIVE_LAYOUTS_MAX, Election, Nominate, Unfit, election, electors, fit, serve_elector};
pub use footing::{Footing, Part};
pub use force::{Decree, Epoch, Forced};
pub use heard::Heard;
pub use make::{Wanted, barred, first, initial, successor};
pub use retire::{Announcement, Certificate, Droppable, may_enter};
pub use sync::{GatedRow, Pulled, Sync, SyncStep, Synced, is_open, pulled_rows};
pub use sync_sources::{Sources, Standing};
pub use table::{Layout, LayoutHash, LayoutMark, LayoutVersion, Member, Partition};
pub use view::{Admitted, Knowledge, LearnError, Learned, Refusal, View};
