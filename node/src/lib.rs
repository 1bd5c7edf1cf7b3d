//! The Trellis node: the driver around `trellis-spec`, its storage, its links and its command line.

pub mod cluster;
pub mod env;
pub mod link;
pub mod secret_file;
pub mod storage;
pub mod store;
