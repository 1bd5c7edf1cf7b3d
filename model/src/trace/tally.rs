//! How much of a trace was checked.

use std::fmt::{self, Display, Formatter};

/// How much was checked, and how much could not be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Files.
    pub files: u64,
    /// Lives of nodes.
    pub lives: u64,
    /// Steps of replicas.
    pub steps: u64,
    /// Of them, those whose row was known from an earlier step.
    pub linked: u64,
    /// Attempts on rows.
    pub attempts: u64,
    /// Pages of listings.
    pub listings: u64,
    /// Syncs of rows.
    pub syncs: u64,
    /// Candidacies.
    pub elections: u64,
    /// Steps of electors.
    pub electors: u64,
    /// Deletions of buckets.
    pub deletions: u64,
    /// Requests about rows that were turned away.
    pub refused: u64,
    /// Pages that replicas showed.
    pub pages: u64,
    /// Of the steps of replicas, these requests and these pages, those of which it is known what the node knew of layouts.
    pub doors: u64,
    /// Changes of what nodes know of layouts, and partitions that they cleared.
    pub layouts: u64,
    /// Decisions about blocks: kept, let go of, deleted, placed, pulled.
    pub blocks: u64,
    /// Steps of attempts.
    pub told: u64,
    /// Requests that were sent for them.
    pub sent: u64,
    /// Records that end before their attempt did, for its pages were too large.
    pub cut_off: u64,
    /// Records that the nodes left out.
    pub lost: u64,
    /// Places where parts of a trace are missing, or cut off before the node's end.
    pub gaps: u64,
}

/// How much of one attempt was checked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Checked {
    pub(super) told: u64,
    pub(super) sent: u64,
    pub(super) cut_off: u64,
}

impl Tally {
    /// An attempt of the kind that this counts was checked so far.
    pub(super) fn ran(&mut self, checked: Checked, kind: fn(&mut Tally) -> &mut u64) {
        *kind(self) += 1;
        self.told += checked.told;
        self.sent += checked.sent;
        self.cut_off += checked.cut_off;
    }

    /// Was anything checked?
    pub(super) fn is_any(&self) -> bool {
        let nothing = Tally {
            files: self.files,
            lives: self.lives,
            lost: self.lost,
            gaps: self.gaps,
            ..Tally::default()
        };
        *self != nothing
    }
}

impl Display for Tally {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Tally {
            files,
            lives,
            steps,
            linked,
            attempts,
            listings,
            syncs,
            elections,
            electors,
            deletions,
            told,
            sent,
            cut_off,
            lost,
            gaps,
            refused,
            doors,
            layouts,
            pages,
            blocks,
        } = self;
        let unknown = (steps + refused + pages).saturating_sub(*doors);
        write!(
            f,
            "{files} files of {lives} lives: {steps} steps of replicas, {linked} of them on rows known from before, and \
             {refused} requests turned away and {pages} pages shown, {unknown} of all with nothing known of the node's layouts; \
             {layouts} changes of what is known of layouts; {attempts} attempts on rows, {listings} pages of listings, {syncs} syncs, {deletions} deletions of buckets, {blocks} decisions about blocks, \
             {elections} candidacies and {electors} steps of electors, with {told} steps and {sent} requests; {cut_off} records cut off, {lost} left out, {gaps} gaps"
        )
    }
}
