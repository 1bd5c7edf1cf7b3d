//! A scenario of the model with real processes: the same operations, losses and crashes in the same order, roughly.
//!
//! As in the simulation (`simulation::scenario`) each operation is asked of a node of its own, which an operator has
//! relieved of its role, while as many nodes as the model has replicas hold everything. Their links are led through
//! proxies that hold everything back; a step opens one link for a moment, in both directions or in one. So messages pass
//! in the scenario's order as far as TCP allows: on one link none overtakes another. What replicas say is not compared,
//! only what clients are told; nothing else of the scenario is certain to have happened.
//!
//! Where layouts follow each other, the links between replicas are held as well. An operator has a layout elected when the
//! first node is to hear of it, while the links between the replicas of the one before are open; others hear of it, and
//! who is synced, when a step opens a link to them. All partitions move alike.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use trellis_model::script::Kind;
use trellis_model::value::{Condition as Guard, OpIndex};
use trellis_model::world::{Cue, Heard, Plot};
use trellis_spec::register::WriteMode;

use super::operator::Operator;
use super::scene::SceneError;
use super::{INSPECTOR, Outcome, WorkloadError, prepare, read_surely};
use crate::cluster::{CLOCK_SKEW_VARIABLE, Cluster, Fittings, Flow, Launch, Shape, Wiring, knows};
use crate::history::Condition;
use crate::s3client::{Recorder, Session, Target, tag_of};

/// For how long a step opens a link.
const OPEN_FOR: Duration = Duration::from_millis(150);
/// After this long, an operation that the scenario makes impatient is.
const PATIENCE_MS: u64 = 1_000;
/// How far apart clocks stand that the model orders, where the program lets them be set.
const CLOCK_STEP_MS: u64 = 10;
/// What all objects of the scenario are called by.
const PREFIX: &str = "object-";

/// Where processes are to follow a scenario.
#[derive(Clone, Debug)]
pub struct Follow {
    /// The program `trellis`.
    pub binary: PathBuf,
    /// Where everything is kept.
    pub folder: PathBuf,
}

impl Follow {
    /// Lets processes follow the scenario; the outcome is what its clients were told.
    pub async fn run(&self, plot: &Plot) -> Result<Outcome, SceneError> {
        let mut play = Play::begin(self, plot).await?;
        let steps = play.take_steps().await?;
        play.finish(steps).await
    }

    fn launch(&self, plot: &Plot) -> Launch {
        let nodes = u16::from(plot.replicas) + u16::try_from(plot.deeds.len()).unwrap_or(0);
        Launch {
            binary: self.binary.clone(),
            folder: self.folder.clone(),
            nodes,
            shape: Shape::Servers,
            trace: None,
            fittings: Fittings {
                links: Wiring::Proxied,
                settings: settings(plot.mode),
                ..Fittings::default()
            },
        }
    }
}

/// Nothing happens by the clock, as far as configurations allow.
fn settings(mode: WriteMode) -> String {
    let mode = match mode {
        WriteMode::Available => "available",
        WriteMode::Strict => "strict",
    };
    format!(
        "[limits]\nunconditional_writes = \"{mode}\"\nrequest_deadline_ms = 60000\npatience_ms = {PATIENCE_MS}\n\
         linger_ms = 60000\ncontention_pause_max_ms = 1\ncontrol_cache_ms = 600000\n\
         [links.timing]\npeer_silence_ms = 600000\n"
    )
}

/// A scenario that is being followed.
struct Play<'a> {
    plot: &'a Plot,
    operator: Operator,
    /// How many of its layouts are.
    elected: usize,
    /// The replicas that have heard of the newest of them.
    informed: BTreeSet<usize>,
    cluster: Cluster,
    target: Target,
    recorder: Arc<Recorder>,
    /// Those that did not begin.
    sessions: Vec<Option<Session>>,
    clients: JoinSet<()>,
}

