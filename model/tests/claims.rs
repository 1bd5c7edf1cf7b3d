//! Every claim at its small sizes, and every mutant.

use std::collections::BTreeSet;

use trellis_model::check::Search;
use trellis_model::claim::{self, Claim, Effort};
use trellis_model::program::is_right;
use trellis_model::rules::FLAWS;
use trellis_model::workbench::trial::Verdict;
use trellis_spec::flaw::Flaw;

fn hold(name: &str) {
    let claim: Claim = claim::find(name).expect("a claim of that name");
    let small: Vec<_> = claim.sizes.iter().filter(|size| size.effort == Effort::Small).collect();
    assert!(
        !small.is_empty() && !claim.mutants.is_empty(),
        "{name} is checked nowhere or notices nothing"
    );
    for size in small {
        let report = size.search();
        if size.verdict() == Verdict::Kept {
            let walked = matches!(size.search, Search::Biased { .. });
            let complete = report.complete || walked;
            assert!(complete, "{name} {}: {:?}", size.title(), report.failure);
            assert_eq!(Some(report.unique), size.unique, "{name} {}", size.title());
        }
        let right = is_right(size, &report);
        assert!(right, "{name} {} never: {:?}", size.title(), report.never);
    }
    for mutant in &claim.mutants {
        let report = mutant.search();
        assert!(report.failure.is_some(), "{name} does not notice {}", mutant.name);
    }
}

#[test]
fn c1_read_after_write() {
    hold("C1");
}

#[test]
fn c2_read_after_read() {
    hold("C2");
}

#[test]
fn c3_unconditional() {
    hold("C3");
}

#[test]
fn c4_conditional() {
    hold("C4");
}

#[test]
fn c5_told_right() {
    hold("C5");
}

#[test]
fn c10_blocks() {
    hold("C10");
}

#[test]
fn c11_listing() {
    hold("C11");
}

#[test]
fn c12_deletion() {
    hold("C12");
}

#[test]
fn c13_force() {
    hold("C13");
}

#[test]
fn c6_transition() {
    hold("C6");
}

#[test]
fn c7_copies() {
    hold("C7");
}

#[test]
fn c8_moves_on() {
    hold("C8");
}

#[test]
fn c9_tombstones() {
    hold("C9");
}

#[test]
fn elect() {
    hold("elect");
}

#[test]
fn durable() {
    hold("durable");
}

#[test]
fn whole() {
    hold("whole");
}

#[test]
fn progress() {
    hold("progress");
}

#[test]
fn quorums() {
    hold("quorums");
}

#[test]
fn abd() {
    hold("abd");
}

#[test]
fn caspaxos() {
    hold("caspaxos");
}

#[test]
fn primary_backup() {
    hold("primary-backup");
}

#[test]
fn chain() {
    hold("chain");
}

#[test]
fn craq() {
    hold("craq");
}

#[test]
fn craq_eventual() {
    hold("craq-eventual");
}

#[test]
fn craq_bounded() {
    hold("craq-bounded");
}

#[test]
fn elastic() {
    hold("elastic");
}

#[test]
fn trellis() {
    hold("trellis");
}

#[test]
fn every_claim_is_tested_above() {
    let names: Vec<&str> = claim::all().iter().map(|claim| claim.name).collect();
    let tested = [
        "C1",
        "C2",
        "C3",
        "C4",
        "C5",
        "C6",
        "C7",
        "C8",
        "C9",
        "C10",
        "C11",
        "C12",
        "C13",
        "elect",
        "durable",
        "whole",
        "progress",
        "quorums",
        "abd",
        "caspaxos",
        "primary-backup",
        "chain",
        "craq",
        "craq-eventual",
        "craq-bounded",
        "elastic",
        "trellis",
    ];
    assert_eq!(names, tested);
}

#[test]
fn every_flaw_of_the_specification_is_a_mutant_of_some_claim() {
    let number = |flaw: Flaw| flaw as u8;
    let listed: Vec<u8> = FLAWS.iter().copied().map(number).collect();
    assert_eq!(listed, (0..FLAWS.len() as u8).collect::<Vec<_>>());
    let claims = claim::all();
    let hunted = claims
        .iter()
        .flat_map(|claim| &claim.mutants)
        .filter_map(|mutant| mutant.flaw);
    assert_eq!(
        hunted.map(number).collect::<BTreeSet<_>>(),
        listed.into_iter().collect()
    );
}
