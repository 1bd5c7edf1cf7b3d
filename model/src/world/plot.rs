//! Ways through a world for whoever follows them with other replicas, whole nodes say.
//!
//! A step names columns, which are sorted after each, and a message by where it stands in the model. A [`Plot`] tells of
//! each step which node it is about, which operation is served there, what it asks and is answered, and which clients
//! are told what.

use std::collections::BTreeMap;

use stateright::Model;
use trellis_spec::layout::View;
use trellis_spec::register::{Accepted, Purpose, Reply, Request, Value, WriteMode};

use super::{Action, Collection, Names, Op, Progress, State, Verdict, World};
use crate::coordinator::{Answer, Call, Outcome};
use crate::script::Deed;
use crate::value::{Cargo, Key, OpIndex};

/// A scenario as others can follow it.
#[derive(Clone, Debug)]
pub struct Plot {
    /// The operations, in order of their numbers. Those of one client follow each other.
    pub deeds: Vec<Deed>,
    /// How many objects there are.
    pub keys: u8,
    /// What unconditional writes do when they meet something newer.
    pub mode: WriteMode,
    /// How many replicas there are.
    pub replicas: u8,
    /// Those that never answer.
    pub dead: Vec<u8>,
    /// The replicas of each layout, in the order in which layouts follow each other.
    pub layouts: Vec<Vec<u8>>,
    /// The replicas that ever sync: their syncs have the numbers after those of the operations.
    pub syncers: Vec<u8>,
    /// Are tombstones forgotten? Where they are not, nodes that enter a layout need no floors.
    pub collection: Collection,
    /// Rows in one answer to a scan.
    pub page_limit: usize,
    /// Where the clock of each operation's coordinator stands.
    pub clocks: Vec<u64>,
    /// The steps.
    pub beats: Vec<Beat>,
    /// What they come to.
    pub verdict: Verdict,
}

/// One step.
#[derive(Clone, Debug)]
pub struct Beat {
    /// What happens.
    pub cue: Cue,
    /// The same in words.
    pub line: String,
    /// The clients that are told something in this step, and what.
    pub told: Vec<(OpIndex, Outcome)>,
    /// The nodes that are synced from this step on, and for which layout.
    pub synced: Vec<(u8, u8)>,
}

/// What happens in a step. Nodes are replicas by name, numbered from zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cue {
    /// A node handles the request of an operation.
    Message {
        /// Whose.
        op: OpIndex,
        /// Where.
        node: u8,
        /// What it asks.
        asked: Asked,
        /// What it is answered.
        said: Said,
        /// Whether it hears that.
        heard: Heard,
    },
    /// An operation hears an answer that was under way.
    Hear {
        /// Which.
        op: OpIndex,
        /// Whose answer.
        node: u8,
    },
    /// A node handles a request that nobody waits for any more.
    Late {
        /// Whose it was; nothing: that of a sync that is over.
        op: Option<OpIndex>,
        /// Where.
        node: u8,
        /// What was asked.
        asked: Asked,
    },
    /// Replicas had ample time to answer.
    Patience(OpIndex),
    /// The deadline passes.
    GiveUp(OpIndex),
    /// The next layout is elected. Nobody knows it yet.
    Decide,
    /// A node hears of the next layout.
    Learn {
        /// Which node.
        node: u8,
    },
    /// A node hears who is synced, and takes this layout for the oldest active one.
    Retire {
        /// Which node.
        node: u8,
        /// Which layout.
        to: u8,
    },
    /// A node that left drops its rows.
    Drop {
        /// Which node.
        node: u8,
    },
    /// The coordinator of an operation that is about to begin hears of the layouts that a node knows.
    Inform {
        /// Which operation.
        op: OpIndex,
        /// Which node.
        node: u8,
    },
    /// A sync goes on after its node's floor was raised.
    GoOn(OpIndex),
    /// What only the model can be told to do.
    Other(Action),
}

impl Plot {
    /// The node whose sync has this number; nothing: it is an operation.
    pub fn syncer(&self, op: OpIndex) -> Option<u8> {
        let sync = usize::from(op.0).checked_sub(self.deeds.len())?;
        self.syncers.get(sync).copied()
    }
}

/// Does the coordinator hear the answer in the same step?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Yes.
    AtOnce,
    /// Later or never.
    NotYet,
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// The row; nothing where it is about many.
    pub row: Option<Key>,
    /// What is asked.
    pub deed: Ask,
}

/// What a replica is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ask {
    /// To tell what it holds.
    Read,
    /// To take a new value.
    Write,
    /// To take a value that another holds.
    WriteBack,
    /// To promise, for a new value.
    Prepare,
    /// To promise, for the value that is there.
    Settle,
    /// To take a value that was promised.
    Accept,
    /// To tell a page.
    Scan,
    /// To tell all rows to a new owner.
    Pull,
}

