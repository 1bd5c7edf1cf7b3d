//! The truth about redundancy: what lies in the data folders of all nodes at one moment, compared row by row.
//!
//! It is read from copies of the folders that were made while every process was stopped in its tracks, by the node's own
//! storage, but by none of its code that judges redundancy.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use trellis_node::cluster::{Layouts, decode};
use trellis_node::env::Env;
use trellis_node::folder::read_name;
use trellis_node::storage::{BlockFiles, BlockSetup, Blocks, BlocksConfig, DataFolder, DiskRows, Rows, RowsConfig};
use trellis_spec::layout::{Knowledge, Layout, Partition};
use trellis_spec::peer::Peer;
use trellis_spec::quorum::{NodeId, majority};
use trellis_spec::register::Cell;
use trellis_spec::row::{Block, Row};
use trellis_spec::stamp::Stamp;

use crate::stored::{ROWS, blocks_of, parse};

/// More rows than any run writes.
const ROWS_MAX: usize = 10_000_000;
/// So many of what is missing are named.
const NAMED_MAX: usize = 5;

/// What one node has on its disk.
struct Copy {
    me: NodeId,
    knowledge: Knowledge,
    rows: BTreeMap<(Partition, Vec<u8>), Cell<Row>>,
    blocks: BlockFiles,
}

/// What a comparison showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// Rows that a majority of their replicas holds.
    pub rows: usize,
    /// Blocks of current objects.
    pub blocks: usize,
    /// What some replica should hold and does not, a few of all.
    pub missing: Vec<String>,
}

/// Compares the copies in these data folders, which no process uses.
pub(super) async fn compare(folders: &[&Path]) -> io::Result<Truth> {
    let copies: Vec<Copy> = folders
        .iter()
        .map(|folder| Copy::read(folder))
        .collect::<io::Result<_>>()?;
    let newest = copies.iter().filter_map(|copy| copy.knowledge.newest());
    let newest = newest
        .max_by_key(|layout| layout.version)
        .ok_or(io::ErrorKind::NotFound)?;
    let mut truth = Truth::default();
    let keys: BTreeSet<&(Partition, Vec<u8>)> = copies.iter().flat_map(|copy| copy.rows.keys()).collect();
    let mut blocks = BTreeSet::new();
    for (partition, key) in keys {
        let replicas: Vec<Option<&Copy>> = replicas(newest, *partition, &copies);
        let cells: Vec<Option<&Cell<Row>>> = replicas
            .iter()
            .map(|copy| copy.and_then(|copy| copy.rows.get(&(*partition, key.clone()))))
            .collect();
        let Some(held) = held_by_majority(&cells) else { continue };
        truth.rows += 1;
        blocks.extend(blocks_of(held));
        if !cells.iter().all(|cell| is_as_new(*cell, held)) {
            truth.misses(format!(
                "a row of partition {} ({})",
                partition.0,
                String::from_utf8_lossy(key)
            ));
        }
    }
    for Block { name, .. } in blocks {
        truth.blocks += 1;
        for copy in replicas(newest, newest.block_partition_of(&name.0), &copies) {
            let has = match copy {
                Some(copy) => copy.blocks.has(name).await.map_err(io::Error::other)?,
                None => false,
            };
            if !has {
                truth.misses(format!("block {name}"));
            }
        }
    }
    Ok(truth)
}

impl Truth {
    fn misses(&mut self, what: String) {
        if self.missing.len() < NAMED_MAX {
            self.missing.push(what);
        }
    }
}

