//! Chance, in the words that a workload needs.

use std::time::Duration;

use trellis_node::env::simulated::Simulation;

/// Draws from the seed of the run.
#[derive(Clone)]
pub(crate) struct Dice(Simulation);

impl Dice {
    pub(crate) fn new(simulation: &Simulation) -> Self {
        Dice(simulation.clone())
    }

    /// True in so many of a hundred draws.
    pub(crate) fn percent(&self, percent: u32) -> bool {
        self.0.chance(percent * 10_000)
    }

    /// A number below `end`, which is not zero.
    pub(crate) fn below(&self, end: usize) -> usize {
        let drawn = self.0.draw(end.saturating_sub(1) as u64);
        usize::try_from(drawn).expect("it is below a usize")
    }

    /// A number from `least` to `most`.
    pub(crate) fn between(&self, least: u64, most: u64) -> u64 {
        least + self.0.draw(most - least)
    }

    /// One of `all`.
    pub(crate) fn pick<'a, T>(&self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// A duration up to `longest`.
    pub(crate) fn up_to(&self, longest: Duration) -> Duration {
        self.0.draw_duration(longest)
    }

    /// Lets a while pass that is drawn from 0 to `longest`.
    pub(crate) async fn pause(&self, longest: Duration) {
        self.0.sleep(self.up_to(longest)).await;
    }

    /// Lets exactly this pass.
    pub(crate) async fn wait(&self, duration: Duration) {
        self.0.sleep(duration).await;
    }

    /// Virtual time.
    pub(crate) fn now(&self) -> Duration {
        self.0.now()
    }
}
