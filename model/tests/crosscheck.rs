//! The reductions of the model and its judge of histories, compared with slower ways to the same answers.

use std::collections::BTreeSet;

use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};
use stateright::{Checker, HasDiscoveries, Model, Property};
use trellis_model::check::{Search, search};
use trellis_model::claim::{self, Particulars, Size};
use trellis_model::coordinator::Outcome;
use trellis_model::history::{self, Entry};
use trellis_model::rules::without;
use trellis_model::script::{Kind, Script};
use trellis_model::value::{Condition, OpIndex};
use trellis_model::workbench::trial::{Reductions, Trial, Verdict};
use trellis_model::world::{Clocks, Fusion, State, World};
use trellis_spec::flaw::Flaw;
use trellis_spec::register::WriteMode;

fn world(script: &str) -> World {
    let mut world = World::new(Script::parse(script).expect("a script"), 3);
    world.mode = WriteMode::Strict;
    world.clocks = Clocks::InOrder;
    world
}

fn fails(world: &World) -> bool {
    search(world, Search::Exhaustive).failure.is_some()
}

const FLAWED: [(&str, Flaw); 7] = [
    ("W|R", Flaw::WriteBelowQuorum),
    ("W|R", Flaw::ReadBelowQuorum),
    ("W|RR", Flaw::NoWriteBack),
    ("W|RR", Flaw::WriteBackBelowQuorum),
    ("INM|INM", Flaw::AcceptIgnoresPromise),
    ("INM|INM", Flaw::PrepareBelowQuorum),
    ("INM|INM", Flaw::ForgetsOwnProposal),
];

#[test]
fn handling_and_hearing_apart_gives_the_same_verdicts() {
    for script in ["W|R", "W|RR", "INM|R"] {
        let mut apart = world(script);
        apart.fusion = Fusion::Apart;
        assert!(!fails(&apart), "{script}");
        let fused = search(&world(script), Search::Exhaustive);
        assert!(
            fused.complete && fused.unique < search(&apart, Search::Exhaustive).unique,
            "{script}"
        );
    }
    for (script, flaw) in FLAWED {
        let mut apart = world(script);
        apart.fusion = Fusion::Apart;
        apart.protocol = without(flaw);
        assert!(fails(&apart), "{script} without guard {}", flaw as u8);
    }
}

#[test]
fn replicas_in_any_order_give_the_same_verdicts() {
    for script in ["W|RR", "W|INM", "INM|INM"] {
        let sorted = search(&world(script), Search::Exhaustive);
        let mut unsorted = world(script);
        unsorted.sorted = false;
        let all = search(&unsorted, Search::Exhaustive);
        assert!(sorted.complete && all.complete, "{script}");
        assert!(
            sorted.unique < all.unique && all.unique <= 6 * sorted.unique,
            "{script}"
        );
    }
    for (script, flaw) in FLAWED {
        let mut unsorted = world(script);
        unsorted.sorted = false;
        unsorted.protocol = without(flaw);
        assert!(fails(&unsorted), "{script} without guard {}", flaw as u8);
    }
}

/// A register with compare-and-swap, for stateright's tester.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Register(Option<OpIndex>);

#[derive(Clone, Debug)]
enum Act {
    Write(Option<OpIndex>),
    Swap(Condition, Option<OpIndex>),
    Read,
}

#[derive(Clone, Debug, PartialEq)]
enum Return {
    Done,
    Holds(Option<OpIndex>),
}

impl SequentialSpec for Register {
    type Op = Act;
    type Ret = Return;

    fn invoke(&mut self, act: &Act) -> Return {
        match act {
            Act::Write(written) => {
                self.0 = *written;
                Return::Done
            }
            Act::Swap(condition, written) if condition.holds(self.0) => {
                self.0 = *written;
                Return::Done
            }
            Act::Swap(..) | Act::Read => Return::Holds(self.0),
        }
    }
}

