//! What a node knows of where the others are.
//!
//! Every node writes its own entry ([`Contact`]) and numbers it; of two entries of one node the one with the higher
//! number is the newer. Entries travel from node to node; nobody changes another one's. A node that moved finds its old
//! entry in its own book, or hears it from others, and outnumbers it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use blake2::{Blake2b, Digest, digest::consts::U32};
use serde::{Deserialize, Serialize};

use crate::folder::NodeName;
use crate::link::PeerId;

/// Nodes that are remembered.
pub const CONTACTS_MAX: usize = 1_024;
/// Nodes of which it is remembered that they were forgotten.
const FORGOTTEN_MAX: usize = CONTACTS_MAX;
/// A node that no layout needs and that was not heard of for so long is forgotten. A restart begins to count anew.
const UNSEEN_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Addresses of one node.
const ADDRESSES_MAX: usize = 4;
/// A host name of 253 bytes, a colon and a port.
const ADDRESS_MAX_BYTES: usize = 260;
const HOST_MAX_BYTES: usize = 64;

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// Who.
    pub name: NodeName,
    /// Counts the entries that the node made of itself.
    pub number: u64,
    /// Where it is dialed, likeliest first; nothing if it does not know.
    pub addresses: Vec<String>,
    /// What its machine calls itself.
    pub host: String,
}

/// Somebody who may be found at an address, for all that people say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    /// Who.
    pub name: NodeName,
    /// Where.
    pub address: String,
}

/// What lies on the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    mine: Option<Contact>,
    contacts: Vec<Contact>,
    introduced: Vec<Hint>,
}

/// What a node knows of where the others are.
#[derive(Debug)]
pub struct Book {
    mine: Contact,
    contacts: BTreeMap<PeerId, Contact>,
    introduced: Vec<Hint>,
    configured: Vec<Hint>,
    /// When somebody was heard of himself, in monotonic time, or else came to be known.
    seen: BTreeMap<PeerId, Duration>,
    /// Who was forgotten, with the number of the entry, oldest first: others may still tell of them.
    forgotten: VecDeque<(PeerId, u64)>,
    /// Counts changes.
    revision: u64,
}

/// Why nobody was introduced. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IntroduceError {
    /// The address is none.
    #[error("an address is host:port, such as garden.example.org:3901")]
    Address,
    /// It is this node.
    #[error("that is this very node; name another one")]
    Self_,
    /// There is no room.
    #[error("{CONTACTS_MAX} nodes are known already, which is as many as are remembered")]
    Full,
}

impl Book {
    /// The book of a node that begins a life. `configured` are the addresses of the configuration, which may name the
    /// node itself; `addresses` are where it thinks it can be dialed.
    pub fn open(written: Written, name: NodeName, addresses: Vec<String>, host: String, configured: Vec<Hint>) -> Self {
        let mut contacts: BTreeMap<PeerId, Contact> = BTreeMap::new();
        let sound = written.contacts.into_iter().filter(Contact::is_sound);
        contacts.extend(sound.map(|contact| (contact.name.key, contact)));
        contacts.remove(&name.key);
        let mut mine = Contact {
            name,
            number: 1,
            addresses,
            host,
        };
        if let Some(before) = written.mine.filter(Contact::is_sound) {
            let adopted = mine.addresses.is_empty();
            mine.number = before.number;
            mine.addresses = if adopted {
                before.addresses.clone()
            } else {
                mine.addresses
            };
            if mine != before {
                mine.number = mine.number.saturating_add(1);
            }
        }
        Book {
            mine,
            contacts,
            introduced: written.introduced,
            configured,
            seen: BTreeMap::new(),
            forgotten: VecDeque::new(),
            revision: 1,
        }
    }

    /// What is to lie on the disk.
    pub fn written(&self) -> Written {
        Written {
            mine: Some(self.mine.clone()),
            contacts: self.contacts.values().cloned().collect(),
            introduced: self.introduced.clone(),
        }
    }

    /// This node's own entry.
    pub fn mine(&self) -> &Contact {
        &self.mine
    }

