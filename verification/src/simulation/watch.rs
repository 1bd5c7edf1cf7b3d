//! Counts what travels between nodes, so that a run can say which paths of the protocols it took.

use trellis_node::cluster::{ReplicaService, decode, encode};
use trellis_node::env::Boxed;
use trellis_node::link::{Message, PeerId, Service};
use trellis_spec::gate::Gate;
use trellis_spec::layout::Refusal;
use trellis_spec::peer::{Answer, Call, Envelope};
use trellis_spec::register::{Purpose, Reply, Request};
use trellis_spec::row::Row;

use super::sabotage::Sabotage;
use super::tally::Tally;

/// A node's service, with somebody who counts in front of it.
pub(crate) struct Watched {
    pub(crate) service: ReplicaService,
    pub(crate) tally: Tally,
    pub(crate) sabotage: Sabotage,
}

impl Service for Watched {
    fn serve(&self, from: PeerId, message: Message) -> Boxed<'static, Message> {
        let asked = decode::<Envelope>(&message.head);
        let (tally, sabotage) = (self.tally.clone(), self.sabotage);
        let answering = self.service.serve(from, message);
        Box::pin(async move {
            let mut answer = answering.await;
            if let (Ok(asked), Ok(told)) = (asked, decode::<Answer>(&answer.head)) {
                tally.count("requests between nodes");
                if let Some(event) = event(&asked.call, &told) {
                    tally.count(event);
                }
                if let Answer::Row { gate: Gate::Closed, .. } = told {
                    tally.count("a request met a closed gate");
                }
                if let Answer::Pulled(_) | Answer::Reported(_) = told {
                    answer.head = encode(&sabotage.between_nodes(told));
                }
            }
            answer
        })
    }
}

/// The name of what happened, if it is worth one.
fn event(asked: &Call, told: &Answer) -> Option<&'static str> {
    match (asked, told) {
        (_, Answer::Full) => Some("a replica's disk was full"),
        (_, Answer::Failed) => Some("a replica could not serve"),
        (Call::Row { request, .. }, Answer::Row { reply, .. }) => row_event(request, reply),
        (Call::ReferBlock(_), Answer::Stored) => Some("a copy referred to a block"),
        (Call::ReferBlock(_), Answer::NeedData) => Some("a copy met a replica without the block"),
        (Call::FetchBlock(_), Answer::NoBlock) => Some("a reader met a replica without the block"),
        (_, Answer::Refused(Refusal::Stale(_))) => Some("a view was older than a replica's"),
        (_, Answer::Refused(Refusal::NeedLayout(_))) => Some("a replica did not know a request's layout"),
        (_, Answer::Refused(Refusal::NotOwner(_))) => Some("a replica had no part in a partition"),
        (_, Answer::Refused(Refusal::Entering)) => Some("a replica did not know its floor yet"),
        (Call::Row { .. } | Call::Scan { .. } | Call::StoreBlock(_) | Call::ReferBlock(_), _) => None,
        (Call::Forget(_), Answer::Forgotten(0)) => Some("nothing could be forgotten"),
        (Call::FetchBlock(_) | Call::Pull { .. } | Call::PullReferences { .. }, _) => None,
        (Call::Digest { .. } | Call::Leaves(_), _) => None,
        (Call::Report(_) | Call::Forget(_), _) => None,
    }
}

fn row_event(asked: &Request<Row>, told: &Reply<Row>) -> Option<&'static str> {
    match (asked, told) {
        (_, Reply::Gated) => Some("a closed gate refused an object"),
        (_, Reply::TooFarAhead) => Some("a stamp was too far ahead"),
        (Request::Write(_), Reply::Nack { .. }) => Some("an unconditional write met something newer"),
        (Request::WriteBack(_), Reply::Accept) => Some("a read wrote back"),
        (Request::WriteBack(_), Reply::Nack { .. }) => Some("a write-back was refused"),
        (
            Request::Prepare {
                purpose: Purpose::Settle,
                ..
            },
            Reply::Promise { .. },
        ) => Some("a row was settled"),
        (
            Request::Prepare {
                purpose: Purpose::Propose,
                ..
            },
            Reply::Nack { .. },
        ) => Some("a ballot was too low"),
        (Request::Accept(_), Reply::Nack { .. }) => Some("a proposal was refused"),
        (Request::Read(_) | Request::Write(_) | Request::WriteBack(_) | Request::Prepare { .. }, _)
        | (Request::Accept(_), _) => None,
    }
}
