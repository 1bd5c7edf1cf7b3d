//! What nodes tell each other about themselves, and whether they are trusted for it.
//!
//! A node greets every peer that it hears of, and ever again, and says how far its log is. The peer remembers that. A
//! node that comes back with less than a peer remembers runs on an older copy of its disk: promises that it gave are
//! gone, so that even accepting a value would be unsafe. It is told, and answers nobody any more. Until a peer has
//! welcomed this life of a node, the node does not answer that peer, and not itself before so many of those that an active
//! layout names have that they are a majority together with it, for each such layout. Who has no part in any layout is
//! greeted and welcomed by whom it talks to, and waited for by nobody. What was committed after the last greeting is not
//! covered.
//!
//! An answer to a greeting tells the time as well. A node whose clock differs from a majority of those peers' by more than
//! replicas accept coordinates no writes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::limits::Limits;
use super::memory::{Greeting, Memory, keep, locked};
use super::wire::{decode, encode};
use crate::env::Env;
use crate::link::{Lane, Message, Network, PeerId};
use crate::seeded::{Slip, slips};

/// The first byte of a greeting; requests begin with the version of their encoding.
const GREETING: u8 = b'g';
/// How long an answer to a greeting is waited for, and a request for the welcome of its sender.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long after a greeting that did not get through the next one follows.
const RETRY: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Greeted {
    /// What is remembered of an earlier life, if this one does not have it.
    missing: Option<u64>,
    /// The clock of the one who answers.
    wall_us: u64,
}

/// Who this node is in this life.
#[derive(Debug, Clone)]
pub struct Life {
    /// Where its log ended when it was opened.
    pub opened_at: u64,
    /// Those who are to welcome it.
    pub peers: Vec<PeerId>,
    /// What it remembers of them.
    pub memory: Arc<Mutex<Memory>>,
}

/// Whether the peers trust this node, and it its clock.
pub struct Standing {
    env: Env,
    life: u64,
    opened_at: u64,
    memory: Arc<Mutex<Memory>>,
    skew_us: u64,
    now: watch::Sender<Now>,
    /// How greetings go out, once they do.
    greeter: OnceLock<Greeter>,
    /// Those who are greeted.
    greeted: Mutex<BTreeSet<PeerId>>,
}

struct Greeter {
    network: Weak<dyn Network>,
    commits: Arc<dyn Fn() -> u64 + Send + Sync>,
    every: Duration,
}

#[derive(Debug, Default)]
struct Now {
    /// The others of each active layout.
    sets: Vec<Vec<PeerId>>,
    /// Those who welcomed this life.
    welcomes: Vec<PeerId>,
    /// Why this node must not serve.
    refused: Option<Arc<str>>,
    /// By how many microseconds the clocks of these others are certainly ahead, negative for behind, as last heard.
    ahead_us: BTreeMap<PeerId, i64>,
    clock: ClockState,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum ClockState {
    #[default]
    Agrees,
    /// Most peers are ahead by this much at least; negative when they are behind.
    Differs(i64),
}

impl Now {
    /// All others that active layouts name.
    fn others(&self) -> BTreeSet<PeerId> {
        self.sets.iter().flatten().copied().collect()
    }

    /// Are those who welcomed this life, together with this node, a majority of each active layout?
    fn is_welcome(&self) -> bool {
        let is_majority = |set: &Vec<PeerId>| {
            let welcomed = set.iter().filter(|peer| self.welcomes.contains(peer));
            welcomed.count() >= set.len().div_ceil(2)
        };
        self.sets.iter().all(is_majority)
    }
}

impl Standing {
    /// The standing of a node that begins a life; nobody has welcomed it.
    pub fn new(env: Env, life: Life, limits: &Limits) -> Arc<Self> {
        let Life {
            opened_at,
            peers,
            memory,
        } = life;
        Arc::new(Standing {
            life: env.random_u64(),
            env,
            opened_at,
            memory,
            skew_us: limits.clock_skew_max_ms.saturating_mul(1000),
            now: watch::Sender::new(Now {
                sets: vec![peers],
                ..Now::default()
            }),
            greeter: OnceLock::new(),
            greeted: Mutex::default(),
        })
    }

    /// From now on these are to welcome the node: the others of each active layout.
    pub fn depend_on(self: &Arc<Self>, sets: Vec<Vec<PeerId>>) {
        let all: BTreeSet<PeerId> = sets.iter().flatten().copied().collect();
        self.now.send_modify(|now| {
            now.ahead_us.retain(|peer, _| all.contains(peer));
            now.sets = sets;
        });
        self.memory().need(all.clone());
        self.meet(all);
    }

    /// Why this node must not serve, if so.
    pub fn refused(&self) -> Option<Arc<str>> {
        self.now.borrow().refused.clone()
    }

    /// Whether it must not serve.
    pub(super) fn is_refused(&self) -> bool {
        self.now.borrow().refused.is_some()
    }

