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

use tokio::sync::Notify;
use tokio::time::Instant;

pub use node::{Crashed, SimulatedNode};

/// A million polls without a step of time: some loop waits for nothing, and time will never move again.
const POLLS_AT_ONE_TIME_MAX: u64 = 1_000_000;

/// No scenario needs so much virtual time. Time gets there in one step when nothing else is left to wait for.
const RUN_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// One run: the seed, what was drawn from it so far, and a digest of what happened.
#[derive(Clone)]
pub struct Simulation {
    world: Arc<World>,
}

struct World {
    seed: u64,
    origin: Instant,
    course: Mutex<Course>,
    panicked: Notify,
}

/// What moves on as the run does.
struct Course {
    draws: fastrand::Rng,
    trace: DefaultHasher,
    last_poll: Duration,
    polls_then: u64,
}

impl Simulation {
    /// Runs `scenario` to its end under the seed and gives its result. Panics when a task of a node does, and when the
    /// scenario waits for what can never come.
    pub fn run<T, F: Future<Output = T>>(seed: u64, scenario: impl FnOnce(Simulation) -> F) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without IO needs nothing of the operating system");
        runtime.block_on(async {
            let simulation = Self::begin(seed);
            tokio::select! {
                biased;
                () = simulation.world.panicked.notified() => panic!("a task of a node panicked under seed {seed}"),
                result = scenario(simulation.clone()) => result,
                () = simulation.sleep(RUN_MAX) => panic!("the scenario waits forever under seed {seed}"),
            }
        })
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "under the paused clock this is virtual time, and no one else reads it"
    )]
    fn begin(seed: u64) -> Self {
        let (draws, trace) = (fastrand::Rng::with_seed(seed), DefaultHasher::new());
        let course = Mutex::new(Course {
            draws,
            trace,
            last_poll: Duration::ZERO,
            polls_then: 0,
        });
        Self {
            world: Arc::new(World {
                seed,
                origin: Instant::now(),
                course,
                panicked: Notify::new(),
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

    /// Notes that a task is polled, and ends a run that would never end by itself.
    fn record_poll(&self, node: &'static str, task: &'static str) {
        let now = self.now();
        let polls = self.course(|course| {
            course.polls_then = if course.last_poll == now {
                course.polls_then + 1
            } else {
                0
            };
            course.last_poll = now;
            (now, "poll", node, task).hash(&mut course.trace);
            course.polls_then
        });
        assert!(
            polls < POLLS_AT_ONE_TIME_MAX,
            "time stands still at {now:?}: {task} of {node}, seed {}",
            self.seed()
        );
    }

    fn record_panic(&self) {
        self.world.panicked.notify_one();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "a task of a node panicked under seed 1")]
    fn a_panic_in_a_task_fails_the_run() {
        Simulation::run(1, |simulation| async move {
            let node = simulation.node("clumsy");
            let _ = node.run(async { panic!("this panic is part of the test") }).await;
            simulation.sleep(Duration::from_secs(1)).await;
        });
    }

    #[test]
    #[should_panic(expected = "the scenario waits forever under seed 2")]
    fn a_scenario_that_waits_for_nothing_fails() {
        Simulation::run(2, |_| std::future::pending::<()>());
    }

    #[test]
    #[should_panic(expected = "a task of a node panicked under seed 3")]
    fn a_loop_in_which_no_time_passes_fails() {
        Simulation::run(3, |simulation| async move {
            let node = simulation.node("eager");
            let eager = node.run(async {
                loop {
                    tokio::task::yield_now().await;
                }
            });
            let _: Result<(), _> = eager.await;
        });
    }
}
