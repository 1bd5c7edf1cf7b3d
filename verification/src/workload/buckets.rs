//! Buckets that are deleted while others write into them.
//!
//! One client creates a bucket, lets the others write, read and delete in it, empties it, deletes it, and goes on to the
//! next, which has another name. The others do not know when that happens, and go on for a while in buckets that are
//! gone. The history knows of a deletion that it is a listing: at a moment inside it nothing was in the bucket, and
//! nothing ever is afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use tokio::task::JoinSet;

use super::{Outcome, WorkloadError, back_off, prepare, read_surely};
use crate::clock::Clock;
use crate::history::{Condition, Entry, Outcome as Told};
use crate::s3client::{Deleted, Recorder, Session, Target};

/// Keys in one bucket.
const KEYS: u32 = 4;
/// The longest that a client thinks. If nobody did, no bucket would ever be empty.
const THINKING_MS_MAX: u64 = 60;
/// For how long a bucket is in use before somebody tries to delete it, at most.
const IN_USE_MS_MAX: u64 = 400;
/// How often that is tried before the next bucket comes.
const TRIES_MAX: u32 = 40;
/// One in so many requests goes to the bucket before the present one.
const LATE_ONE_IN: u32 = 3;
const BODY_BYTES_MAX: usize = 500;

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Buckets {
    /// How many clients there are besides the one who deletes.
    pub clients: u32,
    /// For how long.
    pub duration: Duration,
    /// What the clients do follows from it; what comes of it does not.
    pub seed: u64,
}

/// What the clients share.
struct Course {
    target: Target,
    /// The bucket that is in use; none before the first.
    present: AtomicU32,
    deleted: AtomicU32,
    clock: Clock,
    buckets: Buckets,
}

/// Runs the clients, then reads every key that was ever used.
pub async fn run(target: &Target, buckets: Buckets) -> Result<Outcome, WorkloadError> {
    let recorder = Arc::new(Recorder::start());
    let (mut inspector, target) = prepare(target, &recorder).await?;
    let course = Arc::new(Course {
        target: target.clone(),
        present: AtomicU32::new(0),
        deleted: AtomicU32::new(0),
        clock: Clock::start(),
        buckets,
    });
    let mut clients = JoinSet::new();
    for number in 1..=buckets.clients {
        let client = Client::new(number, &course, &recorder);
        clients.spawn(client.write());
    }
    clients.spawn(Client::new(buckets.clients + 1, &course, &recorder).come_and_go());
    clients.join_all().await;
    let last = course.present.load(Ordering::Relaxed);
    for number in 1..=last {
        inspector.enter(&course.name(number));
        for key in 0..KEYS {
            read_surely(&mut inspector, &name(number, key)).await?;
        }
    }
    let summary = format!(
        "buckets: {} clients for {} s, {last} buckets, {} deleted, seed {}",
        buckets.clients,
        buckets.duration.as_secs(),
        course.deleted.load(Ordering::Relaxed),
        buckets.seed
    );
    Ok(Outcome::judge(&recorder, Vec::new(), summary))
}

impl Course {
    fn name(&self, number: u32) -> String {
        format!("{}-{number}", self.target.bucket)
    }

    fn goes_on(&self) -> bool {
        self.clock.elapsed() < self.buckets.duration
    }
}

/// Keys of different buckets differ, so that the history needs no buckets.
fn name(bucket: u32, key: u32) -> String {
    format!("{}key-{key}", scope(bucket))
}

fn scope(bucket: u32) -> String {
    format!("{bucket:04}-")
}

struct Client {
    number: u32,
    session: Session,
    rng: Rng,
    course: Arc<Course>,
    bodies: u64,
}

impl Client {
    fn new(number: u32, course: &Arc<Course>, recorder: &Arc<Recorder>) -> Self {
        let seed = course.buckets.seed.wrapping_mul(1_000_003).wrapping_add(number.into());
        Client {
            number,
            session: Session::new(number, &course.target, recorder),
            rng: Rng::with_seed(seed),
            course: course.clone(),
            bodies: 0,
        }
    }

    async fn think(&mut self, longest_ms: u64) {
        tokio::time::sleep(Duration::from_millis(self.rng.u64(0..=longest_ms))).await;
    }

    /// Writes, reads and deletes, in the bucket that is in use or was until just now.
    async fn write(mut self) {
        while self.course.goes_on() {
            self.think(THINKING_MS_MAX).await;
            let present = self.course.present.load(Ordering::Relaxed);
            let is_late = present > 1 && self.rng.u32(0..LATE_ONE_IN) == 0;
            let bucket = present - u32::from(is_late);
            if bucket == 0 {
                continue;
            }
            self.session.enter(&self.course.name(bucket));
            let key = name(bucket, self.rng.u32(0..KEYS));
            let body = self.body();
            match self.rng.u32(0..100) {
                0..35 => self.session.put(&key, body, Condition::Always).await,
                35..50 => self.session.put(&key, body, Condition::Absent).await,
                50..75 => self.session.delete(&key, Condition::Always).await,
                _ => self.session.get(&key, Condition::Always).await.0,
            };
        }
    }

    /// Creates one bucket after the other, and deletes it again.
    async fn come_and_go(mut self) {
        let mut bucket = 0;
        while self.course.goes_on() {
            bucket += 1;
            self.session.enter(&self.course.name(bucket));
            while self.session.create_bucket().await.is_err() && self.course.goes_on() {
                back_off().await;
            }
            self.course.present.store(bucket, Ordering::Relaxed);
            self.think(IN_USE_MS_MAX).await;
            for _ in 0..TRIES_MAX {
                if self.remove(bucket).await == Deleted::Gone || !self.course.goes_on() {
                    break;
                }
            }
        }
    }

    /// Empties a bucket as far as it goes, and tries to delete it.
    async fn remove(&mut self, bucket: u32) -> Deleted {
        for page in self.session.list(&scope(bucket)).await {
            let Told::Page { entries, .. } = page else { continue };
            for Entry { key, .. } in entries {
                self.session.delete(&key, Condition::Always).await;
            }
        }
        let deleted = self.session.delete_bucket(&scope(bucket)).await;
        match deleted {
            Deleted::Gone => _ = self.course.deleted.fetch_add(1, Ordering::Relaxed),
            Deleted::NotEmpty => {}
            Deleted::Unknown => back_off().await,
        }
        deleted
    }

    /// A body that nobody else writes, ever.
    fn body(&mut self) -> Bytes {
        self.bodies += 1;
        let mut body = format!("{} {} {}\n", self.course.buckets.seed, self.number, self.bodies).into_bytes();
        body.resize(body.len() + self.rng.usize(0..BODY_BYTES_MAX), self.rng.u8(..));
        body.into()
    }
}
