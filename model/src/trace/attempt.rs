//! Attempts, taken again.
//!
//! Beyond the steps themselves, what their driver did is checked: each request went to those for whom it was meant, once;
//! a replica was heard no more often than it was asked; stamps rose; nothing happened after the end.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};

use trellis_spec::block::Inquiry;
use trellis_spec::flaw::Sound;
use trellis_spec::gate::Gate;
use trellis_spec::layout::{Election, LayoutMark, Nominate};
use trellis_spec::quorum::{NodeId, ReplicaSets};
use trellis_spec::register::{
    Accepted, Ask, Attempt, Audience, Change, Conditional, ConditionalOutcome, Decision, Fetch, Read, Request, Settle,
    Step, Value, Write,
};
use trellis_spec::row::{Row, Swap};
use trellis_spec::stamp::Stamp;
use trellis_spec::trace::{
    self, AttemptRun, Candidate, ElectionRun, Event, Input, Made, Mention, Outcome, Traced, Values,
};

use super::words::{self, Layouts, Names, Words};
use super::{Checked, Wrong};

type Said<N> = Step<N, Outcome<N>>;

/// Takes an attempt again, from its beginning to its end.
pub(super) fn repeat(node: NodeId, run: &AttemptRun) -> Result<Checked, Wrong> {
    let (sets, rows) = (run.sets.clone(), &run.values);
    match &run.made {
        Made::Read { fetch } => on_rows(node, run, Read::<Row, Sound>::new(sets, *fetch)),
        Made::Write {
            mode,
            op,
            content,
            until,
        } => {
            let content = rows.read(|mut row| trace::content(content, &mut row))?;
            on_rows(node, run, Write::<Row, Sound>::new(*mode, sets, *op, content, *until))
        }
        Made::Conditional { op, swap, until } => {
            let swap = match swap {
                None => None,
                Some((guard, content)) => Some(Swap {
                    guard: guard.clone(),
                    content: rows.read(|mut row| trace::content(content, &mut row))?,
                }),
            };
            let attempt: Conditional<Row, Told, Sound> = Conditional::new(sets, *op, Told(swap), *until);
            on_rows(node, run, attempt)
        }
        Made::Settle => on_rows(node, run, Settle::<Row, Sound>::new(sets, 0)),
        Made::Inquiry { owner, version, until } => {
            let attempt = Inquiry::<Row, Sound>::new(sets, owner.clone(), *version, *until);
            on_rows(node, run, attempt)
        }
    }
}

fn on_rows<A: Traced>(node: NodeId, run: &AttemptRun, attempt: A) -> Result<Checked, Wrong> {
    let machine = match run.made {
        Made::Read { .. } => "a read",
        Made::Write { .. } => "a write",
        Made::Conditional { .. } => "a conditional write",
        Made::Settle => "a settling",
        Made::Inquiry { .. } => "an inquiry",
    };
    let (key, node) = (words::key(&run.key), words::node(node));
    let driver = Driver::new(
        format!("{machine} of {key} at {node}"),
        run.sets.clone(),
        run.values.clone(),
    );
    driver.drive(&run.events, attempt, |outcome: &A::Outcome, mention| {
        A::outcome(outcome, &mut |row: &Row| mention(row))
    })
}

/// Takes a candidacy again, from its beginning to its end.
pub(super) fn candidacy(node: NodeId, run: &ElectionRun) -> Result<Checked, Wrong> {
    let machine = format!("a candidacy for layout {} at {}", run.version.0, words::node(node));
    let attempt: Election<Candidate, Sound> =
        Conditional::new(run.sets.clone(), run.op, Nominate::new(run.candidate), u64::MAX);
    let driver = Driver::new(machine, run.sets.clone(), Layouts);
    driver.drive(&run.events, attempt, |outcome: &ConditionalOutcome<Candidate>, _| {
        trace::elected(outcome, |candidate| *candidate)
    })
}

/// What a record has in the place of values, and the values.
pub(super) trait Language: Names<Name: Clone + PartialEq + Debug> {
    /// What machines take when they are run again.
    type Value: Value;
    /// The value, if the record has it.
    fn value(&self, of: &Self::Name) -> Option<Self::Value>;
    /// Any value, in the place of one that the record does not have.
    fn any() -> Self::Value;
    /// The name of a value, which may only come up now.
    fn named(&mut self, value: &Self::Value) -> Self::Name;

