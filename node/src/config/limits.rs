//! Limits that would stop a node from working, or that contradict each other.

use std::ops::RangeInclusive;

use super::{BadValue, Config, bad};
use crate::storage::COMPRESSION_LEVEL_MAX;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const DAY_MS: u64 = 24 * 3600 * 1000;

/// Refuses a configuration with which no node could work.
pub(super) fn check(config: &Config) -> Result<(), BadValue> {
    for (key, value, range) in ranges(config) {
        if !range.contains(&value) {
            let problem = format!("{value} is not between {} and {}", range.start(), range.end());
            return Err(bad(key, problem));
        }
    }
    let timing = &config.links.timing;
    if timing.beat_interval_ms > timing.peer_silence_ms / 2 {
        let problem = "must be at most half of peer_silence_ms, or one lost beat ends a connection";
        return Err(bad("links.timing.beat_interval_ms", problem));
    }
    if timing.reconnect_min_ms > timing.reconnect_max_ms {
        return Err(bad(
            "links.timing.reconnect_min_ms",
            "must not be above reconnect_max_ms",
        ));
    }
    let checked = config.limits.check();
    checked.map_err(|error| bad(format!("limits.{}", error.name), error))
}

/// Each number with what it may be, but for those that [`Limits::check`](crate::cluster::Limits::check) knows.
fn ranges(config: &Config) -> Vec<(&'static str, u64, RangeInclusive<u64>)> {
    let (s3, timing, limits, storage) = (&config.s3, &config.links.timing, &config.limits, &config.storage);
    vec![
        ("trace_percent", u64::from(config.trace_percent), 1..=100),
        ("trace_max_bytes", config.trace_max_bytes, 16 * MIB..=TIB),
        ("s3.header_max_bytes", s3.header_max_bytes as u64, 8 * KIB..=MIB),
        ("s3.xml_max_bytes", s3.xml_max_bytes, 64 * KIB..=64 * MIB),
        ("s3.header_read_timeout_ms", s3.header_read_timeout_ms, 100..=DAY_MS),
        ("s3.body_idle_timeout_ms", s3.body_idle_timeout_ms, 100..=DAY_MS),
        ("s3.shutdown_grace_ms", s3.shutdown_grace_ms, 0..=DAY_MS),
        ("s3.delete_parallelism", s3.delete_parallelism as u64, 1..=1000),
        ("links.timing.peer_silence_ms", timing.peer_silence_ms, 100..=600_000),
        ("links.timing.beat_interval_ms", timing.beat_interval_ms, 10..=300_000),
        (
            "links.timing.handshake_timeout_ms",
            timing.handshake_timeout_ms,
            100..=600_000,
        ),
        ("links.timing.reconnect_min_ms", timing.reconnect_min_ms, 1..=600_000),
        ("links.timing.reconnect_max_ms", timing.reconnect_max_ms, 1..=600_000),
        ("links.timing.close_grace_ms", timing.close_grace_ms, 0..=600_000),
        ("limits.request_deadline_ms", limits.request_deadline_ms, 100..=600_000),
        ("limits.patience_ms", limits.patience_ms, 1..=60_000),
        ("limits.hedge_ms", limits.hedge_ms, 1..=60_000),
        ("limits.resend_pause_ms", limits.resend_pause_ms, 1..=60_000),
        ("limits.linger_ms", limits.linger_ms, 0..=600_000),
        (
            "limits.contention_pause_max_ms",
            limits.contention_pause_max_ms,
            1..=60_000,
        ),
        ("limits.block_deadline_ms", limits.block_deadline_ms, 100..=600_000),
        ("limits.greet_interval_ms", limits.greet_interval_ms, 100..=60_000),
        ("limits.tidings_interval_ms", limits.tidings_interval_ms, 100..=60_000),
        ("limits.sync_parallelism", limits.sync_parallelism as u64, 1..=256),
        ("limits.sync_pause_ms", limits.sync_pause_ms, 10..=600_000),
        ("limits.sync_busy_bytes_per_s", limits.sync_busy_bytes_per_s, KIB..=TIB),
        ("limits.repair_pause_ms", limits.repair_pause_ms, 10..=DAY_MS),
        ("limits.scrub_pause_s", limits.scrub_pause_s, 1..=365 * DAY_MS / 1000),
        ("limits.scrub_bytes_per_s", limits.scrub_bytes_per_s, KIB..=TIB),
        ("limits.clock_skew_max_ms", limits.clock_skew_max_ms, 100..=DAY_MS),
        (
            "limits.blocks_in_flight_bytes",
            limits.blocks_in_flight_bytes as u64,
            MIB..=TIB,
        ),
        (
            "limits.download_ahead_bytes",
            limits.download_ahead_bytes as u64,
            0..=TIB,
        ),
        ("limits.linger_bytes", limits.linger_bytes as u64, 0..=TIB),
        ("limits.upload_valid_s", limits.upload_valid_s, 1..=365 * DAY_MS / 1000),
        ("limits.upload_least_s", limits.upload_least_s, 1..=365 * DAY_MS / 1000),
        ("limits.upload_slowest_kib_s", limits.upload_slowest_kib_s, 1..=GIB),
        ("limits.completion_valid_ms", limits.completion_valid_ms, 1000..=DAY_MS),
        ("limits.scan_deadline_ms", limits.scan_deadline_ms, 100..=DAY_MS),
        ("limits.control_cache_ms", limits.control_cache_ms, 0..=DAY_MS),
        (
            "limits.deletion_abandoned_ms",
            limits.deletion_abandoned_ms,
            1000..=DAY_MS,
        ),
        ("limits.collect_pause_ms", limits.collect_pause_ms, 10..=DAY_MS),
        ("limits.collect_grace_ms", limits.collect_grace_ms, 0..=30 * DAY_MS),
        ("limits.collect_steps_per_s", limits.collect_steps_per_s, 1..=1_000_000),
        (
            "blocks.compression_level",
            config.blocks.compression_level,
            1..=COMPRESSION_LEVEL_MAX,
        ),
        ("storage.min_free_bytes", storage.min_free_bytes, 0..=1 << 50),
        ("storage.reserve_bytes", storage.reserve_bytes, 0..=1 << 50),
        ("storage.segment_bytes", storage.segment_bytes, MIB..=GIB),
        ("storage.waste_bytes", storage.waste_bytes, MIB..=1 << 50),
        ("storage.cache_bytes", storage.cache_bytes, MIB..=1 << 50),
    ]
}
