//! What looks at the whole of Trellis.
//!
//! [`history`] judges what clients were told; [`s3client`] is the client that writes it down; [`cluster`] runs real
//! processes and does them harm.

pub mod clock;
pub mod cluster;
pub mod history;
pub mod s3client;