    /// By how many microseconds the clocks of most peers are ahead of this node's (negative: behind), if by so much that
    /// it must coordinate no writes.
    pub fn clock_differs_us(&self) -> Option<i64> {
        match self.now.borrow().clock {
            ClockState::Agrees => None,
            ClockState::Differs(by) => Some(by),
        }
    }

    /// Waits a while for the welcome of a peer. Says whether it may be answered.
    pub(super) async fn is_welcome_at(&self, peer: PeerId) -> bool {
        self.wait(|now| now.welcomes.contains(&peer)).await
    }

    /// Waits a while for enough welcomes. Says whether this node may count its own answers.
    pub(super) async fn is_welcome(&self) -> bool {
        self.wait(Now::is_welcome).await
    }

    async fn wait(&self, is_welcome: impl Fn(&Now) -> bool) -> bool {
        let is_decided = |now: &Now| now.refused.is_some() || is_welcome(now);
        if !is_decided(&self.now.borrow()) {
            let mut changes = self.now.subscribe();
            // When that takes too long, the answer below is no.
            let _ = self
                .env
                .timeout(PATIENCE, changes.wait_for(|now| is_decided(now)))
                .await;
        }
        let now = self.now.borrow();
        now.refused.is_none() && is_welcome(&now)
    }

    /// The answer to a message, if it is a greeting.
    pub(super) fn answer(&self, from: PeerId, message: &Message) -> Option<Message> {
        let greeting: Greeting = decode(message.head.strip_prefix(&[GREETING])?).ok()?;
        let missing = self.memory().judge(from, &greeting);
        let missing = missing.filter(|_| !slips(Slip::OldCopyUnnoticed));
        if let Some(missing) = missing {
            let ends_at = greeting.opened_at;
            tracing::error!(peer = %from, ends_at, remembered = missing, "a peer came back with an older copy of its disk");
        }
        let wall_us = self.env.clock.wall_us();
        Some(Message {
            head: encode(&Greeted { missing, wall_us }),
            body: Bytes::new(),
        })
    }

    /// Greets all peers from now on, as long as there is a network; `commits` tells how far the log is on disk.
    pub fn greet(
        self: &Arc<Self>,
        network: &Arc<dyn Network>,
        commits: Arc<dyn Fn() -> u64 + Send + Sync>,
        every: Duration,
    ) {
        let network = Arc::downgrade(network);
        // There is one network in a life.
        let _ = self.greeter.set(Greeter {
            network,
            commits,
            every,
        });
        let peers = self.now.borrow().others();
        self.meet(peers);
        if self.memory().is_kept() {
            let (memory, env) = (Arc::downgrade(&self.memory), self.env.clone());
            self.env.spawner.spawn("remember", Box::pin(keep(memory, env, every)));
        }
    }

    /// Greets these as well from now on.
    pub fn meet(self: &Arc<Self>, peers: impl IntoIterator<Item = PeerId>) {
        let Some(Greeter {
            network,
            commits,
            every,
        }) = self.greeter.get()
        else {
            return;
        };
        let mut greeted = locked(&self.greeted);
        for peer in peers.into_iter().filter(|peer| greeted.insert(*peer)) {
            let greeting = greet_peer(Arc::downgrade(self), network.clone(), peer, commits.clone(), *every);
            self.env.spawner.spawn("greet", Box::pin(greeting));
        }
    }

    async fn greet_once(&self, network: Arc<dyn Network>, peer: PeerId, commits: u64) -> Option<()> {
        let greeting = Greeting {
            life: self.life,
            opened_at: self.opened_at,
            commits,
        };
        let mut head = BytesMut::from(&[GREETING][..]);
        head.put(encode(&greeting));
        let message = Message {
            head: head.freeze(),
            body: Bytes::new(),
        };
        let (sent, began) = (self.env.clock.wall_us(), self.env.clock.monotonic());
        let calling = network.call(peer, Lane::Control, message);
        // Nobody waits for this call, so it must not keep the network up.
        drop(network);
        let called = self.env.timeout(PATIENCE, calling).await;
        let greeted: Option<Greeted> = called
            .ok()
            .and_then(Result::ok)
            .and_then(|answer| decode(&answer.head).ok());
        let half_us = as_us(self.env.clock.monotonic().saturating_sub(began)) / 2;
        let ahead_us = greeted
            .as_ref()
            .map(|greeted| certainly_ahead(greeted.wall_us, sent.saturating_add(half_us), half_us));
        self.note_clock(peer, ahead_us);
        match greeted?.missing {
            Some(missing) => self.refuse(peer, missing),
            None => self.welcome(peer),
        }
        Some(())
    }

    fn welcome(&self, peer: PeerId) {
        self.now.send_if_modified(|now| {
            let is_new = !now.welcomes.contains(&peer);
            if is_new {
                now.welcomes.push(peer);
            }
            is_new
        });
    }

