//! The door to a replica's rows and blocks: views are compared there, and whoever is behind learns. A node that has just
//! entered a partition serves nobody from its rows before it knows its floor.

use trellis_spec::layout::{Admitted, LayoutMark, Partition, Refusal, View, is_open};
use trellis_spec::peer::{Answer, Envelope};
use trellis_spec::trace::{Record, RefusedStep, Shown, TurnedAway};

use super::cells::{CellsError, Shelf};
use super::keeper::KeeperError;
use super::layouts::{Known, LayoutsError};
use super::place::Place;
use super::replica::Replica;
use crate::seeded::{NodeRules, Slip, slips};
use crate::storage::{Position, RowsError};

/// What a request has to show at the door.
#[derive(Debug, Clone, Copy)]
pub(super) struct Door {
    pub(super) partition: Partition,
    pub(super) view: View,
    pub(super) newest: LayoutMark,
    errand: Errand,
}

/// What somebody comes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Errand {
    /// To be served from rows, by a node that knows its floor.
    Service,
    /// For what there is, or with what others have.
    Copies,
}

impl Door {
    pub(super) fn of(envelope: &Envelope) -> Self {
        Door {
            partition: envelope.partition,
            view: envelope.view,
            newest: envelope.newest,
            errand: if envelope.call.needs_floor() {
                Errand::Service
            } else {
                Errand::Copies
            },
        }
    }

    /// For a sync of the node itself.
    pub(super) fn of_sync(place: &Place) -> Self {
        Door {
            partition: place.partition,
            view: place.view,
            newest: place.newest,
            errand: Errand::Copies,
        }
    }
}

/// Why a request was not served.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("the views differ: {0:?}")]
    AtTheDoor(Refusal),
    #[error("this layout is known here with another content")]
    OtherLayouts,
    #[error(transparent)]
    Cells(#[from] CellsError),
    #[error(transparent)]
    Layouts(#[from] LayoutsError),
    #[error(transparent)]
    Keeper(#[from] KeeperError),
}

impl Replica {
    /// The door. What the request brings is adopted: visible now, and durable before anything is answered.
    pub(super) fn enter(&self, at: Door) -> Result<Admitted, Refused> {
        self.at_the_door(at).1
    }

    /// The same for a request about this row, or the rows from this one on, and what the door was shown. Who is turned away
    /// is recorded, if anybody records.
    pub(super) fn enter_for(&self, at: Door, key: &[u8]) -> Result<(Shown, Admitted), Refused> {
        let (shown, admitted) = self.at_the_door(at);
        let admitted = admitted.inspect_err(|refused| self.record_refused(at.partition, key, shown, refused))?;
        Ok((shown, admitted))
    }

    fn at_the_door(&self, at: Door) -> (Shown, Result<Admitted, Refused>) {
        let known = self.layouts.now();
        let peer = &known.peer;
        let mut shown = Shown {
            known_at: known.written_at.0,
            footing: peer.knowledge.footing(peer.me, at.partition),
            asked: at.view,
            newest: at.newest,
            opened: None,
        };
        let admitted = self.judge(at, &known, &mut shown);
        (shown, admitted)
    }

    fn judge(&self, at: Door, known: &Known, shown: &mut Shown) -> Result<Admitted, Refused> {
        if at.view.hi == known.newest() && at.newest != known.mark() {
            return Err(Refused::OtherLayouts);
        }
        let admitted = shown.footing.admit::<NodeRules>(at.partition, at.view);
        let admitted = admitted.map_err(Refused::AtTheDoor)?;
        if admitted.raises_view() {
            self.layouts.adopt(&admitted)?;
        }
        if at.errand == Errand::Service {
            let openness = self.openness(known, Shelf::of(&admitted))?;
            shown.opened = Some(openness);
            if !is_open::<NodeRules>(admitted.entered(), openness.synced, openness.raised) {
                return Err(Refused::AtTheDoor(Refusal::Entering));
            }
        }
        Ok(admitted)
    }

    fn record_refused(&self, partition: Partition, key: &[u8], shown: Shown, refused: &Refused) {
        let said = match refused {
            Refused::AtTheDoor(refusal) => TurnedAway::Refused(*refusal),
            Refused::OtherLayouts => TurnedAway::OtherLayouts,
            Refused::Cells(_) | Refused::Layouts(_) | Refused::Keeper(_) => return,
        };
        if let Some(recorder) = self.recorder().filter(|recorder| recorder.wants(key)) {
            recorder.record(&Record::Refused(RefusedStep {
                partition,
                key: key.to_vec(),
                shown,
                said,
            }));
        }
    }

    /// Returns when what was found at `position`, and the view under which it was, are on disk.
    pub(super) async fn durable(&self, position: Position) -> Result<(), Refused> {
        if slips(Slip::AnswersBeforeDurable) {
            return Ok(());
        }
        let position = position.max(self.layouts.now().written_at);
        Ok(self.cells.durable(position).await?)
    }

    pub(super) async fn refuse(&self, refused: Refused) -> Answer {
        match refused {
            // A refusal tells of a view, which must not be taken back either.
            Refused::AtTheDoor(refusal) => match self.layouts.durable().await {
                Ok(()) => Answer::Refused(refusal),
                Err(_) => Answer::Failed,
            },
            // Who it is, and what to do, is said where layouts are compared.
            Refused::OtherLayouts => Answer::Failed,
            Refused::Cells(CellsError::Rows(RowsError::Full { .. })) => Answer::Full,
            Refused::Layouts(LayoutsError::Rows(RowsError::Full { .. })) => Answer::Full,
            Refused::Keeper(KeeperError::References(CellsError::Rows(RowsError::Full { .. }))) => Answer::Full,
            refused @ (Refused::Cells(_) | Refused::Layouts(_) | Refused::Keeper(_)) => {
                tracing::error!(error = %refused, "this node cannot serve a request");
                Answer::Failed
            }
        }
    }
}
