//! The two engines count the same states and say the same of them.

use std::collections::BTreeSet;

use stateright::{Model, Property};
use trellis_model::check::{Engine, Report, Search, Way};
use trellis_model::claim::{self, Effort, Mutant, Particulars, Size};
use trellis_model::engine;
use trellis_model::program::is_right;
use trellis_model::transcript::Scenario;

/// Rows on one layout and on two, blocks, and protocols of the workbench.
const CLAIMS: [&str; 10] = ["C1", "C2", "C3", "C4", "C5", "C6", "C10", "abd", "chain", "trellis"];
const MOST_STATES: usize = 40_000;

fn by_both(search: impl Fn(Search) -> Report, meant: Search) -> (Report, Report) {
    (search(meant), search(Engine::Own.of(meant)))
}

fn is_small(size: &Size) -> bool {
    let few = size.unique.is_some_and(|unique| unique < MOST_STATES);
    size.effort == Effort::Small && size.search == Search::Exhaustive && few
}

#[test]
fn both_engines_count_the_same_states_and_find_nothing() {
    let mut compared = BTreeSet::new();
    for name in CLAIMS {
        let claim = claim::find(name).expect("a claim of that name");
        for size in claim.sizes.iter().filter(|size| is_small(size)) {
            let title = format!("{name} {}", size.title());
            let (theirs, ours) = by_both(|search| size.search_as(search), size.search);
            assert!(is_right(size, &theirs) && is_right(size, &ours), "{title}");
            assert!(theirs.complete && ours.complete, "{title}");
            assert_eq!((theirs.unique, theirs.met), (ours.unique, ours.met), "{title}");
            assert!(ours.depth <= theirs.depth, "{title}: depth first goes no shorter ways");
            compared.insert(name);
        }
    }
    assert_eq!(compared, BTreeSet::from(CLAIMS));
}

#[test]
fn both_engines_go_equally_deep_nearest_first() {
    let claim = claim::find("C6").expect("a claim of that name");
    let size = claim.sizes.iter().find(|size| is_small(size)).expect("a small size");
    let nearest = size.search_as(Search::Nearest(usize::MAX));
    let ours = size.search_as(Search::Plain(usize::MAX));
    assert_eq!((nearest.unique, nearest.met), (ours.unique, ours.met));
    assert_eq!(nearest.depth, ours.depth);
}

fn mutant(claim: &str, name: &str) -> Mutant {
    let claim = claim::find(claim).expect("a claim of that name");
    let mutant = claim.mutants.into_iter().find(|mutant| mutant.name == name);
    mutant.expect("a mutant of that name")
}

#[test]
fn both_engines_find_a_mutant_by_a_way_that_replays() {
    for (claim, name) in [("C2", "no-write-back"), ("C6", "serves-older-lo")] {
        let mutant = mutant(claim, name);
        let world = mutant.world().expect("it is one of rows");
        let (theirs, ours) = by_both(|search| mutant.search_as(search), mutant.size.search);
        let walked = [theirs, ours].map(|report| {
            let failure = report.failure.expect("it is noticed");
            let Way::Walked(trace) = failure.way else {
                panic!("ways of rows can be walked")
            };
            let scenario = Scenario::of(claim, name, &world, trace);
            let walk = scenario.replay().expect("it can be walked again");
            (failure.property, scenario.steps.len(), walk.verdict)
        });
        let [(property, longer, verdict), (same, shorter, again)] = walked;
        assert_eq!((property, verdict), (same, again), "{name}");
        assert!(shorter <= longer, "{name}: {shorter} steps of ours, {longer} of theirs");
    }
}

#[test]
fn both_engines_notice_a_broken_protocol_and_a_broken_world_of_blocks() {
    let claim = claim::find("chain").expect("a claim of that name");
    let broken = claim.mutants.iter().find(|mutant| is_bench(&mutant.size));
    let broken = broken.expect("it has mutants");
    for mutant in [broken, &mutant("C10", "upload-decides-alone")] {
        let (theirs, ours) = by_both(|search| mutant.search_as(search), mutant.size.search);
        let [theirs, ours] = [theirs, ours].map(|report| report.failure.expect("it is noticed"));
        assert_eq!(theirs.property, ours.property, "{}", mutant.name);
        assert!(
            matches!(ours.way, Way::Told(told) if !told.is_empty()),
            "{}",
            mutant.name
        );
    }
}

fn is_bench(size: &Size) -> bool {
    matches!(size.particulars, Particulars::Bench(_))
}

/// Two counters below a bound. Their hash may leave out the second.
#[derive(Clone)]
struct Counters {
    bound: u8,
    forbidden: Option<(u8, u8)>,
    hash: Hashed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hashed {
    Whole,
    Half,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pair(u8, u8, Hashed);

impl std::hash::Hash for Pair {
    fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
        self.0.hash(hasher);
        if self.2 == Hashed::Whole {
            self.1.hash(hasher);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    First,
    Second,
}

impl Model for Counters {
    type State = Pair;
    type Action = Count;

    fn init_states(&self) -> Vec<Pair> {
        vec![Pair(0, 0, self.hash); 2]
    }

    fn actions(&self, _: &Pair, actions: &mut Vec<Count>) {
        actions.extend([Count::First, Count::Second]);
    }

    fn next_state(&self, last: &Pair, action: Count) -> Option<Pair> {
        let next = match action {
            Count::First => Pair(last.0 + 1, last.1, last.2),
            Count::Second => Pair(last.0, last.1 + 1, last.2),
        };
        (next.0 < self.bound).then_some(next)
    }

    fn within_boundary(&self, state: &Pair) -> bool {
        state.1 < self.bound
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("not forbidden", |model: &Self, state: &Pair| {
                model.forbidden != Some((state.0, state.1))
            }),
            Property::sometimes("both at three", |_, state: &Pair| (state.0, state.1) == (3, 3)),
        ]
    }
}

#[test]
fn the_numbers_are_those_of_a_grid() {
    let grid = |bound, forbidden, hash| Counters { bound, forbidden, hash };
    let found = engine::search(&grid(4, None, Hashed::Whole), usize::MAX);
    assert_eq!((found.starts, found.unique, found.transitions), (2, 16, 24));
    assert!(found.complete && found.violation.is_none() && found.never.is_empty());
    assert_eq!((found.depth, found.alike), (7, 0));

    let forgetful = engine::search(&grid(4, None, Hashed::Half), usize::MAX);
    assert_eq!((forgetful.unique, forgetful.alike), (16, 12));

    let small = engine::search(&grid(3, None, Hashed::Whole), usize::MAX);
    assert_eq!(small.never, ["both at three"]);
    assert!(!engine::search(&grid(4, None, Hashed::Whole), 5).complete);

    let broken = engine::search(&grid(4, Some((1, 2)), Hashed::Whole), usize::MAX);
    let violation = broken.violation.expect("it is forbidden");
    assert_eq!((violation.property, violation.actions.len()), ("not forbidden", 3));
    let firsts = violation.actions.iter().filter(|action| **action == Count::First);
    assert_eq!((firsts.count(), broken.complete), (1, false));
}

#[test]
fn no_two_states_of_rows_share_a_hash() {
    for name in ["C2", "C6"] {
        let claim = claim::find(name).expect("a claim of that name");
        let size = claim.sizes.iter().find(|size| is_small(size)).expect("a small size");
        let found = engine::search(&size.world().expect("it is one of rows"), usize::MAX);
        assert_eq!((Some(found.unique), found.alike), (size.unique, 0), "{name}");
    }
}
