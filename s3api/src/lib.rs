//! The S3 front door: parses and authenticates requests, calls an [`ObjectStore`], shapes the answers.
//!
//! The crate has two halves that meet in one trait.
//!
//! * The *store side* is plain Rust: [`store::ObjectStore`] says what a store does and what it must guarantee;
//!   [`bucket`], [`object`], [`condition`], [`checksum`], [`multipart`] and [`body`] hold the rules that every store
//!   shares, as pure functions. The rules are S3's, the types are ours.
//! * The *wire side* turns HTTP into calls of that trait. It knows nothing about clusters, and nothing outside it knows
//!   about the library that parses the wire format.

#![deny(missing_docs)]

pub mod body;
pub mod bucket;
pub mod checksum;
pub mod condition;
pub mod conformance;
pub mod error;
pub mod front;
pub mod listing;
pub mod memory;
pub mod multipart;
pub mod object;
pub mod scan;
pub mod store;

pub use error::StoreError;
pub use store::ObjectStore;
