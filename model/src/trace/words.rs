//! Records in words.

use std::fmt::Debug;

use trellis_spec::layout::{Footing, View};
use trellis_spec::quorum::{NodeId, ReplicaSets};
use trellis_spec::register::{
    Accepted, Audience, Cell, ConditionalOutcome, Content, Purpose, ReadOutcome, Reply, Request, SettleOutcome, Step,
    WriteOutcome,
};
use trellis_spec::row::{Body, Row};
use trellis_spec::stamp::Stamp;
use trellis_spec::trace::{self, Candidate, Input, Mention, Outcome, Values};

/// What a record has in the place of values, in words.
pub(super) trait Names {
    /// What stands for a value.
    type Name;
    /// The value, or why there is none.
    fn name(&self, of: &Self::Name) -> String;
}

impl Names for Values {
    type Name = Mention;

    fn name(&self, of: &Mention) -> String {
        let row = self.get(*of);
        row.map_or("a value that the record does not have".to_owned(), |row| value(&row))
    }
}

/// Layouts that somebody stands for.
pub(super) struct Layouts;

impl Names for Layouts {
    type Name = Candidate;

    fn name(&self, of: &Candidate) -> String {
        format!("the layout {:016x}", of.0.0)
    }
}

/// The words for what names values like this.
pub(super) struct Words<'a, N>(pub(super) &'a N);

/// A value in words.
struct Named(String);

pub(super) fn node(node: NodeId) -> String {
    format!("node {:016x}", node.0)
}

pub(super) fn stamp(stamp: Stamp) -> String {
    match stamp {
        Stamp::ZERO => "0".to_owned(),
        Stamp { time, by } => format!("{time}.{:04x}", by.0 >> 48),
    }
}

pub(super) fn view(view: View) -> String {
    format!("view {}-{}", view.lo.0, view.hi.0)
}

pub(super) fn sets(sets: &ReplicaSets) -> String {
    let members: Vec<String> = sets.members().into_iter().map(node).collect();
    format!("quorums of {}", members.join(", "))
}

pub(super) fn footing(footing: Footing) -> String {
    let part = footing.part().map_or("no part".to_owned(), |part| {
        format!("a part from layout {} to {}", part.entered.0, part.last.0)
    });
    format!("{}, {part}", view(footing.view()))
}

/// The table of a row and what can be read of its key.
pub(super) fn key(key: &[u8]) -> String {
    let text: String = key
        .iter()
        .flat_map(|byte| std::ascii::escape_default(*byte))
        .map(char::from)
        .collect();
    format!("row `{text}`")
}

pub(super) fn cell(of: &Cell<Row>) -> String {
    show_cell(&trace::cell(of, &mut |row| Named(value(row))))
}

