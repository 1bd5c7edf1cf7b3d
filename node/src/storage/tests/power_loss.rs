//! What is left of the steps of a disk when the power goes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::Seeded;
use super::sim_disk::Node;
use crate::storage::files::parent;

const SECTOR_BYTES: usize = 512;

/// What of the unsynced is lost when the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// Nothing: also what `kill -9` leaves.
    Nothing,
    Everything,
    /// The data; names are there. New files are empty.
    Data,
    /// The names; new files are missing, removed ones back.
    Names,
    /// The newest writes of each file.
    Suffix,
    /// The newest writes of each file, and of the newest that was made some sectors.
    Torn,
    /// Each sector and each name by the toss of a coin.
    Scattered,
}

pub(super) const LOSSES: [Loss; 7] = [
    Loss::Nothing,
    Loss::Everything,
    Loss::Data,
    Loss::Names,
    Loss::Suffix,
    Loss::Torn,
    Loss::Scattered,
];

#[derive(Debug, Clone)]
pub(super) enum Step {
    Name(Name),
    Write { file: usize, offset: usize, data: Bytes },
    Resize { file: usize, bytes: usize },
    Sync { file: usize },
    FailedSync { file: usize },
    SyncFolder(PathBuf),
    Mark(u64),
}

impl Step {
    /// The file whose content or length it changes.
    pub(super) fn written(&self) -> Option<usize> {
        match self {
            Self::Write { file, .. } | Self::Resize { file, .. } => Some(*file),
            Self::Name(_) | Self::Sync { .. } | Self::FailedSync { .. } | Self::SyncFolder(_) | Self::Mark(_) => None,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) enum Name {
    Made(PathBuf, Node),
    Moved(PathBuf, PathBuf, Node),
    Gone(PathBuf),
}

impl Name {
    pub(super) fn folder(&self) -> &Path {
        match self {
            Self::Made(path, _) | Self::Moved(_, path, _) | Self::Gone(path) => parent(path),
        }
    }
}

/// The steps whose effect is found after a power cut, writes and names each in their order.
pub(super) fn keeps(steps: &[Step], loss: Loss, random: &Seeded) -> Vec<Step> {
    let synced = synced(steps);
    let mut kept = Vec::new();
    let mut cut_files = BTreeSet::new();
    for (index, step) in steps.iter().enumerate() {
        if synced.contains(&index) {
            kept.push(step.clone());
            continue;
        }
        match step {
            Step::Name(_) => match loss {
                Loss::Nothing | Loss::Data | Loss::Suffix | Loss::Torn => kept.push(step.clone()),
                Loss::Everything | Loss::Names => {}
                Loss::Scattered => kept.extend((random.below(2) == 0).then(|| step.clone())),
            },
            Step::Write { file, .. } | Step::Resize { file, .. } => match loss {
                Loss::Nothing | Loss::Names => kept.push(step.clone()),
                Loss::Everything | Loss::Data => {}
                Loss::Suffix | Loss::Torn => {
                    if cut_files.contains(file) {
                    } else if random.below(2) == 0 {
                        kept.push(step.clone());
                    } else {
                        cut_files.insert(*file);
                        kept.extend(
                            (loss == Loss::Torn)
                                .then(|| sectors(step, random))
                                .into_iter()
                                .flatten(),
                        );
                    }
                }
                Loss::Scattered => kept.extend(sectors(step, random)),
            },
            Step::Sync { .. } | Step::FailedSync { .. } | Step::SyncFolder(_) | Step::Mark(_) => {}
        }
    }
    kept
}

/// Which steps a later sync covers.
fn synced(steps: &[Step]) -> BTreeSet<usize> {
    let mut synced = BTreeSet::new();
    let mut unsynced: Vec<usize> = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let covers = |earlier: &Step| match (step, earlier) {
            (Step::Sync { file }, earlier) => earlier.written() == Some(*file),
            (Step::SyncFolder(folder), Step::Name(change)) => folder == change.folder(),
            (_, _) => false,
        };
        match step {
            Step::Sync { .. } | Step::SyncFolder(_) => {
                synced.extend(unsynced.iter().filter(|earlier| covers(&steps[**earlier])));
                unsynced.retain(|earlier| !covers(&steps[*earlier]));
            }
            Step::FailedSync { file } => unsynced.retain(|earlier| steps[*earlier].written() != Some(*file)),
            Step::Name(_) | Step::Write { .. } | Step::Resize { .. } => unsynced.push(index),
            Step::Mark(_) => {}
        }
    }
    synced
}

/// Some sectors of a write; a resize happens or not.
fn sectors(step: &Step, random: &Seeded) -> Vec<Step> {
    let Step::Write { file, offset, data } = step else {
        return if random.below(2) == 0 {
            vec![step.clone()]
        } else {
            Vec::new()
        };
    };
    let mut kept = Vec::new();
    let mut at = 0;
    while at < data.len() {
        let end = data
            .len()
            .min((offset + at + 1).next_multiple_of(SECTOR_BYTES) - offset);
        if random.below(2) == 0 {
            kept.push(Step::Write {
                file: *file,
                offset: offset + at,
                data: data.slice(at..end),
            });
        }
        at = end;
    }
    kept
}
