//! One node of a simulation: its clock, and its tasks, which end together when it crashes.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Simulation;
use super::tasks::Tasks;
use crate::env::{Boxed, Clock, Env, Random, Spawn};

/// What the wall clock of a node without skew shows when a simulation begins: the first of January 2030.
const EPOCH_US: i64 = 1_893_456_000_000_000;

/// How late a timer may ring.
const TIMER_LATENESS_MAX_US: u64 = 2_000;

/// The node crashed before the work was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node crashed")]
pub struct Crashed;

/// One life of a node, from its start to its crash.
#[derive(Clone)]
pub struct SimulatedNode {
    name: &'static str,
    clock: Arc<SkewedClock>,
    tasks: Tasks,
}

impl SimulatedNode {
    pub(super) fn start(simulation: Simulation, name: &'static str) -> Self {
        let clock = SkewedClock {
            simulation: simulation.clone(),
            skew: Mutex::new(Skew::default()),
        };
        Self {
            name,
            clock: Arc::new(clock),
            tasks: Tasks::new(simulation, name),
        }
    }

    /// The next life of a node that crashed: the same clock, no tasks. A node that is still up crashes first.
    pub fn restart(&self) -> Self {
        self.crash();
        self.simulation().record(("restart", self.name));
        let tasks = Tasks::new(self.simulation().clone(), self.name);
        Self {
            name: self.name,
            clock: Arc::clone(&self.clock),
            tasks,
        }
    }

    /// What the node's code is given.
    pub fn env(&self) -> Env {
        Env {
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            random: Arc::new(self.simulation().clone()),
            spawner: Arc::new(self.tasks.clone()) as Arc<dyn Spawn>,
        }
    }

    /// The run this node is part of.
    pub fn simulation(&self) -> &Simulation {
        self.tasks.simulation()
    }

    /// Runs `work` as a task of the node, so that a crash ends it too.
    pub async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, Crashed> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let task = async move {
            // Nobody waits for the result any more when the caller gave up; the work is done all the same.
            let _ = sender.send(work.await);
        };
        self.tasks.spawn(self.name, Box::pin(task));
        receiver.await.map_err(|_| Crashed)
    }

    /// Ends every task where it waits, and every later one before it starts.
    pub fn crash(&self) {
        self.tasks.crash();
    }

    /// Crashes just before one of the node's tasks is polled for the `polls`-th time from now on.
    pub fn crash_after_polls(&self, polls: u64) {
        self.tasks.crash_after_polls(polls);
    }

    /// Whether the node lives.
    pub fn is_up(&self) -> bool {
        self.tasks.are_up()
    }

    /// Moves the wall clock by `by_us` microseconds at once.
    pub fn jump_clock(&self, by_us: i64) {
        self.clock.skew.lock().expect("no holder panics").offset_us += by_us;
    }

    /// From now on the wall clock gains `ppm` microseconds in each second (or loses them).
    pub fn set_clock_drift(&self, ppm: i64) {
        let now = self.clock.now_us();
        let mut skew = self.clock.skew.lock().expect("no holder panics");
        skew.offset_us = skew.offset_at(now);
        skew.since_us = now;
        skew.drift_ppm = ppm;
    }
}

/// A clock whose wall time is off by a skew. Its monotonic time is the simulation's.
struct SkewedClock {
    simulation: Simulation,
    skew: Mutex<Skew>,
}

/// How far a wall clock is off: by an offset that grows steadily.
#[derive(Default)]
struct Skew {
    offset_us: i64,
    drift_ppm: i64,
    since_us: i64,
}

impl Skew {
    fn offset_at(&self, now_us: i64) -> i64 {
        self.offset_us + (now_us - self.since_us) * self.drift_ppm / 1_000_000
    }
}

impl SkewedClock {
    fn now_us(&self) -> i64 {
        i64::try_from(self.simulation.now().as_micros()).expect("no run lasts for 300000 years")
    }
}

impl Clock for SkewedClock {
    fn wall_us(&self) -> u64 {
        let now = self.now_us();
        let offset = self.skew.lock().expect("no holder panics").offset_at(now);
        u64::try_from(EPOCH_US + now + offset).unwrap_or(0)
    }

    fn monotonic(&self) -> Duration {
        self.simulation.now()
    }

