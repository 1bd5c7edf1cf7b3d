//! The rule of rows, taken again; and the rows of a node from step to step.
//!
//! A step is given the row that the last one left, for nothing changes it besides but a sync, and forgetting its
//! tombstone, and both are recorded. After a crash it may be given an older one, as [`History`] has it. Where a row is gone,
//! the floor that the step was given has to stand for its tombstone.

use std::collections::BTreeMap;

use trellis_spec::flaw::Sound;
use trellis_spec::gate::{Gate, GateState};
use trellis_spec::layout::{Admitted, LayoutVersion, Partition};
use trellis_spec::peer::{Stored, serve_row};
use trellis_spec::quorum::NodeId;
use trellis_spec::register::{Cell, Fetch, Request};
use trellis_spec::row::{Row, RowKey};
use trellis_spec::stamp::Stamp;
use trellis_spec::tombstone;
use trellis_spec::trace::{self, Aftermath, ForgottenRow, Kept, Mention, Omitted, PageOf, RowStep};

use super::Wrong;
use super::attempt::Language;
use super::history::{Certainty, History};
use super::scans;
use super::words::{self, Words};

/// A row, as long as the node stays where it is.
pub(super) type Place = (Partition, LayoutVersion, RowKey);

/// The rows of one node.
#[derive(Default)]
pub(super) struct Rows {
    known: BTreeMap<Place, History<State>>,
    /// Every change up to this position was durable.
    durable: u64,
}

/// What a row may be.
struct State {
    cell: Cell<Row>,
    /// Where nothing is held, the floor is at least this one.
    floor: Stamp,
    /// Whoever began to read when every change up to this position was durable saw this, or what came after.
    visible_from: u64,
}

impl Rows {
    /// Every change up to this position was durable.
    pub(super) fn durable(&self) -> u64 {
        self.durable
    }

    /// Something is missing here.
    pub(super) fn forget(&mut self) {
        self.known.clear();
        // A life may have ended there: positions of one say nothing of the next.
        self.durable = 0;
    }

    /// A row is another one now.
    pub(super) fn forget_row(&mut self, place: Place) {
        self.known.remove(&place);
    }

    /// What the node held of a partition since it entered there at this layout is being deleted.
    pub(super) fn cleared(&mut self, partition: Partition, entered: Option<LayoutVersion>) {
        self.known
            .retain(|(of, since, _), _| *of != partition || Some(*since) != entered);
    }

    /// The node stopped in order and was started again.
    pub(super) fn reopened(&mut self) {
        for known in self.known.values_mut() {
            known.reopened();
            known.last_mut().visible_from = 0;
        }
        self.durable = 0;
    }

    /// The node crashed and was started again.
    pub(super) fn crashed(&mut self) {
        self.known.retain(|_, known| known.crashed(self.durable));
        self.durable = 0;
    }

    /// Takes a step again, for which the node was admitted; whether its row was known.
    pub(super) fn step(
        &mut self,
        node: NodeId,
        admitted: &Admitted,
        step: &RowStep,
        aftermath: Aftermath,
    ) -> Result<bool, Wrong> {
        let about = About { node, step };
        about.taken_again(admitted)?;
        about.is_kept(aftermath.kept)?;
        let cell = step.values.read(|mut row| trace::cell(&step.cell, &mut row))?;
        about.is_whole(&cell)?;
        self.gate_is_as_left(&about)?;
        let place = (step.partition, step.entered, step.key.clone());
        self.durable = self.durable.max(aftermath.durable);
        // When more than this was durable, the step had been taken.
        let seen = aftermath.durable.saturating_add(1);
        let known = self.known.get_mut(&place);
        let is_known = known.is_some();
        let known = match known {
            Some(known) => {
                is_left(known, &about, &cell, seen)?;
                known.leave_out_before(self.durable);
                known
            }
            None => {
                let first = State::of(cell, Stamp::ZERO, seen);
                self.known.entry(place).or_insert(History::of(0, first))
            }
        };
        if let (Some(changed), Kept::Replaced(position)) = (&step.changed, aftermath.kept) {
            let after = step.values.read(|mut row| trace::cell(changed, &mut row))?;
            let floor = known.last().floor;
            known.push(position, State::of(after, floor, position));
        }
        Ok(is_known)
    }

