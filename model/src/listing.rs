//! A listing as its driver runs it: page after page, each repaired row by row.

use std::collections::BTreeMap;

use trellis_spec::flaw::Rules;
use trellis_spec::gate::Emptiness;
use trellis_spec::listing::{Counted, Listing, ListingStep, Page};
use trellis_spec::quorum::{NodeId, ReplicaSets};
use trellis_spec::register::{Accepted, Attempt, Audience, Fetch, Read, ReadOutcome, Step};
use trellis_spec::stamp::Stamp;

use crate::coordinator::{Answer, Call, Coordinator, Evidence, Move, Outcome, Raised, Told, Why, uncontested};
use crate::value::{Cargo, Key, writer};

/// Pages of all objects until the end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pages<R> {
    sets: ReplicaSets,
    counted: Counted,
    suspects: Suspects,
    from: Key,
    round: u32,
    found: BTreeMap<Key, Accepted<Cargo>>,
    phase: Phase<R>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase<R> {
    Scanning(Listing<Key, Cargo, R>),
    /// The rounds of the read are those after `base`.
    Repairing {
        page: Page<Key, Cargo>,
        suspect: Key,
        read: Read<Cargo, R>,
        base: u32,
    },
}

/// What a deletion does with rows that a majority does not report alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suspects {
    /// It judges what was counted.
    Count,
    /// It reads them again first, as a client's listing does. Wrong, as was found by checking.
    ReadAgain,
}

/// What the pages are up to.
pub enum PagesMove {
    /// As any coordinator.
    Move(Move),
    /// All rows, tombstones included.
    All(BTreeMap<Key, Accepted<Cargo>>),
    /// For a deletion: there is an object.
    Live,
    /// A suspect is live and cannot be repaired, for the gate is closed.
    Gated,
    /// Another deletion took over.
    Overtaken,
}

impl<R: Rules> Pages<R> {
    /// Rounds are numbered from `round` on.
    pub fn new(sets: ReplicaSets, counted: Counted, suspects: Suspects, round: u32) -> Self {
        Pages {
            phase: Phase::Scanning(Listing::new(sets.clone(), counted)),
            sets,
            counted,
            suspects,
            from: Key(0),
            round,
            found: BTreeMap::new(),
        }
    }

    /// Asks for the next page.
    pub fn scan(&mut self) -> PagesMove {
        self.round += 1;
        self.phase = Phase::Scanning(Listing::new(self.sets.clone(), self.counted));
        PagesMove::Move(Move::Ask {
            round: self.round,
            audience: Audience::All,
            call: Call::Scan(self.from),
        })
    }

    /// The highest round used.
    pub fn round(&self) -> u32 {
        self.round
    }

    /// An answer.
    pub fn on_answer(&mut self, round: u32, from: NodeId, answer: Answer) -> PagesMove {
        match (&mut self.phase, answer) {
            (Phase::Scanning(listing), Answer::Scanned(scanned)) if round == self.round => {
                match listing.on_scanned(from, scanned) {
                    ListingStep::Wait => PagesMove::Move(Move::Wait),
                    ListingStep::Overtaken => PagesMove::Overtaken,
                    ListingStep::Done(page) => self.on_page(page),
                }
            }
            (Phase::Repairing { read, base, .. }, Answer::Row(reply)) if round > *base => {
                let step = read.on_reply(round - *base, from, reply);
                self.read_on(step)
            }
            (Phase::Scanning(_) | Phase::Repairing { .. }, _) => PagesMove::Move(Move::Wait),
        }
    }

    fn on_page(&mut self, page: Page<Key, Cargo>) -> PagesMove {
        match (self.suspects, page.emptiness::<R>()) {
            (Suspects::ReadAgain, _) => self.repair(page),
            (Suspects::Count, Emptiness::Live) => PagesMove::Live,
            (Suspects::Count, Emptiness::Empty) => self.turn(page),
        }
    }

    fn repair(&mut self, page: Page<Key, Cargo>) -> PagesMove {
        let Some(suspect) = page.suspects.first().copied() else {
            return self.turn(page);
        };
        let mut read = Read::new(self.sets.clone(), Fetch::Full);
        let step = read.start(Stamp::ZERO);
        self.phase = Phase::Repairing {
            page,
            suspect,
            read,
            base: self.round,
        };
        self.read_on(step)
    }

