//! States and steps for people.

use std::fmt;
use std::sync::Arc;

use trellis_spec::layout::{Refusal, View};
use trellis_spec::register::{Accepted, Cell, Content, OpId, Reply, Request};
use trellis_spec::stamp::Stamp;

use super::state::Running;
use super::{Action, Column, Op, Progress, Seat, Slot, State, World};
use crate::coordinator::{Answer, Call, Outcome};
use crate::value::{Body, Bucket, Cargo, Key, OpIndex};

/// What replicas are called, column by column. Columns are sorted after each step, names follow them.
#[derive(Clone, Debug)]
pub struct Names(Vec<char>);

impl Names {
    /// X, Y, Z, … in order of columns.
    pub fn plain(replicas: u8) -> Self {
        Names(('A'..).take(replicas.into()).collect())
    }

    /// The name of the replica in this column.
    pub fn of(&self, column: u8) -> char {
        self.0.get(usize::from(column)).copied().unwrap_or('?')
    }

    /// Names after the columns of `moved` were sorted.
    pub fn sorted(&self, moved: &[Arc<Column>]) -> Self {
        let mut order: Vec<usize> = (0..moved.len()).collect();
        order.sort_by(|left, right| moved[*left].cmp(&moved[*right]));
        Names(order.into_iter().map(|column| self.0[column]).collect())
    }

    /// The columns in order of names.
    pub fn by_name(&self) -> Vec<u8> {
        let mut columns: Vec<u8> = (0..self.0.len() as u8).collect();
        columns.sort_by_key(|column| self.of(*column));
        columns
    }
}

impl World {
    /// One step in words.
    pub fn narrate(&self, last: &State, action: Action, names: &Names) -> String {
        let mut next = last.clone();
        self.apply(&mut next, action);
        let mut text = self.happening(last, action, names);
        for (index, (before, after)) in last.columns.iter().zip(&next.columns).enumerate() {
            if (&before.rows, before.floor) != (&after.rows, after.floor) {
                text += &format!("; {} now holds {}", names.of(index as u8), rows(after));
            }
            for change in moved(names.of(index as u8), before.seat, after.seat) {
                text += &format!("; {change}");
            }
        }
        for (op, (before, after)) in last.ops.iter().zip(&next.ops).enumerate() {
            if let Some(change) = told(op, before, after).or_else(|| asks(op, before, after)) {
                text += &format!("; {change}");
            }
        }
        text
    }

    /// The step in words, and what follows in the sorted state, with the names it then has.
    pub fn step(&self, last: &State, action: Action, names: &Names) -> (String, State, Names) {
        let text = self.narrate(last, action, names);
        let mut next = last.clone();
        self.apply(&mut next, action);
        let sorted = World {
            sorted: false,
            ..self.clone()
        };
        sorted.tidy(&mut next);
        let names = if self.sorted {
            names.sorted(&next.columns)
        } else {
            names.clone()
        };
        self.tidy(&mut next);
        (text, next, names)
    }

    /// What an operation asks at present.
    pub(super) fn asked(&self, last: &State, op: u8) -> String {
        let running = last.running(op.into());
        let call = running.and_then(|running| running.call.as_ref());
        let asked = call.map_or_else(|| "nothing".to_owned(), show_call);
        match running {
            Some(running) if running.after.is_none() => {
                format!("#{op} begins to {}: {asked}", self.script.deeds[usize::from(op)].kind)
            }
            Some(_) | None => format!("#{op} {asked}"),
        }
    }

    /// A step in words, without what it changes.
    pub(super) fn happening(&self, last: &State, action: Action, names: &Names) -> String {
        match action {
            Action::Deliver { op, column } => {
                let answer = self.answer(last, op, column);
                format!("{} at {} -> {answer}", self.asked(last, op), names.of(column))
            }
            Action::Serve { op, column } => {
                let answer = self.answer(last, op, column);
                format!(
                    "{} at {} -> {answer}, not heard",
                    self.asked(last, op),
                    names.of(column)
                )
            }
            Action::Hear { op, column } => format!("#{op} hears the answer of {}", names.of(column)),
            Action::Late { column, index } => {
                format!("late at {}: {}", names.of(column), show_late(last, column, index))
            }
            Action::Patience { op } => format!("#{op} waits no longer for the others"),
            Action::Restamp { op, far: false } => format!("#{op} gets a stamp just above what it met"),
            Action::Restamp { op, far: true } => format!("#{op} gets a stamp above all others"),
            Action::GiveUp { op } => format!("#{op} gives up"),
            Action::Flush { column } => format!("{} makes its rows durable", names.of(column)),
            Action::Crash { column } => format!("{} crashes and comes back", names.of(column)),
            Action::Repair { from, to, row } => {
                format!("{} repairs row {row} of {}", names.of(from), names.of(to))
            }
            Action::Learn { column } => format!("{} hears of the next layout", names.of(column)),
            Action::Retire { column, to } => {
                format!("{} takes layout {to} for the oldest active one", names.of(column))
            }
            Action::Drop { column } => format!("{} drops its rows", names.of(column)),
            Action::Inform { op, column } => format!("#{op}'s coordinator knows what {} knows", names.of(column)),
            Action::Decide => "the next layout is elected".to_owned(),
            Action::Snapshot { column } => format!("{} reads its rows for a pull to come", names.of(column)),
            Action::LoseDisk { column } => format!("the disk of {} loses everything", names.of(column)),
            Action::GoOn { op } => format!("#{op} goes on, its node's floor is raised"),
            Action::Report { column, row } => format!("{} reports what it holds of row {row}", names.of(column)),
            Action::Forget { column, row } => format!("{} forgets the tombstone of row {row}", names.of(column)),
            Action::ForgetOther { column } => format!("{} forgets the tombstone of some other row", names.of(column)),
        }
    }