fn act(entry: &Entry) -> Act {
    match entry.kind {
        Kind::Write => Act::Write(Some(entry.author)),
        Kind::Delete => Act::Write(None),
        Kind::Put(condition) => Act::Swap(condition, Some(entry.author)),
        Kind::Remove(condition) => Act::Swap(condition, None),
        Kind::Read | Kind::Head => Act::Read,
        Kind::Again(_) | Kind::List | Kind::DropBucket | Kind::Elect => panic!("not in these scripts"),
    }
}

fn returned(entry: &Entry) -> Option<Return> {
    match entry.outcome.as_ref()? {
        Outcome::Wrote => Some(Return::Done),
        Outcome::Found(found) | Outcome::Refused(found) => Some(Return::Holds(*found)),
        Outcome::Unknown | Outcome::Nothing | Outcome::Listed(_) | Outcome::Dropped | Outcome::Synced => None,
    }
}

/// Plays a history to stateright's tester: whoever was answered before somebody began returns before that.
fn is_linearizable(mut entries: Vec<Entry>) -> bool {
    let mut tester = LinearizabilityTester::new(Register(None));
    entries.retain(|entry| entry.outcome != Some(Outcome::Nothing));
    entries.sort_by_key(|entry| entry.after.count_ones());
    let mut over = BTreeSet::new();
    let mut finish = |tester: &mut LinearizabilityTester<u8, Register>, among: u16| {
        for entry in entries.iter().filter(|entry| among & (1 << entry.op.0) != 0) {
            if let (Some(result), true) = (returned(entry), over.insert(entry.op)) {
                tester.on_return(entry.op.0, result).expect("it was invoked");
            }
        }
    };
    for entry in &entries {
        finish(&mut tester, entry.after);
        tester.on_invoke(entry.op.0, act(entry)).expect("once each");
    }
    finish(&mut tester, u16::MAX);
    tester.is_consistent()
}

fn agree(world: &World, state: &State) -> bool {
    let entries = world.entries(state);
    history::holds(&entries, world.script.keys(), world.mode) == is_linearizable(entries)
}

#[test]
fn stateright_judges_histories_alike() {
    let mut worlds: Vec<World> = ["W|RR", "W;R|W", "INM|INM", "DEL|INM"].map(world).into();
    worlds.extend(FLAWED.map(|(script, flaw)| {
        let mut flawed = world(script);
        flawed.protocol = without(flaw);
        flawed
    }));
    for mut world in worlds {
        world.claims = vec![Property::always("both judges agree", agree)];
        let title = world.script.to_string();
        let only_this = HasDiscoveries::AllOf(BTreeSet::from(["both judges agree"]));
        let checker = world.checker().threads(1).finish_when(only_this).spawn_dfs().join();
        assert!(checker.discovery("both judges agree").is_none(), "{title}");
    }
}

/// The sizes and mutants of the workbench that are small enough to be searched without reductions.
fn small_trials() -> Vec<(String, Size)> {
    const FEW_STATES: usize = 9_000;
    let claims = claim::all().into_iter();
    let sizes = claims.flat_map(|claim| {
        claim
            .sizes
            .into_iter()
            .chain(claim.mutants.into_iter().map(|mutant| mutant.size))
    });
    let small = sizes.filter(|size| size.unique.is_none_or(|unique| unique < FEW_STATES) && size.script.len() <= 4);
    small.map(|size| (size.title(), size)).collect()
}

#[test]
fn protocols_are_judged_alike_without_reductions() {
    let mut compared = 0;
    for (title, size) in small_trials() {
        let Particulars::Bench(reduced) = size.particulars else {
            continue;
        };
        let unreduced = Trial {
            reductions: Reductions::None,
            ..reduced
        };
        let report = unreduced.search(size.script, size.replicas, size.search);
        assert_eq!(report.failure.is_some(), reduced.verdict == Verdict::Broken, "{title}");
        compared += 1;
    }
    assert!(compared > 10);
}
