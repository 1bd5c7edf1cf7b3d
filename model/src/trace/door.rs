//! The door of replicas, taken again.
//!
//! What it was shown is in the record, so that the rule can be asked again whatever else is missing. Where replay knows what
//! the node knew of layouts then, it also sees whether the node stood where its layouts say.

use trellis_spec::flaw::Sound;
use trellis_spec::layout::{Admitted, LayoutVersion, Partition, Refusal, View, is_open};
use trellis_spec::quorum::NodeId;
use trellis_spec::trace::{Shown, TurnedAway};

use super::Wrong;
use super::standing::{Moment, Standings};
use super::words;

/// What came to a door.
pub(super) struct Visit<'a> {
    pub(super) node: NodeId,
    pub(super) partition: Partition,
    pub(super) key: &'a [u8],
    pub(super) shown: Shown,
}

/// What a door says: the view and the layout of entering of who may pass.
pub(super) type Said = Result<(View, LayoutVersion), TurnedAway>;

impl Visit<'_> {
    /// Asks the door again, which said this; the proof for who may pass.
    pub(super) fn repeat(&self, standings: &Standings, recorded: Said) -> Result<Option<Admitted>, Wrong> {
        let moment = standings.at(self.shown.known_at);
        if let Some(moment) = moment {
            self.stands_as_known(moment)?;
        }
        let is_other = match moment {
            Some(moment) => moment.is_other(self.shown.asked, self.shown.newest),
            None => recorded == Err(TurnedAway::OtherLayouts),
        };
        let admitted = if is_other {
            Err(TurnedAway::OtherLayouts)
        } else {
            self.judge().map_err(TurnedAway::Refused)
        };
        let expected: Said = admitted.map(|admitted| (admitted.view(), admitted.entered()));
        if expected != recorded {
            return Err(self.wrong(&said(&expected), &said(&recorded)));
        }
        Ok(admitted.ok())
    }

    fn judge(&self) -> Result<Admitted, Refusal> {
        let Shown {
            footing, asked, opened, ..
        } = self.shown;
        let admitted = footing.admit::<Sound>(self.partition, asked)?;
        let is_open = opened.is_none_or(|opened| is_open::<Sound>(admitted.entered(), opened.synced, opened.raised));
        if is_open { Ok(admitted) } else { Err(Refusal::Entering) }
    }

    fn stands_as_known(&self, moment: &Moment) -> Result<(), Wrong> {
        let footing = moment.footing(self.node, self.partition);
        if footing != self.shown.footing {
            return Err(self.wrong(
                &format!("as its layouts say: {}", words::footing(footing)),
                &words::footing(self.shown.footing),
            ));
        }
        let synced = moment.synced(self.partition, self.node);
        match self.shown.opened {
            Some(opened) if opened.synced != synced => Err(self.wrong(
                &format!("as it was heard: synced for layout {}", synced.0),
                &format!("synced for layout {}", opened.synced.0),
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn wrong(&self, expected: &str, recorded: &str) -> Wrong {
        let (key, partition, node) = (words::key(self.key), self.partition.0, words::node(self.node));
        let Shown {
            footing,
            asked,
            newest,
            opened,
            ..
        } = self.shown;
        let opened = opened.map_or(String::new(), |opened| {
            let (synced, raised) = (opened.synced.0, opened.raised.0);
            format!(", synced for layout {synced}, floor raised for layout {raised}")
        });
        Wrong {
            machine: format!("the door of partition {partition} at {node}, for {key}"),
            input: format!(
                "a request under {} and layout {:016x}, where the node stands: {}{opened}",
                words::view(asked),
                newest.0,
                words::footing(footing)
            ),
            expected: expected.to_owned(),
            recorded: recorded.to_owned(),
        }
    }
}

fn said(said: &Said) -> String {
    match said {
        Ok((view, entered)) => format!("admitted under {}, entered at layout {}", words::view(*view), entered.0),
        Err(TurnedAway::Refused(Refusal::Stale(view))) => format!("refused: the node has seen {}", words::view(*view)),
        Err(TurnedAway::Refused(Refusal::NeedLayout(version))) => {
            format!("refused: the node does not know layout {}", version.0)
        }
        Err(TurnedAway::Refused(Refusal::NotOwner(view))) => {
            format!("refused: the node has no part under {}", words::view(*view))
        }
        Err(TurnedAway::Refused(Refusal::Entering)) => "refused: the node does not know its floor".to_owned(),
        Err(TurnedAway::OtherLayouts) => "refused: the layout is known with another content".to_owned(),
    }
}
