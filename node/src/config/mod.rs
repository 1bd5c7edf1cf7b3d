//! What nodes are told in files.

pub mod credentials;
