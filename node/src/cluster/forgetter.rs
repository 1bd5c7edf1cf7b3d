//! The forgetter of one node: gets rid of the tombstones of what was deleted long ago.
//!
//! Round after round it walks over the rows that this node holds, and asks all replicas of those that are old tombstones
//! what they hold. What all of them hold, or have forgotten already, goes: the others are told first, and this node
//! forgets it last, so that it goes on asking until everybody has heard. Who may forget what is decided by
//! [`trellis_spec::tombstone`], at each replica for itself; all else here only chooses what to ask about.
//!
//! Some rows have to be made ready first. A tombstone that some replica does not have is brought to it, whether it missed
//! the deletion or has forgotten it already, for an order that others did not hear. A row that is nothing but an old promise,
//! or a tombstone under one, is settled, which makes it a young tombstone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use trellis_spec::layout::Partition;
use trellis_spec::peer::{Answer, Call};
use trellis_spec::quorum::NodeId;
use trellis_spec::register::{Cell, Settle, SettleOutcome};
use trellis_spec::row::{FORGETTABLE, Row, RowKey, gate_of, successor};
use trellis_spec::stamp::Stamp;
use trellis_spec::tombstone::{Reports, deleted, is_unsettled};

use super::amount::Amount;
use super::cells::{CellsError, Shelf};
use super::coordinator::{Contention, Coordinator};
use super::floors::ROWS_AT_A_TIME;
use super::place::{Place, Spread, Subject};
use super::poll::Told;
use super::standing::Standing;
use super::workers::Worker;
use crate::link::Lane;
use crate::seeded::NodeRules;

/// A tombstone is asked about by one replica when its time has come, and by each of the others this part of its age
/// later, if it is still there then.
const TURN_PART: u64 = 8;
/// So many rounds in the time after which tombstones are forgotten,
const ROUNDS: u64 = 16;
/// but not fewer or more than these pauses make.
const ROUND_LEAST: Duration = Duration::from_secs(1);
const ROUND_MOST: Duration = Duration::from_secs(3600);

/// What a round did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Forgot {
    /// Tombstones that are gone at every replica.
    pub tombstones: u64,
    /// Tombstones that were brought to a replica that did not have them.
    pub brought: u64,
    /// Rows that were settled.
    pub settled: u64,
}

/// Is there more to be done in a partition that cannot be done now?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    /// Some replica does not answer, or the partition moves.
    Something,
}

/// What is old in a stretch of rows.
#[derive(Debug, Default)]
struct Old {
    tombstones: Vec<(RowKey, Stamp)>,
    /// To be settled above these stamps.
    unsettled: Vec<(RowKey, Stamp)>,
}

/// See the module.
pub struct Forgetter {
    coordinator: Arc<Coordinator>,
    forgot: Forgot,
}

impl Forgetter {
    /// The forgetter of the coordinator's node.
    pub fn new(coordinator: Arc<Coordinator>) -> Self {
        Forgetter {
            coordinator,
            forgot: Forgot::default(),
        }
    }

    /// Goes round after round for ever.
    pub async fn run(mut self) {
        loop {
            let pause = self.pause();
            self.coordinator.env.clock.sleep(pause).await;
            let forgot = self.round().await;
            if forgot != Forgot::default() {
                tracing::info!(?forgot, "forgot what was deleted long ago");
            }
        }
    }

    /// How long it rests between two rounds.
    pub fn pause(&self) -> Duration {
        let age = Duration::from_secs(self.coordinator.limits.tombstone_age_s);
        Duration::from_secs(age.as_secs() / ROUNDS).clamp(ROUND_LEAST, ROUND_MOST)
    }

