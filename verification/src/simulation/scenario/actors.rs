//! Who takes part in a scenario: nodes that hold rows, one node for each operation, and its client.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use trellis_model::coordinator::Outcome as Modelled;
use trellis_model::script::{Deed, Kind};
use trellis_model::value::{Condition as Guard, OpIndex};
use trellis_model::world::{Cue, Plot};
use trellis_node::cluster::Limits;
use trellis_node::env::simulated::{SimulatedNode, Simulation};
use trellis_s3api::bucket::BucketInfo;
use trellis_spec::layout::Member;

use super::super::World;
use super::super::cluster::SimulatedCluster;
use super::super::dice::Dice;
use super::super::journal::{Journal, LASTING};
use super::super::ledger::Ledger;
use super::super::session::{Manners, Session, Size, Spot};
use super::super::setup::Weather;
use super::super::shape::Shape;
use super::super::tally::Tally;
use super::layouts::{self, Succession};
use super::stage::Stage;
use crate::history::{Condition, Operation, Outcome};

/// Nodes at most, one of them for whoever inspects.
const NODES_MAX: usize = 10;
/// After so long, an operation that the scenario makes impatient is. Everybody else waits for [`FOR_EVER`].
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
const FOR_EVER: Duration = Duration::from_secs(24 * 3600);
/// A retry comes at once.
const CONTENTION_PAUSE_MAX_MS: u64 = 1;
/// One unit of the model's clocks. Nothing that nodes do by themselves takes so long.
const CLOCK_UNIT_US: i64 = 10_000_000;
/// Most buckets of which the last is where it should be.
const BUCKETS_MAX: usize = 20;
/// What is on its way when the first step is taken has arrived after this long.
const CALM: Duration = Duration::from_secs(5);
/// In the end, operations have so long to come to theirs.
const ENDED_WITHIN: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// See the module.
pub(super) struct Actors {
    pub(super) stage: Stage,
    /// Where there is more than one layout.
    pub(super) succession: Option<Succession>,
    deeds: Vec<Deed>,
    replicas: usize,
    world: World,
    crowd: SimulatedNode,
    bucket: BucketInfo,
    sessions: Vec<Arc<Session>>,
    /// What each operation writes, with its entity tag.
    bodies: Vec<(Bytes, String)>,
    progress: Vec<Progress>,
    told: Arc<Mutex<BTreeMap<usize, Outcome>>>,
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Waiting,
    Begun,
    /// Its client was told what the model's was.
    AsTold,
}

