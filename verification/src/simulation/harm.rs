//! What is done to the cluster while clients go on, and how it ends.
//!
//! Five hands do harm at the same time, each in its own field and one thing after the other: to processes, links, disks,
//! clocks and layouts. Each undoes what it did before it goes on, so that after the last of them everything can work again.

use std::time::Duration;

use trellis_node::link::simulated::Faults;
use trellis_node::storage::Blocks;

use super::World;
use super::relayout;
use super::setup::{Field, Weather};
use super::shape::{Clocks, Rot};
use super::storm;

/// The longest that links are bad.
const BAD_LINKS_MAX: Duration = Duration::from_secs(5);
/// The longest that a disk is bad.
const BAD_DISK_MAX: Duration = Duration::from_secs(3);
/// A crash comes at a drawn poll among so many, or after [`CRASH_WAIT`].
const POLLS_BEFORE_CRASH_MAX: u64 = 2_000;
const CRASH_WAIT: Duration = Duration::from_millis(500);
/// Batches that were not durable and happen to be on the disk all the same.
const SURVIVORS_MAX: usize = 5;
/// How wrong clocks are: two that are wrong in opposite ways still differ by less than the bound on skew.
const NEAR_US: u64 = 4_000_000;
const WILD_US: u64 = 7_200_000_000;
/// How fast clocks go wrong.
const DRIFT_PPM: u64 = 300;
/// Links that are slow rather than unreliable.
const SLOW_JITTER: Duration = Duration::from_millis(400);

/// Does harm until then, and leaves nothing undone but the crashes, the clocks and what rotted.
pub(crate) async fn go_on(world: World, until: Duration) {
    let until = |field| {
        if world.shape.spared.contains(&field) {
            Duration::ZERO
        } else {
            until
        }
    };
    let (processes, links, disks) = (until(Field::Processes), until(Field::Links), until(Field::Disks));
    let (clocks, layouts) = (until(Field::Clocks), until(Field::Layouts));
    match world.shape.weather {
        Weather::Varied => {
            _ = tokio::join!(
                crash_again_and_again(&world, processes),
                spoil_links(&world, links),
                spoil_disks(&world, disks),
                move_clocks(&world, clocks),
                relayout::again_and_again(&world, layouts),
            )
        }
        Weather::Storm => {
            _ = tokio::join!(
                crash_again_and_again(&world, processes),
                storm::rage(&world, links),
                relayout::again_and_again(&world, layouts),
            )
        }
    }
}

/// Ends all harm: from now on nothing goes wrong.
pub(crate) async fn end(world: &World) {
    /// Longer than any message is late, any coordinator lingers and any deletion counts as going on.
    const CALM: Duration = Duration::from_secs(15);
    world.cluster.network().heal();
    for at in 0..world.cluster.len() {
        world.cluster.set_clock(at, 0, 0);
        world.cluster.rows(at).set_full(false);
        world.cluster.block_disk(at).set_full(false);
        if !world.cluster.is_up(at) {
            world.cluster.start(at, 0);
        }
    }
    world.journal.harm("all harm ends".to_owned());
    world.dice.wait(CALM).await;
}

async fn crash_again_and_again(world: &World, until: Duration) {
    let dice = &world.dice;
    while dice.now() < until {
        dice.pause(2 * world.shape.calm).await;
        let all: Vec<usize> = (0..world.cluster.len()).collect();
        let victims = if dice.percent(25) { all } else { vec![*dice.pick(&all)] };
        crash(world, &victims).await;
        dice.pause(world.shape.down).await;
        for at in victims {
            world.cluster.start(at, dice.below(SURVIVORS_MAX));
            dice.pause(Duration::from_millis(50)).await;
        }
    }
}

async fn crash(world: &World, victims: &[usize]) {
    let dice = &world.dice;
    world.journal.harm(format!("crash of {victims:?}"));
    world.tally.count(if victims.len() > 1 {
        "all nodes crashed"
    } else {
        "a node crashed"
    });
    if dice.percent(60) {
        for &at in victims {
            world
                .cluster
                .node(at)
                .crash_after_polls(dice.between(0, POLLS_BEFORE_CRASH_MAX));
        }
        dice.wait(CRASH_WAIT).await;
    }
    victims.iter().for_each(|&at| world.cluster.node(at).crash());
}

