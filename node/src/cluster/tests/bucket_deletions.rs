//! Writes that race with the deletion of their bucket: what was seen is never said to have failed.

use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;
use trellis_s3api::error::StoreError;
use trellis_s3api::scan::Scan;
use trellis_s3api::store::ObjectStore;
use trellis_spec::row::{Address, BucketId};
use trellis_spec::stamp::Stamp;

use super::{Sites, origin};
use crate::cluster::Target;
use crate::env::simulated::Simulation;
use crate::link::PeerId;

impl Sites {
    fn target(&self, name: &str) -> Target {
        let id = BucketId(self.bucket.id.0);
        Target {
            address: Address::object(id, 1, name.as_bytes()),
            gate: Some(Address::gate(id, 0).key),
        }
    }

    /// The names that a listing shows. None once the bucket is gone.
    async fn list(&self, at: usize) -> Vec<String> {
        let scan = Scan {
            prefix: String::new(),
            from: Bound::Unbounded,
            limit: 100,
        };
        let listed = self.sites[at].store.scan(&self.bucket, scan).await;
        let entries = listed.map(|page| page.entries).unwrap_or_default();
        entries
            .into_iter()
            .map(|object| object.key.as_str().to_owned())
            .collect()
    }

    /// Empties the bucket and deletes it; what it saw.
    async fn delete_all(&self, at: usize) -> Vec<String> {
        const TRIES: usize = 100;
        let mut seen = Vec::new();
        for _ in 0..TRIES {
            for name in self.list(at).await {
                // Tried again by the next listing, if it is still there.
                let _ = self.delete(at, &name).await;
                seen.push(name);
            }
            match self.sites[at].store.delete_bucket(&origin(), &self.bucket).await {
                Ok(()) | Err(StoreError::NoSuchBucket) => return seen,
                Err(_) => {}
            }
        }
        panic!("the bucket is there still");
    }
}

#[test]
fn what_is_on_a_majority_may_have_been_shown() {
    Simulation::run(31, |simulation| async move {
        let three = Sites::three(&simulation).await;
        let body = Bytes::from_static(b"body");
        let now = |at: usize| three.sites[at].coordinator.stamp(Stamp::ZERO);
        let (written, other) = (three.target("written"), three.target("other"));
        let before = now(1);
        three.put(0, "written", &body).await.unwrap();
        // A stamp of now is greater than whatever was written before.
        simulation.sleep(Duration::from_millis(10)).await;
        let after = now(1);
        let coordinator = &three.sites[1].coordinator;
        assert!(coordinator.may_have_shown(&written, before).await);
        assert!(!coordinator.may_have_shown(&written, after).await);
        assert!(!coordinator.may_have_shown(&other, before).await);
        three.sites[2].node.crash();
        assert!(
            !coordinator.may_have_shown(&other, before).await,
            "two of three suffice"
        );
        three.sites[0].node.crash();
        assert!(
            coordinator.may_have_shown(&other, before).await,
            "one of three does not know"
        );
    });
}

#[test]
fn a_write_that_somebody_saw_is_not_said_to_be_of_no_bucket() {
    let (mut refused, mut unknown_but_seen) = (0, 0);
    for seed in 0..100 {
        let (put, seen) = race(seed);
        let was_seen = seen.iter().any(|name| name == "raced");
        match put {
            Err(StoreError::NoSuchBucket) => {
                refused += 1;
                assert!(!was_seen, "seed {seed}: seen, and said to have failed");
            }
            Err(StoreError::OutcomeUnknown) => unknown_but_seen += u32::from(was_seen),
            Err(error) => panic!("seed {seed}: {error}"),
            Ok(()) => {}
        }
    }
    assert!(refused > 0 && unknown_but_seen > 0, "{refused} {unknown_but_seen}");
}

/// How a write ended whose bucket is deleted at the second attempt, and what was seen of the bucket. The first attempt has
/// closed the gates of two replicas when the write comes, and the third takes it; they are opened again, for there is
/// another object. Before the writer's coordinator, which has no rows and hears everything late, has heard of the gates
/// and has looked behind them, both objects and the bucket are deleted.
fn race(seed: u64) -> (Result<(), StoreError>, Vec<String>) {
    Simulation::run(seed, |simulation| async move {
        let four = Sites::start(&simulation, 4, 3).await;
        let body = Bytes::from_static(b"body");
        four.put(0, "other", &body).await.unwrap();
        let lag = |from: usize, to: usize, by| {
            let [from, to] = [from, to].map(|at| PeerId(four.sites[at].member.key));
            four.world.network.lag(from, to, by);
        };
        lag(1, 0, Duration::from_millis(100));
        for owner in 0..3 {
            lag(owner, 3, Duration::from_secs(1));
        }
        let pause = Duration::from_micros(simulation.draw(150_000));
        let put = async {
            simulation.sleep(pause).await;
            four.put(3, "raced", &body).await
        };
        let delete = async {
            let deleted = four.sites[1].store.delete_bucket(&origin(), &four.bucket).await;
            assert!(matches!(deleted, Err(StoreError::BucketNotEmpty)), "{deleted:?}");
            four.delete_all(2).await
        };
        futures_util::future::join(put, delete).await
    })
}
