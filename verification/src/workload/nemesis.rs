//! Does harm to a cluster on a schedule, and sees to it that everything is whole again in the end.

use std::time::Duration;

use fastrand::Rng;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::oneshot::{self, Receiver};

use crate::cluster::{Cluster, ClusterError};

/// What is done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Harm {
    /// `kill -9`, then a new start.
    Kill,
    /// `SIGSTOP`, then `SIGCONT`.
    Pause,
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
}

/// Runs a workload while the schedule is carried out; afterwards every process serves again.
pub async fn during<T>(
    cluster: &mut Cluster,
    schedule: &Schedule,
    workload: impl Future<Output = T>,
) -> Result<(T, u32), ClusterError> {
    let (over, is_over) = oneshot::channel();
    let watched = async {
        let result = workload.await;
        // The nemesis may have failed and gone already; its error is reported then.
        let _ = over.send(());
        result
    };
    let (result, blows) = tokio::join!(watched, rage(cluster, schedule, is_over));
    Ok((result, blows?))
}

/// Does harm until told to stop; returns how often it did.
async fn rage(cluster: &mut Cluster, schedule: &Schedule, mut is_over: Receiver<()>) -> Result<u32, ClusterError> {
    let (mut rng, mut blows) = (Rng::with_seed(schedule.seed), 0);
    while !schedule.harms.is_empty() {
        let pause = schedule.every.mul_f64(0.5 + rng.f64());
        if tokio::time::timeout(pause, &mut is_over).await.is_ok() {
            break;
        }
        let (member, harm) = (
            rng.usize(0..cluster.len()),
            schedule.harms[rng.usize(0..schedule.harms.len())],
        );
        strike(cluster, member, harm, schedule.outage_max.mul_f64(rng.f64())).await?;
        blows += 1;
        if !matches!(is_over.try_recv(), Err(TryRecvError::Empty)) {
            break;
        }
    }
    Ok(blows)
}

/// Takes one process out for a while. It serves again when this returns.
async fn strike(cluster: &mut Cluster, member: usize, harm: Harm, outage: Duration) -> Result<(), ClusterError> {
    match harm {
        Harm::Kill => cluster.kill(member).await?,
        Harm::Pause => cluster.pause(member)?,
    }
    tokio::time::sleep(outage).await;
    match harm {
        Harm::Kill => cluster.start_again(member)?,
        Harm::Pause => cluster.resume(member)?,
    }
    cluster.wait_until_ready(member).await
}
