//! The workloads against a small store that tells lies on demand: each lie must be found, and the truth accepted.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod liar;

use std::time::Duration;

use liar::{Liar, Lie};
use trellis_verification::s3client::{Credentials, Endpoint, Target};
use trellis_verification::workload::{Outcome, buckets, chain, mixed, race};

fn target(liar: &Liar) -> Target {
    let credentials = Credentials {
        access_key_id: "anyone".to_owned(),
        secret_access_key: "anything".to_owned(),
        region: "us-east-1".to_owned(),
    };
    let endpoint = Endpoint(liar.address.to_string());
    Target {
        endpoints: vec![endpoint.clone(), endpoint],
        credentials,
        bucket: "lies".to_owned(),
    }
}

async fn race(lie: Lie) -> Outcome {
    let liar = Liar::start(lie).await;
    race::run(&target(&liar), race::Race { clients: 8, keys: 10 })
        .await
        .unwrap()
}

async fn chain(lie: Lie) -> Outcome {
    let liar = Liar::start(lie).await;
    let duration = Duration::from_millis(400);
    chain::run(&target(&liar), chain::Chain { clients: 4, duration })
        .await
        .unwrap()
}

async fn mixed(lie: Lie) -> Outcome {
    let liar = Liar::start(lie).await;
    let duration = Duration::from_millis(600);
    mixed::run(
        &target(&liar),
        mixed::Mixed {
            clients: 4,
            keys: 4,
            duration,
            seed: 7,
        },
    )
    .await
    .unwrap()
}

async fn buckets(lie: Lie) -> Outcome {
    let liar = Liar::start(lie).await;
    let buckets = buckets::Buckets {
        clients: 4,
        duration: Duration::from_millis(2_500),
        seed: 7,
    };
    buckets::run(&target(&liar), buckets).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_store_is_believed() {
    for outcome in [
        race(Lie::None).await,
        chain(Lie::None).await,
        mixed(Lie::None).await,
        buckets(Lie::None).await,
    ] {
        assert!(outcome.is_good(), "{outcome}");
        assert!(outcome.history.len() >= 80, "{outcome}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_race_finds_conditions_that_are_ignored() {
    let outcome = race(Lie::IgnoresIfNoneMatch).await;
    assert!(
        outcome
            .faults
            .iter()
            .any(|fault| fault.contains("were all told that they created it")),
        "{outcome}"
    );
    assert!(outcome.to_string().contains("TwoWinners"), "{outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_finds_conditions_that_are_ignored() {
    let outcome = chain(Lie::IgnoresIfMatch).await;
    assert!(
        outcome.faults.iter().any(|fault| fault.contains("are missing")),
        "{outcome}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_into_buckets_that_are_gone_are_found() {
    let outcome = buckets(Lie::TakesWritesIntoBucketsThatAreGone).await;
    assert!(!outcome.summary.contains(" 0 deleted"), "{outcome}");
    assert!(!outcome.is_good(), "{outcome}");
}

/// Which name a violation gets depends on what else went on; that it is found does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_mixed_load_finds_every_lie() {
    let lies = [
        Lie::ForgetsWrites,
        Lie::ServesOldReads,
        Lie::BringsBackDeleted,
        Lie::HidesFromListings,
        Lie::SwapsBodies,
        Lie::IgnoresIfMatch,
        Lie::WritesWhatItRefuses,
    ];
    for lie in lies {
        let outcome = mixed(lie).await;
        assert!(!outcome.is_good(), "{lie:?} was believed: {outcome}");
    }
}
