//! How a block lies in its file: as it is, or compressed where that pays.
//!
//! Most of what people store is compressed already, and then trying costs time and brings nothing. So three samples are
//! compressed first, and the block only if they shrink enough; it is kept so only if it shrinks enough itself. A block's
//! name is that of its data, whatever their form: forms are a matter between this node and its disks, and over links
//! blocks travel as they are. A block that is sent is in memory for its check anyway, other nodes have other disks, and what
//! a node has not unpacked itself it would have to unpack before it believed it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use zstd::bulk;
use zstd::zstd_safe::get_frame_content_size;

use super::blocks::{BLOCK_MAX_BYTES, BlockName};

/// The highest level of compression that may be asked for; those above want more memory than they are worth.
pub const COMPRESSION_LEVEL_MAX: u64 = 19;
/// A compressed block is kept if it is smaller by this part, at least: an eighth.
const SAVES_AT_LEAST: usize = 8;
/// Blocks that are not longer are not compressed: they take a page of the file system as it is.
const TOO_SHORT_BYTES: usize = 4 << 10;
const SAMPLES: usize = 3;
const SAMPLE_BYTES: usize = 8 << 10;

/// How blocks are kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BlocksConfig {
    /// Whether new blocks are compressed where that saves at least an eighth.
    pub compression: Compression,
    /// How hard it is tried.
    pub compression_level: u64,
}

/// A way to compress blocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// They are kept as they are.
    #[default]
    None,
    /// Zstandard.
    Zstd,
}

impl Default for BlocksConfig {
    fn default() -> Self {
        Self {
            compression: Compression::default(),
            compression_level: 1,
        }
    }
}

/// What becomes of new blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    AsTheyAre,
    Zstd { level: i32 },
}

impl From<&BlocksConfig> for Packing {
    fn from(config: &BlocksConfig) -> Self {
        let level = config.compression_level.min(COMPRESSION_LEVEL_MAX);
        let level = i32::try_from(level).expect("the highest level is small");
        match config.compression {
            Compression::None => Packing::AsTheyAre,
            Compression::Zstd => Packing::Zstd { level },
        }
    }
}

impl Packing {
    /// What is written for these data.
    pub(super) fn pack(self, data: &[u8]) -> (Form, Cow<'_, [u8]>) {
        let packed = match self {
            Packing::AsTheyAre => None,
            Packing::Zstd { level } => pack(data, level),
        };
        match packed {
            Some(packed) => (Form::Zstd, Cow::Owned(packed)),
            None => (Form::Raw, Cow::Borrowed(data)),
        }
    }
}

fn pack(data: &[u8], level: i32) -> Option<Vec<u8>> {
    if data.len() <= TOO_SHORT_BYTES || !samples_shrink(data, level) {
        return None;
    }
    shrunk(data, level)
}

/// Whether pieces from the beginning, the middle and the end shrink; what begins like a film may end like one.
fn samples_shrink(data: &[u8], level: i32) -> bool {
    if data.len() <= 2 * SAMPLES * SAMPLE_BYTES {
        return true;
    }
    let step = (data.len() - SAMPLE_BYTES) / (SAMPLES - 1);
    let sample = |number: usize| &data[number * step..number * step + SAMPLE_BYTES];
    let samples: Vec<u8> = (0..SAMPLES).flat_map(sample).copied().collect();
    shrunk(&samples, level).is_some()
}

/// The data compressed, if that saves enough. If it cannot be done for want of memory, they are kept as they are.
fn shrunk(data: &[u8], level: i32) -> Option<Vec<u8>> {
    let packed = bulk::compress(data, level).ok()?;
    (packed.len() <= data.len() - data.len() / SAVES_AT_LEAST).then_some(packed)
}

/// How a block lies in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Raw,
    Zstd,
}

impl Form {
    pub(super) const ALL: [Form; 2] = [Form::Raw, Form::Zstd];

