//! Blocks at their replicas.
//!
//! A block is sent with its reference in one message to all replicas; a majority that has both on disk is the proof,
//! [`Stored`], without which no row names the block.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use trellis_spec::block::{Kept, Stored};
use trellis_spec::peer::{Answer, Call};
use trellis_spec::quorum::{NodeId, ReplicaSets, Verdict};
use trellis_spec::row::{Block, BlockReference, Placement};

use super::coordinator::Coordinator;
use super::place::Place;
use super::replica::Payload;
use super::watched::WatchedPlacing;
use crate::env::Boxed;
use crate::link::Lane;
use crate::seeded::{Slip, slips};
use crate::storage::Block as NamedBlock;

/// Why a block could not be stored or fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Too few replicas answered in time.
    #[error("too few replicas of a block answered in time")]
    Unreached,
    /// Too many disks are full.
    #[error("too many disks are full")]
    Full,
    /// Too many blocks are on their way already.
    #[error("too many blocks are on their way")]
    Busy,
    /// No replica that answered has the block, or has it undamaged.
    #[error("a block is missing on every replica that answered")]
    Missing,
    /// The data is not there, and none was sent.
    #[error("too few replicas have the data of a block that is to be referred to")]
    NeedData,
}

type Voted = (NodeId, Answer);

impl Coordinator {
    /// Room for one more block in memory.
    pub(crate) async fn block_room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, BlockError> {
        let total = self.limits.blocks_in_flight_bytes >> 10;
        let wanted = u32::try_from((bytes >> 10).clamp(1, total.max(1))).unwrap_or(u32::MAX);
        let limit = Duration::from_millis(self.limits.block_deadline_ms);
        let room = self
            .env
            .timeout(limit, self.upload_memory.clone().acquire_many_owned(wanted))
            .await;
        Ok(room
            .map_err(|_| BlockError::Busy)?
            .expect("the semaphore is never closed"))
    }

    /// Names data away from the network's threads, so that they can be stored.
    pub(crate) async fn name_block(&self, data: Bytes) -> Result<NamedBlock, BlockError> {
        self.replica.name_block(data).await.map_err(|_| BlockError::Unreached)
    }

    /// Stores a block and its reference on a majority. `room` is kept until then.
    pub(crate) async fn store_block(
        &self,
        reference: BlockReference,
        block: NamedBlock,
        room: OwnedSemaphorePermit,
    ) -> Result<Stored, BlockError> {
        self.note_operation();
        let length = u32::try_from(block.data().len()).expect("blocks are at most a few MiB");
        let stored = Block {
            name: reference.block,
            length,
        };
        let reached = self
            .reach_majority(Call::StoreBlock(reference), stored, Some(block))
            .await;
        drop(room);
        reached
    }

    /// Refers to a block that is stored already.
    pub(crate) async fn refer_block(&self, reference: BlockReference, length: u32) -> Result<Stored, BlockError> {
        let block = Block {
            name: reference.block,
            length,
        };
        self.reach_majority(Call::ReferBlock(reference), block, None).await
    }

    async fn reach_majority(&self, call: Call, block: Block, named: Option<NamedBlock>) -> Result<Stored, BlockError> {
        let limit = Duration::from_millis(self.limits.block_deadline_ms);
        let mut deadline = self.env.clock.sleep(limit);
        let mut place = self.place(&Placement::Block(block.name));
        if slips(Slip::BlocksAtOneNode) {
            let nearest = self.nearest_first(place.sets.members());
            place.sets = ReplicaSets::new(vec![nearest.into_iter().take(1).collect()]);
        }
        loop {
            let mut collected = Collected {
                calls: self.send_block(&place, &call, named.as_ref()),
                placing: WatchedPlacing::new(self.replica.recorder(), block, &place),
                full: false,
            };
            let reached = tokio::select! {
                biased;
                reached = collected.majority(|| self.moved(&place)) => reached,
                () = &mut deadline => Reached::Failed(BlockError::Unreached),
            };
            self.linger(collected.calls, block.length as usize);
            match reached {
                Reached::Stored(stored) => return Ok(stored),
                Reached::Failed(error) => return Err(error),
                // All answers are given under one view.
                Reached::Moved(moved) => place = moved,
            }
        }
    }

