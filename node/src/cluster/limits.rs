//! Every limit of the driver, by name and with its unit.

use serde::{Deserialize, Serialize};
use trellis_spec::register::WriteMode;

use crate::storage::BLOCK_MAX_BYTES;

/// Limits of one node. All have defaults that suit a few nodes on ordinary links.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// What an unconditional write does that met something newer: `available` tries again, `strict` never does.
    pub unconditional_writes: WriteMode,
    /// No operation on a row waits longer for replicas.
    pub request_deadline_ms: u64,
    /// A replica that has not answered after this long is not waited for where its answer is not needed.
    pub patience_ms: u64,
    /// A reader that got no block from one replica after this long asks the next one as well.
    pub hedge_ms: u64,
    /// A lost or refused connection is tried again after this long within one operation.
    pub resend_pause_ms: u64,
    /// Replicas that were not needed for an acknowledgement are still sent to for this long.
    pub linger_ms: u64,
    /// The longest pause between two tries of competing conditional writes.
    pub contention_pause_max_ms: u64,
    /// Storing or fetching one block takes at most this long.
    pub block_deadline_ms: u64,
    /// Nodes tell each other this often how far they are and what time it is.
    pub greet_interval_ms: u64,
    /// Nodes tell each other this often which layouts they know, and at once when they learn something.
    pub tidings_interval_ms: u64,
    /// Partitions that are synced at a time.
    pub sync_parallelism: usize,
    /// A sync that did not come to its end is begun anew after this long.
    pub sync_pause_ms: u64,
    /// While clients are served, blocks are copied at this rate at most, all syncs of a node together.
    pub sync_busy_bytes_per_s: u64,
    /// A node compares what it holds with the other replicas this often, besides when it finds something damaged.
    pub repair_pause_ms: u64,
    /// When every block was read and compared with its name, this long passes before it is done again.
    pub scrub_pause_s: u64,
    /// Blocks are read for that at this rate, but when somebody asked for it.
    pub scrub_bytes_per_s: u64,
    /// A stamp may be ahead of a replica's clock by this much. Clocks that differ by more cannot coordinate.
    pub clock_skew_max_ms: u64,
    /// Objects up to this size travel inside their row.
    pub inline_max_bytes: usize,
    /// Larger ones are cut into blocks of this size.
    pub block_bytes: usize,
    /// Blocks of one upload that are on their way to replicas at a time.
    pub upload_window_blocks: usize,
    /// Blocks of one download that are fetched ahead.
    pub download_window_blocks: usize,
    /// Bytes of blocks in memory, all uploads together.
    pub blocks_in_flight_bytes: usize,
    /// Bytes of blocks fetched ahead, all downloads together; a download beyond it holds one block at a time.
    pub download_ahead_bytes: usize,
    /// Bytes of messages kept for replicas that were not needed for an acknowledgement.
    pub linger_bytes: usize,
    /// An upload must be finished within this time: after it, nothing that names its blocks is written any more, and
    /// not before it is over are they given up.
    pub upload_valid_s: u64,
    /// One of a size that is known gets this time at least,
    pub upload_least_s: u64,
    /// and as long as it takes at this rate.
    pub upload_slowest_kib_s: u64,
    /// A completion of a multipart upload must be done within this time, or is begun anew.
    pub completion_valid_ms: u64,
    /// Rows that one scan of a replica returns; one more than a page of a listing, so that a full page costs one scan.
    pub scan_max_rows: usize,
    /// Bytes that one scan of a replica returns, about.
    pub scan_max_bytes: usize,
    /// A listing that finds nothing to return looks on for at most this long.
    pub scan_deadline_ms: u64,
    /// Buckets and access keys are remembered for this long. What was written is never judged by a remembered bucket.
    pub control_cache_ms: u64,
    /// A bucket whose deletion did not come to an end within this time is opened again by whoever meets it.
    pub deletion_abandoned_ms: u64,
    /// The collector of blocks rests for this long between two rounds.
    pub collect_pause_ms: u64,
    /// The data of a block are deleted when nothing referred to it for this long: a download that takes longer than that
    /// after its object was deleted ends with an error.
    pub collect_grace_ms: u64,
    /// Rows that the collector asks about, and blocks that it deletes, per second.
    pub collect_steps_per_s: u64,
    /// What is left of a deleted object is forgotten when it is older than this.
    pub tombstone_age_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            unconditional_writes: WriteMode::Available,
            request_deadline_ms: 5_000,
            patience_ms: 150,
            hedge_ms: 60,
            resend_pause_ms: 50,
            linger_ms: 3_000,
            contention_pause_max_ms: 500,
            block_deadline_ms: 10_000,
            greet_interval_ms: 1_000,
            tidings_interval_ms: 1_000,
            sync_parallelism: 8,
            sync_pause_ms: 500,
            sync_busy_bytes_per_s: 32 << 20,
            repair_pause_ms: 600_000,
            scrub_pause_s: 7 * 24 * 3600,
            scrub_bytes_per_s: 4 << 20,
            clock_skew_max_ms: 10_000,
            inline_max_bytes: 64 << 10,
            block_bytes: 1 << 20,
            upload_window_blocks: 8,
            download_window_blocks: 6,
            blocks_in_flight_bytes: 64 << 20,
            download_ahead_bytes: 64 << 20,
            linger_bytes: 32 << 20,
            upload_valid_s: 24 * 3600,
            upload_least_s: 600,
            upload_slowest_kib_s: 64,
            completion_valid_ms: 30_000,
            scan_max_rows: 1_001,
            scan_max_bytes: 512 << 10,
            scan_deadline_ms: 30_000,
            control_cache_ms: 2_000,
            deletion_abandoned_ms: 15_000,
            collect_pause_ms: 60_000,
            collect_grace_ms: 600_000,
            collect_steps_per_s: 100,
            tombstone_age_s: 24 * 3600,
        }
    }
}

