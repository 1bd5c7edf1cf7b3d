//! A bit of everything on a few keys: reads, writes of several sizes, deletions, conditional ones, listings.
//!
//! A deletion of unknown outcome may take effect at any later time, and then nothing can be said any more about a
//! missing object. So the clients move on to fresh keys every now and then, and each key's history stays sharp.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use tokio::task::JoinSet;

use super::{Outcome, PATIENCE_MS, WorkloadError, back_off, prepare, read_surely};
use crate::clock::Clock;
use crate::history::{Condition, Outcome as Told};
use crate::s3client::{Recorder, Session, Target};

/// For how long one set of keys is in use.
const EPOCH_MS: u128 = 3_000;
/// Most bodies are short; these are for the path of blocks.
const LONG_BODY_BYTES_MAX: usize = 300_000;
const SHORT_BODY_BYTES_MAX: usize = 2_000;

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Mixed {
    /// How many clients there are.
    pub clients: u32,
    /// How many keys are in use at a time.
    pub keys: u32,
    /// For how long.
    pub duration: Duration,
    /// What the clients do follows from it; what comes of it does not.
    pub seed: u64,
}

/// Runs the clients, then reads every key that was ever used.
pub async fn run(target: &Target, mixed: Mixed) -> Result<Outcome, WorkloadError> {
    let recorder = Arc::new(Recorder::start());
    let (mut inspector, target) = prepare(target, &recorder).await?;
    let (clock, mut clients) = (Clock::start(), JoinSet::new());
    for number in 1..=mixed.clients {
        let rng = Rng::with_seed(mixed.seed.wrapping_mul(1_000_003).wrapping_add(number.into()));
        let session = Session::new(number, &target, &recorder);
        clients.spawn(
            Client {
                number,
                session,
                rng,
                mixed,
                clock,
                last_seen: None,
                bodies: 0,
            }
            .run(),
        );
    }
    clients.join_all().await;
    // Before anybody reads the keys, and so brings every replica up to date.
    let mut faults = Vec::new();
    for _ in &target.endpoints {
        faults.extend(inspect_listing(&mut inspector).await);
    }
    for epoch in 0..=mixed.duration.as_millis() / EPOCH_MS {
        for key in 0..mixed.keys {
            read_surely(&mut inspector, &name(epoch, key)).await?;
        }
    }
    faults.extend(inspect_listing(&mut inspector).await);
    let summary = format!(
        "mixed: {} clients for {} s, seed {}",
        mixed.clients,
        mixed.duration.as_secs(),
        mixed.seed
    );
    Ok(Outcome::judge(&recorder, faults, summary).at(&target, &recorder))
}

/// A listing through the next node goes into the history like any other; it must only come.
async fn inspect_listing(inspector: &mut Session) -> Vec<String> {
    let clock = Clock::start();
    while clock.elapsed() < Duration::from_millis(PATIENCE_MS) {
        if inspector
            .list("")
            .await
            .iter()
            .all(|outcome| matches!(outcome, Told::Page { .. }))
        {
            return Vec::new();
        }
        back_off().await;
    }
    vec!["no complete listing in the end".to_owned()]
}

fn name(epoch: u128, key: u32) -> String {
    format!("{}{key:03}", prefix(epoch))
}

fn prefix(epoch: u128) -> String {
    format!("mixed-{epoch:04}-")
}

struct Client {
    number: u32,
    session: Session,
    rng: Rng,
    mixed: Mixed,
    clock: Clock,
    last_seen: Option<(String, String)>,
    bodies: u64,
}

impl Client {
    async fn run(mut self) {
        while self.clock.elapsed() < self.mixed.duration {
            let epoch = self.clock.elapsed().as_millis() / EPOCH_MS;
            let key = name(epoch, self.rng.u32(0..self.mixed.keys));
            let told = self.act(epoch, &key).await;
            if matches!(told, Told::Failed { .. } | Told::Unknown { .. }) {
                back_off().await;
            }
        }
    }

    async fn act(&mut self, epoch: u128, key: &str) -> Told {
        let condition = self.condition(key);
        match self.rng.u32(0..100) {
            0..30 => self.look(key).await,
            30..35 => self.session.head(key).await,
            35..60 => self.put(key, Condition::Always).await,
            60..80 => self.put(key, condition).await,
            80..90 => self.session.delete(key, Condition::Always).await,
            90..95 if condition == Condition::Absent => self.session.delete(key, Condition::Present).await,
            90..95 => self.session.delete(key, condition).await,
            _ => self.list(epoch).await,
        }
    }

    /// The keys of now, or those of before, which nobody writes any more: what is there stays, and what is not does not
    /// come back.
    async fn list(&mut self, epoch: u128) -> Told {
        let before = self.rng.u128(0..=epoch.min(2));
        let pages = self.session.list(&prefix(epoch - before)).await;
        pages.into_iter().next_back().unwrap_or(Told::NotFound)
    }

    /// On what was seen last, when this key was; else on there being nothing.
    fn condition(&self, key: &str) -> Condition {
        match &self.last_seen {
            Some((seen, value)) if seen == key => Condition::Is(value.clone()),
            Some(_) | None => Condition::Absent,
        }
    }

    async fn look(&mut self, key: &str) -> Told {
        let (told, _) = self.session.get(key, Condition::Always).await;
        if let Told::Found { value } = &told {
            self.last_seen = Some((key.to_owned(), value.clone()));
            let again = Condition::Is(value.clone());
            return self.put(key, again).await;
        }
        told
    }

    async fn put(&mut self, key: &str, condition: Condition) -> Told {
        let body = self.body();
        self.session.put(key, body, condition).await
    }

    /// A body that nobody else writes, ever.
    fn body(&mut self) -> Bytes {
        self.bodies += 1;
        let length = match self.rng.u32(0..20) {
            0 => self.rng.usize(0..LONG_BODY_BYTES_MAX),
            _ => self.rng.usize(0..SHORT_BODY_BYTES_MAX),
        };
        let mut body = format!("{} {} {}\n", self.mixed.seed, self.number, self.bodies).into_bytes();
        body.resize(body.len() + length, self.rng.u8(..));
        body.into()
    }
}
