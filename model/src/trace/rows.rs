//! The rule of rows, taken again; and the rows of a node from step to step.
//!
//! A step is given the row that the last one left, for nothing changes it besides but a sync, and forgetting its
//! tombstone, and both are recorded. After a crash it may be given an older one: but none older than what was durable, by
//! what the node itself knew when it recorded; nor need it be one of those in the trace, for what was recorded last may
//! not have come to a file. Where a row is gone, the floor that the step was given has to stand for its tombstone.

use std::collections::HashMap;

use trellis_spec::flaw::Sound;
use trellis_spec::gate::Gate;
use trellis_spec::layout::{Admitted, Knowledge, LayoutVersion, Member, Partition, View, initial};
use trellis_spec::peer::{Stored, serve_row};
use trellis_spec::quorum::NodeId;
use trellis_spec::register::{Cell, Fetch, Request};
use trellis_spec::row::{Row, RowKey};
use trellis_spec::stamp::Stamp;
use trellis_spec::tombstone;
use trellis_spec::trace::{self, Aftermath, ForgottenRow, Kept, Mention, RowStep};

use super::Wrong;
use super::attempt::RowsOf;
use super::words::{self, Words};

/// A row, as long as the node stays where it is.
pub(super) type Place = (Partition, LayoutVersion, RowKey);

/// The rows of one node.
#[derive(Default)]
pub(super) struct Rows {
    known: HashMap<Place, Known>,
    /// Every change up to this position was durable.
    durable: u64,
}

/// What is known of one row.
struct Known {
    /// What it may be: the newest that was durable, and what came after. Never empty.
    states: Vec<State>,
    certainty: Certainty,
}

/// What a row may be.
struct State {
    /// Where its change is in the log.
    position: u64,
    cell: Cell<Row>,
    /// Where nothing is held, the floor is at least this one.
    floor: Stamp,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Certainty {
    /// It is the last state.
    Exact,
    /// It is the first state or a newer one.
    AtLeast,
}

impl Rows {
    /// Every change up to this position was durable.
    pub(super) fn durable(&self) -> u64 {
        self.durable
    }

    /// Something is missing here.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }

    /// A row is another one now.
    pub(super) fn forget_row(&mut self, place: Place) {
        self.known.remove(&place);
    }

    /// The node stopped in order and was started again.
    pub(super) fn reopened(&mut self) {
        for known in self.known.values_mut() {
            known.states.drain(..known.states.len() - 1);
            known.states[0].position = 0;
        }
        self.durable = 0;
    }

    /// The node crashed and was started again.
    pub(super) fn crashed(&mut self) {
        for known in self.known.values_mut() {
            known.leave_out_before(self.durable);
            known.states.truncate(1);
            known.states[0].position = 0;
            known.certainty = Certainty::AtLeast;
        }
        self.durable = 0;
    }