    /// What a replica answers to an operation.
    pub(super) fn answer(&self, last: &State, op: u8, column: u8) -> String {
        self.protocol.take_effect();
        show_answer(&self.handle(&mut last.clone(), op, column))
    }
}

/// How a node's place among the layouts changed.
pub(super) fn moved(name: char, before: Seat, after: Seat) -> Vec<String> {
    let mut changes = Vec::new();
    if before.view != after.view {
        changes.push(format!("{name} is in {}", show_view(after.view)));
    }
    if before.synced != after.synced {
        changes.push(format!("{name} is synced for {}", after.synced.0));
    }
    changes
}

/// What a client was told just now.
pub(super) fn told(op: usize, before: &Op, after: &Op) -> Option<String> {
    match (&before.progress, &after.progress) {
        (Progress::Running(_), Progress::Told { outcome, .. }) => {
            Some(format!("#{op} is told: {}", show_outcome(outcome)))
        }
        (Progress::Running(_) | Progress::Waiting | Progress::Told { .. }, _) => None,
    }
}

fn asks(op: usize, before: &Op, after: &Op) -> Option<String> {
    match (&before.progress, &after.progress) {
        (Progress::Running(old), Progress::Running(new)) if old.round != new.round => {
            let call = new.call.as_ref()?;
            Some(format!("#{op} asks all to {}", show_call(call)))
        }
        (Progress::Running(_) | Progress::Waiting | Progress::Told { .. }, _) => None,
    }
}

pub(super) fn show_answer(answer: &Answer) -> String {
    match answer {
        Answer::Row(Reply::Row { accepted, .. }) => show_held(accepted.as_ref()),
        Answer::Row(Reply::Accept) => "accepted".to_owned(),
        Answer::Row(Reply::Promise { accepted, .. }) => format!("promised, holds {}", show_held(accepted.as_ref())),
        Answer::Row(Reply::Nack { seen }) => format!("refused for {}", show_stamp(*seen)),
        Answer::Row(Reply::Gated) => "the gate is closed".to_owned(),
        Answer::Row(Reply::TooFarAhead) => "too far ahead".to_owned(),
        Answer::Refused(refusal) => show_refusal(refusal),
        Answer::Pulled(pulled) => {
            let rows = pulled
                .rows
                .iter()
                .map(|(key, cell)| format!("{}: {}", key.0, show_cell(cell)));
            format!("[{}]", rows.collect::<Vec<_>>().join(", "))
        }
        Answer::Scanned(scanned) => {
            let rows: Vec<String> = scanned
                .rows
                .iter()
                .map(|(key, held)| format!("{}: {}", key.0, show_held(Some(held))))
                .collect();
            let bound = scanned
                .bound
                .map_or_else(|| "the end".to_owned(), |bound| bound.0.to_string());
            format!("[{}] up to {bound}", rows.join(", "))
        }
    }
}

/// A request that nobody waits for.
pub(super) fn show_late(last: &State, column: u8, index: u8) -> String {
    let late = last.columns[usize::from(column)].late.get(usize::from(index));
    late.map_or_else(String::new, |(_, key, request)| show_request(*key, request))
}

fn show_stamp(stamp: Stamp) -> String {
    if stamp == Stamp::ZERO {
        "0".to_owned()
    } else {
        format!("{}.{}", stamp.time, stamp.by.0)
    }
}

pub(super) fn show_view(view: View) -> String {
    format!("layouts {}..{}", view.lo.0, view.hi.0)
}

fn show_refusal(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Stale(view) => format!("not under that view, there are {}", show_view(*view)),
        Refusal::NeedLayout(version) => format!("what is layout {}?", version.0),
        Refusal::NotOwner(view) => format!("no owner in {}", show_view(*view)),
        Refusal::Entering => "it has no floor yet".to_owned(),
    }
}

fn show_op(op: OpId) -> String {
    match op.0 {
        [0, ..] => "nobody".to_owned(),
        [op, 0, ..] => format!("#{}", op - 1),
        [op, step, ..] => format!("#{}/{step}", op - 1),
    }
}

