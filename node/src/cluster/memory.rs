//! What a node remembers of how far its peers' logs were, so that it can tell an older copy of a disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::env::Env;
use crate::link::PeerId;
use crate::secret_file::{self, SecretFileError};

/// Peers that are remembered, but for those that layouts need.
const PEERS_MAX: usize = 4_096;

/// A node says in which life it is, and how far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Greeting {
    /// Drawn at every start.
    pub(super) life: u64,
    /// Where the log ended when this life began.
    pub(super) opened_at: u64,
    /// How far it is on disk now.
    pub(super) commits: u64,
}

/// What is remembered of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Remembered {
    life: u64,
    commits: u64,
}

/// What this node remembers of its peers, in a file so that it is not forgotten.
#[derive(Debug, Default)]
pub struct Memory {
    peers: BTreeMap<PeerId, Remembered>,
    /// Those that active layouts name: they are never forgotten.
    needed: BTreeSet<PeerId>,
    file: Option<PathBuf>,
    changed: bool,
}

impl Memory {
    /// From now on active layouts name these.
    pub(super) fn need(&mut self, needed: BTreeSet<PeerId>) {
        self.needed = needed;
    }

    /// Who is in no active layout has promised nothing that is still counted on: it may be forgotten for another.
    fn make_room(&mut self) {
        let peers = self.peers.keys().copied();
        let others: Vec<PeerId> = peers.filter(|peer| !self.needed.contains(peer)).collect();
        for peer in others.iter().take(others.len().saturating_sub(PEERS_MAX - 1)) {
            self.peers.remove(peer);
        }
    }

    pub(super) fn is_kept(&self) -> bool {
        self.file.is_some()
    }

    /// What the file says; nothing if there is none yet.
    pub fn load(file: PathBuf) -> Result<Self, SecretFileError> {
        let text = match std::fs::read_to_string(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read.map_err(secret_file::failed(&file))?,
        };
        let peers: Option<BTreeMap<PeerId, Remembered>> = text.lines().map(parse_line).collect();
        let malformed = || secret_file::malformed(&file, "a line `KEY LIFE COMMITS` for each peer");
        Ok(Memory {
            peers: peers.ok_or_else(malformed)?,
            needed: BTreeSet::new(),
            file: Some(file),
            changed: false,
        })
    }

    /// What is to be written and where, if anything changed.
    fn take_unsaved(&mut self) -> Option<(PathBuf, String)> {
        let file = self.file.clone().filter(|_| self.changed)?;
        self.changed = false;
        let line = |(peer, held): (&PeerId, &Remembered)| format!("{peer} {:016x} {}\n", held.life, held.commits);
        Some((file, self.peers.iter().map(line).collect()))
    }

    /// Judges a greeting; returns what the sender is missing, or remembers how far it is.
    pub(super) fn judge(&mut self, from: PeerId, greeting: &Greeting) -> Option<u64> {
        let Greeting {
            life,
            opened_at,
            commits,
        } = *greeting;
        let held = self.peers.get(&from).copied();
        let known = match held {
            Some(held) if held.life != life && held.commits > opened_at => return Some(held.commits),
            Some(held) if held.life == life => held.commits,
            Some(_) | None => opened_at,
        };
        let commits = commits.max(known);
        let heard = Remembered { life, commits };
        if held.is_none() {
            self.make_room();
        }
        if held != Some(heard) {
            self.peers.insert(from, heard);
            self.changed = true;
        }
        None
    }
}

fn parse_line(line: &str) -> Option<(PeerId, Remembered)> {
    let mut words = line.split(' ');
    let peer = words.next()?.parse().ok()?;
    let life = u64::from_str_radix(words.next()?, 16).ok()?;
    let commits = words.next()?.parse().ok()?;
    words.next().is_none().then_some((peer, Remembered { life, commits }))
}

/// Writes down what changed, as long as somebody remembers.
pub(super) async fn keep(memory: Weak<Mutex<Memory>>, env: Env, every: Duration) {
    while let Some(memory) = memory.upgrade() {
        let to_save = locked(&memory).take_unsaved();
        if let Some((file, text)) = to_save {
            let write = move || secret_file::write_public(&file, &text);
            let written = tokio::task::spawn_blocking(write).await;
            if !matches!(written, Ok(Ok(()))) {
                tracing::warn!(
                    ?written,
                    "what is known of peers could not be written down; it is tried again"
                );
                locked(&memory).changed = true;
            }
        }
        drop(memory);
        env.clock.sleep(every).await;
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting(life: u64, opened_at: u64, commits: u64) -> Greeting {
        Greeting {
            life,
            opened_at,
            commits,
        }
    }

    #[test]
    fn there_is_a_limit_to_what_is_remembered_but_not_of_those_that_count() {
        let peer = |number: u64| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_be_bytes());
            PeerId(key)
        };
        let mut memory = Memory::default();
        memory.need(BTreeSet::from([peer(0), peer(1)]));
        let all = PEERS_MAX as u64 + 10;
        for number in 0..all {
            assert_eq!(memory.judge(peer(number), &greeting(1, 5, 5)), None);
        }
        assert_eq!(memory.peers.len(), PEERS_MAX + 2);
        assert_eq!(memory.judge(peer(1), &greeting(2, 4, 4)), Some(5));
        assert_eq!(
            memory.judge(peer(all - 1), &greeting(2, 4, 4)),
            Some(5),
            "the last to come"
        );
    }

    #[test]
    fn a_life_that_begins_before_what_is_remembered_is_told_so() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("peers");
        let mut memory = Memory::load(file.clone()).unwrap();
        let peer = PeerId([3; 32]);
        assert_eq!(memory.judge(peer, &greeting(1, 1, 10)), None);
        assert_eq!(memory.judge(peer, &greeting(1, 1, 20)), None, "the same life goes on");
        let late = memory.judge(peer, &greeting(1, 1, 0));
        assert_eq!(
            (late, memory.peers[&peer].commits),
            (None, 20),
            "greetings may overtake each other"
        );
        assert_eq!(
            memory.judge(peer, &greeting(2, 21, 21)),
            None,
            "an orderly or other restart"
        );
        assert_eq!(
            memory.judge(peer, &greeting(3, 20, 90)),
            Some(21),
            "an older copy, however busy it was since"
        );
        let (to, text) = memory.take_unsaved().unwrap();
        secret_file::write_public(&to, &text).unwrap();
        assert_eq!(memory.take_unsaved(), None, "nothing changed");
        let mut again = Memory::load(file.clone()).unwrap();
        assert_eq!(again.peers, memory.peers);
        assert_eq!(again.judge(peer, &greeting(4, 20, 20)), Some(21));
        std::fs::write(&file, "nonsense\n").unwrap();
        assert!(matches!(Memory::load(file), Err(SecretFileError::Malformed { .. })));
    }
}