    /// A number that rises with every change.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// All entries, this node's own included.
    pub fn contacts(&self) -> Vec<Contact> {
        let mine = std::iter::once(&self.mine);
        mine.chain(self.contacts.values()).cloned().collect()
    }

    /// Two nodes whose digests are equal know the same.
    pub fn digest(&self) -> [u8; 32] {
        let mut all = self.contacts();
        all.sort_by_key(|contact| contact.name);
        let mut hash = Blake2b::<U32>::new();
        for Contact { name, number, .. } in all {
            hash.update(name.key.0);
            hash.update(name.disk);
            hash.update(number.to_le_bytes());
        }
        hash.finalize().into()
    }

    /// Somebody answered, or asked.
    pub fn see(&mut self, peer: PeerId, now: Duration) {
        self.seen.insert(peer, now);
        self.forgotten.retain(|(forgotten, _)| *forgotten != peer);
    }

    /// For how long somebody was not seen; nothing while it is not known.
    pub fn unseen(&self, peer: PeerId, now: Duration) -> Option<Duration> {
        let seen = self.seen.get(&peer)?;
        Some(now.saturating_sub(*seen))
    }

    /// Forgets those who are not needed and were not seen for long. Those of the configuration stay known by its word.
    pub fn forget_unseen(&mut self, is_needed: impl Fn(PeerId) -> bool, now: Duration) {
        let known: BTreeSet<PeerId> = self.known().into_keys().collect();
        self.seen.retain(|peer, _| known.contains(peer));
        for peer in known {
            let seen = *self.seen.entry(peer).or_insert(now);
            if !is_needed(peer) && now.saturating_sub(seen) >= UNSEEN_MAX {
                self.forget(peer);
            }
        }
    }

    fn forget(&mut self, peer: PeerId) {
        let contact = self.contacts.remove(&peer);
        let introduced = self.introduced.len();
        self.introduced.retain(|hint| hint.name.key != peer);
        if contact.is_none() && introduced == self.introduced.len() {
            return;
        }
        self.forgotten
            .push_back((peer, contact.map_or(0, |contact| contact.number)));
        if self.forgotten.len() > FORGOTTEN_MAX {
            self.forgotten.pop_front();
        }
        self.revision += 1;
    }

    /// Takes an entry that is newer than what is known. About itself, a node knows better.
    pub fn hear(&mut self, contact: Contact) {
        if !contact.is_sound() {
            return;
        }
        let key = contact.name.key;
        if key == self.mine.name.key {
            let is_ahead = contact.number > self.mine.number;
            if is_ahead || contact.number == self.mine.number && contact != self.mine {
                self.mine.number = contact.number + 1;
                self.revision += 1;
            }
            return;
        }
        let is_newer = match self.contacts.get(&key) {
            Some(held) => contact.number > held.number,
            None => self.contacts.len() < CONTACTS_MAX && !self.is_forgotten(&contact),
        };
        if is_newer {
            self.contacts.insert(key, contact);
            self.revision += 1;
        }
    }

    /// Others may be slower to forget.
    fn is_forgotten(&self, contact: &Contact) -> bool {
        let is_it = |(peer, number): &(PeerId, u64)| *peer == contact.name.key && contact.number <= *number;
        self.forgotten.iter().any(is_it)
    }

    /// A peer tells from where it sees this node: that may be of use to a node that does not know.
    pub fn seen_from(&mut self, observed: IpAddr, port: u16) {
        if self.mine.addresses.is_empty() && !observed.is_loopback() && !observed.is_unspecified() {
            self.mine.addresses.push(SocketAddr::new(observed, port).to_string());
            self.mine.number = self.mine.number.saturating_add(1);
            self.revision += 1;
        }
    }

    /// People say where somebody is.
    pub fn introduce(&mut self, hint: Hint) -> Result<(), IntroduceError> {
        if !is_address(&hint.address) {
            return Err(IntroduceError::Address);
        }
        if hint.name.key == self.mine.name.key {
            return Err(IntroduceError::Self_);
        }
        self.introduced.retain(|known| *known != hint);
        if self.introduced.len() >= CONTACTS_MAX {
            return Err(IntroduceError::Full);
        }
        self.introduced.insert(0, hint);
        self.revision += 1;
        Ok(())
    }

