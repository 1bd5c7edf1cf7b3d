//! Model checking of the Trellis protocols.
//!
//! A [`world::World`] runs the code of `trellis-spec` under every order of messages, losses and crashes that its
//! configuration allows. A [`claim`] is a sentence about worlds with the sizes at which it is checked, and the flaws
//! that it notices ([`claim::Mutant`]). A [`trace`] is what a running node did, to be held against the same code. Other
//! protocols of replication are compared with Trellis' own on a [`workbench`].

pub mod block;
pub mod check;
pub mod claim;
pub mod coordinator;
pub mod deletion;
pub mod drain;
pub mod engine;
pub mod history;
pub mod invariant;
pub mod listing;
pub mod mermaid;
pub mod operation;
pub mod program;
pub mod rules;
pub mod script;
pub mod svg;
pub mod sync;
pub mod trace;
pub mod transcript;
pub mod value;
pub mod workbench;
pub mod world;
