//! Layouts that follow each other while all else goes wrong; and that the last one is there in peace.

use std::collections::BTreeMap;
use std::time::Duration;

use trellis_node::cluster::{ElectError, Elected};
use trellis_spec::layout::{Layout, LayoutVersion};

use super::World;
use super::setup::Weather;
use super::shape::{Clocks, Rot};

/// As long as a transition may take in peace,
const SETTLED_WITHIN: Duration = Duration::from_secs(120);
/// and where clocks were hours ahead: a deletion that was begun by such a clock counts as abandoned only when its time has
/// come, and until then the rows of its bucket wait.
const SETTLED_WITHIN_AFTER_WILD_CLOCKS: Duration = Duration::from_secs(3 * 60 * 60);

/// Puts layouts up for election, at random nodes, sometimes at two at once.
pub(crate) async fn again_and_again(world: &World, until: Duration) {
    let dice = &world.dice;
    while dice.now() < until && world.cluster.len() > 1 {
        dice.pause(world.shape.between_layouts).await;
        let at = dice.below(world.cluster.len());
        if dice.percent(20) {
            let rival = dice.below(world.cluster.len());
            tokio::join!(change(world, at), change(world, rival));
        } else {
            change(world, at).await;
        }
    }
}

async fn change(world: &World, at: usize) {
    let Some(next) = candidate(world, at) else { return };
    let (version, replicas) = (next.version.0, next.replication_factor);
    let outcome = match world.cluster.elect(at, next).await {
        Some(Ok(Elected::Won)) => "a layout was elected",
        Some(Ok(Elected::Lost(_))) => "a layout lost its election",
        Some(Err(ElectError::Unfit(_))) => "a layout had to wait",
        Some(Err(
            ElectError::Unreached
            | ElectError::Unknown
            | ElectError::Out(_)
            | ElectError::Changed
            | ElectError::Layouts(_),
        )) => "an election did not end",
        None => "a candidate's node was down",
    };
    world.tally.count(outcome);
    world.journal.harm(format!(
        "layout {version} with {replicas} replicas, from node {at}: {outcome}"
    ));
}

/// The layout after the newest that a node knows, drawn for each partition anew.
fn candidate(world: &World, at: usize) -> Option<Layout> {
    let dice = &world.dice;
    let known = world.cluster.layouts(at)?.now();
    let newest = known.peer.knowledge.newest()?;
    let members = world.cluster.members();
    let most = match world.shape.weather {
        Weather::Varied => members.len().min(5),
        Weather::Storm => members.len().min(3),
    };
    // What one disk lets rot must be elsewhere too.
    let least = if world.shape.rot == Rot::OneNode {
        3.min(most)
    } else {
        1
    };
    let replicas = match world.shape.weather {
        // Fewer have no minority that could lack anything.
        Weather::Storm if dice.percent(50) => most,
        Weather::Storm | Weather::Varied => least + dice.below(most - least + 1),
    };
    let everywhere = dice.percent(30).then(|| draw_places(world, members.len(), replicas));
    let places = |before: &Vec<u16>| match (&everywhere, world.shape.weather) {
        (Some(everywhere), _) => everywhere.clone(),
        (None, Weather::Varied) => draw_places(world, members.len(), replicas),
        (None, Weather::Storm) => draw_others(world, before, members.len(), replicas),
    };
    Some(Layout {
        version: newest.version.next(),
        previous: newest.hash(),
        replication_factor: u8::try_from(replicas).ok()?,
        assignment: newest.assignment.iter().map(places).collect(),
        members,
        ..newest.clone()
    })
}

fn draw_places(world: &World, members: usize, replicas: usize) -> Vec<u16> {
    let mut places: Vec<u16> = (0..u16::try_from(members).unwrap_or(u16::MAX)).collect();
    while places.len() > replicas {
        places.remove(world.dice.below(places.len()));
    }
    places
}

/// Places that have as few as possible in common with those before.
fn draw_others(world: &World, before: &[u16], members: usize, replicas: usize) -> Vec<u16> {
    let mut places = draw_places(world, members, members);
    places.retain(|place| !before.contains(place));
    let mut stayed = before.to_vec();
    while places.len() > replicas {
        places.remove(world.dice.below(places.len()));
    }
    while places.len() < replicas && !stayed.is_empty() {
        places.push(stayed.remove(world.dice.below(stayed.len())));
    }
    places.sort_unstable();
    places
}

/// In peace every transition comes to its end at every node.
pub(crate) async fn settle(world: &World) {
    let began = world.dice.now();
    let limit = match world.shape.clocks {
        Clocks::Near => SETTLED_WITHIN,
        Clocks::Wild => SETTLED_WITHIN_AFTER_WILD_CLOCKS,
    };
    while let Some(missing) = unsettled(world) {
        if world.dice.now() - began > limit {
            world
                .journal
                .complain(format!("in peace, a transition does not end: {missing}"));
            return;
        }
        let waited = world.dice.now() - began;
        world
            .dice
            .wait(waited.clamp(Duration::from_millis(500), Duration::from_secs(60)))
            .await;
    }
    if newest(world) > LayoutVersion(1) {
        world
            .tally
            .count("the last of several layouts was the only one in the end");
    }
}

/// Replicas of everything once all is settled.
pub(crate) fn replicas(world: &World) -> u8 {
    let layouts = world.cluster.layouts(0);
    let known = layouts.map(|layouts| layouts.now());
    let newest = known.as_ref().and_then(|known| known.peer.knowledge.newest());
    newest.map_or(0, |newest| newest.replication_factor)
}

fn newest(world: &World) -> LayoutVersion {
    let all = (0..world.cluster.len()).filter_map(|at| world.cluster.layouts(at));
    all.map(|layouts| layouts.now().newest()).max().unwrap_or_default()
}

/// What is not settled, in words.
fn unsettled(world: &World) -> Option<String> {
    let newest = newest(world);
    let mut waiting: BTreeMap<usize, usize> = BTreeMap::new();
    for at in 0..world.cluster.len() {
        let Some(layouts) = world.cluster.layouts(at) else {
            return Some(format!("node {at} is down"));
        };
        let known = layouts.now();
        let Some(layout) = known.peer.knowledge.layout(newest) else {
            return Some(format!("node {at} does not know layout {}", newest.0));
        };
        let me = known.peer.me;
        let is_settled = |partition| {
            let is_synced = !layout.holds(me, partition) || known.synced(partition, me) == newest;
            is_synced && known.peer.knowledge.view(partition).lo == newest
        };
        let open = layout.partitions().filter(|partition| !is_settled(*partition)).count();
        if open > 0 {
            waiting.insert(at, open);
        }
    }
    (!waiting.is_empty()).then(|| format!("partitions of layout {} that are open, by node: {waiting:?}", newest.0))
}
