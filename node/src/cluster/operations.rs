//! Operations on rows, as the object store calls them.

use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use trellis_spec::gate::Gate;
use trellis_spec::layout::Partition;
use trellis_spec::peer::{Answer, Call};
use trellis_spec::quorum::{Verdict, Vote};
use trellis_spec::register::{
    Accepted, Change, Conditional, ConditionalOutcome, Content, Decision, Fetch, OpId, Read, ReadOutcome, Reply,
    Request, Write, WriteMode, WriteOutcome,
};
use trellis_spec::row::{Row, Swap};
use trellis_spec::stamp::Stamp;
use trellis_spec::trace::Guarded;

use super::coordinator::{Contention, Coordinator, Ended};
use super::place::{Place, Spread, Subject, Target};
use super::poll::Told;
use super::standing::Standing;
use crate::link::Lane;
use crate::seeded::{NodeRules, Slip, slips};

/// Replicas are asked what became of a write for this part of the time that tombstones live: the row may be deleted as soon
/// as it is written, replicas honour orders to forget after half the time by their clocks, which differ.
const SHARE_OF_TOMBSTONE_AGE: u64 = 4;

/// Why an operation on rows did not come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// Too few replicas answered in time. Nothing was written.
    #[error("too few replicas answered in time")]
    Unreached,
    /// The write may take effect at any time, or never.
    #[error("the outcome of the write is unknown")]
    Unknown,
    /// The bucket's gate is closed. Replicas that have not closed it yet may hold the value; nobody will see it any more if
    /// the bucket goes.
    #[error("the bucket is being deleted")]
    Gated,
    /// Too many disks are full. Nothing was acknowledged.
    #[error("too many disks are full")]
    Full,
    /// This node's clock differs from most others' by more than they accept. Nothing was written.
    #[error("the clock of this node is wrong")]
    Clock,
}

/// What a read found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The newest value; a tombstone where one was deleted, nothing where none ever was.
    pub accepted: Option<Accepted<Row>>,
    /// Whether some replica's gate is closed: then the bucket may be gone.
    pub gate: Gate,
}

/// What a guarded change came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swapped {
    /// The guard held, and this is there now.
    Written(Accepted<Row>),
    /// The guard did not hold of this.
    Refused(Option<Accepted<Row>>),
}

impl Found {
    /// The live value.
    pub fn live(&self) -> Option<&Row> {
        self.accepted.as_ref()?.content.live()
    }

    /// The live value, taken out.
    pub fn into_live(self) -> Option<Row> {
        match self.accepted?.content {
            Content::Value(row) => Some(row),
            Content::Tombstone => None,
        }
    }
}

impl Coordinator {
    /// A linearizable read.
    pub async fn read(&self, target: &Target, fetch: Fetch) -> Result<Found, ClusterError> {
        let place = self.place(&target.address.placement);
        self.read_at(place, target.into(), fetch).await
    }

    /// A read that waits for every replica, and brings the newest value that any of them holds to all.
    pub async fn read_from_all(&self, target: &Target) -> Result<Found, ClusterError> {
        let partition = self.place(&target.address.placement).partition;
        self.bring_to_all(partition, target.into()).await
    }

    /// The same for a row of this partition.
    pub(super) async fn bring_to_all(&self, partition: Partition, row: Subject<'_>) -> Result<Found, ClusterError> {
        let place = self.place_of(partition, Spread::Everybody);
        self.read_at(place, row, Fetch::Head).await
    }

    /// May anybody have been shown something of this row that has this stamp or a later one? Whatever was shown is on a
    /// majority, or something newer is. Nothing is brought anywhere and no gate is asked: for rows whose bucket is gone.
    pub async fn may_have_shown(&self, target: &Target, from: Stamp) -> bool {
        let known_for_us = self.limits.tombstone_age_s.saturating_mul(1_000_000) / SHARE_OF_TOMBSTONE_AGE;
        if self.env.clock.wall_us().saturating_sub(from.time) > known_for_us {
            return true;
        }
        let place = self.place(&target.address.placement);
        let read = || Call::Row {
            key: target.address.key.clone(),
            gate: None,
            request: Request::Read(Fetch::Head),
        };
        let asked = place.sets.members().into_iter().map(|node| (node, read()));
        let is_older = |answer| {
            if let Answer::Row { reply, .. } = answer
                && let Reply::Row { accepted, .. } = reply
            {
                Some(accepted.is_none_or(|held| held.ballot < from))
            } else {
                None
            }
        };
        let have_only_older = |told: &Told<bool>| {
            let vote = |node| {
                if told.get(&node) == Some(&true) {
                    Vote::Yes
                } else {
                    Vote::Open
                }
            };
            place.sets.verdict(vote) == Verdict::Reached
        };
        let limit = Duration::from_millis(self.limits.request_deadline_ms);
        let is_enough = |told: &Told<bool>| told.values().any(|older| !older) || have_only_older(told);
        let told = self
            .poll(&place, Lane::Control, asked, limit, is_older, is_enough)
            .await;
        !have_only_older(&told)
    }

