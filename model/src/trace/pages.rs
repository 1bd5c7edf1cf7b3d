//! Listings, taken again.
//!
//! Beyond the steps themselves, it is checked that every replica was asked, once and before anybody was heard; that each
//! was heard once; and that what it showed is in order and within the range that it was asked for.

use std::collections::BTreeSet;

use trellis_spec::flaw::Sound;
use trellis_spec::listing::{Listing, ListingStep, Page, Scanned};
use trellis_spec::quorum::NodeId;
use trellis_spec::row::RowKey;
use trellis_spec::trace::{ListingEvent, ListingRun, Omitted};

use super::words::{self, Names, Words};
use super::{Checked, Wrong};

/// Values that a record leaves out.
pub(super) struct Shapes;

impl Names for Shapes {
    type Name = Omitted;

    fn name(&self, of: &Omitted) -> String {
        let shape = match of {
            Omitted::Head => "a value, body not here,",
            Omitted::WithBody => "a value with its inline body",
            Omitted::Whole => "a value",
            Omitted::Gate => "a gate",
        };
        shape.to_owned()
    }
}

type Said = ListingStep<RowKey, Omitted>;

/// What is known of a listing between two events.
struct Driver<'a> {
    node: NodeId,
    run: &'a ListingRun,
    listing: Listing<RowKey, Omitted, Sound>,
    asked: BTreeSet<NodeId>,
    heard: BTreeSet<NodeId>,
    is_over: bool,
}

/// Takes a listing again, from its beginning to its end.
pub(super) fn listing(node: NodeId, run: &ListingRun) -> Result<Checked, Wrong> {
    let mut driver = Driver {
        node,
        run,
        listing: Listing::new(run.sets.clone(), run.counted),
        asked: BTreeSet::new(),
        heard: BTreeSet::new(),
        is_over: false,
    };
    let mut checked = Checked::default();
    for event in &run.events {
        match event {
            ListingEvent::Asked(node) => {
                driver.asked(*node)?;
                checked.sent += 1;
            }
            ListingEvent::Scanned(from, page, recorded) => {
                driver.scanned(*from, page, recorded)?;
                checked.told += 1;
            }
            ListingEvent::LeftOut => checked.cut_off = 1,
        }
    }
    Ok(checked)
}

impl Driver<'_> {
    fn asked(&mut self, node: NodeId) -> Result<(), Wrong> {
        let is_member = self.run.sets.members().contains(&node);
        if is_member && self.heard.is_empty() && self.asked.insert(node) {
            return Ok(());
        }
        let recorded = format!("{} was asked", words::node(node));
        Err(self.wrong(
            "the range",
            "each replica asked once, before anybody was heard",
            &recorded,
        ))
    }

    fn scanned(&mut self, from: NodeId, page: &Scanned<RowKey, Omitted>, recorded: &Said) -> Result<(), Wrong> {
        let input = format!("{} shows {} rows", words::node(from), page.rows.len());
        let must = |what: &str| Err(self.wrong(&input, what, "it happened"));
        if self.is_over {
            return must("nothing after the end");
        }
        if let Some(left_out) = self.run.sets.members().iter().find(|node| !self.asked.contains(node)) {
            return must(&format!("{} asked as well", words::node(*left_out)));
        }
        if !self.asked.contains(&from) || self.heard.contains(&from) {
            return must("an answer only of who was asked, and one of each");
        }
        let limit = usize::try_from(self.run.limit).unwrap_or(usize::MAX);
        let keys = page.rows.iter().map(|(key, _)| key);
        let (first, end) = (Some(&self.run.from), Some(&self.run.to));
        if page.rows.len() > limit.max(1) || !is_in_order(keys, first, end, page.bound.as_ref()) {
            return must("rows in order, of the range that was asked for and no more of them");
        }
        self.heard.insert(from);
        let expected = self.listing.on_scanned(from, page.clone());
        if expected != *recorded {
            let (expected, recorded) = words::differing(&expected, recorded, said, rows);
            return Err(self.wrong(&input, &expected, &recorded));
        }
        self.is_over = expected != ListingStep::Wait;
        Ok(())
    }

    fn wrong(&self, input: &str, expected: &str, recorded: &str) -> Wrong {
        let (from, node) = (words::key(&self.run.from), words::node(self.node));
        Wrong {
            machine: format!("a listing from {from} in partition {} at {node}", self.run.partition.0),
            input: input.to_owned(),
            expected: expected.to_owned(),
            recorded: recorded.to_owned(),
        }
    }
}

/// Are these keys of a range in order, and do they end below the bound?
pub(super) fn is_in_order<'a>(
    keys: impl Iterator<Item = &'a RowKey>,
    first: Option<&RowKey>,
    end: Option<&RowKey>,
    bound: Option<&RowKey>,
) -> bool {
    let mut last = None;
    for key in keys {
        if last.or(first).is_some_and(|before| before > key) || last == Some(key) {
            return false;
        }
        last = Some(key);
    }
    let ends = |end: &RowKey| last.is_none_or(|last| last < end);
    end.is_none_or(ends) && bound.is_none_or(ends)
}

/// The first row of two pages that differs, in words.
fn rows(expected: &Said, recorded: &Said) -> Option<(String, String)> {
    let (ListingStep::Done(expected), ListingStep::Done(recorded)) = (expected, recorded) else {
        return None;
    };
    let keys: BTreeSet<&RowKey> = expected.rows.keys().chain(recorded.rows.keys()).collect();
    let mut rows = keys.iter().map(|key| (row(expected, key), row(recorded, key)));
    rows.find(|(one, other)| one != other)
}

fn said(step: &Said) -> String {
    match step {
        ListingStep::Wait => "wait".to_owned(),
        ListingStep::Overtaken => "another deletion took over".to_owned(),
        ListingStep::Done(page) => {
            let end = page
                .bound
                .as_ref()
                .map_or("the end".to_owned(), |bound| words::key(bound));
            let (rows, suspects) = (page.rows.len(), page.suspects.len());
            format!("a page of {rows} rows up to {end}, {suspects} of them to be read again")
        }
    }
}

fn row(page: &Page<RowKey, Omitted>, key: &RowKey) -> String {
    let held = page.rows.get(key);
    let held = held.map_or("nothing".to_owned(), |held| Words(&Shapes).held(held));
    let again = if page.suspects.contains(key) {
        ", to be read again"
    } else {
        ""
    };
    format!("{} is {held}{again}", words::key(key))
}
