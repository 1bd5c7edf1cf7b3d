//! What is current can be read: none of its blocks is ever deleted. What is dead goes.

use trellis_spec::flaw::Flaw;

use super::{Claim, Effort, Mutant, Particulars, Size};
use crate::block::{Drains, Lock, Losses, Moves, Patience, Plan, Program};
use crate::check::Search;

use Program::{Abort, Copy, Delete, Put, Resume, Upload};

pub(super) fn claim() -> Claim {
    Claim {
        name: "C10",
        sentence: "The blocks of every current acknowledged version are, verified, on a majority of the oldest active set \
                   and on every owner of a newer one that was synced since; and the space of what is dead comes back \
                   with any one node down.",
        source: "own; the fence is CASPaxos' (Rystsov 2018)",
        sizes: sizes(),
        mutants: mutants(),
    }
}

const PUT_DELETE: Plan = Plan::of(&[Put, Delete]);
const PUT_COPY: Plan = Plan::of(&[Put, Copy]);
const RESUME: Plan = Plan::of(&[Resume]);
const MOVE: Plan = Plan {
    moves: Moves::Once,
    inquiries: 0,
    ..Plan::of(&[Put])
};

fn sizes() -> Vec<Size> {
    let drained = |plan| Plan {
        drains: Drains::Checked,
        ..plan
    };
    let retried = Plan {
        valid: 0,
        versions: 2,
        stamps: 1,
        ..PUT_DELETE
    };
    let crashed = Plan {
        crashes: 1,
        ..PUT_DELETE
    };
    let lost = Plan {
        losses: Losses::Allowed,
        ..PUT_DELETE
    };
    let patient = Plan {
        stamps: 2,
        patience: Patience::Short,
        ..PUT_DELETE
    };
    let twice = Plan {
        inquiries: 2,
        ..PUT_DELETE
    };
    let both = Plan::of(&[Put, Put]);
    let given_up = Plan::of(&[Upload, Abort]);
    let slow = Plan {
        moves: Moves::WithoutOne,
        ..MOVE
    };
    let moved = Plan { inquiries: 1, ..MOVE };
    vec![
        small("P|D", "space comes back", 53_009, drained(PUT_DELETE)),
        small("P|D", "a crash within storing", 116_663, crashed),
        large("P|D", "answers are lost", 848_997, Search::Exhaustive, lost),
        small("P|D", "a retry past until, under a new version", 638_295, retried),
        small("P|C", "a copy of what may be collected", 243_365, PUT_COPY),
        small(
            "R",
            "an upload given up while its object is written; space comes back",
            555,
            drained(RESUME),
        ),
        small("P", "the partition moves, one owner is slow", 79_465, slow),
        large("P", "the partition moves", None, Search::Nearest(1_000_000), MOVE),
        large("P|P", "two versions of one block", 343_580, Search::Exhaustive, both),
        small("P|D", "two inquiries", 92_964, twice),
        large("P|D", "processes that do not wait", None, Search::Exhaustive, patient),
        large("U|A", "an upload from begin to end", None, walks(), given_up),
        large(
            "P",
            "the partition moves while the collector asks",
            None,
            walks(),
            moved,
        ),
    ]
}

fn mutants() -> Vec<Mutant> {
    let crashed = Plan {
        crashes: 1,
        ..PUT_DELETE
    };
    let retried = Plan {
        stamps: 1,
        ..PUT_DELETE
    };
    let unlocked = Plan {
        lock: Lock::NotHeld,
        ..PUT_COPY
    };
    let moves = |moves| Plan { moves, ..MOVE };
    vec![
        Mutant::rule(
            "data-before-reference",
            "a reference is durable before the data are",
            Flaw::DataBeforeReference,
            hunt("P|D", "a crash within storing", crashed),
        ),
        Mutant::rule(
            "reference-without-data",
            "a replica that was sent no data counts only if verified data are there",
            Flaw::ReferenceWithoutData,
            hunt("P|C", "a copy of what may be collected", PUT_COPY),
        ),
        Mutant::rule(
            "proposed-beyond-until",
            "no stamp later than a version's until carries it",
            Flaw::ProposedBeyondUntil,
            hunt("P|D", "a retry", retried),
        ),
        Mutant::rule(
            "dropped-without-fence",
            "dead is what was replaced under a chosen ballot after its until",
            Flaw::DroppedWithoutFence,
            hunt("P|D", "one inquiry", PUT_DELETE),
        ),
        Mutant::rule(
            "upload-decides-alone",
            "parts of an upload that was given up wait for the object's row, settled above every recorded stamp",
            Flaw::UploadDecidesAlone,
            hunt("R", "an upload given up while its object is written", RESUME),
        ),
        Mutant::rule(
            "block-newest-set-only",
            "a row follows a majority of every active set of its blocks",
            Flaw::BlockNewestSetOnly,
            hunt("P", "the partition moves", MOVE),
        ),
        Mutant::rule(
            "block-sync-from-one",
            "a new owner pulls references from a majority",
            Flaw::BlockSyncFromOne,
            hunt("P", "the partition moves", MOVE),
        ),
        Mutant::rule(
            "block-synced-without-data",
            "a new owner is synced only with the data of what it pulled",
            Flaw::BlockSyncedWithoutData,
            hunt("P", "the partition moves", MOVE),
        ),
        Mutant::around(
            "block-lock-not-held",
            "the lock under which references are added is held from looking to deleting",
            hunt("P|C", "a copy of what may be collected, no lock", unlocked),
        ),
        Mutant::around(
            "block-views-unchecked",
            "a node refuses to store under an older view than its own",
            hunt("P", "the partition moves, views unchecked", moves(Moves::Unchecked)),
        ),
        Mutant::around(
            "block-pull-unwedged",
            "a pull makes its source adopt the puller's view",
            hunt("P", "the partition moves, pulls change nothing", moves(Moves::Unwedged)),
        ),
        Mutant::around(
            "block-retired-at-one",
            "the older set retires when a majority of the newer is synced",
            hunt(
                "P",
                "the partition moves, one synced owner is enough",
                moves(Moves::RetiredAtOne),
            ),
        ),
    ]
}

fn small(script: &'static str, about: &'static str, unique: usize, plan: Plan) -> Size {
    Size {
        script,
        about,
        replicas: 3,
        particulars: Particulars::Blocks(plan),
        search: Search::Exhaustive,
        unique: Some(unique),
        effort: Effort::Small,
    }
}

fn large(
    script: &'static str,
    about: &'static str,
    unique: impl Into<Option<usize>>,
    search: Search,
    plan: Plan,
) -> Size {
    Size {
        search,
        unique: unique.into(),
        effort: Effort::Large,
        ..small(script, about, 0, plan)
    }
}

fn walks() -> Search {
    Search::Walks {
        seed: 10,
        states: 3_000_000,
    }
}

fn hunt(script: &'static str, about: &'static str, plan: Plan) -> Size {
    const MOST_STATES: usize = 10_000_000;
    large(script, about, None, Search::Nearest(MOST_STATES), plan)
}
