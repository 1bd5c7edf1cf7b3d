//! Scenarios, and the states of the explorer, as pictures.

use std::fs;
use std::path::Path;
use std::process::Command;

use stateright::Model;
use trellis_model::check::{Way, search};
use trellis_model::claim;
use trellis_model::svg::Picture;
use trellis_model::transcript::Scenario;

fn kept(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(name)
}

fn drawn(name: &str) -> String {
    let bytes = fs::read(kept(name)).expect("the scenario is kept");
    let scenario: Scenario = serde_json::from_slice(&bytes).expect("it is a scenario");
    Picture::of(&scenario.replay().expect("it can be walked")).to_string()
}

/// Every tag is closed by its own, and texts hold nothing that would open one.
fn assert_well_formed(svg: &str) {
    let mut open = Vec::new();
    for tag in svg.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').expect("a tag ends");
        assert!(!text.contains('>'), "{text}");
        let name = tag.split(' ').next().unwrap_or_default();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name)),
            None if tag.ends_with('/') => {}
            None => open.push(name),
        }
    }
    assert_eq!(open, Vec::<&str>::new());
}

#[test]
fn kept_scenarios_are_drawn_with_their_last_state() {
    for (name, arrow, state) in [
        ("suspects-read-again.json", "class=\"ask\"", "NotLinearizable"),
        ("gate-settled.json", "class=\"lost\"", "layouts 1..2, synced for"),
    ] {
        let svg = drawn(name);
        assert_well_formed(&svg);
        for wanted in [arrow, state, "replica A", ">row 0<", "client 0 (#0"] {
            assert!(svg.contains(wanted), "{name}: no {wanted} in {svg}");
        }
        let tips = svg.matches("marker-end").count();
        let lines = svg.matches("<path class").count();
        assert!(tips == lines && lines > 4, "{tips} of {lines}");
    }
}

#[test]
fn the_explorer_draws_the_way_to_each_state() {
    let claim = claim::find("C2").expect("there is one");
    let mutant = claim.mutants.first().expect("it has one");
    let world = mutant.world().expect("it is one of rows").unsorted();
    let failure = search(&world, mutant.size.search).failure.expect("it is noticed");
    let Way::Walked(trace) = failure.way else {
        panic!("ways of rows can be walked")
    };
    let svg = world.as_svg(trace).expect("it can be drawn");
    assert_well_formed(&svg);
    assert!(svg.contains(">node<") && svg.contains("is told"), "{svg}");
}

#[test]
fn the_program_writes_a_picture() {
    let file = std::env::temp_dir().join(format!("trellis-svg-{}.svg", std::process::id()));
    let scenario = kept("gate-settled.json");
    let mut program = Command::new(env!("CARGO_BIN_EXE_trellis-model"));
    let output = program.arg("replay").arg(&scenario).arg("--svg").arg(&file).output();
    assert!(output.expect("the program was built").status.success());
    let svg = fs::read_to_string(&file).expect("it was written");
    fs::remove_file(&file).expect("it is ours");
    assert_eq!(svg, drawn("gate-settled.json"));
}