    /// Takes a step again; whether its row was known.
    pub(super) fn step(&mut self, node: NodeId, step: &RowStep, aftermath: Aftermath) -> Result<bool, Wrong> {
        let about = About { node, step };
        about.taken_again()?;
        about.is_kept(aftermath.kept)?;
        let rows = RowsOf(&step.values);
        let cell = rows.read(|mut row| trace::cell(&step.cell, &mut row))?;
        about.is_whole(&cell)?;
        self.gate_is_as_left(&about)?;
        let place = (step.partition, step.entered, step.key.clone());
        self.durable = self.durable.max(aftermath.durable);
        let known = self.known.get_mut(&place);
        let is_known = known.is_some();
        let known = match known {
            Some(known) => {
                known.is_left(&about, &cell)?;
                known.certainty = Certainty::Exact;
                known.leave_out_before(self.durable);
                known
            }
            None => {
                let known = Known {
                    states: vec![State::first(cell, Stamp::ZERO)],
                    certainty: Certainty::Exact,
                };
                self.known.entry(place).or_insert(known)
            }
        };
        if let (Some(changed), Kept::Replaced(position)) = (&step.changed, aftermath.kept) {
            let after = rows.read(|mut row| trace::cell(changed, &mut row))?;
            let floor = known.last().floor;
            known.states.push(State {
                position,
                ..State::first(after, floor)
            });
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
        let may_go = match known.certainty {
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
        known.states.push(State {
            position: gone.position,
            ..State::first(Cell::default(), floor)
        });
        known.certainty = Certainty::Exact;
        Ok(())
    }

    /// The gate is a row as well, and the step saw it in the same moment.
    fn gate_is_as_left(&self, about: &About<'_>) -> Result<(), Wrong> {
        let step = about.step;
        let Some(key) = &step.gate_key else { return Ok(()) };
        let place = (step.partition, step.entered, key.clone());
        let Some(known) = self
            .known
            .get(&place)
            .filter(|known| known.certainty == Certainty::Exact)
        else {
            return Ok(());
        };
        let left = &known.last().cell;
        let gate = match left.accepted.as_ref().and_then(|held| held.content.live()) {
            Some(Row::Gate(gate)) => *gate,
            Some(_) | None => Gate::Open,
        };
        if (gate, left.ballot()) == (step.gate.gate, step.gate.ballot) {
            return Ok(());
        }
        let expected = format!(
            "the gate as it was left: {gate:?} under {}",
            words::stamp(left.ballot())
        );
        let recorded = format!("{:?} under {}", step.gate.gate, words::stamp(step.gate.ballot));
        Err(about.wrong(&expected, &recorded))
    }
}

impl State {
    /// What was there before the first change that is known.
    fn first(cell: Cell<Row>, floor: Stamp) -> Self {
        State {
            position: 0,
            cell: headed(cell),
            floor,
        }
    }
}

impl Known {
    fn last(&self) -> &State {
        self.states.last().expect("something is known of every row that is")
    }

    /// Leaves out states that were followed by one that is durable.
    fn leave_out_before(&mut self, durable: u64) {
        let newest = self.states.iter().rposition(|state| state.position <= durable);
        self.states.drain(..newest.unwrap_or(0));
    }

    /// Is this what was left, and after a crash at least what was durable?
    fn is_left(&mut self, about: &About<'_>, found: &Cell<Row>) -> Result<(), Wrong> {
        let (found, floor) = (headed(found.clone()), about.step.floor);
        match self.certainty {
            Certainty::Exact => {
                let left = self.last();
                if left.cell != found {
                    return Err(about.differs("as it was left", &left.cell, &found));
                }
                if found.accepted.is_none() && floor < left.floor {
                    let expected = format!("a floor of at least {}", words::stamp(left.floor));
                    return Err(about.wrong(&expected, &words::stamp(floor)));
                }
                Ok(())
            }
            Certainty::AtLeast => {
                let State {
                    cell: durable,
                    floor: least,
                    ..
                } = &self.states[0];
                let held = found.reports(floor);
                let is_older = found.promised.max(held) < durable.promised || held < durable.reports(*least);
                let is_other = found.accepted.is_some()
                    && found.ballot() == durable.ballot()
                    && found.accepted != durable.accepted;
                if is_older || is_other {
                    return Err(about.differs("as it was durable before the crash, or newer", durable, &found));
                }
                // What the step saw of the floor need not have been durable.
                let least = durable.reports(*least);
                self.states = vec![State::first(found, least)];
                Ok(())
            }
        }
    }
}

/// A step, for those who find fault with it.
struct About<'a> {
    node: NodeId,
    step: &'a RowStep,
}

impl About<'_> {
    fn taken_again(&self) -> Result<(), Wrong> {
        let (step, rows) = (self.step, RowsOf(&self.step.values));
        let stored = Stored {
            cell: rows.read(|mut row| trace::cell(&step.cell, &mut row))?,
            floor: step.floor,
            gate: step.gate,
        };
        let request = rows.read(|mut row| trace::request(&step.request, &mut row))?;
        let served = serve_row::<Row, Sound>(&admitted(), &stored, step.now_us, step.skew_us, &request);
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
        let (mut one, mut other) = (words::cell(expected), words::cell(found));
        if one == other {
            (one, other) = (format!("{expected:?}"), format!("{found:?}"));
        }
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

/// The rule asks for the proof that somebody looked at the request's view, and does not look at it itself. The trace
/// does not have the layouts, so the proof comes from a node that is alone.
fn admitted() -> Admitted {
    let alone = Member::storage([0; 32], [0; 16], String::new(), 1);
    let me = alone.id;
    let layout = initial(vec![alone], 1, 1).expect("one node can hold everything");
    let view = View {
        lo: layout.version,
        hi: layout.version,
    };
    let admitted = Knowledge::of(layout).admit::<Sound>(me, Partition(0), view);
    admitted.expect("a node is admitted where it is alone")
}
