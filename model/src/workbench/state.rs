//! Nodes, clients and what is on its way between them, and one step of each. Worlds and runs share it.

use super::{Config, Here, Party, Protocol, Request, Sent};
use crate::coordinator::Outcome;
use crate::value::OpIndex;

/// Everything there is at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State<P: Protocol> {
    /// The nodes; those that crashed are gone.
    pub nodes: Vec<Option<Replica<P::Node>>>,
    /// All configurations so far.
    pub configs: Vec<Config>,
    /// What is on its way. Only worlds keep it here; runs have it in the order of time.
    pub flight: Vec<Envelope<P::Message>>,
    /// The operations.
    pub ops: Vec<Progress<P::Client>>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica<N> {
    /// The newest configuration that it knows.
    pub epoch: u8,
    /// What it keeps.
    pub kept: N,
}

/// A message on its way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Envelope<M> {
    /// Who sent it.
    pub from: Party,
    /// For whom.
    pub to: Party,
    /// The newest configuration that its sender knew.
    pub epoch: u8,
    /// What it says.
    pub message: M,
}

impl<M> Envelope<M> {
    pub(super) fn of(from: Party, sent: Sent<M>) -> Self {
        Envelope {
            from,
            to: sent.to,
            epoch: sent.epoch,
            message: sent.message,
        }
    }
}

/// How far an operation is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Progress<C> {
    /// Not begun.
    Waiting,
    /// In flight.
    Running {
        /// Its client or coordinator.
        client: C,
        /// The configuration that the client goes by.
        epoch: u8,
        /// The operations that had been answered when it began, as bits.
        after: u16,
    },
    /// Answered.
    Told {
        /// With this.
        outcome: Outcome,
        /// As above.
        after: u16,
    },
}

impl<P: Protocol> State<P> {
    /// So many nodes that hold nothing, and so many operations to come.
    pub fn new(nodes: u8, ops: usize) -> Self {
        let replica = || Replica {
            epoch: 0,
            kept: P::Node::default(),
        };
        State {
            nodes: (0..nodes).map(|_| Some(replica())).collect(),
            configs: vec![Config::first(nodes)],
            flight: Vec::new(),
            ops: (0..ops).map(|_| Progress::Waiting).collect(),
        }
    }

    /// The newest configuration.
    pub fn newest(&self) -> &Config {
        self.configs.last().expect("there is always one")
    }

    /// The members of the newest configuration that live.
    pub fn members(&self) -> impl DoubleEndedIterator<Item = &Replica<P::Node>> {
        let members = self.newest().members.iter();
        members.filter_map(|member| self.nodes[usize::from(*member)].as_ref())
    }

    /// A client that goes by a configuration, and is nearest to a node, begins its operation.
    pub(super) fn begin(&mut self, protocol: &P, request: Request, epoch: u8, nearest: u8) -> Vec<Sent<P::Message>> {
        let me = Party::Client(request.op);
        let mut here = Here::new(me, &self.configs[usize::from(epoch)], epoch, nearest);
        let client = protocol.begin(request, &mut here);
        let sent = here.into_sent();
        let after = self.answered();
        self.ops[usize::from(request.op.0)] = Progress::Running { client, epoch, after };
        sent
    }

    /// A message arrives.
    pub(super) fn receive(&mut self, protocol: &P, envelope: Envelope<P::Message>) -> Vec<Sent<P::Message>> {
        match envelope.to {
            Party::Node(node) => self.serve(protocol, node, envelope),
            Party::Client(op) => self.hear(protocol, op, envelope),
        }
    }

    /// The newest configuration reaches a node, if it lives.
    pub(super) fn inform(&mut self, protocol: &P, node: u8) -> Vec<Sent<P::Message>> {
        let epoch = self.newest().epoch;
        self.at(node, epoch, |kept, old, here| {
            if let Some(old) = old {
                protocol.reconfigured(kept, old, here);
            }
        })
    }

    fn serve(&mut self, protocol: &P, node: u8, envelope: Envelope<P::Message>) -> Vec<Sent<P::Message>> {
        let Envelope {
            from, epoch, message, ..
        } = envelope;
        self.at(node, epoch, |kept, old, here| {
            if let Some(old) = old {
                protocol.reconfigured(kept, old, here);
            }
            protocol.serve(kept, from, message, here);
        })
    }

    /// Does something at a node that lives, which hears of this configuration; tells which older one it knew.
    fn at(
        &mut self,
        node: u8,
        epoch: u8,
        handler: impl FnOnce(&mut P::Node, Option<&Config>, &mut Here<'_, P::Message>),
    ) -> Vec<Sent<P::Message>> {
        let Some(replica) = &mut self.nodes[usize::from(node)] else {
            return Vec::new();
        };
        let old = (replica.epoch < epoch).then_some(&self.configs[usize::from(replica.epoch)]);
        replica.epoch = replica.epoch.max(epoch);
        let config = &self.configs[usize::from(replica.epoch)];
        let mut here = Here::new(Party::Node(node), config, epoch, node);
        handler(&mut replica.kept, old, &mut here);
        here.into_sent()
    }

    fn hear(&mut self, protocol: &P, op: OpIndex, envelope: Envelope<P::Message>) -> Vec<Sent<P::Message>> {
        let progress = &mut self.ops[usize::from(op.0)];
        let Progress::Running { client, epoch, after } = progress else {
            return Vec::new();
        };
        let config = &self.configs[usize::from(*epoch)];
        let mut here = Here::new(envelope.to, config, envelope.epoch, config.head());
        let told = protocol.hear(client, envelope.from, envelope.message, &mut here);
        let sent = here.into_sent();
        if let Some(outcome) = told {
            let after = *after;
            *progress = Progress::Told { outcome, after };
        }
        sent
    }

    /// The operations that are answered, as bits.
    fn answered(&self) -> u16 {
        let told = |progress: &Progress<P::Client>| matches!(progress, Progress::Told { .. });
        let ops = self.ops.iter().enumerate().filter(|(_, progress)| told(progress));
        ops.map(|(op, _)| 1 << op).sum()
    }

    /// What the client of an operation was told.
    pub fn outcome(&self, op: OpIndex) -> Option<&Outcome> {
        match &self.ops[usize::from(op.0)] {
            Progress::Told { outcome, .. } => Some(outcome),
            Progress::Waiting | Progress::Running { .. } => None,
        }
    }
}
