//! What a node has heard of syncs, its own included, and what follows from it.

use alloc::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::retire::{Announcement, Certificate, Droppable};
use super::table::{LayoutVersion, Partition};
use super::view::Knowledge;
use crate::flaw::Rules;
use crate::quorum::NodeId;

/// The newest layout for which each node said that it is synced, where that is not the first. It only grows.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Heard(BTreeMap<(Partition, NodeId), LayoutVersion>);

impl Heard {
    /// The newest layout for which a node is known to be synced. Of the first layout every node is: there was nothing
    /// before it.
    pub fn synced(&self, partition: Partition, node: NodeId) -> LayoutVersion {
        let heard = self.0.get(&(partition, node)).copied();
        heard.unwrap_or(LayoutVersion(1))
    }

    /// Everything that was heard.
    pub fn announcements(&self) -> impl Iterator<Item = Announcement> {
        self.0.iter().map(|(&(partition, node), &version)| Announcement {
            node,
            partition,
            version,
        })
    }

    /// Would an announcement be new?
    pub fn is_new(&self, knowledge: &Knowledge, said: &Announcement) -> bool {
        // What no layout says that is known here cannot be true, or will be told again.
        let layout = knowledge.layout(said.version);
        let is_owner = layout.is_some_and(|layout| layout.holds(said.node, said.partition));
        said.version > self.synced(said.partition, said.node) && is_owner
    }

    /// Takes an announcement in; says whether it was new.
    pub fn hear(&mut self, knowledge: &Knowledge, said: &Announcement) -> bool {
        let is_new = self.is_new(knowledge, said);
        if is_new {
            self.0.insert((said.partition, said.node), said.version);
        }
        is_new
    }

    /// The certificate that raises a partition's oldest layout the most, if there is one.
    pub fn certificate<R: Rules>(
        &self,
        knowledge: &Knowledge,
        me: NodeId,
        partition: Partition,
    ) -> Option<Certificate> {
        let newest_first = knowledge.newest_first().map(|layout| layout.version);
        let mut above = newest_first.take_while(|version| *version > knowledge.view(partition).lo);
        above.find_map(|lo| Certificate::of::<R>(knowledge, me, partition, lo, |node| self.synced(partition, node)))
    }

    /// May `me`, which left the partition, delete what it holds there?
    pub fn droppable<R: Rules>(&self, knowledge: &Knowledge, me: NodeId, partition: Partition) -> Option<Droppable> {
        if is_kept(knowledge, partition) {
            return None;
        }
        Droppable::of::<R>(knowledge, me, partition, |node| self.synced(partition, node))
    }

    /// May what `me` stored when it had entered at `entered` be deleted? Either it left the partition, and everybody who
    /// holds it now has it all; or it came back, which no layout allows while one from before it left is needed.
    pub fn is_over<R: Rules>(
        &self,
        knowledge: &Knowledge,
        me: NodeId,
        partition: Partition,
        entered: LayoutVersion,
    ) -> bool {
        let now = knowledge.entered(me, partition);
        let came_back = now.is_some_and(|now| entered < now) && !is_kept(knowledge, partition);
        let left = self.droppable::<R>(knowledge, me, partition);
        came_back || left.is_some_and(|left| left.entered() >= entered)
    }
}

impl FromIterator<Announcement> for Heard {
    /// As it was stored: nothing is asked about it.
    fn from_iter<T: IntoIterator<Item = Announcement>>(said: T) -> Self {
        let said = said.into_iter();
        Heard(said.map(|said| ((said.partition, said.node), said.version)).collect())
    }
}

/// Was a layout forced when too little was left of the partition? Then old rows and references, which nobody asks for any
/// more, may be all that there is of something: they stay on disk, for people to look at.
fn is_kept(knowledge: &Knowledge, partition: Partition) -> bool {
    let mut forced = knowledge.newest_first().filter_map(|layout| layout.forced.as_ref());
    forced.any(|forced| forced.doubtful.contains(&partition) || forced.gone.contains(&partition))
}