impl<N: Names> Words<'_, N> {
    pub(super) fn cell(&self, of: &Cell<N::Name>) -> String {
        show_cell(&trace::cell(of, &mut |mention| self.named(mention)))
    }

    pub(super) fn request(&self, of: &Request<N::Name>) -> String {
        match trace::request(of, &mut |mention| self.named(mention)) {
            Request::Read(fetch) => format!("read ({fetch:?})"),
            Request::Write(new) => format!("write {}", show(&new)),
            Request::WriteBack(new) => format!("write back {}", show(&new)),
            Request::Accept(new) => format!("accept {}", show(&new)),
            Request::Prepare { ballot, purpose } => {
                let purpose = match purpose {
                    Purpose::Propose => "to propose",
                    Purpose::Settle => "to settle",
                };
                format!("promise {} {purpose}", stamp(ballot))
            }
        }
    }

    pub(super) fn reply(&self, of: &Reply<N::Name>) -> String {
        match trace::reply(of, &mut |mention| self.named(mention)) {
            Reply::Row { accepted } => format!("holds {}", show_some(accepted.as_ref())),
            Reply::Accept => "accepted".to_owned(),
            Reply::Promise { accepted, floor } => {
                format!(
                    "promised; holds {}, floor {}",
                    show_some(accepted.as_ref()),
                    stamp(floor)
                )
            }
            Reply::Nack { seen } => format!("refused for {}", stamp(seen)),
            Reply::Gated => "refused by the gate".to_owned(),
            Reply::TooFarAhead => "refused as too far ahead of the clock".to_owned(),
        }
    }

    pub(super) fn input(&self, of: &Input<N::Name>) -> String {
        match of {
            Input::Start(stamp) => format!("begin under {}", self::stamp(*stamp)),
            Input::Again(stamp) => format!("go on under {}", self::stamp(*stamp)),
            Input::Reply(round, from, reply) => {
                format!("{} to round {round}: {}", node(*from), self.reply(reply))
            }
            Input::Patience => "there was ample time".to_owned(),
            Input::View(sets) => {
                let members: Vec<String> = sets.members().into_iter().map(node).collect();
                format!("the view rose; replicas: {}", members.join(", "))
            }
            Input::Deadline => "the deadline passed".to_owned(),
        }
    }

    pub(super) fn step(&self, of: &Step<N::Name, Outcome<N::Name>>) -> String {
        match of {
            Step::Wait => "wait".to_owned(),
            Step::Ask(ask) => {
                let whom = match ask.audience {
                    Audience::All => "all".to_owned(),
                    Audience::One(one) => node(one),
                };
                format!("ask {whom} in round {}: {}", ask.round, self.request(&ask.request))
            }
            Step::Again { above } => format!("try again above {}", stamp(*above)),
            Step::Done(outcome) => self.outcome(outcome),
        }
    }

    fn outcome(&self, of: &Outcome<N::Name>) -> String {
        let some = |held: &Option<Accepted<N::Name>>| show_some(held.as_ref().map(|held| self.accepted(held)).as_ref());
        match of {
            Outcome::Read(ReadOutcome::Found(found)) => format!("done: found {}", some(found)),
            Outcome::Read(ReadOutcome::Gated) => "done: gated".to_owned(),
            Outcome::Read(ReadOutcome::Unreached) => "done: unreached".to_owned(),
            Outcome::Write(WriteOutcome::Written(under)) => format!("done: written under {}", stamp(*under)),
            Outcome::Write(WriteOutcome::Gated) => "done: gated".to_owned(),
            Outcome::Write(WriteOutcome::Unknown) => "done: unknown".to_owned(),
            Outcome::Conditional(ConditionalOutcome::Written(value)) => {
                format!("done: written {}", show(&self.accepted(value)))
            }
            Outcome::Conditional(ConditionalOutcome::Refused(found)) => format!("done: refused on {}", some(found)),
            Outcome::Conditional(ConditionalOutcome::Gated) => "done: gated".to_owned(),
            Outcome::Conditional(ConditionalOutcome::Unknown) => "done: unknown".to_owned(),
            Outcome::Conditional(ConditionalOutcome::Unreached) => "done: unreached".to_owned(),
            Outcome::Settle(SettleOutcome::Settled(value)) => format!("done: settled {}", show(&self.accepted(value))),
            Outcome::Settle(SettleOutcome::Gated) => "done: gated".to_owned(),
            Outcome::Settle(SettleOutcome::Unreached) => "done: unreached".to_owned(),
            Outcome::Dead => "done: dead".to_owned(),
            Outcome::Alive(value) => format!("done: alive in {}", show(&self.accepted(value))),
            Outcome::Untold => "done: nobody could tell".to_owned(),
        }
    }

    pub(super) fn held(&self, of: &Accepted<N::Name>) -> String {
        show(&self.accepted(of))
    }

    fn accepted(&self, of: &Accepted<N::Name>) -> Accepted<Named> {
        trace::accepted(of, &mut |mention| self.named(mention))
    }

    fn named(&self, name: &N::Name) -> Named {
        Named(self.0.name(name))
    }
}

fn show_cell(cell: &Cell<Named>) -> String {
    let held = show_some(cell.accepted.as_ref());
    format!("{held}, promised {}", stamp(cell.promised))
}

fn show_some(held: Option<&Accepted<Named>>) -> String {
    held.map_or("nothing".to_owned(), show)
}

fn show(held: &Accepted<Named>) -> String {
    let content = match &held.content {
        Content::Value(Named(value)) => value.as_str(),
        Content::Tombstone => "a tombstone",
    };
    let op = &hex(&held.op.0)[..8];
    let base = held
        .base
        .map_or(String::new(), |base| format!(" judged on {}", stamp(base)));
    format!("{content} of operation {op} under {}{base}", stamp(held.ballot))
}

fn value(row: &Row) -> String {
    match row {
        Row::Object(object) => {
            let version = &hex(&object.version.0)[..8];
            format!("object {version} of {} bytes ({})", object.size, body(&object.body))
        }
        Row::Part(part) => format!("part {} of {} bytes ({})", part.number, part.size, body(&part.body)),
        Row::Upload(_) => "an upload".to_owned(),
        Row::Manifest(_) => "a page of a manifest".to_owned(),
        Row::Gate(gate) => format!("gate {gate:?}"),
        Row::Bucket(_) => "a bucket".to_owned(),
        Row::Name(_) => "the name of a bucket".to_owned(),
        Row::AccessKey(_) => "an access key".to_owned(),
    }
}

fn body(body: &Body) -> String {
    match body {
        Body::Inline(inline) if inline.bytes.is_some() => "inline".to_owned(),
        Body::Inline(_) => "inline, body not here".to_owned(),
        Body::Blocks(blocks) => format!("{} blocks", blocks.len()),
        Body::Paged(pages) => format!("{} pages of blocks", pages.page_bytes.len()),
    }
}

/// Two things in words that differ: as a whole, and where `within` finds the first difference within them.
pub(super) fn differing<S: Debug>(
    expected: &S,
    recorded: &S,
    said: impl Fn(&S) -> String,
    within: impl Fn(&S, &S) -> Option<(String, String)>,
) -> (String, String) {
    let (one, other) = (said(expected), said(recorded));
    match within(expected, recorded) {
        Some((first, second)) => (format!("{one}; {first}"), format!("{other}; {second}")),
        None if one == other => (format!("{one}: {expected:?}"), format!("{other}: {recorded:?}")),
        None => (one, other),
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
