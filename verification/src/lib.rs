//! What looks at the whole of Trellis.
//!
//! [`history`] judges what clients were told; [`s3client`] is the client that writes it down; [`cluster`] runs real
//! processes and does them harm while a [`workload`] goes on; [`simulation`] does the same to whole nodes in one thread,
//! with everything that chance decides drawn from a seed.

pub mod bench;
pub mod clock;
pub mod cluster;
pub mod fuzz;
pub mod history;
pub mod interruption;
pub mod s3client;
pub mod simulation;
mod stored;
pub mod workload;
