//! Whole nodes under a seed: many clients, much harm, then peace, in which everything must be well again.
//!
//! A run has two phases. In the *safety phase* clients put, read, delete, copy, list and upload in parts through several
//! nodes, while nodes crash at any await point and come back with what was durable, links are cut (also in one direction
//! only), messages are lost, doubled and late, disks are full or slow or fail, clocks are wrong, and layouts follow each
//! other. Then all harm ends, and in the *healing phase* every operation must succeed again, every key must read the same
//! through every node, and also when any one node is away. What clients were told in both goes to the checkers of [`history`](crate::history).
//!
//! A *storm* ([`Weather`]) is shorter: layouts follow each other as fast as they can over links that are late, and what lies
//! on the disks is held against what clients were told all the while.
//!
//! The nodes are the ones that the binary runs, from the object store down to the rules of `trellis-spec`; only network,
//! disks, clock and randomness are twins. Everything that chance decides is drawn from one seed: the same seed gives the
//! same run, to the last poll. [`Sabotage`] puts a bug between a node and its disk, or between
//! two nodes, to see that the run notices.

mod client;
mod cluster;
mod dice;
mod fleeting;
mod harm;
mod healing;
mod inspection;
mod journal;
mod ledger;
mod recording;
mod relayout;
mod rush;
mod sabotage;
pub mod scenario;
mod session;
mod setup;
mod shape;
mod shrink;
mod storm;
mod tally;
mod uploads;
mod watch;
mod wholeness;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use trellis_model::trace::Part;
use trellis_node::env::simulated::Simulation;

use crate::history::report::Shown;
use crate::history::{self, Operation, Verdict};
use client::Client;
use cluster::SimulatedCluster;
use dice::Dice;
pub use journal::Harm;
use journal::Journal;
use ledger::Ledger;
use recording::Recording;
pub use sabotage::Sabotage;
pub use setup::{Field, Scale, Setup, Weather};
use shape::Shape;
pub use shrink::shrink;
pub use tally::Tally;

/// What came of a run.
#[derive(Debug)]
pub struct Run {
    /// Which it was.
    pub setup: Setup,
    /// Equal for equal runs.
    pub digest: u64,
    /// The sizes and habits that were drawn for it, in words.
    pub shape: String,
    /// How long it was for those inside.
    pub virtual_time: Duration,
    /// What clients asked and were told.
    pub history: Vec<Operation>,
    /// What was done to the cluster, and when.
    pub harms: Vec<Harm>,
    /// What is wrong, in words; empty when all is well.
    pub faults: Vec<String>,
    /// How often what happened.
    pub tally: Tally,
}

/// What everybody in a run shares.
#[derive(Clone)]
pub(crate) struct World {
    dice: Dice,
    shape: Shape,
    cluster: Arc<SimulatedCluster>,
    journal: Journal,
    ledger: Ledger,
    tally: Tally,
}

/// Runs one seed to its end. Panics where a node does, and where a run stands still.
pub fn run(setup: Setup) -> Run {
    Simulation::run(setup.seed, move |simulation| {
        scenario(setup, simulation, Recording::off())
    })
}

/// The same, with the traces that the nodes recorded.
pub fn run_recorded(setup: Setup) -> (Run, Vec<Part>) {
    let (seed, recording) = (setup.seed, Recording::on());
    let recorded = recording.clone();
    let run = Simulation::run(seed, move |simulation| scenario(setup, simulation, recorded));
    (run, recording.take())
}

async fn scenario(setup: Setup, simulation: Simulation, recording: Recording) -> Run {
    let world = World::begin(&setup, &simulation, &recording);
    healing::begin(&world).await;
    let is_over = Cell::new(false);
    let troubled = async {
        safety_phase(&world, &simulation).await;
        harm::end(&world).await;
        relayout::settle(&world).await;
        is_over.set(true);
    };
    match world.shape.weather {
        Weather::Varied => troubled.await,
        Weather::Storm => {
            _ = tokio::join!(
                troubled,
                inspection::go_on(&world, &is_over),
                inspection::question(&world, &is_over),
            )
        }
    }
    healing::prove(&world).await;
    let (history, mut faults) = world.journal.take();
    let (verdict, harms) = (history::check(&history), world.journal.harms());
    faults.extend(anomalies(&verdict, &history, &harms));
    world
        .tally
        .add("keys whose history was decided", verdict.keys - verdict.undecided.len());
    world
        .tally
        .add("keys whose history was too entangled", verdict.undecided.len());
    Run {
        setup,
        digest: simulation.digest(),
        shape: format!("{:?}", world.shape),
        virtual_time: simulation.now(),
        history,
        harms,
        faults,
        tally: world.tally,
    }
}

/// What the checkers found, each with what was done to the cluster before it.
fn anomalies(verdict: &Verdict, history: &[Operation], harms: &[Harm]) -> Vec<String> {
    const SHOWN_MAX: usize = 3;
    const HARMS_SHOWN_MAX: usize = 12;
    let shown = verdict.findings.iter().take(SHOWN_MAX).map(|finding| {
        let shown = Shown { finding, history };
        let last = shown
            .operations()
            .last()
            .map_or(0, |last| last.answer.unwrap_or(last.call));
        let until = Duration::from_nanos(last);
        let before: Vec<&Harm> = harms.iter().filter(|harm| harm.at <= until).collect();
        let latest = &before[before.len().saturating_sub(HARMS_SHOWN_MAX)..];
        let lines: String = latest.iter().map(|harm| format!("\n{harm}")).collect();
        format!("{shown}what was done to the cluster until then:{lines}")
    });
    let mut anomalies: Vec<String> = shown.collect();
    if verdict.findings.len() > SHOWN_MAX {
        anomalies.push(format!("... and {} more anomalies", verdict.findings.len() - SHOWN_MAX));
    }
    anomalies
}

/// Clients do what they do and harm is done, until the clients have had enough.
async fn safety_phase(world: &World, simulation: &Simulation) {
    let crowd = simulation.node("clients");
    let until = simulation.now() + world.shape.safety;
    let clients = (1..=world.shape.clients).map(|number| crowd.run(Client::new(number, world).run(until)));
    let harm = crowd.run(harm::go_on(world.clone(), until));
    let (ended, _) = tokio::join!(join_all(clients), harm);
    assert!(ended.iter().all(Result::is_ok), "clients do not crash");
}

impl World {
    fn begin(setup: &Setup, simulation: &Simulation, recording: &Recording) -> Self {
        let dice = Dice::new(simulation);
        let shape = Shape::draw(&dice, setup);
        let (tally, journal) = (Tally::default(), Journal::new(simulation));
        let cluster = SimulatedCluster::new(simulation, &shape, setup.sabotage, recording, &tally);
        World {
            dice,
            shape,
            cluster: Arc::new(cluster),
            journal,
            ledger: Ledger::default(),
            tally,
        }
    }

    /// The number of the keys that are in use now.
    fn epoch(&self) -> u128 {
        self.dice.now().as_millis() / self.shape.epoch.as_millis().max(1)
    }
}

impl Run {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.faults.is_empty()
    }
}
