//! Workloads: clients that do something whose result can be judged, while something else does harm to the servers.
//!
//! [`race`] lets many create the same object, [`chain`] lets many change one object step by step, [`mixed`] does a bit of
//! everything, in [`buckets`] they are deleted while others write into them. [`nemesis`] does harm, [`operator`] changes the layout, and [`scene`] puts all of it together. Each ends in an [`Outcome`]: what was asked, and what is wrong.

mod audit;
pub mod buckets;
pub mod chain;
pub mod follow;
mod harm;
pub mod mixed;
pub mod nemesis;
pub mod operator;
mod peace;
pub mod race;
pub mod scene;
pub mod seeded;

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::history::anomaly::Kind;
use crate::history::report::Report;
use crate::history::{self, Operation};
use crate::s3client::{Recorder, Session, Target};

/// The client that prepares and inspects; the others are numbered from one.
const INSPECTOR: u32 = 0;
/// How long preparing and inspecting may wait for a cluster to answer again.
const PATIENCE_MS: u64 = 60_000;
/// How long a client waits after an answer that promises nothing better at once.
const BACKOFF_MS: u64 = 20;

/// What came of a workload.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Everything that was asked and told.
    pub history: Vec<Operation>,
    /// What is wrong, in words; empty when all is well.
    pub faults: Vec<String>,
    /// What was done, in words.
    pub summary: String,
    /// What the history contradicts, by name.
    pub found: Vec<Kind>,
    /// Where it was asked, and the history in the making; nothing where nobody is to go on with it.
    asked: Option<(Target, Arc<Recorder>)>,
}

impl Outcome {
    /// Takes what was recorded and judges it.
    fn judge(recorder: &Recorder, mut faults: Vec<String>, summary: String) -> Self {
        let (history, complaints) = recorder.take();
        faults.extend(complaints);
        let verdict = history::check(&history);
        let report = Report {
            verdict: &verdict,
            history: &history,
        }
        .to_string();
        if !verdict.is_good() {
            faults.push(report.clone());
        }
        let last = report.lines().last().unwrap_or_default();
        Outcome {
            summary: format!("{summary}; {last}"),
            found: verdict.findings.iter().map(|finding| finding.kind).collect(),
            history,
            faults,
            asked: None,
        }
    }

    /// Somebody may go on asking there.
    fn at(self, target: &Target, recorder: &Arc<Recorder>) -> Self {
        Outcome {
            asked: Some((target.clone(), recorder.clone())),
            ..self
        }
    }

    /// Something else that was done.
    pub(crate) fn add(&mut self, what: &str) {
        self.summary.push_str("; ");
        self.summary.push_str(what);
    }

    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.faults.is_empty()
    }
}

impl Display for Outcome {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            writeln!(f, "FAULT {fault}")?;
        }
        write!(f, "{}", self.summary)
    }
}

/// Why a workload could not be carried out. Nothing is said about the store's correctness.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The cluster did not do what is needed before anything can be asked of it.
    #[error("the cluster did not {what} within {PATIENCE_MS} ms: {last}")]
    NotServing {
        /// What was asked of it.
        what: &'static str,
        /// Its last answer.
        last: String,
    },
}

/// Makes a bucket that no earlier run has touched, with patience.
async fn prepare(target: &Target, recorder: &Arc<Recorder>) -> Result<(Session, Target), WorkloadError> {
    let bucket = format!("{}-{:08x}", target.bucket, fastrand::u32(..));
    let target = Target {
        bucket,
        ..target.clone()
    };
    let (clock, mut session) = (Clock::start(), Session::new(INSPECTOR, &target, recorder));
    while let Err(last) = session.create_bucket().await {
        if clock.elapsed() > Duration::from_millis(PATIENCE_MS) {
            return Err(WorkloadError::NotServing {
                what: "create a bucket",
                last,
            });
        }
        back_off().await;
    }
    Ok((session, target))
}

/// Reads an object until the answer is clear.
async fn read_surely(
    session: &mut Session,
    key: &str,
) -> Result<(history::Outcome, Option<bytes::Bytes>), WorkloadError> {
    let clock = Clock::start();
    loop {
        let answer = session.get(key, history::Condition::Always).await;
        match &answer.0 {
            history::Outcome::Found { .. } | history::Outcome::NotFound => return Ok(answer),
            other if clock.elapsed() > Duration::from_millis(PATIENCE_MS) => {
                return Err(WorkloadError::NotServing {
                    what: "answer a read",
                    last: format!("{other:?}"),
                });
            }
            history::Outcome::Done
            | history::Outcome::Page { .. }
            | history::Outcome::Refused
            | history::Outcome::Failed { .. }
            | history::Outcome::Unknown { .. } => back_off().await,
        }
    }
}

async fn back_off() {
    tokio::time::sleep(Duration::from_millis(BACKOFF_MS)).await;
}
