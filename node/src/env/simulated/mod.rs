//! An environment in which everything that chance decides is drawn from one seed.
//!
//! A [`Simulation`] runs on one thread under tokio's paused clock: time stands still while any task can run and jumps to
//! the next timer when none can. What is left to chance on a real machine comes from the seed: which of the runnable
//! tasks goes first (a task lets others pass a drawn number of times before it is polled), how late a timer rings, every
//! random byte. So the same seed gives the same run, which [`Simulation::digest`] lets a test assert.
//!
//! Two things would break that and are therefore absent from code that runs here: iteration over hash maps, and
//! `tokio::select!` without `biased`, whose order no seed reaches.

mod node;
mod tasks;

use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

pub use node::{Crashed, SimulatedNode};

/// One run: the seed, what was drawn from it so far, and a digest of what happened.
#[derive(Clone)]
pub struct Simulation {
    world: Arc<World>,
}

struct World {
    seed: u64,
    origin: Instant,
    course: Mutex<Course>,
}

/// What moves on as the run does.
struct Course {
    draws: fastrand::Rng,
    trace: DefaultHasher,
}

impl Simulation {
    /// Runs `scenario` to its end under the seed and gives its result.
    pub fn run<T, F: Future<Output = T>>(seed: u64, scenario: impl FnOnce(Simulation) -> F) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without IO needs nothing of the operating system");
        runtime.block_on(async { scenario(Self::begin(seed)).await })
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "under the paused clock this is virtual time, and no one else reads it"
    )]
    fn begin(seed: u64) -> Self {
        let course = Course {
            draws: fastrand::Rng::with_seed(seed),
            trace: DefaultHasher::new(),
        };
        Self {
            world: Arc::new(World {
                seed,
                origin: Instant::now(),
                course: Mutex::new(course),
            }),
        }
    }

    /// A new node with a clock of its own and no tasks yet.
    pub fn node(&self, name: &'static str) -> SimulatedNode {
        SimulatedNode::start(self.clone(), name)
    }

    /// The seed of this run, for the message that says how to repeat it.
    pub fn seed(&self) -> u64 {
        self.world.seed
    }

    /// Virtual time since the run began.
    pub fn now(&self) -> Duration {
        self.world.origin.elapsed()
    }

    /// A number drawn from `0..=greatest`.
    pub fn draw(&self, greatest: u64) -> u64 {
        self.course(|course| course.draws.u64(0..=greatest))
    }

    /// A time drawn from `0..=longest`, in whole microseconds.
    pub fn draw_duration(&self, longest: Duration) -> Duration {
        Duration::from_micros(self.draw(u64::try_from(longest.as_micros()).unwrap_or(u64::MAX)))
    }

    /// True in `per_million` of a million draws.
    pub fn chance(&self, per_million: u32) -> bool {
        self.draw(999_999) < u64::from(per_million)
    }

    /// Fills `bytes` from the seed.
    pub fn fill(&self, bytes: &mut [u8]) {
        self.course(|course| course.draws.fill(bytes));
    }

    /// Makes `event` part of the digest, with the time at which it happened.
    pub fn record(&self, event: impl Hash) {
        let at = self.now();
        self.course(|course| (at, event).hash(&mut course.trace));
    }

    /// A digest of everything recorded so far: equal for equal runs.
    pub fn digest(&self) -> u64 {
        self.course(|course| course.trace.finish())
    }

    /// Waits for `duration` of virtual time, exactly.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    fn course<T>(&self, step: impl FnOnce(&mut Course) -> T) -> T {
        step(
            &mut self
                .world
                .course
                .lock()
                .expect("no step panics while it holds the lock"),
        )
    }
}