    fn refuse(&self, peer: PeerId, missing: u64) {
        let opened_at = self.opened_at;
        let why = format!(
            "the data folder is an older copy: it ends at commit {opened_at}, and node {peer} remembers commit {missing} of \
             this node. What it promised in between is gone, so it must not serve again. Stop it, keep the folder, and go \
             on with the other nodes; it can only come back as a new node with an empty folder"
        );
        self.now.send_if_modified(|now| {
            let is_news = now.refused.is_none();
            if is_news {
                tracing::error!("{why}");
                now.refused = Some(why.into());
            }
            is_news
        });
    }

    fn note_clock(&self, peer: PeerId, ahead_us: Option<i64>) {
        let skew_us = self.skew_us;
        self.now.send_if_modified(|now| {
            let peers = now.others();
            if !peers.contains(&peer) {
                return false;
            }
            match ahead_us {
                Some(ahead_us) => _ = now.ahead_us.insert(peer, ahead_us),
                None => _ = now.ahead_us.remove(&peer),
            }
            let clock = judge_clock(now.ahead_us.values().copied(), peers.len(), skew_us);
            match (now.clock, clock) {
                (ClockState::Agrees, ClockState::Differs(by_us)) => tracing::error!(
                    by_ms = by_us / 1000,
                    "the clocks of most peers are ahead of this node's by so much (negative: behind); it coordinates no \
                     writes until its clock is set"
                ),
                (ClockState::Differs(_), ClockState::Agrees) => tracing::info!("the clock agrees with the peers' again"),
                (ClockState::Agrees, ClockState::Agrees) | (ClockState::Differs(_), ClockState::Differs(_)) => {}
            }
            now.clock = clock;
            // Nobody waits for it.
            false
        });
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        locked(&self.memory)
    }
}

/// Greets one peer again and again. The task does not keep alive what it serves.
async fn greet_peer(
    standing: Weak<Standing>,
    network: Weak<dyn Network>,
    peer: PeerId,
    commits: Arc<dyn Fn() -> u64 + Send + Sync>,
    every: Duration,
) {
    while let (Some(standing), Some(network)) = (standing.upgrade(), network.upgrade()) {
        let greeted = standing.greet_once(network, peer, commits()).await;
        let pause = if greeted.is_some() { every } else { RETRY };
        let env = standing.env.clone();
        drop(standing);
        env.clock.sleep(pause).await;
    }
}

/// By how much `theirs` is ahead of `ours` even if the message took all of `half_us` more or less.
fn certainly_ahead(theirs: u64, ours: u64, half_us: u64) -> i64 {
    let apart = i64::try_from(theirs.abs_diff(ours).saturating_sub(half_us)).unwrap_or(i64::MAX);
    if theirs >= ours { apart } else { -apart }
}

/// The clock differs when those of more than half of all peers do, and in the same direction. It differs by what is in
/// their middle.
fn judge_clock(ahead_us: impl Iterator<Item = i64>, peers: usize, skew_us: u64) -> ClockState {
    let (mut ahead, mut behind): (Vec<i64>, Vec<i64>) = ahead_us
        .filter(|by| by.unsigned_abs() > skew_us)
        .partition(|by| *by > 0);
    for differing in [&mut ahead, &mut behind] {
        differing.sort_unstable();
        if differing.len() * 2 > peers {
            return ClockState::Differs(differing[differing.len() / 2]);
        }
    }
    ClockState::Agrees
}

fn as_us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_of_every_active_layout_have_to_welcome_a_life() {
        let peer = |number| PeerId([number; 32]);
        let mut now = Now {
            sets: vec![vec![peer(1), peer(2)], vec![peer(2), peer(3), peer(4), peer(5)]],
            ..Now::default()
        };
        assert!(!now.is_welcome());
        now.welcomes = vec![peer(3), peer(4), peer(9)];
        assert!(!now.is_welcome(), "nobody of the older layout");
        now.welcomes.push(peer(1));
        assert!(now.is_welcome());
        now.welcomes = vec![peer(2)];
        assert!(!now.is_welcome(), "one of four others");
        now.sets.pop();
        assert!(now.is_welcome());
    }

    #[test]
    fn a_clock_differs_when_most_peers_say_so() {
        let judge = |ahead: &[i64], peers| judge_clock(ahead.iter().copied(), peers, 10);
        assert_eq!(judge(&[], 0), ClockState::Agrees);
        assert_eq!(judge(&[11], 1), ClockState::Differs(11));
        assert_eq!(judge(&[10], 1), ClockState::Agrees);
        assert_eq!(judge(&[50], 2), ClockState::Agrees, "it may be the peer that is wrong");
        assert_eq!(judge(&[50, -50], 2), ClockState::Agrees);
        assert_eq!(judge(&[-50, -60], 2), ClockState::Differs(-50));
        assert_eq!(judge(&[1, 50, 60, 70], 4), ClockState::Differs(60));
    }

    #[test]
    fn the_way_there_and_back_is_given_the_benefit_of_the_doubt() {
        assert_eq!(certainly_ahead(1_000, 400, 100), 500);
        assert_eq!(certainly_ahead(400, 1_000, 100), -500);
        assert_eq!(certainly_ahead(1_000, 950, 100), 0);
    }
}
