//! Loom's twins of what `trellis_node::sync` has, and a `Notify` that promises no more than tokio's documentation does.

use std::future::Future;
use std::pin::Pin;
pub(crate) use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
pub(crate) use loom::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock};

/// Wakes those who wait. A [`Notified`] hears of every call that follows its making.
#[derive(Debug, Default)]
pub(crate) struct Notify(Mutex<Calls>);

#[derive(Debug, Default)]
struct Calls {
    count: u64,
    waiting: Vec<Waker>,
}

pub(crate) struct Notified<'a> {
    notify: &'a Notify,
    made_at: u64,
}

impl Notify {
    pub(crate) fn new() -> Self {
        Notify::default()
    }

    pub(crate) fn notify_waiters(&self) {
        let waiting = {
            let mut calls = self.0.lock().unwrap();
            calls.count += 1;
            std::mem::take(&mut calls.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn notified(&self) -> Notified<'_> {
        let made_at = self.0.lock().unwrap().count;
        Notified { notify: self, made_at }
    }
}

impl Notified<'_> {
    pub(crate) fn enable(self: Pin<&mut Self>) -> bool {
        self.notify.0.lock().unwrap().count != self.made_at
    }
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut calls = self.notify.0.lock().unwrap();
        if calls.count != self.made_at {
            return Poll::Ready(());
        }
        calls.waiting.push(context.waker().clone());
        Poll::Pending
    }
}