    fn sleep(&self, duration: Duration) -> Boxed<'static, ()> {
        let lateness = self
            .simulation
            .draw_duration(Duration::from_micros(TIMER_LATENESS_MAX_US));
        Box::pin(tokio::time::sleep(duration + lateness))
    }
}

impl Random for Simulation {
    fn fill(&self, bytes: &mut [u8]) {
        Simulation::fill(self, bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::task::JoinSet;

    use super::*;

    /// Two nodes whose tasks race for an order; the order and the digest are what the seed decides.
    fn race(seed: u64) -> (Vec<u64>, u64) {
        Simulation::run(seed, |simulation| async move {
            let order = Arc::new(Mutex::new(Vec::new()));
            let node = simulation.node("racer");
            let mut runs = JoinSet::new();
            for number in 0..20 {
                let (order, env, node) = (Arc::clone(&order), node.env(), node.clone());
                runs.spawn(async move {
                    let work = async move {
                        env.clock.sleep(Duration::from_millis(env.random_u64() % 5)).await;
                        order.lock().unwrap().push(number);
                    };
                    node.run(work).await
                });
            }
            while let Some(ran) = runs.join_next().await {
                ran.unwrap().unwrap();
            }
            let order = order.lock().unwrap().clone();
            (order, simulation.digest())
        })
    }

    #[test]
    fn the_same_seed_gives_the_same_run_and_another_seed_another() {
        assert_eq!(race(1), race(1));
        assert_eq!(race(2), race(2));
        let (one, two) = (race(1), race(2));
        assert_ne!(one.0, two.0);
        assert_ne!(one.1, two.1);
    }

    #[test]
    fn a_crash_ends_what_waits_and_what_comes_later() {
        Simulation::run(3, |simulation| async move {
            let node = simulation.node("victim");
            let beats = Arc::new(AtomicU64::new(0));
            let (env, counted) = (node.env(), Arc::clone(&beats));
            let heart = async move {
                loop {
                    env.clock.sleep(Duration::from_secs(1)).await;
                    counted.fetch_add(1, Ordering::SeqCst);
                }
            };
            node.env().spawner.spawn("heart", Box::pin(heart));
            simulation.sleep(Duration::from_millis(3_500)).await;
            assert_eq!(beats.load(Ordering::SeqCst), 3);
            node.crash();
            simulation.sleep(Duration::from_secs(10)).await;
            assert_eq!(beats.load(Ordering::SeqCst), 3);
            assert_eq!(node.run(async { 1 }).await, Err(Crashed));
            assert_eq!(node.restart().run(async { 1 }).await, Ok(1));
        });
    }

    #[test]
    fn a_crash_can_fall_between_any_two_polls() {
        let steps_done = |polls| {
            Simulation::run(4, |simulation| async move {
                let node = simulation.node("victim");
                let steps = Arc::new(AtomicU64::new(0));
                let counted = Arc::clone(&steps);
                node.crash_after_polls(polls);
                let ended = node.run(async move {
                    for _ in 0..5 {
                        counted.fetch_add(1, Ordering::SeqCst);
                        tokio::task::yield_now().await;
                    }
                });
                let crashed = ended.await.is_err();
                assert_eq!(crashed, !node.is_up());
                (steps.load(Ordering::SeqCst), crashed)
            })
        };
        assert_eq!(steps_done(0), (0, true));
        assert_eq!(steps_done(3), (3, true));
        assert_eq!(steps_done(5), (5, true));
        assert_eq!(steps_done(6), (5, false));
    }

    #[test]
    fn wall_clocks_jump_and_drift_while_monotonic_time_does_not() {
        Simulation::run(5, |simulation| async move {
            let (steady, skewed) = (simulation.node("steady"), simulation.node("skewed"));
            let off = || {
                let (good, bad) = (steady.env().clock.wall_us(), skewed.env().clock.wall_us());
                i64::try_from(bad).unwrap() - i64::try_from(good).unwrap()
            };
            assert_eq!(off(), 0);
            skewed.jump_clock(-5_000_000);
            skewed.set_clock_drift(100);
            simulation.sleep(Duration::from_secs(10)).await;
            assert_eq!(off(), -4_999_000);
            skewed.set_clock_drift(0);
            simulation.sleep(Duration::from_secs(10)).await;
            assert_eq!(off(), -4_999_000);
            assert_eq!(steady.env().clock.monotonic(), skewed.restart().env().clock.monotonic());
        });
    }
}
