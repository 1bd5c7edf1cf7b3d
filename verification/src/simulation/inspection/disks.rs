//! What lies on the simulated disks, found by keys.

use std::sync::Arc;

use trellis_node::cluster::{Known, decode};
use trellis_spec::layout::{Layout, LayoutVersion, Partition};
use trellis_spec::register::Cell;
use trellis_spec::row::{Block, Object, Row, RowKey, VersionId};
use trellis_spec::stamp::Stamp;

use crate::simulation::World;
use crate::stored;

/// What a node that is up knows of layouts.
pub(super) fn known(world: &World, at: usize) -> Option<Arc<Known>> {
    Some(world.cluster.layouts(at)?.now())
}

pub(super) fn nodes_of(world: &World, layout: &Layout, partition: Partition) -> Vec<usize> {
    let replicas = layout.replicas(partition).into_iter();
    replicas.filter_map(|node| world.cluster.at(node)).collect()
}

/// What lies of a row on all disks, since whenever its nodes entered.
pub(super) fn cells(world: &World, known: &Known, partition: Partition, row: &RowKey) -> Vec<Cell<Row>> {
    let layouts = known.peer.knowledge.since(LayoutVersion::default());
    let versions: Vec<LayoutVersion> = layouts.map(|layout| layout.version).collect();
    let nodes = 0..world.cluster.len();
    let of_node = |at| {
        versions
            .iter()
            .filter_map(move |entered| cell(world, at, partition, *entered, row))
    };
    nodes.flat_map(of_node).collect()
}

/// What a crash would leave of a row.
pub(super) fn cell(
    world: &World,
    at: usize,
    partition: Partition,
    entered: LayoutVersion,
    row: &RowKey,
) -> Option<Cell<Row>> {
    let stored = world.cluster.rows(at).durable(&stored::row(partition, entered, row))?;
    decode(&stored).ok()
}

pub(super) fn floor(world: &World, at: usize, partition: Partition, entered: LayoutVersion) -> Stamp {
    let stored = world.cluster.rows(at).durable(&stored::floor(partition, entered));
    stored.and_then(|stored| decode(&stored).ok()).unwrap_or(Stamp::ZERO)
}

/// Has a node the block and, for this version, the reference to it?
pub(super) fn keeps(world: &World, at: usize, partition: Partition, block: &Block, version: VersionId) -> bool {
    let reference = stored::reference(partition, block.name, version);
    world.cluster.rows(at).durable(&reference).is_some() && has_data(world, at, block)
}

pub(super) fn has_data(world: &World, at: usize, block: &Block) -> bool {
    world.cluster.block_disk(at).has(block.name)
}

pub(super) fn stamp(cell: &Cell<Row>) -> Stamp {
    cell.accepted.as_ref().map_or(Stamp::ZERO, |held| held.ballot)
}

pub(super) fn object_of(cell: &Cell<Row>) -> Option<&Object> {
    match cell.accepted.as_ref()?.content.live()? {
        Row::Object(object) => Some(object),
        Row::Upload(_) | Row::Part(_) | Row::Manifest(_) | Row::Gate(_) => None,
        Row::Bucket(_) | Row::Name(_) | Row::AccessKey(_) => None,
    }
}

pub(super) fn tag_of(cell: &Cell<Row>) -> Option<&str> {
    object_of(cell).map(|object| object.etag.as_str())
}

pub(super) fn version_of(cell: &Cell<Row>) -> Option<VersionId> {
    object_of(cell).map(|object| object.version)
}

pub(super) fn shown(row: &RowKey) -> String {
    // The table, and the identity of the bucket.
    String::from_utf8_lossy(row.get(17..).unwrap_or_default()).into_owned()
}
