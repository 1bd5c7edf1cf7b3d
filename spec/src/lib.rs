//! The Trellis protocols as pure state machines.
//!
//! Three kinds of things live here. A *rule* is a pure function on a row it is given ([`register::Cell::serve`]). An
//! *attempt* is one operation in flight at its coordinator ([`register::Write`], [`register::Read`],
//! [`register::Conditional`]): it is told what happened and says what to do next. A *view* is the small durable
//! knowledge of a node about layouts ([`layout::Knowledge`]); it only grows.
//!
//! Nothing here reads a clock, draws a random number, touches a disk or a socket. The model checker and the node run
//! this very code.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

extern crate alloc;

pub mod block;
pub mod flaw;
pub mod gate;
pub mod layout;
pub mod leaves;
pub mod listing;
pub mod peer;
pub mod quorum;
pub mod register;
pub mod row;
pub mod stamp;
pub mod tombstone;
pub mod trace;