    /// The tombstone of a row was forgotten.
    pub(super) fn forgotten(&mut self, node: NodeId, gone: ForgottenRow) -> Result<(), Wrong> {
        let ForgottenRow { tombstone, floor, .. } = gone;
        let place = (gone.partition, gone.entered, gone.key);
        let Some(known) = self.known.get_mut(&place) else {
            return Ok(());
        };
        let left = known.last();
        let may_go = match known.certainty() {
            Certainty::Exact => tombstone::forgotten::<Row, Sound>(&left.cell, floor, tombstone) == Some(floor),
            Certainty::AtLeast => tombstone >= left.cell.reports(left.floor) && floor >= tombstone,
        };
        if !may_go {
            let (partition, _, key) = &place;
            return Err(Wrong {
                machine: replica(key, *partition, node),
                input: format!("forget the tombstone under {}", words::stamp(tombstone)),
                expected: format!("that tombstone, where there is {}", words::cell(&left.cell)),
                recorded: format!("it was forgotten, with the floor at {}", words::stamp(floor)),
            });
        }
        known.push(gone.position, State::of(Cell::default(), floor, gone.position));
        Ok(())
    }

    /// Are the rows of a page what their steps left, as it was when the page began to be read or later?
    pub(super) fn shown(&self, page: &scans::About<'_>) -> Result<(), Wrong> {
        let step = page.step;
        let place = |key: &RowKey| (step.partition, step.entered, key.clone());
        let is_of_it = |(partition, entered, key): &Place| {
            (*partition, *entered) == (step.partition, step.entered) && page.end().is_none_or(|end| key < end)
        };
        let read: BTreeMap<&RowKey, &Cell<Omitted>> = step.cells.iter().map(|(key, cell)| (key, cell)).collect();
        let extent = page.extent();
        let known = self.known.range(place(&step.from)..);
        for ((_, _, key), known) in known.take_while(|(place, _)| is_of_it(place)) {
            let Some(since) = visible(known, step.durable).filter(|_| extent.has(key)) else {
                continue;
            };
            let read = read.get(key).map(|cell| (cell.promised, cell.ballot()));
            is_shown(since, read, &step.of).map_err(|(expected, found)| {
                let left = words::cell(&since[0].1.cell);
                let key = words::key(key);
                page.wrong(&format!("{expected}, where {key} was: {left}"), &found)
            })?;
        }
        let PageOf::Scan {
            gate_key: Some(key),
            gate,
            ..
        } = &step.of
        else {
            return Ok(());
        };
        let known = self.known.get(&place(key));
        let Some(since) = known.and_then(|known| visible(known, step.durable)) else {
            return Ok(());
        };
        let newest = since
            .iter()
            .map(|(_, state)| state.cell.ballot())
            .max()
            .unwrap_or_default();
        let is_as_left = since.iter().any(|(_, state)| gate_of(&state.cell) == *gate);
        if is_as_left || gate.ballot > newest {
            return Ok(());
        }
        let left = gate_of(&since[0].1.cell);
        let expected = format!("the gate {:?} under {}, or newer", left.gate, words::stamp(left.ballot));
        Err(page.wrong(&expected, "another gate"))
    }

    /// The gate is a row as well, and the step saw it in the same moment.
    fn gate_is_as_left(&self, about: &About<'_>) -> Result<(), Wrong> {
        let step = about.step;
        let Some(key) = &step.gate_key else { return Ok(()) };
        let place = (step.partition, step.entered, key.clone());
        let known = self.known.get(&place);
        let Some(known) = known.filter(|known| known.certainty() == Certainty::Exact) else {
            return Ok(());
        };
        let left = gate_of(&known.last().cell);
        if left == step.gate {
            return Ok(());
        }
        let expected = format!(
            "the gate as it was left: {:?} under {}",
            left.gate,
            words::stamp(left.ballot)
        );
        let recorded = format!("{:?} under {}", step.gate.gate, words::stamp(step.gate.ballot));
        Err(about.wrong(&expected, &recorded))
    }
}

