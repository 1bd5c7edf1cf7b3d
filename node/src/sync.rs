//! What hand-made concurrent code is made of.
//!
//! `verification/tests/loom` includes the files that take it from here and gives them loom's twins instead, to try every
//! order in which their threads may run.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

pub(crate) use tokio::sync::Notify;