impl<'a> Play<'a> {
    async fn begin(follow: &Follow, plot: &'a Plot) -> Result<Self, SceneError> {
        let not_staged = |last: &str| WorkloadError::NotServing {
            what: "take the places of the scenario",
            last: last.to_owned(),
        };
        let mut cluster = Cluster::start(&follow.launch(plot)).await?;
        let operator = Operator::of(
            &follow.binary,
            &follow.folder,
            u16::try_from(cluster.len()).unwrap_or(0),
        );
        let placed = match plot.layouts.first().filter(|_| plot.layouts.len() > 1) {
            Some(first) => operator.place(1, &numbers(first)).await,
            None => operator.relieve(u16::from(plot.replicas) + 1).await,
        };
        if placed.is_none() {
            return Err(not_staged("the first layout was not applied").into());
        }
        if let Some(moving) = operator.settled().await {
            return Err(not_staged(&moving).into());
        }
        let is_settable = knows(&follow.binary, CLOCK_SKEW_VARIABLE).unwrap_or(false);
        for (op, clock) in plot.clocks.iter().enumerate().filter(|_| is_settable) {
            let (home, ahead_ms) = (usize::from(plot.replicas) + op, clock * CLOCK_STEP_MS);
            cluster.set_clock(home, i64::try_from(ahead_ms).unwrap_or(0));
            cluster.kill(home).await?;
            cluster.start_again(home)?;
            cluster.wait_until_ready(home).await?;
        }
        let recorder = Arc::new(Recorder::start());
        let (_, target) = prepare(cluster.target(), &recorder).await?;
        let mut sessions = Vec::new();
        for op in 0..plot.deeds.len() {
            let at = Target {
                endpoints: vec![target.endpoints[usize::from(plot.replicas) + op].clone()],
                ..target.clone()
            };
            let number = u32::try_from(op + 1).unwrap_or(INSPECTOR);
            let mut session = Session::new(number, &at, &recorder);
            // From now on its node knows the bucket.
            read_surely(&mut session, "elsewhere").await?;
            sessions.push(Some(session));
        }
        for dead in &plot.dead {
            cluster.kill(usize::from(*dead)).await?;
        }
        let play = Play {
            plot,
            operator,
            elected: 1,
            informed: BTreeSet::new(),
            cluster,
            target,
            recorder,
            sessions,
            clients: JoinSet::new(),
        };
        let replicas = 0..usize::from(plot.replicas);
        for op in 0..plot.deeds.len() {
            let home = play.home(op);
            replicas
                .clone()
                .for_each(|node| play.set(home, node, Flow::Stalled, Flow::Stalled));
        }
        if plot.layouts.len() > 1 {
            play.set_among(replicas, Flow::Stalled);
        }
        Ok(play)
    }

    fn home(&self, op: usize) -> usize {
        usize::from(self.plot.replicas) + op
    }

    /// Where an operation or a sync runs.
    fn asker(&self, op: OpIndex) -> usize {
        self.plot.syncer(op).map_or_else(|| self.home(op.0.into()), usize::from)
    }

    fn set(&self, from: usize, to: usize, there: Flow, back: Flow) {
        self.cluster.set_flow(from, to, there);
        self.cluster.set_flow(to, from, back);
    }

    fn set_among(&self, nodes: impl Iterator<Item = usize> + Clone, flow: Flow) {
        for from in nodes.clone() {
            let others = nodes.clone().filter(|to| *to != from);
            others.for_each(|to| self.cluster.set_flow(from, to, flow));
        }
    }

    /// Takes the steps that can be taken, and says how many.
    async fn take_steps(&mut self) -> Result<usize, SceneError> {
        for (taken, beat) in self.plot.beats.iter().enumerate() {
            match &beat.cue {
                Cue::Message { op, node, heard, .. } => {
                    self.start(*op);
                    let back = match heard {
                        Heard::AtOnce => Flow::Open,
                        Heard::NotYet => Flow::Stalled,
                    };
                    self.open(*op, *node, Flow::Open, back).await;
                }
                Cue::Hear { op, node } => self.open(*op, *node, Flow::Stalled, Flow::Open).await,
                Cue::Late { op: Some(op), node, .. } => self.open(*op, *node, Flow::Open, Flow::Stalled).await,
                Cue::Patience(_) => tokio::time::sleep(Duration::from_millis(PATIENCE_MS)).await,
                Cue::GiveUp(op) => self.cluster.kill(self.home(usize::from(op.0))).await?,
                Cue::Late { op: None, .. } | Cue::Other(_) => return Ok(taken),
                Cue::Learn { node } => {
                    if !self.learn((*node).into()).await {
                        return Ok(taken);
                    }
                }
                Cue::Retire { node, .. } => self.tell((*node).into()).await,
                Cue::Inform { op, node } => self.open(*op, *node, Flow::Open, Flow::Open).await,
                // Whoever may drop rows does so without being told.
                Cue::Drop { .. } => tokio::time::sleep(OPEN_FOR).await,
                Cue::Decide | Cue::GoOn(_) => {}
            }
        }
        Ok(self.plot.beats.len())
    }