fn show_held(held: Option<&Accepted<Cargo>>) -> String {
    let Some(held) = held else { return "nothing".to_owned() };
    let content = match &held.content {
        Content::Tombstone => format!("tombstone of {}", show_op(held.op)),
        Content::Value(Cargo::Object(OpIndex(by), Body::Detached)) => format!("head of #{by}'s"),
        Content::Value(Cargo::Object(OpIndex(by), Body::Absent | Body::Here)) => format!("#{by}'s"),
        Content::Value(Cargo::Gate(gate)) => format!("gate {gate:?}"),
        Content::Value(Cargo::Bucket(Bucket::Deleting(by))) => format!("bucket claimed by {}", show_op(*by)),
        Content::Value(Cargo::Bucket(bucket @ (Bucket::Active | Bucket::Deleted))) => format!("bucket {bucket:?}"),
    };
    format!("{content} @{}", show_stamp(held.ballot))
}

pub(super) fn show_request(key: Key, request: &Request<Cargo>) -> String {
    let row = if key.0 == 0 {
        String::new()
    } else {
        format!(" (row {})", key.0)
    };
    match request {
        Request::Read(fetch) => format!("read {fetch:?}{row}"),
        Request::Write(new) => format!("write {}{row}", show_held(Some(new))),
        Request::WriteBack(new) => format!("write back {}{row}", show_held(Some(new))),
        Request::Prepare { ballot, .. } => format!("prepare {}{row}", show_stamp(*ballot)),
        Request::Accept(new) => format!("accept {}{row}", show_held(Some(new))),
    }
}

fn show_call(call: &Call) -> String {
    match call {
        Call::Row(key, request) => show_request(*key, request),
        Call::Scan(from) => format!("scan from {}", from.0),
        Call::Pull(from) => format!("pull from {}", from.0),
    }
}

fn show_outcome(outcome: &Outcome) -> String {
    let object = |by: &Option<OpIndex>| by.map_or_else(|| "nothing".to_owned(), |by| format!("#{}'s", by.0));
    match outcome {
        Outcome::Wrote => "done".to_owned(),
        Outcome::Refused(found) => format!("refused, there is {}", object(found)),
        Outcome::Found(found) => format!("found {}", object(found)),
        Outcome::Listed(rows) => {
            let rows: Vec<String> = rows.iter().map(|(key, by)| format!("{}: #{}'s", key.0, by.0)).collect();
            format!("[{}]", rows.join(", "))
        }
        Outcome::Synced => "synced".to_owned(),
        Outcome::Dropped => "the bucket is deleted".to_owned(),
        Outcome::Unknown => "outcome unknown".to_owned(),
        Outcome::Nothing => "no result".to_owned(),
    }
}

pub(super) fn show_cell(cell: &Cell<Cargo>) -> String {
    let held = show_held(cell.accepted.as_ref());
    if cell.promised > cell.ballot() {
        format!("{held}, promised {}", show_stamp(cell.promised))
    } else {
        held
    }
}

fn rows(column: &Column) -> String {
    let cells: Vec<String> = column.rows.iter().map(show_cell).collect();
    let cells = cells.join(" | ");
    if column.floor == Stamp::ZERO {
        cells
    } else {
        format!("{cells}, floor {}", show_stamp(column.floor))
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (column, name) in self.columns.iter().zip('A'..) {
            write!(f, "{name}: {}", rows(column))?;
            if column.dead {
                write!(f, " (dead)")?;
            }
            if !column.durable.is_empty() && column.durable != column.rows {
                write!(f, " (not durable)")?;
            }
            let seat = column.seat;
            if seat.view.hi.0 > 1 {
                write!(f, " ({}, synced {})", show_view(seat.view), seat.synced.0)?;
            }
            for (_, key, request) in &column.late {
                write!(f, "\n   late: {}", show_request(*key, request))?;
            }
            writeln!(f)?;
        }
        for (index, op) in self.ops.iter().enumerate() {
            writeln!(f, "#{index}: {}", self.show_progress(index, op))?;
        }
        write!(f, "{:?}", self.verdict)
    }
}

impl State {
    pub(super) fn show_progress(&self, index: usize, op: &Op) -> String {
        match &op.progress {
            Progress::Waiting => "waits for its turn".to_owned(),
            Progress::Told { outcome, .. } => show_outcome(outcome),
            Progress::Running(Running { call: None, .. }) => "waits for a stamp".to_owned(),
            Progress::Running(Running {
                call: Some(call),
                after,
                ..
            }) => {
                let slots: String = self.columns.iter().map(|column| slot(&column.slots[index])).collect();
                let begun = if after.is_none() { "not begun: " } else { "" };
                format!("{begun}{} [{slots}]", show_call(call))
            }
        }
    }
}

/// One letter for how a request stands: not handled, handled, answered, heard.
fn slot(slot: &Slot) -> char {
    match slot {
        Slot::Open => '.',
        Slot::Served => 's',
        Slot::Replying(_) => 'a',
        Slot::Answered(_) => 'h',
    }
}