    pub(super) fn other(self) -> Form {
        match self {
            Form::Raw => Form::Zstd,
            Form::Zstd => Form::Raw,
        }
    }

    /// What follows the block's name in that of its file.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Form::Raw => "",
            Form::Zstd => ".zst",
        }
    }

    /// The block that a file of this name holds, in whatever form.
    pub(super) fn parse(file: &str) -> Option<BlockName> {
        BlockName::parse(file.strip_suffix(Form::Zstd.suffix()).unwrap_or(file))
    }

    /// The data in a file of this form; nothing if that is no such thing, or more than a block can be. Whatever the frame
    /// says of itself, no more memory is taken than for a block.
    pub(super) fn unpack(self, file: Vec<u8>) -> Option<Vec<u8>> {
        match self {
            Form::Raw => Some(file),
            Form::Zstd => {
                let said = get_frame_content_size(&file).ok()??;
                let bytes = usize::try_from(said).unwrap_or(usize::MAX).min(BLOCK_MAX_BYTES);
                bulk::decompress(&file, bytes).ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZSTD: Packing = Packing::Zstd { level: 1 };

    fn noise(bytes: usize) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(1);
        std::iter::repeat_with(|| random.u8(..)).take(bytes).collect()
    }

    fn text(bytes: usize) -> Vec<u8> {
        let lines = (0_u32..).flat_map(|number| format!("line {number} of a log\n").into_bytes());
        lines.take(bytes).collect()
    }

    #[test]
    fn what_shrinks_is_packed_and_comes_back() {
        for bytes in [TOO_SHORT_BYTES + 1, 64 << 10, 1 << 20, BLOCK_MAX_BYTES] {
            for level in [1, 3, 19] {
                let data = text(bytes);
                let (form, file) = Packing::Zstd { level }.pack(&data);
                assert_eq!(form, Form::Zstd);
                assert!(file.len() < bytes / 2, "{} of {bytes}", file.len());
                assert_eq!(form.unpack(file.into_owned()), Some(data));
            }
        }
    }

    #[test]
    fn what_does_not_shrink_enough_is_kept_as_it_is() {
        let mostly_noise = [noise(7 << 17), text(1 << 17)].concat();
        let noise_in_text = [text(SAMPLE_BYTES), noise(1 << 20), text(SAMPLE_BYTES)].concat();
        for data in [
            text(TOO_SHORT_BYTES),
            noise(64 << 10),
            noise(1 << 20),
            mostly_noise,
            noise_in_text,
            vec![],
        ] {
            let (form, file) = ZSTD.pack(&data);
            assert_eq!((form, file.as_ref()), (Form::Raw, data.as_slice()));
        }
        assert_eq!(Packing::AsTheyAre.pack(&text(1 << 20)).0, Form::Raw);
    }

    #[test]
    fn a_frame_is_not_believed() {
        let bomb = bulk::compress(&vec![0; 4 * BLOCK_MAX_BYTES], 1).unwrap();
        assert!(bomb.len() < 10_000);
        assert_eq!(Form::Zstd.unpack(bomb), None, "more than a block can be");
        let two = [
            bulk::compress(&[1; 100], 1).unwrap(),
            bulk::compress(&[2; 100], 1).unwrap(),
        ]
        .concat();
        assert_eq!(Form::Zstd.unpack(two), None, "more than the first frame says");
        let good = ZSTD.pack(&text(1 << 20)).1.into_owned();
        for length in [0, 1, 5, good.len() / 2, good.len() - 1] {
            assert_eq!(Form::Zstd.unpack(good[..length].to_vec()), None, "cut to {length}");
        }
        assert_eq!(Form::Zstd.unpack(noise(1000)), None);
        for bit in 0..64 {
            let mut wrong = good.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            // Whatever comes out is no larger than a block; the block's name tells whether it is right.
            assert!(
                Form::Zstd
                    .unpack(wrong)
                    .is_none_or(|data| data.len() <= BLOCK_MAX_BYTES)
            );
        }
    }
}