async fn spoil_links(world: &World, until: Duration) {
    let dice = &world.dice;
    while dice.now() < until {
        dice.pause(world.shape.calm).await;
        match dice.below(100) {
            0..40 => {
                world.tally.count("links lost, doubled and delayed messages");
                world.journal.harm("links are unreliable".to_owned());
                world.cluster.network().set_faults(Faults::many());
            }
            40..50 => {
                world.tally.count("links were slow");
                world.journal.harm("links are slow".to_owned());
                world.cluster.network().set_faults(Faults {
                    jitter_max: SLOW_JITTER,
                    ..Faults::none()
                });
            }
            50..75 => cut_one_way(world),
            _ => isolate(world),
        }
        dice.pause(BAD_LINKS_MAX).await;
        world.cluster.network().heal();
        world.journal.harm("links are well".to_owned());
    }
}

pub(super) fn cut_one_way(world: &World) {
    let (from, to) = (
        world.dice.below(world.cluster.len()),
        world.dice.below(world.cluster.len()),
    );
    if from != to {
        world.tally.count("a link was cut in one direction");
        world.journal.harm(format!("nothing passes from {from} to {to}"));
        world
            .cluster
            .network()
            .cut(world.cluster.peer(from), world.cluster.peer(to));
    }
}

pub(super) fn isolate(world: &World) {
    let alone = world.dice.below(world.cluster.len());
    world.tally.count("a node was cut off");
    world.journal.harm(format!("node {alone} is cut off"));
    for other in (0..world.cluster.len()).filter(|other| *other != alone) {
        let (one, other) = (world.cluster.peer(alone), world.cluster.peer(other));
        world.cluster.network().cut(one, other);
        world.cluster.network().cut(other, one);
    }
}

async fn spoil_disks(world: &World, until: Duration) {
    let dice = &world.dice;
    while dice.now() < until {
        dice.pause(3 * world.shape.calm).await;
        let at = dice.below(world.cluster.len());
        match dice.below(100) {
            0..45 => fill_disk(world, at).await,
            45..80 => break_disk(world, at).await,
            _ if world.shape.rot == Rot::OneNode => rot(world).await,
            _ => {}
        }
    }
}

async fn fill_disk(world: &World, at: usize) {
    let (rows, blocks) = (world.cluster.rows(at), world.cluster.block_disk(at));
    world.tally.count("a disk was full");
    world.journal.harm(format!("the disk of node {at} is full"));
    rows.set_full(world.dice.percent(70));
    blocks.set_full(true);
    world.dice.pause(BAD_DISK_MAX).await;
    rows.set_full(false);
    blocks.set_full(false);
    world.journal.harm(format!("the disk of node {at} has room"));
}

/// A write fails, which closes the store until somebody starts the node again.
async fn break_disk(world: &World, at: usize) {
    world.tally.count("a disk failed to write");
    world.journal.harm(format!("a write fails at node {at}"));
    if world.dice.percent(70) {
        world.cluster.rows(at).fail_next_flush();
    } else {
        world.cluster.block_disk(at).fail_next_write();
    }
    world.dice.pause(BAD_DISK_MAX).await;
    world.cluster.start(at, 0);
    world.journal.harm(format!("node {at} starts again"));
}

/// Always on the same node: a block is on a majority, so that one disk's decay loses nothing.
async fn rot(world: &World) {
    let Some(blocks) = world.cluster.blocks(0) else { return };
    let Ok(names) = blocks.list(None, usize::MAX).await else {
        return;
    };
    let names = names.found;
    if !names.is_empty() && world.cluster.block_disk(0).rot(*world.dice.pick(&names)) {
        world.tally.count("a block rotted");
        world.journal.harm("a block rots at node 0".to_owned());
    }
}

async fn move_clocks(world: &World, until: Duration) {
    let dice = &world.dice;
    let most = match world.shape.clocks {
        Clocks::Near => NEAR_US,
        Clocks::Wild => WILD_US,
    };
    while dice.now() < until {
        dice.pause(2 * world.shape.calm).await;
        let at = dice.below(world.cluster.len());
        let signed = |most: u64| dice.between(0, 2 * most).cast_signed() - most.cast_signed();
        let (off_us, drift) = (signed(most), signed(DRIFT_PPM));
        world.tally.count("a clock jumped");
        world
            .journal
            .harm(format!("the clock of node {at} is off by {} ms", off_us / 1000));
        world.cluster.set_clock(at, off_us, drift);
    }
}