impl State {
    fn of(cell: Cell<Row>, floor: Stamp, visible_from: u64) -> Self {
        State {
            cell: headed(cell),
            floor,
            visible_from,
        }
    }

    /// The stamps of what is promised and held.
    fn stamps(&self) -> (Stamp, Stamp) {
        (self.cell.promised, self.cell.ballot())
    }

    /// What must be at least the floor, where the row is not there.
    fn floor_without(&self) -> Stamp {
        tombstone::deleted(&self.cell).unwrap_or(self.floor)
    }

    /// Need the row not be there? It may have been forgotten since.
    fn may_be_gone(&self) -> bool {
        self.cell == Cell::default() || tombstone::deleted(&self.cell).is_some()
    }
}

/// The gate that a row is.
fn gate_of(cell: &Cell<Row>) -> GateState {
    let gate = match cell.accepted.as_ref().and_then(|held| held.content.live()) {
        Some(Row::Gate(gate)) => *gate,
        Some(_) | None => Gate::Open,
    };
    GateState {
        gate,
        ballot: cell.ballot(),
    }
}

/// What somebody may have seen of a row who began to read when every change up to this position was durable. Never empty;
/// nothing: it is not known.
fn visible(known: &History<State>, durable: u64) -> Option<&[(u64, State)]> {
    let states = known.states();
    let first = states.iter().rposition(|(_, state)| state.visible_from <= durable)?;
    (known.certainty() == Certainty::Exact).then(|| &states[first..])
}

/// May a page show these stamps of a row that was one of these? If not: what had to be, and what was.
fn is_shown(since: &[(u64, State)], read: Option<(Stamp, Stamp)>, of: &PageOf) -> Result<(), (String, String)> {
    let states = || since.iter().map(|(_, state)| state);
    let Some((promised, held)) = read else {
        let gone = states().filter(|state| state.may_be_gone());
        let Some(least) = gone.map(State::floor_without).min() else {
            return Err(("that row, or newer".to_owned(), "it is not among the rows".to_owned()));
        };
        return match of {
            PageOf::Pull { floor, .. } if *floor < least => {
                let expected = format!("the tombstone, or a floor of at least {}", words::stamp(least));
                Err((expected, format!("the floor {}", words::stamp(*floor))))
            }
            PageOf::Pull { .. } | PageOf::Scan { .. } => Ok(()),
        };
    };
    let is_as_left = states().any(|state| state.stamps() == (promised, held));
    // Who reads sees a change before it is recorded.
    let is_newer = states().all(|state| promised >= state.cell.promised && held >= state.cell.ballot());
    if is_as_left || is_newer {
        return Ok(());
    }
    let (promised, held) = (words::stamp(promised), words::stamp(held));
    Err((
        "that row, or newer".to_owned(),
        format!("held under {held}, promised {promised}"),
    ))
}

/// Is this what was left, and after a crash at least what was durable?
fn is_left(known: &mut History<State>, about: &About<'_>, found: &Cell<Row>, seen: u64) -> Result<(), Wrong> {
    let (found, floor) = (headed(found.clone()), about.step.floor);
    match known.certainty() {
        Certainty::Exact => {
            let left = known.last();
            if left.cell != found {
                return Err(about.differs("as it was left", &left.cell, &found));
            }
            if found.accepted.is_none() && floor < left.floor {
                let expected = format!("a floor of at least {}", words::stamp(left.floor));
                return Err(about.wrong(&expected, &words::stamp(floor)));
            }
        }
        Certainty::AtLeast => {
            let State {
                cell: durable,
                floor: least,
                ..
            } = known.first();
            let held = found.reports(floor);
            let is_older = found.promised.max(held) < durable.promised || held < durable.reports(*least);
            let is_other =
                found.accepted.is_some() && found.ballot() == durable.ballot() && found.accepted != durable.accepted;
            if is_older || is_other {
                return Err(about.differs("as it was durable before the crash, or newer", durable, &found));
            }
            // What the step saw of the floor need not have been durable.
            let least = durable.reports(*least);
            known.found(State::of(found, least, seen));
        }
    }
    Ok(())
}

