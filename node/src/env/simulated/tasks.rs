//! The tasks of one life of a node: shuffled by the seed, ended together by a crash.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::task::JoinSet;

use super::Simulation;
use crate::env::{Boxed, Spawn};

/// How often a runnable task may let the others pass before it is polled.
const YIELDS_MAX: u64 = 3;

/// A handle on the tasks of one life of a node.
#[derive(Clone)]
pub(super) struct Tasks {
    simulation: Simulation,
    node: &'static str,
    life: Arc<Mutex<Life>>,
}

enum Life {
    Up {
        running: JoinSet<()>,
        polls_left: Option<u64>,
    },
    Down,
}

impl Tasks {
    pub(super) fn new(simulation: Simulation, node: &'static str) -> Self {
        let life = Life::Up {
            running: JoinSet::new(),
            polls_left: None,
        };
        Self {
            simulation,
            node,
            life: Arc::new(Mutex::new(life)),
        }
    }

    pub(super) fn simulation(&self) -> &Simulation {
        &self.simulation
    }

    pub(super) fn are_up(&self) -> bool {
        self.life(|life| matches!(life, Life::Up { .. }))
    }

    pub(super) fn crash(&self) {
        match self.life(|life| std::mem::replace(life, Life::Down)) {
            Life::Up { running, .. } => {
                self.simulation.record(("crash", self.node));
                // Ends the tasks; outside the lock, since what they own may look at this node when it is dropped.
                drop(running);
            }
            Life::Down => {}
        }
    }

    pub(super) fn crash_after_polls(&self, polls: u64) {
        self.life(|life| match life {
            Life::Up { polls_left, .. } => *polls_left = Some(polls),
            Life::Down => {}
        });
    }

    /// Whether the poll that is about to happen may happen.
    fn admit_poll(&self) -> bool {
        self.life(|life| match life {
            Life::Up {
                polls_left: Some(0), ..
            }
            | Life::Down => false,
            Life::Up {
                polls_left: Some(left), ..
            } => {
                *left -= 1;
                true
            }
            Life::Up { polls_left: None, .. } => true,
        })
    }

    fn life<T>(&self, step: impl FnOnce(&mut Life) -> T) -> T {
        step(&mut self.life.lock().expect("no step panics while it holds the lock"))
    }
}

impl Spawn for Tasks {
    fn spawn(&self, name: &'static str, task: Boxed<'static, ()>) {
        let task = Shuffled {
            name,
            tasks: self.clone(),
            yields_left: None,
            work: task,
        };
        let refused = self.life(|life| match life {
            Life::Up { running, .. } => {
                while running.try_join_next().is_some() {}
                running.spawn(task);
                None
            }
            Life::Down => Some(task),
        });
        drop(refused);
    }
}

/// A task that lets others pass a drawn number of times before each poll.
struct Shuffled {
    name: &'static str,
    tasks: Tasks,
    yields_left: Option<u64>,
    work: Boxed<'static, ()>,
}

impl Future for Shuffled {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let yields = self
            .yields_left
            .take()
            .unwrap_or_else(|| self.tasks.simulation.draw(YIELDS_MAX));
        if let Some(fewer) = yields.checked_sub(1) {
            self.yields_left = Some(fewer);
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !self.tasks.admit_poll() {
            self.tasks.crash();
            return Poll::Pending;
        }
        self.tasks.simulation.record_poll(self.tasks.node, self.name);
        self.work.as_mut().poll(context)
    }
}

impl Drop for Shuffled {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tasks.simulation.record_panic();
        }
    }
}
