//! Before and after the harm: what must work in peace.

use std::time::Duration;

use trellis_s3api::bucket::BucketInfo;
use trellis_spec::register::WriteMode;

use super::World;
use super::fleeting::{self, Found};
use super::journal::LASTING;
use super::relayout;
use super::session::{Manners, Session, Size, Spot, scope};
use super::shape::Clocks;
use super::wholeness;
use crate::history::{Condition, Outcome};

/// The client that prepares and inspects; the others are numbered from one.
const INSPECTOR: u32 = 0;
/// How often something is tried that may take several tries even in peace.
const TRIES_MAX: usize = 5;
/// How long a client waits between these.
const BETWEEN_TRIES: Duration = Duration::from_secs(2);
/// Longer than clocks were wrong. A row that was written by a clock hours ahead is overwritten for sure when its time has
/// come, and only then does a completion of an upload count as abandoned.
const HARM_OF_WILD_CLOCKS: Duration = Duration::from_secs(3 * 60 * 60);
/// Keys that are written again in the end, and keys that are new.
const REWRITTEN_MAX: usize = 12;
const KEYS_WRITTEN_ANEW: usize = 6;

/// Creates the bucket that nobody deletes.
pub(crate) async fn begin(world: &World) {
    let session = Session::new(INSPECTOR, world, Manners::Patient);
    for _ in 0..TRIES_MAX {
        let created = session.create_bucket(0, LASTING).await;
        // In strict mode, a write that a comparison of copies settled before it ended has an unknown outcome.
        if created != Outcome::Done {
            drop(session.find_bucket(0, LASTING).await);
        }
        if world.journal.lasting().is_some() {
            break;
        }
    }
    assert!(world.journal.lasting().is_some(), "nothing has gone wrong yet");
}

/// Everything works again, and every node says the same.
pub(crate) async fn prove(world: &World) {
    let inspector = Inspector {
        session: Session::new(INSPECTOR, world, Manners::Patient),
        world,
    };
    let Some(bucket) = world.journal.lasting() else { return };
    let spots = inspector.spots(&bucket);
    inspector.read_everywhere(&spots).await;
    inspector.list_everywhere(&bucket).await;
    wholeness::prove(world).await;
    inspector.read_without_each(&spots).await;
    inspector.write_anew(&bucket).await;
    if world.shape.clocks == Clocks::Wild {
        world.dice.wait(HARM_OF_WILD_CLOCKS).await;
    }
    inspector.write_again(&spots).await;
    inspector.delete_buckets().await;
}

struct Inspector<'a> {
    session: Session,
    world: &'a World,
}

