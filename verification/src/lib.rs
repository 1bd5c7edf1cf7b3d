//! What looks at the whole of Trellis.
//!
//! [`history`] judges what clients were told.

pub mod history;
