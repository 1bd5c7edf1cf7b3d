//! Which way the doors open: the crates may know only what the architecture says, and `spec` only mathematics.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Clone, Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Clone, Deserialize)]
struct Dependency {
    name: String,
    /// `dev`, `build`, or none for what the crate itself is built from.
    kind: Option<String>,
}

/// What one crate may know.
struct Arrow {
    from: &'static str,
    /// The crates of the workspace it may depend on.
    own: &'static [&'static str],
    /// When named: all others it may be built from.
    only: Option<&'static [&'static str]>,
    /// What it must not even test with.
    never: &'static [&'static str],
}

const ARROWS: [Arrow; 5] = [
    Arrow {
        from: "trellis-spec",
        own: &[],
        only: Some(&["serde", "blake2"]),
        never: &["tokio", "stateright", "tracing", "rand", "fastrand", "sled"],
    },
    Arrow {
        from: "trellis-model",
        own: &["trellis-spec"],
        only: None,
        never: &["tokio", "sled", "hyper", "rustls"],
    },
    Arrow {
        from: "trellis-s3api",
        own: &[],
        only: None,
        never: &["sled", "stateright", "rustls"],
    },
    Arrow {
        from: "trellis-node",
        own: &["trellis-spec", "trellis-s3api"],
        only: None,
        never: &["stateright"],
    },
    Arrow {
        from: "trellis-verification",
        own: &["trellis-spec", "trellis-model", "trellis-s3api", "trellis-node"],
        only: None,
        never: &[],
    },
];

/// Everything that is wrong with the doors of one crate.
fn wrong_doors(package: &Package) -> Vec<String> {
    let Some(arrow) = ARROWS.iter().find(|arrow| arrow.from == package.name) else {
        return vec![format!("{} is not on the plan", package.name)];
    };
    let is_wrong = |dependency: &&Dependency| {
        let name = dependency.name.as_str();
        let is_own = name.starts_with("trellis-");
        let is_beyond = arrow.only.is_some_and(|only| !only.contains(&name));
        arrow.never.contains(&name)
            || (is_own && !arrow.own.contains(&name))
            || (!is_own && is_beyond && dependency.kind.as_deref() != Some("dev"))
    };
    let wrong = package.dependencies.iter().filter(is_wrong);
    wrong
        .map(|dependency| format!("{} must not know {}", package.name, dependency.name))
        .collect()
}

/// What the root file of `spec` must say about itself.
fn missing_promises(root_file: &str) -> Vec<&'static str> {
    let promises = ["#![no_std]", "#![forbid(unsafe_code)]", "#![deny(missing_docs)]"];
    promises
        .into_iter()
        .filter(|promise| !root_file.lines().any(|line| line.trim() == *promise))
        .collect()
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn packages() -> Vec<Package> {
    let arguments = ["metadata", "--offline", "--no-deps", "--format-version", "1"];
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(workspace())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice::<Metadata>(&output.stdout).unwrap().packages
}

#[test]
fn every_door_opens_the_right_way() {
    let packages = packages();
    assert_eq!(
        packages.len(),
        ARROWS.len(),
        "the plan and the workspace name different crates"
    );
    let wrong: Vec<String> = packages.iter().flat_map(wrong_doors).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn spec_needs_no_operating_system() {
    let root_file = std::fs::read_to_string(workspace().join("spec/src/lib.rs")).unwrap();
    assert_eq!(missing_promises(&root_file), Vec::<&str>::new());
}

#[test]
fn wrong_doors_are_found() {
    let refused = |from: &str, to: &str, kind: Option<&str>| {
        let dependency = Dependency {
            name: to.to_owned(),
            kind: kind.map(str::to_owned),
        };
        !wrong_doors(&Package {
            name: from.to_owned(),
            dependencies: vec![dependency],
        })
        .is_empty()
    };
    assert!(refused("trellis-spec", "thiserror", None));
    assert!(!refused("trellis-spec", "proptest", Some("dev")));
    assert!(refused("trellis-spec", "tokio", Some("dev")));
    assert!(refused("trellis-model", "tokio", None));
    assert!(refused("trellis-s3api", "trellis-spec", Some("dev")));
    assert!(refused("trellis-node", "stateright", Some("dev")));
    assert!(refused("trellis-node", "trellis-verification", Some("dev")));
    assert!(!refused("trellis-node", "trellis-s3api", None));
    assert!(refused("trellis-extra", "serde", None));
    assert_eq!(
        missing_promises("#![no_std]\n// #![forbid(unsafe_code)]\n#![deny(missing_docs)]").len(),
        1
    );
}
