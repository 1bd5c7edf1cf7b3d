//! What works in the background of a node: what each worker does, how far it is, and what went wrong last.
//!
//! Workers say what they do as they do it; nothing here changes what they do. All of it is lost with the process.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use trellis_spec::layout::Partition;

use super::amount::Amount;
use crate::env::Env;

/// Who works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Worker {
    /// Copies what a newer layout gave this node.
    Migration,
    /// Compares copies with the other replicas, and copies what is missing.
    Comparison,
    /// Reads every block.
    Scrub,
    /// Gives the space of what is dead back.
    Collector,
    /// Forgets what was deleted long ago.
    Forgetter,
    /// Keeps up with who belongs to the cluster, and where.
    Membership,
}

/// What a worker does now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkerState {
    /// It has nothing to do before its next run.
    #[default]
    Idle,
    /// It works.
    Working,
    /// It would, but cannot: see `paused`.
    Paused,
}

/// A worker as others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerReport {
    /// Who.
    pub worker: Worker,
    /// What it does.
    pub state: WorkerState,
    /// Why it cannot go on, if it cannot.
    pub paused: Option<String>,
    /// Steps of this run, or of the last: partitions, or blocks for the scrub; 0 where that is not known.
    pub steps: u64,
    /// Those that are done.
    pub steps_done: u64,
    /// What was copied, read or deleted in this run, or in the last.
    pub done: Amount,
    /// Per second, over the run.
    pub rows_per_s: u64,
    /// Per second, over the run.
    pub bytes_per_s: u64,
    /// How long the run has taken, or took.
    pub seconds: u64,
    /// How much longer it will take at the rate so far; nothing where that cannot be said.
    pub seconds_left: Option<u64>,
    /// Runs that came to their end since the process started.
    pub runs: u64,
    /// When the last one did: milliseconds since the Unix epoch.
    pub ended_ms: Option<u64>,
    /// What went wrong last.
    pub last_error: Option<WorkerError>,
    /// The partitions that are worked on now.
    pub partitions: Vec<PartitionWork>,
}

/// Something that went wrong. The worker tries again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerError {
    /// What.
    pub what: String,
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// A partition that is worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionWork {
    /// Its number.
    pub partition: u16,
    /// What was copied so far.
    pub done: Amount,
    /// Since it was begun.
    pub seconds: u64,
}

/// All workers of a node.
#[derive(Debug, Default)]
pub struct Workers {
    table: Mutex<BTreeMap<Worker, Work>>,
}

#[derive(Debug, Default)]
struct Work {
    state: WorkerState,
    paused: Option<String>,
    steps: u64,
    steps_done: u64,
    done: Amount,
    began: Duration,
    /// How long the last run took.
    took: Duration,
    runs: u64,
    ended_ms: Option<u64>,
    last_error: Option<WorkerError>,
    partitions: BTreeMap<Partition, (Duration, Amount)>,
}

impl WorkerReport {
    /// Of one that did nothing yet.
    pub fn idle(worker: Worker) -> Self {
        Work::default().report(worker, Duration::ZERO)
    }
}

impl Workers {
    /// A run begins, of so many steps; 0 if that is not known.
    pub(crate) fn begin(&self, env: &Env, worker: Worker, steps: u64) {
        let now = env.clock.monotonic();
        self.with(worker, |work| {
            work.state = WorkerState::Working;
            work.paused = None;
            (work.steps, work.steps_done, work.done) = (steps, 0, Amount::default());
            (work.began, work.took) = (now, Duration::ZERO);
        });
    }

    /// A step of the run is done.
    pub(crate) fn step(&self, worker: Worker) {
        self.with(worker, |work| work.steps_done += 1);
    }

    /// So much was done.
    pub(crate) fn did(&self, worker: Worker, amount: Amount) {
        self.with(worker, |work| work.done = work.done.plus(amount));
    }

    /// A partition is begun.
    pub(crate) fn enter(&self, env: &Env, worker: Worker, partition: Partition) {
        let now = env.clock.monotonic();
        self.with(worker, |work| {
            work.partitions.insert(partition, (now, Amount::default()));
        });
    }

    /// So much of a partition was copied.
    pub(crate) fn copied(&self, worker: Worker, partition: Partition, amount: Amount) {
        self.with(worker, |work| {
            work.done = work.done.plus(amount);
            if let Some((_, done)) = work.partitions.get_mut(&partition) {
                *done = done.plus(amount);
            }
        });
    }

    /// A partition is left, whatever came of it.
    pub(crate) fn leave(&self, worker: Worker, partition: Partition) {
        self.with(worker, |work| {
            work.partitions.remove(&partition);
        });
    }

    /// Something went wrong.
    pub(crate) fn failed(&self, env: &Env, worker: Worker, what: &impl ToString) {
        let error = WorkerError {
            what: what.to_string(),
            at_ms: env.clock.wall_us() / 1000,
        };
        self.with(worker, |work| work.last_error = Some(error));
    }