    /// One round; what it did, also when it ended early.
    pub async fn round(&mut self) -> Forgot {
        self.forgot = Forgot::default();
        let coordinator = self.coordinator.clone();
        let (workers, env) = (&coordinator.repairs().workers, &coordinator.env);
        // Its idea of what is old would be wrong.
        let standing = coordinator.replica.standing();
        if standing.and_then(Standing::clock_differs_us).is_some() {
            workers.pause(env, Worker::Forgetter, "the clock of this node is wrong".to_owned());
            return self.forgot;
        }
        let mine = self.mine();
        workers.begin(env, Worker::Forgetter, mine.len() as u64);
        let mut waiting = 0_u64;
        for partition in mine {
            match self.walk(partition).await {
                Ok(Left::Nothing) => {}
                Ok(Left::Something) => waiting += 1,
                Err(error) => {
                    tracing::warn!(?partition, %error, "what was deleted long ago cannot be looked through");
                    workers.failed(env, Worker::Forgetter, &error);
                    waiting += 1;
                }
            }
            workers.step(Worker::Forgetter);
        }
        let rows = self.forgot.tombstones;
        workers.did(
            Worker::Forgetter,
            Amount {
                rows,
                ..Amount::default()
            },
        );
        match waiting {
            0 => workers.end(env, Worker::Forgetter),
            _ => {
                let why = format!(
                    "in {waiting} partitions some replica does not answer, or they move: nothing is forgotten there"
                );
                workers.pause(env, Worker::Forgetter, why);
            }
        }
        self.forgot
    }

    /// The partitions of rows of this node.
    fn mine(&self) -> Vec<Partition> {
        let known = self.coordinator.layouts().now();
        let me = known.peer.me;
        let newest = known.peer.knowledge.newest();
        let mine = newest.into_iter().flat_map(|newest| {
            let all = newest.row_partitions();
            all.filter(|partition| newest.holds(me, *partition))
        });
        mine.collect()
    }

    async fn walk(&mut self, partition: Partition) -> Result<Left, CellsError> {
        let place = self.coordinator.place_of(partition, Spread::Majorities);
        let members = place.sets.members();
        let away = self.coordinator.repairs().contact.away(|node| members.contains(&node));
        let is_moving = place.view.lo < place.view.hi;
        if is_moving || !away.is_empty() {
            return Ok(Left::Something);
        }
        let Some(shelf) = self.coordinator.replica.shelf(partition) else {
            return Ok(Left::Nothing);
        };
        for table in FORGETTABLE {
            if self.walk_table(&place, shelf, table).await? == Left::Something {
                return Ok(Left::Something);
            }
        }
        Ok(Left::Nothing)
    }

    async fn walk_table(&mut self, place: &Place, shelf: Shelf, table: &[u8]) -> Result<Left, CellsError> {
        let coordinator = self.coordinator.clone();
        let max_bytes = coordinator.limits.scan_max_bytes;
        let end = successor(table).expect("a table's letter is below 0xff");
        let mut from = table.to_vec();
        loop {
            coordinator.rest(1).await;
            let cells = coordinator.replica.cells();
            let range = cells.scan(shelf, &from, Some(&end), ROWS_AT_A_TIME, max_bytes)?.value;
            let old = Old::of(range.cells, self.until_us(place.partition));
            if self.forget(place, old).await == Left::Something {
                return Ok(Left::Something);
            }
            match range.bound {
                Some(bound) => from = bound,
                None => return Ok(Left::Nothing),
            }
        }
    }

    /// What is older than this is old enough for this node to ask about. Replicas take turns, so that as a rule one of them
    /// asks.
    fn until_us(&self, partition: Partition) -> u64 {
        let known = self.coordinator.layouts().now();
        let newest = known.peer.knowledge.newest();
        let replicas = newest.map_or_else(Vec::new, |newest| newest.replicas(partition));
        let place = replicas.iter().position(|node| *node == known.peer.me).unwrap_or(0);
        let turn = (place + usize::from(partition.0)) % replicas.len().max(1);
        let age_us = self.coordinator.tombstone_age_us();
        let wait_us = age_us.saturating_add(age_us / TURN_PART * turn as u64);
        self.coordinator.env.clock.wall_us().saturating_sub(wait_us)
    }

    async fn forget(&mut self, place: &Place, old: Old) -> Left {
        let Old { tombstones, unsettled } = old;
        if !tombstones.is_empty() && self.let_go(place, tombstones).await == Left::Something {
            return Left::Something;
        }
        for (key, above) in unsettled {
            self.coordinator.rest(1).await;
            self.settle(place, &key, above).await;
        }
        Left::Nothing
    }

