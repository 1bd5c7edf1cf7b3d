//! Traces: what the machines of this node were told and what they said, written down for `trellis-model replay`.
//!
//! A [`Recorder`] takes records from the driver into memory and never makes it wait: a record that finds no room is
//! counted, and the next one says how many are missing. [`TraceFiles`] is the thread that brings them to files.

mod files;
mod recorder;

pub use files::{TRACE_MAX_BYTES, TRACE_PERCENT, TraceFiles, TraceSettings};
pub use recorder::Recorder;
