//! What looks at the whole of Trellis.
//!
//! [`history`] judges what clients were told; [`s3client`] is the client that writes it down; [`cluster`] runs real
//! processes and does them harm while a [`workload`] goes on.

pub mod bench;
pub mod clock;
pub mod cluster;
pub mod history;
pub mod interruption;
pub mod s3client;
pub mod workload;
