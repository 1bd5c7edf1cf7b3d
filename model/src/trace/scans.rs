//! Pages that replicas showed, taken again: in order, within what was asked for, told as the rule says; and the rows as
//! their steps left them ([`Rows::shown`]).

use trellis_spec::leaves::Extent;
use trellis_spec::peer::scanned_rows;
use trellis_spec::quorum::NodeId;
use trellis_spec::row::RowKey;
use trellis_spec::stamp::Stamp;
use trellis_spec::trace::{PageOf, PageStep};

use super::Wrong;
use super::pages::is_in_order;
use super::rows::Rows;
use super::words;

/// Takes a page again, for which the node was admitted.
pub(super) fn page(node: NodeId, step: &PageStep, rows: &Rows) -> Result<(), Wrong> {
    let about = About { node, step };
    about.is_what_was_asked_for()?;
    about.is_told()?;
    rows.shown(&about)
}

/// A page, for those who find fault with it.
pub(super) struct About<'a> {
    node: NodeId,
    pub(super) step: &'a PageStep,
}

impl About<'_> {
    fn is_what_was_asked_for(&self) -> Result<(), Wrong> {
        let step = self.step;
        let keys = || step.cells.iter().map(|(key, _)| key);
        let end = match &step.of {
            PageOf::Scan { to, .. } => Some(to),
            PageOf::Pull { .. } => None,
        };
        let is_short = step.cells.len() <= usize::try_from(step.limit).unwrap_or(usize::MAX);
        if !is_short || !is_in_order(keys(), Some(&step.from), end, step.bound.as_ref()) {
            return Err(self.wrong(
                "rows in order, of the range that was asked for and no more of them",
                "others",
            ));
        }
        let stray = keys().find(|key| !self.extent().has(key));
        stray.map_or(Ok(()), |stray| {
            Err(self.wrong("rows of the leaves that were asked for", &words::key(stray)))
        })
    }

    fn is_told(&self) -> Result<(), Wrong> {
        let PageOf::Scan { told, .. } = &self.step.of else {
            return Ok(());
        };
        let expected = scanned_rows(self.step.cells.iter().cloned());
        let ballots: Vec<Stamp> = expected.iter().map(|(_, held)| held.ballot).collect();
        if ballots == *told {
            return Ok(());
        }
        let say = |ballots: &[Stamp]| {
            let ballots: Vec<String> = ballots.iter().map(|ballot| words::stamp(*ballot)).collect();
            format!("rows under [{}] told", ballots.join(", "))
        };
        Err(self.wrong(&say(&ballots), &say(told)))
    }

    /// Which rows of the range it is about.
    pub(super) fn extent(&self) -> Extent {
        match &self.step.of {
            PageOf::Scan { .. } => Extent::Everything,
            PageOf::Pull { extent, .. } => *extent,
        }
    }

    /// The first key behind the page; nothing: it goes to the end.
    pub(super) fn end(&self) -> Option<&RowKey> {
        match &self.step.of {
            PageOf::Scan { to, .. } => Some(self.step.bound.as_ref().unwrap_or(to)),
            PageOf::Pull { .. } => self.step.bound.as_ref(),
        }
    }

    pub(super) fn wrong(&self, expected: &str, recorded: &str) -> Wrong {
        let step = self.step;
        let (what, beside) = match &step.of {
            PageOf::Scan { gate, .. } => {
                let ballot = words::stamp(gate.ballot);
                ("a scan", format!("gate {:?} under {ballot}", gate.gate))
            }
            PageOf::Pull { floor, .. } => ("a pull", format!("floor {}", words::stamp(*floor))),
        };
        let (from, partition, node) = (words::key(&step.from), step.partition.0, words::node(self.node));
        let rows = step.cells.len();
        let bound = step
            .bound
            .as_ref()
            .map_or("the end".to_owned(), |bound| words::key(bound));
        Wrong {
            machine: format!("what {node} shows of partition {partition} to {what} from {from}"),
            input: format!("at most {} rows; found {rows} up to {bound}, {beside}", step.limit),
            expected: expected.to_owned(),
            recorded: recorded.to_owned(),
        }
    }
}
