//! A run of a protocol in simulated time: nothing fails but what is told to, and links take as long as a matrix says.
//!
//! Handling takes no time and a durable write next to none: of two messages that arrive together, the one with fewer
//! durable writes behind it is handled first. So what an operation waits for last is its critical path.

use std::collections::BTreeMap;

use super::state::{Envelope, Progress};
use super::{Party, Protocol, Request, Sent, State};
use crate::coordinator::Outcome;
use crate::script::Kind;
use crate::value::OpIndex;

/// One-way delays in microseconds from the zone of the row to that of the column. Node `i` and clients nearest to it are
/// in zone `i`.
pub type Delays = [[u64; 3]; 3];

/// A register with its nodes, one in each zone.
#[derive(Debug)]
pub struct Run<P: Protocol> {
    protocol: P,
    delays: Delays,
    state: State<P>,
    homes: Vec<u8>,
    queue: BTreeMap<When, Envelope<P::Message>>,
    sent: u64,
    payloads: BTreeMap<Party, u64>,
}

/// Time, the durable writes behind it, and the order of sending.
type When = (u64, u32, u64);

/// What an operation took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Until the client was answered.
    pub time_us: u64,
    /// Durable writes that it waited for, one after the other.
    pub durable: u32,
    /// Messages, until nothing was under way any more.
    pub messages: u64,
    /// Values that travelled in them.
    pub payloads: u64,
    /// Those of them that came from one sender, at most.
    pub most_from_one: u64,
}

impl<P: Protocol> Run<P> {
    /// Three nodes that hold nothing.
    pub fn new(protocol: P, delays: Delays) -> Self {
        Run {
            protocol,
            delays,
            state: State::new(delays.len() as u8, 0),
            homes: Vec::new(),
            queue: BTreeMap::new(),
            sent: 0,
            payloads: BTreeMap::new(),
        }
    }

    /// A node crashes.
    pub fn crash(&mut self, node: u8) {
        self.state.nodes[usize::from(node)] = None;
    }

    /// The configuration service removes a node, and all members hear of it.
    pub fn remove(&mut self, node: u8) {
        let next = self.state.newest().without(node);
        self.state.configs.push(next.clone());
        for member in next.members {
            let sent = self.state.inform(&self.protocol, member);
            self.post((0, 0), Party::Node(member), sent);
        }
        self.settle(None);
    }

    /// A client near a node does something, until nothing is under way any more. Nothing, if it is never answered.
    pub fn perform(&mut self, kind: Kind, nearest: u8) -> Option<(Outcome, Taken)> {
        let op = OpIndex(self.state.ops.len() as u8);
        self.state.ops.push(Progress::Waiting);
        self.homes.push(nearest);
        let epoch = self.state.newest().epoch;
        self.payloads.clear();
        let sent = self.state.begin(&self.protocol, Request { op, kind }, epoch, nearest);
        self.post((0, 0), Party::Client(op), sent);
        let taken = self.settle(Some(op))?;
        Some((self.state.outcome(op)?.clone(), taken))
    }

    /// Until nothing is under way; what `op` took, if it was answered.
    fn settle(&mut self, op: Option<OpIndex>) -> Option<Taken> {
        let mut taken = None;
        let mut messages = 0;
        while let Some(((time, durable, _), envelope)) = self.queue.pop_first() {
            messages += 1;
            let to = envelope.to;
            let sent = self.state.receive(&self.protocol, envelope);
            self.post((time, durable), to, sent);
            if taken.is_none() && op.is_some_and(|op| self.state.outcome(op).is_some()) {
                taken = Some((time, durable));
            }
        }
        taken.map(|(time_us, durable)| Taken {
            time_us,
            durable,
            messages,
            payloads: self.payloads.values().sum(),
            most_from_one: self.payloads.values().copied().max().unwrap_or(0),
        })
    }

    fn post(&mut self, (time, durable): (u64, u32), from: Party, sent: Vec<Sent<P::Message>>) {
        for sent in sent {
            let delay = if from == sent.to {
                0
            } else {
                self.delays[self.zone(from)][self.zone(sent.to)]
            };
            self.sent += 1;
            *self.payloads.entry(from).or_default() += P::payload(&sent.message) as u64;
            let when = (time + delay, durable + sent.stores, self.sent);
            self.queue.insert(when, Envelope::of(from, sent));
        }
    }

    fn zone(&self, party: Party) -> usize {
        usize::from(match party {
            Party::Node(node) => node,
            Party::Client(op) => self.homes[usize::from(op.0)],
        })
    }
}