/// What a replica says, without stamps and bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Said {
    /// This is held.
    Row(Held),
    /// It is promised, and this is held.
    Promise(Held),
    /// It is taken.
    Accept,
    /// Something newer stands in the way.
    Nack,
    /// The gate is closed.
    Gated,
    /// The stamp is too far ahead.
    TooFarAhead,
    /// A page, or rows.
    Rows,
    /// It was not looked at.
    Refused,
}

/// What a row holds, as far as the model and nodes can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    /// Nothing.
    Nothing,
    /// A tombstone.
    Tombstone,
    /// Something.
    Value,
}

impl Ask {
    /// What a request about one row asks.
    pub fn of<V>(request: &Request<V>) -> Self {
        match request {
            Request::Read(_) => Ask::Read,
            Request::Write(_) => Ask::Write,
            Request::WriteBack(_) => Ask::WriteBack,
            Request::Prepare {
                purpose: Purpose::Propose,
                ..
            } => Ask::Prepare,
            Request::Prepare {
                purpose: Purpose::Settle,
                ..
            } => Ask::Settle,
            Request::Accept(_) => Ask::Accept,
        }
    }
}

impl Said {
    /// What a reply about one row says.
    pub fn of<V: Value>(reply: &Reply<V>) -> Self {
        match reply {
            Reply::Row { accepted, .. } => Said::Row(Held::of(accepted.as_ref())),
            Reply::Promise { accepted, .. } => Said::Promise(Held::of(accepted.as_ref())),
            Reply::Accept => Said::Accept,
            Reply::Nack { .. } => Said::Nack,
            Reply::Gated => Said::Gated,
            Reply::TooFarAhead => Said::TooFarAhead,
        }
    }
}

impl Held {
    fn of<V: Value>(accepted: Option<&Accepted<V>>) -> Self {
        match accepted.map(|held| held.content.live()) {
            None => Held::Nothing,
            Some(None) => Held::Tombstone,
            Some(Some(_)) => Held::Value,
        }
    }
}

/// A request that nobody waits for, and where it is.
type Straggler = (char, View, Key, Request<Cargo>);

impl World {
    /// What these steps are, from this one of the initial states, if they can be taken.
    pub(crate) fn plot(&self, start: usize, steps: &[Action]) -> Result<Plot, PlotError> {
        // What happened already, to the model, must happen first to everybody else.
        let world = World {
            prelude: &[],
            ..self.clone()
        };
        let mut state = world.init_states().into_iter().nth(start).ok_or(PlotError::NoStart)?;
        let mut plot = world.opening(&state);
        let (mut names, mut stragglers) = (Names::plain(self.replicas), BTreeMap::new());
        for (index, step) in self.prelude.iter().chain(steps).enumerate() {
            if !world.is_possible(&state, *step) {
                return Err(PlotError::Impossible(index));
            }
            let cue = world.cue(&state, *step, &names, &stragglers);
            let (line, next, renamed) = world.step(&state, *step, &names);
            let (told, synced) = (told(&state, &next), synced(&state, &next, &names));
            note_stragglers(&next, &renamed, operation(*step), &mut stragglers);
            plot.beats.push(Beat {
                cue,
                line,
                told,
                synced,
            });
            (state, names) = (next, renamed);
        }
        plot.verdict = state.verdict;
        Ok(plot)
    }

    fn opening(&self, state: &State) -> Plot {
        let deeds = self.script.deeds.clone();
        Plot {
            keys: self.script.keys(),
            mode: self.mode,
            replicas: self.replicas,
            dead: self.dead.clone(),
            layouts: self.layouts.clone(),
            syncers: self.syncers(),
            collection: self.collection,
            page_limit: self.page_limit,
            clocks: state.ops.iter().take(deeds.len()).map(|op| op.clock).collect(),
            deeds,
            beats: Vec::new(),
            verdict: state.verdict,
        }
    }

    /// Can the step be taken here?
    pub(crate) fn is_possible(&self, state: &State, step: Action) -> bool {
        let mut actions = Vec::new();
        self.actions(state, &mut actions);
        actions.contains(&step)
    }

