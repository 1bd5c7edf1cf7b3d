//! What comes of forced layouts: who was declared lost, and who follows layouts that others do not.
//!
//! Both are seen in what nodes know of layouts, and neither serves any more. Whoever knows the forced layout refuses them
//! besides.

use std::fmt;

use trellis_spec::layout::{Decree, Epoch, Layout, LayoutHash, LayoutMark, LayoutVersion};

use super::layouts::Known;
use crate::link::PeerId;

/// Two layouts of one number, and the epochs of those who follow them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overruled {
    /// The number.
    pub version: LayoutVersion,
    /// Of the newest forced layout that this node knew.
    pub ours: Epoch,
    /// The newest one that the other knew.
    pub theirs: Decree,
}

/// Why a node must not serve, for all that layouts tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Out {
    /// It was declared lost, in this layout.
    Lost(LayoutVersion, Epoch),
    /// It follows layouts of a lower epoch than others, or of the same epoch and a lower hash.
    Overruled(Overruled),
}

impl fmt::Display for Out {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Out::Lost(version, epoch) => write!(
                f,
                "this node was declared lost when layout {} was forced (epoch {})",
                version.0, epoch.0
            )?,
            Out::Overruled(Overruled { version, ours, theirs }) => write!(
                f,
                "layout {} was forced elsewhere with epoch {}, and this node follows another layout {0}, of {}epoch {}",
                version.0,
                theirs.epoch.0,
                if *ours == theirs.epoch { "the same " } else { "" },
                ours.0
            )?,
        }
        f.write_str(": it serves no more, and can only come back as a new node with an empty folder")
    }
}

impl Known {
    /// Why this node must not serve, if so.
    pub fn out(&self) -> Option<Out> {
        let is_lost = |layout: &&Layout| {
            let forced = layout.forced.as_ref();
            forced.is_some_and(|forced| forced.lost.contains(&self.peer.me))
        };
        if !self.peer.knowledge.lost().contains(&self.peer.me) {
            // It may have heard of a newer force on its own side since.
            let overruled = self.overruled.filter(|overruled| overruled.theirs > self.decree);
            return overruled.map(Out::Overruled);
        }
        let layout = self.peer.knowledge.newest_first().find(is_lost)?;
        let epoch = layout.forced.as_ref().map(|forced| forced.epoch).unwrap_or_default();
        Some(Out::Lost(layout.version, epoch))
    }

    /// Is this the key of a node that was declared lost, and of no member now?
    pub(super) fn is_lost(&self, key: PeerId) -> bool {
        let knowledge = &self.peer.knowledge;
        let has_key = |layout: &Layout, lost: bool| {
            let mut members = layout.members.iter();
            members.any(|member| member.key == key.0 && (!lost || knowledge.lost().contains(&member.id)))
        };
        !knowledge.lost().is_empty()
            && knowledge.newest_first().any(|layout| has_key(layout, true))
            && !knowledge.newest().is_some_and(|newest| has_key(newest, false))
    }

    /// What requests say of the newest layout.
    pub(crate) fn mark(&self) -> LayoutMark {
        LayoutMark::of(&self.hash)
    }

    /// Does this node know a layout of this number with another hash?
    pub(super) fn differs(&self, version: LayoutVersion, hash: &LayoutHash) -> bool {
        if version == self.newest() {
            return self.hash != *hash;
        }
        let known = self.peer.knowledge.layout(version);
        known.is_some_and(|layout| layout.hash() != *hash)
    }

    /// A forced layout was learned.
    pub(super) fn note_force(&self, layout: &Layout) {
        let Some(forced) = &layout.forced else { return };
        let (version, epoch) = (layout.version.0, forced.epoch.0);
        let (lost, doubtful, gone) = (forced.lost.len(), forced.doubtful.len(), forced.gone.len());
        tracing::warn!(version, epoch, lost, doubtful, gone, "a layout was forced");
        if let Some(out) = self.out() {
            tracing::error!("{out}");
        }
    }
}
