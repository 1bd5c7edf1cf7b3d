//! C7 and C7r: where the copies are.

use trellis_spec::flaw::Flaw;

use super::c6_transition::{exchange, overlap, there_and_back, three, transit, two};
use super::{Claim, Mutant, Size};
use crate::world::{DiskLoss, Disks, Settlers, Snapshots, World};

pub(super) fn claim() -> Claim {
    Claim {
        name: "C7",
        sentence: "Every acknowledged value, or a newer one, is on a majority of the oldest active layout (I3), and at every \
                   node that says it is synced (I2); when a node drops a partition, it is at every new owner (C7r, I4).",
        source: "own; the invariants of protocols across layouts",
        sizes: vec![
            Size::small("W", "AB, then BC", 96_563, two),
            Size::small("W", "A, B, C", 40_676, one_by_one),
            Size::walk("W;W@1", "ABC, then ADE, one row a page", 3_000, 112_434, paged),
            Size::walk("W|INM", "AB, then BC, nodes crash", 6_000, 170_558, crashing),
            Size::walk("W|INM", "ABC, then BCD, a damaged disk", 3_000, 114_500, damaged),
            Size::near("W", "ABC, then BCD", overlap),
            Size::large("INM", "AB, then BC", 7_116_887, two),
            Size::long_walk(
                "W|INM",
                "ABC, then BCD, nodes crash, many walks",
                2_119_629,
                crashing_overlap,
            ),
            Size::long_walk(
                "W|INM|R",
                "ABC, then BCD, a damaged disk, many walks",
                2_254_709,
                damaged,
            ),
        ],
        mutants: vec![
            rule(
                "no-view-on-requests",
                "a request says under which layouts it was sent",
                Flaw::NoViewOnRequests,
            ),
            rule(
                "serves-older-hi",
                "a replica refuses requests under an older newest layout, also those of a node without a role",
                Flaw::ServesOlderHi,
            ),
            rule(
                "view-not-adopted",
                "a replica adopts a request's view before it serves it",
                Flaw::ViewNotAdopted,
            ),
            rule(
                "pull-does-not-wedge",
                "a pull makes its source adopt the puller's view",
                Flaw::PullDoesNotWedge,
            ),
            rule(
                "quorum-of-newest",
                "a phase needs a majority of every active layout, not of the newest alone",
                Flaw::QuorumOfNewest,
            ),
            Mutant::rule(
                "quorum-of-union",
                "a phase needs a majority of each active layout, not one of all their nodes",
                Flaw::QuorumOfUnion,
                Size::chase("W", "ABC, then ADE", exchange),
            ),
            rule(
                "sync-from-one",
                "a new owner pulls from a majority of each older active layout",
                Flaw::SyncFromOne,
            ),
            Mutant::rule(
                "sync-skips-older",
                "a new owner pulls from every older active layout, not from the one before alone",
                Flaw::SyncSkipsOlder,
                Size::chase("W", "ABC, BCD, CDE", three),
            ),
            rule(
                "sync-of-nothing",
                "a new owner pulls from its own layout where no older one is active",
                Flaw::SyncOfNothing,
            ),
            Mutant::rule(
                "pulls-kept-across-views",
                "a new owner pulls again when its view rises",
                Flaw::PullsKeptAcrossViews,
                Size::chase("W", "ABC, BCD, CDE", three),
            ),
            Mutant::rule(
                "sync-cut-short",
                "a new owner is synced when the whole range was pulled",
                Flaw::SyncCutShort,
                Size::chase("W;W@1", "ABC, then ADE, one row a page", paged),
            ),
            rule(
                "retires-early",
                "a layout is retired when a majority of the next one is synced, not one less",
                Flaw::RetiresEarly,
            ),
            rule(
                "retires-alone",
                "a node that is synced does not take that for a majority: reads are not switched node by node",
                Flaw::RetiresAlone,
            ),
            Mutant::rule(
                "drops-early",
                "a node drops its rows only when every node of the newest layout is synced",
                Flaw::DropsEarly,
                Size::chase("W", "ABC, then ADE", exchange),
            ),
            Mutant::rule(
                "drops-unretired",
                "a node drops its rows only when every older layout is retired",
                Flaw::DropsUnretired,
                Size::chase("W", "ABC, then ADE", exchange),
            ),
            Mutant::rule(
                "readmits-after-gap",
                "no node comes back to a partition while a layout from before it left is active",
                Flaw::ReadmitsAfterGap,
                Size::chase("W", "ABC, ABD, ABC", there_and_back),
            ),
            Mutant::around(
                "fence-not-durable",
                "a pull is answered when the view that it brought is durable",
                Size::chase("W", "ABC, then BCD, a node crashes, pulls do not wait", dirty_pulls),
            ),
            Mutant::around(
                "snapshot-before-fence",
                "a source reads its rows after it adopted the puller's view",
                Size::chase("W", "ABC, then BCD, rows read before", snapshots),
            ),
            Mutant::around(
                "lost-disk-same-identity",
                "a disk that lost its content comes back under a new identity",
                Size::chase("W", "ABC, then BCD, a disk is lost", lost_disk),
            ),
        ],
    }
}

fn rule(name: &'static str, guard: &'static str, flaw: Flaw) -> Mutant {
    Mutant::rule(name, guard, flaw, Size::chase("W", "ABC, then BCD", overlap))
}

fn one_by_one(world: &mut World) {
    transit(world, &[&[0], &[1], &[2]]);
    world.settlers = Settlers::OneAtATime;
}

fn paged(world: &mut World) {
    exchange(world);
    world.page_limit = 1;
}

fn crashing(world: &mut World) {
    two(world);
    world.settlers = Settlers::Any;
    world.disks = Disks::Grouped { crashes: 1 };
}

fn crashing_overlap(world: &mut World) {
    overlap(world);
    world.disks = Disks::Grouped { crashes: 1 };
}

fn dirty_pulls(world: &mut World) {
    overlap(world);
    world.disks = Disks::DirtyPull { crashes: 1 };
}

fn snapshots(world: &mut World) {
    overlap(world);
    world.snapshots = Snapshots::BeforeFence;
}

fn lost_disk(world: &mut World) {
    overlap(world);
    world.disk_loss = DiskLoss::Unnoticed;
}

/// A damaged node has fewer copies until it has synced, so that only what is read is checked.
fn damaged(world: &mut World) {
    overlap(world);
    world.disk_loss = DiskLoss::Noticed;
    world
        .claims
        .retain(|property| !["I2", "I3", "I4", "I6"].contains(&property.name));
}
