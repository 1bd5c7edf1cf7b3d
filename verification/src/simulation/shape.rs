//! What a run is like: drawn first, so that runs differ in more than in their luck.
//!
//! In a storm nobody's clock is wrong, no block rots and no tombstone is forgotten, so that what lies on the disks can be
//! held against what clients were told, at every moment ([`super::inspection`]).

use std::collections::BTreeSet;
use std::time::Duration;

use trellis_node::cluster::Limits;
use trellis_spec::register::WriteMode;

use super::dice::Dice;
use super::setup::{Field, Setup, Weather};

/// The longest that flushes take, in runs with fast, ordinary and slow disks.
const FLUSHES_MAX: [Duration; 3] = [
    Duration::from_millis(3),
    Duration::from_millis(30),
    Duration::from_millis(300),
];
/// Flushes that one operation may have to wait for in peace: a read that settles what an unanswered write left behind has
/// four rounds, and each may come just after a flush began.
const ROUNDS: u32 = 8;

/// Partitions of rows, and as many of blocks.
const PARTITIONS: u32 = 16;
/// Where nothing else is drawn.
const BETWEEN_LAYOUTS_MAX: Duration = Duration::from_secs(8);
const DOWN_MAX: Duration = Duration::from_secs(4);
const EPOCH: Duration = Duration::from_secs(4);

/// The sizes and habits of one run.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) weather: Weather,
    pub(crate) nodes: usize,
    /// In the first layout.
    pub(crate) replicas: u8,
    pub(crate) partitions: u32,
    pub(crate) clients: u32,
    /// Keys in use at a time.
    pub(crate) keys: usize,
    /// How long harm is done.
    pub(crate) safety: Duration,
    /// The longest pause between two harms, the longer the calmer.
    pub(crate) calm: Duration,
    /// The longest pause between two layouts.
    pub(crate) between_layouts: Duration,
    /// The longest that a node is down.
    pub(crate) down: Duration,
    /// For how long one set of keys is in use: a deletion of unknown outcome may take effect at any later time, and then
    /// nothing can be said any more about a missing object.
    pub(crate) epoch: Duration,
    /// How long a client thinks.
    pub(crate) thinking: Duration,
    pub(crate) clocks: Clocks,
    pub(crate) rot: Rot,
    /// The longest that a flush takes.
    pub(crate) flush: Duration,
    pub(crate) spared: BTreeSet<Field>,
    pub(crate) limits: Limits,
}

/// How wrong clocks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clocks {
    /// Within what a cluster is said to cope with.
    Near,
    /// By hours.
    Wild,
}

/// Whether blocks rot on the disk of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rot {
    None,
    OneNode,
}

impl Shape {
    pub(crate) fn draw(dice: &Dice, setup: &Setup) -> Self {
        match setup.weather {
            Weather::Varied => Shape::varied(dice, setup),
            Weather::Storm => Shape::storm(dice, setup),
        }
    }

    fn varied(dice: &Dice, setup: &Setup) -> Self {
        let (nodes, scale) = (setup.nodes, &setup.scale);
        let most = u8::try_from(nodes).unwrap_or(u8::MAX);
        let replicas = if most > 3 && dice.percent(50) {
            5.min(most)
        } else {
            3.min(most)
        };
        let flush = *dice.pick(&FLUSHES_MAX);
        let clocks = if dice.percent(20) { Clocks::Wild } else { Clocks::Near };
        Shape {
            weather: Weather::Varied,
            nodes,
            replicas,
            partitions: PARTITIONS,
            clients: u32::try_from(dice.between(3, 9)).unwrap_or(3).min(scale.clients_max),
            keys: (dice.below(6) + 2).min(scale.keys_max),
            safety: Duration::from_secs(dice.between(10, 30)).min(scale.safety_max()),
            calm: Duration::from_millis(dice.between(300, 3_000)),
            between_layouts: BETWEEN_LAYOUTS_MAX,
            down: DOWN_MAX,
            epoch: EPOCH,
            thinking: Duration::from_millis(dice.between(5, 100)),
            clocks,
            rot: if replicas >= 3 && dice.percent(20) {
                Rot::OneNode
            } else {
                Rot::None
            },
            flush,
            spared: scale.spared.clone(),
            limits: limits(dice, flush, clocks),
        }
    }