impl Actors {
    /// Everybody takes their places.
    pub(super) async fn begin(plot: &Plot, simulation: &Simulation) -> Result<Self, &'static str> {
        let (replicas, ops) = (usize::from(plot.replicas), plot.deeds.len());
        // One more node, for whoever inspects.
        let nodes = replicas + ops + 1;
        if nodes > NODES_MAX {
            return Err("it has more operations than there are nodes to coordinate them");
        }
        let (dice, stage) = (Dice::new(simulation), Stage::new(simulation));
        // Where layouts follow each other, account is kept of what must be on which disk.
        let weather = match plot.layouts.len() {
            0 | 1 => Weather::Varied,
            _ => Weather::Storm,
        };
        let shape = Shape::on_stage(nodes, plot.replicas, weather, limits(plot, FOR_EVER));
        let limits = (0..nodes).map(|at| limits(plot, patience(plot, at)));
        let first = |members: &[Member]| layouts::first(plot, &shape, members);
        let cluster = SimulatedCluster::on_stage(simulation, &shape, first, limits.collect(), &stage);
        let (journal, tally) = (Journal::new(simulation), Tally::default());
        let world = World {
            dice,
            shape,
            cluster: Arc::new(cluster),
            journal,
            ledger: Ledger::default(),
            tally,
        };
        for (op, clock) in plot.clocks.iter().enumerate() {
            let ahead = i64::try_from(*clock).unwrap_or(0) * CLOCK_UNIT_US;
            world.cluster.set_clock(replicas + op, ahead, 0);
        }
        let bucket = bucket(&world, plot).await.ok_or("no bucket could be created")?;
        world.dice.wait(CALM).await;
        let keys: Vec<String> = (0..plot.keys).map(key).collect();
        stage.begin(&bucket, &keys, world.cluster.first_layout());
        let succession = match plot.layouts.len() {
            0 | 1 => None,
            _ => Some(Succession::begin(plot, &world, &stage, &keys)?),
        };
        plot.dead
            .iter()
            .for_each(|dead| world.cluster.node(usize::from(*dead)).crash());
        let session = |op: usize| {
            Arc::new(Session::new(
                u32::try_from(op + 1).unwrap_or(0),
                &world,
                Manners::Patient,
            ))
        };
        let sessions: Vec<Arc<Session>> = (0..ops).map(session).collect();
        Ok(Actors {
            bodies: sessions.iter().map(|session| body(session, &succession)).collect(),
            stage,
            succession,
            deeds: plot.deeds.clone(),
            replicas,
            crowd: simulation.node("clients"),
            bucket,
            sessions,
            progress: vec![Progress::Waiting; ops],
            told: Arc::default(),
            world,
        })
    }

    /// The node that coordinates an operation.
    pub(super) fn home(&self, op: OpIndex) -> usize {
        self.replicas + usize::from(op.0)
    }

    /// The client of an operation asks, if it did not yet.
    pub(super) fn start(&mut self, op: OpIndex) {
        let index = usize::from(op.0);
        if self.progress.get(index) != Some(&Progress::Waiting) {
            return;
        }
        self.progress[index] = Progress::Begun;
        let client = Client {
            session: self.sessions[index].clone(),
            at: self.home(op),
            spot: self.spot(self.deeds[index].key.0),
            body: self.bodies[index].clone(),
        };
        let (told, wanted) = (self.told.clone(), self.wanted(index));
        let asking = async move {
            let outcome = client.ask(wanted).await;
            told.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(index, outcome);
        };
        self.crowd.env().spawner.spawn("client", Box::pin(asking));
    }

    /// What an operation is for a client.
    fn wanted(&self, op: usize) -> Wanted {
        match self.deeds[op].kind {
            Kind::Write => Wanted::Put(Condition::Always),
            Kind::Put(guard) => Wanted::Put(self.condition(guard)),
            Kind::Delete => Wanted::Delete(Condition::Always),
            Kind::Remove(guard) => Wanted::Delete(self.condition(guard)),
            Kind::Read | Kind::Head => Wanted::Get,
            Kind::List => Wanted::List,
            Kind::DropBucket => Wanted::RemoveBucket,
            Kind::Again(_) | Kind::Elect => Wanted::Nothing,
        }
    }

    fn condition(&self, guard: Guard) -> Condition {
        match guard {
            Guard::Absent => Condition::Absent,
            Guard::Present => Condition::Present,
            Guard::WrittenBy(op) => Condition::Is(self.bodies[usize::from(op.0)].1.clone()),
        }
    }

    fn spot(&self, object: u8) -> Spot {
        Spot {
            bucket: self.bucket.clone(),
            key: key(object),
        }
    }

    /// The node of an operation dies.
    pub(super) fn crash(&self, op: OpIndex) {
        self.world.cluster.node(self.home(op)).crash();
    }

    /// What an operation's client was told.
    pub(super) fn told(&self, op: OpIndex) -> Option<Outcome> {
        self.all_told().get(&usize::from(op.0)).cloned()
    }

    fn all_told(&self) -> MutexGuard<'_, BTreeMap<usize, Outcome>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares what a client was told with what the model's was. A model's operation that gives up because it may take no
    /// more stamps, or no more rounds, is one whose node dies.
    pub(super) async fn expect(&mut self, op: OpIndex, modelled: &Modelled) -> Result<(), String> {
        let gives_up = matches!(modelled, Modelled::Unknown | Modelled::Nothing);
        if gives_up && self.told(op).is_none() {
            self.crash(op);
            self.world.dice.wait(LOOK_EVERY).await;
        }
        let Some(told) = self.told(op) else {
            let asks = self.stage.requests_of(self.home(op));
            return Err(format!("#{} is told nothing here: {asks}", op.0));
        };
        if !self.is_same(modelled, &told) {
            return Err(format!("#{} is told {told:?} here", op.0));
        }
        self.progress[usize::from(op.0)] = Progress::AsTold;
        self.note_view(op);
        Ok(())
    }

    /// Notes under which layouts a write was acknowledged at most: what was written under older ones must be at those who
    /// synced for newer ones.
    fn note_view(&self, op: OpIndex) {
        let view = self
            .succession
            .as_ref()
            .and_then(|succession| succession.view(self.home(op)));
        if let Some(view) = view {
            self.world.ledger.told_under(&self.bodies[usize::from(op.0)].1, view.hi);
        }
    }

    fn is_same(&self, modelled: &Modelled, told: &Outcome) -> bool {
        let tag = |op: &OpIndex| self.bodies[usize::from(op.0)].1.as_str();
        match (modelled, told) {
            (Modelled::Wrote | Modelled::Dropped, Outcome::Done) => true,
            (Modelled::Refused(_), Outcome::Refused) => true,
            (Modelled::Found(None), Outcome::NotFound) => true,
            (Modelled::Found(Some(by)), Outcome::Found { value }) => value == tag(by),
            (Modelled::Listed(rows), Outcome::Page { entries, .. }) => rows
                .iter()
                .map(|(_, by)| tag(by))
                .eq(entries.iter().map(|entry| entry.value.as_str())),
            (Modelled::Unknown | Modelled::Nothing, Outcome::Unknown { .. } | Outcome::Failed { .. }) => true,
            (Modelled::Wrote | Modelled::Refused(_) | Modelled::Found(_) | Modelled::Listed(_), _) => false,
            (Modelled::Dropped | Modelled::Synced | Modelled::Unknown | Modelled::Nothing, _) => false,
        }
    }

    /// Somebody who was told something that the model's client was not.
    pub(super) fn told_unexpectedly(&self) -> Option<(OpIndex, Outcome)> {
        let told = self.all_told();
        let unexpected = |(op, _): &(&usize, &Outcome)| self.progress[**op] != Progress::AsTold;
        let (op, outcome) = told.iter().find(unexpected)?;
        Some((OpIndex(u8::try_from(*op).ok()?), outcome.clone()))
    }

    /// Lets everything go, waits until whoever asked was told, and reads all objects once more.
    pub(super) async fn finish(mut self) -> (Vec<Operation>, Vec<String>) {
        self.stage.end();
        if let Some(succession) = &mut self.succession {
            succession.settle().await;
        }
        let begun = self
            .progress
            .iter()
            .filter(|progress| **progress != Progress::Waiting)
            .count();
        let mut waited = Duration::ZERO;
        while self.all_told().len() < begun && waited < ENDED_WITHIN {
            self.world.dice.wait(LOOK_EVERY).await;
            waited += LOOK_EVERY;
        }
        if self.all_told().len() < begun {
            self.world
                .journal
                .complain("with nothing held back any more, somebody is told nothing".to_owned());
        }
        let (inspector, last) = (
            Session::new(0, &self.world, Manners::Patient),
            self.replicas + self.deeds.len(),
        );
        let objects = self.deeds.iter().map(|deed| deed.key.0 + 1).max().unwrap_or(0);
        for object in 0..objects {
            inspector.get(last, &self.spot(object)).await;
        }
        self.world.journal.take()
    }
}