    fn turn(&mut self, page: Page<Key, Cargo>) -> PagesMove {
        self.found.extend(page.rows);
        match page.bound {
            Some(bound) => {
                self.from = bound;
                self.scan()
            }
            None => PagesMove::All(self.found.clone()),
        }
    }

    fn read_on(&mut self, step: Step<Cargo, ReadOutcome<Cargo>>) -> PagesMove {
        let Phase::Repairing {
            page, suspect, base, ..
        } = &mut self.phase
        else {
            return PagesMove::Move(Move::Wait);
        };
        match step {
            Step::Wait => PagesMove::Move(Move::Wait),
            Step::Ask(ask) => {
                self.round = *base + ask.round;
                PagesMove::Move(Move::Ask {
                    round: self.round,
                    audience: ask.audience,
                    call: Call::Row(*suspect, ask.request),
                })
            }
            Step::Again { above } => PagesMove::Move(Move::Stamp {
                above,
                why: Why::Competing,
            }),
            Step::Done(ReadOutcome::Found(found)) => {
                page.repaired(suspect, found);
                let page = page.clone();
                self.repair(page)
            }
            Step::Done(ReadOutcome::Gated) => PagesMove::Gated,
            Step::Done(ReadOutcome::Unreached) => PagesMove::Move(Move::Done(Outcome::Nothing)),
        }
    }

    /// Goes on with a fresh stamp.
    pub fn stamped(&mut self, stamp: Stamp) -> PagesMove {
        match &mut self.phase {
            Phase::Scanning(_) => PagesMove::Move(Move::Wait),
            Phase::Repairing { read, .. } => {
                let step = read.again(stamp);
                self.read_on(step)
            }
        }
    }

    /// The view rose: the page or the read of a suspect again.
    pub fn on_view(&mut self, sets: ReplicaSets) -> PagesMove {
        self.sets = sets;
        match &mut self.phase {
            Phase::Scanning(_) => self.scan(),
            Phase::Repairing { read, .. } => {
                let step = read.on_view(self.sets.clone());
                self.read_on(step)
            }
        }
    }

    /// Goes on without those who did not answer.
    pub fn on_patience(&mut self) -> PagesMove {
        match &mut self.phase {
            Phase::Scanning(_) => PagesMove::Move(Move::Wait),
            Phase::Repairing { read, .. } => {
                let step = read.on_patience();
                self.read_on(step)
            }
        }
    }
}

/// A client's listing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct List<R>(Pages<R>);

impl<R: Rules> List<R> {
    /// A listing of all objects.
    pub fn new(sets: ReplicaSets) -> Self {
        List(Pages::new(sets, Counted::All, Suspects::ReadAgain, 0))
    }
}

fn listed(step: PagesMove) -> Move {
    match step {
        PagesMove::Move(step) => step,
        PagesMove::Live | PagesMove::Gated | PagesMove::Overtaken => Move::Done(Outcome::Nothing),
        PagesMove::All(rows) => {
            let live = rows.iter().filter_map(|(key, held)| Some((*key, writer(Some(held))?)));
            Move::Done(Outcome::Listed(live.collect()))
        }
    }
}

impl<R: Rules + Send + Sync + 'static> Coordinator for List<R> {
    fn start(&mut self, _: Stamp) -> Move {
        listed(self.0.scan())
    }

    fn stamped(&mut self, stamp: Stamp) -> Move {
        listed(self.0.stamped(stamp))
    }

    fn on_answer(&mut self, round: u32, from: NodeId, answer: Answer) -> Move {
        listed(self.0.on_answer(round, from, answer))
    }

    fn on_patience(&mut self) -> Move {
        listed(self.0.on_patience())
    }

    fn on_view(&mut self, raised: &Raised) -> Move {
        uncontested(listed(self.0.on_view(raised.sets.clone())))
    }

    fn on_deadline(&self) -> Told {
        (Outcome::Nothing, Evidence::None)
    }
}
