//! Replicas: they answer with the code of the specification, and are tidied up after.

use std::sync::Arc;

use trellis_spec::gate::{Gate, GateState};
use trellis_spec::layout::{Pulled, Refusal, View, pulled_rows};
use trellis_spec::listing::Scanned;
use trellis_spec::peer::Stored;
use trellis_spec::register::{Audience, Cell, Fetch, Reply, Request, Served};
use trellis_spec::stamp::Stamp;

use super::{Collection, Column, Entropy, Faults, Progress, State, Verdict, World};
use crate::coordinator::{Answer, Call, Outcome};
use crate::operation::gate_row;
use crate::value::{Body, Cargo, Key};

impl World {
    /// A replica handles the present request of an operation, which begins with the first.
    pub(super) fn handle(&self, state: &mut State, op: u8, column: u8) -> Answer {
        let known = self.known(state);
        let answered = state.answered;
        let running = state
            .running_mut(op.into())
            .expect("only operations at work are served");
        if running.after.is_none() {
            running.after = Some(known);
            running.floor = answered;
        }
        let (view, audience) = (running.view, running.audience);
        let call = running
            .call
            .clone()
            .expect("an operation that waits for no stamp has asked");
        let whole = audience != Audience::All || column == 0;
        self.serve_call(column.into(), state.column(column.into()), view, call, whole)
    }

    /// A replica handles a request that was sent under `view`.
    pub(super) fn serve_call(&self, index: usize, at: &mut Column, view: View, call: Call, whole: bool) -> Answer {
        if let Err(refusal) = self.enter(index, at, view, &call) {
            return Answer::Refused(refusal);
        }
        match call {
            Call::Row(key, Request::Read(fetch)) => {
                // Drivers ask one replica for the body and the others for heads.
                let fetch = if whole || self.body == Body::Absent {
                    fetch
                } else {
                    Fetch::Head
                };
                Answer::Row(self.serve(at, key, &Request::Read(fetch)))
            }
            Call::Row(key, request) => Answer::Row(self.serve(at, key, &request)),
            Call::Scan(from) => Answer::Scanned(self.scan(at, from)),
            Call::Pull(from) => Answer::Pulled(self.pulled(at, from)),
        }
    }

    /// A replica handles a request that nobody waits for.
    pub(super) fn serve_late(&self, index: usize, at: &mut Column, view: View, key: Key, request: Request<Cargo>) {
        self.serve_call(index, at, view, Call::Row(key, request), true);
    }

    fn pulled(&self, at: &Column, from: Key) -> Pulled<Key, Cargo> {
        let rows = at.snapshot.as_ref().unwrap_or(&at.rows);
        let left_out = |key: &Key| !self.gates_are_pulled && *key == gate_row(self.script.keys());
        let rows = (0..).map(Key).zip(rows.iter().cloned());
        let wanted = rows.filter(|(key, _)| *key >= from && !left_out(key));
        pulled_rows(wanted, at.floor, self.page_limit)
    }

    /// The operations whose clients know what became of them, as bits.
    pub(super) fn known(&self, state: &State) -> u16 {
        let known = |op: &super::Op| match &op.progress {
            Progress::Told { outcome, .. } => !matches!(outcome, Outcome::Unknown | Outcome::Nothing),
            Progress::Waiting | Progress::Running(_) => false,
        };
        let bits = state.ops.iter().enumerate().filter(|(_, op)| known(op));
        bits.fold(0, |bits, (index, _)| bits | 1 << index)
    }

    pub(super) fn serve(&self, at: &mut Column, key: Key, request: &Request<Cargo>) -> Reply<Cargo> {
        let served = self.served(&self.stored(at, key), request);
        if let Some(changed) = served.changed {
            at.rows[usize::from(key.0)] = changed;
        }
        served.reply
    }

    pub(super) fn served(&self, stored: &Stored<Cargo>, request: &Request<Cargo>) -> Served<Cargo> {
        if self.script.is_election() {
            self.protocol.serve_elector(&stored.cell, request)
        } else {
            self.protocol.serve(&self.admitted, stored, request)
        }
    }

    pub(super) fn stored(&self, at: &Column, key: Key) -> Stored<Cargo> {
        let gate = if key.0 < self.script.keys() {
            self.gate(at)
        } else {
            GateState::default()
        };
        Stored {
            cell: at.rows[usize::from(key.0)].clone(),
            floor: at.floor,
            gate,
        }
    }

