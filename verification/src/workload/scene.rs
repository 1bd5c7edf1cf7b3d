//! A whole run: a cluster, a workload, harm, an operator, and what is looked at when all of that is over.

use tokio::sync::oneshot;

use super::audit::{self, Audit};
use super::nemesis::{self, Schedule};
use super::operator::{Changes, Operator};
use super::{Outcome, WorkloadError, buckets, chain, mixed, peace, race};
use crate::cluster::{Cluster, ClusterError, Launch};
use crate::s3client::Target;

/// The fault of a run, not of the cluster.
pub(super) const NOTHING_SHOWN: &str = "no layout was changed, so nothing was shown";

/// What clients do.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Many create the same objects.
    Race(race::Race),
    /// Many change one object.
    Chain(chain::Chain),
    /// A bit of everything.
    Mixed(mixed::Mixed),
    /// Buckets come and go.
    Buckets(buckets::Buckets),
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Scene {
    /// What clients do.
    pub work: Work,
    /// The cluster.
    pub launch: Launch,
    /// What happens to it meanwhile.
    pub schedule: Schedule,
}

/// Why a run did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum SceneError {
    /// A process is in trouble.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The cluster did not answer when nothing was wrong any more.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
}

impl Work {
    /// Does it.
    pub async fn run(self, target: &Target) -> Result<Outcome, WorkloadError> {
        match self {
            Work::Race(race) => race::run(target, race).await,
            Work::Chain(chain) => chain::run(target, chain).await,
            Work::Mixed(mixed) => mixed::run(target, mixed).await,
            Work::Buckets(buckets) => buckets::run(target, buckets).await,
        }
    }
}

impl Scene {
    /// Plays it.
    pub async fn play(&self) -> Result<Outcome, SceneError> {
        let mut cluster = Cluster::start(&self.launch).await?;
        let target = cluster.target().clone();
        let operator = self.schedule.operator.as_ref();
        let work = operated(operator, self.work.run(&target));
        let ((outcome, changes), done) = nemesis::during(&mut cluster, &self.schedule, work).await?;
        let mut outcome = outcome?;
        outcome.add(&done.to_string());
        outcome.faults.extend(done.faults);
        if operator.is_none() && outcome.is_good() {
            outcome = peace::read_without_each(&mut cluster, outcome).await?;
        }
        if let Some(operator) = operator {
            judge_changes(changes, &mut outcome);
            // Where something is wrong already, what is on the disks tells nothing more.
            if outcome.is_good() {
                outcome.faults.extend(operator.settled().await);
            }
            if outcome.is_good() {
                let audit = Audit {
                    cluster: &mut cluster,
                    operator,
                    seed: self.schedule.seed,
                };
                audit::run(audit, &done.replaced, &mut outcome).await?;
            }
        }
        Ok(outcome)
    }
}

fn judge_changes(Changes { applied, put_off }: Changes, outcome: &mut Outcome) {
    outcome.add(&format!("{applied} layouts, {put_off} put off"));
    if applied == 0 {
        outcome.faults.push(NOTHING_SHOWN.to_owned());
    }
}

/// Does the work, with an operator beside it if there is one.
async fn operated<T>(operator: Option<&Operator>, work: impl Future<Output = T>) -> (T, Changes) {
    let (over, is_over) = oneshot::channel();
    let work = async {
        let done = work.await;
        // Nobody to tell if there is no operator.
        let _ = over.send(());
        done
    };
    match operator {
        Some(operator) => tokio::join!(work, operator.work(is_over)),
        None => (work.await, Changes::default()),
    }
}
