//! What a run is like: drawn first, so that runs differ in more than in their luck.

use std::collections::BTreeSet;
use std::time::Duration;

use trellis_node::cluster::Limits;
use trellis_spec::register::WriteMode;

use super::dice::Dice;
use super::setup::{Field, Setup};

/// The longest that flushes take, in runs with fast, ordinary and slow disks.
const FLUSHES_MAX: [Duration; 3] = [
    Duration::from_millis(3),
    Duration::from_millis(30),
    Duration::from_millis(300),
];
/// Flushes that one operation may have to wait for in peace: a read that settles what an unanswered write left behind has
/// four rounds, and each may come just after a flush began.
const ROUNDS: u32 = 8;

/// The sizes and habits of one run.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) nodes: usize,
    pub(crate) replicas: u8,
    pub(crate) clients: u32,
    /// Keys in use at a time.
    pub(crate) keys: usize,
    /// How long harm is done.
    pub(crate) safety: Duration,
    /// The longest pause between two harms, the longer the calmer.
    pub(crate) calm: Duration,
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
            nodes,
            replicas,
            clients: u32::try_from(dice.between(3, 9)).unwrap_or(3).min(scale.clients_max),
            keys: (dice.below(6) + 2).min(scale.keys_max),
            safety: Duration::from_secs(dice.between(10, 30)).min(scale.safety_max()),
            calm: Duration::from_millis(dice.between(300, 3_000)),
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
}

impl Shape {
    /// Nodes that do what a scenario says, without any harm.
    pub(crate) fn on_stage(nodes: usize, replicas: u8, limits: Limits) -> Self {
        Shape {
            nodes,
            replicas,
            clients: 0,
            keys: 0,
            safety: Duration::ZERO,
            calm: Duration::ZERO,
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
    let rounds_ms = u64::try_from((ROUNDS * flush).as_millis()).unwrap_or(u64::MAX);
    Limits {
        unconditional_writes: *dice.pick(&[WriteMode::Available, WriteMode::Available, WriteMode::Strict]),
        tombstone_age_s: match clocks {
            Clocks::Near => *dice.pick(&[1, 1, 5]),
            // Longer than clocks are ahead: a floor that is hours ahead refuses larger bodies until its time has come.
            Clocks::Wild => 24 * 3600,
        },
        request_deadline_ms: dice.between(500, 3_000) + rounds_ms,
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