    pub(super) fn gate(&self, at: &Column) -> GateState {
        let row = at.rows.get(usize::from(gate_row(self.script.keys()).0));
        let held = row.and_then(|cell| cell.accepted.as_ref());
        held.map_or_else(GateState::default, |held| GateState {
            gate: match held.content.live() {
                Some(Cargo::Gate(gate)) => *gate,
                Some(Cargo::Object(..) | Cargo::Bucket(_)) | None => Gate::Open,
            },
            ballot: held.ballot,
        })
    }

    pub(super) fn scan(&self, at: &Column, from: Key) -> Scanned<Key, Cargo> {
        let objects = at.rows.iter().take(self.script.keys().into());
        let mut rows: Vec<_> = (0..)
            .map(Key)
            .zip(objects)
            .filter(|(key, _)| *key >= from)
            .filter_map(|(key, cell)| Some((key, cell.accepted.as_ref()?.head())))
            .collect();
        let bound = rows.get(self.page_limit).map(|(key, _)| *key);
        rows.truncate(self.page_limit);
        Scanned {
            rows,
            bound,
            gate: self.gate(at),
        }
    }

    pub(super) fn repair(&self, state: &mut State, from: usize, to: usize, row: Key) {
        let Some(held) = state.columns[from].rows[usize::from(row.0)].accepted.clone() else {
            return;
        };
        let at = state.column(to);
        if self.entropy == Entropy::Raw {
            at.rows[usize::from(row.0)].accepted = Some(held);
        } else {
            self.serve(at, row, &Request::WriteBack(held));
        }
    }

    /// Drops what can no longer matter, and sorts what is alike.
    pub(crate) fn tidy(&self, state: &mut State) {
        self.protocol.take_effect();
        self.tend_syncs(state);
        self.tidy_reports(state);
        // What is acknowledged is fixed then, and what is late can only raise stamps.
        let over = state.is_over() || self.faults == Faults::Delays;
        for (index, shared) in state.columns.iter_mut().enumerate() {
            let keeps = |late: &&(View, Key, Request<Cargo>)| !over && self.may_matter(index, shared, late);
            let mut late: Vec<_> = shared.late.iter().filter(keeps).cloned().collect();
            late.sort();
            late.dedup();
            if late != shared.late {
                Arc::make_mut(shared).late = late;
            }
        }
        if self.body != Body::Absent && state.columns.iter().any(|column| holds_head(column)) {
            state.verdict = Verdict::Bodiless;
        }
        if self.sorted {
            state.columns.sort();
        }
    }

    /// A gate may open again; promises and ballots on disk never fall, and no more do views.
    pub(super) fn may_matter(&self, index: usize, column: &Column, late: &(View, Key, Request<Cargo>)) -> bool {
        let (view, key, request) = late;
        let (rows, mut floor) = if column.durable.is_empty() {
            (&column.rows, column.floor)
        } else {
            (&column.durable, column.durable_floor)
        };
        let mut cell = rows[usize::from(key.0)].clone();
        if self.has_transitions() {
            let seat = column.durable_seat.unwrap_or(column.seat);
            let mut future = column.clone();
            future.seat = seat;
            let entered = self.enter(index, &mut future, *view, &Call::Row(*key, request.clone()));
            if entered.is_err_and(|refusal| refusal != Refusal::Entering) {
                return false;
            }
            if future.seat.entered != seat.entered {
                (cell, floor) = (Cell::default(), future.floor);
            }
            if self.script.keys() > 1 || self.collection == Collection::OthersToo {
                // A sync may copy what is below a floor that other rows raised.
                floor = Stamp::ZERO;
            }
        }
        let matters = |cell: Cell<Cargo>, floor| {
            let gate = GateState::default();
            self.served(&Stored { cell, floor, gate }, request).changed.is_some()
        };
        let forgotten = self.once_forgotten(column, *key);
        matters(cell, floor) || forgotten.is_some_and(|(cell, floor)| matters(cell, floor))
    }
}

fn holds_head(column: &Column) -> bool {
    let head = |cell: &Cell<Cargo>| cell.accepted.as_ref().is_some_and(|held| !held.content.is_whole());
    column.rows.iter().any(head)
}