impl Inspector<'_> {
    fn nodes(&self) -> usize {
        self.world.cluster.len()
    }

    /// Every key that was ever used in a bucket.
    fn spots(&self, bucket: &BucketInfo) -> Vec<Spot> {
        let scope = scope(bucket);
        let keys = self.world.journal.keys();
        let within = keys.iter().filter_map(|key| key.strip_prefix(&scope));
        within
            .map(|key| Spot {
                bucket: bucket.clone(),
                key: key.to_owned(),
            })
            .collect()
    }

    fn complain(&self, spot: &Spot, what: &str) {
        self.world
            .journal
            .complain(format!("in peace, {}: {what}", spot.name()));
    }

    /// Reads through every node. That they agree is the checkers' business: what an unanswered write left behind on a few
    /// disks may rightly come to light with any read.
    async fn read_everywhere(&self, spots: &[Spot]) {
        for spot in spots {
            for at in 0..self.nodes() {
                self.read(at, spot).await;
            }
        }
    }

    async fn read(&self, at: usize, spot: &Spot) -> Outcome {
        let outcome = self.session.get(at, spot).await;
        if let Outcome::Unknown { why } = &outcome {
            self.complain(spot, &format!("node {at} cannot read it: {why}"));
        }
        outcome
    }

    async fn list_everywhere(&self, bucket: &BucketInfo) {
        let start = Spot {
            bucket: bucket.clone(),
            key: String::new(),
        };
        for at in 0..self.nodes() {
            if !matches!(self.session.list(at, &start, "", 1_000).await, Outcome::Page { .. }) {
                self.complain(&start, &format!("node {at} cannot list"));
            }
        }
    }

    /// Whichever node is away, the others know everything: what was read is on a majority, with its blocks.
    async fn read_without_each(&self, spots: &[Spot]) {
        if relayout::replicas(self.world) < 3 {
            return;
        }
        for away in 0..self.nodes() {
            self.world.cluster.node(away).crash();
            let others: Vec<usize> = (0..self.nodes()).filter(|at| *at != away).collect();
            for (number, spot) in spots.iter().enumerate() {
                self.read(others[number % others.len()], spot).await;
            }
            self.world.cluster.start(away, 0);
        }
    }

    /// Every kind of write is answered clearly, where there has been harm.
    async fn write_again(&self, spots: &[Spot]) {
        for (number, spot) in spots.iter().rev().take(REWRITTEN_MAX).enumerate() {
            let at = |turn: usize| (number + turn) % self.nodes();
            self.write(at(0), spot, Condition::Always, &[Outcome::Done]).await;
            self.write(at(1), spot, Condition::Absent, &[Outcome::Refused, Outcome::Done])
                .await;
            self.write(at(2), spot, Condition::Present, &[Outcome::Refused, Outcome::Done])
                .await;
            self.delete(at(0), spot).await;
        }
    }

    /// Every kind of write does what it should, where there was nothing before.
    async fn write_anew(&self, bucket: &BucketInfo) {
        for number in 0..KEYS_WRITTEN_ANEW {
            let at = |turn: usize| (number + turn) % self.nodes();
            let spot = Spot {
                bucket: bucket.clone(),
                key: format!("peace/{number}"),
            };
            self.write(at(0), &spot, Condition::Absent, &[Outcome::Done]).await;
            self.write(at(1), &spot, Condition::Absent, &[Outcome::Refused]).await;
            let Outcome::Found { value } = self.read(at(2), &spot).await else {
                self.complain(&spot, "it is not there after it was written");
                continue;
            };
            self.write(at(1), &spot, Condition::Is(value.clone()), &[Outcome::Done])
                .await;
            self.write(at(2), &spot, Condition::Is(value), &[Outcome::Refused])
                .await;
            self.delete(at(0), &spot).await;
            self.write(at(2), &spot, Condition::Present, &[Outcome::Refused]).await;
            self.write(at(1), &spot, Condition::Always, &[Outcome::Done]).await;
        }
    }

    /// A write that meets a newer stamp has an unknown outcome in strict mode, and is above that stamp the next time.
    async fn write(&self, at: usize, spot: &Spot, condition: Condition, due: &[Outcome]) {
        let size = if self.world.dice.percent(50) {
            Size::Large
        } else {
            Size::Small
        };
        let mut outcome = self.session.put(at, spot, size, condition.clone()).await;
        if condition.is_always() && self.is_strict() && matches!(outcome, Outcome::Unknown { .. }) {
            outcome = self.session.put(at, spot, size, condition.clone()).await;
        }
        if !due.contains(&outcome) {
            self.complain(
                spot,
                &format!("a write at node {at} if {condition:?} came to {outcome:?}, not {due:?}"),
            );
        }
    }

    async fn delete(&self, at: usize, spot: &Spot) {
        let mut outcome = self.session.delete(at, spot, Condition::Always).await;
        if self.is_strict() && matches!(outcome, Outcome::Unknown { .. }) {
            outcome = self.session.delete(at, spot, Condition::Always).await;
        }
        if outcome != Outcome::Done {
            self.complain(spot, &format!("deleting it at node {at} came to {outcome:?}"));
        }
    }

    fn is_strict(&self) -> bool {
        self.world.shape.limits.unconditional_writes == WriteMode::Strict
    }

    /// Buckets that come and go still do; and what was deleted stays empty.
    async fn delete_buckets(&self) {
        for (number, name) in fleeting::NAMES.into_iter().enumerate() {
            let at = number % self.nodes();
            self.world.dice.wait(BETWEEN_TRIES).await;
            self.remove(at, name).await;
            let created = self.session.create_bucket(at, name).await;
            // A creation that nobody got an answer to may take effect even now.
            if !matches!(created, Outcome::Done | Outcome::Refused) {
                self.world
                    .journal
                    .complain(format!("in peace, creating {name} came to {created:?}"));
            }
            self.remove((at + 1) % self.nodes(), name).await;
        }
        for bucket in self.world.journal.buckets() {
            if bucket.name.as_str() != LASTING {
                self.session.is_empty_from(self.world.journal.now(), &bucket);
            }
        }
    }

    async fn remove(&self, at: usize, name: &str) {
        let mut last = None;
        for _ in 0..TRIES_MAX {
            match self.session.find_bucket(at, name).await {
                Some(Found::Nothing) => return,
                Some(Found::Bucket(bucket)) => last = Some(self.session.sweep(at, &bucket).await),
                None => {}
            }
            if last == Some(Outcome::Done) {
                return;
            }
            self.world.dice.wait(BETWEEN_TRIES).await;
        }
        self.world
            .journal
            .complain(format!("in peace, deleting {name} at node {at} came to {last:?}"));
    }
}
