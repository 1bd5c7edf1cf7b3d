//! Two people apply different layouts at the same moment on two nodes: one layout comes of it, and both are told the truth.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

#[expect(dead_code, reason = "rivals need only some of what the tests of commands share")]
mod support;

use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;
use support::{Running, json, ok, text, trellis};

/// Enough for both to win; `TRELLIS_ROUNDS` asks for more.
const ROUNDS: u64 = 10;
const RIVALS: [usize; 2] = [1, 2];

fn folder(home: &Path, node: usize) -> String {
    text(&home.join(format!("node-{node}"))).to_owned()
}

fn show(home: &Path, node: usize) -> Value {
    json(&["layout", "show", "--json", "--data", &folder(home, node)])
}

/// Both begin before either has ended, and mean the same number.
fn apply_at_once(home: &Path, version: u64) -> [Output; 2] {
    let begin = |node| {
        let version = version.to_string();
        let mut apply = trellis(&["layout", "apply", "--version", &version, "--data", &folder(home, node)]);
        apply.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    RIVALS.map(begin).map(|apply| apply.wait_with_output().unwrap())
}

/// The one word for people that the first node has in the layout that a node knows.
fn tag(layout: &Value, first: &str) -> String {
    let roles = layout["roles"].as_array().unwrap();
    let role = roles
        .iter()
        .find(|role| role["id"].as_str().unwrap().starts_with(first))
        .unwrap();
    role["tags"][0].as_str().unwrap_or_default().to_owned()
}

#[test]
fn of_two_layouts_applied_at_once_one_is_decided_and_the_other_is_told() {
    let rounds = std::env::var("TRELLIS_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let mut dev = Running::dev(home, &["--nodes", "3"]);
    let first = ok(&["node", "id", "--data", &folder(home, 1)])[..12].to_owned();
    let mut wins = [0, 0];
    for round in 1..=rounds {
        let version = round + 1;
        for node in RIVALS {
            let mine = format!("round-{round}-by-{node}");
            ok(&[
                "layout",
                "assign",
                &first,
                "--tag",
                &mine,
                "--data",
                &folder(home, node),
            ]);
        }
        let ended = apply_at_once(home, version);
        let told = ended.each_ref().map(|end| end.status.success());
        let winner = match told {
            [true, false] => 0,
            [false, true] => 1,
            [true, true] | [false, false] => panic!("round {round}: {ended:?}"),
        };
        wins[winner] += 1;
        let loser = String::from_utf8_lossy(&ended[1 - winner].stderr).into_owned();
        let is_told = ["layout was decided", "by now"]
            .iter()
            .any(|words| loser.contains(words));
        assert!(is_told && loser.contains("preview"), "{loser}");
        let expected = format!("round-{round}-by-{}", RIVALS[winner]);
        let is_settled = |node| {
            let layout = show(home, node);
            layout["version"] == version && layout["state"] == "settled" && tag(&layout, &first) == expected
        };
        dev.wait_until("all know the winner's layout", || (1..=3).all(is_settled));
        ok(&["layout", "revert", "--data", &folder(home, RIVALS[1 - winner])]);
    }
    println!("{rounds} rounds: node 1 won {}, node 2 {}", wins[0], wins[1]);
}