/// Limits that contradict each other or what links and disks accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} = {value} is out of range: it must be between {least} and {most}")]
pub struct LimitError {
    /// The limit.
    pub name: &'static str,
    /// Its value.
    pub value: usize,
    /// The least it may be.
    pub least: usize,
    /// The most it may be.
    pub most: usize,
}

impl Limits {
    /// Refuses limits under which a node could not work.
    pub fn check(&self) -> Result<(), LimitError> {
        let within = |name, value, least, most| match value {
            value if (least..=most).contains(&value) => Ok(()),
            value => Err(LimitError {
                name,
                value,
                least,
                most,
            }),
        };
        within("inline_max_bytes", self.inline_max_bytes, 0, 512 << 10)?;
        within("block_bytes", self.block_bytes, 64 << 10, BLOCK_MAX_BYTES)?;
        within("upload_window_blocks", self.upload_window_blocks, 1, 1024)?;
        within("download_window_blocks", self.download_window_blocks, 1, 1024)?;
        within(
            "blocks_in_flight_bytes",
            self.blocks_in_flight_bytes,
            self.block_bytes,
            usize::MAX,
        )?;
        within(
            "tombstone_age_s",
            self.tombstone_age(),
            self.tombstone_age_least(),
            TOMBSTONE_AGE_MAX_S,
        )?;
        within("scan_max_rows", self.scan_max_rows, 1, 100_000)?;
        within("scan_max_bytes", self.scan_max_bytes, 1, 768 << 10)
    }
}

/// A year.
const TOMBSTONE_AGE_MAX_S: usize = 365 * 24 * 3600;
/// By how much tombstones must outlive the difference of clocks.
const TOMBSTONE_AGE_SKEWS: u64 = 6;

impl Limits {
    fn tombstone_age(&self) -> usize {
        usize::try_from(self.tombstone_age_s).unwrap_or(usize::MAX)
    }

    /// Clocks that differ must not meet floors with what they write: that would cost every such write a round trip.
    fn tombstone_age_least(&self) -> usize {
        let least_s = self
            .clock_skew_max_ms
            .saturating_mul(TOMBSTONE_AGE_SKEWS)
            .div_ceil(1000);
        usize::try_from(least_s).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tombstones_outlive_the_difference_of_clocks() {
        let aged = |tombstone_age_s, clock_skew_max_ms| Limits {
            tombstone_age_s,
            clock_skew_max_ms,
            ..Limits::default()
        };
        assert_eq!(aged(60, 10_000).check(), Ok(()));
        for unfit in [aged(59, 10_000), aged(60, 10_001), aged(u64::MAX, 10_000)] {
            assert!(unfit.check().is_err_and(|error| error.name == "tombstone_age_s"));
        }
    }

    #[test]
    fn the_defaults_are_in_range_and_nonsense_is_not() {
        assert_eq!(Limits::default().check(), Ok(()));
        let endless = Limits {
            block_bytes: 0,
            ..Limits::default()
        };
        assert!(endless.check().is_err_and(|error| error.name == "block_bytes"));
    }
}
