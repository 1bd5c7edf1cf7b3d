//! Measuring stores side by side: every cell of a table is measured on each system in turn, so that what else the
//! machine does falls on all of them alike.

mod cell;
mod system;

pub use cell::{Cell, Measured, Operation};
pub use system::{System, SystemError};