    /// What is read with values in the place of their names, which must all be there.
    fn read<T>(&self, read: impl FnOnce(&mut dyn FnMut(&Self::Name) -> Self::Value) -> T) -> Result<T, Wrong> {
        let mut is_missing = false;
        let read = read(&mut |name| {
            let found = self.value(name);
            is_missing |= found.is_none();
            found.unwrap_or_else(Self::any)
        });
        if is_missing { Err(Wrong::missing()) } else { Ok(read) }
    }
}

impl Language for Values {
    type Value = Row;

    fn value(&self, of: &Mention) -> Option<Row> {
        self.get(*of)
    }

    fn any() -> Row {
        Row::Gate(Gate::Open)
    }

    fn named(&mut self, value: &Row) -> Mention {
        self.mention(value)
    }
}

impl Language for Layouts {
    type Value = Candidate;

    fn value(&self, of: &Candidate) -> Option<Candidate> {
        Some(*of)
    }

    fn any() -> Candidate {
        Candidate(LayoutMark::default())
    }

    fn named(&mut self, value: &Candidate) -> Candidate {
        *value
    }
}

/// A change that may never have been told: then nothing was decided.
struct Told(Option<Swap>);

impl Change<Row> for Told {
    fn decide(&self, current: Option<&Accepted<Row>>) -> Decision<Row> {
        self.0.as_ref().map_or(Decision::Refuse, |swap| swap.decide(current))
    }
}

impl trace::Guarded for Told {
    fn swap(&self) -> Option<&Swap> {
        self.0.as_ref()
    }
}

/// What is known of an attempt between two events.
struct Driver<N: Language> {
    machine: String,
    sets: ReplicaSets,
    last: Option<Said<N::Name>>,
    /// The newest stamp that it was given.
    stamp: Option<Stamp>,
    /// The last request, and for whom it is that it was not sent to yet.
    asked: Option<Ask<N::Name>>,
    due: Vec<NodeId>,
    /// Requests that were not answered, by round and node.
    open: BTreeMap<(u32, NodeId), u32>,
    /// The record's values, and those that only come up now.
    values: N,
}

impl<N: Language> Driver<N> {
    fn new(machine: String, sets: ReplicaSets, values: N) -> Self {
        Driver {
            machine,
            sets,
            last: None,
            stamp: None,
            asked: None,
            due: Vec::new(),
            open: BTreeMap::new(),
            values,
        }
    }

    /// Runs `attempt` through the events; `end` gives its outcome in the terms of a record.
    fn drive<A: Attempt<N::Value>>(
        mut self,
        events: &[Event<N::Name>],
        mut attempt: A,
        end: impl Fn(&A::Outcome, &mut dyn FnMut(&N::Value) -> N::Name) -> Outcome<N::Name>,
    ) -> Result<Checked, Wrong> {
        let mut checked = Checked::default();
        for event in events {
            match event {
                Event::Sent(to, request) => {
                    self.sent(*to, request)?;
                    checked.sent += 1;
                }
                Event::Told(input, recorded) => {
                    self.may_be_told(input)?;
                    let step = self.tell(&mut attempt, input)?;
                    let values = &mut self.values;
                    let mut named = |value: &N::Value| values.named(value);
                    let expected = trace::step(&step, &mut named, |outcome, named| end(outcome, named));
                    if expected != *recorded {
                        return Err(self.differs(input, &expected, recorded));
                    }
                    self.said(expected);
                    checked.told += 1;
                }
            }
        }
        self.all_sent(&"the end of the record")?;
        Ok(checked)
    }

