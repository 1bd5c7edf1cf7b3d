//! Drives [`trellis_spec::block::Pulling`] for one partition of blocks.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use trellis_spec::block::{Data, Names, Pulled};
use trellis_spec::layout::Announcement;
use trellis_spec::peer::{Answer, Call};
use trellis_spec::quorum::NodeId;
use trellis_spec::register::Fetch;
use trellis_spec::row::{BlockName, BlockReference, VersionId};

use super::{Interrupted, Purpose, Scope, Syncing};
use crate::cluster::amount::Amount;
use crate::cluster::collector::target;
use crate::cluster::keeper::{Keeper, KeeperError};
use crate::cluster::replica::Payload;
use crate::cluster::watched::WatchedPulling;
use crate::link::Lane;
use crate::storage::{Block, BlocksError};

/// References of one page.
const PAGE_REFERENCES: u32 = 500;
/// Blocks fetched at a time, for each partition that is synced.
const BLOCKS_AT_A_TIME: usize = 4;

/// A reference that some source told of, and who has its data.
struct Wanted {
    reference: BlockReference,
    holders: Vec<NodeId>,
}

impl<S: Scope> Syncing<'_, S> {
    /// From the references to what follows.
    pub(super) async fn blocks(&self) -> Result<S::Outcome, Interrupted> {
        let (mut pulling, wanted) = self.pull_references().await?;
        let mut missing = BTreeSet::new();
        let mut fetches = futures_util::stream::iter(wanted.into_values())
            .map(|wanted| self.adopt(wanted))
            .buffer_unordered(BLOCKS_AT_A_TIME);
        while let Some(adopted) = fetches.next().await {
            missing.extend(adopted?);
            self.check_view()?;
        }
        if !pulling.is_synced(&missing) || S::PURPOSE == Purpose::Repair && !missing.is_empty() {
            return Err(Interrupted::BlockMissing);
        }
        self.check_view()?;
        Ok(self.scope.outcome(Announcement {
            node: self.coordinator.me(),
            partition: self.place.partition,
            version: self.place.view.hi,
        }))
    }

    /// The references of a majority of every older active set, all under one view.
    async fn pull_references(
        &self,
    ) -> Result<(WatchedPulling<'_>, BTreeMap<(BlockName, VersionId), Wanted>), Interrupted> {
        let recorder = self.coordinator.replica.recorder();
        let mut pulling = WatchedPulling::new(recorder, &self.place, self.sources.pulled_sets());
        let mut wanted: BTreeMap<(BlockName, VersionId), Wanted> = BTreeMap::new();
        let pulls = self.sources.pulled().into_iter();
        let mut pulls: FuturesUnordered<_> = pulls.map(|node| self.pull_all_of(node)).collect();
        while !pulling.is_complete() {
            let (node, pulled) = pulls.next().await.ok_or(Interrupted::Unreached)?;
            let Some(pulled) = pulled else {
                self.check_view()?;
                continue;
            };
            for Pulled { reference, data } in &pulled {
                let known = wanted
                    .entry((reference.block, reference.version))
                    .or_insert_with(|| Wanted {
                        reference: reference.clone(),
                        holders: Vec::new(),
                    });
                if *data == Data::Verified {
                    known.holders.push(node);
                }
            }
            pulling.on_pulled(node, pulled);
        }
        Ok((pulling, wanted))
    }

    /// All references of one source; nothing if it does not answer.
    async fn pull_all_of(&self, node: NodeId) -> (NodeId, Option<Vec<Pulled>>) {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let call = Call::PullReferences {
                extent: self.scope.extent(),
                after,
                limit: PAGE_REFERENCES,
            };
            match self.ask(node, call).await {
                Some((Answer::References { found, next }, _)) => {
                    all.extend(found);
                    match next.filter(|next| after.as_ref().is_none_or(|after| after < next)) {
                        Some(next) => after = Some(next),
                        None => return (node, Some(all)),
                    }
                }
                Some(_) | None => return (node, None),
            }
        }
    }

    /// Takes a reference in, with its data where they are not here yet. Says what is missing.
    async fn adopt(&self, wanted: Wanted) -> Result<Option<BlockName>, Interrupted> {
        let Wanted { reference, holders } = wanted;
        let (keeper, partition, name) = (self.keeper(), self.place.partition, reference.block);
        let is_here = keeper.data(name).await == Data::Verified;
        let refers = keeper.refers(partition, &reference)?;
        if refers && is_here || !refers && self.is_given_up(&reference).await {
            return Ok(None);
        }
        if is_here {
            keeper.keep(partition, reference, None).await?;
            return Ok(None);
        }
        // Nothing is fetched that could not be stored.
        keeper.check_open()?;
        // Then those whose answer was not waited for: what a holder has may have rotted.
        let mut others = self.sources.pulled();
        others.retain(|node| *node != self.coordinator.me() && !holders.contains(node));
        let (nearest, others) = (
            self.coordinator.nearest_first(holders),
            self.coordinator.nearest_first(others),
        );
        let (has_holders, mut silent) = (!nearest.is_empty(), false);
        for holder in nearest.into_iter().chain(others) {
            let data = match self.ask(holder, Call::FetchBlock(name)).await {
                Some((Answer::Block, data)) => data,
                Some((Answer::NoBlock, _)) => continue,
                Some(_) | None => {
                    silent = true;
                    continue;
                }
            };
            let bytes = data.len();
            let kept = keeper
                .keep(partition, reference.clone(), Some(Block::received(name, data)))
                .await;
            match kept {
                Ok(Answer::Stored) => {
                    self.pace.take(self.coordinator, bytes).await;
                    self.copied(Amount::block(bytes as u64));
                    return Ok(None);
                }
                Ok(Answer::Full) => return Err(Interrupted::Full),
                Ok(_) => {}
                // Nor would what the next one has.
                Err(error @ KeeperError::Blocks(BlocksError::Away { .. } | BlocksError::Closed(_))) => {
                    return Err(Interrupted::Keeper(error));
                }
                Err(error) => tracing::warn!(%error, ?holder, "a block of a peer cannot be kept"),
            }
        }
        // The reference alone is legal. Data that nobody has were never acknowledged; whoever repairs wants to know that of
        // everybody, for a disk may have lost what was.
        keeper.keep(partition, reference.clone(), None).await?;
        let is_repair = S::PURPOSE == Purpose::Repair;
        let is_missing = has_holders || is_repair && (silent || self.is_named(&reference).await);
        Ok(is_missing.then_some(name))
    }

    /// Does the row that the reference is about name its version? Then the data were acknowledged, and are lost if nobody
    /// has them.
    async fn is_named(&self, reference: &BlockReference) -> bool {
        let target = target(reference.owner.clone());
        match self.coordinator.read(&target, Fetch::Head).await {
            Ok(found) => {
                let live = found.accepted.as_ref().and_then(|held| held.content.live());
                live.is_some_and(|row| row.names(reference.version))
            }
            // Nothing is called whole on a guess.
            Err(_) => true,
        }
    }

    /// Was the reference dropped here, for its version is dead?
    async fn is_given_up(&self, reference: &BlockReference) -> bool {
        S::PURPOSE == Purpose::Repair && self.coordinator.is_dead(reference).await
    }

    async fn ask(&self, node: NodeId, call: Call) -> Option<(Answer, Bytes)> {
        let envelope = self.place.envelope(call);
        let called = self.coordinator.call(node, Lane::Bulk, envelope, Payload::Nothing);
        self.coordinator.env.timeout(self.step_limit(), called).await.ok()
    }

    fn keeper(&self) -> Keeper {
        self.coordinator.replica.keeper().clone()
    }
}
