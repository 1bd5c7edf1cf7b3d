//! A few threads for work that blocks, so that it blocks no network thread.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use tokio::sync::{Semaphore, oneshot};

/// Jobs that wait for each thread; who comes then waits before handing over its job.
const WAITING_PER_THREAD: usize = 8;

type Job = Box<dyn FnOnce() + Send>;

/// The job did not finish: it panicked, or the pool is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the job did not finish")]
pub(super) struct Unfinished;

/// See the module. Dropping it waits for the jobs that were handed over.
pub(super) struct Pool {
    jobs: Option<Sender<Job>>,
    slots: Arc<Semaphore>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    pub(super) fn new(name: &str, threads: usize) -> io::Result<Self> {
        let (jobs, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        let start = |_| {
            let queue = queue.clone();
            Builder::new()
                .name(name.to_owned())
                .spawn(move || while run_next(&queue) {})
        };
        let started = (0..threads).map(start).collect::<io::Result<_>>()?;
        let slots = Arc::new(Semaphore::new(threads * (1 + WAITING_PER_THREAD)));
        Ok(Self {
            jobs: Some(jobs),
            slots,
            threads: started,
        })
    }

    /// Runs `job` in one of the threads. Once handed over it runs even if nobody waits for it any more.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unfinished> {
        let slot = self.slots.clone().acquire_owned().await.map_err(|_| Unfinished)?;
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move || {
            let result = job();
            drop(slot);
            // Whoever asked may have gone away.
            let _ = answer.send(result);
        });
        self.jobs
            .as_ref()
            .ok_or(Unfinished)?
            .send(job)
            .map_err(|_| Unfinished)?;
        answered.await.map_err(|_| Unfinished)
    }
}

fn run_next(queue: &Mutex<Receiver<Job>>) -> bool {
    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
    let Ok(job) = job else { return false };
    // The panic is the job's; the one who waits for it is told by the answer that never comes.
    let _ = catch_unwind(AssertUnwindSafe(job));
    true
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // Threads catch the panics of their jobs.
            let _ = thread.join();
        }
    }
}