    /// May this happen now?
    fn may_be_told(&mut self, input: &Input<N::Name>) -> Result<(), Wrong> {
        let words = Words(&self.values);
        self.all_sent(&words.input(input))?;
        let is_over = matches!(self.last, Some(Step::Done(_)));
        let is_first = self.last.is_none();
        let must = |what: &str| Err(self.wrong(&words.input(input), what, "it happened"));
        match input {
            _ if is_over => must("nothing after the end"),
            Input::Start(_) if !is_first => must("only one beginning"),
            Input::Start(stamp) => {
                self.stamp = Some(*stamp);
                Ok(())
            }
            _ if is_first => must("the beginning first"),
            Input::Again(stamp) => {
                let Some(Step::Again { above }) = self.last else {
                    return must("no other try unless the attempt wants one");
                };
                if *stamp <= above || self.stamp.is_some_and(|before| *stamp <= before) {
                    let above = words::stamp(above.max(self.stamp.unwrap_or_default()));
                    return must(&format!("a stamp above {above}"));
                }
                self.stamp = Some(*stamp);
                Ok(())
            }
            Input::Reply(round, from, _) => match self.open.get(&(*round, *from)) {
                Some(open) if *open > 0 => {
                    self.open.insert((*round, *from), open - 1);
                    Ok(())
                }
                Some(_) | None => must("a reply only to a request of that round that was sent there, and one to each"),
            },
            Input::View(sets) => {
                self.sets = sets.clone();
                Ok(())
            }
            Input::Patience | Input::Deadline => Ok(()),
        }
    }

    fn tell<A: Attempt<N::Value>>(
        &self,
        attempt: &mut A,
        input: &Input<N::Name>,
    ) -> Result<Step<N::Value, A::Outcome>, Wrong> {
        Ok(match input {
            Input::Start(stamp) => attempt.start(*stamp),
            Input::Again(stamp) => attempt.again(*stamp),
            Input::Reply(round, from, reply) => {
                let reply = self.values.read(|mut value| trace::reply(reply, &mut value))?;
                attempt.on_reply(*round, *from, reply)
            }
            Input::Patience => attempt.on_patience(),
            Input::View(sets) => attempt.on_view(sets.clone()),
            Input::Deadline => Step::Done(attempt.on_deadline()),
        })
    }

    fn said(&mut self, step: Said<N::Name>) {
        if let Step::Ask(ask) = &step {
            self.due = match ask.audience {
                Audience::All => self.sets.members(),
                Audience::One(node) => vec![node],
            };
            self.asked = Some(ask.clone());
        }
        self.last = Some(step);
    }

    fn sent(&mut self, to: NodeId, request: &Request<N::Name>) -> Result<(), Wrong> {
        let words = Words(&self.values);
        let sent = format!("{} to {}", words.request(request), words::node(to));
        let Some(ask) = &self.asked else {
            return Err(self.wrong("nothing was asked for", "nothing sent", &sent));
        };
        let asked = words.request(&ask.request);
        let Some(due) = self.due.iter().position(|node| *node == to) else {
            let nodes: Vec<String> = self.due.iter().map(|node| words::node(*node)).collect();
            let expected = format!("{asked} to each of [{}] once", nodes.join(", "));
            return Err(self.wrong(&asked, &expected, &sent));
        };
        // Bodies are asked only of the nearest.
        let is_head = ask.request == Request::Read(Fetch::Full) && *request == Request::Read(Fetch::Head);
        if *request != ask.request && !is_head {
            return Err(self.wrong(&asked, &asked, &sent));
        }
        self.due.swap_remove(due);
        *self.open.entry((ask.round, to)).or_default() += 1;
        Ok(())
    }

    /// Was everything sent before this happened?
    fn all_sent(&self, next: &dyn Display) -> Result<(), Wrong> {
        let Some((node, ask)) = self.due.first().zip(self.asked.as_ref()) else {
            return Ok(());
        };
        let asked = Words(&self.values).request(&ask.request);
        let expected = format!("{asked} sent to {}", words::node(*node));
        Err(self.wrong(&asked, &expected, &format!("it was not, before {next}")))
    }

    fn differs(&self, input: &Input<N::Name>, expected: &Said<N::Name>, recorded: &Said<N::Name>) -> Wrong {
        let words = Words(&self.values);
        let (one, other) = words::differing(expected, recorded, |step| words.step(step), |_, _| None);
        self.wrong(&words.input(input), &one, &other)
    }

    fn wrong(&self, input: &str, expected: &str, recorded: &str) -> Wrong {
        Wrong {
            machine: self.machine.clone(),
            input: input.to_owned(),
            expected: expected.to_owned(),
            recorded: recorded.to_owned(),
        }
    }
}