    async fn open(&self, op: OpIndex, node: u8, there: Flow, back: Flow) {
        let (asker, node) = (self.asker(op), usize::from(node));
        if asker != node {
            self.set(asker, node, there, back);
        }
        tokio::time::sleep(OPEN_FOR).await;
        if asker != node {
            self.set(asker, node, Flow::Stalled, Flow::Stalled);
        }
    }

    /// A node hears of the next layout, which is elected first if it was not; says whether it was.
    async fn learn(&mut self, node: usize) -> bool {
        if let Some(next) = self.plot.layouts.get(self.elected) {
            let electors: Vec<usize> = self.plot.layouts[self.elected - 1]
                .iter()
                .map(|at| usize::from(*at))
                .collect();
            let at = electors
                .iter()
                .find(|at| **at == node)
                .or(electors.first())
                .copied()
                .unwrap_or(node);
            self.set_among(electors.iter().copied(), Flow::Open);
            let placed = self
                .operator
                .place(u16::try_from(at + 1).unwrap_or(1), &numbers(next))
                .await;
            self.set_among(electors.iter().copied(), Flow::Stalled);
            if placed.is_none() {
                return false;
            }
            self.elected += 1;
            self.informed = electors.into_iter().collect();
        }
        self.tell(node).await;
        self.informed.insert(node);
        true
    }

    /// For a moment a node is connected with those who have heard of the newest layout.
    async fn tell(&self, node: usize) {
        let informed = || self.informed.iter().filter(|other| **other != node);
        informed().for_each(|other| self.set(node, *other, Flow::Open, Flow::Open));
        tokio::time::sleep(OPEN_FOR).await;
        informed().for_each(|other| self.set(node, *other, Flow::Stalled, Flow::Stalled));
    }

    /// The client of an operation asks, if it did not yet.
    fn start(&mut self, op: OpIndex) {
        let Some(mut session) = self.sessions.get_mut(usize::from(op.0)).and_then(Option::take) else {
            return;
        };
        let deed = self.plot.deeds[usize::from(op.0)];
        let key = format!("{PREFIX}{:02}", deed.key.0);
        self.clients.spawn(async move {
            // What each is told is in the history.
            match deed.kind {
                Kind::Write => drop(session.put(&key, body(op), Condition::Always).await),
                Kind::Put(guard) => drop(session.put(&key, body(op), condition(guard)).await),
                Kind::Delete => drop(session.delete(&key, Condition::Always).await),
                Kind::Remove(guard) => drop(session.delete(&key, condition(guard)).await),
                Kind::Read | Kind::Head => drop(session.get(&key, Condition::Always).await),
                Kind::List => drop(session.list(PREFIX).await),
                Kind::DropBucket => _ = session.delete_bucket(PREFIX).await,
                // No client asks for such a thing.
                Kind::Again(_) | Kind::Elect => {}
            }
        });
    }

    /// Lets everything go, waits for whoever asked, and reads all objects once more.
    async fn finish(mut self, taken: usize) -> Result<Outcome, SceneError> {
        self.cluster.open_links();
        while self.clients.join_next().await.is_some() {}
        let inspected = Target {
            endpoints: self.target.endpoints[..1].to_vec(),
            ..self.target.clone()
        };
        let mut inspector = Session::new(INSPECTOR, &inspected, &self.recorder);
        for object in 0..self.plot.keys {
            read_surely(&mut inspector, &format!("{PREFIX}{object:02}")).await?;
        }
        let steps = self.plot.beats.len();
        let summary = format!("scenario: {taken} of {steps} steps taken");
        Ok(Outcome::judge(&self.recorder, Vec::new(), summary))
    }
}

/// What operators call the nodes of a layout.
fn numbers(nodes: &[u8]) -> Vec<u16> {
    nodes.iter().map(|node| u16::from(*node) + 1).collect()
}

fn body(op: OpIndex) -> Bytes {
    format!("what #{} writes\n", op.0).into()
}

fn condition(guard: Guard) -> Condition {
    match guard {
        Guard::Absent => Condition::Absent,
        Guard::Present => Condition::Present,
        Guard::WrittenBy(op) => Condition::Is(tag_of(&body(op))),
    }
}
