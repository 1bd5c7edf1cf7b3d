//! No broken rule is in the program.
//!
//! The rules of the protocols take the guards to leave out as a type parameter, and the names of a program's functions
//! tell with which types they were made. (`trellis-model`, which runs the broken ones, has hundreds of `Without`.)

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::collections::BTreeSet;

/// How a function's name shows the parameter that the node gives.
const SOUND: &str = "flaw..Sound";

fn contains(program: &[u8], name: &str) -> bool {
    program.windows(name.len()).any(|window| window == name.as_bytes())
}

/// The names that the specification gives to guards left out.
fn flaws() -> BTreeSet<&'static str> {
    let source = include_str!("../../spec/src/flaw.rs");
    let variants = source
        .split("pub enum Flaw {")
        .nth(1)
        .unwrap()
        .split('}')
        .next()
        .unwrap();
    let names = variants
        .lines()
        .map(str::trim)
        .filter_map(|line| line.strip_suffix(','));
    names
        .filter(|name| !name.is_empty() && name.chars().all(char::is_alphanumeric))
        .collect()
}

#[test]
fn the_program_runs_sound_rules_and_no_others() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_trellis")).unwrap();
    assert!(
        contains(&program, SOUND),
        "the names of functions are stripped: this test sees nothing"
    );
    // What only builds for tests of the tests have: seeded bugs, and a clock that is told to be wrong.
    let variables = ["TRELLIS_SEEDED_BUG", "TRELLIS_CLOCK_SKEW_MS", "promises-forgotten"];
    for name in ["trellis_model", "rules..Without"].into_iter().chain(variables) {
        assert!(!contains(&program, name), "{name} is in the program");
    }
    let flaws = flaws();
    assert!(flaws.len() >= 25, "{flaws:?}");
    let found: Vec<&str> = flaws.into_iter().filter(|flaw| contains(&program, flaw)).collect();
    assert_eq!(found, Vec::<&str>::new());
}