    /// More nodes than replicas, so that consecutive layouts have few of them in common.
    fn storm(dice: &Dice, setup: &Setup) -> Self {
        let (nodes, scale) = (setup.nodes, &setup.scale);
        let most = u8::try_from(nodes).unwrap_or(u8::MAX).min(3);
        let flush = *dice.pick(&FLUSHES_MAX);
        Shape {
            weather: Weather::Storm,
            nodes,
            replicas: *dice.pick(&[1, most.min(2), most, most]),
            partitions: *dice.pick(&[1, 2]),
            clients: u32::try_from(dice.between(6, 10)).unwrap_or(6).min(scale.clients_max),
            keys: (dice.below(3) + 1).min(scale.keys_max),
            safety: Duration::from_millis(dice.between(3_000, 6_000)).min(scale.safety_max()),
            calm: Duration::from_millis(dice.between(100, 1_000)),
            between_layouts: Duration::from_millis(*dice.pick(&[300, 1_000, 3_000])),
            down: Duration::from_millis(800),
            epoch: Duration::from_millis(dice.between(400, 2_000)),
            thinking: Duration::from_millis(dice.between(2, 40)),
            clocks: Clocks::Near,
            rot: Rot::None,
            flush,
            spared: scale.spared.clone(),
            limits: storm_limits(dice, flush),
        }
    }
}

impl Shape {
    /// Nodes that do what a scenario says, without any harm.
    pub(crate) fn on_stage(nodes: usize, replicas: u8, weather: Weather, limits: Limits) -> Self {
        Shape {
            weather,
            nodes,
            replicas,
            partitions: PARTITIONS,
            clients: 0,
            keys: 0,
            safety: Duration::ZERO,
            calm: Duration::ZERO,
            between_layouts: Duration::ZERO,
            down: Duration::ZERO,
            epoch: EPOCH,
            thinking: Duration::ZERO,
            clocks: Clocks::Near,
            rot: Rot::None,
            flush: Duration::ZERO,
            spared: BTreeSet::new(),
            limits,
        }
    }
}

/// Everything smaller than in life, so that more fits into a run.
fn limits(dice: &Dice, flush: Duration, clocks: Clocks) -> Limits {
    Limits {
        unconditional_writes: *dice.pick(&[WriteMode::Available, WriteMode::Available, WriteMode::Strict]),
        tombstone_age_s: match clocks {
            Clocks::Near => *dice.pick(&[1, 1, 5]),
            // Longer than clocks are ahead: a floor that is hours ahead refuses larger bodies until its time has come.
            Clocks::Wild => 24 * 3600,
        },
        request_deadline_ms: dice.between(500, 3_000) + rounds_ms(flush),
        block_deadline_ms: 3_000,
        inline_max_bytes: 256,
        block_bytes: *dice.pick(&[512, 4_096]),
        upload_window_blocks: 3,
        download_window_blocks: 2,
        blocks_in_flight_bytes: 96 << 10,
        download_ahead_bytes: 64 << 10,
        linger_bytes: 64 << 10,
        completion_valid_ms: *dice.pick(&[1_000, 5_000]),
        scan_max_bytes: *dice.pick(&[2 << 10, 512 << 10]),
        scan_deadline_ms: 3_000,
        scan_max_rows: *dice.pick(&[4, 1_000]),
        control_cache_ms: *dice.pick(&[200, 2_000]),
        deletion_abandoned_ms: *dice.pick(&[1_000, 5_000]),
        repair_pause_ms: *dice.pick(&[2_000, 60_000]),
        scrub_pause_s: *dice.pick(&[2, 60]),
        upload_valid_s: *dice.pick(&[20, 24 * 3600]),
        upload_least_s: *dice.pick(&[10, 600]),
        collect_pause_ms: *dice.pick(&[500, 60_000]),
        collect_grace_ms: *dice.pick(&[1_000, 30_000]),
        collect_steps_per_s: 10_000,
        ..Limits::default()
    }
}

fn rounds_ms(flush: Duration) -> u64 {
    u64::try_from((ROUNDS * flush).as_millis()).unwrap_or(u64::MAX)
}

/// Transitions that take a moment or as long as harm does, and requests that end before what is late comes.
fn storm_limits(dice: &Dice, flush: Duration) -> Limits {
    Limits {
        tombstone_age_s: 24 * 3600,
        block_deadline_ms: *dice.pick(&[400, 1_500, 3_000]) + rounds_ms(flush),
        sync_pause_ms: *dice.pick(&[50, 500]),
        collect_pause_ms: *dice.pick(&[200, 2_000]),
        collect_grace_ms: 1_000,
        ..limits(dice, flush, Clocks::Near)
    }
}
