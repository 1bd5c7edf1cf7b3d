//! The exact checker against its twin.

use proptest::prelude::*;

use super::*;
use crate::history::brute;

/// A step with at most one odd value, small enough for the twin.
fn step() -> impl Strategy<Value = Step> {
    let state = prop_oneof![Just(State::Absent), (0_u32..3).prop_map(State::Value)];
    let guard = prop_oneof![
        3 => Just(Guard::Always),
        2 => Just(Guard::Absent),
        1 => Just(Guard::Present),
        3 => (0_u32..3).prop_map(Guard::Is),
        1 => (0_u32..3).prop_map(Guard::IsNot),
    ];
    let effect = prop_oneof![
        3 => state.clone().prop_map(Effect::Observed),
        1 => guard.clone().prop_map(|guard| if guard == Guard::Always { Guard::Absent } else { guard }).prop_map(Effect::Refuted),
        4 => (state, guard).prop_map(|(to, guard)| Effect::Write { to, guard }),
    ];
    (0_u64..12, 0_u64..6, effect, 0..5).prop_map(|(call, length, effect, fate)| Step {
        operation: 0,
        call,
        end: (fate > 0 || !matches!(effect, Effect::Write { .. })).then_some(call + length),
        effect,
    })
}

/// Histories of a real register: effects at points in time, intervals drawn around them, at most one answer forged.
fn grown() -> impl Strategy<Value = Vec<Step>> {
    let one = (0_u64..25, 0_u64..25, 0..8, 0_u32..8, 0..6);
    (
        proptest::collection::vec(one, 1..9),
        proptest::option::of((0_usize..9, 0_u32..8)),
    )
        .prop_map(|(plan, forged)| {
            let mut state = State::Absent;
            let mut steps = Vec::new();
            for (index, (before, after, kind, value, fate)) in plan.into_iter().enumerate() {
                let (value, point) = (State::Value(value), 100 + 10 * index as u64);
                let guard = match state {
                    State::Value(current) => Guard::Is(current),
                    State::Absent | State::Unmentioned => Guard::Absent,
                };
                let write = |to, guard| Effect::Write { to, guard };
                let effect = match kind {
                    0..=2 => Effect::Observed(state),
                    3 => write(State::Absent, Guard::Always),
                    4 => write(value, guard),
                    5 => write(State::Absent, guard),
                    _ => write(value, Guard::Always),
                };
                if let Effect::Write { to, .. } = effect {
                    state = to;
                }
                let is_known = fate > 0 || !matches!(effect, Effect::Write { .. });
                steps.push(Step {
                    operation: 0,
                    call: point - before,
                    end: is_known.then_some(point + after),
                    effect,
                });
            }
            if let Some((place, value)) = forged
                && let Some(step) = steps.get_mut(place)
                && let Effect::Observed(state) = &mut step.effect
            {
                *state = State::Value(value);
            }
            steps
        })
}

fn agree(steps: &[Step]) -> Result<(), TestCaseError> {
    let expected = brute::is_linearizable(steps);
    let found = check(steps);
    prop_assert_ne!(found, Verdict::Undecided);
    prop_assert_eq!(found == Verdict::Linearizable, expected, "{:?} of {:#?}", found, steps);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_its_twin_on_anything(steps in proptest::collection::vec(step(), 0..8)) {
        agree(&steps)?;
    }

    #[test]
    fn agrees_with_its_twin_on_what_a_register_would_say(steps in grown()) {
        agree(&steps)?;
    }
}

/// Both verdicts must come up often, or the two properties above say little.
#[test]
fn the_generators_make_good_and_bad_histories() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for strategy in [proptest::collection::vec(step(), 0..8).boxed(), grown().boxed()] {
        let good = (0..400)
            .filter(|_| brute::is_linearizable(&strategy.new_tree(&mut runner).unwrap().current()))
            .count();
        assert!((20..=380).contains(&good), "{good} of 400 are good");
    }
}

#[test]
fn a_long_run_of_unknown_outcomes_stays_cheap() {
    let mut steps = Vec::new();
    for round in 0_u32..3000 {
        let call = u64::from(round) * 10;
        let write = |value, guard, end| Step {
            operation: 0,
            call,
            end,
            effect: Effect::Write {
                to: State::Value(value),
                guard,
            },
        };
        steps.push(write(3 * round, Guard::Always, Some(call + 3)));
        steps.push(write(3 * round + 1, Guard::Always, None));
        steps.push(write(3 * round + 2, Guard::Is(3 * round), None));
        let seen = 3 * round + u32::from(round % 7 == 0);
        steps.push(Step {
            operation: 0,
            call: call + 5,
            end: Some(call + 6),
            effect: Effect::Observed(State::Value(seen)),
        });
    }
    assert_eq!(check(&steps), Verdict::Linearizable);
}
