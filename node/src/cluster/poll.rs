//! One question to several replicas, whose answers are counted by whoever asks.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use trellis_spec::peer::{Answer, Call};
use trellis_spec::quorum::NodeId;

use super::coordinator::Coordinator;
use super::place::Place;
use super::replica::Payload;
use crate::link::Lane;

/// What nodes said.
pub(super) type Told<T> = BTreeMap<NodeId, T>;

impl Coordinator {
    /// What these said, until it is enough, or the time is over. An answer that `read` makes nothing of is as good as none.
    pub(super) async fn poll<T>(
        &self,
        place: &Place,
        lane: Lane,
        asked: impl Iterator<Item = (NodeId, Call)>,
        within: Duration,
        read: impl Fn(Answer) -> Option<T>,
        is_enough: impl Fn(&Told<T>) -> bool,
    ) -> Told<T> {
        let ask = |(node, call)| {
            let called = self.call(node, lane, place.envelope(call), Payload::Nothing);
            async move { (node, called.await.0) }
        };
        let mut calls: FuturesUnordered<_> = asked.map(ask).collect();
        let mut told = BTreeMap::new();
        let listen = async {
            while let Some((node, answer)) = calls.next().await {
                told.extend(read(answer).map(|value| (node, value)));
                if is_enough(&told) {
                    break;
                }
            }
        };
        // Whoever did not answer in time has said nothing.
        let _ = self.env.timeout(within, listen).await;
        told
    }
}
