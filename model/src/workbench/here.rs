//! Where a handler runs: what it knows there, and what it sends.

use crate::value::OpIndex;

/// Who sends and receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// A node.
    Node(u8),
    /// The client of this operation.
    Client(OpIndex),
}

impl Party {
    /// Is it a node?
    pub fn is_node(self) -> bool {
        matches!(self, Party::Node(_))
    }

    /// Its bit in a set of nodes.
    pub fn bit(self) -> u8 {
        match self {
            Party::Node(node) => 1 << node,
            Party::Client(_) => 0,
        }
    }
}

/// The nodes that keep the register, from one suspicion to the next. Their order is the chain's, where there is one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Config {
    /// Its number. The configuration service never gives one twice.
    pub epoch: u8,
    /// In order.
    pub members: Vec<u8>,
}

impl Config {
    /// The first one.
    pub fn first(nodes: u8) -> Self {
        Config {
            epoch: 0,
            members: (0..nodes).collect(),
        }
    }

    /// The next one, without a node.
    pub fn without(&self, node: u8) -> Self {
        let others = self.members.iter().copied().filter(|member| *member != node);
        Config {
            epoch: self.epoch + 1,
            members: others.collect(),
        }
    }

    /// How many members are a majority.
    pub fn majority(&self) -> u32 {
        self.members.len() as u32 / 2 + 1
    }

    /// The first member: head, primary or orderer.
    pub fn head(&self) -> u8 {
        self.members[0]
    }

    /// The last member.
    pub fn tail(&self) -> u8 {
        self.members[self.members.len() - 1]
    }

    /// Is it this party that leads?
    pub fn is_head(&self, party: Party) -> bool {
        party == Party::Node(self.head())
    }

    /// Is it this party that comes last?
    pub fn is_tail(&self, party: Party) -> bool {
        party == Party::Node(self.tail())
    }

    /// Who comes before a member.
    pub fn before(&self, party: Party) -> Option<Party> {
        let place = self.place(party)?;
        place.checked_sub(1).map(|place| Party::Node(self.members[place]))
    }

    /// Who comes after a member.
    pub fn after(&self, party: Party) -> Option<Party> {
        let next = self.place(party)? + 1;
        self.members.get(next).map(|member| Party::Node(*member))
    }

    /// All members but one party.
    pub fn others(&self, party: Party) -> impl Iterator<Item = u8> + '_ {
        let others = self.members.iter().copied();
        others.filter(move |member| Party::Node(*member) != party)
    }

    fn place(&self, party: Party) -> Option<usize> {
        self.members.iter().position(|member| Party::Node(*member) == party)
    }
}

/// What a handler knows besides its own state, and what it sends.
#[derive(Debug)]
pub struct Here<'a, M> {
    /// Who runs.
    pub me: Party,
    /// The newest configuration that it knows.
    pub config: &'a Config,
    /// The number of the configuration under which its message was sent.
    pub sent_under: u8,
    /// The number of the configuration in whose name it speaks: the one that it knows, where nothing is flawed.
    pub speaks_for: u8,
    /// For a client: the node that is nearest.
    pub nearest: u8,
    sent: Vec<Sent<M>>,
    stores: u32,
}

/// A message on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent<M> {
    /// For whom.
    pub to: Party,
    /// What.
    pub message: M,
    /// The configuration in whose name it was sent.
    pub epoch: u8,
    /// How many durable writes its handler waited for before it was sent.
    pub stores: u32,
}

impl<'a, M: Clone> Here<'a, M> {
    /// Nothing was sent yet.
    pub fn new(me: Party, config: &'a Config, sent_under: u8, nearest: u8) -> Self {
        Here {
            me,
            config,
            sent_under,
            speaks_for: config.epoch,
            nearest,
            sent: Vec::new(),
            stores: 0,
        }
    }

    /// Sends a message.
    pub fn send(&mut self, to: Party, message: M) {
        self.sent.push(Sent {
            to,
            message,
            epoch: self.speaks_for,
            stores: self.stores,
        });
    }

    /// Sends a message to all members, itself included if it is one.
    pub fn send_all(&mut self, message: &M) {
        for member in &self.config.members {
            self.send(Party::Node(*member), message.clone());
        }
    }

    /// Sends a message to all other members.
    pub fn send_others(&mut self, message: &M) {
        for member in self.config.others(self.me) {
            self.send(Party::Node(member), message.clone());
        }
    }

    /// Makes what was changed durable; what is sent from here on waits for it.
    pub fn store(&mut self) {
        self.stores += 1;
    }

    /// Runs a handler of another protocol that this one is made of.
    pub fn within<N: Clone, T>(&mut self, wrap: impl Fn(N) -> M, handler: impl FnOnce(&mut Here<'_, N>) -> T) -> T {
        let mut inner = Here::new(self.me, self.config, self.sent_under, self.nearest);
        let result = handler(&mut inner);
        for sent in inner.sent {
            self.sent.push(Sent {
                to: sent.to,
                message: wrap(sent.message),
                epoch: sent.epoch,
                stores: self.stores + sent.stores,
            });
        }
        self.stores += inner.stores;
        result
    }

    /// What was sent.
    pub fn into_sent(self) -> Vec<Sent<M>> {
        self.sent
    }
}
