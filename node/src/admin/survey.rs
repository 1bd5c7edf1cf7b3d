//! Looks at how redundant everything is, for those who ask often: load balancers and monitoring.
//!
//! Whoever asks waits a moment for a look that is new enough. All who ask together share one, and nobody looks while
//! nobody asks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::cluster::{Coordinator, Redundancy};

/// A look that is not older serves the next who asks.
const FRESH: Duration = Duration::from_secs(5);
/// Nobody waits longer for one.
const WAIT: Duration = Duration::from_secs(1);

/// What was found, and when it was begun to be looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Survey {
    pub(super) begun: Duration,
    pub(super) begun_ms: u64,
    pub(super) redundancy: Redundancy,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Surveys {
    now: Mutex<Now>,
    done: Notify,
}

#[derive(Debug, Default)]
struct Now {
    last: Option<Arc<Survey>>,
    is_running: bool,
}

impl Surveys {
    /// The newest look, however old it is; nothing if there was none yet.
    pub(super) async fn newest(self: &Arc<Self>, coordinator: &Arc<Coordinator>) -> Option<Arc<Survey>> {
        let now = coordinator.env.clock.monotonic();
        let done = self.done.notified();
        tokio::pin!(done);
        done.as_mut().enable();
        let last = self.now().last.clone();
        let newest = coordinator.layouts().now().newest();
        let is_fresh = |last: &Arc<Survey>| last.redundancy.layout == newest && now.saturating_sub(last.begun) <= FRESH;
        if let Some(last) = last.filter(is_fresh) {
            return Some(last);
        }
        self.start(coordinator);
        // What there is then is told, with its age.
        let _ = coordinator.env.timeout(WAIT, done).await;
        self.now().last.clone()
    }

    /// A look that outlives whoever asked for it.
    fn start(self: &Arc<Self>, coordinator: &Arc<Coordinator>) {
        if std::mem::replace(&mut self.now().is_running, true) {
            return;
        }
        let (surveys, looking) = (self.clone(), coordinator.clone());
        let task = async move {
            let clock = &looking.env.clock;
            let (begun, begun_ms) = (clock.monotonic(), clock.wall_us() / 1000);
            let redundancy = looking.redundancy().await;
            let survey = Survey {
                begun,
                begun_ms,
                redundancy,
            };
            *surveys.now() = Now {
                last: Some(Arc::new(survey)),
                is_running: false,
            };
            surveys.done.notify_waiters();
        };
        coordinator.env.spawner.spawn("survey", Box::pin(task));
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
