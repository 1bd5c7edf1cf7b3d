//! The signal of full redundancy: in peace it comes, and when it has come, it is true.

use std::time::Duration;

use trellis_node::cluster::Redundancy;

use super::World;
use super::inspection;
use super::shape::Clocks;

/// As long as comparing, scrubbing and copying may take in peace,
const WHOLE_WITHIN: Duration = Duration::from_secs(15 * 60);
/// and where clocks were hours ahead: what such a clock left open is settled for sure when its time has come.
const WHOLE_WITHIN_AFTER_WILD_CLOCKS: Duration = Duration::from_secs(3 * 60 * 60);
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);

/// Waits for evidence that is newer than this moment; then looks at the disks.
pub(crate) async fn prove(world: &World) {
    let (began, nodes) = (world.dice.now(), world.cluster.len());
    let walls: Vec<u64> = (0..nodes).map(|at| world.cluster.wall_us(at)).collect();
    let limit = match world.shape.clocks {
        Clocks::Near => WHOLE_WITHIN,
        Clocks::Wild => WHOLE_WITHIN_AFTER_WILD_CLOCKS,
    };
    let mut asked = 0;
    loop {
        asked = (asked + 1) % nodes;
        let redundancy = world.cluster.redundancy(asked).await;
        if let Some(said) = redundancy.as_ref().filter(|said| is_full(world, said, &walls)) {
            inspection::believe(world, asked, said);
            break;
        }
        if world.dice.now() - began > limit {
            let complaint = format!("in peace, nobody says that everything is whole: {redundancy:?}");
            return world.journal.complain(complaint);
        }
        world.dice.wait(BETWEEN_LOOKS).await;
    }
    world.tally.count("everything was said to be whole");
    for at in 0..nodes {
        if let Some(rotten) = world.cluster.block_disk(at).rotten().first() {
            let complaint = format!("node {at} holds block {rotten} damaged, and everything is said to be whole");
            world.journal.complain(complaint);
        }
    }
}

/// Full, by evidence of every node that is newer than its clock was.
fn is_full(world: &World, said: &Redundancy, walls: &[u64]) -> bool {
    let is_new = |(at, wall): (usize, &u64)| match said.nodes.get(&world.cluster.id(at)) {
        Some(evidence) => {
            let is_compared = evidence.partitions == 0 || evidence.whole_until_us >= *wall;
            is_compared && evidence.scrubbed_us.is_some_and(|scrubbed| scrubbed >= *wall)
        }
        None => false,
    };
    said.full_until_us.is_some() && walls.iter().enumerate().all(is_new)
}