/// A request of a client.
enum Wanted {
    Put(Condition),
    Delete(Condition),
    Get,
    List,
    RemoveBucket,
    /// No client asks for such a thing.
    Nothing,
}

struct Client {
    session: Arc<Session>,
    at: usize,
    spot: Spot,
    body: (Bytes, String),
}

impl Client {
    async fn ask(self, wanted: Wanted) -> Outcome {
        const ALL: usize = 1_000;
        let Client {
            session,
            at,
            spot,
            body,
        } = self;
        match wanted {
            Wanted::Put(condition) => session.put_body(at, &spot, body, condition).await,
            Wanted::Delete(condition) => session.delete(at, &spot, condition).await,
            Wanted::Get => session.get(at, &spot).await,
            Wanted::List => {
                let start = Spot {
                    key: String::new(),
                    ..spot
                };
                session.list(at, &start, "", ALL).await
            }
            Wanted::RemoveBucket => session.remove_bucket(at, &spot.bucket).await,
            Wanted::Nothing => Outcome::Failed {
                why: "no client asks for that".to_owned(),
            },
        }
    }
}

fn key(object: u8) -> String {
    format!("object-{object:02}")
}

/// The bucket of the scenario. Where layouts follow each other, names of buckets lie elsewhere than its rows.
async fn bucket(world: &World, plot: &Plot) -> Option<BucketInfo> {
    let (inspector, last) = (Session::new(0, world, Manners::Patient), world.cluster.len() - 1);
    for _ in 0..BUCKETS_MAX {
        inspector.create_bucket(last, LASTING).await;
        let bucket = world.journal.lasting()?;
        if plot.layouts.len() < 2 || layouts::is_apart(world) {
            return Some(bucket);
        }
        inspector.remove_bucket(last, &bucket).await;
        world.journal.forget(&bucket);
    }
    None
}

