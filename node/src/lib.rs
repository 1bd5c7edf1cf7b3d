//! The Trellis node: the driver around `trellis-spec`, its storage, its links and its command line.

mod advice;

pub mod admin;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod dev;
pub mod env;
pub mod folder;
#[doc(hidden)]
pub mod fuzzing;
pub mod link;
pub mod logging;
pub mod membership;
pub mod node;
pub mod secret_file;
mod seeded;
pub mod server;
pub mod size;
pub mod storage;
pub mod store;
mod sync;
pub mod trace;
