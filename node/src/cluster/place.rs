//! Where rows and blocks live under the layouts of now, and what is asked there.

use trellis_spec::layout::{LayoutMark, Partition, View};
use trellis_spec::peer::{Call, Envelope};
use trellis_spec::quorum::ReplicaSets;
use trellis_spec::row::{Address, Placement, RowKey};

use super::coordinator::Coordinator;
use crate::seeded::NodeRules;

/// A row, and the gate that writes to it must pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The row.
    pub address: Address,
    /// The gate, for rows that make a bucket non-empty.
    pub gate: Option<RowKey>,
}

/// The row that an attempt is about, in a partition that is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) key: &'a RowKey,
    /// The gate that writes to it must pass.
    pub(crate) gate: Option<&'a RowKey>,
}

impl<'a> From<&'a Target> for Subject<'a> {
    fn from(target: &'a Target) -> Self {
        Subject {
            key: &target.address.key,
            gate: target.gate.as_ref(),
        }
    }
}

/// Where something lives under a view.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) partition: Partition,
    pub(crate) view: View,
    pub(crate) newest: LayoutMark,
    pub(crate) sets: ReplicaSets,
    spread: Spread,
}

impl Place {
    /// A call to a replica of this place.
    pub(crate) fn envelope(&self, call: Call) -> Envelope {
        Envelope {
            partition: self.partition,
            view: self.view,
            newest: self.newest,
            call,
        }
    }
}

/// Whose answers an attempt needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    /// Those of a majority of every active layout.
    Majorities,
    /// Everybody's.
    Everybody,
}

impl Coordinator {
    /// Where a placement lives now.
    pub(crate) fn place(&self, placement: &Placement) -> Place {
        let known = self.layouts().now();
        let newest = known.peer.knowledge.newest();
        let partition = newest.map_or(Partition(0), |layout| placement.partition(layout));
        self.place_of(partition, Spread::Majorities)
    }

    /// The same for a partition.
    pub(crate) fn place_of(&self, partition: Partition, spread: Spread) -> Place {
        let known = self.layouts().now();
        let knowledge = &known.peer.knowledge;
        let view = knowledge.view(partition);
        let majorities = knowledge.replica_sets::<NodeRules>(partition, view);
        let sets = match spread {
            Spread::Majorities => majorities,
            // One set for each: a quorum is a majority of every set.
            Spread::Everybody => ReplicaSets::new(majorities.members().into_iter().map(|node| vec![node]).collect()),
        };
        Place {
            partition,
            view,
            newest: known.mark(),
            sets,
            spread,
        }
    }

    /// The place under the view of now, if that is another one.
    pub(crate) fn moved(&self, place: &Place) -> Option<Place> {
        let now = self.place_of(place.partition, place.spread);
        (now.view != place.view).then_some(now)
    }
}
