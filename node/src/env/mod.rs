//! Time, randomness and spawning as parameters.
//!
//! Everything in a node that wants the clock, a random number or a new task asks the [`Env`] it was given. The binary
//! gives it tokio's; the simulation gives it a seeded twin in which time is virtual, the order of events is drawn from
//! the seed and a crash is the end of every task that was spawned.

mod real;
pub mod simulated;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A future on the heap, as traits that are used behind a pointer return it.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the outside world gives to a node besides network and storage.
#[derive(Clone)]
pub struct Env {
    /// Wall and monotonic time.
    pub clock: Arc<dyn Clock>,
    /// Randomness: identifiers, jitter.
    pub random: Arc<dyn Random>,
    /// Background tasks.
    pub spawner: Arc<dyn Spawn>,
}

/// Time as a node sees it. Wall time may jump; monotonic time never falls.
pub trait Clock: Send + Sync {
    /// Microseconds since the Unix epoch by the node's own, unsynchronised clock.
    fn wall_us(&self) -> u64;
    /// Time since an arbitrary moment before the node started.
    fn monotonic(&self) -> Duration;
    /// Ends after `duration` of monotonic time.
    fn sleep(&self, duration: Duration) -> Boxed<'static, ()>;
}

/// A source of random bytes.
pub trait Random: Send + Sync {
    /// Fills `bytes`. Good enough for keys and secrets outside the simulation.
    fn fill(&self, bytes: &mut [u8]);
}

/// Starts tasks that nobody waits for.
pub trait Spawn: Send + Sync {
    /// Runs `task` until it ends or the node does.
    fn spawn(&self, name: &'static str, task: Boxed<'static, ()>);
}

/// The deadline passed before the answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

impl Env {
    /// A random number.
    pub fn random_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A random identifier.
    pub fn random_id(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.random.fill(&mut bytes);
        bytes
    }

    /// Waits for `future`, at most for `limit`.
    pub async fn timeout<T>(&self, limit: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
        tokio::select! {
            biased;
            value = future => Ok(value),
            () = self.clock.sleep(limit) => Err(Elapsed),
        }
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Env")
    }
}