impl Copy {
    fn read(folder: &Path) -> io::Result<Self> {
        let name = read_name(folder).map_err(io::Error::other)?;
        let me = name.id();
        let data = DataFolder::open(folder).map_err(io::Error::other)?;
        let (config, env) = (RowsConfig::default(), Env::real());
        let (rows, _) = DiskRows::open(&data, config, env.random.clone()).map_err(io::Error::other)?;
        let rows: Arc<dyn Rows> = Arc::new(rows);
        let knowledge = Knowledge::default();
        let layouts = Layouts::open(env.clone(), rows.clone(), Peer { me, knowledge }).map_err(io::Error::other)?;
        let knowledge = layouts.knowledge();
        let found = rows.scan(&[ROWS], &[ROWS + 1], ROWS_MAX).map_err(io::Error::other)?;
        let mut read = BTreeMap::new();
        for (physical, value) in found.value {
            let (partition, entered, key) = parse(&physical).ok_or(io::ErrorKind::InvalidData)?;
            if knowledge.entered(me, partition) == Some(entered) {
                read.insert((partition, key), decode(&value).map_err(io::Error::other)?);
            }
        }
        let blocks = BlockSetup {
            node: name.disk,
            folders: Vec::new(),
            min_free_bytes: 0,
            config: BlocksConfig::default(),
        };
        Ok(Copy {
            me,
            knowledge,
            rows: read,
            blocks: BlockFiles::open(&data, &blocks, &*env.random).map_err(io::Error::other)?,
        })
    }
}

/// The copies that a layout wants of a partition; nothing for one that is not there.
fn replicas<'a>(layout: &Layout, partition: Partition, copies: &'a [Copy]) -> Vec<Option<&'a Copy>> {
    let of = |node: NodeId| copies.iter().find(|copy| copy.me == node);
    layout.replicas(partition).into_iter().map(of).collect()
}

fn stamp(cell: Option<&Cell<Row>>) -> Stamp {
    cell.and_then(|cell| cell.accepted.as_ref())
        .map_or(Stamp::ZERO, |held| held.ballot)
}

/// The newest value that a majority holds, or something newer than it: whatever was acknowledged is no newer.
fn held_by_majority<'a>(cells: &[Option<&'a Cell<Row>>]) -> Option<&'a Cell<Row>> {
    let mut newest_first = cells.to_vec();
    newest_first.sort_by_key(|cell| std::cmp::Reverse(stamp(*cell)));
    let held = newest_first.get(majority(cells.len()) - 1).copied().flatten()?;
    held.accepted.is_some().then_some(held)
}

/// Does a replica hold this, or something newer? That something was deleted may be forgotten.
fn is_as_new(cell: Option<&Cell<Row>>, held: &Cell<Row>) -> bool {
    let is_deleted = held.accepted.as_ref().is_some_and(|held| held.content.live().is_none());
    let holds_nothing = cell.is_none_or(|cell| cell.accepted.is_none());
    stamp(cell) >= stamp(Some(held)) || is_deleted && holds_nothing
}

#[cfg(test)]
mod tests {
    use super::*;
    use trellis_spec::register::{Accepted, Content, OpId};
    use trellis_spec::row::{BucketId, BucketName};

    fn cell(stamp: u64, is_live: bool) -> Cell<Row> {
        let bucket = BucketId([1; 16]);
        let accepted = Accepted {
            ballot: Stamp::new(stamp, 1),
            op: OpId([1; 16]),
            base: None,
            content: match is_live {
                true => Content::Value(Row::Name(BucketName { bucket })),
                false => Content::Tombstone,
            },
        };
        Cell {
            promised: Stamp::ZERO,
            accepted: Some(accepted),
        }
    }

    #[test]
    fn what_a_majority_holds_is_wanted_of_all() {
        let (old, new, gone) = (cell(1, true), cell(2, true), cell(3, false));
        let missing = |cells: &[Option<&Cell<Row>>]| {
            held_by_majority(cells).is_some_and(|held| !cells.iter().all(|cell| is_as_new(*cell, held)))
        };
        assert!(
            !missing(&[Some(&old), Some(&old), Some(&new)]),
            "a minority's value may not have been acknowledged"
        );
        assert!(missing(&[Some(&new), Some(&old), Some(&new)]));
        assert!(missing(&[Some(&new), None, Some(&new)]));
        assert!(!missing(&[Some(&gone), None, Some(&gone)]));
        assert!(missing(&[Some(&gone), Some(&new), Some(&gone)]), "it would come back");
        assert!(!missing(&[None, None, Some(&new)]));
    }
}