    fn send_block(
        &self,
        place: &Place,
        call: &Call,
        named: Option<&NamedBlock>,
    ) -> FuturesUnordered<Boxed<'static, Voted>> {
        let calls: FuturesUnordered<Boxed<'static, Voted>> = FuturesUnordered::new();
        for node in self.nearest_first(place.sets.members()) {
            let envelope = place.envelope(call.clone());
            let payload = named.cloned().map_or(Payload::Nothing, Payload::Named);
            let answered = self.call(node, Lane::Bulk, envelope, payload);
            calls.push(Box::pin(async move { (node, answered.await.0) }));
        }
        calls
    }

    /// The block's data, from the nearest replica that has it; a slow one is overtaken by the next.
    pub(crate) async fn fetch_block(&self, block: Block) -> Result<Bytes, BlockError> {
        self.note_operation();
        let limit = Duration::from_millis(self.limits.block_deadline_ms);
        let fetched = self.env.timeout(limit, self.fetch_wherever(block)).await;
        fetched.unwrap_or(Err(BlockError::Unreached))
    }

    /// Who had the block may have dropped it with its partition: then it is where the newer view says.
    async fn fetch_wherever(&self, block: Block) -> Result<Bytes, BlockError> {
        let mut place = self.place(&Placement::Block(block.name));
        loop {
            match (self.hedge(&place, block).await, self.moved(&place)) {
                (Err(BlockError::Missing), Some(moved)) => place = moved,
                (fetched, _) => return fetched,
            }
        }
    }

    /// How long the nearest replica may take: longer on a long link, lest every block be fetched twice; and longer on
    /// this node itself, which is late because it has too much to do, and would have more.
    fn hedge_after(&self, nodes: &[NodeId]) -> Duration {
        const PATIENCE_WITH_MYSELF: u32 = 8;
        let hedge = Duration::from_millis(self.limits.hedge_ms);
        match nodes.first() {
            Some(nearest) if *nearest == self.me() => hedge * PATIENCE_WITH_MYSELF,
            Some(nearest) => hedge.max(self.round_trip_to(*nearest).unwrap_or_default() * 3),
            None => hedge,
        }
    }

    async fn hedge(&self, place: &Place, block: Block) -> Result<Bytes, BlockError> {
        let nodes = self.nearest_first(place.sets.members());
        let hedge_after = self.hedge_after(&nodes);
        let mut waiting = nodes.into_iter();
        let mut calls = FuturesUnordered::new();
        loop {
            let next = waiting.next();
            if let Some(node) = next {
                let call = Call::FetchBlock(block.name);
                let envelope = place.envelope(call);
                calls.push(self.call(node, Lane::Bulk, envelope, Payload::Nothing));
            }
            let hedge = match next {
                Some(_) => self.env.clock.sleep(hedge_after),
                None => Box::pin(std::future::pending()),
            };
            tokio::select! {
                biased;
                answered = calls.next() => match answered {
                    Some((Answer::Block, data)) if data.len() == block.length as usize => return Ok(data),
                    Some(_) => {}
                    None => return Err(BlockError::Missing),
                },
                () = hedge => {}
            }
        }
    }
}

/// The answers of a block's replicas so far.
struct Collected<'a> {
    placing: WatchedPlacing<'a>,
    /// Has a disk no room?
    full: bool,
    calls: FuturesUnordered<Boxed<'static, Voted>>,
}

/// What sending a block under one view came to.
enum Reached {
    Stored(Stored),
    Failed(BlockError),
    Moved(Place),
}

impl Collected<'_> {
    async fn majority(&mut self, moved: impl Fn() -> Option<Place>) -> Reached {
        while let Some((from, answer)) = self.calls.next().await {
            self.full |= answer == Answer::Full;
            let kept = match answer {
                Answer::Stored => Kept::Both,
                Answer::NeedData => Kept::NeedData,
                Answer::Refused(_) => match moved() {
                    Some(moved) => return Reached::Moved(moved),
                    None => Kept::Neither,
                },
                Answer::Row { .. } | Answer::Scanned(_) | Answer::Block | Answer::NoBlock => Kept::Neither,
                Answer::Pulled(_) | Answer::References { .. } => Kept::Neither,
                Answer::Digest(_) | Answer::Leaves(_) => Kept::Neither,
                Answer::Reported(_) | Answer::Forgotten(_) => Kept::Neither,
                Answer::Full | Answer::Failed => Kept::Neither,
            };
            self.placing.on_kept(from, kept);
            if let Some(stored) = self.placing.stored() {
                return Reached::Stored(stored);
            }
            if self.placing.verdict() == Verdict::Impossible {
                return Reached::Failed(self.failure());
            }
        }
        Reached::Failed(BlockError::Unreached)
    }

    fn failure(&self) -> BlockError {
        match (self.full, self.placing.needs_data()) {
            (true, _) => BlockError::Full,
            (false, true) => BlockError::NeedData,
            (false, false) => BlockError::Unreached,
        }
    }
}
