//! The one place where workloads ask what time it is. They look at the world from outside, so the time is real.

use std::time::{Duration, Instant, SystemTime};

use time::OffsetDateTime;

/// Measures time since the start of a run.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts counting.
    #[expect(clippy::disallowed_methods, reason = "workloads measure real processes in real time")]
    pub fn start() -> Self {
        Clock { start: Instant::now() }
    }

    /// How long ago that was.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The same in nanoseconds, as histories have it.
    pub fn nanoseconds(&self) -> u64 {
        u64::try_from(self.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The date, for signatures.
#[expect(clippy::disallowed_methods, reason = "signatures carry the real date")]
pub fn date() -> OffsetDateTime {
    OffsetDateTime::from(SystemTime::now())
}