    /// Everybody who is known by name, with the addresses to try: what they say themselves, then what people say.
    pub fn known(&self) -> BTreeMap<PeerId, (NodeName, Vec<String>)> {
        let mut known: BTreeMap<PeerId, (NodeName, Vec<String>)> = BTreeMap::new();
        let said = self.contacts.values().flat_map(|contact| {
            let addresses = contact.addresses.iter().map(Some).chain([None]);
            addresses.map(|address| (contact.name, address))
        });
        let hints = self.introduced.iter().chain(&self.configured);
        for (name, address) in said.chain(hints.map(|hint| (hint.name, Some(&hint.address)))) {
            let (_, addresses) = known.entry(name.key).or_insert_with(|| (name, Vec::new()));
            if let Some(address) = address.filter(|address| !addresses.contains(address)) {
                addresses.push(address.clone());
            }
        }
        known.remove(&self.mine.name.key);
        known
    }

    /// What a node said of itself, if it was heard.
    pub fn contact(&self, peer: PeerId) -> Option<&Contact> {
        self.contacts.get(&peer)
    }
}

impl Contact {
    fn is_sound(&self) -> bool {
        self.addresses.len() <= ADDRESSES_MAX
            && self.addresses.iter().all(|address| is_address(address))
            && self.host.len() <= HOST_MAX_BYTES
            && !self.host.chars().any(char::is_control)
            && self.number < u64::MAX
    }
}

/// The name of this machine, as far as it fits into an entry.
pub fn host() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let plain = host.chars().filter(|c| c.is_ascii_graphic());
    plain.take(HOST_MAX_BYTES).collect()
}

