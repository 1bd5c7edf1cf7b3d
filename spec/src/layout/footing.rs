//! What the door to a partition looks at: where a node stands there, by its own layouts.
//!
//! Apart from the layouts themselves, so that whoever has no more than a few numbers can ask the door again.

use serde::{Deserialize, Serialize};

use super::table::{LayoutVersion, Partition};
use super::view::{Admitted, Refusal, View};
use crate::flaw::{Flaw, Rules};

/// Where a node stands in a partition. Traces have it too; what is read from one proves nothing to a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Footing {
    pub(super) view: View,
    pub(super) part: Option<Part>,
}

/// The newest run of layouts in which a node holds a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Part {
    /// The first of them: here it entered.
    pub entered: LayoutVersion,
    /// The last of them.
    pub last: LayoutVersion,
}

impl Footing {
    /// Its view.
    pub fn view(self) -> View {
        self.view
    }

    /// Its part in the partition; nothing if it never had one, or was declared lost.
    pub fn part(self) -> Option<Part> {
        self.part
    }

    /// The door: may the node that stands so serve a request on the partition that was sent under `asked`?
    pub fn admit<R: Rules>(self, partition: Partition, asked: View) -> Result<Admitted, Refusal> {
        let mut mine = self.view;
        if R::lacks(Flaw::ServesOlderLo) {
            mine.lo = asked.lo;
        }
        let blind = R::lacks(Flaw::NoViewOnRequests);
        let ahead = (mine.hi > asked.hi && !R::lacks(Flaw::ServesOlderHi)) || mine.lo > asked.lo;
        if ahead && !blind {
            return Err(Refusal::Stale(mine));
        }
        let view = if blind || R::lacks(Flaw::ViewNotAdopted) {
            mine
        } else {
            mine.join(asked)
        };
        // Layouts are learned in order and kept, so the newest stands for all below it.
        let is_known = view.hi <= mine.hi && mine.hi > LayoutVersion::default();
        if !is_known {
            return Err(Refusal::NeedLayout(view.hi));
        }
        match self.part.filter(|part| part.last >= view.lo) {
            Some(part) => Ok(Admitted::new(partition, view, part.entered, view != mine)),
            None => Err(Refusal::NotOwner(view)),
        }
    }
}
