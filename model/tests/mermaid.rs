//! Scenarios as sequence diagrams.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use trellis_model::check::{Way, search};
use trellis_model::claim::{self, Mutant};
use trellis_model::transcript::Scenario;
use trellis_model::world::{Action, Fusion};

const SUSPECTS_BEGIN: &str = "sequenceDiagram
    title C12 suspects-read-again
    participant client0 as client 0 (#35;0 write)
    participant client1 as client 1 (#35;1 delete the bucket)
    participant A as replica A
    participant B as replica B
    participant C as replica C
    client0->>A: 1. #35;0 begins to write: write #35;0's @100.1
    A-->>client0: to #35;0: accepted
    client1->>B: 2. #35;1 begins to delete the bucket: prepare 200.2 (row 2)
    B-->>client1: to #35;1: promised, holds nothing
";

const GATE_BEGIN: &str = "sequenceDiagram
    title C12 gate-settled
    participant client0 as client 0 (#35;0 write)
    participant client1 as client 1 (#35;1 delete the bucket)
    participant underway as sent before, not waited for
    participant A as replica A
    participant B as replica B (#35;2 sync)
    participant C as replica C (#35;3 sync)
    client1->>B: 1. #35;1 begins to delete the bucket: prepare 200.2 (row 2)
    B-->>client1: to #35;1: promised, holds nothing
";

fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(name)
}

fn scenario(name: &str) -> Scenario {
    let bytes = fs::read(kept(name)).expect("the scenario is kept");
    serde_json::from_slice(&bytes).expect("it is a scenario")
}

fn drawn(scenario: &Scenario) -> String {
    scenario.replay().expect("it can be walked").diagram.to_string()
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trellis-model"))
        .args(arguments)
        .output()
        .expect("the program was built")
}

/// A line of a diagram behind its declarations: whom it names, by which arrow, and its text.
fn parts(line: &str) -> (Vec<&str>, Option<&str>, &str) {
    let (head, text) = line.trim_start().split_once(": ").expect("every event has a text");
    if let Some(over) = head.strip_prefix("Note over ") {
        return (over.split(',').collect(), None, text);
    }
    let arrow = ["-->>", "->>", "--x"].into_iter().find(|arrow| head.contains(arrow));
    let arrow = arrow.expect("what is no note is a message");
    let (from, to) = head.split_once(arrow).expect("it was found");
    (vec![from, to], Some(arrow), text)
}

/// Every `#` and `;` belongs to an entity, and nothing else means something to Mermaid.
fn is_escaped(text: &str) -> bool {
    let mut pieces = text.split('#');
    let plain = |text: &str| !text.contains([';', '%', '$', '&', '<', '>', '"', '\\']);
    let is_entity = |piece: &str| {
        let (code, rest) = piece.split_once(';').unwrap_or(("", piece));
        code.parse::<u32>().is_ok() && plain(rest)
    };
    pieces.next().is_some_and(plain) && pieces.all(is_entity)
}

/// Declares all whom it names and no others, and is escaped; returns the arrows in their order.
fn well_formed(diagram: &str) -> Vec<&str> {
    let mut lines = diagram.lines();
    assert_eq!(lines.next(), Some("sequenceDiagram"));
    let title = lines.next().and_then(|line| line.strip_prefix("    title "));
    assert!(title.is_some_and(is_escaped), "{title:?}");
    let (mut declared, mut named, mut arrows) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for line in lines {
        if let Some(participant) = line.strip_prefix("    participant ") {
            let (id, name) = participant.split_once(" as ").expect("it has a name");
            assert!(named.is_empty() && declared.insert(id) && is_escaped(name), "{line}");
            continue;
        }
        let (parties, arrow, text) = parts(line);
        assert!(is_escaped(text), "{line}");
        named.extend(parties);
        arrows.extend(arrow);
    }
    assert_eq!(declared, named);
    arrows
}

fn count(arrows: &[&str], wanted: &str) -> usize {
    arrows.iter().filter(|arrow| **arrow == wanted).count()
}

fn steps(scenario: &Scenario, wanted: impl Fn(&Action) -> bool) -> usize {
    scenario.steps.iter().filter(|step| wanted(step)).count()
}

#[test]
fn kept_scenarios_are_drawn() {
    for (name, begin, end) in [
        ("suspects-read-again.json", SUSPECTS_BEGIN, "NotLinearizable"),
        ("gate-settled.json", GATE_BEGIN, "Fine"),
    ] {
        let scenario = scenario(name);
        let diagram = drawn(&scenario);
        assert!(diagram.starts_with(begin), "{diagram}");
        assert!(
            diagram.ends_with(&format!("    Note over client0,C: {end}\n")),
            "{diagram}"
        );
        let arrows = well_formed(&diagram);
        let delivered = steps(&scenario, |step| matches!(step, Action::Deliver { .. }));
        let unheard = steps(&scenario, |step| matches!(step, Action::Serve { .. }));
        let late = steps(&scenario, |step| matches!(step, Action::Late { .. }));
        assert_eq!(count(&arrows, "->>"), delivered + unheard + late, "{name}");
        assert_eq!(
            (count(&arrows, "-->>"), count(&arrows, "--x")),
            (delivered, unheard),
            "{name}"
        );
    }
}

#[test]
fn notes_tell_of_views_and_of_what_clients_are_told() {
    let gate = drawn(&scenario("gate-settled.json"));
    for note in [
        "    Note over C: 5. C hears of the next layout\n    Note over C: C is in layouts 1..2\n",
        "    Note over client0: #35;0 is told: outcome unknown\n",
        "    underway->>C: 8. write #35;0's @100.1\n",
        "    C->>C: 17. #35;3 prepare 101.4\n    C--xC: to #35;3: promised, holds #35;0's @100.1\n",
    ] {
        assert!(gate.contains(note), "{note}{gate}");
    }
}

/// The way to a mutant's discovery, drawn.
fn mutant(claim: &str, chosen: impl Fn(&Mutant) -> bool, fusion: Fusion) -> (Scenario, String) {
    let claim = claim::find(claim).expect("a claim of that name");
    let mutant = claim
        .mutants
        .iter()
        .find(|mutant| chosen(mutant))
        .expect("there is one");
    let mut world = mutant.world().expect("it is one of rows");
    world.fusion = fusion;
    let failure = search(&world, mutant.size.search).failure.expect("it is noticed");
    let Way::Walked(trace) = failure.way else {
        panic!("ways of rows can be walked")
    };
    let scenario = Scenario::of(claim.name, mutant.name, &world, trace);
    let diagram = scenario
        .replay_in(&world)
        .expect("it can be walked")
        .diagram
        .to_string();
    (scenario, diagram)
}

#[test]
fn crashes_are_noted() {
    let crashes = |action: &Action| matches!(action, Action::Crash { .. });
    let (scenario, diagram) = mutant("durable", |_| true, Fusion::Fused);
    well_formed(&diagram);
    let noted = diagram.matches(" crashes and comes back\n").count();
    assert_eq!(noted, steps(&scenario, crashes));
    assert!(noted > 0, "{diagram}");
}

#[test]
fn answers_that_are_heard_later_are_drawn_then() {
    let (scenario, diagram) = mutant("C2", |mutant| mutant.name == "no-write-back", Fusion::Apart);
    let arrows = well_formed(&diagram);
    let heard = steps(&scenario, |step| matches!(step, Action::Hear { .. }));
    let served = steps(&scenario, |step| matches!(step, Action::Serve { .. }));
    let late = steps(&scenario, |step| matches!(step, Action::Late { .. }));
    assert!(0 < heard && heard <= served);
    assert_eq!(
        (count(&arrows, "->>"), count(&arrows, "-->>")),
        (served + late, heard),
        "{diagram}"
    );
}

#[test]
fn the_program_draws_a_scenario_and_no_traces() {
    let folder = std::env::temp_dir().join(format!("trellis-model-mermaid-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("gate.mmd");
    let path = file.to_str().unwrap();
    let kept = kept("gate-settled.json");
    let replayed = run(&["replay", kept.to_str().unwrap(), "--mermaid", path]);
    let written = fs::read_to_string(&file).unwrap();
    let traces = run(&["replay", folder.to_str().unwrap(), "--mermaid", path]);
    fs::remove_dir_all(&folder).unwrap();
    assert!(replayed.status.success() && !traces.status.success());
    assert!(String::from_utf8_lossy(&replayed.stdout).ends_with(&format!("drawn as {path}\n")));
    assert_eq!(written, drawn(&scenario("gate-settled.json")));
}
