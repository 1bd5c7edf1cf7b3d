//! Traces of running nodes, taken again step by step.
//!
//! A node that records writes down what its machines were told and what they said (`trellis_spec::trace`). Here each of
//! these steps is taken again by the same code, which must come to the same; and what lies between the steps is checked,
//! for that is where a driver could do something else than it says: the row that a rule was given must be the one that
//! it left there ([`rows`]), what was sent must be what an attempt asked for ([`attempt`]), an elector must be given what
//! it said last ([`elector`]), and a door must know what the node knew of layouts ([`door`], [`standing`]).
//!
//! A trace may have gaps: a node records only as fast as it can, keeps only so much, and may be killed. Whatever is
//! there is checked; what is missing is counted.

mod attempt;
mod blocks;
mod deletion;
mod door;
mod elector;
mod file;
mod history;
mod pages;
mod rows;
mod scans;
mod standing;
mod sync;
mod tally;
mod words;

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use trellis_spec::layout::Admitted;
use trellis_spec::quorum::NodeId;
use trellis_spec::trace::{Aftermath, Opened, Record, RowStep};

use blocks::Blocks;
use door::Visit;
use elector::Ballots;
use file::{Contents, Frames};
pub use file::{Part, read_folder};
use rows::Rows;
use standing::{Beginning, Standings};
use tally::Checked;
pub use tally::Tally;

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Which machine took the step, or about what it is.
    pub machine: String,
    /// What it was told.
    pub input: String,
    /// What it says to that now, or what must have been so.
    pub expected: String,
    /// What the trace says.
    pub recorded: String,
}

/// Where the first difference is, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The file.
    pub file: String,
    /// Which of its records, from zero.
    pub record: u64,
    /// What is wrong.
    pub wrong: Wrong,
}

/// What came of a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// How much was checked until the end or the first divergence.
    pub tally: Tally,
    /// The first divergence.
    pub divergence: Option<Divergence>,
}

/// What is known of one node between two records.
#[derive(Default)]
struct Node {
    last: Option<Opened>,
    number: u64,
    /// Where what is known of layouts is told next.
    place: Beginning,
    is_closed: bool,
    rows: Rows,
    ballots: Ballots,
    standings: Standings,
    blocks: Blocks,
}

impl Node {
    /// Asks a door again; the proof for who may pass.
    fn door(&self, visit: &Visit<'_>, said: door::Said, tally: &mut Tally) -> Result<Option<Admitted>, Wrong> {
        tally.doors += u64::from(self.standings.at(visit.shown.known_at).is_some());
        visit.repeat(&self.standings, said)
    }

    /// Something is missing here.
    fn forget(&mut self) {
        self.place = Beginning::Midway;
        self.rows.forget();
        self.ballots = Ballots::default();
        self.standings = Standings::default();
        self.blocks = Blocks::default();
    }

    fn reopened(&mut self) {
        self.ballots.reopened();
        self.standings.reopened();
        self.rows.reopened();
    }

    fn crashed(&mut self) {
        self.ballots.crashed(self.rows.durable());
        self.standings.crashed(self.rows.durable());
        // What went last may be here again.
        self.blocks = Blocks::default();
        self.rows.crashed();
    }
}

/// Takes all steps of these parts again. Parts of one node must follow each other in the order of their names.
pub fn replay(parts: impl IntoIterator<Item = Part>) -> Replayed {
    let mut replay = Replay::default();
    let divergence = parts.into_iter().find_map(|part| replay.part(&part).err());
    Replayed {
        tally: replay.tally,
        divergence: divergence.map(|divergence| *divergence),
    }
}

#[derive(Default)]
struct Replay {
    tally: Tally,
    nodes: BTreeMap<NodeId, Node>,
}

impl Replay {
    fn part(&mut self, part: &Part) -> Result<(), Box<Divergence>> {
        let at = |record, wrong| {
            let file = part.name.clone();
            Box::new(Divergence { file, record, wrong })
        };
        let mut frames = Frames::of(&part.bytes).map_err(|wrong| at(0, wrong))?;
        self.tally.files += 1;
        let Some(node) = self.beginning(&mut frames, part.number).map_err(|wrong| at(0, wrong))? else {
            return Ok(());
        };
        for number in 1.. {
            let checked = match frames.next().map_err(|wrong| at(number, wrong))? {
                Contents::End => break,
                Contents::CutOff => {
                    self.tally.gaps += 1;
                    break;
                }
                Contents::Record(record) => self.record(*record, node),
                Contents::Step(step, aftermath) => self.step(&step, aftermath, node),
            };
            checked.map_err(|wrong| at(number, wrong))?;
        }
        Ok(())
    }

    /// Whose part it is; nothing if whoever began it did not come to say so.
    fn beginning(&mut self, frames: &mut Frames<'_>, number: u64) -> Result<Option<NodeId>, Wrong> {
        let record = match frames.next()? {
            Contents::Record(record) => Some(*record),
            Contents::Step(..) => None,
            Contents::End | Contents::CutOff => {
                self.tally.gaps += 1;
                return Ok(None);
            }
        };
        let Some(Record::Opened(opened)) = record else {
            return Err(Wrong::form("the first record must say whose trace it is"));
        };
        self.opened(opened, number);
        Ok(Some(opened.node))
    }

    fn step(&mut self, step: &RowStep, aftermath: Aftermath, node: NodeId) -> Result<(), Wrong> {
        let known = self.nodes.entry(node).or_default();
        let visit = Visit {
            node,
            partition: step.partition,
            key: &step.key,
            shown: step.shown,
        };
        let admitted = known.door(&visit, Ok((step.view, step.entered)), &mut self.tally)?;
        if let Some(admitted) = &admitted {
            self.tally.linked += u64::from(known.rows.step(node, admitted, step, aftermath)?);
        }
        self.tally.steps += 1;
        Ok(())
    }

