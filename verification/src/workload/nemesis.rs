//! Does harm to a cluster on a schedule, and sees to it that everything is whole again in the end.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::oneshot::{self, Receiver};

use super::harm::Strike;
use super::operator::Operator;
use crate::cluster::{Cluster, ClusterError, Disks, Fittings, Replaced, Shape, Wiring};

/// What is done to a process, or to what is around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Harm {
    /// `kill -9`, then a new start.
    Kill,
    /// `SIGSTOP`, then `SIGCONT`.
    Pause,
    /// `SIGSTOP`, then layouts that follow each other, then `SIGCONT` (with `--layouts-every-ms`).
    Oversleep,
    /// Nothing gets through between a node and one other, or all others; no connection is closed.
    Cut,
    /// The same in one direction: a node is heard and hears nothing, or hears and is not heard.
    CutOneWay,
    /// Everything between a node and the others takes up to 300 ms longer, each direction another time.
    Delay,
    /// All connections between a node and the others end with a reset.
    Reset,
    /// A new start with a clock that is wrong by up to a minute, which the node must notice if that is much; then one with
    /// a right clock. Needs a program with the feature `clock-skew`.
    Skew,
    /// A node's disk fills up, to the last byte or nearly so; then there is room again. Needs the right to mount a tmpfs.
    FullDisk,
    /// A node comes back with an older copy of its data, must refuse to serve and say why; then its data are put back.
    OldCopy,
    /// A node is gone for good, and the operator puts a new one in its place (with `--layouts-every-ms`).
    Replace,
    /// Everything that is possible here; what is not, is named.
    All,
}

impl Harm {
    /// Everything there is.
    pub const EACH: [Harm; 11] = [
        Harm::Kill,
        Harm::Pause,
        Harm::Oversleep,
        Harm::Cut,
        Harm::CutOneWay,
        Harm::Delay,
        Harm::Reset,
        Harm::Skew,
        Harm::FullDisk,
        Harm::OldCopy,
        Harm::Replace,
    ];

    /// As it is written on the command line.
    pub fn word(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self);
        value.map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// What there is to do harm with.
#[derive(Clone, Copy, Debug)]
pub struct Means {
    /// In which processes the nodes run.
    pub shape: Shape,
    /// Does the program take its clock's error from the environment?
    pub can_skew: bool,
    /// May disks be mounted?
    pub can_mount: bool,
    /// Is there an operator?
    pub has_operator: bool,
}

impl Means {
    /// Why a harm cannot be done here, if so.
    pub fn lack(&self, harm: Harm) -> Option<&'static str> {
        let needs = match harm {
            Harm::Kill | Harm::Pause | Harm::All => return None,
            Harm::Cut | Harm::CutOneWay | Harm::Delay | Harm::Reset => (true, ""),
            Harm::Skew => (self.can_skew, "the program was built without the feature clock-skew"),
            Harm::FullDisk => (
                self.can_mount,
                "neither root nor a user namespace can mount a tmpfs here",
            ),
            Harm::OldCopy => (true, ""),
            Harm::Replace | Harm::Oversleep => (self.has_operator, "there is no operator (--layouts-every-ms)"),
        };
        match (self.shape, needs) {
            (Shape::Dev, _) => Some("all nodes are in one process (--shape servers)"),
            (Shape::Servers, (true, _)) => None,
            (Shape::Servers, (false, why)) => Some(why),
        }
    }
}

/// What is around processes to which this is to be done.
pub fn fittings(harms: &[Harm]) -> Fittings {
    let of_links = [Harm::Cut, Harm::CutOneWay, Harm::Delay, Harm::Reset];
    let links = match harms.iter().any(|harm| of_links.contains(harm)) {
        true => Wiring::Proxied,
        false => Wiring::Direct,
    };
    let disks = match harms.contains(&Harm::FullDisk) {
        true => Disks::Small,
        false => Disks::Shared,
    };
    Fittings {
        links,
        disks,
        ..Fittings::default()
    }
}

/// When what is done.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// One of these at a time; none: peace.
    pub harms: Vec<Harm>,
    /// How long the cluster is left alone between two, on average.
    pub every: Duration,
    /// How long a process is gone or silent, at most.
    pub outage_max: Duration,
    /// Which process suffers when follows from it.
    pub seed: u64,
    /// Who changes layouts, if anybody does.
    pub operator: Option<Operator>,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Done {
    /// How often.
    pub(super) times: BTreeMap<Harm, u32>,
    /// What came of it, in numbers.
    pub(super) effects: BTreeMap<&'static str, u64>,
    /// What the nodes should not have done.
    pub faults: Vec<String>,
    /// Those who left for good.
    pub(super) replaced: Vec<Replaced>,
}

impl Done {
    pub(super) fn note(&mut self, effect: &'static str, count: u64) {
        *self.effects.entry(effect).or_default() += count;
    }
}

impl Display for Done {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} harms", self.times.values().sum::<u32>())?;
        for (number, (harm, times)) in self.times.iter().enumerate() {
            let before = if number == 0 { ": " } else { ", " };
            write!(f, "{before}{} {times}", harm.word())?;
        }
        for (effect, count) in self.effects.iter().filter(|(_, count)| **count > 0) {
            write!(f, "; {count} {effect}")?;
        }
        Ok(())
    }
}

/// Runs a workload while the schedule is carried out; afterwards every process serves again.
pub async fn during<T>(
    cluster: &mut Cluster,
    schedule: &Schedule,
    workload: impl Future<Output = T>,
) -> Result<(T, Done), ClusterError> {
    let (over, is_over) = oneshot::channel();
    let watched = async {
        let result = workload.await;
        // The nemesis ends at this word. If it has failed already, nobody waits for the result.
        let _ = over.send(());
        Ok(result)
    };
    tokio::try_join!(watched, rage(cluster, schedule, is_over))
}

/// Does harm until told to stop; returns what it did.
async fn rage(cluster: &mut Cluster, schedule: &Schedule, mut is_over: Receiver<()>) -> Result<Done, ClusterError> {
    let (mut rng, mut done) = (Rng::with_seed(schedule.seed), Done::default());
    while !schedule.harms.is_empty() {
        let pause = schedule.every.mul_f64(0.5 + rng.f64());
        if tokio::time::timeout(pause, &mut is_over).await.is_ok() {
            break;
        }
        let (member, harm) = (
            rng.usize(0..cluster.len()),
            schedule.harms[rng.usize(0..schedule.harms.len())],
        );
        let outage = schedule.outage_max.mul_f64(rng.f64());
        *done.times.entry(harm).or_default() += 1;
        let operator = schedule.operator.as_ref();
        let mut strike = Strike {
            cluster,
            member,
            outage,
            operator,
            rng: &mut rng,
            done: &mut done,
        };
        if let Err(source) = strike.carry_out(harm).await {
            return Err(ClusterError::Harmed {
                harm: harm.word(),
                node: member + 1,
                done: done.to_string(),
                source: Box::new(source),
            });
        }
        if !matches!(is_over.try_recv(), Err(TryRecvError::Empty)) {
            break;
        }
    }
    let passed = cluster.passed();
    done.note("pieces held between nodes", passed.held);
    done.note("connections reset", passed.reset);
    Ok(done)
}
