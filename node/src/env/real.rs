//! The environment of a running node: the machine's clocks, the operating system's randomness, tokio's tasks.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ring::rand::{SecureRandom, SystemRandom};
use tokio::runtime::Handle;
use tracing::Instrument;

use super::{Boxed, Clock, Env, Random, Spawn};

impl Env {
    /// The environment of the machine this runs on. Must be called inside a tokio runtime, which then runs the tasks.
    pub fn real() -> Self {
        Self {
            clock: Arc::new(MachineClock::start()),
            random: Arc::new(SystemRandom::new()),
            spawner: Arc::new(Handle::current()),
        }
    }
}

/// The machine's clocks.
struct MachineClock {
    origin: Instant,
}

impl MachineClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place where a node reads the machine's clock"
    )]
    fn start() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Clock for MachineClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place where a node reads the machine's clock"
    )]
    fn wall_us(&self) -> u64 {
        // A clock before 1970 is a machine that lost its battery; the checks on clocks of peers will say so.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_us = u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX);
        wall_us.saturating_add_signed(skew_us())
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    fn sleep(&self, duration: Duration) -> Boxed<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// By how much the clock is to be wrong: by nothing.
#[cfg(not(feature = "clock-skew"))]
const fn skew_us() -> i64 {
    0
}

/// By how much the clock is to be wrong, in a build for tests alone: as `TRELLIS_CLOCK_SKEW_MS` says.
#[cfg(feature = "clock-skew")]
fn skew_us() -> i64 {
    static SKEW_US: std::sync::OnceLock<i64> = std::sync::OnceLock::new();
    *SKEW_US.get_or_init(|| {
        let skew_ms = std::env::var("TRELLIS_CLOCK_SKEW_MS").ok();
        skew_ms.map_or(0, |ms| {
            ms.parse::<i64>().expect("TRELLIS_CLOCK_SKEW_MS is a number") * 1_000
        })
    })
}

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        SecureRandom::fill(self, bytes).expect("the operating system gives randomness once it has booted");
    }
}

impl Spawn for Handle {
    fn spawn(&self, name: &'static str, task: Boxed<'static, ()>) {
        drop(Handle::spawn(self, task.instrument(tracing::debug_span!("task", name))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn clocks_move_and_randomness_differs() {
        let env = Env::real();
        let before = env.clock.monotonic();
        env.clock.sleep(Duration::from_millis(2)).await;
        assert!(env.clock.monotonic() >= before + Duration::from_millis(2));
        assert!(
            env.clock.wall_us() > 1_600_000_000_000_000,
            "the machine's clock is after 2020"
        );
        assert_ne!(env.random_id(), env.random_id());
    }

    #[tokio::test]
    async fn a_spawned_task_runs_and_a_deadline_ends_a_wait() {
        let env = Env::real();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        env.spawner
            .spawn("answer", Box::pin(async move { sender.send(7).unwrap() }));
        assert_eq!(receiver.await, Ok(7));
        let never = std::future::pending::<()>();
        assert_eq!(
            env.timeout(Duration::from_millis(1), never).await,
            Err(super::super::Elapsed)
        );
    }
}