    async fn read_at(&self, place: Place, row: Subject<'_>, fetch: Fetch) -> Result<Found, ClusterError> {
        let mut attempt: Read<Row, NodeRules> = Read::new(place.sets.clone(), fetch);
        let ended = self
            .run(row, place, &mut attempt, Stamp::ZERO, Contention::Expected)
            .await;
        match ended.outcome {
            ReadOutcome::Found(accepted) => Ok(Found {
                accepted,
                gate: ended.gate,
            }),
            ReadOutcome::Gated => Err(ClusterError::Gated),
            ReadOutcome::Unreached if ended.full => Err(ClusterError::Full),
            ReadOutcome::Unreached if slips(Slip::UnreachedIsAbsent) => Ok(Found {
                accepted: None,
                gate: ended.gate,
            }),
            ReadOutcome::Unreached => Err(ClusterError::Unreached),
        }
    }

    /// An unconditional write, in one round trip. No stamp after `until_us` carries it.
    pub async fn write(
        &self,
        target: &Target,
        op: OpId,
        content: Content<Row>,
        until_us: u64,
    ) -> Result<Stamp, ClusterError> {
        self.check_clock()?;
        let place = self.place(&target.address.placement);
        let mut attempt: Write<Row, NodeRules> = Write::new(
            self.limits.unconditional_writes,
            place.sets.clone(),
            op,
            content,
            until_us,
        );
        let first = self.stamp(Stamp::ZERO);
        let ended = self.run(target, place, &mut attempt, first, Contention::Unlikely).await;
        written(&ended)
    }

    /// A write under a stamp that was agreed on elsewhere, never under another: a newer value stays.
    pub async fn write_under(
        &self,
        target: &Target,
        op: OpId,
        content: Content<Row>,
        stamp: Stamp,
    ) -> Result<Stamp, ClusterError> {
        self.check_clock()?;
        let place = self.place(&target.address.placement);
        let mut attempt: Write<Row, NodeRules> =
            Write::new(WriteMode::Strict, place.sets.clone(), op, content, stamp.time);
        let ended = self.run(target, place, &mut attempt, stamp, Contention::Unlikely).await;
        written(&ended)
    }

    /// A guarded change, in two round trips.
    pub async fn swap(&self, target: &Target, op: OpId, swap: Swap, until_us: u64) -> Result<Swapped, ClusterError> {
        let limit = Duration::from_millis(self.limits.request_deadline_ms);
        let turn = self.env.timeout(limit, self.turns.take(&target.address.key)).await;
        let _turn = turn.map_err(|_| ClusterError::Unreached)?;
        self.swap_when(target, op, until_us, async { Ok(swap) }).await
    }

    /// A guarded change of which `decided` will tell; promises are asked for meanwhile. It takes no turn: who holds one
    /// row's turn while waiting for another row may wait for itself.
    pub async fn swap_when<E: From<ClusterError>>(
        &self,
        target: &Target,
        op: OpId,
        until_us: u64,
        decided: impl Future<Output = Result<Swap, E>>,
    ) -> Result<Swapped, E> {
        self.check_clock()?;
        let place = self.place(&target.address.placement);
        let change = Later::default();
        let mut attempt: Conditional<Row, Later, NodeRules> =
            Conditional::new(place.sets.clone(), op, change.clone(), until_us);
        let (first, mut failure) = (self.stamp(Stamp::ZERO), None);
        let ready = async {
            match decided.await {
                Ok(swap) => change.tell(swap),
                Err(error) => {
                    failure = Some(error);
                    ControlFlow::Break(())
                }
            }
        };
        let ended = self
            .run_when(target, place, &mut attempt, first, Contention::Expected, ready)
            .await;
        if let Some(error) = failure {
            return Err(error);
        }
        match ended.outcome {
            ConditionalOutcome::Written(accepted) => Ok(Swapped::Written(accepted)),
            ConditionalOutcome::Refused(accepted) => Ok(Swapped::Refused(accepted)),
            ConditionalOutcome::Gated => Err(ClusterError::Gated.into()),
            ConditionalOutcome::Unknown if ended.full => Err(ClusterError::Full.into()),
            ConditionalOutcome::Unknown => Err(ClusterError::Unknown.into()),
            ConditionalOutcome::Unreached if ended.full => Err(ClusterError::Full.into()),
            ConditionalOutcome::Unreached => Err(ClusterError::Unreached.into()),
        }
    }
}

/// A guarded change that is told while its promises are on their way. The driver lets no promise through before that.
#[derive(Clone, Default)]
struct Later(Arc<OnceLock<Swap>>);

impl Later {
    fn tell(&self, swap: Swap) -> ControlFlow<()> {
        match self.0.set(swap) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

impl Change<Row> for Later {
    fn decide(&self, current: Option<&Accepted<Row>>) -> Decision<Row> {
        self.0.get().map_or(Decision::Refuse, |swap| swap.decide(current))
    }
}

impl Guarded for Later {
    fn swap(&self) -> Option<&Swap> {
        self.0.get()
    }
}

impl Coordinator {
    /// Stamps of a wrong clock would be refused, or outlive what others write after them.
    fn check_clock(&self) -> Result<(), ClusterError> {
        match self.replica.standing().and_then(Standing::clock_differs_us) {
            Some(_) => Err(ClusterError::Clock),
            None => Ok(()),
        }
    }
}

fn written(ended: &Ended<WriteOutcome>) -> Result<Stamp, ClusterError> {
    match ended.outcome {
        WriteOutcome::Written(stamp) => Ok(stamp),
        WriteOutcome::Gated => Err(ClusterError::Gated),
        WriteOutcome::Unknown if ended.full => Err(ClusterError::Full),
        WriteOutcome::Unknown if slips(Slip::UnknownIsDone) => Ok(Stamp::ZERO),
        WriteOutcome::Unknown => Err(ClusterError::Unknown),
    }
}
