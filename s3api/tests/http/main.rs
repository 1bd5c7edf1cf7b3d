//! The front door over real sockets, spoken to byte by byte.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod auth;
mod bodies;
mod common;
mod connections;
mod objects;
mod surface;