    /// Asks everybody about tombstones, and has those forgotten that may be.
    async fn let_go(&mut self, place: &Place, tombstones: Vec<(RowKey, Stamp)>) -> Left {
        self.coordinator.rest(1).await;
        let members = place.sets.members();
        let keys = tombstones.iter().map(|(key, _)| key.clone()).collect();
        let mut reported = BTreeMap::new();
        for (node, answer) in self.ask(place, &members, &Call::Report(keys)).await {
            if let Answer::Reported(held) = answer
                && held.len() == tombstones.len()
            {
                reported.insert(node, held);
            }
        }
        let all_told = reported.len() == members.len();
        let (mut going, mut lacking) = (Vec::new(), Vec::new());
        for (index, (key, tombstone)) in tombstones.into_iter().enumerate() {
            let mut reports = Reports::new(place.sets.clone());
            for (node, held) in &reported {
                reports.insert(*node, held[index]);
            }
            match reports.allow::<NodeRules>(tombstone) {
                true => going.push((key, tombstone)),
                false => lacking.push(key),
            }
        }
        let left = self.order(place, going).await;
        if !all_told || left == Left::Something {
            return Left::Something;
        }
        for key in lacking {
            self.bring(place, &key).await;
        }
        Left::Nothing
    }

    /// Has tombstones forgotten that everybody holds: by all others of the newest layout, then here.
    async fn order(&mut self, place: &Place, going: Vec<(RowKey, Stamp)>) -> Left {
        if going.is_empty() {
            return Left::Nothing;
        }
        let me = self.coordinator.me();
        let known = self.coordinator.layouts().now();
        let newest = known.peer.knowledge.newest();
        let mut others = newest.map_or_else(Vec::new, |newest| newest.replicas(place.partition));
        others.retain(|node| *node != me);
        let order = Call::Forget(going);
        let heard = self.ask(place, &others, &order).await;
        let has_heard = |node: &NodeId| matches!(heard.get(node), Some(Answer::Forgotten(_)));
        if !others.iter().all(has_heard) {
            return Left::Something;
        }
        match self.ask(place, &[me], &order).await.remove(&me) {
            Some(Answer::Forgotten(count)) => {
                self.forgot.tombstones += u64::from(count);
                Left::Nothing
            }
            Some(_) | None => Left::Something,
        }
    }

    /// What those of the nodes said who answered in time.
    async fn ask(&self, place: &Place, nodes: &[NodeId], call: &Call) -> Told<Answer> {
        let asked = nodes.iter().map(|node| (*node, call.clone()));
        let limit = Duration::from_millis(self.coordinator.limits.request_deadline_ms);
        let coordinator = &self.coordinator;
        coordinator.poll(place, Lane::Bulk, asked, limit, Some, |_| false).await
    }

    /// Some replica does not have a tombstone: it is brought there, if nothing is newer.
    async fn bring(&mut self, place: &Place, key: &RowKey) {
        self.coordinator.rest(1).await;
        let gate = gate_of(key);
        let row = Subject {
            key,
            gate: gate.as_ref(),
        };
        let brought = self.coordinator.bring_to_all(place.partition, row).await;
        self.forgot.brought += u64::from(brought.is_ok());
    }

    async fn settle(&mut self, place: &Place, key: &RowKey, above: Stamp) {
        let gate = gate_of(key);
        let row = Subject {
            key,
            gate: gate.as_ref(),
        };
        let mut settle: Settle<Row, NodeRules> = Settle::new(place.sets.clone(), 0);
        let first = self.coordinator.stamp(above);
        let settling = self
            .coordinator
            .run(row, place.clone(), &mut settle, first, Contention::Expected);
        let is_settled = matches!(settling.await.outcome, SettleOutcome::Settled(_));
        self.forgot.settled += u64::from(is_settled);
    }
}

impl Old {
    /// What is not younger than this, of some rows.
    fn of(cells: Vec<(RowKey, Cell<Row>)>, until_us: u64) -> Self {
        let mut old = Old::default();
        let is_old = |(_, stamp): &(RowKey, Stamp)| stamp.time <= until_us;
        for (key, cell) in cells {
            if is_unsettled(&cell) {
                old.unsettled.extend(Some((key, cell.promised)).filter(is_old));
            } else if let Some(tombstone) = deleted(&cell) {
                old.tombstones.extend(Some((key, tombstone)).filter(is_old));
            }
        }
        old
    }
}

impl Coordinator {
    /// How old tombstones become.
    pub(super) fn tombstone_age_us(&self) -> u64 {
        self.limits.tombstone_age_s.saturating_mul(1_000_000)
    }

    /// Tombstones from before this time are not compared: some replica may have forgotten them already. The half is for
    /// clocks that differ, and for other nodes' limits.
    pub(super) fn tombstones_since_us(&self) -> u64 {
        self.env.clock.wall_us().saturating_sub(self.tombstone_age_us() / 2)
    }
}