    fn cue(&self, state: &State, step: Action, names: &Names, stragglers: &BTreeMap<Straggler, OpIndex>) -> Cue {
        match step {
            Action::Deliver { op, column } => self.message(state, (op, column), names, Heard::AtOnce),
            Action::Serve { op, column } => self.message(state, (op, column), names, Heard::NotYet),
            Action::Hear { op, column } => Cue::Hear {
                op: OpIndex(op),
                node: number(names.of(column)),
            },
            Action::Late { column, index } => {
                let (view, key, request) = &state.columns[usize::from(column)].late[usize::from(index)];
                let name = names.of(column);
                Cue::Late {
                    op: stragglers.get(&(name, *view, *key, request.clone())).copied(),
                    node: number(name),
                    asked: about(&Call::Row(*key, request.clone())),
                }
            }
            Action::Patience { op } => Cue::Patience(OpIndex(op)),
            Action::GiveUp { op } => Cue::GiveUp(OpIndex(op)),
            Action::Decide => Cue::Decide,
            Action::Learn { column } => Cue::Learn {
                node: number(names.of(column)),
            },
            Action::Retire { column, to } => Cue::Retire {
                node: number(names.of(column)),
                to,
            },
            Action::Drop { column } => Cue::Drop {
                node: number(names.of(column)),
            },
            Action::Inform { op, column } => Cue::Inform {
                op: OpIndex(op),
                node: number(names.of(column)),
            },
            Action::GoOn { op } => Cue::GoOn(OpIndex(op)),
            Action::Restamp { .. }
            | Action::Flush { .. }
            | Action::Crash { .. }
            | Action::Repair { .. }
            | Action::Snapshot { .. }
            | Action::LoseDisk { .. }
            | Action::Report { .. }
            | Action::Forget { .. }
            | Action::ForgetOther { .. } => Cue::Other(step),
        }
    }

    fn message(&self, state: &State, (op, column): (u8, u8), names: &Names, heard: Heard) -> Cue {
        let call = state.running(op.into()).and_then(|running| running.call.as_ref());
        self.protocol.take_effect();
        let answer = self.handle(&mut state.clone(), op, column);
        Cue::Message {
            op: OpIndex(op),
            node: number(names.of(column)),
            asked: about(call.expect("an operation that is served has asked")),
            said: match &answer {
                Answer::Row(reply) => Said::of(reply),
                Answer::Scanned(_) | Answer::Pulled(_) => Said::Rows,
                Answer::Refused(_) => Said::Refused,
            },
            heard,
        }
    }
}

/// Why steps cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlotError {
    /// There is no such initial state.
    NoStart,
    /// This one is not possible there.
    Impossible(usize),
}

fn number(name: char) -> u8 {
    (name as u8).saturating_sub(b'A')
}

fn about(call: &Call) -> Asked {
    match call {
        Call::Row(key, request) => Asked {
            row: Some(*key),
            deed: Ask::of(request),
        },
        Call::Scan(_) => Asked {
            row: None,
            deed: Ask::Scan,
        },
        Call::Pull(_) => Asked {
            row: None,
            deed: Ask::Pull,
        },
    }
}

/// The operation that a step lets go on.
fn operation(step: Action) -> Option<OpIndex> {
    match step {
        Action::Deliver { op, .. } | Action::Serve { op, .. } | Action::Hear { op, .. } => Some(OpIndex(op)),
        Action::Patience { op } | Action::Restamp { op, .. } | Action::GiveUp { op } => Some(OpIndex(op)),
        Action::GoOn { op } | Action::Inform { op, .. } => Some(OpIndex(op)),
        Action::Late { .. } | Action::Flush { .. } | Action::Crash { .. } | Action::Repair { .. } => None,
        Action::Learn { .. } | Action::Retire { .. } | Action::Drop { .. } | Action::Decide => None,
        Action::Snapshot { .. } | Action::LoseDisk { .. } => None,
        Action::Report { .. } | Action::Forget { .. } | Action::ForgetOther { .. } => None,
    }
}

fn note_stragglers(state: &State, names: &Names, op: Option<OpIndex>, stragglers: &mut BTreeMap<Straggler, OpIndex>) {
    for (column, at) in state.columns.iter().enumerate() {
        for (view, key, request) in &at.late {
            if let Some(op) = op {
                let straggler = (names.of(column as u8), *view, *key, request.clone());
                stragglers.entry(straggler).or_insert(op);
            }
        }
    }
}

fn told(before: &State, after: &State) -> Vec<(OpIndex, Outcome)> {
    let is_told = |op: &Op| match &op.progress {
        Progress::Told { outcome, .. } => Some(outcome.clone()),
        Progress::Waiting | Progress::Running(_) => None,
    };
    let ops = (0u8..).zip(before.ops.iter().zip(&after.ops));
    ops.filter(|(_, (before, after))| !after.is_sync && is_told(before).is_none())
        .filter_map(|(op, (_, after))| Some((OpIndex(op), is_told(after)?)))
        .collect()
}

/// Where layouts follow each other, columns stay in their places.
fn synced(before: &State, after: &State, names: &Names) -> Vec<(u8, u8)> {
    let columns = (0u8..).zip(before.columns.iter().zip(&after.columns));
    columns
        .filter(|(_, (before, after))| before.seat.synced < after.seat.synced)
        .map(|(column, (_, after))| (number(names.of(column)), after.seat.synced.0 as u8))
        .collect()
}
