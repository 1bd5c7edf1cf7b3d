//! Looking for a smaller run that goes wrong too.

use super::setup::{Scale, Setup};
use super::{Run, run};

/// Runs that are tried in all.
const RUNS_MAX: usize = 200;
/// Seeds that are tried of each smaller scale. Less of anything changes what the same seed draws, so that the anomaly may
/// come under another one.
const SEEDS_PER_SCALE: u64 = 6;

/// A run that goes wrong with as little as was found to be enough, if any smaller one does.
pub fn shrink(setup: &Setup) -> Option<Run> {
    let (mut smallest, mut scale, mut runs_left) = (None, setup.scale.clone(), RUNS_MAX);
    while let Some(run) = smaller(setup, &scale, &mut runs_left) {
        scale = run.setup.scale.clone();
        smallest = Some(run);
    }
    smallest
}

fn smaller(setup: &Setup, scale: &Scale, runs_left: &mut usize) -> Option<Run> {
    for scale in scale.smaller() {
        for number in 0..SEEDS_PER_SCALE {
            *runs_left = runs_left.checked_sub(1)?;
            let (seed, scale) = (setup.seed.wrapping_add(number), scale.clone());
            let tried = run(Setup {
                seed,
                scale,
                ..setup.clone()
            });
            if !tried.is_good() {
                return Some(tried);
            }
        }
    }
    None
}