    /// The run is over.
    pub(crate) fn end(&self, env: &Env, worker: Worker) {
        let (now, at_ms) = (env.clock.monotonic(), env.clock.wall_us() / 1000);
        self.with(worker, |work| {
            work.state = WorkerState::Idle;
            work.took = now.saturating_sub(work.began);
            work.runs += 1;
            work.ended_ms = Some(at_ms);
            work.partitions.clear();
        });
    }

    /// The run is over, and not all of it is done: for this reason. It begins anew.
    pub(crate) fn pause(&self, env: &Env, worker: Worker, why: String) {
        self.end(env, worker);
        self.with(worker, |work| {
            work.state = WorkerState::Paused;
            work.paused = Some(why);
        });
    }

    /// Nothing is left to be done by who could not go on.
    pub(crate) fn unpause(&self, worker: Worker) {
        self.with(worker, |work| {
            if work.state == WorkerState::Paused {
                work.state = WorkerState::Idle;
                work.paused = None;
            }
        });
    }

    /// How all of them are.
    pub fn report(&self, env: &Env) -> Vec<WorkerReport> {
        let now = env.clock.monotonic();
        let table = self.table();
        table.iter().map(|(worker, work)| work.report(*worker, now)).collect()
    }

    /// How one of them is, if it ever worked.
    pub(crate) fn of(&self, env: &Env, worker: Worker) -> Option<WorkerReport> {
        let now = env.clock.monotonic();
        self.table().get(&worker).map(|work| work.report(worker, now))
    }

    fn with(&self, worker: Worker, change: impl FnOnce(&mut Work)) {
        change(self.table().entry(worker).or_default());
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<Worker, Work>> {
        // What a panicking holder left is whole: every field means something by itself.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work {
    fn report(&self, worker: Worker, now: Duration) -> WorkerReport {
        let took = match self.state {
            WorkerState::Working => now.saturating_sub(self.began),
            WorkerState::Idle | WorkerState::Paused => self.took,
        };
        let per_s = |count: u64| (u128::from(count) * 1000 / took.as_millis().max(1)).try_into();
        let partition = |(partition, (began, done)): (&Partition, &(Duration, Amount))| PartitionWork {
            partition: partition.0,
            done: *done,
            seconds: now.saturating_sub(*began).as_secs(),
        };
        WorkerReport {
            worker,
            state: self.state,
            paused: self.paused.clone(),
            steps: self.steps,
            steps_done: self.steps_done,
            done: self.done,
            rows_per_s: per_s(self.done.rows).unwrap_or(u64::MAX),
            bytes_per_s: per_s(self.done.bytes).unwrap_or(u64::MAX),
            seconds: took.as_secs(),
            seconds_left: self.left(took).map(|left| left.as_secs()),
            runs: self.runs,
            ended_ms: self.ended_ms,
            last_error: self.last_error.clone(),
            partitions: self.partitions.iter().map(partition).collect(),
        }
    }

    /// As long as the steps that are left take at the rate of those that are done.
    fn left(&self, took: Duration) -> Option<Duration> {
        let left = self.steps.checked_sub(self.steps_done)?;
        let is_known = self.state == WorkerState::Working && self.steps_done > 0;
        let millis = took.as_millis() * u128::from(left) / u128::from(self.steps_done.max(1));
        is_known.then(|| Duration::from_millis(millis.try_into().unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::simulated::Simulation;

    #[test]
    fn a_run_has_a_rate_an_estimate_and_an_end() {
        Simulation::run(1, |simulation| async move {
            let (env, workers) = (simulation.node("node").env(), Workers::default());
            assert_eq!(workers.of(&env, Worker::Migration), None);
            workers.begin(&env, Worker::Migration, 4);
            workers.enter(&env, Worker::Migration, Partition(7));
            let none = workers.of(&env, Worker::Migration).unwrap();
            assert_eq!((none.state, none.seconds_left), (WorkerState::Working, None));
            workers.copied(Worker::Migration, Partition(7), Amount::block(3_000));
            simulation.sleep(Duration::from_secs(10)).await;
            let amid = workers.of(&env, Worker::Migration).unwrap();
            assert_eq!((amid.partitions[0].partition, amid.partitions[0].seconds), (7, 10));
            assert_eq!((amid.bytes_per_s, amid.partitions[0].done.blocks), (300, 1));
            workers.leave(Worker::Migration, Partition(7));
            workers.step(Worker::Migration);
            let later = workers.of(&env, Worker::Migration).unwrap();
            assert_eq!((later.seconds_left, later.partitions.len()), (Some(30), 0));
            workers.failed(&env, Worker::Migration, &"too few nodes answer");
            workers.pause(&env, Worker::Migration, "too few nodes answer".to_owned());
            simulation.sleep(Duration::from_secs(10)).await;
            let paused = workers.of(&env, Worker::Migration).unwrap();
            assert_eq!(
                (paused.state, paused.seconds, paused.runs),
                (WorkerState::Paused, 10, 1)
            );
            assert!(paused.last_error.is_some() && paused.seconds_left.is_none());
            workers.begin(&env, Worker::Migration, 1);
            assert_eq!(workers.of(&env, Worker::Migration).unwrap().paused, None);
        });
    }
}