    fn record(&mut self, record: Record, node: NodeId) -> Result<(), Wrong> {
        let known = self.nodes.entry(node).or_default();
        match record {
            Record::Attempt(run) => {
                known.standings.replicas(node, (run.partition, run.view), &run.sets)?;
                let checked = attempt::repeat(node, &run)?;
                self.tally.ran(checked, |tally| &mut tally.attempts);
            }
            Record::Listing(run) => {
                known.standings.replicas(node, (run.partition, run.view), &run.sets)?;
                let checked = pages::listing(node, &run)?;
                self.tally.ran(checked, |tally| &mut tally.listings);
            }
            Record::Sync(run) => self.tally.ran(sync::sync(node, &run)?, |tally| &mut tally.syncs),
            Record::Election(run) => self
                .tally
                .ran(attempt::candidacy(node, &run)?, |tally| &mut tally.elections),
            Record::Deletion(run) => self
                .tally
                .ran(deletion::deletion(node, &run)?, |tally| &mut tally.deletions),
            Record::Elector(step) => {
                known.ballots.step(node, &step)?;
                self.tally.electors += 1;
            }
            Record::Refused(step) => {
                let visit = Visit {
                    node,
                    partition: step.partition,
                    key: &step.key,
                    shown: step.shown,
                };
                known.door(&visit, Err(step.said), &mut self.tally)?;
                self.tally.refused += 1;
            }
            Record::Page(step) => {
                let visit = Visit {
                    node,
                    partition: step.partition,
                    key: &step.from,
                    shown: step.shown,
                };
                known.door(&visit, Ok((step.view, step.entered)), &mut self.tally)?;
                scans::page(node, &step, &known.rows)?;
                self.tally.pages += 1;
            }
            Record::Kept(run) => self
                .tally
                .ran(known.blocks.kept(node, &run)?, |tally| &mut tally.blocks),
            Record::Placed(run) => {
                known.standings.replicas(node, (run.partition, run.view), &run.sets)?;
                let checked = blocks::placed(node, &run)?;
                self.tally.ran(checked, |tally| &mut tally.blocks);
            }
            Record::Pulled(run) => self.tally.ran(blocks::pulled(node, &run)?, |tally| &mut tally.blocks),
            Record::Released(step) => {
                known.blocks.released(node, &step)?;
                self.tally.blocks += 1;
            }
            Record::Deleted(step) => {
                known.blocks.deleted(node, &step)?;
                self.tally.blocks += 1;
            }
            Record::Fate(step) => {
                blocks::fate(node, &step)?;
                self.tally.blocks += 1;
            }
            Record::Standing(standing) => {
                known.standings.is(node, standing, known.place)?;
                known.place = Beginning::Midway;
            }
            Record::Layouts(step) => {
                known.standings.step(node, &step)?;
                self.tally.layouts += 1;
            }
            Record::Cleared(step) => {
                known.standings.cleared(node, &step)?;
                known.rows.cleared(step.partition, step.entered);
                self.tally.layouts += 1;
            }
            Record::Lost(records) => {
                self.tally.lost = self.tally.lost.saturating_add(records);
                known.forget();
            }
            Record::Closed => known.is_closed = true,
            Record::Copied {
                partition,
                entered,
                key,
            } => known.rows.forget_row((partition, entered, key)),
            Record::Forgotten(forgotten) => known.rows.forgotten(node, forgotten)?,
            Record::Opened(_) | Record::Row(_) => {
                return Err(Wrong::form("only the first record can say whose trace it is"));
            }
        }
        Ok(())
    }

    /// What the part before left is where this one goes on, unless something is missing between them.
    fn opened(&mut self, opened: Opened, number: u64) {
        let known = self.nodes.entry(opened.node).or_default();
        let is_next = known.last.is_some() && known.number.checked_add(1) == Some(number);
        let goes_on = known
            .last
            .is_some_and(|last| last.life == opened.life && last.part.checked_add(1) == Some(opened.part));
        let begins = opened.part == 0;
        match (is_next, goes_on, begins) {
            (true, true, false) => {}
            (true, false, true) if known.is_closed => known.reopened(),
            (true, false, true) => known.crashed(),
            (true | false, ..) => {
                self.tally.gaps += u64::from(known.last.is_some() || !begins);
                known.forget();
            }
        }
        known.place = if begins { Beginning::OfALife } else { Beginning::Midway };
        self.tally.lives += u64::from(begins);
        known.is_closed = false;
        known.last = Some(opened);
        known.number = number;
    }
}

impl Wrong {
    /// A record lacks a value.
    fn missing() -> Self {
        Wrong::form("every value that a record mentions must be in it")
    }

    /// The trace is not made as traces are.
    fn form(what: &str) -> Self {
        Wrong {
            machine: "the trace itself".to_owned(),
            input: "reading it".to_owned(),
            expected: what.to_owned(),
            recorded: "something else".to_owned(),
        }
    }
}

impl Replayed {
    /// Did everything come out as it was recorded?
    pub fn is_good(&self) -> bool {
        self.divergence.is_none() && self.tally.is_any()
    }
}

impl Display for Divergence {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Wrong {
            machine,
            input,
            expected,
            recorded,
        } = &self.wrong;
        write!(
            f,
            "{}, record {}: {machine}\n  was told  {input}\n  expected  {expected}\n  recorded  {recorded}",
            self.file, self.record
        )
    }
}

impl Display for Replayed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.divergence {
            Some(divergence) => write!(f, "{divergence}\nchecked before that: {}", self.tally),
            None if !self.is_good() => f.write_str("there is nothing to check in this trace"),
            None => write!(f, "all as recorded: {}", self.tally),
        }
    }
}