/// A step, for those who find fault with it.
struct About<'a> {
    node: NodeId,
    step: &'a RowStep,
}

impl About<'_> {
    fn taken_again(&self, admitted: &Admitted) -> Result<(), Wrong> {
        let (step, rows) = (self.step, &self.step.values);
        let stored = Stored {
            cell: rows.read(|mut row| trace::cell(&step.cell, &mut row))?,
            floor: step.floor,
            gate: step.gate,
        };
        let request = rows.read(|mut row| trace::request(&step.request, &mut row))?;
        let served = serve_row::<Row, Sound>(admitted, &stored, step.now_us, step.skew_us, &request);
        let mut values = step.values.clone();
        let mut mention = |row: &Row| values.mention(row);
        let reply = trace::reply(&served.reply, &mut mention);
        let changed = served.changed.map(|changed| trace::cell(&changed, &mut mention));
        if (&reply, &changed) == (&step.reply, &step.changed) {
            return Ok(());
        }
        let words = Words(&values);
        let told = |reply, changed: &Option<Cell<Mention>>| {
            let row = changed.as_ref().map_or("as it was".to_owned(), |cell| words.cell(cell));
            format!("{}; the row then: {row}", words.reply(reply))
        };
        Err(self.wrong(&told(&reply, &changed), &told(&step.reply, &step.changed)))
    }

    /// Did the driver hand the change to the store?
    fn is_kept(&self, kept: Kept) -> Result<(), Wrong> {
        match (&self.step.changed, kept) {
            (None, Kept::AsItWas) | (Some(_), Kept::Replaced(_) | Kept::NotTaken) => Ok(()),
            (None, Kept::Replaced(_) | Kept::NotTaken) => Err(self.wrong("no change of the row", "one")),
            (Some(changed), Kept::AsItWas) => {
                let changed = Words(&self.step.values).cell(changed);
                Err(self.wrong(&format!("a change of the row to {changed}"), "none"))
            }
        }
    }

    /// Where the rule hands out the value, it must have been given all of it.
    fn is_whole(&self, cell: &Cell<Row>) -> Result<(), Wrong> {
        let needs_body = match &self.step.request {
            Request::Read(fetch) => *fetch == Fetch::Full,
            Request::Prepare { .. } => true,
            Request::Write(_) | Request::WriteBack(_) | Request::Accept(_) => false,
        };
        let is_whole = cell.accepted.as_ref().is_none_or(|held| held.content.is_whole());
        if is_whole || !needs_body {
            return Ok(());
        }
        Err(self.wrong("the row with its inline body", "its head alone"))
    }

    fn differs(&self, what: &str, expected: &Cell<Row>, found: &Cell<Row>) -> Wrong {
        let (one, other) = words::differing(expected, found, words::cell, |_, _| None);
        self.wrong(&format!("on the row {what}: {one}"), &format!("on this row: {other}"))
    }

    fn wrong(&self, expected: &str, recorded: &str) -> Wrong {
        let step = self.step;
        let words = Words(&step.values);
        Wrong {
            machine: replica(&step.key, step.partition, self.node),
            input: format!(
                "{} when it held {}, gate {:?}, clock {} µs",
                words.request(&step.request),
                words.cell(&step.cell),
                step.gate.gate,
                step.now_us
            ),
            expected: expected.to_owned(),
            recorded: recorded.to_owned(),
        }
    }
}

fn replica(key: &[u8], partition: Partition, node: NodeId) -> String {
    let (key, partition, node) = (words::key(key), partition.0, words::node(node));
    format!("the replica of {key} in partition {partition} at {node}")
}

/// Bodies come and go with what is asked for.
fn headed(cell: Cell<Row>) -> Cell<Row> {
    Cell {
        accepted: cell.accepted.map(|held| held.head()),
        ..cell
    }
}
