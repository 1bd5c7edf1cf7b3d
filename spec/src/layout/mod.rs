//! Layouts: which nodes hold which partition.
//!
//! A layout is an immutable, numbered table ([`Layout`]). What a node knows of layouts ([`Knowledge`]) only grows, and
//! [`Knowledge::admit`] is the only door to a row: it compares the view that a request carries with the node's own and
//! gives out the proof, [`Admitted`], without which no row is served.

pub mod assign;
mod initial;
mod table;
mod view;

pub use initial::{InitialError, initial};
pub use table::{Layout, LayoutHash, LayoutVersion, Member, Partition};
pub use view::{Admitted, Knowledge, Refusal, View};