/// What an operation writes. Where layouts follow each other, its block is one that stays where it is.
fn body(session: &Session, succession: &Option<Succession>) -> (Bytes, String) {
    let stays = |body: &Bytes| {
        succession
            .as_ref()
            .is_none_or(|succession| succession.is_backstage(body))
    };
    let mut bodies = std::iter::repeat_with(|| session.body(Size::Small));
    bodies.find(|(body, _)| stays(body)).expect("there is no end of bodies")
}

/// How patient a node is: only those that the scenario makes impatient ever are, and those that pull from themselves, when
/// others had time to answer.
fn patience(plot: &Plot, at: usize) -> Duration {
    let is_at = |op: OpIndex| match plot.syncer(op) {
        Some(node) => usize::from(node) == at,
        None => usize::from(plot.replicas) + usize::from(op.0) == at,
    };
    let is_impatient = |cue: &Cue| match cue {
        Cue::Patience(tired) => is_at(*tired),
        Cue::Message { op, node, .. } => is_at(*op) && usize::from(*node) == at,
        Cue::Hear { .. } | Cue::Late { .. } | Cue::GiveUp(_) | Cue::GoOn(_) | Cue::Other(_) => false,
        Cue::Decide | Cue::Learn { .. } | Cue::Retire { .. } | Cue::Drop { .. } | Cue::Inform { .. } => false,
    };
    match plot.beats.iter().any(|beat| is_impatient(&beat.cue)) {
        true => PATIENCE,
        false => FOR_EVER,
    }
}

/// Nothing happens by the clock, but what the scenario wants.
fn limits(plot: &Plot, patience: Duration) -> Limits {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let for_ever = ms(FOR_EVER);
    Limits {
        unconditional_writes: plot.mode,
        request_deadline_ms: for_ever,
        patience_ms: ms(patience),
        linger_ms: for_ever,
        block_deadline_ms: for_ever,
        // Bodies are blocks, which pass at once: a reader never has to ask again for the rest of a row.
        inline_max_bytes: 0,
        upload_valid_s: FOR_EVER.as_secs(),
        upload_least_s: FOR_EVER.as_secs(),
        contention_pause_max_ms: CONTENTION_PAUSE_MAX_MS,
        clock_skew_max_ms: for_ever,
        scan_max_rows: plot.page_limit.min(Limits::default().scan_max_rows),
        scan_deadline_ms: for_ever,
        deletion_abandoned_ms: for_ever,
        ..Limits::default()
    }
}
