//! A storm: every link is late in its own way, again and again in another one.
//!
//! What goes wrong while layouts follow each other needs two things at once: a message that is late by as much as a
//! transition takes, and somebody else's that is not. Who *hears late* acts on a view that others have left behind; who
//! *speaks late* is served what was asked under one, and may have slept through several; where each direction of each link
//! has a lag of its own, what was acknowledged is at some replicas long before it is at the others, and the first answers
//! come from now these, now those.

use std::time::Duration;

use super::World;
use super::harm;

/// The longest lags, of which one is drawn for each gust.
const LAGS_MAX: [Duration; 3] = [
    Duration::from_millis(60),
    Duration::from_millis(300),
    Duration::from_millis(1_500),
];
/// How many of a hundred directions have a lag, where all are drawn.
const LATE_PERCENT: u32 = 40;
/// The longest that one gust lasts.
const GUST_MAX: Duration = Duration::from_millis(1_500);
/// The longest pause between two.
const LULL_MAX: Duration = Duration::from_millis(200);

/// One gust after the other until then.
pub(super) async fn rage(world: &World, until: Duration) {
    let dice = &world.dice;
    while dice.now() < until {
        dice.pause(LULL_MAX).await;
        let (longest, one) = (*dice.pick(&LAGS_MAX), dice.below(world.cluster.len()));
        match dice.below(100) {
            0..40 => every_link_is_late(world, longest),
            40..58 => hears_late(world, one, longest),
            58..76 => speaks_late(world, one, longest),
            76..84 => {
                hears_late(world, one, longest);
                speaks_late(world, one, longest);
            }
            84..94 => harm::cut_one_way(world),
            _ => harm::isolate(world),
        }
        dice.pause(GUST_MAX).await;
        world.cluster.network().heal();
    }
}

fn every_link_is_late(world: &World, longest: Duration) {
    world.tally.count("each link was late in its own way");
    world.journal.harm(format!("links are late by up to {longest:?}"));
    for from in 0..world.cluster.len() {
        for to in 0..world.cluster.len() {
            if world.dice.percent(LATE_PERCENT) {
                lag(world, from, to, longest);
            }
        }
    }
}

fn hears_late(world: &World, one: usize, longest: Duration) {
    world.tally.count("a node heard late");
    world
        .journal
        .harm(format!("node {one} hears late by up to {longest:?}"));
    (0..world.cluster.len()).for_each(|other| lag(world, other, one, longest));
}

fn speaks_late(world: &World, one: usize, longest: Duration) {
    world.tally.count("a node spoke late");
    world
        .journal
        .harm(format!("node {one} speaks late by up to {longest:?}"));
    (0..world.cluster.len()).for_each(|other| lag(world, one, other, longest));
}

fn lag(world: &World, from: usize, to: usize, longest: Duration) {
    let by = world.dice.up_to(longest);
    let (from, to) = (world.cluster.peer(from), world.cluster.peer(to));
    world.cluster.network().lag(from, to, by);
}