/// Whether this is `host:port`.
pub fn is_address(text: &str) -> bool {
    let (host, port) = text.rsplit_once(':').unwrap_or_default();
    let is_plain = text.len() <= ADDRESS_MAX_BYTES && text.chars().all(|c| c.is_ascii_graphic());
    is_plain && !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(node: u8) -> NodeName {
        NodeName {
            key: PeerId([node; 32]),
            disk: [node; 16],
        }
    }

    fn hint(node: u8, address: &str) -> Hint {
        let address = address.to_owned();
        Hint {
            name: name(node),
            address,
        }
    }

    fn book(node: u8, written: Written, addresses: &[&str]) -> Book {
        let addresses = addresses.iter().map(|address| (*address).to_owned()).collect();
        Book::open(
            written,
            name(node),
            addresses,
            "host".to_owned(),
            vec![hint(2, "two:1")],
        )
    }

    /// One hears all that the other knows.
    fn tell(from: &Book, to: &mut Book) {
        from.contacts().into_iter().for_each(|contact| to.hear(contact));
    }

    #[test]
    fn who_moved_outnumbers_what_it_said_before_even_if_it_forgot() {
        let (mut one, two) = (
            book(1, Written::default(), &["one:1"]),
            book(2, Written::default(), &["two:2"]),
        );
        tell(&two, &mut one);
        assert_eq!(
            one.known()[&name(2).key].1,
            ["two:2", "two:1"],
            "its own word, then the configuration's"
        );
        let stays = book(2, two.written(), &["two:2"]);
        assert_eq!(stays.mine().number, 1);
        let mut moved = book(2, two.written(), &["two:3"]);
        tell(&moved, &mut one);
        tell(&two, &mut one);
        assert_eq!(one.known()[&name(2).key].1, ["two:3", "two:1"], "the newer one stays");
        moved = book(2, Written::default(), &["two:4"]);
        tell(&one, &mut moved);
        tell(&moved, &mut one);
        assert_eq!(one.known()[&name(2).key].1[0], "two:4");
        assert_eq!(one.digest(), moved.digest());
        let again = book(1, one.written(), &["one:1"]);
        assert_eq!(again.digest(), one.digest(), "nothing is forgotten");
    }

    #[test]
    fn who_does_not_know_where_it_is_asks_and_remembers() {
        let mut one = book(1, Written::default(), &[]);
        one.seen_from(IpAddr::from([127, 0, 0, 1]), 3901);
        assert!(one.mine().addresses.is_empty(), "that is known to nobody else");
        one.seen_from(IpAddr::from([192, 0, 2, 7]), 3901);
        one.seen_from(IpAddr::from([192, 0, 2, 8]), 3901);
        assert_eq!(one.mine().addresses, ["192.0.2.7:3901"]);
        let again = book(1, one.written(), &[]);
        assert_eq!((again.mine(), again.revision()), (one.mine(), 1));
    }

    #[test]
    fn only_addresses_of_others_are_introduced_and_nonsense_is_not_heard() {
        let mut one = book(1, Written::default(), &["one:1"]);
        for address in ["two", "two:0", ":1", "two:x", "two three:1", "two:70000"] {
            assert_eq!(
                one.introduce(hint(3, address)),
                Err(IntroduceError::Address),
                "{address}"
            );
        }
        assert_eq!(one.introduce(hint(1, "one:1")), Err(IntroduceError::Self_));
        one.introduce(hint(3, "[2001:db8::3]:1")).unwrap();
        assert_eq!(one.known().len(), 2);
        let odd = Contact {
            addresses: vec!["no address".to_owned()],
            ..book(4, Written::default(), &[]).mine().clone()
        };
        one.hear(odd);
        assert_eq!(one.known().len(), 2);
        let restarted = book(1, one.written(), &["one:1"]);
        assert_eq!(restarted.known(), one.known());
    }

    #[test]
    fn who_is_not_needed_and_not_seen_for_long_is_forgotten_whoever_tells_of_it() {
        let mut one = book(1, Written::default(), &["one:1"]);
        let (two, three, four) = (
            book(2, Written::default(), &["two:1"]),
            book(3, Written::default(), &["three:1"]),
            book(4, Written::default(), &["four:1"]),
        );
        [&two, &three, &four].iter().for_each(|other| tell(other, &mut one));
        one.introduce(hint(4, "four:2")).unwrap();
        let known = |one: &Book| {
            one.contacts()
                .iter()
                .map(|contact| contact.name.disk[0])
                .collect::<Vec<_>>()
        };
        let is_needed = |peer| peer == name(3).key;
        one.forget_unseen(is_needed, Duration::ZERO);
        let late = UNSEEN_MAX - Duration::from_secs(1);
        one.forget_unseen(is_needed, late);
        assert_eq!(known(&one), [1, 2, 3, 4]);
        one.see(name(2).key, late);
        let revision = one.revision();
        one.forget_unseen(is_needed, UNSEEN_MAX);
        assert_eq!(known(&one), [1, 2, 3]);
        assert!(one.revision() > revision && !one.known().contains_key(&name(4).key));
        tell(&four, &mut one);
        assert_eq!(known(&one), [1, 2, 3], "others may be slower to forget");
        one.see(name(4).key, UNSEEN_MAX);
        tell(&four, &mut one);
        assert_eq!(known(&one), [1, 2, 3, 4], "it is back");
        one.forget_unseen(|_| false, UNSEEN_MAX + UNSEEN_MAX);
        assert_eq!(known(&one), [1]);
        assert!(one.known().contains_key(&name(2).key), "the configuration names it");
    }

    #[test]
    fn there_is_a_limit_to_what_is_remembered() {
        let mut one = book(1, Written::default(), &[]);
        for number in 0..=CONTACTS_MAX as u64 {
            let mut key = [0xff; 32];
            key[..8].copy_from_slice(&number.to_le_bytes());
            one.hear(Contact {
                name: NodeName {
                    key: PeerId(key),
                    disk: [0; 16],
                },
                ..one.mine().clone()
            });
        }
        assert_eq!(one.contacts().len(), 1 + CONTACTS_MAX);
    }
}
