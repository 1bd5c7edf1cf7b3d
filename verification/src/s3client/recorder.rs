//! Where all clients of a run write down what they asked and were told.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::history::{Action, Operation, Outcome};

/// One history in the making.
#[derive(Debug)]
pub struct Recorder {
    clock: Clock,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    history: Vec<Operation>,
    complaints: Vec<String>,
}

impl Recorder {
    /// An empty history whose time begins now.
    pub fn start() -> Self {
        Recorder {
            clock: Clock::start(),
            notes: Mutex::default(),
        }
    }

    /// The same history, to be gone on with.
    pub fn resume(&self, history: Vec<Operation>) {
        self.notes().history = history;
    }

    /// Nanoseconds since the start.
    pub fn now(&self) -> u64 {
        self.clock.nanoseconds()
    }

    /// Writes down an operation that began at `call` and is over now.
    pub fn record(&self, client: u32, call: u64, action: Action, outcome: Outcome) {
        let answer = Some(self.now());
        self.notes().history.push(Operation {
            client,
            call,
            answer,
            action,
            outcome,
        });
    }

    /// Writes down an answer that contradicts itself.
    pub fn complain(&self, complaint: String) {
        self.notes().complaints.push(complaint);
    }

    /// Everything so far.
    pub fn take(&self) -> (Vec<Operation>, Vec<String>) {
        let notes = std::mem::take(&mut *self.notes());
        (notes.history, notes.complaints)
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
