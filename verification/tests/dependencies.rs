//! Holds the dependency tree against `deny.toml`: licences, banned crates, sources.
//!
//! `cargo deny` does the same and more, but building it takes longer than building Trellis; this asks `cargo metadata`.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

#[derive(Deserialize)]
struct Rules {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Banned>,
}

#[derive(Deserialize)]
struct Banned {
    name: String,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Clone, Deserialize)]
struct Package {
    name: String,
    license: Option<String>,
    source: Option<String>,
}

/// Everything that is wrong with one package.
fn complaints(package: &Package, rules: &Rules) -> Vec<String> {
    let name = &package.name;
    let mut complaints = Vec::new();
    match &package.license {
        Some(license) if is_allowed(license, &rules.licenses.allow) => {}
        Some(license) => complaints.push(format!("{name}: licence {license:?} is not allowed")),
        None => complaints.push(format!("{name}: no licence")),
    }
    if rules.bans.deny.iter().any(|banned| banned.name == *name) {
        complaints.push(format!("{name}: banned"));
    }
    match &package.source {
        Some(source) if source.starts_with("registry+") && source.ends_with("/crates.io-index") => {}
        Some(source) => complaints.push(format!("{name}: comes from {source}")),
        None if name.starts_with("trellis-") => {}
        None => complaints.push(format!("{name}: comes from a path")),
    }
    complaints
}

/// Whether a licence expression (SPDX, or the old form with slashes) can be satisfied.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let holds = any_of(&mut words, allowed);
    holds && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    let mut holds = all_of(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        holds |= all_of(words, allowed);
    }
    holds
}

fn all_of(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    let mut holds = licence(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        holds &= licence(words, allowed);
    }
    holds
}

fn licence(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    if words.next_if_eq(&"(").is_some() {
        let holds = any_of(words, allowed);
        return words.next_if_eq(&")").is_some() && holds;
    }
    let holds = words.next().is_some_and(|name| allowed.contains(name));
    if words.next_if_eq(&"WITH").is_some() {
        words.next();
    }
    holds
}

fn rules() -> Rules {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deny.toml");
    toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The tree as built for this kind of machine: exactly what has been downloaded for this test run.
fn packages() -> Vec<Package> {
    let mut metadata = Command::new(env!("CARGO"));
    metadata.args(["metadata", "--offline", "--locked", "--format-version", "1"]);
    metadata.args([
        "--filter-platform",
        &format!("{}-unknown-linux-gnu", std::env::consts::ARCH),
    ]);
    let output = metadata.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice::<Metadata>(&output.stdout).unwrap().packages
}

#[test]
fn every_dependency_may_be_there() {
    let (rules, packages) = (rules(), packages());
    assert!(
        packages.len() > 50,
        "only {} packages: the tree was not read",
        packages.len()
    );
    let complaints: Vec<String> = packages
        .iter()
        .flat_map(|package| complaints(package, &rules))
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn expressions_are_understood() {
    let allowed = BTreeSet::from(["MIT", "Apache-2.0"].map(str::to_owned));
    for good in [
        "MIT",
        "GPL-3.0 OR MIT",
        "GPL-3.0/MIT",
        "(GPL-3.0 OR MIT) AND Apache-2.0",
        "Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(is_allowed(good, &allowed), "{good}");
    }
    for bad in [
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "GPL-3.0 OR (MIT AND AGPL-3.0)",
        "",
        "(MIT",
        "MIT MIT",
    ] {
        assert!(!is_allowed(bad, &allowed), "{bad}");
    }
}

#[test]
fn forged_packages_are_refused() {
    let good = packages().into_iter().find(|package| package.name == "serde").unwrap();
    let refused = |change: fn(&mut Package)| {
        let mut package = good.clone();
        change(&mut package);
        complaints(&package, &rules()).len() == 1
    };
    assert!(complaints(&good, &rules()).is_empty());
    assert!(refused(|package| package.license = None));
    assert!(refused(|package| package.license = Some("AGPL-3.0-only".to_owned())));
    assert!(refused(|package| package.name = "openssl-sys".to_owned()));
    assert!(refused(
        |package| package.source = Some("git+https://example.org/serde".to_owned())
    ));
    assert!(refused(|package| package.source = None));
}
